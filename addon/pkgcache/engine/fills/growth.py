"""Room for one growing file, asked for in steps: its whole length where that is known, else a little more each time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from pkgcache.engine.store.room import GROW_STEP
from pkgcache.engine.upstream.errors import NoRoomError

UNKNOWN_STEP = 1024 * 1024
"""How much is reserved ahead for a file of unknown length: it may end at any time, and others need the room too."""


class Growth:
    """How far a file may grow without asking again. `reserve(path, size)` says whether it may grow to `size` bytes."""

    def __init__(self, path: Path, reserve: Callable[[Path, int], Awaitable[bool]]) -> None:
        self._path = path
        self._reserve = reserve
        self._granted = -1

    async def cover(self, end: int, total: int | None) -> None:
        """See that there is room for the bytes before `end` of a file of `total` bytes (None: not known). Raises NoRoomError."""
        if end <= self._granted:
            return
        for size in (end + UNKNOWN_STEP, end) if total is None else (total,):
            if await self._reserve(self._path, size):
                self._granted = size if total is None else end + GROW_STEP
                return
        raise NoRoomError(f"{end if total is None else total:,} bytes of it do not fit beside what is to be left free")
