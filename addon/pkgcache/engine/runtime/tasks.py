"""The one place where background tasks are made: it keeps references to them, logs what they raise, and ends them when the service closes.

asyncio itself keeps only weak references to tasks, so that one nobody holds may vanish in the middle. At the close downloads are
cancelled; what is complete, and a client may have received, is still stored (`shielded`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from pkgcache.engine.upstream.places import on_nobodys_behalf

logger = logging.getLogger(__name__)


async def shielded[T](work: Coroutine[Any, Any, T]) -> T:
    """Await work that a cancellation does not stop. The cancellation takes effect once the work is done."""
    task = asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class Tasks:
    """Background tasks of one service."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._finishing: set[asyncio.Task[Any]] = set()

    def start[T](
        self,
        work: Coroutine[Any, Any, T],
        name: str,
        *,
        expected: type[Exception] | tuple[type[Exception], ...] | None = None,
        finishes: bool = False,
    ) -> asyncio.Task[T]:
        """Run `work` in the background. `finishes`: the work is short, and `close` waits for it instead of cancelling it.

        What it raises is logged as `name`, except for an `expected` exception, which those who wait for the task handle.
        """
        # Not asyncio.create_task: mitmproxy sets an eager task factory, which would run the work at once, inside its caller.
        with on_nobodys_behalf():
            task = asyncio.Task(work, loop=asyncio.get_running_loop(), name=name, eager_start=False)
        self._running.add(task)
        if finishes:
            self._finishing.add(task)
        task.add_done_callback(lambda done: self._done(done, expected))
        return task

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something after some seconds, unless the event loop has ended by then."""
        asyncio.get_running_loop().call_later(seconds, call)

    def _done(self, task: asyncio.Task[Any], expected: type[Exception] | tuple[type[Exception], ...] | None) -> None:
        self._running.discard(task)
        self._finishing.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if expected is None or not isinstance(error, expected):
            logger.error("%s failed: %s", task.get_name(), error, exc_info=error)

    async def close(self) -> None:
        """Cancel all tasks but those that finish by themselves, and wait until all have ended."""
        running = list(self._running)
        for task in self._running - self._finishing:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
