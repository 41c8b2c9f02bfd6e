"""Workers that tell each other how they are, on Unix sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.seat import Seat
from pkgcache.engine.runtime.siblings import Siblings
from pkgcache.engine.runtime.sum_of_all import Report, snapshot


class Worker:
    """A seat with its counters."""

    def __init__(self, folder: Path, number: int, count: int) -> None:
        self.metrics = Metrics()
        self.siblings = Siblings(
            Seat(number=number, count=count, family="pypi-cache-0", folder=str(folder), is_first=False),
            lambda: Report(number=number, started=1.0, snapshot=snapshot(self.metrics)),
            self.metrics,
        )

    def hits(self, count: int) -> None:
        for _ in range(count):
            self.metrics.hit("file")

    async def seen(self) -> tuple[int, list[int]]:
        """The hits of all, and who is missing."""
        everyone = await self.siblings.everyone()
        return everyone.metrics.summary()["answers"].get("file", {}).get("hit", 0), list(everyone.missing)


@asynccontextmanager
async def serving(*workers: Worker) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(worker.siblings.serve()) for worker in workers]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        for worker in workers:
            while not (worker.siblings._folder / f"{worker.siblings._seat.number}.socket").exists():
                await asyncio.sleep(0.01)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_any_of_them_speaks_for_all(tmp_path: Path) -> None:
    workers = [Worker(tmp_path, number, 3) for number in (1, 2, 3)]
    for number, worker in enumerate(workers, 1):
        worker.hits(number)
    async with serving(*workers):
        assert [await worker.seen() for worker in workers] == [(6, [])] * 3


async def test_the_longest_path_of_a_store(tmp_path: Path) -> None:
    """unix(7): an address has 108 bytes."""
    folder = tmp_path.joinpath(*["a-store-far-down"] * 12)
    folder.mkdir(parents=True)
    workers = [Worker(folder, number, 2) for number in (1, 2)]
    async with serving(*workers):
        assert await workers[0].seen() == (0, [])


async def test_a_successor_goes_on_counting(tmp_path: Path) -> None:
    """What was told is never taken back: not while the worker is gone, and not by the next one."""
    one, two = (Worker(tmp_path, number, 2) for number in (1, 2))
    one.hits(10)
    async with serving(one, two):
        assert await two.seen() == (10, [])
        one.hits(5)  # nobody has heard of these
    async with serving(two):
        assert await two.seen() == (10, [1])
    successor = Worker(tmp_path, 1, 2)
    successor.hits(1)
    async with serving(successor, two):
        assert await two.seen() == (11, [])
        assert await successor.seen() == (11, [])


async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A worker that is stopped: the kernel takes the connection, and that is all."""
    await asyncio.sleep(3600)


TOLD = b'{"number": %s, "snapshot": {"counters": [], "requests": [], "process": {}}}\n'


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """At most 64 MB of one line, of which no more than a part is to be taken."""
    with contextlib.suppress(ConnectionError):
        for _each in range(64):
            writer.write(bytes(1 << 20))
            await writer.drain()
        pytest.fail("it was all read")


def says(what: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(what)
        writer.close()

    return say


@pytest.mark.parametrize(
    "answer",
    [
        silent,
        says(b""),
        says(b"no JSON"),
        says(b"[]"),
        says(b'{"number": 2}'),
        says(b'{"no": "such"}'),
        says(b"x" * (2 << 20)),
        says(b"[" * 200_000 + b"\n"),
        says(b'{"number": 2, "started": 1.0, "snapshot": {}}\n'),
        says(b'{"number": 2, "started": 1.0, "snapshot": 7}\n'),
        says(TOLD % b'3, "started": 1.0'),
        says(TOLD % b'2, "started": null'),
        says(TOLD % b'2, "started": 1.0, "problems": 7'),
        says(TOLD % b'2, "started": 1.0, "reasons": 7'),
        says(TOLD.replace(b'"counters": []', b'"counters": [["x"]]') % b'2, "started": 1.0'),
        says(TOLD.replace(b'"requests": []', b'"requests": [[1]]') % b'2, "started": 1.0'),
        endless,
    ],
)
async def test_one_that_gives_no_answer_is_named(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], tmp_path: Path
) -> None:
    one = Worker(tmp_path, 1, 2)
    one.hits(1)
    server = await asyncio.start_unix_server(answer, tmp_path / "2.socket")
    try:
        assert await one.seen() == (1, [2])
    finally:
        server.close()


async def test_figures_that_cannot_be_kept_are_told_all_the_same(tmp_path: Path) -> None:
    one, two = (Worker(tmp_path, number, 2) for number in (1, 2))
    one.hits(3)
    (tmp_path / "1.new").mkdir()
    async with serving(one, two):
        assert await two.seen() == (3, [])


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b"null", b'{"counters": []}'])
async def test_figures_that_are_damaged_count_nothing(left: bytes, tmp_path: Path) -> None:
    (tmp_path / "1.json").write_bytes(left)
    one = Worker(tmp_path, 1, 1)
    assert await one.seen() == (0, [])
    assert json.loads((tmp_path / "1.json").read_text())["counters"] == []
