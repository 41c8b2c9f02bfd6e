"""What is written to the shared tier: entries of the store, in the background, each unless it is there already.

One failure stops it for a while. What the store takes meanwhile is not written; the next machine that fetches it does so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pkgcache.engine.runtime.health import Health
from pkgcache.engine.runtime.shared_figures import SharedFigures, SharedWrite
from pkgcache.engine.shared.bucket import Bucket, BucketError
from pkgcache.engine.shared.page_objects import pack
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.store import Store

logger = logging.getLogger(__name__)

WRITES: Final = 2
"""Objects that are written at a time: each holds two parts of 8 MB in memory."""

MOST_PENDING: Final = 10_000
"""Objects that wait to be written; more are not written."""

PAUSE_SECONDS: Final = 60.0
"""For so long nothing is written after a failure."""

CLOSE_SECONDS: Final = 5.0
"""How long the end waits for what is still to be written: half of what container runtimes give a process."""

WRITE_SECONDS, WRITE_RATE = 30.0, 128 * 1024
"""An upload is given up after so many seconds, and one more for each so many bytes."""

WRITING: Final = "shared tier, writing"
"""The component on /healthz."""


class TierWrites:
    """The writes that are under way or wait. `is_wrong` tells what is written anew.

    `written` is called with each key that was written, `over` with the name of each object whose write has ended somehow.
    """

    def __init__(
        self,
        bucket: Bucket,
        store: Store,
        figures: SharedFigures,
        health: Health,
        *,
        is_wrong: Callable[[StoreKey], bool],
        written: Callable[[StoreKey], None],
        over: Callable[[str], None],
    ) -> None:
        self._bucket = bucket
        self._store = store
        self._figures = figures
        self._health = health
        self._is_wrong = is_wrong
        self._written = written
        self._over = over
        self._turn = asyncio.Semaphore(WRITES)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending: set[StoreKey] = set()
        self._under_way: set[str] = set()
        self._paused_until = 0.0
        self._closed = False

    def __contains__(self, name: str) -> bool:
        """Whether an object is being written, or waits for that."""
        return name in self._under_way

    def __len__(self) -> int:
        """How many writes are under way or wait."""
        return len(self._tasks)

    def start(self, key: StoreKey, name: str) -> None:
        """Write an entry soon, as the object of this name."""
        if self._closed or key in self._pending:
            return
        if len(self._pending) >= MOST_PENDING:
            self._figures.written("dropped")
            return
        self._pending.add(key)
        self._under_way.add(name)
        task = asyncio.Task(self._write(key, name), loop=asyncio.get_running_loop(), eager_start=False)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, name))

    async def _write(self, key: StoreKey, name: str) -> None:
        try:
            async with self._turn:
                self._pending.discard(key)  # what is stored from here on is another version
                if time.monotonic() < self._paused_until:
                    self._figures.written("dropped")
                    return
                if result := await (self._write_page if key.startswith("page|") else self._write_file)(key, name):
                    self._figures.written(result)
                    self._health.clear(WRITING)
        except (BucketError, TimeoutError) as error:
            self._figures.written("failed")
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            why = "it takes too long" if isinstance(error, TimeoutError) else str(error)
            self._health.report(
                WRITING, f"the shared tier takes nothing ({why}); what is fetched stays on this machine alone"
            )
        finally:
            self._pending.discard(key)

    async def _write_page(self, key: StoreKey, name: str) -> SharedWrite | None:
        """Write a page; returns what became of it, None for a 404. Raises BucketError and TimeoutError."""
        found = await self._store.read(key)
        if found is None or found[0].get("status") != 200:
            return None
        content = await asyncio.to_thread(pack, key, *found)
        async with asyncio.timeout(WRITE_SECONDS + len(content) / WRITE_RATE):
            await self._bucket.put(name, content)
        self._note(key, len(content))
        return "stored"

    def _note(self, key: StoreKey, size: int) -> None:
        self._figures.bytes_written(size)
        self._written(key)

    async def _write_file(self, key: StoreKey, name: str) -> SharedWrite:
        """Write a file; returns what became of it. Raises BucketError and TimeoutError."""
        entry = await self._store.find(key)
        if entry is None:
            return "dropped"
        with entry.file or contextlib.nullcontext():
            async with asyncio.timeout(WRITE_SECONDS + entry.size / WRITE_RATE):
                # First a look: where it is there already, or may not be written, all of it would be sent for nothing.
                if not self._is_wrong(key) and await self._bucket.size(name) == entry.size:
                    return "present"
                # The entry may be evicted meanwhile, and its file removed: the descriptor stays.
                await self._bucket.put(name, Path(f"/dev/fd/{entry.file.fileno()}") if entry.file else entry.value)
        self._note(key, entry.size)
        return "stored"

    def _ended(self, task: asyncio.Task[None], name: str) -> None:
        self._tasks.discard(task)
        self._under_way.discard(name)
        self._over(name)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the shared tier: %s", error, exc_info=error)

    async def close(self) -> None:
        """Wait for what is being written, but not for ever."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
