"""What a store does in the background: evict, drop what nobody asks for, write access times down, and see whether its trouble is over.

A hit writes nothing: last-access times gather in memory and are written in batches. Eviction goes a slice at a time and rests in between,
on the one thread that writes, so that a commit never waits longer than a slice takes.
"""

from __future__ import annotations

import contextlib
import logging
import time

from pkgcache.engine.store.database import TROUBLE
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.session import StoreSession

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 30.0
"""How often access times are written down. A kill loses so many seconds of them, which makes eviction a little less exact."""


class Maintenance:
    """One process's share of the maintenance of a folder. All methods but `touch` are called on the session's writer thread."""

    def __init__(self, session: StoreSession, *, inactive: float) -> None:
        """`inactive`: after how many seconds an entry that nobody asks for is dropped; 0: never."""
        self._session = session
        self._inactive = inactive
        self._touched: dict[StoreKey, float] = {}
        self._next_flush = 0.0
        self._trimmed = 0
        self._trimming = False
        self._dropping = False

    def run(self) -> None:
        """Do what is due every few seconds."""
        self._session.recover()
        entries = self._session.entries
        if entries is None:
            return
        with contextlib.suppress(*TROUBLE):  # until it is made nothing is served from memory; no trouble beyond that
            entries.change_log.make(0.0)
        self.trim_if_full()
        if self._inactive and not self._dropping:
            self._drop_inactive()
        self._session.guarded(lambda entries: entries.eviction.check_disk(), "disk")

    # Access times

    def touch(self, key: StoreKey) -> None:
        """Note that an entry was asked for just now."""
        now = time.time()
        self._touched[key] = now
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_SECONDS
            self._session.submit(self.flush)

    def flush(self) -> None:
        """Write down the access times that have gathered."""
        touched, self._touched = self._touched, {}
        if touched:
            patience = self._session.patience
            self._session.guarded(lambda entries: entries.touch(touched, patience=patience), "store-write")

    # Eviction

    def trim_if_full(self) -> None:
        """Begin to evict in the background, if there is need and it is not going on already."""
        if not self._trimming and self._session.guarded(lambda entries: entries.eviction.excess() > 0, "store-write"):
            self.flush()
            self._trimming, self._trimmed = True, 0
            self._session.submit(self._trim)

    def _trim(self) -> None:
        """Evict one slice, and have the next one follow after a rest."""
        began = time.monotonic()
        excess = self._session.guarded(lambda entries: entries.eviction.excess_now(), "store-write") or 0
        freed = (
            self._session.guarded(lambda entries: entries.eviction.evict_slice(excess), "store-write") if excess else 0
        )
        if freed:
            self._trimmed += freed
            self._session.after_rest(self._trim, began)
        else:
            logger.info("evicted %d bytes, least recently used first", self._trimmed)
            self._trimming = False

    def _drop_inactive(self) -> None:
        """Drop one slice of what is inactive, and have the next one follow after a rest."""
        began = time.monotonic()
        self.flush()
        before = time.time() - self._inactive
        dropped = self._session.guarded(lambda entries: entries.eviction.drop_inactive_slice(before), "store-write")
        self._dropping = bool(dropped)
        if self._dropping:
            self._session.after_rest(self._drop_inactive, began)
