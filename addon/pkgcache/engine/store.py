"""The store: entries on disk by key, bounded in bytes. The only importer of diskcache.

An entry is one row of diskcache: small values lie in SQLite, larger ones in a file beside it, and the row's tag holds the entry's
JSON notes. A finished download is adopted by rename, never copied. Values are bytes and keys are text; pickle is refused both ways
(CVE-2025-69872). Nothing expires by itself: entries carry their own times, because stale ones must stay readable.

A hit writes nothing: last-access times gather in memory and are flushed in batches. What must not be seen half done is noted in a
journal first, so that a kill at any instant leaves a whole entry or none. Trouble (a full disk, a locked or damaged database, a
missing file) is never an answer's trouble: it is reported once, and the caller sees a miss.

What is used of diskcache's private parts (`_sql`, the Cache table's columns) is held by tests/engine/test_diskcache_names.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import diskcache
from diskcache.core import MODE_BINARY, MODE_PICKLE, UNKNOWN

from pkgcache.engine.health import Health

logger = logging.getLogger(__name__)

FORMAT = 1
"""The version of keys and notes; an older or newer store is never misread (`_check_format`)."""

BUSY_SECONDS = 0.05
WRITE_PATIENCE = 10.0
LOW_WATER = 0.9
FLUSH_SECONDS = 30.0
COMMIT_PATIENCE = 2.0
KEYS_AT_ONCE = 500

_TROUBLE = (OSError, sqlite3.Error, diskcache.Timeout, ValueError)

type Notes = dict[str, Any]


class StoreFormatError(Exception):
    """The folder holds a store that this version cannot read: one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A finished file that becomes an entry's value by rename; `owner` is told the name it will have, before it has it."""

    path: Path
    size: int
    journal: Callable[[str], object]


@dataclass(slots=True)
class Entry:
    """What was found: the notes, and the value as bytes or as an open file of `size` bytes."""

    notes: Notes
    value: bytes
    file: IO[bytes] | None
    size: int


