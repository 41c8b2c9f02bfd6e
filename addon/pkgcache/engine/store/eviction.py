"""Which entries go when a store's folder has no room: past the limit in bytes, for a full disk, by age. Least recently used goes first.

A commit first evicts what would pass the limit together with it. To make that rare, eviction in the background begins at a high-water
mark and ends at a low one, a slice at a time, with commits in between (maintenance.py).
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from pkgcache.engine.store.database import ROW_BYTES, WRITE_PATIENCE, Database

logger = logging.getLogger(__name__)

LOW_WATER, HIGH_WATER = 0.9, 0.95
"""Shares of the limit: eviction in the background begins at the high one and ends at the low one."""

SLICE_ROWS = 16
"""Entries that are evicted within one transaction: a few milliseconds, for which other processes' writes wait."""

LEAST_DISK_SHARE = 0.1
"""`min_free` means no more than this share of the disk: on a small one, the default would keep nothing at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a store may grow: `max_size` bytes of its own, while `min_free` bytes of its disk stay free."""

    max_size: int
    min_free: int

    def min_free_on(self, directory: Path) -> int:
        """How many bytes stay free on the disk of this folder: `min_free`, or less on a small disk."""
        return min(self.min_free, int(shutil.disk_usage(directory).total * LEAST_DISK_SHARE))


class Eviction:
    """Drops entries of one open database. Methods raise what `database.TROUBLE` names."""

    def __init__(
        self,
        database: Database,
        directory: Path,
        limits: Limits,
        before_eviction: Callable[[], None],
        evicted: Callable[[int, int], None],
    ) -> None:
        """`before_eviction` writes down when entries were last asked for: an order that is out of date drops the wrong ones.

        `evicted` is told how many entries went, and of how many bytes.
        """
        self._database = database
        self._directory = directory
        self._limits = limits
        self._before_eviction = before_eviction
        self._evicted = evicted

    @property
    def min_free(self) -> int:
        """How many bytes of the disk stay free."""
        return self._limits.min_free_on(self._directory)

    def disk_figures(self) -> dict[str, int]:
        """Return how many bytes the disk has, how many are free, and how many are to stay free."""
        disk = shutil.disk_usage(self._directory)
        return {"disk_bytes": disk.total, "disk_free_bytes": disk.free, "disk_min_free_bytes": self.min_free}

    def lacking(self) -> int:
        """How many more bytes the disk should have free."""
        return max(0, self.min_free - shutil.disk_usage(self._directory).free)

    def check_disk(self) -> None:
        """Raise OSError (ENOSPC) where the disk has less than `min_free` free."""
        if lacking := self.lacking():
            raise OSError(errno.ENOSPC, f"the disk lacks {lacking:,} bytes of pypi_cache_min_free ({self.min_free:,})")

    def make_room(self, size: int, patience: float) -> None:
        """Evict until `size` more bytes fit below the limit."""
        over = self._database.volume() + size + ROW_BYTES - self._limits.max_size
        if over > 0:
            self._evict(over, patience)

    def has_disk_room(self, size: int) -> bool:
        """Whether `size` more bytes fit on the disk, beside `min_free`."""
        return size <= shutil.disk_usage(self._directory).free - self.min_free

    def make_disk_room(self, size: int) -> bool:
        """Evict until `size` more bytes fit on the disk: whether they do. Evicts nothing where they cannot fit at all."""
        needed = size - (shutil.disk_usage(self._directory).free - self.min_free)
        if needed > self._database.volume():
            return False
        if needed > 0:
            self._evict(needed, WRITE_PATIENCE)
        return self.has_disk_room(size)

    def excess(self) -> int:
        """How many bytes to evict in the background: none below the high-water mark, unless the disk lacks room."""
        volume = self._database.volume()
        full = volume > self._limits.max_size * HIGH_WATER or self.lacking() > 0
        return self.excess_now() if full else 0

    def excess_now(self) -> int:
        """How many bytes to evict once that has begun: down to the low-water mark, and until the disk has room."""
        volume = self._database.volume()
        return min(
            max(volume - int(self._limits.max_size * LOW_WATER), self.lacking(), 0),
            volume if len(self._database) else 0,
        )

    def evict_slice(self, excess: int) -> int:
        """Evict a few entries until `excess` bytes are gone: how many bytes went. 0: the store is empty."""
        rows = self._drop_rows("ORDER BY access_time LIMIT ?", (SLICE_ROWS,), excess, WRITE_PATIENCE)
        return sum(rows)

    def drop_inactive_slice(self, before: float) -> int:
        """Drop a few of the entries that nobody has asked for since `before` (seconds since the epoch): how many."""
        which = "WHERE access_time < ? ORDER BY access_time LIMIT ?"
        return len(self._drop_rows(which, (before, SLICE_ROWS), None, WRITE_PATIENCE))

    def _evict(self, excess: int, patience: float) -> None:
        """Drop the least recently used entries until `excess` bytes are gone."""
        self._before_eviction()
        dropped: list[int] = []
        while sum(dropped) < excess:
            some = self._drop_rows("ORDER BY access_time LIMIT ?", (SLICE_ROWS,), excess - sum(dropped), patience)
            if not some:
                break
            dropped += some
        logger.info("evicted %d entries, %d bytes, least recently used first", len(dropped), sum(dropped))

    def _drop_rows(self, which: str, values: tuple[float, ...], excess: int | None, patience: float) -> list[int]:
        """Drop rows in order until `excess` bytes are gone (None: all of them): their sizes.

        Files are removed before the transaction ends: a kill in between leaves rows without a file, which the next reader drops. The
        other way round it would leave files without a row, which nothing finds but `verify`.
        """
        select = f"SELECT rowid, CAST(max(size, coalesce(length(value), 0)) AS INTEGER) + {ROW_BYTES}, filename FROM Cache {which}"  # noqa: S608
        with self._database.transaction(patience):
            found = self._database.sql(select, values)
            sizes = [size for _, size, _ in found]
            if excess is not None:
                before = accumulate(sizes, initial=0)
                found = [row for row, freed in zip(found, before, strict=False) if freed < excess]
            marks = ",".join("?" * len(found))
            self._database.sql(f"DELETE FROM Cache WHERE rowid IN ({marks})", [rowid for rowid, _, _ in found])  # noqa: S608  marks only
            for _, _, filename in found:
                if filename is not None:
                    self._database.files.remove(filename)
        sizes = sizes[: len(found)]
        self._evicted(len(sizes), sum(sizes))
        return sizes
