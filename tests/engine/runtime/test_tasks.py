"""Background tasks: held, logged when they fail, and ended with the service."""

import asyncio
import gc
import logging
import weakref

import pytest

from pkgcache.engine.runtime.tasks import Tasks, shielded


async def test_a_task_is_held_until_it_ends() -> None:
    """asyncio holds tasks weakly: one that waits for something that only it refers to would vanish."""
    tasks, done = Tasks(), asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.05)
        done.set()

    reference = weakref.ref(tasks.start(work(), "work"))
    gc.collect()
    assert reference() is not None
    await asyncio.wait_for(done.wait(), 5)
    await asyncio.sleep(0)
    gc.collect()
    assert reference() is None


async def test_no_work_begins_within_its_caller() -> None:
    """Also under mitmproxy's eager task factory."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)

    task = Tasks().start(work(), "work")
    assert begun == []
    await task
    assert begun == [1]


@pytest.mark.parametrize(
    ("error", "logged"), [(LookupError("expected"), False), (KeyError("a kind of it"), False), (OSError("not"), True)]
)
async def test_what_a_task_raises_is_logged_unless_it_is_expected(
    error: Exception, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> None:
        raise error

    with caplog.at_level(logging.ERROR):
        await asyncio.wait([Tasks().start(fails(), "the work", expected=LookupError)])
        await asyncio.sleep(0)
    assert ("the work failed" in caplog.text) is logged


async def test_the_close_cancels_all_but_what_finishes() -> None:
    tasks, ended = Tasks(), list[str]()

    async def work(name: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ended.append(f"{name} cancelled")
            raise
        ended.append(f"{name} done")

    tasks.start(work("download", 60), "download")
    tasks.start(work("save", 0.05), "save", finishes=True)
    await asyncio.sleep(0)
    await asyncio.wait_for(tasks.close(), 5)
    assert ended == ["download cancelled", "save done"]


async def test_shielded_work_ends_before_the_cancellation_takes_effect() -> None:
    ended: list[str] = []

    async def commit() -> None:
        await asyncio.sleep(0.05)
        ended.append("committed")

    async def caller() -> None:
        try:
            await shielded(commit())
        finally:
            ended.append("caller")

    task = asyncio.ensure_future(caller())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["committed", "caller"]


async def test_shielded_work_gives_its_result_or_error() -> None:
    async def gives(value: int) -> int:
        return 10 // value

    assert await shielded(gives(5)) == 2
    with pytest.raises(ZeroDivisionError):
        await shielded(gives(0))
