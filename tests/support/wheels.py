"""Tiny, valid, deterministic wheels and sdists, made in memory; and large ones, made on disk in chunks.

A wheel holds one module `<name>.py` with `VERSION`, and perhaps `<name>_payload.bin`. Members are stored, never
deflated, so that a payload of n bytes makes a file of a little more than n. An sdist builds itself with a backend
inside its own tree, so that pip and uv need nothing from any index to install it.
"""

import base64
import gzip
import hashlib
import io
import json
import random
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

CHUNK: Final = 1 << 20
UPLOAD_TIME: Final = "2024-01-02T03:04:05.678901Z"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """One file of a release as an index knows it. The digests are lower-case hex."""

    project: str
    version: str
    filename: str
    data: bytes | Path
    """The content, or where on disk it is."""
    size: int
    sha256: str
    blake2b: str
    """BLAKE2b with a digest of 256 bits: what the path is made of."""
    metadata: bytes
    """METADATA of the wheel, PKG-INFO of the sdist."""
    requires_python: str = ""
    upload_time: str = UPLOAD_TIME
    yanked: bool | str = False

    @property
    def content(self) -> bytes:
        """The whole content; reads a file that is on disk."""
        return self.data if isinstance(self.data, bytes) else self.data.read_bytes()

    @property
    def path(self) -> str:
        """`packages/<2>/<2>/<60>/<filename>`: the path says the content's BLAKE2b-256."""
        return f"packages/{self.blake2b[:2]}/{self.blake2b[2:4]}/{self.blake2b[4:]}/{self.filename}"

    @property
    def quoted_path(self) -> str:
        """The path as it is written in a link (`+` as `%2B`)."""
        return quote(self.path, safe="/")

    @property
    def is_wheel(self) -> bool:
        """Only wheels have core metadata of their own on an index."""
        return self.filename.endswith(".whl")

    @property
    def metadata_sha256(self) -> str:
        """What PEP 658's attribute says of the `.metadata` file."""
        return hashlib.sha256(self.metadata).hexdigest()

    def digest(self, algorithm: str) -> str:
        """Any other digest (md5, sha1, sha512…), for pages that give weak or several hashes."""
        if algorithm == "sha256":
            return self.sha256
        return hashlib.new(algorithm, self.content).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class BigFile:
    """A file of random bytes on disk."""

    path: Path
    size: int
    sha256: str
    blake2b: str


