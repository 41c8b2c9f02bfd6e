"""The database of entries: diskcache's table in SQLite, and files beside it. The only importer of diskcache and sqlite3.

A row holds a key, the JSON notes of its entry (in diskcache's `tag`), and a value: small ones in the row, larger ones as a file of
their own, which is adopted by rename and never copied. Keys are text and values bytes; pickle is refused both ways (CVE-2025-69872).
Others may have written to the database: no row's file name leads out of the folder (value_files.py), and settings in it that
diskcache cannot have written are removed before diskcache acts on them.

diskcache is no longer maintained. What is used of its private parts (`_sql`, the columns of its table) has tests of its own
(test_diskcache_names.py), which would fail first if a new release changed them.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

import diskcache
from diskcache.core import DEFAULT_SETTINGS, METADATA, MODE_BINARY, MODE_PICKLE, MODE_RAW, UNKNOWN

from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.safe_files import FOLDER, ForeignFileError, check_regular
from pkgcache.engine.store.value_files import ValueFiles

BUSY_SECONDS = 0.05
"""How long SQLite itself waits for a lock. Short, so that a wait ends soon after the lock is free."""

WRITE_PATIENCE = 10.0
"""How many seconds a write waits for the lock of another process, in steps of BUSY_SECONDS."""

SMALL_BYTES = 32 * 1024
"""Values below this are stored in the row itself: reading one costs no file handle, and a page is mostly smaller."""

DATABASE_FILE = "cache.db"

ROW_BYTES = 512
"""What a row takes on the disk beside its value, about."""

CACHE_PAGES = 1024
"""Pages of 4 kB that each thread's connection caches: enough for the upper levels of the tree, even of a million rows. With diskcache's
default of 8,192 pages and 64 MB mapped, five threads took half a gigabyte, and the system's page cache serves as well."""

_SETTINGS: Final = {**DEFAULT_SETTINGS, **METADATA, "eviction_policy": "none"}
_COUNTS: Final = {
    "count": "SELECT count(*) FROM Cache",
    "size": "SELECT CAST(total(size) AS INTEGER) FROM Cache WHERE typeof(size) = 'integer' AND size BETWEEN 0 AND 1 << 50",
}
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

TROUBLE = (OSError, sqlite3.Error, diskcache.Timeout, ValueError)
"""What the folder and its database may raise, whatever is done with them. ValueError: a pickled key or value, for one."""

DatabaseError = sqlite3.DatabaseError


def described(error: BaseException) -> str:
    """Say in one line what went wrong."""
    return f"{type(error).__name__}: {error}" if isinstance(error, sqlite3.Error) else str(error)


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the database file is damaged, or no database at all."""
    return isinstance(error, sqlite3.DatabaseError) and _primary_code(error) in _DAMAGED


def is_busy(error: BaseException) -> bool:
    """Whether an error says that another process or thread held the write lock for as long as this one would wait."""
    return isinstance(error, sqlite3.Error) and _primary_code(error) in _BUSY


def is_out_of_handles(error: BaseException) -> bool:
    """Whether an error says that this process or the machine has no file handle left, which is no fault of the folder."""
    return isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}


def has_handles(count: int = 8) -> bool:
    """Whether this process can open `count` more files."""
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(count):
                stack.enter_context(Path(os.devnull).open("rb"))
        except OSError:
            return False
    return True


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or a quota on it, is full."""
    if isinstance(error, sqlite3.Error):
        return _primary_code(error) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def _primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, the low byte of the extended one; 0 where Python itself raised the error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@dataclass(frozen=True, slots=True)
class Adopted:
    """A finished file that becomes an entry's value by rename. `journal` is called with its name to be, before the rename."""

    path: Path
    size: int
    journal: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class RowMatch:
    """A row as it was found. `mark` tells its value from a later one of the same key."""

    mark: tuple[int, float, str | None]
    tag: Any
    mode: int
    filename: str | None
    value: Any


