"""Digests that identify a file: which of a page's hashes to take, and the digest in a release file's path.

By PEP 503 (`#sha256=…` fragments), PEP 691 (`hashes`) and the layout of the default index's file host, where the path
`/packages/<2 hex>/<2 hex>/<60 hex>/<filename>` spells the file's BLAKE2b-256 digest. MD5 and SHA-1 never identify a file.

Leaves out: whether a path's digest can be relied on. It can only on index `pypi` and its mirrors, and only where `suffix` is empty.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, Self
from urllib.parse import unquote

from pkgcache.rules.routing.filenames import split_filename
from pkgcache.rules.routing.urls import normalise_path, quote_segment

# Strongest first; with the length of the value in hex digits.
_LENGTHS: Final = {
    "sha512": 128,
    "sha3_512": 128,
    "sha384": 96,
    "sha3_384": 96,
    "sha256": 64,
    "blake2b": 64,
    "sha3_256": 64,
}
_ALIASES: Final = {"blake2b_256": "blake2b"}
_HEX: Final = re.compile(r"[0-9a-f]+")
_RELEASE_PATH: Final = re.compile(r"/packages/([0-9a-fA-F]{2})/([0-9a-fA-F]{2})/([0-9a-fA-F]{60})/([^/]+)\Z")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")
"""In a decoded file name: controls, and what another system takes for a folder."""


class Hasher(Protocol):
    """The part of `hashlib`'s objects that is used here."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Add data."""

    def hexdigest(self) -> str:
        """Return the digest of the data so far, in lower-case hex."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest of a file's content. `blake2b` means BLAKE2b-256, as in PyPI's layout.

    >>> str(Digest.parse("SHA256:" + "0A" * 32))[:13]
    'sha256:0a0a0a'
    """

    algorithm: str
    value: str  # lower-case hex

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `algorithm:value`. ValueError for an algorithm that does not identify files, or a malformed value."""
        algorithm, _, value = text.partition(":")
        if (read := _read_digest(algorithm, value)) is None:
            raise ValueError(f"not a digest of {', '.join(_LENGTHS)}: {text[:200]!r}")
        return cls(*read)

    def hasher(self) -> Hasher:
        """Start a hash of this algorithm."""
        return _HASHERS[self.algorithm]()

    def mismatch(self, found: str) -> str:
        """Compare with the value that a hasher found: what is wrong, in one line; empty where they agree."""
        return "" if found == self.value else f"its {self.algorithm} is {found}, and should be {self.value}"

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


@dataclass(frozen=True, slots=True)
class ReleasePath:
    """A path in PyPI's layout, without the prefix that a mirror may have before `/packages/`."""

    digest: Digest  # BLAKE2b-256 of the release file, also for its companions
    filename: str  # decoded, without `suffix`
    suffix: (
        str  # '' for the file itself; for a companion what is appended to the name: '.metadata', '.asc', '.provenance'
    )

    @property
    def path(self) -> str:
        """The path on the default index's file host, in the spelling of `normalise_path`."""
        value = self.digest.value
        return f"/packages/{value[:2]}/{value[2:4]}/{value[4:]}/{quote_segment(self.filename + self.suffix)}"


def strongest(hashes: Mapping[str, str]) -> Digest | None:
    """Choose the digest that identifies a file: the strongest. Malformed values, MD5 and SHA-1 count as absent.

    >>> str(strongest({"md5": "0" * 32, "sha256": "0a" * 32}))[:13]
    'sha256:0a0a0a'
    """
    read = {digest[0]: digest[1] for name, value in hashes.items() if (digest := _read_digest(name, value))}
    return next((Digest(name, read[name]) for name in _LENGTHS if name in read), None)


def parse_release_path(path: str) -> ReleasePath | None:
    """Read PyPI's layout at the end of a path, in any spelling and behind any prefix; None where it is not there.

    >>> parse_release_path(f"/pypi/packages/AA/bb/{'c' * 60}/torch-2.0%2Bcpu-py3-none-any.whl.metadata").suffix
    '.metadata'
    """
    match = _RELEASE_PATH.search(normalise_path(path))
    if match is None:
        return None
    try:
        name = unquote(match[4], errors="strict") if "%" in match[4] else match[4]
    except UnicodeDecodeError:
        return None
    if _UNSAFE.search(name):
        return None
    filename, suffix = split_filename(name)
    return ReleasePath(Digest("blake2b", (match[1] + match[2] + match[3]).lower()), filename, suffix)


def _read_digest(name: str, value: str) -> tuple[str, str] | None:
    name, value = name.lower(), value.lower()
    name = _ALIASES.get(name, name)
    return (name, value) if len(value) == _LENGTHS.get(name) and _HEX.fullmatch(value) else None


_HASHERS: Final[Mapping[str, Callable[[], Hasher]]] = {
    **{name: partial(hashlib.new, name) for name in _LENGTHS if name != "blake2b"},
    "blake2b": partial(hashlib.blake2b, digest_size=32),
}
