"""Readers over stored and growing files: the bytes they were made for, an error where those will not come, and no open file left."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pkgcache.engine.responses import bodies
from pkgcache.engine.responses.bodies import (
    BytesBody,
    ConcatenatedBody,
    FileSource,
    Reader,
    SharedSource,
    StoredBytes,
    StoredFile,
)
from pkgcache.engine.responses.messages import CHUNK, Body, CutShortError, DiskFailedError
from pkgcache.engine.store.rehash import Rehash
from pkgcache.rules.policy.hold_back import HOLD_BACK

CONTENT = bytes(range(256)) * 1200
"""More than one CHUNK."""


class Growing(FileSource):
    """A growing file: what the tests let it have."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(CONTENT)
        self.file = path.open("rb")
        self.there = 0
        self.error: CutShortError | None = None
        self.number = 0
        self.released = 0
        self.changed = asyncio.Event()

    def grow(self, there: int) -> None:
        self.there = there
        self.changed.set()

    def body(self, start: int, stop: int | None) -> Reader:
        return Reader(self, start, stop)

    def release(self) -> None:
        self.released += 1

    def fileno(self) -> int:
        return self.file.fileno()

    @property
    def generation(self) -> int:
        return self.number

    @property
    def available(self) -> int:
        return self.there

    async def wait_available(self, offset: int, generation: int) -> int:
        while self.error is None and self.there <= offset < len(CONTENT):
            self.changed.clear()
            await self.changed.wait()
        if self.error is not None:
            raise self.error
        return self.there


async def all_of(body: Body | bytes) -> bytes:
    if isinstance(body, bytes):
        return body
    parts = []
    while chunk := await body.read():
        assert len(chunk) <= CHUNK
        parts.append(bytes(chunk))
    assert body.exhausted or parts
    body.close()
    return b"".join(parts)


def in_growing(tmp_path: Path, story: Callable[[Growing], Awaitable[None]]) -> None:
    async def run() -> None:
        source = Growing(tmp_path / "growing")
        async with asyncio.timeout(10):
            await story(source)
        source.file.close()

    asyncio.run(run())


@pytest.mark.parametrize("nowait", [True, False])
@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, len(CONTENT)), (5, 5), (7, 300_001), (299_999, None)])
def test_a_span_of_a_growing_file(
    start: int, stop: int | None, nowait: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without the page cache's help."""
    if not nowait:
        monkeypatch.setattr(bodies, "_NOWAIT", 0)

    async def story(source: Growing) -> None:
        reading = asyncio.ensure_future(all_of(source.body(start, stop)))
        for there in (1, 8, 299_999, 300_000, len(CONTENT)):
            await asyncio.sleep(0.002)
            source.grow(there)
        assert await reading == CONTENT[start:stop]
        assert source.released == 1

    in_growing(tmp_path, story)


def test_without_waiting(tmp_path: Path) -> None:
    async def story(source: Growing) -> None:
        body = source.body(10, 30)
        assert body.read_now() == b""
        source.grow(20)
        assert bytes(body.read_now()) in {CONTENT[10:20], b""}  # empty where the file system has no RWF_NOWAIT
        source.number += 1
        assert body.read_now() == b"", "bytes of another generation"
        body.close()

    in_growing(tmp_path, story)


def test_a_read_of_a_closed_body(tmp_path: Path) -> None:
    async def story(source: Growing) -> None:
        body = source.body(0, None)
        reading = asyncio.ensure_future(body.read())
        await asyncio.sleep(0.002)
        body.close()
        body.close()
        source.grow(10)
        with pytest.raises(CutShortError):
            await reading
        with pytest.raises(CutShortError):
            await body.read()
        assert source.released == 1

    in_growing(tmp_path, story)


def test_the_rest_comes_without_the_disk(tmp_path: Path) -> None:
    asked: list[tuple[int, int | None]] = []

    def rest(start: int, stop: int | None) -> Body:
        asked.append((start, stop))
        return ConcatenatedBody([CONTENT[start:stop]])

    async def story(source: Growing) -> None:
        source.grow(1000)
        body = source.body(0, None)
        got = bytes(await body.read())
        source.error = DiskFailedError("full", rest)
        while chunk := await body.read():
            got += chunk
        assert got == CONTENT
        assert asked == [(1000, None)]
        assert body.exhausted
        body.close()

    in_growing(tmp_path, story)


def stored(path: Path, rehash: Rehash | None = None) -> StoredFile:
    path.write_bytes(CONTENT)
    return StoredFile(path.open("rb"), len(CONTENT), rehash)


def test_a_stored_file(tmp_path: Path) -> None:
    source = stored(tmp_path / "stored")
    assert asyncio.run(all_of(source.body(3, len(CONTENT)))) == CONTENT[3:]
    with pytest.raises(ValueError, match="closed"):
        source.fileno()


async def _result_of(hashed: asyncio.Future[str]) -> str:
    return await hashed


@pytest.mark.parametrize("fault", ["", "its sha256 is another"])
def test_the_end_of_a_stored_file_waits_for_its_hash(fault: str, tmp_path: Path) -> None:
    async def story() -> None:
        hashed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        source = stored(tmp_path / "stored", Rehash(asyncio.ensure_future(_result_of(hashed))))
        body = source.body(0, len(CONTENT))
        got = b""
        while len(got) < len(CONTENT) - HOLD_BACK:
            got += await body.read()
        last = asyncio.ensure_future(body.read())
        await asyncio.sleep(0.002)
        assert not last.done()
        hashed.set_result(fault)
        if fault:
            with pytest.raises(CutShortError, match="damaged"):
                await last
        else:
            assert got + await last == CONTENT
        body.close()

    asyncio.run(story())


def test_a_stored_file_that_has_become_shorter(tmp_path: Path) -> None:
    source = stored(tmp_path / "stored")
    (tmp_path / "stored").write_bytes(b"short")
    with pytest.raises(CutShortError, match="shorter"):
        asyncio.run(all_of(source.body(100, 200)))
    source.release()


def test_bytes_in_memory() -> None:
    source = StoredBytes(b"abcdef")
    assert (source.body(0, None), source.body(0, 6), source.body(2, 4)) == (b"abcdef", b"abcdef", b"cd")
    source.release()


def test_several_ranges_of_one_source(tmp_path: Path) -> None:
    """The source is released with the last of them, also when the client leaves before the end."""

    async def story(source: Growing) -> None:
        source.grow(len(CONTENT))
        shared = SharedSource(source, 2)
        body = ConcatenatedBody([b"<", shared.body(0, 5), b"|", shared.body(10, 12), b">"])
        assert await all_of(body) == b"<" + CONTENT[:5] + b"|" + CONTENT[10:12] + b">"
        assert source.released == 1
        shared = SharedSource(source, 2)
        body = ConcatenatedBody([shared.body(0, 5), shared.body(10, 12)])
        await body.read()
        body.close()
        assert source.released == 2

    in_growing(tmp_path, story)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK])
async def test_bytes_that_are_sent_in_pieces(size: int) -> None:
    data = bytes(number % 251 for number in range(251)) * (size // 251 + 1)
    body, pieces = BytesBody(data[:size]), list[bytes]()
    while not body.exhausted:
        pieces.append(bytes(body.read_now() if len(pieces) % 2 else await body.read()))
        assert 0 < len(pieces[-1]) <= CHUNK
    assert b"".join(pieces) == data[:size]
    assert (body.read_now(), await body.read()) == (b"", b"")
    body.close()
    assert body.exhausted
