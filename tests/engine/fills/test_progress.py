"""A file that grows, as its readers see it: what they may have, when they hear of it, and when they are cut."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from multidict import CIMultiDict

from pkgcache.engine.fills.fill_request import FileHead, FillRequest
from pkgcache.engine.fills.part_file import FillState
from pkgcache.engine.fills.progress import FillProgress
from pkgcache.engine.responses.messages import CutShortError
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.rules.policy.hold_back import HOLD_BACK
from pkgcache.rules.routing.urls import parse_url

URL = parse_url("https://files.example/six.whl")
SIZE = HOLD_BACK + 1000
BROKEN = AllFailedError([UpstreamError(Failure.BROKEN, URL, "it broke off")])


def head(total: int | None) -> FileHead:
    return FileHead(total=total, headers=CIMultiDict({"ETag": '"x"'}), source=URL)


@asynccontextmanager
async def growing(folder: Path) -> AsyncIterator[FillProgress]:
    with ThreadPoolExecutor(1) as pool:
        progress = FillProgress(FillRequest(digest=None, size=None, sources=[(URL, "")]), folder / "x.part", pool)
        await progress.in_thread(progress.file.open)
        yield progress
        progress.file.close()


def in_progress(folder: Path, story: Callable[[FillProgress], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(10), growing(folder) as progress:
            await story(progress)

    asyncio.run(run())


async def waits(work: Awaitable[object]) -> "asyncio.Future[object]":
    """A task that is seen to wait."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0.01)
    assert not task.done()
    return task


def test_a_reader_is_woken_by_bytes_past_its_offset(tmp_path: Path) -> None:
    async def story(progress: FillProgress) -> None:
        progress.head = head(SIZE)
        reading = await waits(progress.wait_available(500, 0))
        progress.written = 500
        progress.wake_readers()
        await asyncio.sleep(0.01)
        assert not reading.done()
        progress.written = SIZE
        progress.wake_readers()
        assert await reading == SIZE - HOLD_BACK == progress.available

    in_progress(tmp_path, story)


def test_the_held_back_end_comes_with_the_verification(tmp_path: Path) -> None:
    async def story(progress: FillProgress) -> None:
        progress.head, progress.written = head(SIZE), SIZE
        reading = await waits(progress.wait_available(SIZE - HOLD_BACK, 0))
        progress.be_verified()
        assert await reading == SIZE
        assert await progress.wait_available(SIZE, 0) == SIZE  # the end of a file whose length was not known

    in_progress(tmp_path, story)


@pytest.mark.parametrize(
    ("total", "announced"),
    [(0, False), (HOLD_BACK, False), (HOLD_BACK + 1, True), (None, True)],
)
def test_a_file_that_is_held_back_whole_is_not_announced(total: int | None, announced: bool, tmp_path: Path) -> None:
    """A client that heard of its length would be cut, where it could be given a 502, or the next attempt's bytes."""

    async def story(progress: FillProgress) -> None:
        progress.head = head(total)
        progress.announce_unless_held_back()
        assert progress.announced is announced
        progress.be_verified()
        assert await progress.wait_announced() is progress.head

    in_progress(tmp_path, story)


def test_a_failure_reaches_those_that_wait(tmp_path: Path) -> None:
    async def story(progress: FillProgress) -> None:
        announcement = await waits(progress.wait_announced())
        reading = await waits(progress.wait_available(0, 0))
        progress.fail(BROKEN)
        with pytest.raises(AllFailedError):
            await announcement
        with pytest.raises(CutShortError, match="it broke off"):
            await reading

    in_progress(tmp_path, story)


def test_wrong_bytes_cut_their_readers_alone(tmp_path: Path) -> None:
    """Whoever has some of them is cut; whoever has none hears of the next attempt, under another name."""

    async def story(progress: FillProgress) -> None:
        progress.head, progress.written = head(SIZE), 100
        progress.announce_unless_held_back()
        attempt = progress.attempt
        reading = await waits(progress.wait_available(100, progress.generation))
        hearing = asyncio.ensure_future(progress.wait_announced())
        progress.begin_again(progress.generation + 1)
        with pytest.raises(CutShortError, match="wrong"):
            await reading
        assert (progress.written, progress.head, progress.announced) == (0, None, False)
        assert progress.attempt != attempt
        await asyncio.sleep(0.01)
        assert not hearing.done()
        progress.head = head(SIZE + 1)
        progress.announce_unless_held_back()
        assert (await hearing).total == SIZE + 1

    in_progress(tmp_path, story)


def test_the_file_is_closed_after_its_writer_and_its_last_reader(tmp_path: Path) -> None:
    async def story(progress: FillProgress) -> None:
        progress.attach()
        progress.attach()
        progress.release()
        progress.end()
        assert progress.fileno() >= 0
        progress.release()
        assert progress.fileno() == -1

    in_progress(tmp_path, story)


def test_another_process_hears_of_it(tmp_path: Path) -> None:
    """What is published is taken over: the attempt's name too, since the clients of both hold entity tags with it."""

    async def story(owner: FillProgress) -> None:
        owner.head = head(SIZE)
        owner.begin_again(3)
        owner.head = head(SIZE + 5)
        await owner.publish("failed", "no luck")
        state = owner.file.read_published()
        assert state is not None
        async with growing(tmp_path) as follower:
            follower.apply(state)
            assert (follower.attempt, follower.generation, follower.total) == (owner.attempt, 3, SIZE + 5)
            assert follower.announced
            assert follower.head == owner.head
        assert (state.state, state.error) == ("failed", "no luck")

    in_progress(tmp_path, story)


def test_a_state_without_a_head_announces_nothing(tmp_path: Path) -> None:
    async def story(progress: FillProgress) -> None:
        progress.apply(FillState(attempt="a", generation=0, begun=False))
        assert not progress.announced
        assert progress.attempt == "a"

    in_progress(tmp_path, story)
