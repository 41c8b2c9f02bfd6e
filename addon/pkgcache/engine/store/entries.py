"""The entries of a store's folder, bounded in bytes: what the proxy's threads (store.py) and the command work on. Synchronous.

An entry is a row of the database (database.py) with its JSON notes. Nothing expires by itself: entries carry their own times, and
stale ones must stay readable (RFC 5861, or no network). A commit that renames a file is noted in a journal first (`growing/*.commit`), so
that a kill at any instant leaves a whole entry or none; recovery.py undoes it at the next opening.

Several processes may share the folder. Methods raise what `database.TROUBLE` names: the proxy then keeps nothing for a while, the
command ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pkgcache.engine.store.change_log import ChangeLog
from pkgcache.engine.store.database import (
    SMALL_BYTES,
    WRITE_PATIENCE,
    Adopted,
    Database,
    DatabaseError,
    RowMatch,
    fsync,
    is_busy,
    is_damage,
)
from pkgcache.engine.store.eviction import Eviction, Limits
from pkgcache.engine.store.format import check_format, remove_old_asides, set_aside
from pkgcache.engine.store.growing import commit_journal, file_stem
from pkgcache.engine.store.keys import PROBE_KEY, StoreKey
from pkgcache.engine.store.safe_files import create, opened_folder, why_exposed

logger = logging.getLogger(__name__)

KEYS_AT_ONCE = 500
"""Rows of one statement or transaction: none takes long, however many entries there are. An old SQLite binds 999 values at most."""

LOG_PATIENCE = 1.0
"""Seconds that the making of the change log waits for another process's lock."""

type Notes = dict[str, Any]
"""An entry's notes as JSON has them (notes.py reads them as types), with the value's `size` in bytes among them."""


