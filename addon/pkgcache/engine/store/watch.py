"""Whether what memory holds of the store may still be believed: one look a second for all of it, at what has changed (change_log.py).

What another process has purged, evicted or replaced is served for no longer than HOT_SECONDS. A look is made only while memory is
asked for something: an idle proxy looks at nothing, and the first request after that goes through the store. So does every request
while looks fail or take too long.

`StoreWatch.memory` makes the memories that are watched. The event loop alone uses them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pkgcache.engine.store.change_log import Changes
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.lru import ByteLru
from pkgcache.engine.store.session import StoreSession

HOT_SECONDS = 1.0
"""How long a look is good for."""

LOOK_SECONDS = 0.6
"""After how long the next request begins another look: well before the last one is out of date, so that no request waits for one."""


_IN_DOUBT: Final = -1


@dataclass(slots=True)
class _Kept[V]:
    value: V
    read_at: int


class WatchedMemory[V]:
    """Values by the keys of the entries that they were read from. They are given while nothing has changed those entries."""

    def __init__(self, limit: int, is_current: Callable[[], bool], used: Callable[[StoreKey], None]) -> None:
        """`limit`: of the sizes together. `used` is called with the key of each value that is given."""
        self._values: ByteLru[StoreKey, _Kept[V]] = ByteLru(limit)
        self._is_current = is_current
        self._used = used
        self._valid_from = 0
        self.moment = 0
        """Counts what was heard of changes. What `put` wants to know: when the reading began."""

    def get(self, key: StoreKey) -> V | None:
        """The value, if it is in memory and is still what the store has."""
        kept = self._values.get(key)
        if not self._is_current() or kept is None or kept.read_at < self._valid_from:
            return None  # a look was asked for even where there is nothing yet
        self._used(key)
        return kept.value

    def get_unchecked(self, key: StoreKey) -> V | None:
        """The value, if it is in memory; its entry may have changed."""
        kept = self._values.get(key)
        return kept.value if kept is not None else None

    def put(self, key: StoreKey, value: V, size: int, began: int) -> None:
        """Keep what was read from the store, and in doubt if anything has changed since its reading `began` (`moment`).

        The line that tells of a change is read once: what was read before the change must not be believed after that.
        """
        self._values.put(key, _Kept(value, began if began == self.moment else _IN_DOUBT), size)

    def doubt(self, key: StoreKey) -> None:
        """Give a value no more until it is put again: its entry has changed."""
        self.moment += 1
        if kept := self._values.get(key):
            kept.read_at = _IN_DOUBT

    def doubt_all(self) -> None:
        """Give no value until it is put again."""
        self.moment += 1
        self._valid_from = self.moment

    def drop(self, key: StoreKey) -> None:
        """Remove a value, because its entry is being changed."""
        self.moment += 1
        self._values.drop(key)


class StoreWatch:
    """Looks at what has changed in the store, while that is asked for. `used`: as of `WatchedMemory`."""

    def __init__(self, session: StoreSession, used: Callable[[StoreKey], None]) -> None:
        self._session = session
        self._used = used
        self._memories: list[WatchedMemory[Any]] = []
        self._seen = 0.0
        self._looking = False

    def memory[V](self, limit: int) -> WatchedMemory[V]:
        """Make a memory of what is read from the store."""
        memory: WatchedMemory[V] = WatchedMemory(limit, self.is_current, self._used)
        self._memories.append(memory)
        return memory

    def is_current(self) -> bool:
        """Whether a look within the last HOT_SECONDS was good. Begins the next one when that is due."""
        age = time.time() - self._seen
        if not (0 <= age < LOOK_SECONDS or self._looking):
            self._begin()
        return 0 <= age <= HOT_SECONDS

    async def look(self) -> None:
        """Look now."""
        if (look := self._begin()) is not None:
            await look

    def _begin(self) -> asyncio.Future[Changes | None] | None:
        began = time.time()
        look = self._session.look(_changes)
        if look is None:
            self._seen = 0.0
            return None
        self._looking = True
        look.add_done_callback(partial(self._ended, began))
        return look

    def _ended(self, began: float, look: asyncio.Future[Changes | None]) -> None:
        """Act on a look. It is good from when it began: what changed meanwhile it may have missed."""
        self._looking = False
        changes = None if look.cancelled() else look.result()
        if changes is None:
            self._seen = 0.0  # what has changed until now the next good look tells
            return
        for memory in self._memories:
            if changes.unknown:
                memory.doubt_all()
            for key in changes.keys:
                memory.doubt(key)
        self._seen = began


def _changes(entries: Entries) -> Changes | None:
    """On the thread that looks. None where the folder is not the one that was opened, or has no log."""
    return entries.change_log.new() if entries.in_place else None
