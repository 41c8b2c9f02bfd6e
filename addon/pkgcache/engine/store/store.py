"""The store as the event loop sees it: entries on disk by key (entries.py), behind threads (access.py), and a memory of hot ones.

A hit writes nothing: last-access times are gathered (housekeeping.py). A small file that was asked for lately is not even
opened: what the store said of it is believed for HOT_SECONDS, then its row is looked at again, since other processes may have changed
it. Bytes are written behind the caller's back (`put`), and can be read at once; a commit that must wait for another process's lock so
makes no client wait.

Trouble (a full disk, a locked or damaged database, a missing folder, no file handles) is never an answer's trouble: it is told once, the
caller sees a miss, and `tend` tries every few seconds whether the cause is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store.entries import Entries, Entry, Notes, file_stem
from pkgcache.engine.store.integrity import mismatch
from pkgcache.engine.store.lru import ByteLru
from pkgcache.engine.store.maintenance import Maintenance
from pkgcache.engine.store.session import StoreSession
from pkgcache.rules.routing.digests import Digest

logger = logging.getLogger(__name__)

HOT_SECONDS = 1.0
HOT_BYTES = 256 * 1024
"""Files up to this size are held in memory."""

TEND_SECONDS = 5.0
COMMIT_PATIENCE = 2.0

PENDING_BYTES = 64 << 20
"""Once so much is yet to be written, whoever brings more waits."""


@dataclass(frozen=True, slots=True)
class _Hot:
    entry: Entry
    seen: float


@dataclass(frozen=True, slots=True)
class _Pending:
    value: bytes
    notes: Notes

    @property
    def entry(self) -> Entry:
        size = len(self.value)
        return Entry(notes={**self.notes, "size": size}, value=self.value, file=None, size=size)


class Store:
    """Entries by key, for one process of several that may share the folder. Every public coroutine keeps off the event loop."""

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
    ) -> None:
        self.directory = directory
        self.max_size = max_size
        self._min_free = min_free
        self._health = health
        self._elsewhere: Path | None = None
        self._access = StoreSession(directory, self._entries, health, failed)
        self._house = Maintenance(self._access, inactive=inactive)
        self._hot: ByteLru[str, _Hot] = ByteLru(memory)
        self._pending: dict[str, _Pending] = {}
        self._pending_bytes = 0
        self._noted: dict[str, Notes] = {}
        self._reserved: dict[Path, int] = {}
        self._damaged = damaged

    # Opening and closing

    def open(self) -> None:
        """Open or make the store; a folder that cannot be used leaves a store that keeps nothing for now (`tend`).

        Raises StoreFormatError for a store of a newer format.
        """
        self._access.open()

    def _entries(self) -> Entries:
        """The folder's entries, yet to be opened."""
        return Entries(
            self.directory, max_size=self.max_size, min_free=self._min_free, before_eviction=self._house.flush
        )

    @property
    def usable(self) -> bool:
        """Whether it keeps anything just now."""
        return self._access.entries is not None

    def takes(self, size: int | None) -> bool:
        """Whether it keeps something of this size just now, as far as the size is known."""
        return self.usable and (size is None or size <= self.max_size)

    @property
    def growing(self) -> Path:
        """Where downloads grow: in the store's folder, or while that cannot be written somewhere else, and are then not kept."""
        if self._access.entries is not None and "store-write" not in self._health.problems:
            return self._access.entries.growing
        if self._elsewhere is None:
            try:
                self._elsewhere = Path(tempfile.mkdtemp(prefix="pypi-cache-"))
            except OSError:
                return self.directory / "growing"
        return self._elsewhere

    async def flush_pending(self) -> None:
        """Wait until all that was put is written."""
        await asyncio.wrap_future(self._access.writer.submit(lambda: None))

    async def close(self) -> None:
        """Write down what is gathered and let go of the files."""
        await self._access.close(self._house.flush)
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)

    # Reading

    def from_memory(self, key: str) -> Entry | None:
        """The entry, if it is in memory and was seen in the store within the last second."""
        hot = self._hot.get(key)
        if hot is None or time.time() - hot.seen > HOT_SECONDS:
            return None
        self._house.touch(key)
        return replace(hot.entry, notes=dict(hot.entry.notes))

    async def get(self, key: str) -> Entry | None:
        """The entry of `key`, its value read or its file opened; None where there is none, or where the store has trouble."""
        if pending := self._pending.get(key):
            return pending.entry
        if entry := self.from_memory(key):
            return entry
        hot, noting = self._hot.get(key), key in self._noted
        entry = await self._access.read(lambda entries: self._get(entries, key, hot.entry if hot else None))
        if entry is None:
            self._hot.drop(key)
            return None
        if noting and key not in self._noted:  # written meanwhile, perhaps after the row was read
            if entry.file is not None:
                entry.file.close()
            return await self.get(key)
        self._house.touch(key)
        if noted := self._noted.get(key):
            return replace(entry, notes=dict(noted))
        if entry.file is None and key.startswith("file|"):
            self._hot.put(key, _Hot(entry, time.time()), entry.size + 2048)
            entry = replace(entry, notes=dict(entry.notes))
        return entry

    def _get(self, entries: Entries, key: str, hot: Entry | None) -> Entry | None:
        entry = entries.get(key, hot.mark if hot else None)
        if entry is None or entry.file is None:
            return replace(entry, value=hot.value) if entry is not None and hot and entry.mark == hot.mark else entry
        if entry.size > HOT_BYTES or not key.startswith("file|"):
            return entry
        with entry.file:
            value = entry.file.read()
        if fault := mismatch(Digest.parse(entry.notes["digest"]), [value]):
            if entries.drop_if_idle(key, mark=entry.mark):
                self._tell_damaged(key, fault)
            return None
        return replace(entry, value=value, file=None)

    async def drop_damaged(self, key: str, mark: object, why: str) -> None:
        """Forget a value that is not what was stored."""
        self._hot.drop(key)
        if await self._access.write(lambda entries: entries.drop(key, mark=mark)):
            self._tell_damaged(key, why)  # else another reader has found out, or it was replaced

    def _tell_damaged(self, key: str, why: str) -> None:
        self._damaged()
        logger.warning("%s: damaged on the disk (%s); dropped, to be fetched again", key, why)

    async def notes(self, key: str) -> Notes | None:
        """As `get`, the notes alone: nothing is opened for them."""
        if pending := self._pending.get(key):
            return pending.entry.notes
        if noted := self._noted.get(key):
            return dict(noted)
        notes = await self._access.read(lambda entries: entries.notes(key))
        if notes is not None:
            self._house.touch(key)
        elif pending := self._pending.get(key):  # put while it was looked for
            return pending.entry.notes
        return notes

    async def present(self, keys: list[str]) -> set[str]:
        """Which of the keys have an entry."""
        pending = {key for key in keys if key in self._pending}
        return pending | (await self._access.read(lambda entries: entries.present(keys)) or set())

    async def read(self, key: str) -> tuple[Notes, bytes] | None:
        """As `get`, with the whole value in memory."""
        if pending := self._pending.get(key):
            return pending.entry.notes, pending.value
        noting = key in self._noted
        found = await self._access.read(lambda entries: self._read(entries, key))
        if found is None:
            return None
        if noting and key not in self._noted:  # as above
            return await self.read(key)
        self._house.touch(key)
        return self._noted.get(key, found[0]), found[1]

    def _read(self, entries: Entries, key: str) -> tuple[Notes, bytes] | None:
        entry = entries.get(key)
        if entry is None:
            return None
        if entry.file is None:
            return entry.notes, entry.value
        with entry.file:
            return entry.notes, entry.file.read()

    async def find(self, key: str) -> Entry | None:
        """As `get`, but a commit that another process has begun is waited for: between its rename and its row nothing is seen."""
        patience = time.monotonic() + COMMIT_PATIENCE
        journal = self.growing / (file_stem(key) + ".commit")
        while journal.exists() and time.monotonic() < patience:
            await asyncio.sleep(0.02)
        return await self.get(key)

    # Writing

    async def put(self, key: str, value: bytes, notes: Notes) -> bool:
        """Store bytes, behind the caller's back: they can be read at once. False where the store keeps nothing just now."""
        if type(key) is not str or type(value) is not bytes:
            raise TypeError(f"the store takes bytes by a text, not {type(value).__name__} by {type(key).__name__}")
        if self._access.entries is None:
            return False
        pending, size = _Pending(value, notes), len(value)
        self._pending_bytes += size
        self._pending[key] = pending
        self._noted.pop(key, None)
        written = asyncio.get_running_loop().run_in_executor(self._access.writer, self._write, key, pending)
        written.add_done_callback(lambda _: self._no_longer_pending(size))
        if self._pending_bytes > PENDING_BYTES:
            await written
        return True

    def _write(self, key: str, pending: _Pending) -> None:
        """The writer's: what is pending, unless something newer is, or it was dropped."""
        try:
            if self._pending.get(key) is pending:
                self._access.guarded(
                    lambda entries: entries.put(key, pending.value, pending.notes, patience=self._access.patience),
                    "store-write",
                )
                self._house.trim_if_full()
        finally:
            if self._pending.get(key) is pending:
                del self._pending[key]

    def _no_longer_pending(self, size: int) -> None:
        """Counted where it was added, by the event loop: of two threads that count, one may lose what the other has done."""
        self._pending_bytes -= size

    async def adopt(self, key: str, path: Path, size: int, notes: Notes) -> bool:
        """Make a finished file of the `growing` folder an entry, by rename. False where it is not kept."""
        if self._access.entries is None or path.parent != self._access.entries.growing:
            return False
        self._hot.drop(key)
        return bool(await self._access.write(lambda entries: self._adopt(entries, key, path, size, notes)))

    def _adopt(self, entries: Entries, key: str, path: Path, size: int, notes: Notes) -> bool:
        kept = entries.adopt(key, path, size, notes, patience=self._access.patience)
        self._house.trim_if_full()
        return kept

    async def note(self, key: str, notes: Notes) -> None:
        """Replace an entry's notes and leave its value alone, behind the caller's back."""
        if pending := self._pending.get(key):
            await self.put(key, pending.value, notes)
        elif self._access.entries is not None:
            self._hot.drop(key)
            self._noted[key] = notes
            self._access.submit(lambda: self._write_notes(key, notes))

    def _write_notes(self, key: str, notes: Notes) -> None:
        """The writer's: notes that are pending, unless newer ones are."""
        if self._noted.get(key) is notes:
            self._access.guarded(
                lambda entries: entries.note(key, notes, patience=self._access.patience), "store-write"
            )
            if self._noted.get(key) is notes:
                del self._noted[key]

    async def drop(self, key: str) -> None:
        """Forget an entry."""
        self._pending.pop(key, None)
        self._noted.pop(key, None)
        self._hot.drop(key)
        await self._access.write(lambda entries: entries.drop(key))

    # Bounds

    async def reserve(self, path: Path, size: int) -> bool:
        """Whether the disk takes a download of `size` bytes beside those under way; what nobody asked for longest goes for it."""
        if self._access.entries is None or path.parent != self._access.entries.growing:
            return True
        self._reserved[path] = size
        room = await self._access.read(lambda entries: entries.has_disk_room(self._outstanding()))
        if room is False:
            room = await self._access.write(lambda entries: entries.make_disk_room(self._outstanding()))
        if room is False:
            self.release(path)
        return room is not False

    def release(self, path: Path) -> None:
        """A download is over."""
        self._reserved.pop(path, None)

    def _outstanding(self) -> int:
        """How many bytes the downloads under way have yet to bring."""
        total = 0
        for path, size in list(self._reserved.items()):
            with contextlib.suppress(OSError):
                size -= path.stat().st_size  # noqa: PLW2901
            total += max(0, size)
        return total

    # Looking after it

    async def run_maintenance(self) -> None:
        """What is to be done every few seconds: see whether trouble is over, evict, drop what is inactive."""
        await asyncio.get_running_loop().run_in_executor(self._access.writer, self._house.run)

    def fails_to_grow(self, error: OSError) -> None:
        """A download could not be written to the `growing` folder."""
        self._access.is_bad("store-write", error, "cannot be written, new files are not kept")

    async def figures(self) -> dict[str, int]:
        """Entries and bytes, for the pages that show them."""
        found = await self._access.read(lambda entries: entries.figures())
        return found or {"entries": 0, "bytes": 0, "max_bytes": self.max_size}
