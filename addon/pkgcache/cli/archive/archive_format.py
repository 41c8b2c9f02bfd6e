"""The archive's format: a plain tar of entry headers and values, which is either whole or visibly not. Knows nothing of stores.

    pypi-cache-export.json          description of the archive: format, version, time, globs, which store
    00000001.json                   an entry's header: key, notes, size and digest of the value that follows
    00000001/six-1.0-py3-none-any.whl
    …
    manifest.json                   number of entries and bytes, and a digest of all headers; missing if the archive is cut short

Each value follows its header, so one pass writes or reads an archive of any size, and the reader knows what to expect of a value before
it comes. Each member's tar header is one block (names of at most 100 bytes). The names are for people who open the archive with tar;
`import` writes nothing by them, so none can lead out of a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

from pkgcache.engine.store.json_fields import shown
from pkgcache.engine.store.keys import StoreKey
from pkgcache.rules.routing.digests import Digest

FORMAT = 1
DESCRIPTION, MANIFEST = "pypi-cache-export.json", "manifest.json"
CHUNK = 1 << 20
MAX_JSON = 1 << 20
"""Bytes of a header: the notes of a learned-hosts entry are the largest, and stay below 1 MiB."""

MAX_SIZE = 2**63 - 1
"""Bytes of a value: what SQLite has room for. The store's own limit is far below."""

_NAME_LENGTH = 80
_BLOCK = tarfile.BLOCKSIZE


class ArchiveError(Exception):
    """This is no archive, or it is damaged or cut short. The message is one line."""


class WrongValueError(Exception):
    """A value differs from what its header says. The message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryHeader:
    """What an archive says of an entry, ahead of its value.

    `size` is in bytes, `digest` is `algorithm:hex` of the value, `stored_at` is in seconds since the epoch. `row` is the entry's row
    number in the store that it was exported from.
    """

    key: StoreKey
    notes: dict[str, Any]
    size: int
    digest: str
    stored_at: float
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A header with its value, which must be read before the next item is asked for. `start`, `end`: where in the archive, in bytes."""

    header: EntryHeader
    value: Iterator[bytes]
    start: int
    end: int


class Tally:
    """What the manifest says of the entries. Writer and reader keep it in the same way, so they can be compared."""

    def __init__(self) -> None:
        self.entries = 0
        self.bytes = 0
        self._headers = hashlib.sha256()

    def add(self, header: bytes, size: int) -> None:
        """Count an entry: its header as written, and its value's size in bytes."""
        self.entries += 1
        self.bytes += size
        self._headers.update(header)

    def manifest(self) -> dict[str, Any]:
        """The manifest's content; `cards` is what format 1 calls the headers."""
        return {"entries": self.entries, "bytes": self.bytes, "cards": f"sha256:{self._headers.hexdigest()}"}


class ArchiveWriter:
    """Writes an archive to a file, from its current position. Methods raise OSError.

    To continue an unfinished archive, pass the tally of what it holds already (`whole_part` gives it).
    """

    def __init__(self, file: IO[bytes], tally: Tally | None = None) -> None:
        self._file = file
        self.tally = tally or Tally()

    def begin(self, **description: Any) -> None:
        """Write the archive's description."""
        self._write_json(DESCRIPTION, _dumped({"format": FORMAT, **description}))

    def add(self, header: EntryHeader, name: str, value: Iterable[bytes]) -> None:
        """Write one entry. Raises WrongValueError if the value differs from its header; the archive is then as it was before."""
        start = self._file.tell()
        number = self.tally.entries + 1
        dumped = _dumped(asdict(header))
        try:
            self._write_json(f"{number:08}.json", dumped)
            self._write_head(f"{number:08}/{_harmless_name(name)}", header.size)
            for chunk in checked(header, value):
                self._write(chunk)
            self._pad(header.size)
        except BaseException:  # Ctrl-C too: an entry is in the archive whole or not at all
            self._file.seek(start)
            self._file.truncate()
            raise
        self.tally.add(dumped, header.size)

    def finish(self) -> None:
        """Write the manifest, and tar's end mark."""
        self._write_json(MANIFEST, _dumped(self.tally.manifest()))
        self._write(bytes(2 * _BLOCK))
        self._file.flush()

    def _write_json(self, name: str, dumped: bytes) -> None:
        self._write_head(name, len(dumped))
        self._write(dumped)
        self._pad(len(dumped))

    def _write_head(self, name: str, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size = size
        self._write(info.tobuf(tarfile.GNU_FORMAT))  # GNU: sizes of 8 GiB and more still fit into the one block

    def _pad(self, size: int) -> None:
        self._write(bytes(-size % _BLOCK))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]  # an unbuffered file may take less than it is given


