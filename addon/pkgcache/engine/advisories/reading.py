"""What runs in the process that reads advisories: from a folder, a JSON file or an ecosystem's zip, it makes the index that is kept.

What comes from a URL may be anything: a zip that unpacks to terabytes, JSON that is nested 100,000 deep. So the process has limits of
memory and time, each file in a zip has one of its own, and only what can be read counts. A reading of which most is no record has
failed. The index goes to standard output; what is wrong is its only line there, behind `!`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from pkgcache.rules.policy.advisories import write_index
from pkgcache.rules.policy.osv import Affected, BrokenRecord, read_records
from pkgcache.units import printable

MEMORY: Final = 768 << 20
"""Bytes of address space. A zip of 35,000 records takes 70 MB of memory."""

CPU_SECONDS: Final = 120
"""That zip takes 10 s of a processor."""

MAX_FILES: Final = 500_000
MAX_FILE: Final = 16 << 20
"""Bytes of one JSON file, unpacked: one record has some kB, and what has tens of thousands of them is a zip."""

MAX_BROKEN: Final = 1000
"""Records of one file that are none; then the rest of it is left out. 16 MB of `{},` are five million."""

SHOWN: Final = 200
"""Characters of a file's name, and of what is wrong with it."""

MAX_TOTAL: Final = 4 << 30
"""Bytes of all files, unpacked: 500,000 of 8 kB each."""

UNCHANGED: Final = b"!unchanged\n"
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 1
_NICE: Final = 5
_STEP: Final = 1 << 20


class UnreadableError(Exception):
    """The source as a whole cannot be read. The message says why, in one line."""


class Reading:
    """Reads files, and counts what it finds. `found` are the records of Python projects; `newest`: when one of them was last modified."""

    def __init__(self) -> None:
        self.found: list[Affected] = []
        self.files = 0
        self.broken = 0
        self.first_broken = ""  # its name, and why
        self.ids: set[str] = set()
        self.malicious: set[str] = set()
        self._total = 0

    def about(self) -> dict[str, Any]:
        """What is told of the reading."""
        return {
            "records": len(self.ids),
            "malicious": len(self.malicious),
            "projects": len({each.project for each in self.found}),
            "unreadable": self.broken,
            **({"first_unreadable": self.first_broken} if self.broken else {}),
        }

    def read(self, source: Path | IO[bytes]) -> None:
        """Read all of a source. Raises UnreadableError and OSError."""
        if isinstance(source, Path) and source.is_dir():
            for path in _files_of(source):
                try:
                    with _opened(path) as file:
                        self._read_file(file, path.name)
                except OSError as error:  # a link to nothing, a pipe, or a file that was taken away meanwhile
                    self._count_file()
                    self._note_broken(path.name, error.strerror or str(error))
        elif isinstance(source, Path):
            with _opened(source) as file:
                self._read_file(file, source.name)
        else:
            self._read_file(source, "the answer")
        if self.broken > self.files // 2:
            raise UnreadableError(
                f"{self.broken} of {self.files} files in it hold no OSV record, the first is {self.first_broken}"
            )

    def _note_broken(self, name: str, why: str) -> None:
        self.broken += 1
        shown = f"{name[:SHOWN]} ({why[:SHOWN]})".encode(errors="replace").decode()  # a name may be no UTF-8
        self.first_broken = self.first_broken or printable(shown)

    def _read_file(self, file: IO[bytes], name: str) -> None:
        if file.read(2) == b"PK":
            self._read_zip(file, name)
            return
        file.seek(0)
        self._count_file()
        self._read_json(file, name)

    def _read_zip(self, file: IO[bytes], name: str) -> None:
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise UnreadableError(f"{name} is no whole zip: {error}") from None
        members = [each for each in archive.infolist() if each.filename.lower().endswith(".json")]
        if not members:
            raise UnreadableError(f"{name} holds no JSON file")
        for member in members:
            self._count_file()
            if member.compress_type not in _METHODS or member.flag_bits & _ENCRYPTED:
                self._note_broken(member.filename, "it is packed in a way that is not read")
                continue
            try:
                with archive.open(member) as packed:
                    self._read_json(packed, member.filename)
            except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, zlib.error):
                self._note_broken(member.filename, "it cannot be unpacked")

    def _read_json(self, file: IO[bytes], name: str = "") -> None:
        text = file.read(MAX_FILE + 1)
        self._total += len(text)
        if self._total > MAX_TOTAL:
            raise UnreadableError(f"it is more than {MAX_TOTAL >> 30} GB, unpacked")
        if len(text) > MAX_FILE:
            self._note_broken(name, f"it is more than {MAX_FILE >> 20} MB")
            return
        broken, why = 0, ""
        try:
            for each in read_records(json.loads(text)):
                if not isinstance(each, BrokenRecord):
                    self._keep(each)
                    continue
                broken, why = broken + 1, why or str(each)
                if broken > MAX_BROKEN:
                    break
        except (ValueError, RecursionError, MemoryError):  # one file may become more objects than there is memory for
            why = why or "it is no JSON that can be read"
        if why:
            self._note_broken(name, why)

    def _count_file(self) -> None:
        self.files += 1
        if self.files > MAX_FILES:
            raise UnreadableError(f"it has more than {MAX_FILES:,} files")

    def _keep(self, each: Affected) -> None:
        self.found.append(each)
        self.ids.add(each.id)
        if each.malicious:
            self.malicious.add(each.id)


