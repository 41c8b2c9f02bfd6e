"""What goes from a store's folder when there is no room for it: by the limit in bytes, by the disk, by age. Least recently used goes first.

Before something comes in, what would pass the limit is evicted at once; in the background eviction begins at a high-water mark and ends
at a low one, a slice at a time, so that commits come in between.
"""

from __future__ import annotations

import errno
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

from pkgcache.engine.store.database import ROW_BYTES, WRITE_PATIENCE, Database

logger = logging.getLogger(__name__)

LOW_WATER, HIGH_WATER = 0.9, 0.95
"""Shares of the limit: eviction in the background begins at the high one and ends at the low one."""

SLICE_ROWS = 16
"""Entries that are evicted within one transaction: a few milliseconds."""

LEAST_DISK_SHARE = 0.1
"""`min_free` means no more than this share of the disk: on a small one, the default would keep nothing at all."""


class Bounds(ABC):
    """The half of `Entries` that evicts."""

    def __init__(self, directory: Path, *, max_size: int, min_free: int, before_eviction: Callable[[], None]) -> None:
        """`before_eviction` is to write down when entries were last asked for."""
        self.directory = directory
        self.max_size = max_size
        self._min_free = min_free
        self._before_eviction = before_eviction

    @property
    @abstractmethod
    def database(self) -> Database:
        """The open database."""

    @property
    def min_free(self) -> int:
        """Bytes of the disk to leave free."""
        return min(self._min_free, int(shutil.disk_usage(self.directory).total * LEAST_DISK_SHARE))

    def lacking(self) -> int:
        """How many bytes the disk lacks of what is to be left free."""
        return max(0, self.min_free - shutil.disk_usage(self.directory).free)

    def check_disk(self) -> None:
        """Raises OSError where the disk has less free than is to be left."""
        if lacking := self.lacking():
            raise OSError(errno.ENOSPC, f"the disk lacks {lacking:,} bytes of pypi_cache_min_free ({self.min_free:,})")

    def make_room(self, size: int, patience: float) -> None:
        """Before something comes in: evict what would pass the limit."""
        over = self.database.volume() + size + ROW_BYTES - self.max_size
        if over > 0:
            self._evicted(self._evict(over, patience))

    def has_disk_room(self, size: int) -> bool:
        """Whether the disk takes `size` more bytes beside what it is to leave free."""
        return size <= shutil.disk_usage(self.directory).free - self.min_free

    def make_disk_room(self, size: int) -> bool:
        """See to it that it does, by evicting: whether that is possible."""
        needed = size - (shutil.disk_usage(self.directory).free - self.min_free)
        if needed > self.database.volume():
            return False
        if needed > 0:
            self._evicted(self._evict(needed, WRITE_PATIENCE))
        return self.has_disk_room(size)

    def excess(self) -> int:
        """How many bytes are to go in the background: down to the low-water mark, and until the disk has room."""
        volume = self.database.volume()
        full = volume > self.max_size * HIGH_WATER or self.lacking() > 0
        return self.excess_now() if full else 0

    def excess_now(self) -> int:
        """As `excess`, once eviction has begun."""
        volume = self.database.volume()
        return min(max(volume - int(self.max_size * LOW_WATER), self.lacking(), 0), volume if len(self.database) else 0)

    def evict_slice(self, excess: int) -> int:
        """Evict a few entries, at most about `excess` bytes: how many bytes went. 0: there is nothing left."""
        rows = self._drop_rows("ORDER BY access_time LIMIT ?", (SLICE_ROWS,), excess, WRITE_PATIENCE)
        return sum(rows)

    def drop_inactive_slice(self, before: float) -> int:
        """Drop a few of the entries that nobody asked for since `before`: how many."""
        which = "WHERE access_time < ? ORDER BY access_time LIMIT ?"
        return len(self._drop_rows(which, (before, SLICE_ROWS), None, WRITE_PATIENCE))

    def _evict(self, excess: int, patience: float) -> list[int]:
        """Drop the entries that nobody asked for longest until `excess` bytes are gone: their sizes."""
        self._before_eviction()
        dropped: list[int] = []
        while sum(dropped) < excess:
            some = self._drop_rows("ORDER BY access_time LIMIT ?", (SLICE_ROWS,), excess - sum(dropped), patience)
            if not some:
                break
            dropped += some
        return dropped

    def _evicted(self, sizes: list[int]) -> None:
        logger.info("evicted %d entries, %d bytes, least recently used first", len(sizes), sum(sizes))

    def _drop_rows(self, which: str, values: tuple[float, ...], excess: int | None, patience: float) -> list[int]:
        """Drop rows in order until `excess` bytes are gone (None: all of them): their sizes.

        Files go before the rows are gone: a kill in between leaves rows that heal themselves, and no file that nobody knows.
        """
        select = f"SELECT rowid, max(size, coalesce(length(value), 0)) + {ROW_BYTES}, filename FROM Cache {which}"  # noqa: S608
        with self.database.transaction(patience):
            found = self.database.sql(select, values)
            sizes = [size for _, size, _ in found]
            if excess is not None:
                before = accumulate(sizes, initial=0)
                found = [row for row, freed in zip(found, before, strict=False) if freed < excess]
            marks = ",".join("?" * len(found))
            self.database.sql(f"DELETE FROM Cache WHERE rowid IN ({marks})", [rowid for rowid, _, _ in found])  # noqa: S608  marks only
            for _, _, filename in found:
                if filename is not None:
                    self.database.remove_file(filename)
        return sizes[: len(found)]
