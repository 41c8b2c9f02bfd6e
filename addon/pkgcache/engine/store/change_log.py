"""Which entries of a store were written, by any process: triggers in its database note the key of each row that changes.

One look a second at the new lines (watch.py) takes the place of a look at the row of each entry in memory. The triggers are the
database's own, so they see the writes of every process, of older versions of this program and of `sqlite3` on a command line too.
`PRAGMA data_version` would not do: it differs for each connection, and moves with checkpoints and access times.

An access time alone is no change: hits must log nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pkgcache.engine.store.database import Database
from pkgcache.engine.store.keys import StoreKey

LINES = 5000
"""How many lines are kept at least. Whoever has missed more has missed which entries changed, and believes none of its memory."""

TRIM = 500
"""Lines are removed so many at a time."""

# SQLite keeps these texts in its schema, and `is_made` compares them. Of two versions with different texts under one name each would
# make its own, every few seconds: whoever changes a text changes the names.
_VALUE: Final = "key, raw, store_time, expire_time, tag, size, mode, filename, value"
_PARTS: Final = {
    "EntryChanges": "CREATE TABLE EntryChanges (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB)",
    # INSERT OR REPLACE fires no DELETE trigger for the row that goes, but that has the key of the one that comes.
    "EntryChanges_insert": "CREATE TRIGGER EntryChanges_insert AFTER INSERT ON Cache "
    "BEGIN INSERT INTO EntryChanges (key) VALUES (NEW.key); END",
    "EntryChanges_update": f"CREATE TRIGGER EntryChanges_update AFTER UPDATE OF {_VALUE} ON Cache "  # noqa: S608
    "BEGIN INSERT INTO EntryChanges (key) VALUES (NEW.key); END",
    "EntryChanges_rename": "CREATE TRIGGER EntryChanges_rename AFTER UPDATE OF key ON Cache "
    "BEGIN INSERT INTO EntryChanges (key) VALUES (OLD.key); END",
    "EntryChanges_delete": "CREATE TRIGGER EntryChanges_delete AFTER DELETE ON Cache "
    "BEGIN INSERT INTO EntryChanges (key) VALUES (OLD.key); END",
    "EntryChanges_trim": f"CREATE TRIGGER EntryChanges_trim AFTER INSERT ON EntryChanges WHEN NEW.id % {TRIM} = 0 "  # noqa: S608
    f"BEGIN DELETE FROM EntryChanges WHERE id <= NEW.id - {LINES}; END",
}

# Each log begins at a number of its own: a place in one that was removed since is none in the one that took its turn.
_BEGIN: Final = "INSERT INTO EntryChanges (id, key) VALUES (abs(random() % 1000000000000) * 1000 + 1, NULL)"


@dataclass(frozen=True, slots=True)
class Changes:
    """The keys of entries that changed; with `unknown`, any others may have changed too."""

    keys: frozenset[StoreKey] = frozenset()
    unknown: bool = False


class ChangeLog:
    """The log of one open database, and how far it was read. Methods raise what `database.TROUBLE` names."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: int | None = None

    @property
    def is_made(self) -> bool:
        """Whether the table and its triggers are there as they should be."""
        found = self._database.sql("SELECT name, sql FROM sqlite_master WHERE name GLOB 'EntryChanges*'")
        return dict(found) == _PARTS

    def make(self, patience: float) -> None:
        """Make what is missing, as of a store of an older version. Begins a new log where anything is not as it should be."""
        if self.is_made and self._newest() is not None:
            return
        with self._database.transaction(patience):
            if not self.is_made:  # another process may just have made it
                self._remake()
            if self._newest() is None:
                self._database.sql(_BEGIN)

    def _remake(self) -> None:
        select = "SELECT type, name FROM sqlite_master WHERE name GLOB 'EntryChanges*' ORDER BY type = 'table'"
        for kind, name in self._database.sql(select):  # triggers before their table, which takes them along
            quoted = name.replace('"', '""')
            self._database.sql(f'DROP {kind} "{quoted}"')
        for create in _PARTS.values():
            self._database.sql(create)

    def _newest(self) -> int | None:
        ((newest,),) = self._database.sql("SELECT max(id) FROM EntryChanges")
        return newest  # type: ignore[no-any-return]

    def new(self) -> Changes | None:
        """What changed since the last call. None: the log is not there or not as it should be, and `make` makes it."""
        last, self._last = self._last, None  # if this fails, the next one knows of no place
        if not self.is_made:
            return None
        if last is not None:
            # The line that was read last must still be there: else lines were removed, or it is another log.
            select = "SELECT id, CAST(key AS BLOB) FROM EntryChanges WHERE id >= ? ORDER BY id LIMIT ?"
            lines = self._database.sql(select, (last, LINES))
            if [number for number, _ in lines] == list(range(last, last + len(lines))) and 0 < len(lines) < LINES:
                self._last = last + len(lines) - 1
                keys = (bytes(key or b"").decode(errors="replace") for _, key in lines[1:])
                return Changes(frozenset(map(StoreKey, keys)))
        self._last = self._newest()
        return None if self._last is None else Changes(unknown=True)
