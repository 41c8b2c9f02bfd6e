"""The archive that crosses an air gap: a plain tar of cards and values, whole or seen not to be. Knows nothing of stores.

    pypi-cache-export.json          what it is: format, version, time, globs, which store
    00000001.json                   a card: key, notes, size and digest of the value that follows
    00000001/six-1.0-py3-none-any.whl
    …
    manifest.json                   how many entries and bytes, and a digest of all cards: without it the archive is cut short

Each value stands behind its card, so that one pass writes or reads an archive of any size. Every header is one block (names of at most
100 bytes), and names in the archive are for people who open it with tar: nothing is ever written by them.
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

from pkgcache.rules.routing.digests import Digest

FORMAT = 1
HEADER, MANIFEST = "pypi-cache-export.json", "manifest.json"
CHUNK = 1 << 20
MOST_JSON = 16 << 20
_NAME_LENGTH = 80
_BLOCK = tarfile.BLOCKSIZE


class ArchiveError(Exception):
    """The archive is no archive, or is damaged or cut short: one line."""


class ValueWrongError(Exception):
    """A value has other bytes than its card says: one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryHeader:
    """One entry without its value. `digest` is `algorithm:hex` of the value's bytes, `row` its number in the store that it is from."""

    key: str
    notes: dict[str, Any]
    size: int
    digest: str
    stored_at: float
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A card and its value's bytes, to be read before the next item is; `start` and `end` are the item's bounds in the archive."""

    card: EntryHeader
    value: Iterator[bytes]
    start: int
    end: int


class Tally:
    """What the manifest says: kept the same way by who writes and who reads."""

    def __init__(self) -> None:
        self.entries = 0
        self.bytes = 0
        self._cards = hashlib.sha256()

    def add(self, card: bytes, size: int) -> None:
        """One entry more."""
        self.entries += 1
        self.bytes += size
        self._cards.update(card)

    def manifest(self) -> dict[str, Any]:
        """As it stands in the archive."""
        return {"entries": self.entries, "bytes": self.bytes, "cards": f"sha256:{self._cards.hexdigest()}"}


class ArchiveWriter:
    """Writes to a file from where it stands. Methods raise OSError. `tally`: of what is there, or was already (`whole_part`)."""

    def __init__(self, file: IO[bytes], tally: Tally | None = None) -> None:
        self._file = file
        self.tally = tally or Tally()

    def begin(self, **what: Any) -> None:
        """The header."""
        self._json(HEADER, _dumped({"format": FORMAT, **what}))

    def add(self, card: EntryHeader, name: str, value: Iterable[bytes]) -> None:
        """One entry. Raises ValueWrongError where the value is not what the card says; the archive is then as it was before."""
        start = self._file.tell()
        number = self.tally.entries + 1
        dumped = _dumped(asdict(card))
        try:
            self._json(f"{number:08}.json", dumped)
            self._head(f"{number:08}/{_plain_name(name)}", card.size)
            for chunk in checked(card, value):
                self._put(chunk)
            self._pad(card.size)
        except BaseException:
            self._file.seek(start)
            self._file.truncate()
            raise
        self.tally.add(dumped, card.size)

    def finish(self) -> None:
        """The manifest, and tar's end."""
        self._json(MANIFEST, _dumped(self.tally.manifest()))
        self._put(bytes(2 * _BLOCK))
        self._file.flush()

    def _json(self, name: str, dumped: bytes) -> None:
        self._head(name, len(dumped))
        self._put(dumped)
        self._pad(len(dumped))

    def _head(self, name: str, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size = size
        self._put(info.tobuf(tarfile.GNU_FORMAT))  # sizes of 8 GiB and more in its one block

    def _pad(self, size: int) -> None:
        self._put(bytes(-size % _BLOCK))

    def _put(self, data: bytes) -> None:
        """All of it, though an unbuffered file may take less at a time."""
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]


