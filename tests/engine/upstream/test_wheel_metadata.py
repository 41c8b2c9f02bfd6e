"""METADATA out of a wheel: by every method that zipfile writes, and never more than its limit, whatever the wheel says."""

import asyncio
import bz2
import contextlib
import functools
import gc
import io
import lzma
import struct
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.engine.upstream import wheel_metadata
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import UpstreamError
from pkgcache.engine.upstream.wheel_metadata import MAX_DIRECTORY, MAX_METADATA, metadata_of_wheel, read_metadata
from pkgcache.rules.routing.urls import parse_url
from tests.support.waiting import eventually

METADATA: Final = b"Metadata-Version: 2.4\nName: six\nVersion: 1.0\n\n" + b"a long description " * 500
METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ERRORS: Final = (zipfile.BadZipFile, ValueError, OSError)
NAME: Final = "six-1.0.dist-info/METADATA"


def wheel(method: int = zipfile.ZIP_DEFLATED, content: bytes = METADATA, names: tuple[str, ...] = (NAME,)) -> bytes:
    """A wheel with these members, after one file of code."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("six.py", "x = 1\n")
        for name in names:
            archive.writestr(name, content)
    return file.getvalue()


def raw_wheel(method: int, compressed: bytes, *, says: int = 1000, flags: int = 0, header_at: int = 0) -> bytes:
    """A wheel whose one member is METADATA, with these compressed bytes and whatever sizes the directory is to claim."""
    name = NAME.encode()
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, flags, method, 0, 0, 0, len(compressed), says, len(name), 0)
    head = struct.pack(
        "<4sBBHHHHHIIIHHHHHII",
        *(b"PK\1\2", 20, 3, 20, flags, method, 0, 0, 0, len(compressed), says, len(name), 0, 0, 0, 0, 0, header_at),
    )
    start = len(local) + len(name) + len(compressed)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(head) + len(name), start, 0)
    return local + name + compressed + head + name + end


def lzma_member(content: bytes, *, dictionary: int = 1 << 16, properties: int = 0x5D) -> bytes:
    """A member as APPNOTE.TXT §5.8.8 has it."""
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}]
    body = lzma.compress(content, lzma.FORMAT_RAW, filters=filters)
    return struct.pack("<BBHBI", 9, 4, 5, properties, dictionary) + body


def deflated(content: bytes) -> bytes:
    """Raw deflate."""
    work = zlib.compressobj(9, zlib.DEFLATED, -15)
    return work.compress(content) + work.flush()


LOW_LIMIT: Final = 1 << 16
"""Stands for MAX_METADATA in the tests of bombs, so that a bomb of 100 times the limit is made in no time."""
BOMB: Final = 100 * LOW_LIMIT
COMPRESSED: Final[dict[int, Callable[[bytes], bytes]]] = {
    zipfile.ZIP_STORED: lambda content: content,
    zipfile.ZIP_DEFLATED: deflated,
    zipfile.ZIP_BZIP2: bz2.compress,
    zipfile.ZIP_LZMA: lzma_member,
}


@pytest.mark.parametrize("method", METHODS)
def test_each_method(method: int) -> None:
    assert read_metadata(io.BytesIO(wheel(method))) == METADATA
    assert read_metadata(io.BytesIO(raw_wheel(method, COMPRESSED[method](METADATA)))) == METADATA


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [0, 1, MAX_METADATA - 1])
def test_sizes_up_to_the_limit(method: int, size: int) -> None:
    assert read_metadata(io.BytesIO(wheel(method, bytes(size)))) == bytes(size)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"", "not a zip file", id="nothing"),
        pytest.param(b"PK\5\6" + bytes(18), "0 METADATA", id="an empty archive"),
        pytest.param(wheel(names=()), "0 METADATA", id="no METADATA"),
        pytest.param(wheel(names=(NAME, "two-1.0.dist-info/METADATA")), "2 METADATA", id="two of them"),
        pytest.param(wheel(names=("a/six-1.0.dist-info/METADATA",)), "0 METADATA", id="one level too deep"),
        pytest.param(raw_wheel(99, METADATA), "method 99", id="a method that nobody knows"),
        pytest.param(raw_wheel(8, deflated(METADATA), flags=1), "encrypted", id="encrypted"),
        pytest.param(raw_wheel(8, deflated(METADATA)[:-9]), "cut short", id="deflate cut short"),
        pytest.param(raw_wheel(12, bz2.compress(METADATA)[:-9]), "cut short", id="bzip2 cut short"),
        pytest.param(raw_wheel(8, b"\xff" * 100), "damaged", id="no deflate"),
        pytest.param(raw_wheel(12, b"\xff" * 100), "damaged", id="no bzip2"),
        pytest.param(raw_wheel(14, b"\xff" * 100), "no LZMA properties", id="no lzma"),
        pytest.param(raw_wheel(14, b""), "no LZMA properties", id="lzma of nothing"),
        pytest.param(raw_wheel(14, lzma_member(METADATA, dictionary=0xFFFFFFFF)), "memory", id="a 4 GB dictionary"),
        pytest.param(raw_wheel(14, lzma_member(METADATA, properties=0xFF)), "memory", id="impossible properties"),
        pytest.param(raw_wheel(8, deflated(METADATA), header_at=1 << 20), "past the end", id="header past the end"),
        pytest.param(raw_wheel(8, deflated(METADATA), header_at=5), "no header", id="header somewhere else"),
        pytest.param(raw_wheel(0, bytes(MAX_METADATA + 1)), "larger", id="stored, too large"),
        pytest.param(raw_wheel(8, deflated(bytes(MAX_METADATA + 1))), "larger", id="deflate, one byte too much"),
        pytest.param(raw_wheel(12, bz2.compress(bytes(MAX_METADATA + 1))), "larger", id="bzip2, one byte too much"),
        pytest.param(raw_wheel(14, lzma_member(bytes(MAX_METADATA + 1))), "larger", id="lzma, one byte too much"),
    ],
)
def test_what_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ERRORS, match=why):
        read_metadata(io.BytesIO(data))


def entry(name: bytes = b"", extra: bytes = b"", *, size: int = 0, header_at: int = 0) -> bytes:
    """An entry of a directory (APPNOTE.TXT §4.3.12)."""
    lengths = (len(name), len(extra), 0)
    head = struct.pack(
        "<4s4B4H3L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, 0, size, size, *lengths, 0, 0, 0, header_at
    )
    return head + name + extra


def directory(entries: bytes, *, size: int | None = None, at: int = 0) -> bytes:
    """A directory with its end, and nothing before it."""
    size = len(entries) if size is None else size
    return entries + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, size, at, 0)


def as_zip64(data: bytes, **claims: int) -> bytes:
    """A wheel whose directory is told of by a zip64 record (§4.3.14), which claims another `size` or `offset`."""
    end = len(data) - 22
    size, offset = struct.unpack_from("<II", data, end + 12)
    told = (claims.get("size", size), claims.get("offset", offset))
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, *told)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, claims.get("record", end), 1)
    return data[:end] + record + locator + b"PK\5\6" + bytes(4) + b"\xff" * 12 + bytes(2)


WHEEL: Final = wheel()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"#!/bin/sh\n" * 100 + WHEEL, id="bytes before it"),
        pytest.param(WHEEL[:-2] + struct.pack("<H", 5) + b"hello", id="a comment"),
        pytest.param(WHEEL[:-2] + struct.pack("<H", 0xFFFF) + b"x" * 0xFFFF, id="the longest comment"),
        pytest.param(as_zip64(WHEEL), id="zip64"),
        pytest.param(as_zip64(WHEEL, record=2**64 - 1), id="zip64, and nobody needs to know where its record is"),
        pytest.param(raw_wheel(8, deflated(METADATA), says=0), id="a size of nothing"),
        pytest.param(raw_wheel(8, deflated(METADATA), says=0xFFFFFFFF), id="a size of 4 GB"),
        pytest.param(raw_wheel(8, deflated(METADATA), flags=8), id="a data descriptor (§4.3.9)"),
    ],
)
def test_wheels_that_are_right_in_their_own_way(data: bytes) -> None:
    assert read_metadata(io.BytesIO(data)) == METADATA


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(directory(entry() * (MAX_DIRECTORY // 460)), id="very many members"),
        pytest.param(directory(entry(b"a") * (MAX_DIRECTORY // 470)), id="with names"),
        pytest.param(directory(entry(b"a", b"\7\7\0\0" * 16_383) * 60), id="extra fields of nothing"),
        pytest.param(directory(entry(NAME.encode(), b"\1\0\0\0" * 16_383) * 60), id="120 METADATA with extra fields"),
        pytest.param(directory(entry(b"/" * 65_535) * 120), id="names of slashes"),
        pytest.param(directory(entry(NAME.encode(), header_at=0xFFFFFFFF)), id="a header beyond 4 GB"),
        pytest.param(directory(entry(NAME.encode(), size=0xFFFFFFFF)), id="4 GB of METADATA"),
        pytest.param(directory(entry(NAME.encode()) + b"x"), id="one byte too much"),
        pytest.param(directory(entry(NAME.encode())[:-1]), id="one byte too little"),
        pytest.param(directory(entry(NAME.encode()), at=1), id="further on than it is"),
        pytest.param(as_zip64(WHEEL, size=2**63), id="zip64: too large"),
        pytest.param(as_zip64(WHEEL, size=2**64 - 1, offset=2**64 - 1), id="zip64: all bits"),
        pytest.param(as_zip64(WHEEL, offset=2**64 - 1), id="zip64: somewhere else"),
        pytest.param(b"PK\5\6" * 100_000, id="ends without a directory"),
        pytest.param(b"PK\6\7" * 100_000 + bytes(22), id="locators"),
        pytest.param(wheel(names=("/six-1.0.dist-info/METADATA",) * 2), id="an absolute name"),
        pytest.param(wheel(names=("../six-1.0.dist-info/METADATA",)), id="a name that leads out"),
        pytest.param(wheel(names=(NAME, NAME)), id="the same name twice"),
    ],
)
def test_directories_that_mean_harm_take_little_memory(data: bytes) -> None:
    """zipfile took 11 s and 4 s for the first ones, holding the interpreter's lock, and 100 MB."""
    file = io.BytesIO(data)
    tracemalloc.start()
    try:
        with pytest.raises(ERRORS):
            read_metadata(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * MAX_DIRECTORY


class _Sent(NamedTuple):
    start: int
    size: int
    total: int = 100_000_000


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([_Sent(0, 1 << 20)], id="always the beginning"),
        pytest.param([_Sent(5, 4)], id="always some bytes"),
        pytest.param([_Sent(100_000_000 - 10, 10), _Sent(0, 10)], id="first the end"),
        pytest.param([_Sent(0, 0)], id="nothing"),
        pytest.param([_Sent(99_999_990 - n * 10, 10) for n in range(1000)], id="ten bytes at a time"),
        pytest.param([_Sent(0, 10, 0)], id="a file of nothing"),
    ],
)
async def test_an_upstream_that_sends_other_spans_is_given_up(
    sent: list[_Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 spans of 16 MB were kept, of which nobody had asked for any."""
    asked = []

    async def fetch(*_: object) -> tuple[int, bytes, int]:
        asked.append(1)
        span = sent[min(len(asked), len(sent)) - 1]
        return span.start, bytes(span.size), span.total

    monkeypatch.setattr(wheel_metadata, "_fetch", fetch)
    with pytest.raises(UpstreamError):
        await metadata_of_wheel(NoBreakers(), [(parse_url("https://files.example/six-1.0-py3-none-any.whl"), "")])
    assert len(asked) <= wheel_metadata.MAX_STEPS + 1


async def test_a_wheel_that_was_refused_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """158 wheels kept 140 MB of what had swollen, until the collector's next full round."""
    data = b"no wheel at all " * 100
    before = sys.getrefcount(data)

    async def fetch(*_: object) -> tuple[int, bytes, int]:
        return 0, data, len(data)

    with monkeypatch.context() as patched:
        patched.setattr(wheel_metadata, "_fetch", fetch)
        wheels = [(parse_url(f"https://{name}.example/six-1.0-py3-none-any.whl"), "") for name in ("one", "two")]
        gc.disable()
        try:
            with contextlib.suppress(UpstreamError):
                await metadata_of_wheel(NoBreakers(), wheels)
            del fetch
            patched.undo()
            await asyncio.to_thread(
                eventually, lambda: sys.getrefcount(data) <= before
            )  # a thread lets go a moment later
        finally:
            gc.enable()


class NoBreakers(UpstreamClient):
    """A client that asks the sources as they come."""

    def __init__(self) -> None:
        super().__init__(may_be_private=lambda _: False, via="1.1 test")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("says", [10, BOMB, 0xFFFFFFFE])
def test_a_bomb_takes_little_memory(method: int, says: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,293 bytes of bzip2 took 3 GB and 5.7 s: the directory said 10 bytes, and zipfile bounds the output of deflate alone."""
    monkeypatch.setattr(wheel_metadata, "MAX_METADATA", LOW_LIMIT)
    compress = functools.partial(bz2.compress, compresslevel=1) if method == zipfile.ZIP_BZIP2 else COMPRESSED[method]
    bomb = io.BytesIO(raw_wheel(method, compress(bytes(BOMB)), says=says))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="larger than"):
            read_metadata(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < BOMB // 4, "the decompressor's own tables take 600 kB at most"


@pytest.mark.parametrize("claimed", [MAX_DIRECTORY + 1, 1 << 30, 0xFFFFFFFE])
def test_a_directory_that_is_too_large_is_not_read(claimed: int) -> None:
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFE, 0xFFFE, claimed, 0, 0)
    file = _Sparse(claimed, end)
    with pytest.raises(ERRORS):
        read_metadata(file)
    assert file.most <= MAX_DIRECTORY + 1


class _Sparse(io.RawIOBase):
    """A file of zeros with an end; it knows the largest read."""

    def __init__(self, zeros: int, end: bytes) -> None:
        super().__init__()
        self.zeros, self.end, self.at, self.most = zeros, end, 0, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {0: 0, 1: self.at, 2: self.zeros + len(self.end)}[whence]
        return self.at

    def read(self, size: int = -1, /) -> bytes:
        size = self.zeros + len(self.end) - self.at if size < 0 else size
        self.most = max(self.most, size)
        start = self.at
        self.at = min(start + size, self.zeros + len(self.end))
        return (
            bytes(max(0, min(self.at, self.zeros) - start))
            + self.end[max(0, start - self.zeros) : max(0, self.at - self.zeros)]
        )


@given(st.sampled_from(METHODS), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6), st.data())
def test_bytes_turned_at_random(method: int, turns: list[tuple[int, int]], data: st.DataObject) -> None:
    """No exception but the documented ones, and no more than the limit."""
    content = bytearray(wheel(method, METADATA[:200]))
    for at, value in turns:
        content[at % len(content)] = value
    cut = data.draw(st.integers(0, len(content)))
    with contextlib.suppress(ERRORS):
        assert len(read_metadata(io.BytesIO(bytes(content[:cut] if cut % 3 == 0 else content)))) <= MAX_METADATA
