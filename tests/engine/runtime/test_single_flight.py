"""One task a key, however many ask; a key is free again as soon as its task has ended, however it ended."""

import asyncio
import logging

import pytest

from pkgcache.engine.runtime.single_flight import SingleFlight
from pkgcache.engine.runtime.tasks import Tasks


class Work:
    """Counts how often it is started, and ends when it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started = 0
        self.go = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.started += 1
        await self.go.wait()
        if self._error is not None:
            raise self._error
        return self.started


async def test_fifty_callers_share_one_task() -> None:
    flight, work = SingleFlight[str, int](Tasks()), Work()
    tasks = [flight.join("six", work, "fetch of six") for _ in range(50)]
    assert "six" in flight
    assert "flask" not in flight
    work.go.set()
    assert await asyncio.gather(*tasks) == [1] * 50
    assert work.started == 1


async def test_keys_do_not_wait_for_each_other() -> None:
    flight, slow, fast = SingleFlight[str, int](Tasks()), Work(), Work()
    waiting = flight.join("slow", slow, "slow")
    fast.go.set()
    assert await flight.join("fast", fast, "fast") == 1
    assert not waiting.done()
    slow.go.set()
    await waiting


@pytest.mark.parametrize("how", ["returns", "raises", "is cancelled"])
async def test_a_key_is_free_before_its_waiters_run_on(how: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        flight = SingleFlight[str, int](Tasks(), expected=OSError)
        first = Work(OSError("down") if how == "raises" else None)
        task = flight.join("six", first, "fetch of six")
        await asyncio.sleep(0)
        first.go.set()
        if how == "is cancelled":
            task.cancel()
        await asyncio.gather(asyncio.shield(task), return_exceptions=True)
        assert "six" not in flight
        again = Work()
        again.go.set()
        assert await flight.join("six", again, "fetch of six") == 1
    assert not caplog.records, "an expected failure is the waiters', and is not logged"


async def test_a_caller_that_gives_up_leaves_the_task_to_the_others() -> None:
    flight, work = SingleFlight[str, int](Tasks()), Work()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.shield(flight.join("six", work, "fetch of six"))
    patient = flight.join("six", work, "fetch of six")
    work.go.set()
    assert await patient == 1
    assert work.started == 1


async def test_an_unexpected_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        flight, work = SingleFlight[str, int](Tasks(), expected=OSError), Work(ValueError("a bug"))
        work.go.set()
        await asyncio.gather(flight.join("six", work, "fetch of six"), return_exceptions=True)
    assert "fetch of six failed: a bug" in caplog.text