class AdoptingDisk(diskcache.Disk):  # type: ignore[misc]
    """diskcache's file layout, with adoption by rename and without pickle."""

    def put(self, key: Any) -> tuple[str, bool]:
        """Text keys only: anything else would be pickled."""
        if type(key) is not str:
            raise TypeError(f"store keys are text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> Any:
        """Refuse pickled keys."""
        if not raw:
            raise ValueError("a pickled key in the store")
        return super().get(key, raw)

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> tuple[int, int, str | None, Any]:
        """Adopt a file by rename; bytes as diskcache does it; nothing else."""
        if isinstance(value, Adopted):
            filename, full_path = self.filename(key, value)
            Path(full_path).parent.mkdir(parents=True, exist_ok=True)
            value.journal(filename)
            value.path.replace(full_path)
            return value.size, MODE_BINARY, filename, None
        if type(value) is not bytes:
            raise TypeError(f"store values are bytes, not {type(value).__name__}")
        result: tuple[int, int, str | None, Any] = super().store(value, read, key)
        return result

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        """Refuse pickled values."""
        if mode == MODE_PICKLE:
            raise ValueError("a pickled value in the store")
        return super().fetch(mode, filename, value, read)


class Store:
    """Entries by key, for one process of several that may share the folder. Every public coroutine keeps off the event loop."""

    def __init__(self, directory: Path, *, max_size: int, min_free: int, inactive: float, health: Health) -> None:
        self.directory = directory
        self.growing = directory / "growing"
        self.max_size = max_size
        self._min_free = min_free
        self._inactive = inactive
        self._health = health
        self._cache: diskcache.Cache | None = None
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="store-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._touched: dict[str, float] = {}
        self._next_flush = 0.0

    # Opening and closing

    def open(self) -> None:
        """Open or make the store. A damaged database is set aside; a folder that cannot be used leaves a store that keeps nothing.

        Raises StoreFormatError for a store of another format.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.growing.mkdir(mode=0o700, exist_ok=True)
            self._check_format()
            self._cache = self._open_cache()
            self._clean_up()
            self._health.good("store")
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            self._health.bad("store", f"the store in {self.directory} cannot be used, nothing is kept: {error}")
            self.growing = Path(tempfile.mkdtemp(prefix="pypi-cache-"))

    def _check_format(self) -> None:
        mark = self.directory / "format"
        try:
            found = mark.read_text().strip()
        except FileNotFoundError:
            mark.write_text(f"{FORMAT}\n")
            return
        if found != str(FORMAT):
            raise StoreFormatError(
                f"pypi_cache_dir={str(self.directory)!r}: its store has format {found}, and this version reads format {FORMAT}; "
                "give another folder, or the version that made it",
            )

    def _open_cache(self) -> diskcache.Cache:
        folder = self.directory / "entries"
        try:
            return _open(folder)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # locked, read-only, full: the database itself may be well
            aside = self.directory / f"entries.damaged-{int(time.time())}"
            folder.rename(aside)
            logger.warning(
                "the store's database was damaged (%s); it is set aside in %s and a new one begun", error, aside
            )
            return _open(folder)

    @property
    def usable(self) -> bool:
        """Whether it keeps anything."""
        return self._cache is not None

    async def close(self) -> None:
        """Write down what is gathered and let go of the files."""
        await self._in(self._writer, self._flush)
        self._readers.shutdown(wait=True)
        self._writer.shutdown(wait=True)
        if self._cache is not None:
            self._cache.close()
        if self.growing.parent != self.directory:
            shutil.rmtree(self.growing, ignore_errors=True)

    # Reading

    async def get(self, key: str) -> Entry | None:
        """The entry of `key`, its value read or its file opened; None where there is none, or where the store has trouble."""
        entry = await self._in(self._readers, lambda: self._get(key))
        if entry is not None:
            self._touch(key)
        return entry

    def _get(self, key: str) -> Entry | None:
        assert self._cache is not None
        missing = object()
        try:
            value, tag = self._cache.get(key, default=missing, read=True, tag=True)
            if value is missing:
                self._heal(key)
                return None
            notes = _read_notes(tag)
            size = len(value) if isinstance(value, bytes) else os.fstat(value.fileno()).st_size
            if size != notes["size"]:
                raise ValueError(f"it has {size} bytes and should have {notes['size']}")
        except (ValueError, TypeError, KeyError) as error:
            self._cache.delete(key)
            logger.warning("%s: a damaged entry (%s); dropped", key, error)
            return None
        if isinstance(value, bytes):
            return Entry(notes=notes, value=value, file=None, size=size)
        return Entry(notes=notes, value=b"", file=value, size=size)

    def _heal(self, key: str) -> None:
        """Drop a row whose file is gone."""
        assert self._cache is not None
        rows = self._cache._sql("SELECT rowid, filename FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchall()  # noqa: SLF001
        for rowid, filename in rows:
            if filename is not None and not (self.directory / "entries" / filename).exists():
                logger.warning("%s: its file is gone; dropped", key)
                with self._transaction() as cache:
                    cache._sql("DELETE FROM Cache WHERE rowid = ? AND filename = ?", (rowid, filename))  # noqa: SLF001

    async def notes(self, key: str) -> Notes | None:
        """As `get`, the notes alone: nothing is opened for them."""
        notes = await self._in(self._readers, lambda: self._notes(key))
        if notes is not None:
            self._touch(key)
        return notes

    def _notes(self, key: str) -> Notes | None:
        assert self._cache is not None
        rows = self._cache._sql("SELECT tag FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchall()  # noqa: SLF001
        try:
            return _read_notes(rows[0][0]) if rows else None
        except (ValueError, TypeError):
            return None  # `get` heals it

    async def present(self, keys: list[str]) -> set[str]:
        """Which of the keys have an entry."""
        return await self._in(self._readers, lambda: self._present(keys)) or set()

    def _present(self, keys: list[str]) -> set[str]:
        assert self._cache is not None
        found: set[str] = set()
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self._cache._sql(f"SELECT key FROM Cache WHERE raw = 1 AND key IN ({marks})", some).fetchall()  # noqa: S608, SLF001
            found.update(key for (key,) in rows)
        return found

    async def read(self, key: str) -> tuple[Notes, bytes] | None:
        """As `get`, with the whole value in memory."""
        return await self._in(self._readers, lambda: self._read(key))

    def _read(self, key: str) -> tuple[Notes, bytes] | None:
        entry = self._get(key)
        if entry is None:
            return None
        self._touched[key] = time.time()
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
        """Store bytes. False where the store has trouble."""
        return bool(await self._in(self._writer, lambda: self._set(key, value, len(value), notes)))

    async def adopt(self, key: str, path: Path, size: int, notes: Notes) -> bool:
        """Make a finished file of the `growing` folder an entry, by rename. False where it is not kept."""
        return bool(await self._in(self._writer, lambda: self._adopt(key, path, size, notes)))

    async def note(self, key: str, notes: Notes) -> None:
        """Replace an entry's notes and leave its value alone."""
        await self._in(self._writer, lambda: self._note(key, notes))

    async def drop(self, key: str) -> None:
        """Forget an entry."""
        await self._in(self._writer, lambda: self._drop(key))

    def _adopt(self, key: str, path: Path, size: int, notes: Notes) -> bool:
        if size > self.max_size:
            logger.warning(
                "%s: %d bytes are more than pypi_cache_max_size (%d); served, not kept", key, size, self.max_size
            )
            return False
        with path.open("rb") as finished:
            os.fsync(finished.fileno())
        journal = path.with_suffix(".commit")
        adopted = Adopted(path, size, lambda name: journal.write_text(json.dumps({"key": key, "filename": name})))
        kept = self._set(key, adopted, size, notes)
        journal.unlink(missing_ok=True)
        return kept

    def _set(self, key: str, value: bytes | Adopted, size: int, notes: Notes) -> bool:
        self._make_room(size)
        with self._transaction() as cache:
            cache.set(key, value, tag=json.dumps({**notes, "size": size}))
        return True

    def _note(self, key: str, notes: Notes) -> None:
        with self._transaction() as cache:
            cache._sql("UPDATE Cache SET tag = ? WHERE key = ? AND raw = 1", (json.dumps(notes), key))  # noqa: SLF001

    def _drop(self, key: str) -> None:
        with self._transaction() as cache:
            cache.delete(key)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[diskcache.Cache]:
        """A write transaction, waited for in short steps: another process may be writing."""
        assert self._cache is not None
        patience = time.monotonic() + WRITE_PATIENCE
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(self._cache.transact())
                    break
                except diskcache.Timeout:
                    if time.monotonic() > patience:
                        raise
            yield self._cache

    # Bounds

    def _make_room(self, size: int) -> None:
        """Evict before something of `size` bytes comes in, so that the limit is never passed."""
        assert self._cache is not None
        volume = self._cache.volume()
        free = shutil.disk_usage(self.directory).free
        over = volume + size > self.max_size
        short = free - size < self._min_free
        if over or short:
            goal = min(int(self.max_size * LOW_WATER), self.max_size - size) if over else volume
            self._evict(max(volume - goal, self._min_free + size - free if short else 0))

    def _evict(self, excess: int) -> None:
        """Drop the entries that nobody asked for longest until `excess` bytes are gone."""
        self._flush()
        freed = dropped = 0
        while freed < excess:
            rows = self._drop_rows("ORDER BY access_time LIMIT 32", (), excess - freed)
            if not rows:
                break
            freed, dropped = freed + sum(rows), dropped + len(rows)
        logger.info("evicted %d entries, %d bytes, least recently used first", dropped, freed)

    async def drop_inactive(self) -> None:
        """Drop what nobody asked for within `inactive` seconds (0: never)."""
        if self._inactive:
            await self._in(self._writer, self._drop_inactive)

    def _drop_inactive(self) -> None:
        self._flush()
        self._drop_rows("WHERE access_time < ?", (time.time() - self._inactive,), None)

    def _drop_rows(self, which: str, values: tuple[float, ...], excess: int | None) -> list[int]:
        """Drop rows in order until `excess` bytes are gone (None: all of them): their sizes.

        Files go before the rows are gone: a kill in between leaves rows that heal themselves, and no file that nobody knows.
        """
        dropped: list[tuple[int, str | None]] = []
        with self._transaction() as cache:
            select = f"SELECT rowid, size + coalesce(length(value), 0) + 512, filename FROM Cache {which}"  # noqa: S608
            for rowid, size, filename in cache._sql(select, values).fetchall():  # noqa: SLF001
                if excess is not None and sum(size for size, _ in dropped) >= excess:
                    break
                cache._sql("DELETE FROM Cache WHERE rowid = ?", (rowid,))  # noqa: SLF001
                dropped.append((size, filename))
            for _, filename in dropped:
                if filename is not None:
                    cache.disk.remove(filename)
        return [size for size, _ in dropped]

    # Access times

    def _touch(self, key: str) -> None:
        now = time.time()
        self._touched[key] = now
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_SECONDS
            self._writer.submit(self._guarded, self._flush)

    def _flush(self) -> None:
        touched, self._touched = self._touched, {}
        if touched and self._cache is not None:
            with self._transaction() as cache:
                for key, at in touched.items():
                    cache._sql(  # noqa: SLF001
                        "UPDATE Cache SET access_time = ? WHERE key = ? AND raw = 1 AND access_time < ?",
                        (at, key, at),
                    )

    # What a kill left behind

    def _clean_up(self) -> None:
        """Undo commits that a kill cut short, and remove growing files that no process owns any more."""
        assert self._cache is not None
        for journal in self.growing.glob("*.commit"):
            self._undo(journal)
        for part in self.growing.glob("*.part"):
            with _unowned(part) as mine:
                if mine:
                    part.unlink(missing_ok=True)
                    part.with_suffix(".json").unlink(missing_ok=True)
                    logger.info("removed an unfinished download that its process left behind: %s", part.name)
        for word in (*self.growing.glob("*.json"), *self.growing.glob("*.new")):
            if not word.with_suffix(".part").exists():
                word.unlink(missing_ok=True)

    def _undo(self, journal: Path) -> None:
        """Remove the file of a commit whose row was never written, unless its process lives: that one holds the file's lock."""
        assert self._cache is not None
        with contextlib.suppress(ValueError, KeyError, TypeError):
            intent = json.loads(journal.read_text())
            file = self.directory / "entries" / intent["filename"]
            with _unowned(file) as gone, _unowned(journal.with_suffix(".part")) as not_begun:
                if not (gone and not_begun):
                    return
                select = "SELECT 1 FROM Cache WHERE key = ? AND raw = 1 AND filename = ?"
                if not self._cache._sql(select, (intent["key"], intent["filename"])).fetchall():  # noqa: SLF001
                    file.unlink(missing_ok=True)
                    logger.info("removed a file whose entry was never written: %s", intent["key"])
        journal.unlink(missing_ok=True)

    # Figures

    async def figures(self) -> dict[str, int]:
        """Entries and bytes, for the pages that show them."""
        found = await self._in(self._readers, self._figures)
        return found or {"entries": 0, "bytes": 0, "max_bytes": self.max_size}

    def _figures(self) -> dict[str, int]:
        assert self._cache is not None
        return {"entries": len(self._cache), "bytes": self._cache.volume(), "max_bytes": self.max_size}

    # Threads

    async def _in[T](self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T | None:
        """Run `work` off the event loop; trouble is reported and becomes None."""
        if self._cache is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(pool, self._guarded, work)

    def _guarded[T](self, work: Callable[[], T]) -> T | None:
        try:
            result = work()
        except _TROUBLE as error:
            self._health.bad("store", f"the store in {self.directory} has trouble: {type(error).__name__}: {error}")
            return None
        self._health.good("store")
        return result


def _read_notes(tag: Any) -> Notes:
    """An entry's notes. Raises ValueError or TypeError for anything but a JSON object."""
    notes = json.loads(tag)
    if not isinstance(notes, dict):
        raise TypeError("its notes are no object")
    return notes


def file_stem(key: str) -> str:
    """The name, without ending, of what belongs to a key in the `growing` folder: the same in every process."""
    return blake2b(key.encode(), digest_size=16).hexdigest()


def _open(folder: Path) -> diskcache.Cache:
    cache = diskcache.Cache(
        str(folder),
        timeout=BUSY_SECONDS,
        disk=AdoptingDisk,
        eviction_policy="none",
        cull_limit=0,
        size_limit=1 << 62,
    )
    cache._sql("CREATE INDEX IF NOT EXISTS Cache_access_time ON Cache (access_time)")  # noqa: SLF001
    folder.chmod(0o700)
    return cache


@contextlib.contextmanager
def _unowned(path: Path) -> Iterator[bool]:
    """Whether no live process holds the lock of a growing file (or the file is gone); the lock is held meanwhile."""
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        yield True
        return
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