class AdoptingDisk(diskcache.Disk):  # type: ignore[misc]
    """diskcache's file layout, with adoption by rename, without pickle, and with no way out of the folder."""

    def __init__(self, directory: str, **settings: Any) -> None:
        """`settings` are diskcache's own."""
        super().__init__(directory, **settings)
        self.files = ValueFiles(Path(directory))

    def put(self, key: Any) -> tuple[str, bool]:
        """Take text keys only: diskcache would pickle anything else."""
        if type(key) is not str:
            raise TypeError(f"store keys are text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> Any:
        """Refuse pickled keys: reading one runs code."""
        if not raw:
            raise ValueError("a pickled key in the store")
        return super().get(key, raw)

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> tuple[int, int, str | None, Any]:
        """Adopt a file by rename; store small bytes in the row. diskcache would pickle anything else."""
        if isinstance(value, Adopted):
            filename, _ = self.filename(key, value)
            value.journal(filename)
            self.files.adopt(value.path, filename)
            return value.size, MODE_BINARY, filename, None
        if type(value) is not bytes:
            raise TypeError(f"store values are bytes, not {type(value).__name__}")
        if len(value) >= SMALL_BYTES:
            raise ValueError("large values are adopted from a file")
        result: tuple[int, int, str | None, Any] = super().store(value, read, key)
        return result

    def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> Any:
        """Return a row's bytes, or its open file. Refuse pickled values (reading one runs code) and texts, which are not written."""
        if mode == MODE_BINARY:
            return self.files.open(filename)
        if mode != MODE_RAW:
            raise ValueError("a pickled value in the store" if mode == MODE_PICKLE else f"a value of mode {mode!r:.20}")
        return super().fetch(mode, filename, value, read)

    def remove(self, file_path: Any) -> None:
        """Remove a value's file, if its name is one that this program gives."""
        self.files.remove(file_path)


class Database:
    """One open database. Methods raise what TROUBLE names. Readers never wait for writers (SQLite's write-ahead log)."""

    def __init__(self, folder: Path) -> None:
        """Open or make the database. Raises sqlite3.DatabaseError (`is_damage`) where its file is damaged, or something else."""
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_own(folder)
        _mend_settings(folder / DATABASE_FILE)
        self._cache = diskcache.Cache(
            str(folder),
            timeout=BUSY_SECONDS,
            disk=AdoptingDisk,
            disk_min_file_size=SMALL_BYTES,
            eviction_policy="none",
            cull_limit=0,
            size_limit=1 << 62,
            sqlite_cache_size=CACHE_PAGES,
            sqlite_mmap_size=0,
        )
        self.sql("CREATE INDEX IF NOT EXISTS Cache_access_time ON Cache (access_time)")
        self._inode = self._file.stat().st_ino

    @property
    def _file(self) -> Path:
        return self.folder / DATABASE_FILE

    @property
    def in_place(self) -> bool:
        """Whether the folder still holds this very database file."""
        try:
            return self._file.stat().st_ino == self._inode
        except OSError:
            return False

    def sql(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run one statement, and return all of its rows."""
        return self._cache._sql(statement, values).fetchall()  # type: ignore[no-any-return]  # noqa: SLF001

    def find(self, key: StoreKey) -> RowMatch | None:
        """Return the row of a key, if there is one."""
        select = "SELECT rowid, store_time, filename, tag, mode, value FROM Cache WHERE key = ? AND raw = 1"
        for rowid, stored_at, filename, tag, mode, value in self.sql(select, (key,)):
            return RowMatch((rowid, stored_at, filename), tag, mode, filename, value)
        return None

    def value(self, found: RowMatch) -> bytes | IO[bytes]:
        """Return a row's value: its bytes, or its open file. Raises FileNotFoundError, ValueError and TypeError for damaged rows."""
        value = self._cache.disk.fetch(found.mode, found.filename, found.value, True)
        if isinstance(value, memoryview):
            return bytes(value)
        if isinstance(value, bytes):
            return value
        if isinstance(value, io.BufferedIOBase):
            return cast(IO[bytes], value)
        raise TypeError(f"its value is no bytes, but {type(value).__name__}")

    def set(self, key: StoreKey, value: bytes | Adopted, tag: str) -> None:
        """Write a row, within a transaction, and remove the file of the key's last value."""
        self._cache.set(key, value, tag=tag)

    def delete(self, key: StoreKey) -> None:
        """Delete a row and its file, within a transaction."""
        self._cache.delete(key)

    @property
    def files(self) -> ValueFiles:
        """The values' files."""
        return self._cache.disk.files  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def transaction(self, patience: float) -> Iterator[None]:
        """Begin a write transaction, waiting up to `patience` seconds while another process writes.

        Raises sqlite3.OperationalError where the database is busy for longer, or cannot be written.
        """
        until = time.monotonic() + patience
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(self._cache.transact())
                    break
                except diskcache.Timeout:  # diskcache raises this for any OperationalError: a full disk, too
                    self._raise_the_cause(waits=time.monotonic() < until)
            yield

    def _raise_the_cause(self, *, waits: bool) -> None:
        """Raise SQLite's own reason why no transaction could begin. Return where it is merely busy, and the caller still waits."""
        try:
            self.sql("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if _primary_code(error) not in _BUSY or not waits:
                raise
        else:
            self.sql("ROLLBACK")

    def volume(self) -> int:
        """Return the bytes of the database and of all values' files."""
        [(pages,)] = self.sql("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        return int(pages) + self._counter("size")

    def __len__(self) -> int:
        return self._counter("count")

    def _counter(self, name: str) -> int:
        """Return one of the counters that diskcache's triggers keep, counted anew where a row that makes no sense has spoilt it."""
        for (value,) in self.sql("SELECT value FROM Settings WHERE key = ?", (name,)):
            if type(value) is int and value >= 0:
                return value
        [(counted,)] = self.sql(_COUNTS[name])
        with contextlib.suppress(sqlite3.OperationalError):  # somebody else writes: it is counted again next time
            self.sql("INSERT OR REPLACE INTO Settings (key, value) VALUES (?, ?)", (name, counted))
        return int(counted)

    def close(self) -> None:
        """Close this thread's connection; those of other threads close as the threads end."""
        self._cache.close()


def fsync(path: Path) -> None:
    """Wait until the disk has a file's bytes: they then survive a power failure."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _check_own(folder: Path) -> None:
    """Make the folder private. Raises OSError and ForeignFileError where it, or the database in it, leads elsewhere.

    SQLite follows links, and would write into what they lead to.
    """
    try:
        descriptor = os.open(folder, FOLDER)
    except NotADirectoryError:
        raise NotADirectoryError(
            f"{folder} is not a folder, or a link to one: remove it, or move the folder here"
        ) from None
    try:
        os.fchmod(descriptor, 0o700)
        for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", f"{DATABASE_FILE}-journal"):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                try:
                    check_regular(status, os.fstat(descriptor).st_uid)
                except ForeignFileError as error:
                    raise ForeignFileError(f"{folder / name}: {error}; remove it") from None
    finally:
        os.close(descriptor)


def _mend_settings(file: Path) -> None:
    """Remove settings that diskcache has not, or not with such values: it makes attributes, arguments and PRAGMA statements of them.

    A counter that has to go is counted anew. A database that cannot be read is diskcache's to complain about.
    """
    if not file.exists():
        return
    with contextlib.closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as database:
        marks = ",".join("?" * len(_SETTINGS))
        select = f"SELECT key, value FROM Settings WHERE key IN ({marks})"  # noqa: S608  marks only
        try:
            good = [key for key, value in database.execute(select, list(_SETTINGS)) if _is_setting(key, value)]
            [(count,)] = database.execute("SELECT count(*) FROM Settings")
        except sqlite3.Error:
            return
        missing = [name for name in _COUNTS if name not in good]
        if count == len(good) and not missing:
            return
        marks = ",".join("?" * len(good))
        with database:
            database.execute(f"DELETE FROM Settings WHERE key NOT IN ({marks})", good)  # noqa: S608  marks only
            for name in missing:
                database.execute(f"INSERT INTO Settings VALUES (?, ({_COUNTS[name]}))", (name,))  # noqa: S608


def _is_setting(key: str, value: object) -> bool:
    return value == _SETTINGS[key] or (type(value) is int and value >= 0 and type(_SETTINGS[key]) is int)
