"""Fields of a JSON object, each with the type and the range that it must have: anything else raises ValueError.

What is read here was written by this program, or by whoever can write to the store or has made an archive. So what is not as this program
writes it is refused, or left out where only a header field is concerned.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from reprlib import Repr
from typing import Any, Final

from multidict import CIMultiDict

from pkgcache.rules.http.storability import MOST_FIELD_BYTES, MOST_FIELDS, NEVER_STORED, storable_headers

type Json = Mapping[str, Any]

LAST_TIME: Final = 253402300799.0
"""In seconds since the epoch: the end of the year 9999, the last that an HTTP date can name."""

MOST_INT: Final = 2**63 - 1
"""What SQLite has room for. Sizes are smaller."""

MOST_TEXT: Final = 64 * 1024
"""Characters of a text; the longest are URLs, of which clients may send 8 kB."""

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""In a header field's value they would end it, or are no part of any value (RFC 9110 §5.5). A tab may stand in it."""

_TOKENS: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_FRAMING: Final = frozenset({"content-length", "content-encoding", "content-range", "content-location", "location"})
"""Of one message, and not of a file in every answer: one that was stored would contradict the answer that it is put into."""

_shown: Final = Repr()
"""Shows a few levels of a value: `repr` of a deeply nested one raises RecursionError."""
_shown.maxstring = _shown.maxother = 60


def shown(value: object) -> str:
    """Show a value in a message, however large or deeply nested it is."""
    return f"{_shown.repr(value):.60}"


def json_field[T](notes: Json, name: str, kind: type[T]) -> T:
    """Read a field of one type. `True` is no int here, though it is one in Python. Texts are one line, ints from 0 to MOST_INT.

    >>> json_field({"status": 404}, "status", int)
    404
    """
    value = notes.get(name)
    if not isinstance(value, kind) or not _is_in_range(value, kind):
        raise ValueError(f"{name} is {shown(value)}")
    return value


def _is_in_range(value: Any, kind: type) -> bool:
    if kind is int:
        return not isinstance(value, bool) and 0 <= value <= MOST_INT
    if kind is str:
        return len(value) <= MOST_TEXT and not _CONTROLS.search(value)
    return True


def json_one_of[T](notes: Json, name: str, kind: type[T], allowed: Collection[T]) -> T:
    """Read a field that has one of a few values."""
    value = json_field(notes, name, kind)
    if value not in allowed:
        raise ValueError(f"{name} is {shown(value)}")
    return value


def json_rows(notes: Json, name: str, shapes: tuple[Any, ...]) -> list[list[Any]]:
    """Read a list of rows whose columns have these types.

    >>> json_rows({"hosts": [["files.test", 443]]}, "hosts", (str, int))
    [['files.test', 443]]
    """
    rows = json_field(notes, name, list)
    for row in rows:
        fits = isinstance(row, list) and len(row) == len(shapes) and all(map(isinstance, row, shapes))
        if not fits or any(isinstance(each, bool) for each in row):
            raise ValueError(f"{name} has {shown(row)}")
    return rows


def json_time(notes: Json, name: str) -> float:
    """Read a time, in seconds since the epoch."""
    return checked_time(notes.get(name), name)


def checked_time(value: Any, name: str) -> float:
    """Check a time: a finite number from 0 to LAST_TIME. Freshness is reckoned from it, and no sum may overflow."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= LAST_TIME:  # NaN fails, too
        raise ValueError(f"{name} is {shown(value)}")
    return float(value)


def json_headers(notes: Json, name: str, *, served: bool = False) -> CIMultiDict[str]:
    """Read header fields from a list of pairs, without those that are never stored (RFC 9111 §3.1).

    `served`: each of them is part of an answer. A line break would make two fields of one (RFC 9110 §5.5).
    """
    pairs = json_field(notes, name, list)
    if len(pairs) > MOST_FIELDS:
        raise ValueError(f"{name} are {len(pairs)} header fields")
    for pair in pairs:
        is_pair = isinstance(pair, list | tuple) and len(pair) == 2
        if not is_pair or not isinstance(pair[0], str) or not isinstance(pair[1], str):
            raise ValueError(f"{name} are no headers: {shown(pair)}")
    names, values = [pair[0] for pair in pairs], "".join([pair[1] for pair in pairs])
    joined = "".join(names)  # at every hit, so all names and all values are looked at in one go
    if not all(names) or (joined and not _TOKENS.fullmatch(joined)) or _CONTROLS.search(values):
        raise ValueError(f"{name} are no headers")
    if len(joined) + len(values) > MOST_FIELD_BYTES:
        raise ValueError(f"{name} have {len(joined) + len(values):,} characters")
    headers = CIMultiDict(pairs)
    known = {each.lower() for each in names}
    if not NEVER_STORED.isdisjoint(known):
        headers = storable_headers(headers)
    if served and not _FRAMING.isdisjoint(known):
        headers = CIMultiDict([(name, value) for name, value in headers.items() if name.lower() not in _FRAMING])
    return headers
