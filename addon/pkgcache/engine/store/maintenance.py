"""What is done behind everybody's back on an open store: eviction, access times written down in batches, trouble looked after.

A hit writes nothing: last-access times gather in memory. Eviction is a slice at a time, with rests, on the thread that writes.
"""

from __future__ import annotations

import logging
import time

from pkgcache.engine.store.session import StoreSession

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 30.0


class Maintenance:
    """For one process. What is the writer's must be called on its thread."""

    def __init__(self, access: StoreSession, *, inactive: float) -> None:
        """`inactive`: seconds after which what nobody asks for is dropped; 0: never."""
        self._access = access
        self._inactive = inactive
        self._touched: dict[str, float] = {}
        self._next_flush = 0.0
        self._trimmed = 0
        self._trimming = False
        self._dropping = False

    def run(self) -> None:
        """The writer's, every few seconds: see whether trouble is over, evict, drop what is inactive."""
        self._access.recover()
        if self._access.entries is None:
            return
        self.trim_if_full()
        if self._inactive and not self._dropping:
            self._drop_inactive()
        self._access.guarded(lambda entries: entries.check_disk(), "disk")

    # Access times

    def touch(self, key: str) -> None:
        """An entry was asked for."""
        now = time.time()
        self._touched[key] = now
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_SECONDS
            self._access.submit(self.flush)

    def flush(self) -> None:
        """The writer's: write down what has gathered."""
        touched, self._touched = self._touched, {}
        if touched:
            patience = self._access.patience
            self._access.guarded(lambda entries: entries.touch(touched, patience=patience), "store-write")

    # Eviction

    def trim_if_full(self) -> None:
        """The writer's: evict in the background, a slice at a time, so that commits come in between."""
        if not self._trimming and self._access.guarded(lambda entries: entries.excess() > 0, "store-write"):
            self.flush()
            self._trimming, self._trimmed = True, 0
            self._access.submit(self._trim)

    def _trim(self) -> None:
        began = time.monotonic()
        excess = self._access.guarded(lambda entries: entries.excess_now(), "store-write") or 0
        freed = self._access.guarded(lambda entries: entries.evict_slice(excess), "store-write") if excess else 0
        if freed:
            self._trimmed += freed
            self._access.after_rest(self._trim, began)
        else:
            logger.info("evicted %d bytes, least recently used first", self._trimmed)
            self._trimming = False

    def _drop_inactive(self) -> None:
        began = time.monotonic()
        self.flush()
        before = time.time() - self._inactive
        dropped = self._access.guarded(lambda entries: entries.drop_inactive_slice(before), "store-write")
        self._dropping = bool(dropped)
        if self._dropping:
            self._access.after_rest(self._drop_inactive, began)
