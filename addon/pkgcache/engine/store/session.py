"""A store's folder as one process has it open: on threads of its own, and opened again when trouble is over.

Trouble (a full disk, a locked or damaged database, a missing folder, no file handles) never fails a request. It is reported once to
`Health`, the caller gets None, and `recover` tries every few seconds whether the cause is gone.
"""

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
"""Seconds that a write waits for another process's lock after the write before it has waited in vain, and while the store is closing."""

RESTS = 3.0
"""Background work rests so many times as long as it has worked, and so takes a quarter of the writer thread at most."""

READERS = 4


class StoreSession:
    """The open `Entries`, or None while they cannot be used.

    Reads have a few threads and writes have one, so that neither waits for the other; SQLite takes one writer at a time anyhow.
    """

    def __init__(
        self, directory: Path, make: Callable[[], Entries], health: Health, failed: Callable[[], None]
    ) -> None:
        """`make` makes the entries, not yet open; `failed` is called for each failure."""
        self._directory = directory
        self._make = make
        self._health = health
        self._failed = failed
        self.entries: Entries | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="store-look")
        self._closed = False

    def open(self) -> None:
        """Open or make the store; where it cannot be used there are no entries for now. Raises StoreFormatError for a newer format."""
        try:
            self._open()
        except TROUBLE as error:
            self.report("store", error, "cannot be used, nothing is kept")

    def _open(self, *, damaged: bool = False) -> None:
        entries = self._make()
        entries.open(damaged=damaged)
        clean_up(entries)
        self.entries = entries
        self._health.clear("store")
        self._health.clear("store-write")

    def reopen(self, failed: Entries | None, *, damaged: bool = False) -> None:
        """On the writer thread: open the store again, unless another call has already replaced `failed`."""
        if self.entries is not failed or self._closed:
            return
        damaged = damaged and failed is not None and failed.in_place  # else another process has set it aside already
        self.entries = None
        try:
            self._open(damaged=damaged)
        except (*TROUBLE, StoreFormatError) as error:
            self.report("store", error, "cannot be used, nothing is kept")

    async def close(self, last: Callable[[], None]) -> None:
        """Do the `last` work on the writer thread, end the threads, and close the database."""
        await self.write(lambda _: last())
        self._closed = True
        self._readers.shutdown(wait=True)
        self._looker.shutdown(wait=True)
        self.writer.shutdown(wait=True)
        if self.entries is not None:
            self.entries.close()

    # Threads

    async def read[T](self, work: Callable[[Entries], T]) -> T | None:
        """Read on another thread. Trouble is reported, and gives None."""
        return await self._run(self._readers, work, "store")

    async def write[T](self, work: Callable[[Entries], T]) -> T | None:
        """Write on the writer thread, after all that was submitted before. Trouble is reported, and gives None."""
        return await self._run(self.writer, work, "store-write")

    def look[T](self, work: Callable[[Entries], T]) -> asyncio.Future[T | None] | None:
        """Read on a thread of its own, so that slow reads do not delay it. None while there are no entries."""
        if self.entries is None or self._closed:
            return None
        return asyncio.get_running_loop().run_in_executor(self._looker, self.guarded, work, "store")

    async def _run[T](self, pool: ThreadPoolExecutor, work: Callable[[Entries], T], component: str) -> T | None:
        if self.entries is None or self._closed:  # a request may outlive the store by a moment, while the proxy stops
            return None
        return await asyncio.get_running_loop().run_in_executor(pool, self.guarded, work, component)

    def submit(self, work: Callable[[], None]) -> None:
        """Have the writer thread do something that nobody waits for."""
        with contextlib.suppress(RuntimeError):  # the store is closed
            self.writer.submit(work)

    def after_rest(self, work: Callable[[], None], began: float) -> None:
        """Have the writer thread go on after a rest, as long as RESTS times the work since `began`: clients need the disk in between."""
        timer = threading.Timer((time.monotonic() - began) * RESTS, self.submit, (work,))
        timer.daemon = True
        timer.start()

    @property
    def patience(self) -> float:
        """How many seconds a write waits for the lock of another process."""
        return SHORT_PATIENCE if "store-write" in self._health.problems or self._closed else WRITE_PATIENCE

    # Trouble

    def guarded[T](self, work: Callable[[Entries], T], component: str) -> T | None:
        """Run `work` on the calling thread. What `database.TROUBLE` names is reported to `Health` as `component`, and gives None."""
        entries = self.entries
        if entries is None:
            return None
        try:
            result = work(entries)
        except TROUBLE as error:
            self.report(component, error, "has trouble" if component == "store" else "cannot be written")
            if is_damage(error):
                self.submit(lambda: self.reopen(entries, damaged=True))
            return None
        self._health.clear(component)
        return result

    def report(self, component: str, error: Exception, what: str) -> None:
        """Report trouble to `Health`, as that of the component which is at fault."""
        self._failed()
        why = described(error)
        if is_full(error):
            component = (
                "disk"  # whatever was written; unlike `store-write` it does not send downloads to another folder
            )
        elif is_out_of_handles(error):
            component, why = "file handles", f"{why}; raise the limit (ulimit -n, LimitNOFILE=)"
        self._health.report(component, f"the store in {self._directory} {what}: {why}")

    def recover(self) -> None:
        """On the writer thread, every few seconds: see whether trouble is over."""
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
