"""A wheel's core metadata (PEP 658), taken out of the wheel itself: for a mirror that lacks what its page advertises.

A wheel is a zip file with its directory at the end, and METADATA is one of its members (PEP 427). From an upstream, it is read as a
file of which only some spans are there, and what is missing is fetched until there is all that is asked for.

Nothing in a wheel is trusted, nor in what span an upstream says that it sends. The caller checks the result against the page's digest.
It is not zipfile that reads here: it bounds the output of deflate alone (1.3 kB of bzip2 became 3 GB), and makes an object of each
member and takes its extra fields apart (a directory of 8 MB took 11 s). All of it runs on threads.
"""

from __future__ import annotations

import asyncio
import bz2
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple, cast

from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.http.ranges import parse_content_range
from pkgcache.rules.routing.urls import Url

STEP = 64 * 1024
MAX_STEPS = 16

MAX_SPAN = 16 * 1024 * 1024
"""Bytes fetched at once; an upstream without ranges gives a whole wheel up to this size."""

MAX_DIRECTORY = 8 * 1024 * 1024
"""Bytes of a wheel's directory: that of 60,000 files. A wheel of 30,000 files is the largest that was seen."""

MAX_METADATA = 4 * 1024 * 1024
"""Bytes of METADATA, decompressed and compressed; the long descriptions of real projects stay below 1 MiB."""

MAX_DICTIONARY = 64 * 1024 * 1024
"""Bytes of memory that an LZMA stream may ask for: the dictionary of `xz -9`."""

MAX_FETCHED = 32 * 1024 * 1024
"""Bytes of all spans together: a directory and METADATA of the largest size, and as much again for what is read on the way."""

# APPNOTE.TXT §4.3.7, §4.3.12, §4.3.14 to §4.3.16
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENTRY = struct.Struct("<4s4xHH8xL4xHHH8xL")
_END64 = struct.Struct("<4s36xQQ")
_LOCATOR64 = struct.Struct("<4s4xQ4x")
_END = struct.Struct("<4s8xLLH")
_IN_ZIP64 = 0xFFFFFFFF


async def metadata_of_wheel(client: UpstreamClient, wheels: Sequence[tuple[Url, str]]) -> bytes:
    """The METADATA member of a wheel, from the first of the URLs that gives it. Raises UpstreamError."""
    failed: UpstreamError | None = None
    for url, authorization in client.healthy_first(wheels):
        try:
            return await _from_wheel(client, url, authorization)
        except UpstreamError as error:
            failed = error.to_keep()
    raise failed or UpstreamError(Failure.NOT_FOUND, "", "there is no upstream to ask for the wheel")


async def _from_wheel(client: UpstreamClient, url: Url, authorization: str) -> bytes:
    start, data, total = await _fetch(client, url, authorization, f"bytes=-{STEP}")
    wheel = _SparseFile(total)
    wheel.add(start, data)
    fetched = len(data)
    for _ in range(MAX_STEPS):
        try:
            return await asyncio.to_thread(read_metadata, cast(IO[bytes], wheel))
        except _MissingError as missing:
            last = min(max(missing.stop, missing.start + STEP), total) - 1
            start, data, _ = await _fetch(client, url, authorization, f"bytes={missing.start}-{last}")
            fetched += len(data)
            if start > missing.start or start + len(data) <= missing.start or fetched > MAX_FETCHED:
                raise UpstreamError(Failure.WRONG_SPAN, url, "it sends other bytes than it is asked for") from None
            wheel.add(start, data)
        except (zipfile.BadZipFile, ValueError, OSError) as error:
            raise UpstreamError(Failure.BROKEN, url, f"no wheel: {error}") from error
    raise UpstreamError(Failure.BROKEN, url, "its metadata cannot be found in few steps")


