"""The entries of a store's folder, bounded in bytes: what the proxy's threads (engine/store.py) and the command work on. Synchronous.

An entry is a row of engine/database.py with its JSON notes. Nothing expires by itself: entries carry their own times, because stale
ones must stay readable. What must not be seen half done is noted in a journal first (`growing/*.commit`), so that a kill at any
instant leaves a whole entry or none; engine/upkeep.py undoes what a kill left behind, and re-hashes.

Several processes may share the folder. All methods raise what `database.TROUBLE` names; who calls them decides what that means.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

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
from pkgcache.engine.store.eviction import Bounds
from pkgcache.engine.store.format import StoreFormatError

logger = logging.getLogger(__name__)

FORMAT = 1
"""The version of keys and notes; a store of an older one is set aside, one of a newer one is refused."""

KEYS_AT_ONCE = 500
ASIDE_SECONDS = 7 * 86400.0
"""How long a damaged store that was set aside is kept for whoever wants to look at it."""

type Notes = dict[str, Any]


@dataclass(slots=True)
class Entry:
    """What was found: the notes, and the value as bytes or as an open file of `size` bytes. `mark` tells this very value."""

    notes: Notes
    value: bytes
    file: IO[bytes] | None
    size: int
    mark: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One entry without its value: `size` is the value's in bytes, `filename` its file under `entries/` (None: it is in the row)."""

    rowid: int
    key: str
    size: int
    stored_at: float
    accessed_at: float
    filename: str | None
    notes: Notes


