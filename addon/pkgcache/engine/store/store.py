"""The store as the event loop sees it: entries on disk by key, read and written on threads (session.py), and hot ones in memory.

- A hit writes nothing (maintenance.py gathers access times). Small files that were asked for are kept in memory, and given
  from there while the watch (watch.py) sees that no process has changed their entries.
- `put` and `note` return before anything is written (write_behind.py).
- Trouble with the folder never fails a request (session.py): a `get` gives None, a `put` gives False.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store.catalogue import Catalogue
from pkgcache.engine.store.entries import Entries, Entry, Notes
from pkgcache.engine.store.eviction import Limits
from pkgcache.engine.store.growing import file_stem
from pkgcache.engine.store.integrity import MOST_IN_MEMORY, expected_digest, mismatch
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.maintenance import Maintenance
from pkgcache.engine.store.room import Room
from pkgcache.engine.store.session import StoreSession
from pkgcache.engine.store.watch import StoreWatch, WatchedMemory
from pkgcache.engine.store.write_behind import WriteBehind

logger = logging.getLogger(__name__)

HOT_BYTES = 256 * 1024
"""Release files up to this size are kept in memory once they are asked for."""

HOT_OVERHEAD = 2048
"""What an entry in memory takes beside its value, about: notes with their headers, and the objects that hold them."""

MAINTENANCE_SECONDS = 5.0
COMMIT_PATIENCE = 2.0
"""Seconds that `find` waits for another process's commit, which takes milliseconds unless the disk is busy."""


