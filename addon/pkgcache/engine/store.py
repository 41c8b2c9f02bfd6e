"""The store as the event loop sees it: entries on disk by key (engine/entries.py), threads before them, and a memory of hot ones.

A hit writes nothing: last-access times gather in memory and are flushed in batches. A small file that was asked for lately is not even
opened: what the store said of it is believed for HOT_SECONDS, then its row is looked at again, since other processes may have changed
it. Bytes are written behind the caller's back (`put`), and can be read at once; a commit that must wait for another process's lock so
makes no client wait.

Trouble (a full disk, a locked or damaged database, a missing folder, no file handles) is never an answer's trouble: it is reported
once, the caller sees a miss, and `tend` tries every few seconds whether the cause is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pkgcache.engine.database import TROUBLE, described, has_handles, is_damage, is_full, is_out_of_handles
from pkgcache.engine.entries import WRITE_PATIENCE, Entries, Entry, Notes, StoreFormatError, file_stem
from pkgcache.engine.health import Health
from pkgcache.engine.memory import Memory
from pkgcache.engine.upkeep import clean_up
from pkgcache.rules.digests import Digest

logger = logging.getLogger(__name__)

HOT_SECONDS = 1.0
HOT_BYTES = 256 * 1024
"""Files up to this size are held in memory."""

TEND_SECONDS = 5.0
FLUSH_SECONDS = 30.0
COMMIT_PATIENCE = 2.0
SHORT_PATIENCE = 0.5
"""How long a write waits for a lock while the one before has waited in vain."""

RESTS = 3.0
"""Eviction in the background rests so many times as long as it has worked."""

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
        self._inactive = inactive
        self._health = health
        self._entries: Entries | None = None
        self._elsewhere: Path | None = None
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="store-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._hot: Memory[str, _Hot] = Memory(memory)
        self._pending: dict[str, _Pending] = {}
        self._pending_bytes = 0
        self._noted: dict[str, Notes] = {}
        self._touched: dict[str, float] = {}
        self._next_flush = 0.0
        self._trimming = 0
        self._dropping = False
        self._closed = False
        self._reserved: dict[Path, int] = {}
        self._failed = failed
        self._damaged = damaged

    # Opening and closing

    def open(self) -> None:
        """Open or make the store; a folder that cannot be used leaves a store that keeps nothing for now (`tend`).

        Raises StoreFormatError for a store of a newer format.
        """
        try:
            self._open()
        except TROUBLE as error:
            self._is_bad("store", error, "cannot be used, nothing is kept")

    def _open(self, *, damaged: bool = False) -> None:
        entries = Entries(self.directory, max_size=self.max_size, min_free=self._min_free, before_eviction=self._flush)
        entries.open(damaged=damaged)
        clean_up(entries)
        self._entries = entries
        self._health.good("store")
        self._health.good("store-write")

    def _reopen(self, failed: Entries | None, *, damaged: bool = False) -> None:
        """The writer's: open the store anew, if `failed` is still the one that is in use."""
        if self._entries is not failed or self._closed:
            return
        damaged = damaged and failed is not None and failed.in_place  # else a sibling has set it aside already
        self._entries = None
        try:
            self._open(damaged=damaged)
        except (*TROUBLE, StoreFormatError) as error:
            self._is_bad("store", error, "cannot be used, nothing is kept")

    @property
    def usable(self) -> bool:
        """Whether it keeps anything just now."""
        return self._entries is not None

    @property
    def growing(self) -> Path:
        """Where downloads grow: in the store's folder, or while that cannot be written somewhere else, and are then not kept."""
        if self._entries is not None and "store-write" not in self._health.trouble:
            return self._entries.growing
        if self._elsewhere is None:
            try:
                self._elsewhere = Path(tempfile.mkdtemp(prefix="pypi-cache-"))
            except OSError:
                return self.directory / "growing"
        return self._elsewhere

    async def settle(self) -> None:
        """Wait until all that was put is written."""
        await asyncio.wrap_future(self._writer.submit(lambda: None))

    async def close(self) -> None:
        """Write down what is gathered and let go of the files."""
        await self._in(self._writer, lambda _: self._flush())
        self._closed = True
        self._readers.shutdown(wait=True)
        self._writer.shutdown(wait=True)
        if self._entries is not None:
            self._entries.close()
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)

    # Reading

    def at_once(self, key: str) -> Entry | None:
        """The entry, if it is in memory and was seen in the store within the last second."""
        hot = self._hot.get(key)
        if hot is None or time.time() - hot.seen > HOT_SECONDS:
            return None
        self._touch(key)
        return replace(hot.entry, notes=dict(hot.entry.notes))

    async def get(self, key: str) -> Entry | None:
        """The entry of `key`, its value read or its file opened; None where there is none, or where the store has trouble."""
        if pending := self._pending.get(key):
            return pending.entry
        if entry := self.at_once(key):
            return entry
        hot, noting = self._hot.get(key), key in self._noted
        entry = await self._in(self._readers, lambda entries: self._get(entries, key, hot.entry if hot else None))
        if entry is None:
            self._hot.drop(key)
            return None
        if noting and key not in self._noted:  # written meanwhile, perhaps after the row was read
            if entry.file is not None:
                entry.file.close()
            return await self.get(key)
        self._touch(key)
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
        digest = Digest.parse(entry.notes["digest"])
        hasher = digest.hasher()
        hasher.update(value)
        if hasher.hexdigest() != digest.value:
            self._drop_damaged(entries, key, entry.mark, f"its {digest.algorithm} is {hasher.hexdigest()}")
            return None
        return replace(entry, value=value, file=None)

    async def drop_damaged(self, key: str, mark: object, why: str) -> None:
        """Forget a value that is not what was stored."""
        self._hot.drop(key)
        await self._in(self._writer, lambda entries: self._drop_damaged(entries, key, mark, why))

    def _drop_damaged(self, entries: Entries, key: str, mark: object, why: str) -> None:
        if entries.drop(key, mark=mark):  # else another reader has found out, or it was replaced
            self._damaged()
            logger.warning("%s: damaged on the disk (%s); dropped, to be fetched again", key, why)

    async def notes(self, key: str) -> Notes | None:
        """As `get`, the notes alone: nothing is opened for them."""
        if pending := self._pending.get(key):
            return pending.entry.notes
        if noted := self._noted.get(key):
            return dict(noted)
        notes = await self._in(self._readers, lambda entries: entries.notes(key))
        if notes is not None:
            self._touch(key)
        return notes

    async def present(self, keys: list[str]) -> set[str]:
        """Which of the keys have an entry."""
        pending = {key for key in keys if key in self._pending}
        return pending | (await self._in(self._readers, lambda entries: entries.present(keys)) or set())

    async def read(self, key: str) -> tuple[Notes, bytes] | None:
        """As `get`, with the whole value in memory."""
        if pending := self._pending.get(key):
            return pending.entry.notes, pending.value
        noting = key in self._noted
        found = await self._in(self._readers, lambda entries: self._read(entries, key))
        if found is None:
            return None
        if noting and key not in self._noted:  # as above
            return await self.read(key)
        self._touch(key)
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
        if self._entries is None:
            return False
        pending = _Pending(value, notes)
        self._pending_bytes += len(value)
        self._pending[key] = pending
        self._noted.pop(key, None)
        written = asyncio.get_running_loop().run_in_executor(self._writer, self._write, key, pending)
        if self._pending_bytes > PENDING_BYTES:
            await written
        return True

    def _write(self, key: str, pending: _Pending) -> None:
        """The writer's: what is pending, unless something newer is, or it was dropped."""
        try:
            if self._pending.get(key) is pending:
                self._guarded(
                    lambda entries: entries.put(key, pending.value, pending.notes, patience=self._patience),
                    "store-write",
                )
                self._trim_if_full()
        finally:
            if self._pending.get(key) is pending:
                del self._pending[key]
            self._pending_bytes -= len(pending.value)

    async def adopt(self, key: str, path: Path, size: int, notes: Notes) -> bool:
        """Make a finished file of the `growing` folder an entry, by rename. False where it is not kept."""
        if self._entries is None or path.parent != self._entries.growing:
            return False
        self._hot.drop(key)
        return bool(await self._in(self._writer, lambda entries: self._adopt(entries, key, path, size, notes)))

    def _adopt(self, entries: Entries, key: str, path: Path, size: int, notes: Notes) -> bool:
        kept = entries.adopt(key, path, size, notes, patience=self._patience)
        self._trim_if_full()
        return kept

    async def note(self, key: str, notes: Notes) -> None:
        """Replace an entry's notes and leave its value alone, behind the caller's back."""
        if pending := self._pending.get(key):
            await self.put(key, pending.value, notes)
        elif self._entries is not None:
            self._hot.drop(key)
            self._noted[key] = notes
            self._later(lambda: self._write_notes(key, notes))

    def _write_notes(self, key: str, notes: Notes) -> None:
        """The writer's: notes that are pending, unless newer ones are."""
        if self._noted.get(key) is notes:
            self._guarded(lambda entries: entries.note(key, notes, patience=self._patience), "store-write")
            if self._noted.get(key) is notes:
                del self._noted[key]

    async def drop(self, key: str) -> None:
        """Forget an entry."""
        self._pending.pop(key, None)
        self._noted.pop(key, None)
        self._hot.drop(key)
        await self._in(self._writer, lambda entries: entries.drop(key))

    @property
    def _patience(self) -> float:
        return SHORT_PATIENCE if "store-write" in self._health.trouble or self._closed else WRITE_PATIENCE

    # Bounds

    async def reserve(self, path: Path, size: int) -> bool:
        """Whether the disk takes a download of `size` bytes beside those under way; what nobody asked for longest goes for it."""
        if self._entries is None or path.parent != self._entries.growing:
            return True
        self._reserved[path] = size
        room = await self._in(self._readers, lambda entries: entries.has_disk_room(self._outstanding()))
        if room is False:
            room = await self._in(self._writer, lambda entries: entries.make_disk_room(self._outstanding()))
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

    def _trim_if_full(self) -> None:
        """The writer's: evict in the background, a slice at a time, so that commits come in between."""
        if not self._trimming and self._guarded(lambda entries: entries.excess() > 0, "store-write"):
            self._flush()
            self._trimming = 1
            self._later(self._trim)

    def _trim(self) -> None:
        began = time.monotonic()
        excess = self._guarded(lambda entries: entries.excess_now(), "store-write") or 0
        freed = self._guarded(lambda entries: entries.evict_slice(excess), "store-write") if excess else 0
        if freed:
            self._trimming += freed
            self._rested(self._trim, began)
        else:
            logger.info("evicted %d bytes, least recently used first", self._trimming - 1)
            self._trimming = 0

    def _later(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the writer is shut down
            self._writer.submit(work)

    def _rested(self, work: Callable[[], None], began: float) -> None:
        """Later, and not at once: the disk and the processor are the clients' in between."""
        timer = threading.Timer((time.monotonic() - began) * RESTS, self._later, (work,))
        timer.daemon = True
        timer.start()

    def _drop_inactive(self) -> None:
        began = time.monotonic()
        self._flush()
        before = time.time() - self._inactive
        self._dropping = bool(self._guarded(lambda entries: entries.drop_inactive_slice(before), "store-write"))
        if self._dropping:
            self._rested(self._drop_inactive, began)

    # Looking after it

    async def tend(self) -> None:
        """What is to be done every few seconds: see whether trouble is over, evict, drop what is inactive."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._tend)

    def _tend(self) -> None:
        if "file handles" in self._health.trouble and has_handles():
            self._health.good("file handles")
        entries = self._entries
        if entries is None or not entries.in_place:
            if entries is not None:
                logger.warning(
                    "the store's folder %s is not the one that was opened; it is opened anew", self.directory
                )
            self._reopen(entries)
        elif {"store-write", "disk"} & self._health.trouble.keys():
            self._guarded(lambda entries: entries.probe(), "store-write")
        if self._entries is None:
            return
        self._trim_if_full()
        if self._inactive and not self._dropping:
            self._drop_inactive()
        self._guarded(lambda entries: entries.check_disk(), "disk")

    def fails_to_grow(self, error: OSError) -> None:
        """A download could not be written to the `growing` folder."""
        self._is_bad("store-write", error, "cannot be written, new files are not kept")

    # Access times

    def _touch(self, key: str) -> None:
        now = time.time()
        self._touched[key] = now
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_SECONDS
            self._later(self._flush)

    def _flush(self) -> None:
        touched, self._touched = self._touched, {}
        if touched:
            self._guarded(lambda entries: entries.touch(touched, patience=self._patience), "store-write")

    # Figures

    async def figures(self) -> dict[str, int]:
        """Entries and bytes, for the pages that show them."""
        found = await self._in(self._readers, lambda entries: entries.figures())
        return found or {"entries": 0, "bytes": 0, "max_bytes": self.max_size}

    # Threads and trouble

    async def _in[T](self, pool: ThreadPoolExecutor, work: Callable[[Entries], T]) -> T | None:
        """Run `work` off the event loop; trouble is reported and becomes None."""
        if self._entries is None:
            return None
        component = "store" if pool is self._readers else "store-write"
        return await asyncio.get_running_loop().run_in_executor(pool, self._guarded, work, component)

    def _guarded[T](self, work: Callable[[Entries], T], component: str) -> T | None:
        entries = self._entries
        if entries is None:
            return None
        try:
            result = work(entries)
        except TROUBLE as error:
            self._is_bad(component, error, "has trouble" if component == "store" else "cannot be written")
            if is_damage(error):
                self._later(lambda: self._reopen(entries, damaged=True))
            return None
        self._health.good(component)
        return result

    def _is_bad(self, component: str, error: Exception, what: str) -> None:
        self._failed()
        why = described(error)
        if is_full(error):
            component = "disk"  # whoever found out; downloads are not led elsewhere for it
        elif is_out_of_handles(error):
            component, why = "file handles", f"{why}; raise the limit (ulimit -n, LimitNOFILE=)"
        self._health.bad(component, f"the store in {self.directory} {what}: {why}")