class ArchiveReader:
    """Reads from a file's start; the header is read at once. Raises ArchiveError, here and later."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._position = 0
        self.tally = Tally()
        try:
            name, size = self._head()
        except ArchiveError:
            name, size = "", 0
        if name != HEADER:
            raise ArchiveError("it is no archive of pypi-cache's: expected what `pypi-cache export` writes")
        self.header = self._json(size)
        self.first = self._position
        if self.header.get("format") != FORMAT:
            raise ArchiveError(f"its format is {self.header.get('format')!r}, and this version reads {FORMAT}")

    def items(self) -> Iterator[Item]:
        """All entries, in order. Raises ArchiveError at the end, too: where the manifest is missing, or does not fit."""
        while True:
            start = self._position
            name, size = self._head()
            found = self._json(size) if name.endswith(".json") else {}
            if name == MANIFEST:
                if found != self.tally.manifest():
                    raise ArchiveError("its manifest does not fit its entries: some are missing, or were changed")
                return
            card = _card(found, name)
            if (value := self._head())[1] != card.size:
                raise ArchiveError(f"{value[0]} has {value[1]} bytes, and its card says {card.size}")
            end = self._position + card.size + -card.size % _BLOCK
            yield Item(card=card, value=self._value(card.size), start=start, end=end)
            for _ in self._value(end - self._position - -card.size % _BLOCK):
                pass  # what nobody has read
            self._read(-card.size % _BLOCK)
            self.tally.add(_dumped(found), card.size)

    def _value(self, size: int) -> Iterator[bytes]:
        end = self._position + size
        while self._position < end:
            yield self._read(min(CHUNK, end - self._position))

    def _head(self) -> tuple[str, int]:
        try:
            info = tarfile.TarInfo.frombuf(self._read(_BLOCK), "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise ArchiveError(f"at byte {self._position - _BLOCK:,}: no header of a member ({error})") from None
        return info.name, info.size

    def _json(self, size: int) -> dict[str, Any]:
        if size > MOST_JSON:
            raise ArchiveError(f"at byte {self._position:,}: a card of {size:,} bytes")
        try:
            found = json.loads(self._read(size))
        except ValueError as error:
            raise ArchiveError(f"at byte {self._position - size:,}: no JSON ({error})") from None
        self._read(-size % _BLOCK)
        if not isinstance(found, dict):
            raise ArchiveError(f"at byte {self._position:,}: a card that is no object")
        return found

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._position += len(data)
        if len(data) < size:
            raise ArchiveError(
                f"it is cut short: it ends at byte {self._position:,}, after {self.tally.entries:,} entries"
            )
        return data


def checked(card: EntryHeader, value: Iterable[bytes]) -> Iterator[bytes]:
    """The value's bytes as they come; at their end ValueWrongError unless length and digest are the card's."""
    digest = Digest.parse(card.digest)
    hasher, size = digest.hasher(), 0
    for chunk in value:
        hasher.update(chunk)
        size += len(chunk)
        yield chunk
    if size != card.size:
        raise ValueWrongError(f"it has {size} bytes and should have {card.size}")
    if hasher.hexdigest() != digest.value:
        raise ValueWrongError(f"its {digest.algorithm} is {hasher.hexdigest()}, and should be {digest.value}")


def whole_part(file: IO[bytes], progress: Callable[[int], object]) -> tuple[dict[str, Any], Tally, int]:
    """How much of an unfinished archive is whole, each value read and held against its digest: header, tally, the last row's number.

    The file is cut behind the last whole entry, and stands there. Raises ArchiveError where not even its header is whole.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    reader = ArchiveReader(file)
    tally, end, row = Tally(), reader.first, 0
    with contextlib.suppress(ArchiveError, ValueWrongError):
        for item in reader.items():
            for chunk in checked(item.card, item.value):
                progress(len(chunk))
            if item.end > size:
                break  # all but what fills its last block
            tally.add(_dumped(asdict(item.card)), item.card.size)
            end, row = item.end, item.card.row
    file.seek(end)
    file.truncate()
    return reader.header, tally, row


def _card(found: dict[str, Any], name: str) -> EntryHeader:
    types: dict[str, Any] = {
        "key": str,
        "notes": dict,
        "size": int,
        "digest": str,
        "stored_at": (int, float),
        "row": int,
    }
    if found.keys() != types.keys() or not all(isinstance(found[field], kind) for field, kind in types.items()):
        raise ArchiveError(f"{name} is no card: expected {', '.join(types)}")
    try:
        Digest.parse(found["digest"])
    except ValueError as error:
        raise ArchiveError(f"{name}: {error}") from None
    if found["size"] < 0:
        raise ArchiveError(f"{name}: a size of {found['size']}")
    return EntryHeader(**found)


def _dumped(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()


def _plain_name(name: str) -> str:
    """A name for people: it cannot lead out of a folder, whoever unpacks it."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name)[-_NAME_LENGTH:].lstrip(".") or "value"
