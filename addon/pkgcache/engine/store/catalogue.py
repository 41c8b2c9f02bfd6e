"""What the store holds, for people: found by name, a page at a time; and what belongs to one project, to be dropped.

A search passes over the whole table: of 20,000 entries it took 0.05 to 0.3 s of processor time, and 1 s where names are hidden. SQLite
does that on another thread, without the interpreter's lock, one search at a time, and with a rest of the same length behind each. Only
release files and index pages are found: all else comes from them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from packaging.utils import canonicalize_name

from pkgcache.engine.store.entries import Entries, Row
from pkgcache.engine.store.keys import StoreKey, parse_key
from pkgcache.engine.store.session import StoreSession

PAGE: Final = 25
"""Entries of one page."""

MOST_FILTERED: Final = 20_000
"""Entries of one search that are looked at one by one, where some names are hidden."""

MOST_WAITING: Final = 8
"""Searches that wait for the one under way. More are refused."""

ROWS_AT_ONCE: Final = 64
"""Entries that are dropped in one transaction: few, so that a download's commit does not wait long."""

type Kind = Literal["", "file", "page"]
type Order = Literal["asked", "stored", "size", "name"]

_SIZE: Final = "CAST(max(size, coalesce(length(value), 0)) AS INTEGER)"
_LAST: Final = "substr({0}, length(rtrim({0}, replace({0}, '|', ''))) + 1)"
_NAME: Final = (
    "CASE WHEN key GLOB 'file|*' THEN " + _LAST.format("key") + " ELSE "
    # Without the representation, the last part of a page's key is its project or document.
    + _LAST.format("rtrim(rtrim(key, replace(key, '|', '')), '|')") + " END"
)  # fmt: skip
"""What an entry is called, from its key (keys.py): what stands behind the last `|`, or the one before."""

_ORDERS: Final[dict[Order, str]] = {
    "asked": "access_time DESC, rowid",
    "stored": "store_time DESC, rowid",
    "size": f"{_SIZE} DESC, rowid",
    "name": "name COLLATE NOCASE, rowid",
}
_KINDS: Final[dict[Kind, tuple[str, ...]]] = {"": ("file", "page"), "file": ("file",), "page": ("page",)}
_COLUMNS: Final = f"rowid, key, {_SIZE}, store_time, CAST(access_time AS REAL), filename, {_NAME} AS name"


class TooManySearchesError(Exception):
    """Others are waiting already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to look for: a part of a name, in any spelling of PEP 503. `page` is counted from 1.

    `private`: also what was fetched with a client's credentials. `hides` tells of a project whose name is not shown, and whose entries
    are not found.
    """

    text: str = ""
    kind: Kind = ""
    order: Order = "asked"
    page: int = 1
    private: bool = False
    hides: Callable[[str], bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The entries of one page, and how many there are in all."""

    rows: list[Row]
    total: int


class Catalogue:
    """The entries of a store as one process has it open."""

    def __init__(self, session: StoreSession) -> None:
        self._session = session
        self._one = asyncio.Semaphore(1)
        self._waiting = 0

    async def search(self, search: Search) -> Found:
        """Find entries; none while the store has trouble. Raises TooManySearchesError."""
        if self._waiting >= MOST_WAITING:
            raise TooManySearchesError
        self._waiting += 1
        try:
            await self._one.acquire()
            began = time.monotonic()
            try:
                found = await self._session.read(lambda entries: _search(entries, search))
            finally:
                asyncio.get_running_loop().call_later(time.monotonic() - began, self._one.release)
        finally:
            self._waiting -= 1
        return found or Found(rows=[], total=0)

    async def drop_project(self, project: str) -> tuple[int, int]:
        """Drop all that is stored of one project, by whatever credentials: how many entries went, and of how many bytes."""
        name = canonicalize_name(project)
        async with self._one:
            rows = await self._session.read(lambda entries: _of_project(entries, name)) or []
        dropped = size = 0
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            freed = await self._session.write(partial(Entries.drop_rows, rows=some))
            if freed is None:  # the store has trouble
                break
            dropped, size = dropped + len(some), size + freed
        return dropped, size


def pattern_of(text: str) -> str:
    r"""Return a pattern for SQL's LIKE: a part of a name, with any one character for each separator of names (PEP 503), and `\` to escape.

    >>> pattern_of("Foo_bar%")
    '%Foo_bar\\%%'
    """
    escaped = text.replace("\\", "\\\\").replace("%", "\\%")
    return f"%{escaped.translate(str.maketrans('-.', '__'))}%"


def _search(entries: Entries, search: Search) -> Found:
    kinds = [f"{kind}|*" if search.private else f"{kind}|-|*" for kind in _KINDS[search.kind]]
    where = f"raw = 1 AND typeof(key) = 'text' AND ({' OR '.join(['key GLOB ?'] * len(kinds))})"
    values: list[Any] = list(kinds)
    if search.text:
        # The whole key first, which is much quicker to look at, and has the name in it.
        where += f" AND key LIKE ? ESCAPE '\\' AND {_NAME} LIKE ? ESCAPE '\\'"
        values += [pattern_of(search.text)] * 2
    select = f"SELECT {_COLUMNS} FROM Cache WHERE {where} ORDER BY {_ORDERS[search.order]} LIMIT ? OFFSET ?"  # noqa: S608  texts of this file
    start = (search.page - 1) * PAGE
    if search.hides is None:
        rows = [_row(found) for found in entries.database.sql(select, [*values, PAGE, start])]
        [(total,)] = entries.database.sql(f"SELECT count(*) FROM Cache WHERE {where}", values)  # noqa: S608
        return Found(rows=rows, total=total)
    seen = map(_row, entries.database.sql(select, [*values, MOST_FILTERED, 0]))
    shown = [row for row in seen if not search.hides(parse_key(row.key).project)]
    return Found(rows=shown[start : start + PAGE], total=len(shown))


def _of_project(entries: Entries, name: str) -> list[Row]:
    select = f"SELECT {_COLUMNS} FROM Cache WHERE raw = 1 AND typeof(key) = 'text' AND key LIKE ?"  # noqa: S608
    # These are more than the project's; its own are told by their keys. One `%` for each hyphen would take SQLite exponential time.
    rows = map(_row, entries.database.sql(select, [f"%{max(name.split('-'), key=len)}%"]))
    return [row for row in rows if canonicalize_name(parse_key(row.key).project) == name]


def _row(found: tuple[Any, ...]) -> Row:
    rowid, key, size, stored_at, accessed_at, filename, _ = found
    return Row(
        rowid=rowid,
        key=StoreKey(key),
        size=size,
        stored_at=stored_at,
        accessed_at=accessed_at,
        filename=filename,
        notes={},
    )
