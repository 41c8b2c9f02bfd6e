"""The one place where background tasks are made: it keeps references to them, logs what they raise, and ends them at the close."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)


class Tasks:
    """Background tasks of one service."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def start[T](
        self, work: Coroutine[Any, Any, T], name: str, *, expected: type[Exception] | None = None
    ) -> asyncio.Task[T]:
        """Run `work` in the background. What it raises is logged, but for an `expected` exception (others were told of it)."""
        # Not asyncio.create_task: under mitmproxy's eager task factory that would run the work at once, inside its caller.
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), name=name, eager_start=False)
        self._running.add(task)
        task.add_done_callback(lambda done: self._done(done, expected))
        return task

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something after a while, unless the service has ended by then."""
        asyncio.get_running_loop().call_later(seconds, call)

    def _done(self, task: asyncio.Task[Any], expected: type[Exception] | None) -> None:
        self._running.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if expected is None or not isinstance(error, expected):
            logger.error("%s failed: %s", task.get_name(), error, exc_info=error)

    async def close(self) -> None:
        """Cancel what still runs and wait for it."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
