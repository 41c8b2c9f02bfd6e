"""Room for downloads while they grow: `max_size` holds for the entries and all growing files together, and `min_free` on their disk.

A download reserves its length, or where that is not known some more each time (`engine/fills/growth`), and is refused what could never
fit. Entries are evicted only for bytes that have come, a step ahead: an upstream that announces much and sends little evicts nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.eviction import Limits
from pkgcache.engine.store.session import StoreSession

GROW_STEP = 16 * 1024 * 1024
"""Bytes between two looks at the room for a growing file: each costs about a millisecond."""


class Room:
    """The reservations of one process. What other processes have written so far counts too."""

    def __init__(self, session: StoreSession, limits: Limits) -> None:
        self._session = session
        self._limits = limits
        self._reserved: dict[Path, int] = {}

    async def reserve(self, path: Path, size: int) -> bool:
        """Whether a download may grow to `size` bytes, beside those under way; evicts for what comes next. It may be asked again."""
        before = self._reserved.get(path)
        self._reserved[path] = size
        if await self._has_room(path.parent):
            return True
        if before is None:
            self.release(path)
        else:
            self._reserved[path] = before
        return False

    def release(self, path: Path) -> None:
        """End the reservation of a download that is over."""
        self._reserved.pop(path, None)

    async def _has_room(self, directory: Path) -> bool:
        entries = self._session.entries
        if entries is not None and directory == entries.growing:
            room = await self._session.read(lambda entries: self._fits(entries, directory))
            if room is False:
                room = await self._session.write(lambda entries: self._make_fit(entries, directory))
            if room is not None:  # else the store has trouble
                return room
        return await asyncio.to_thread(self._fits_disk, directory)

    def _fits(self, entries: Entries, directory: Path) -> bool:
        written = _written(directory)
        ahead = sum(written.values()) + min(GROW_STEP, self._outstanding(written))
        return (
            self._may_fit(written)
            and entries.database.volume() + ahead <= self._limits.max_size
            and entries.eviction.has_disk_room(self._outstanding(written))
        )

    def _make_fit(self, entries: Entries, directory: Path) -> bool:
        written = _written(directory)
        if not self._may_fit(written):
            return False
        entries.eviction.make_room(
            sum(written.values()) + min(GROW_STEP, self._outstanding(written)), self._session.patience
        )
        return entries.eviction.make_disk_room(self._outstanding(written))

    def _fits_disk(self, directory: Path) -> bool:
        """For a folder that is not the store's, where nothing can be evicted."""
        with contextlib.suppress(OSError):
            written = _written(directory)
            free = shutil.disk_usage(directory).free - self._limits.min_free_on(directory)
            return self._may_fit(written) and self._outstanding(written) <= free
        return True  # there is no such folder: whoever writes to it finds that out

    def _may_fit(self, written: dict[Path, int]) -> bool:
        """Whether all that grows stays within `max_size`, with every entry evicted."""
        others = sum(size for path, size in written.items() if path not in self._reserved)
        return sum(self._reserved.values()) + others <= self._limits.max_size

    def _outstanding(self, written: dict[Path, int]) -> int:
        """How many bytes the downloads under way have yet to write."""
        return sum(max(0, size - written.get(path, 0)) for path, size in self._reserved.items())


def _written(directory: Path) -> dict[Path, int]:
    """The growing files in a folder, of all processes, and how many bytes each has."""
    found: dict[Path, int] = {}
    with os.scandir(directory) as files:
        for file in files:
            if file.name.endswith(".part"):
                with contextlib.suppress(FileNotFoundError):
                    found[directory / file.name] = file.stat().st_size
    return found