@dataclass(slots=True)
class Entry:
    """An entry as it was found: its notes, and its value as bytes or as an open file of `size` bytes, which the caller closes.

    `mark` tells this very value from one that takes its place under the same key.
    """

    notes: Notes
    value: bytes
    file: IO[bytes] | None
    size: int
    mark: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One entry without its value. `size` is the value's in bytes, `filename` its file below `entries/` (None: it is in the row).

    Times are in seconds since the epoch. `notes` is empty where they cannot be read.
    """

    rowid: int
    key: StoreKey
    size: int
    stored_at: float
    accessed_at: float
    filename: str | None
    notes: Notes


class Entries:
    """The entries of one folder. `open` before anything else, `close` at the end."""

    def __init__(
        self,
        directory: Path,
        *,
        max_size: int,
        min_free: int,
        before_eviction: Callable[[], None] = lambda: None,
        evicted: Callable[[int, int], None] = lambda _entries, _bytes: None,
    ) -> None:
        """`max_size` and `min_free` are in bytes (`Limits`); the two others are called on the thread that evicts (`Eviction`)."""
        self.directory = directory
        self.folder = directory / "entries"
        self.growing = directory / "growing"
        self._limits = Limits(max_size=max_size, min_free=min_free)
        self._before_eviction = before_eviction
        self._evicted = evicted
        self._database: Database | None = None
        self._change_log: ChangeLog | None = None
        self._eviction: Eviction | None = None

    # Opening and closing

    def open(self, *, make: bool = True, damaged: bool = False) -> None:
        """Open the store, or make it (`make`; else FileNotFoundError). A damaged database is set aside, and a new one begun.

        `damaged`: it is known to be damaged, though opening it may not tell.

        Raises StoreFormatError for a store of a newer format.
        """
        if not make and not self.folder.is_dir():
            raise FileNotFoundError(f"there is no store in {self.directory}")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if exposed := why_exposed(self.directory):
            logger.warning("others may change what is in the store %s: %s", self.directory, exposed)
        self.growing.mkdir(mode=0o700, exist_ok=True)
        with opened_folder(self.growing):  # raises if it is a link, which would lead downloads and removals elsewhere
            pass
        check_format(self.directory, self.folder)
        if damaged:
            set_aside(self.folder, f"damaged-{int(time.time())}", "its database is damaged")
        try:
            self._database = Database(self.folder)
        except DatabaseError as error:
            if not is_damage(error):
                raise  # locked, read-only or full: the database itself may be well
            set_aside(self.folder, f"damaged-{int(time.time())}", f"its database was damaged ({error})")
            self._database = Database(self.folder)
        self._change_log = ChangeLog(self._database)
        with contextlib.suppress(DatabaseError):  # a full disk, say: maintenance tries again, and memory waits for it
            self._change_log.make(LOG_PATIENCE)
        self._eviction = Eviction(self._database, self.directory, self._limits, self._before_eviction, self._evicted)
        remove_old_asides(self.folder)

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()

    @property
    def database(self) -> Database:
        """The open database."""
        assert self._database is not None
        return self._database

    @property
    def change_log(self) -> ChangeLog:
        """Which entries of the open database were written."""
        assert self._change_log is not None
        return self._change_log

    @property
    def eviction(self) -> Eviction:
        """What makes room in the open database."""
        assert self._eviction is not None
        return self._eviction

    @property
    def in_place(self) -> bool:
        """Whether the folder is still the one that was opened: an operator may have removed or replaced it."""
        return self.database.in_place and self.growing.is_dir()

    # Reading

    def get(self, key: StoreKey, known: object = None) -> Entry | None:
        """Return the entry of `key`, its value read or its file opened; None where there is none.

        A damaged one is dropped, logged, and counts as none. Where it is still the value that `known` is the mark of, its file is not
        opened: the entry has neither value nor file.
        """
        found = self.database.find(key)
        if found is None:
            return None
        try:
            notes = read_notes(found.tag)
            if type(notes["size"]) is not int:
                raise TypeError(f"its size is {notes['size']!r:.40}")
            if known is not None and found.mark == known:
                return Entry(notes=notes, value=b"", file=None, size=notes["size"], mark=found.mark)
            value = self.database.value(found)
            size = len(value) if isinstance(value, bytes) else os.fstat(value.fileno()).st_size
            if size != notes["size"]:
                raise ValueError(f"it has {size} bytes and should have {notes['size']}")
        except FileNotFoundError:
            self._heal(key, found, "its file is gone")
            return None
        except (ValueError, TypeError, KeyError) as error:
            self._heal(key, found, f"a damaged entry ({error})")
            return None
        if isinstance(value, bytes):
            return Entry(notes=notes, value=value, file=None, size=size, mark=found.mark)
        return Entry(notes=notes, value=b"", file=value, size=size, mark=found.mark)

    def _heal(self, key: StoreKey, found: RowMatch, why: str) -> None:
        """Drop a damaged entry, unless another has taken its place meanwhile."""
        if self.drop_if_idle(key, mark=found.mark):
            logger.warning("%s: %s; dropped", key, why)

    def notes(self, key: StoreKey) -> Notes | None:
        """Return the notes of `key` without opening a file; None where there is no entry, or its notes are no JSON object."""
        rows = self.database.sql("SELECT tag FROM Cache WHERE key = ? AND raw = 1", (key,))
        try:
            return read_notes(rows[0][0]) if rows else None
        except (ValueError, TypeError):
            return None  # `get` heals it

    def present(self, keys: Sequence[StoreKey]) -> set[StoreKey]:
        """Which of the keys have an entry."""
        found: set[StoreKey] = set()
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            select = f"SELECT key FROM Cache WHERE raw = 1 AND key IN ({marks})"  # noqa: S608  marks only
            found.update(key for (key,) in self.database.sql(select, some))
        return found

    def rows(self, *, after: int = 0) -> Iterator[Row]:
        """Yield all entries in the order of their row numbers, from behind `after`.

        A few hundred at a time: a long read transaction would keep SQLite from truncating its log, which then grows without bound.
        """
        select = (
            "SELECT rowid, key, CAST(max(size, coalesce(length(value), 0)) AS INTEGER), store_time, "
            "CAST(access_time AS REAL), filename, tag "
            "FROM Cache WHERE raw = 1 AND typeof(key) = 'text' AND rowid > ? ORDER BY rowid LIMIT ?"
        )
        while batch := self.database.sql(select, (after, KEYS_AT_ONCE)):
            for rowid, key, size, stored_at, accessed_at, filename, tag in batch:
                try:
                    notes = read_notes(tag)
                except (ValueError, TypeError):
                    notes = {}  # `get` heals it
                yield Row(
                    rowid=rowid,
                    key=key,
                    size=size,
                    stored_at=stored_at,
                    accessed_at=accessed_at,
                    filename=filename,
                    notes=notes,
                )
            after = batch[-1][0]

    def figures(self) -> dict[str, int]:
        """Return how many entries and bytes the store has, and how many bytes it may have."""
        return {"entries": len(self.database), "bytes": self.database.volume(), "max_bytes": self._limits.max_size}

    # Writing

    def put(self, key: StoreKey, value: bytes, notes: Notes, *, patience: float = WRITE_PATIENCE) -> bool:
        """Store bytes: small ones in the row, large ones as a file. False where they are larger than the whole store may be."""
        if len(value) < SMALL_BYTES:
            return self._set(key, value, len(value), notes, patience)
        path = self.growing / f"{file_stem(key)}.{os.getpid()}.part"
        with create(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another process that starts removes unlocked files
            try:
                file.write(value)
                file.flush()
                return self.adopt(key, path, len(value), notes, patience=patience)
            finally:
                path.unlink(missing_ok=True)

    def adopt(self, key: StoreKey, path: Path, size: int, notes: Notes, *, patience: float = WRITE_PATIENCE) -> bool:
        """Make a finished file of the `growing` folder an entry, by rename. False where it is larger than the whole store may be.

        The order makes a kill or a power failure harmless: the bytes are on the disk (fsync) before the file has its final name; that
        name is in the journal before the rename; and the journal goes only once the row is committed.
        """
        limit = self._limits.max_size
        if size > limit:
            logger.warning("%s: %d bytes are more than pypi_cache_max_size (%d); served, not kept", key, size, limit)
            return False
        fsync(path)
        with commit_journal(path, key, undo=self.database.files.remove) as note_name:
            return self._set(key, Adopted(path, size, note_name), size, notes, patience)

    def _set(self, key: StoreKey, value: bytes | Adopted, size: int, notes: Notes, patience: float) -> bool:
        self.eviction.make_room(size, patience)
        with self.database.transaction(patience):
            # Again, now that no other process can write: one may have brought a file since, and both together pass the limit. The first
            # call keeps this one short, because eviction of many files within the transaction would hold up all others.
            self.eviction.make_room(size, patience)
            self.database.set(key, value, json.dumps({**notes, "size": size}))
        return True

    def note(self, key: StoreKey, notes: Notes, *, patience: float = WRITE_PATIENCE) -> None:
        """Replace an entry's notes, and leave its value alone. Nothing happens where there is no entry."""
        with self.database.transaction(patience):
            # The value's size is one of the notes on disk, and stays as it is: the caller does not know it.
            update = (
                "UPDATE Cache SET tag = json_set(?, '$.size', json_extract(tag, '$.size')) WHERE key = ? AND raw = 1"
            )
            self.database.sql(update, (json.dumps(notes), key))

    def drop(self, key: StoreKey, *, mark: object = None, patience: float = WRITE_PATIENCE) -> bool:
        """Drop an entry: whether there was one. With a `mark` only that very value, and not one that has taken its place."""
        with self.database.transaction(patience):
            found = self.database.find(key)
            if found is None or (mark is not None and found.mark != mark):
                return False
            self.database.delete(key)
            return True

    def drop_if_idle(self, key: StoreKey, *, mark: object) -> bool:
        """Drop an entry unless another thread or process is writing: a reader does not wait for that; the next one drops it."""
        try:
            return self.drop(key, mark=mark, patience=0)
        except DatabaseError as error:
            if not is_busy(error):
                raise
            return False

    def drop_rows(self, rows: Iterable[Row]) -> int:
        """Drop these very values, and not what has taken their place: how many bytes went."""
        freed = 0
        with self.database.transaction(WRITE_PATIENCE):
            for row in rows:
                where = "rowid = ? AND key = ? AND store_time = ? AND filename IS ?"
                values = (row.rowid, row.key, row.stored_at, row.filename)
                if not self.database.sql(f"SELECT 1 FROM Cache WHERE {where}", values):  # noqa: S608
                    continue
                self.database.sql("DELETE FROM Cache WHERE rowid = ?", (row.rowid,))
                if row.filename is not None:
                    self.database.files.remove(row.filename)
                freed += row.size
        return freed

    def probe(self) -> None:
        """Write and drop an entry that is a file, to see whether that works again."""
        self.eviction.check_disk()
        self.put(PROBE_KEY, bytes(2 * SMALL_BYTES), {}, patience=0)
        self.drop(PROBE_KEY)

    def touch(self, times: Mapping[StoreKey, float], *, patience: float = WRITE_PATIENCE) -> None:
        """Write down when entries were last asked for, in seconds since the epoch. A later time that is already there stays."""
        update = "UPDATE Cache SET access_time = ? WHERE key = ? AND raw = 1 AND access_time < ?"
        pending = list(times.items())
        for start in range(0, len(pending), KEYS_AT_ONCE):
            with self.database.transaction(patience):
                for key, at in pending[start : start + KEYS_AT_ONCE]:
                    self.database.sql(update, (at, key, at))


def read_notes(tag: Any) -> Notes:
    """Read an entry's notes. Raises ValueError or TypeError for anything but a JSON object.

    >>> read_notes('{"size": 3}')
    {'size': 3}
    """
    try:
        notes = json.loads(tag)
    except RecursionError:
        raise ValueError("its notes are nested too deeply") from None
    if not isinstance(notes, dict):
        raise TypeError("its notes are no object")
    return notes
