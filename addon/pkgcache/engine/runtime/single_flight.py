"""One task a key: a caller that comes while it runs joins it instead of starting another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from pkgcache.engine.runtime.tasks import Tasks


class SingleFlight[K: Hashable, T]:
    """The tasks under way, by key. A key is forgotten as soon as its task has ended, however it ended.

    Wait for a task with `asyncio.shield`, so that a caller who gives up does not cancel it for the others. What a task raises is
    logged, except for an `expected` exception, which reaches whoever waits.
    """

    def __init__(self, tasks: Tasks, *, expected: type[Exception] | tuple[type[Exception], ...] | None = None) -> None:
        self._tasks = tasks
        self._expected = expected
        self._running: dict[K, asyncio.Task[T]] = {}

    def __contains__(self, key: K) -> bool:
        """Whether a task for this key is under way, so that `join` would not start one."""
        return key in self._running

    def get(self, key: K) -> asyncio.Task[T] | None:
        """The task under way for this key, if there is one."""
        return self._running.get(key)

    def join(self, key: K, work: Callable[[], Coroutine[Any, Any, T]], name: str) -> asyncio.Task[T]:
        """The task under way for this key; if there is none, one that runs `work()`, logged as `name`."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = self._tasks.start(work(), name, expected=self._expected)
            # First of the callbacks: whoever is woken by the end may start a new one at once.
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return task