class Entries(Bounds):
    """The entries of one folder. `open` before anything else, `close` at the end."""

    def __init__(
        self, directory: Path, *, max_size: int, min_free: int, before_eviction: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(directory, max_size=max_size, min_free=min_free, before_eviction=before_eviction)
        self.folder = directory / "entries"
        self.growing = directory / "growing"
        self._database: Database | None = None

    # Opening and closing

    def open(self, *, make: bool = True, damaged: bool = False) -> None:
        """Open the store, or make it (`make`; else FileNotFoundError). A damaged database is set aside, and a new one begun.

        `damaged`: it is known to be, though opening it may not tell.

        Raises StoreFormatError for a store of a newer format.
        """
        if not make and not self.folder.is_dir():
            raise FileNotFoundError(f"there is no store in {self.directory}")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.growing.mkdir(mode=0o700, exist_ok=True)
        self._check_format()
        if damaged:
            self._set_aside(f"damaged-{int(time.time())}", "its database is damaged")
        try:
            self._database = Database(self.folder)
        except DatabaseError as error:
            if not is_damage(error):
                raise  # locked, read-only, full: the database itself may be well
            self._set_aside(f"damaged-{int(time.time())}", f"its database was damaged ({error})")
            self._database = Database(self.folder)
        for aside in self.directory.glob("entries.*-*"):
            if time.time() - aside.stat().st_mtime > ASIDE_SECONDS:
                shutil.rmtree(aside, ignore_errors=True)

    def _check_format(self) -> None:
        mark = self.directory / "format"
        found = mark.read_text(errors="replace").strip() if mark.exists() else ""
        if found == str(FORMAT):
            return
        if found.isdecimal() and int(found) > FORMAT:
            raise StoreFormatError(
                f"pypi_cache_dir={str(self.directory)!r}: its store has format {found}, and this version reads format {FORMAT}; "
                "give another folder, or the version that made it",
            )
        if self.folder.exists():
            self._set_aside(f"format-{found[:16] or 'unknown'}".replace("/", "_"), f"its format is {found[:16]!r}")
        fresh = self.directory / "format.new"
        fresh.write_text(f"{FORMAT}\n")
        fresh.replace(mark)

    def _set_aside(self, ending: str, why: str) -> None:
        aside = self.directory / f"entries.{ending}"
        if aside.exists():
            shutil.rmtree(aside)
        self.folder.rename(aside)
        os.utime(aside)
        logger.warning("the store is set aside in %s, %s; a new one is begun", aside, why)

    def close(self) -> None:
        """Let go of the files."""
        if self._database is not None:
            self._database.close()

    @property
    def database(self) -> Database:
        """The open database."""
        assert self._database is not None
        return self._database

    @property
    def in_place(self) -> bool:
        """Whether the folder is still the one that was opened."""
        return self.database.in_place and self.growing.is_dir()

    # Reading

    def get(self, key: str, known: object = None) -> Entry | None:
        """The entry of `key`, its value read or its file opened; None where there is none. What is damaged is dropped, and said.

        Where it is the very value that `known` is the mark of, its file is not opened: the entry has neither value nor file.
        """
        found = self.database.find(key)
        if found is None:
            return None
        try:
            notes = read_notes(found.tag)
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

    def _heal(self, key: str, found: RowMatch, why: str) -> None:
        """Drop what was found damaged, unless another has taken its place meanwhile."""
        if self.drop_if_idle(key, mark=found.mark):
            logger.warning("%s: %s; dropped", key, why)

    def notes(self, key: str) -> Notes | None:
        """As `get`, the notes alone: nothing is opened for them."""
        rows = self.database.sql("SELECT tag FROM Cache WHERE key = ? AND raw = 1", (key,))
        try:
            return read_notes(rows[0][0]) if rows else None
        except (ValueError, TypeError):
            return None  # `get` heals it

    def present(self, keys: Sequence[str]) -> set[str]:
        """Which of the keys have an entry."""
        found: set[str] = set()
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            select = f"SELECT key FROM Cache WHERE raw = 1 AND key IN ({marks})"  # noqa: S608  marks only
            found.update(key for (key,) in self.database.sql(select, some))
        return found

    def rows(self, *, after: int = 0) -> Iterator[Row]:
        """All entries in the order in which they came, a few hundred at a time: no long transaction, however many there are."""
        select = (
            "SELECT rowid, key, max(size, coalesce(length(value), 0)), store_time, access_time, filename, tag "
            "FROM Cache WHERE raw = 1 AND rowid > ? ORDER BY rowid LIMIT ?"
        )
        while batch := self.database.sql(select, (after, KEYS_AT_ONCE)):
            for rowid, key, size, stored_at, accessed_at, filename, tag in batch:
                try:
                    notes = read_notes(tag)
                except (ValueError, TypeError):
                    notes = {}
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
        """Entries and bytes, of how many."""
        return {"entries": len(self.database), "bytes": self.database.volume(), "max_bytes": self.max_size}

    # Writing

    def put(self, key: str, value: bytes, notes: Notes, *, patience: float = WRITE_PATIENCE) -> bool:
        """Store bytes; large ones as a file, by way of the `growing` folder. False where they are not kept: too large."""
        if len(value) < SMALL_BYTES:
            return self._set(key, value, len(value), notes, patience)
        path = self.growing / f"{file_stem(key)}.{os.getpid()}.part"
        with path.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # a sibling that starts removes what nobody owns
            try:
                file.write(value)
                file.flush()
                return self.adopt(key, path, len(value), notes, patience=patience)
            finally:
                path.unlink(missing_ok=True)

    def adopt(self, key: str, path: Path, size: int, notes: Notes, *, patience: float = WRITE_PATIENCE) -> bool:
        """Make a finished file of the `growing` folder an entry, by rename. False where it is not kept: too large."""
        if size > self.max_size:
            logger.warning(
                "%s: %d bytes are more than pypi_cache_max_size (%d); served, not kept", key, size, self.max_size
            )
            return False
        fsync(path)
        journal = path.with_suffix(".commit")
        named: list[str] = []

        def intend(name: str) -> None:
            named.append(name)
            journal.write_text(json.dumps({"key": key, "filename": name}))

        try:
            return self._set(key, Adopted(path, size, intend), size, notes, patience)
        except BaseException:
            for name in named:  # it has its name, and no row
                self.database.remove_file(name)
            raise
        finally:
            journal.unlink(missing_ok=True)

    def _set(self, key: str, value: bytes | Adopted, size: int, notes: Notes, patience: float) -> bool:
        self.make_room(size, patience)
        with self.database.transaction(patience):
            self.make_room(size, patience)  # for what another process has brought meanwhile: now none can
            self.database.set(key, value, json.dumps({**notes, "size": size}))
        return True

    def note(self, key: str, notes: Notes, *, patience: float = WRITE_PATIENCE) -> None:
        """Replace an entry's notes and leave its value alone."""
        with self.database.transaction(patience):
            # The value's size stands among the notes, and stays as it is: the caller knows nothing of it.
            update = (
                "UPDATE Cache SET tag = json_set(?, '$.size', json_extract(tag, '$.size')) WHERE key = ? AND raw = 1"
            )
            self.database.sql(update, (json.dumps(notes), key))

    def drop(self, key: str, *, mark: object = None, patience: float = WRITE_PATIENCE) -> bool:
        """Forget an entry (`mark`: only that very value): whether there was one."""
        with self.database.transaction(patience):
            found = self.database.find(key)
            if found is None or (mark is not None and found.mark != mark):
                return False
            self.database.delete(key)
            return True

    def drop_if_idle(self, key: str, *, mark: object) -> bool:
        """As `drop`, for who has come to read and is not to wait: where somebody writes just now, the next who finds it drops it."""
        try:
            return self.drop(key, mark=mark, patience=0)
        except DatabaseError as error:
            if not is_busy(error):
                raise
            return False

    def drop_rows(self, rows: Iterable[Row]) -> int:
        """Drop these very values; what has taken their place stays. How many bytes went."""
        freed = 0
        with self.database.transaction(WRITE_PATIENCE):
            for row in rows:
                where = "rowid = ? AND key = ? AND store_time = ? AND filename IS ?"
                values = (row.rowid, row.key, row.stored_at, row.filename)
                if not self.database.sql(f"SELECT 1 FROM Cache WHERE {where}", values):  # noqa: S608
                    continue
                self.database.sql("DELETE FROM Cache WHERE rowid = ?", (row.rowid,))
                if row.filename is not None:
                    self.database.remove_file(row.filename)
                freed += row.size
        return freed

    def probe(self) -> None:
        """See whether things can be written: raises what `database.TROUBLE` names where they cannot."""
        self.check_disk()
        self.put("probe", bytes(2 * SMALL_BYTES), {}, patience=0)
        self.drop("probe")

    def touch(self, times: Mapping[str, float], *, patience: float = WRITE_PATIENCE) -> None:
        """Write down when entries were last asked for."""
        update = "UPDATE Cache SET access_time = ? WHERE key = ? AND raw = 1 AND access_time < ?"
        pending = list(times.items())
        for start in range(0, len(pending), KEYS_AT_ONCE):
            with self.database.transaction(patience):
                for key, at in pending[start : start + KEYS_AT_ONCE]:
                    self.database.sql(update, (at, key, at))


def read_notes(tag: Any) -> Notes:
    """An entry's notes. Raises ValueError or TypeError for anything but a JSON object."""
    notes = json.loads(tag)
    if not isinstance(notes, dict):
        raise TypeError("its notes are no object")
    return notes


def file_stem(key: str) -> str:
    """The name, without ending, of what belongs to a key in the `growing` folder: the same in every process."""
    return blake2b(key.encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def unowned(path: Path) -> Iterator[bool]:
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
