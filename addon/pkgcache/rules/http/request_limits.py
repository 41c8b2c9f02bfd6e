"""How long the parts of a request for a package may be that are taken apart here: its path, and header fields that are lists.

A head may have 64 kB, which is right for cookies and tickets that only pass through. Taking such a length apart costs 50 ms and more,
in which nobody else is served.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

MAX_PATH: Final = 2048
"""Characters of a path, without its query. The longest in use are those of signed files, with less than 500."""

MAX_FIELD: Final = 4096
"""Characters of all lines of one field together. pip's `Accept` has 89."""

UNREAD: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Fields that nobody here takes apart: a Kerberos ticket may fill a head."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """The refusal of a request, as status and text."""

    status: HTTPStatus
    text: str


def too_long(path: str, fields: Sequence[tuple[str, str]]) -> TooLong | None:
    """Return the refusal of a request with this path and these header lines, or None if each is short enough.

    >>> too_long("/simple/six/", [("Accept", "*/*")])
    >>> too_long("/simple/six/", [("Accept", "*/*," * 600), ("accept", "*/*," * 600)])
    TooLong(status=<HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: 431>, text='the Accept header has more than 4096 characters')
    """
    if len(path) > MAX_PATH:
        return TooLong(HTTPStatus.REQUEST_URI_TOO_LONG, f"the path has more than {MAX_PATH} characters")
    if sum([len(value) for _, value in fields]) <= MAX_FIELD:
        return None
    lengths: Counter[str] = Counter()
    for name, value in fields:
        lengths[name.lower()] += len(value)
    longest, length = max(
        ((name, length) for name, length in lengths.items() if name not in UNREAD),
        key=lambda item: item[1],
        default=("", 0),
    )
    if length <= MAX_FIELD:
        return None
    return TooLong(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the {longest.title()} header has more than {MAX_FIELD} characters"
    )