def normalise(name: str) -> str:
    """PEP 503's normalised name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def payload(size: int, seed: int = 0) -> Iterator[bytes]:
    """Incompressible bytes in chunks of at most 1 MiB, the same for the same seed."""
    source = random.Random(seed)
    for offset in range(0, size, CHUNK):
        yield source.randbytes(min(CHUNK, size - offset))


def big_file(path: Path, size: int, seed: int = 0) -> BigFile:
    """Write `size` random bytes to `path`, never holding more than a chunk of them."""
    sha256, blake2b = hashlib.sha256(), hashlib.blake2b(digest_size=32)
    with path.open("wb") as file:
        for chunk in payload(size, seed):
            file.write(chunk)
            sha256.update(chunk)
            blake2b.update(chunk)
    return BigFile(path=path, size=size, sha256=sha256.hexdigest(), blake2b=blake2b.hexdigest())


def make_wheel(
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    payload_size: int = 0,
    requires_python: str = "",
    seed: int = 0,
    tag: str = "py3-none-any",
    upload_time: str = UPLOAD_TIME,
    yanked: bool | str = False,
    folder: Path | None = None,
) -> ReleaseFile:
    """A wheel that pip and uv install; with `folder` it is written there in chunks and not held in memory."""
    filename = f"{_escaped(name)}-{version}-{tag}.whl"
    metadata = _metadata(name, version, requires, requires_python)

    def write(file: IO[bytes]) -> None:
        _write_wheel(file, name, version, metadata, tag, payload_size, seed)

    data: bytes | Path
    if folder is None:
        buffer = io.BytesIO()
        write(buffer)
        data = buffer.getvalue()
        size, sha256, blake2b = len(data), hashlib.sha256(data).hexdigest(), _blake2b(data)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / filename
        with data.open("wb+") as file:
            write(file)
            size, sha256, blake2b = _digests(file)
    return ReleaseFile(
        project=normalise(name),
        version=version,
        filename=filename,
        data=data,
        size=size,
        sha256=sha256,
        blake2b=blake2b,
        metadata=metadata,
        requires_python=requires_python,
        upload_time=upload_time,
        yanked=yanked,
    )


def make_sdist(
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    requires_python: str = "",
    upload_time: str = UPLOAD_TIME,
    yanked: bool | str = False,
) -> ReleaseFile:
    """An sdist that pip and uv build and install without fetching anything."""
    metadata = _metadata(name, version, requires, requires_python)
    folder = f"{_escaped(name)}-{version}"
    wheel = make_wheel(name, version, requires=requires, requires_python=requires_python)
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in (
            ("PKG-INFO", metadata),
            (
                "pyproject.toml",
                _PYPROJECT.format(name=name, version=version, requires=json.dumps(list(requires))).encode(),
            ),
            ("backend.py", _BACKEND.format(filename=wheel.filename).encode()),
            ("built.whl", wheel.content),
        ):
            member = tarfile.TarInfo(f"{folder}/{path}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    zipped = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=zipped, mtime=0) as file:
        file.write(tar_bytes.getvalue())
    data = zipped.getvalue()
    return ReleaseFile(
        project=normalise(name),
        version=version,
        filename=f"{folder}.tar.gz",
        data=data,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        blake2b=_blake2b(data),
        metadata=metadata,
        requires_python=requires_python,
        upload_time=upload_time,
        yanked=yanked,
    )


_PYPROJECT: Final = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "{name}"
version = "{version}"
dependencies = {requires}
"""

_BACKEND: Final = """\
import shutil

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    shutil.copy("built.whl", wheel_directory + "/{filename}")
    return "{filename}"
"""


def _write_wheel(
    file: IO[bytes], name: str, version: str, metadata: bytes, tag: str, payload_size: int, seed: int
) -> None:
    info = f"{_escaped(name)}-{version}.dist-info"
    module = _escaped(name)
    members: list[tuple[str, int, Iterator[bytes]]] = [
        (path, len(content), iter((content,)))
        for path, content in (
            (f"{module}.py", f'VERSION = "{version}"\n'.encode()),
            (f"{info}/METADATA", metadata),
            (f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()),
        )
    ]
    if payload_size:
        members.append((f"{module}_payload.bin", payload_size, payload(payload_size, seed)))
    elif seed:
        content = f"seed {seed}\n".encode()
        members.append((f"{module}_payload.bin", len(content), iter((content,))))
    record = ""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path, size, chunks in members:
            digest = hashlib.sha256()
            member = _member(path, size)
            with archive.open(member, "w") as target:
                for chunk in chunks:
                    digest.update(chunk)
                    target.write(chunk)
            record += f"{path},sha256={_urlsafe(digest.digest())},{size}\n"
        record += f"{info}/RECORD,,\n"
        archive.writestr(_member(f"{info}/RECORD", len(record)), record)


def _member(path: str, size: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(path, _EPOCH)
    member.external_attr = 0o644 << 16
    member.file_size = size
    return member


def _metadata(name: str, version: str, requires: Sequence[str], requires_python: str) -> bytes:
    lines = ["Metadata-Version: 2.2", f"Name: {name}", f"Version: {version}"]
    if requires_python:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    return ("\n".join(lines) + "\n").encode()


def _escaped(name: str) -> str:
    return normalise(name).replace("-", "_")


def _urlsafe(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _blake2b(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def _digests(file: IO[bytes]) -> tuple[int, str, str]:
    sha256, blake2b, size = hashlib.sha256(), hashlib.blake2b(digest_size=32), 0
    file.seek(0)
    while chunk := file.read(CHUNK):
        sha256.update(chunk)
        blake2b.update(chunk)
        size += len(chunk)
    return size, sha256.hexdigest(), blake2b.hexdigest()