class Store:
    """Entries by key, for one process of several that may share the folder. No public coroutine blocks the event loop."""

    def __init__(
        self,
        directory: Path,
        *,
        max_size: int,
        min_free: int,
        inactive: float,
        health: Health,
        memory: int = 0,
        failed: Callable[[], None] = lambda: None,
        damaged: Callable[[], None] = lambda: None,
        evicted: Callable[[int, int], None] = lambda _entries, _bytes: None,
    ) -> None:
        """`memory`: bytes for hot entries. `failed` is called for each failure of the folder, `damaged` for each damaged entry."""
        self.directory = directory
        self.max_size = max_size
        self._min_free = min_free
        self._health = health
        self._elsewhere: Path | None = None
        self._session = StoreSession(directory, self._entries, health, failed)
        self._maintenance = Maintenance(self._session, inactive=inactive)
        self._pending = WriteBehind(self._session, self._maintenance)
        self.watch = StoreWatch(self._session, self._maintenance.touch)
        self._hot: WatchedMemory[Entry] = self.watch.memory(memory)
        self.room = Room(self._session, Limits(max_size=max_size, min_free=min_free))
        self.catalogue = Catalogue(self._session)
        self._damaged = damaged
        self._evicted = evicted
        self.on_stored: Callable[[StoreKey], None] = lambda _key: None
        """Called with the key of each entry that is new, another version, or has other notes."""

    # Opening and closing

    def open(self) -> None:
        """Open or make the store. While the folder cannot be used nothing is kept, and `run_maintenance` tries again.

        Raises StoreFormatError for a store of a newer format.
        """
        self._session.open()

    def _entries(self) -> Entries:
        """Make the folder's entries, not yet open."""
        return Entries(
            self.directory,
            max_size=self.max_size,
            min_free=self._min_free,
            before_eviction=self._maintenance.flush,
            evicted=self._evicted,
        )

    @property
    def usable(self) -> bool:
        """Whether anything is kept just now."""
        return self._session.entries is not None

    def takes(self, size: int | None) -> bool:
        """Whether something of `size` bytes (None: unknown) is kept just now."""
        return self.usable and (size is None or size <= self.max_size)

    @property
    def growing(self) -> Path:
        """The folder where downloads are written: the store's, or while that cannot be written a temporary one, and then not kept."""
        if self._session.entries is not None and "store-write" not in self._health.problems:
            return self._session.entries.growing
        if self._elsewhere is None:
            try:
                self._elsewhere = Path(tempfile.mkdtemp(prefix="pypi-cache-"))
            except OSError:
                return self.directory / "growing"
        return self._elsewhere

    async def flush_pending(self) -> None:
        """Wait until everything that was put so far has been written."""
        await self._pending.flush()

    async def close(self) -> None:
        """Write what is pending and the access times, and close the database."""
        await self._session.close(self._maintenance.flush)
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)

    # Reading

    def from_memory(self, key: StoreKey) -> Entry | None:
        """Return the entry if it is in memory, and is still what the store has (watch.py)."""
        hot = self._hot.get(key)
        return hot and replace(hot, notes=dict(hot.notes))  # a copy: callers change the notes that they get

    async def get(self, key: StoreKey) -> Entry | None:
        """Return the entry of `key`, its value read or its file opened; None where there is none, or the store has trouble."""
        if pending := self._pending.value(key):
            return pending.entry
        if entry := self.from_memory(key):
            return entry
        hot, began, noting = self._hot.get_unchecked(key), self._hot.moment, self._pending.notes(key) is not None
        entry = await self._session.read(lambda entries: self._get(entries, key, hot))
        if entry is None:
            self._hot.drop(key)
            return None
        if noting and self._pending.notes(key) is None:
            # The pending notes were written meanwhile, perhaps after the row was read: its notes may be the old ones.
            if entry.file is not None:
                entry.file.close()
            return await self.get(key)
        self._maintenance.touch(key)
        if noted := self._pending.notes(key):
            return replace(entry, notes=dict(noted))
        if entry.file is None and key.startswith("file|"):
            self._hot.put(key, entry, entry.size + HOT_OVERHEAD, began)
            entry = replace(entry, notes=dict(entry.notes))
        return entry

    def _get(self, entries: Entries, key: StoreKey, hot: Entry | None) -> Entry | None:
        """On a reader thread: the entry, a small release file's value read and compared with its digest."""
        entry = entries.get(key, hot.mark if hot else None)
        if entry is None or entry.file is None:
            return replace(entry, value=hot.value) if entry is not None and hot and entry.mark == hot.mark else entry
        if entry.size > HOT_BYTES or not key.startswith("file|"):
            return entry  # a large release file is checked while it is sent (rehash.py)
        with entry.file:
            value = entry.file.read()
        try:
            fault = mismatch(expected_digest(key, entry.notes), [value])
        except ValueError as error:
            fault = str(error)
        if fault:
            if entries.drop_if_idle(key, mark=entry.mark):
                self._report_damage(key, fault)
            return None
        return replace(entry, value=value, file=None)

    async def drop_damaged(self, key: StoreKey, mark: object, why: str) -> None:
        """Drop a value that is not what was stored."""
        self._hot.drop(key)
        if await self._session.write(lambda entries: entries.drop(key, mark=mark)):
            self._report_damage(key, why)  # else another reader has dropped it, or it was replaced

    def _report_damage(self, key: StoreKey, why: str) -> None:
        self._damaged()
        logger.warning("%s: damaged on the disk (%s); dropped, to be fetched again", key, why)

    async def notes(self, key: StoreKey) -> Notes | None:
        """Return the notes of `key` alone, without opening a file; None as `get`."""
        if pending := self._pending.value(key):
            return pending.entry.notes
        if noted := self._pending.notes(key):
            return dict(noted)
        notes = await self._session.read(lambda entries: entries.notes(key))
        if notes is not None:
            self._maintenance.touch(key)
        elif pending := self._pending.value(key):  # put while the database was asked
            return pending.entry.notes
        return notes

    async def present(self, keys: list[StoreKey]) -> set[StoreKey]:
        """Return those of the keys that have an entry."""
        pending = {key for key in keys if self._pending.value(key)}
        return pending | (await self._session.read(lambda entries: entries.present(keys)) or set())

    async def read(self, key: StoreKey) -> tuple[Notes, bytes] | None:
        """Return the notes of `key` and its whole value; None as `get`."""
        if pending := self._pending.value(key):
            return pending.entry.notes, pending.value
        noting = self._pending.notes(key) is not None
        found = await self._session.read(lambda entries: _read(entries, key))
        if found is None:
            return None
        if noting and self._pending.notes(key) is None:  # as in `get`
            return await self.read(key)
        self._maintenance.touch(key)
        return self._pending.notes(key) or found[0], found[1]

    async def find(self, key: StoreKey) -> Entry | None:
        """Get an entry that another process may be committing: between the rename of its file and its row `get` would find nothing."""
        patience = time.monotonic() + COMMIT_PATIENCE
        journal = self.growing / (file_stem(key) + ".commit")
        while journal.exists() and time.monotonic() < patience:
            await asyncio.sleep(0.02)
        return await self.get(key)

    # Writing

    async def put(self, key: StoreKey, value: bytes, notes: Notes) -> bool:
        """Store bytes; they can be read at once, and are written a little later. False where nothing is kept just now."""
        if type(key) is not str or type(value) is not bytes:
            raise TypeError(f"the store takes bytes by a text, not {type(value).__name__} by {type(key).__name__}")
        if self._session.entries is None:
            return False
        self._hot.drop(key)
        await self._pending.put(key, value, notes)
        self.on_stored(key)
        return True

    async def adopt(self, key: StoreKey, path: Path, size: int, notes: Notes) -> bool:
        """Make a finished file of the `growing` folder an entry, by rename. False where it is not kept."""
        if self._session.entries is None or path.parent != self._session.entries.growing:
            return False
        self._hot.drop(key)
        adopted = bool(await self._session.write(lambda entries: self._adopt(entries, key, path, size, notes)))
        if adopted:
            self.on_stored(key)
        return adopted

    def _adopt(self, entries: Entries, key: StoreKey, path: Path, size: int, notes: Notes) -> bool:
        adopted = entries.adopt(key, path, size, notes, patience=self._session.patience)
        self._maintenance.trim_if_full()
        return adopted

    async def note(self, key: StoreKey, notes: Notes) -> None:
        """Replace an entry's notes and leave its value alone; they can be read at once, and are written a little later."""
        if pending := self._pending.value(key):
            await self.put(key, pending.value, notes)
        elif self._session.entries is not None:
            self._hot.drop(key)
            self._pending.note(key, notes)
            self.on_stored(key)

    async def drop(self, key: StoreKey) -> None:
        """Drop an entry."""
        self._pending.forget(key)
        self._hot.drop(key)
        await self._session.write(lambda entries: entries.drop(key))

    # Maintenance

    async def run_maintenance(self) -> None:
        """Do what is due every MAINTENANCE_SECONDS: see whether trouble is over, evict, drop what is inactive."""
        await asyncio.get_running_loop().run_in_executor(self._session.writer, self._maintenance.run)

    def fails_to_grow(self, error: OSError) -> None:
        """Report that a download could not be written to the `growing` folder."""
        self._session.report("store-write", error, "cannot be written, new files are not kept")

    async def figures(self) -> dict[str, int]:
        """Return how many `entries` and `bytes` there are, `max_bytes`, and what its disk has and is to keep free; zeros if unknown."""
        found = await self._session.read(lambda entries: entries.figures() | entries.eviction.disk_figures())
        unknown = dict.fromkeys(("entries", "bytes", "disk_bytes", "disk_free_bytes", "disk_min_free_bytes"), 0)
        return found or {**unknown, "max_bytes": self.max_size}


def _read(entries: Entries, key: StoreKey) -> tuple[Notes, bytes] | None:
    entry = entries.get(key)
    if entry is None:
        return None
    if entry.file is None:
        return entry.notes, entry.value
    with entry.file:
        if entry.size > MOST_IN_MEMORY:
            return None  # no page of ours; `verify` finds it
        return entry.notes, entry.file.read()