def signature_of(source: Path) -> str:
    """What changes with the source's files, without reading them. Raises OSError."""
    if not source.is_dir():
        return _stamp(source)
    count, newest, size = 0, 0, 0
    for path in _files_of(source):
        with contextlib.suppress(
            OSError
        ):  # as for the reading: one file that is not there does not keep the others from it
            status = path.stat()
            count, newest, size = count + 1, max(newest, status.st_mtime_ns, status.st_ctime_ns), size + status.st_size
    return f"{count} {newest} {size}"


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_ino} {status.st_mtime_ns} {status.st_size}"


def _files_of(folder: Path) -> Iterator[Path]:
    """The JSON files and zips below a folder; links to folders are not followed. Raises OSError.

    A folder that may not be read is not an empty one: all its advisories would be gone.
    """
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith((".json", ".zip")):
                yield Path(parent, name)


def _raise(error: OSError) -> None:
    raise error


def _opened(path: Path) -> IO[bytes]:
    """Open a file. Raises OSError, also where it is none: for the first byte of a pipe one may wait for ever."""
    file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "it is no regular file")


def index_of(source: Path | IO[bytes], about: dict[str, Any]) -> Iterator[bytes]:
    """Read a source, and make the lines of its index. Raises UnreadableError and OSError."""
    reading = Reading()
    reading.read(source)
    return write_index(reading.found, {**about, **reading.about()})


def serve() -> None:
    """Run the process: read what standard input is, or the path that is the first argument, unless its signature is the second one."""
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    _limit()
    path, known = Path(sys.argv[1]) if sys.argv[1] else None, sys.argv[2]
    try:
        signature = signature_of(path) if path is not None else ""
        if signature and signature == known:
            sys.stdout.buffer.write(UNCHANGED)
            return
        for line in index_of(path if path is not None else sys.stdin.buffer, {"signature": signature}):
            sys.stdout.buffer.write(line)
    except UnreadableError as error:
        _tell(str(error))
    except OSError as error:
        _tell(error.strerror or str(error))
    except (MemoryError, RecursionError):
        _tell(f"it takes more than {MEMORY >> 20} MiB of memory")


def _tell(line: str) -> None:
    sys.stdout.buffer.write(b"!" + " ".join(line.split()).encode(errors="replace") + b"\n")


def _limit() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # where the system has no such limit
        import resource  # noqa: PLC0415  not on every system

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
