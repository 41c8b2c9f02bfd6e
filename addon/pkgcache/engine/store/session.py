"""A store's folder as one process has it open: threads before it, trouble told once, and opened anew when its trouble is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store.database import (
    TROUBLE,
    WRITE_PATIENCE,
    described,
    has_handles,
    is_damage,
    is_full,
    is_out_of_handles,
)
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.format import StoreFormatError
from pkgcache.engine.store.recovery import clean_up

logger = logging.getLogger(__name__)

SHORT_PATIENCE = 0.5
"""How long a write waits for a lock while the one before has waited in vain."""

RESTS = 3.0
"""Work in the background rests so many times as long as it has worked."""

READERS = 4


class StoreSession:
    """The open `Entries`, or none while they cannot be used. Reads have a few threads and writes have one: neither waits for the other."""

    def __init__(
        self, directory: Path, make: Callable[[], Entries], health: Health, failed: Callable[[], None]
    ) -> None:
        """`make` makes the entries, not yet open; `failed` is told of each failure."""
        self._directory = directory
        self._make = make
        self._health = health
        self._failed = failed
        self.entries: Entries | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._closed = False

    def open(self) -> None:
        """Open or make it; where it cannot be used there are no entries for now. Raises StoreFormatError for a newer format."""
        try:
            self._open()
        except TROUBLE as error:
            self.is_bad("store", error, "cannot be used, nothing is kept")

    def _open(self, *, damaged: bool = False) -> None:
        entries = self._make()
        entries.open(damaged=damaged)
        clean_up(entries)
        self.entries = entries
        self._health.clear("store")
        self._health.clear("store-write")

    def reopen(self, failed: Entries | None, *, damaged: bool = False) -> None:
        """The writer's: open it anew, if `failed` is still what is in use."""
        if self.entries is not failed or self._closed:
            return
        damaged = damaged and failed is not None and failed.in_place  # else a sibling has set it aside already
        self.entries = None
        try:
            self._open(damaged=damaged)
        except (*TROUBLE, StoreFormatError) as error:
            self.is_bad("store", error, "cannot be used, nothing is kept")

    async def close(self, last: Callable[[], None]) -> None:
        """Do the `last` of the writer's work, end the threads, and let go of the files."""
        await self.write(lambda _: last())
        self._closed = True
        self._readers.shutdown(wait=True)
        self.writer.shutdown(wait=True)
        if self.entries is not None:
            self.entries.close()

    # Threads

    async def read[T](self, work: Callable[[Entries], T]) -> T | None:
        """Read off the event loop; trouble is told and becomes None."""
        return await self._run(self._readers, work, "store")

    async def write[T](self, work: Callable[[Entries], T]) -> T | None:
        """Write off the event loop, after all that was begun before; trouble is told and becomes None."""
        return await self._run(self.writer, work, "store-write")

    async def _run[T](self, pool: ThreadPoolExecutor, work: Callable[[Entries], T], component: str) -> T | None:
        if self.entries is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(pool, self.guarded, work, component)

    def submit(self, work: Callable[[], None]) -> None:
        """The writer is to do this, and nobody waits for it."""
        with contextlib.suppress(RuntimeError):  # it is shut down
            self.writer.submit(work)

    def after_rest(self, work: Callable[[], None], began: float) -> None:
        """Later, and not at once: the disk and the processor are the clients' in between."""
        timer = threading.Timer((time.monotonic() - began) * RESTS, self.submit, (work,))
        timer.daemon = True
        timer.start()

    @property
    def patience(self) -> float:
        """Seconds that a write waits for another process's."""
        return SHORT_PATIENCE if "store-write" in self._health.problems or self._closed else WRITE_PATIENCE

    # Trouble

    def guarded[T](self, work: Callable[[Entries], T], component: str) -> T | None:
        """Work, on whichever thread this is; trouble is told and becomes None."""
        entries = self.entries
        if entries is None:
            return None
        try:
            result = work(entries)
        except TROUBLE as error:
            self.is_bad(component, error, "has trouble" if component == "store" else "cannot be written")
            if is_damage(error):
                self.submit(lambda: self.reopen(entries, damaged=True))
            return None
        self._health.clear(component)
        return result

    def is_bad(self, component: str, error: Exception, what: str) -> None:
        """Tell of trouble, under the name of what is at fault."""
        self._failed()
        why = described(error)
        if is_full(error):
            component = "disk"  # whoever found out; downloads are not led elsewhere for it
        elif is_out_of_handles(error):
            component, why = "file handles", f"{why}; raise the limit (ulimit -n, LimitNOFILE=)"
        self._health.report(component, f"the store in {self._directory} {what}: {why}")

    def recover(self) -> None:
        """The writer's, every few seconds: see whether trouble is over."""
        if "file handles" in self._health.problems and has_handles():
            self._health.clear("file handles")
        entries = self.entries
        if entries is None or not entries.in_place:
            if entries is not None:
                logger.warning(
                    "the store's folder %s is not the one that was opened; it is opened anew", self._directory
                )
            self.reopen(entries)
        elif {"store-write", "disk"} & self._health.problems.keys():
            self.guarded(lambda entries: entries.probe(), "store-write")
