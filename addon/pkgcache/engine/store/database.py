"""The database of entries: diskcache's rows, and files beside them. The only importer of diskcache and sqlite3.

A row holds a key, the JSON notes of its entry (in diskcache's `tag`), and a value: small ones in the row, larger ones as a file of its
own, which is adopted by rename and never copied. Keys are text and values bytes; pickle is refused both ways (CVE-2025-69872).

What is used of diskcache's private parts (`_sql`, the Cache table's columns) is held by tests/engine/test_diskcache_names.py.
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
from typing import IO, Any, cast

import diskcache
from diskcache.core import MODE_BINARY, MODE_PICKLE, UNKNOWN

BUSY_SECONDS = 0.05
WRITE_PATIENCE = 10.0
"""Seconds that a write waits for another process's, in steps of the above."""

SMALL_BYTES = 32 * 1024
"""Values below this lie in the row itself."""

ROW_BYTES = 512
"""What a row costs beside its value, about."""

CACHE_PAGES = 1024
"""What each thread's connection holds of the database in memory, in pages of 4 kB: its upper levels, even of a million rows. diskcache's
default of 8,192, and 64 MB mapped, make half a gigabyte of five threads; the system's page cache does as well."""

_ADOPT_TRIES = 5
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

TROUBLE = (OSError, sqlite3.Error, diskcache.Timeout, ValueError)
"""What the folder and its database may raise, whatever is done with them."""


DatabaseError = sqlite3.DatabaseError


def described(error: BaseException) -> str:
    """What went wrong, in one line."""
    return f"{type(error).__name__}: {error}" if isinstance(error, sqlite3.Error) else str(error)


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the database is no database any more."""
    return isinstance(error, sqlite3.DatabaseError) and _primary_code(error) in _DAMAGED


def is_busy(error: BaseException) -> bool:
    """Whether an error says that another process, or another thread, was writing for all of the time that one had."""
    return isinstance(error, sqlite3.Error) and _primary_code(error) in _BUSY


def is_out_of_handles(error: BaseException) -> bool:
    """Whether an error says that this process, or the machine, has no file handle left: no fault of the folder's."""
    return isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}


def has_handles(count: int = 8) -> bool:
    """Whether this process can open so many files more."""
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
    """SQLite's primary result code: the low byte of the extended one; 0 where Python raised it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@dataclass(frozen=True, slots=True)
class Adopted:
    """A finished file that becomes an entry's value by rename; `journal` is told the name it will have, before it has it."""

    path: Path
    size: int
    journal: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class RowMatch:
    """A row as it was found. `mark` tells this very value from one that took its place."""

    mark: tuple[int, float, str | None]
    tag: Any
    mode: int
    filename: str | None
    value: Any


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
            value.journal(filename)
            _move(value.path, Path(full_path))
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


def _move(path: Path, target: Path) -> None:
    """Rename into a folder that somebody who removes its last file may take away at the same time."""
    for tries_left in range(_ADOPT_TRIES, 0, -1):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.replace(target)
        except FileNotFoundError:
            if tries_left == 1 or not path.exists():
                raise
        else:
            return


class Database:
    """One open database. Methods raise what TROUBLE names; readers never wait for writers (SQLite's write-ahead log)."""

    def __init__(self, folder: Path) -> None:
        """Open or make it. Raises sqlite3.DatabaseError (`is_damage`) where there is another thing in its place."""
        self.folder = folder
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
        folder.chmod(0o700)
        self._inode = self._file.stat().st_ino

    @property
    def _file(self) -> Path:
        return self.folder / "cache.db"

    @property
    def in_place(self) -> bool:
        """Whether the folder still holds this very database."""
        try:
            return self._file.stat().st_ino == self._inode
        except OSError:
            return False

    def sql(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of one statement."""
        return self._cache._sql(statement, values).fetchall()  # type: ignore[no-any-return]  # noqa: SLF001

    def find(self, key: str) -> RowMatch | None:
        """The row of a key."""
        select = "SELECT rowid, store_time, filename, tag, mode, value FROM Cache WHERE key = ? AND raw = 1"
        for rowid, stored_at, filename, tag, mode, value in self.sql(select, (key,)):
            return RowMatch((rowid, stored_at, filename), tag, mode, filename, value)
        return None

    def value(self, found: RowMatch) -> bytes | IO[bytes]:
        """A row's value: its bytes, or its open file. Raises FileNotFoundError, ValueError."""
        value = self._cache.disk.fetch(found.mode, found.filename, found.value, True)
        if isinstance(value, memoryview):
            return bytes(value)
        if isinstance(value, bytes):
            return value
        if isinstance(value, io.BufferedIOBase):
            return cast(IO[bytes], value)
        raise TypeError(f"its value is no bytes, but {type(value).__name__}")

    def set(self, key: str, value: bytes | Adopted, tag: str) -> None:
        """Write a row, within a transaction; the file of the one before goes."""
        self._cache.set(key, value, tag=tag)

    def delete(self, key: str) -> None:
        """Delete a row, within a transaction; its file goes."""
        self._cache.delete(key)

    def remove_file(self, filename: str) -> None:
        """Remove a value's file, if it is there."""
        self._cache.disk.remove(filename)

    @contextlib.contextmanager
    def transaction(self, patience: float) -> Iterator[None]:
        """A write transaction, waited for in short steps for `patience` seconds: another process may be writing.

        Raises sqlite3.OperationalError where the database is busy for longer, or cannot be written.
        """
        until = time.monotonic() + patience
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(self._cache.transact())
                    break
                except diskcache.Timeout:  # diskcache says no more, whatever SQLite said
                    self._raise_the_cause(waits=time.monotonic() < until)
            yield

    def _raise_the_cause(self, *, waits: bool) -> None:
        """Why no transaction could be begun, unless the database is merely busy and that is waited for."""
        try:
            self.sql("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if _primary_code(error) not in _BUSY or not waits:
                raise
        else:
            self.sql("ROLLBACK")

    def volume(self) -> int:
        """Bytes of the database and of all values' files."""
        return int(self._cache.volume())

    def __len__(self) -> int:
        return len(self._cache)

    def close(self) -> None:
        """Let go of this thread's connection; the other threads' go with them."""
        self._cache.close()


def fsync(path: Path) -> None:
    """Have the disk keep a file's bytes."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