async def _fetch(client: UpstreamClient, url: Url, authorization: str, span: str) -> tuple[int, bytes, int]:
    """One span: where it starts, its bytes, and the length of the whole; an upstream without ranges gives the whole."""
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "Range": span}
    async with client.request("GET", url, headers, authorization) as answer:
        if answer.status not in {200, 206}:
            raise answer.refused()
        if answer.status == 200:
            whole = await answer.body(MAX_SPAN)
            return 0, whole, len(whole)
        found = parse_content_range(answer.headers.get("Content-Range"))
        if found is None or found.total is None:
            raise UpstreamError(Failure.WRONG_SPAN, url, "it does not answer ranges")
        data = await answer.body(MAX_SPAN)
        if len(data) != found.stop - found.start:
            raise UpstreamError(
                Failure.WRONG_LENGTH, url, f"{len(data)} bytes came for {answer.headers['Content-Range']!r}"
            )
        return found.start, data, found.total


class _Member(NamedTuple):
    """What the directory says of a member; `header` is where its local header begins."""

    flags: int
    method: int
    size: int
    header: int


def read_metadata(wheel: IO[bytes]) -> bytes:
    """The METADATA member of a wheel's file, of at most MAX_METADATA bytes. Raises zipfile.BadZipFile, ValueError, OSError."""
    try:
        directory, before = _read_directory(wheel)
        found = list(_metadata_members(directory, before))
    except (struct.error, OverflowError) as error:
        raise zipfile.BadZipFile(f"its directory makes no sense: {error}") from error
    if len(found) != 1:
        raise ValueError(f"{len(found)} METADATA members")
    return _decompressed(_stored_bytes(wheel, found[0]), found[0].method)


def _read_directory(wheel: IO[bytes]) -> tuple[bytes, int]:
    """The central directory, and how many bytes the file has before the archive, which its offsets leave out."""
    end = wheel.seek(0, io.SEEK_END) - _END.size
    record = _read_at(wheel, end, _END.size) if end >= 0 else b""
    if not (record.startswith(b"PK\5\6") and record.endswith(bytes(2))):  # with a comment behind it, of 64 kB at most
        start = max(0, end - 0xFFFF)
        tail = _read_at(wheel, start, end + _END.size - start)
        found = tail.rfind(b"PK\5\6")
        if found < 0:
            raise zipfile.BadZipFile("it is not a zip file")
        end, record = start + found, tail[found : found + _END.size]
    _, size, offset, _ = _END.unpack(record)
    if end >= _LOCATOR64.size + _END64.size:
        mark, _ = _LOCATOR64.unpack(_read_at(wheel, end - _LOCATOR64.size, _LOCATOR64.size))
        if mark == b"PK\6\7":
            end -= _LOCATOR64.size + _END64.size
            mark, size, offset = _END64.unpack(_read_at(wheel, end, _END64.size))
            if mark != b"PK\6\6":
                raise zipfile.BadZipFile("its zip64 directory has no end")
    if size > MAX_DIRECTORY:
        raise ValueError(f"its directory is larger than {MAX_DIRECTORY} bytes")
    if end - size - offset < 0:
        raise zipfile.BadZipFile("its directory is not where it says")
    return _read_at(wheel, end - size, size), end - size - offset


def _metadata_members(directory: bytes, before: int) -> Iterator[_Member]:
    """The members that are named as METADATA is, in one pass over the names: extra fields of others are not looked at."""
    at = 0
    while at < len(directory):
        mark, flags, method, size, name_length, extra_length, comment_length, header = _ENTRY.unpack_from(directory, at)
        if mark != b"PK\1\2":
            raise zipfile.BadZipFile("its directory makes no sense")
        at += _ENTRY.size
        name = directory[at : at + name_length]
        if name.endswith(b".dist-info/METADATA") and name.count(b"/") == 1:
            if header == _IN_ZIP64:
                raise ValueError("its METADATA lies beyond 4 GB")
            yield _Member(flags, method, size, header + before)
        at += name_length + extra_length + comment_length


def _read_at(wheel: IO[bytes], start: int, size: int) -> bytes:
    wheel.seek(start)
    return wheel.read(size)


