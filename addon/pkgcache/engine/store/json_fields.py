"""Fields of a JSON object, each with the type that it must have: anything else raises ValueError."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from multidict import CIMultiDict

type Json = Mapping[str, Any]

_LINE_BREAK = re.compile(r"[\r\n\0]")


def json_field[T](notes: Json, name: str, kind: type[T]) -> T:
    """Read a field of one type. `True` is no int here, though it is one in Python.

    >>> json_field({"status": 404}, "status", int)
    404
    """
    value = notes.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{name} is {value!r:.40}")
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
            raise ValueError(f"{name} has {row!r:.60}")
    return rows


def json_time(notes: Json, name: str) -> float:
    """Read a time, in seconds since the epoch."""
    value = notes.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r:.40}")  # noqa: TRY004  one error for all that is wrong with notes
    return float(value)


def json_headers(notes: Json, name: str) -> CIMultiDict[str]:
    """Read header fields from a list of pairs. A line break would make two fields of one (RFC 9110 §5.5)."""
    pairs = json_field(notes, name, list)
    for pair in pairs:  # at every hit, so without a generator for each text
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(f"{name} are no headers")
        key, value = pair
        if (
            not isinstance(key, str)
            or not isinstance(value, str)
            or _LINE_BREAK.search(key)
            or _LINE_BREAK.search(value)
        ):
            raise ValueError(f"{name} are no headers")
    return CIMultiDict(pairs)