class ArchiveReader:
    """Reads an archive from its file's start. The constructor reads the description. Everything here raises ArchiveError."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._position = 0
        self.tally = Tally()
        try:
            name, size = self._read_head()
        except ArchiveError:
            name, size = "", 0
        if name != DESCRIPTION:
            raise ArchiveError("it is not an archive of pypi-cache; expected what `pypi-cache export` writes")
        self.description = self._read_json(size)
        self.first = self._position
        if (found := self.description.get("format")) != FORMAT or isinstance(found, bool):
            raise ArchiveError(f"its format is {shown(found)}, and this version reads {FORMAT}")

    def items(self) -> Iterator[Item]:
        """Give all entries, in order. Raises ArchiveError at the end if the manifest is missing or differs from the entries."""
        while True:
            start = self._position
            name, size = self._read_head()
            found = self._read_json(size) if name in {MANIFEST, f"{self.tally.entries + 1:08}.json"} else {}
            if name == MANIFEST:
                if found != self.tally.manifest():
                    raise ArchiveError("its manifest does not match its entries: some are missing or were changed")
                return
            header = _entry_header(found, name)
            value_name, value_size = self._read_head()
            if not value_name.startswith(f"{self.tally.entries + 1:08}/"):
                raise ArchiveError(f"{name} is followed by {value_name!r}, which is not its value")
            if value_size != header.size:
                raise ArchiveError(f"{value_name!r} has {value_size} bytes, and its header says {header.size}")
            value_end = self._position + header.size
            padding = -header.size % _BLOCK
            yield Item(header=header, value=self._read_value(value_end), start=start, end=value_end + padding)
            for _ in self._read_value(value_end):
                pass  # skip what the caller has left unread
            self._read(padding)
            self.tally.add(_dumped(found), header.size)

    def _read_value(self, end: int) -> Iterator[bytes]:
        while self._position < end:
            yield self._read(min(CHUNK, end - self._position))

    def _read_head(self) -> tuple[str, int]:
        try:
            info = tarfile.TarInfo.frombuf(self._read(_BLOCK), "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise ArchiveError(f"at byte {self._position - _BLOCK:,}: not a tar header ({error})") from None
        # A link, a device, a sparse file, or a header that continues (long names, PAX): none of them is written here.
        if info.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or info.linkname or not 0 <= info.size <= MAX_SIZE:
            raise ArchiveError(f"at byte {self._position - _BLOCK:,}: {info.name!r} is not a regular file")
        return info.name, info.size

    def _read_json(self, size: int) -> dict[str, Any]:
        if size > MAX_JSON:
            raise ArchiveError(f"at byte {self._position:,}: a header of {size:,} bytes")
        try:
            found = json.loads(self._read(size), object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:  # or nested more deeply than anything that is written here
            raise ArchiveError(f"at byte {self._position - size:,}: not JSON ({str(error)[:200]})") from None
        self._read(-size % _BLOCK)
        if not isinstance(found, dict):
            raise ArchiveError(f"at byte {self._position:,}: a header that is not a JSON object")
        return found

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._position += len(data)
        if len(data) < size:
            raise ArchiveError(
                f"it is cut short: it ends at byte {self._position:,}, after {self.tally.entries:,} entries"
            )
        return data


def checked(header: EntryHeader, value: Iterable[bytes]) -> Iterator[bytes]:
    """Pass a value's chunks on, and raise WrongValueError after the last one unless length and digest are the header's."""
    digest = Digest.parse(header.digest)
    hasher, size = digest.hasher(), 0
    for chunk in value:
        hasher.update(chunk)
        size += len(chunk)
        yield chunk
    if size != header.size:
        raise WrongValueError(f"it has {size} bytes and should have {header.size}")
    if fault := digest.mismatch(hasher.hexdigest()):
        raise WrongValueError(fault)


def whole_part(file: IO[bytes], progress: Callable[[int], object]) -> tuple[dict[str, Any], Tally, int]:
    """Cut an unfinished archive behind its last whole entry: its description, its tally, and the last entry's row number.

    Every value is read and checked against its digest; `progress` gets the number of bytes read. The file is left at its new end.
    Raises ArchiveError if not even the description is whole.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    reader = ArchiveReader(file)
    tally, end, row = Tally(), reader.first, 0
    with contextlib.suppress(ArchiveError, WrongValueError):
        for item in reader.items():
            for chunk in checked(item.header, item.value):
                progress(len(chunk))
            if item.end > size:
                break  # the value is whole, but the padding of its last block is not
            tally.add(_dumped(asdict(item.header)), item.header.size)
            end, row = item.end, item.header.row
    file.seek(end)
    file.truncate()
    return reader.description, tally, row


def _entry_header(found: dict[str, Any], name: str) -> EntryHeader:
    types: dict[str, Any] = {"key": str, "notes": dict, "size": int, "digest": str, "stored_at": (int, float)}
    types["row"] = int
    fits = found.keys() == types.keys() and all(isinstance(found[field], kind) for field, kind in types.items())
    numbers = [found[field] for field in ("size", "stored_at", "row")] if fits else []
    if not fits or any(isinstance(number, bool) for number in numbers):
        raise ArchiveError(f"{name!r} is not an entry's header; expected {', '.join(types)}")
    try:
        Digest.parse(found["digest"])
    except ValueError as error:
        raise ArchiveError(f"{name}: {error}") from None
    if not all(0 <= number <= MAX_SIZE for number in numbers):  # which NaN and 1e999 are not
        raise ArchiveError(f"{name}: numbers of {shown(numbers)}")
    return EntryHeader(**found)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless it has a name twice: of two values one reader takes the first and another the last."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _dumped(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()


def _harmless_name(name: str) -> str:
    """A member's name for people, which cannot lead out of the folder that somebody unpacks the archive in."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name)[-_NAME_LENGTH:].lstrip(".") or "value"