def _stored_bytes(wheel: IO[bytes], member: _Member) -> bytes:
    """A member's bytes as they are in the file: behind its local header (APPNOTE.TXT §4.3.7), whose own sizes do not count."""
    if member.flags & 0x1:
        raise ValueError("its METADATA is encrypted")
    if member.size > MAX_METADATA:
        raise ValueError(f"its METADATA is larger than {MAX_METADATA} bytes")
    header = _read_at(wheel, member.header, _LOCAL_HEADER.size)
    if len(header) != _LOCAL_HEADER.size:
        raise zipfile.BadZipFile("its METADATA is past the end")
    mark, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    if mark != b"PK\3\4":
        raise zipfile.BadZipFile("its METADATA has no header")
    return _read_at(wheel, member.header + _LOCAL_HEADER.size + name_length + extra_length, member.size)


def _decompressed(data: bytes, method: int) -> bytes:
    """The content, by each method that zipfile reads in Python 3.12. Raises ValueError for what is damaged or too large."""
    try:
        match method:
            case zipfile.ZIP_STORED:
                return data
            case zipfile.ZIP_DEFLATED:
                inflate = zlib.decompressobj(-zlib.MAX_WBITS)
                content, whole = inflate.decompress(data, MAX_METADATA), inflate.eof
            case zipfile.ZIP_BZIP2:
                bunzip = bz2.BZ2Decompressor()
                content, whole = bunzip.decompress(data, MAX_METADATA), bunzip.eof
            case zipfile.ZIP_LZMA:
                unlzma, start = _lzma_decompressor(data)
                # The stream may lack its end mark (APPNOTE.TXT §4.4.4, bit 1); then the input's end is the end.
                content = unlzma.decompress(data[start:], MAX_METADATA)
                whole = unlzma.eof or (unlzma.needs_input and len(content) < MAX_METADATA)
            case _:
                raise ValueError(f"its METADATA is compressed by method {method}, which is not read here")
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise ValueError(f"its METADATA is damaged: {error}") from error
    if not whole:
        raise ValueError(f"its METADATA is cut short, or larger than {MAX_METADATA} bytes")
    return content


def _lzma_decompressor(data: bytes) -> tuple[lzma.LZMADecompressor, int]:
    """For a member's LZMA data (APPNOTE.TXT §5.8.8), and where the stream begins behind its properties."""
    if len(data) < 9 or data[2:4] != b"\x05\x00":
        raise ValueError("its METADATA has no LZMA properties")
    packed, dictionary = struct.unpack("<BI", data[4:9])
    if packed >= 9 * 5 * 5 or dictionary > MAX_DICTIONARY:
        raise ValueError("its METADATA asks for too much memory")
    positions, literals = divmod(packed, 9)
    filters = [
        {
            "id": lzma.FILTER_LZMA1,
            "dict_size": dictionary,
            "lc": literals,
            "lp": positions % 5,
            "pb": positions // 5,
        }
    ]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters), 9


class _MissingError(Exception):
    """A span that has yet to be fetched."""

    def __init__(self, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        super().__init__(f"{start}-{stop}")


class _SparseFile(io.RawIOBase):
    """A file of known size of which some spans are there; reading what is not raises _MissingError."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self._spans: list[tuple[int, bytes]] = []
        self._at = 0

    def add(self, start: int, data: bytes) -> None:
        self._spans.append((start, data))

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError("a negative position")
        self._at = base + offset
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        stop = self.size if size < 0 else min(self._at + size, self.size)
        parts: list[bytes] = []
        at = self._at
        while at < stop:
            found = next(((start, data) for start, data in self._spans if start <= at < start + len(data)), None)
            if found is None:
                raise _MissingError(at, stop)
            start, data = found
            parts.append(data[at - start : stop - start])
            at += len(parts[-1])
        self._at = max(self._at, stop)
        return b"".join(parts)
