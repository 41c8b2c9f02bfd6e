"""Decides when a range starts a fill, and when one of a growing file is near enough to wait for.

A fill is one download of a release file that any number of clients read while it grows. Nothing here knows of files or time.
"""

from collections.abc import Mapping

from pkgcache.rules.http.ranges import (
    Bounded,
    Multi,
    Partial,
    RangeAnswer,
    RangeRequest,
    Suffix,
    Unsatisfiable,
    Whole,
    parse_range,
)

FILL_SHARE = 0.5
"""A range of at least this share of a file that is not stored starts a fill; a smaller one is passed through.

A resolver that reads the metadata of ten large wheels must not download them all.
"""

NEAR_BYTES = 8 * 1024 * 1024
"""A range of a growing file is served from it when it starts no further than this past the bytes that are there."""


def starts_fill(headers: Mapping[str, str], size: int | None) -> bool:
    """Whether a GET with these headers, for a file of `size` bytes (None: unknown) that is not stored, starts a fill.

    It does if it asks for everything, for everything from byte 0 on, or for at least FILL_SHARE of the file.

    >>> starts_fill({"Range": "bytes=-1000"}, 20_000_000)
    False
    """
    requested = parse_range(headers.get("Range"))
    # A client that resumes (RFC 9110 §13.1.5) wants the rest; its validator decides what it gets.
    if requested is None or "If-Range" in headers:
        return True
    match requested:
        case RangeRequest(specs=(Bounded(first=0, last=None),), malformed=False):
            return True
        case RangeRequest(specs=(Bounded(first=first, last=last),), malformed=False) if size:
            return (size if last is None else min(last + 1, size)) - first >= size * FILL_SHARE
        case RangeRequest(specs=(Suffix(length=length),), malformed=False) if size:
            return length >= size * FILL_SHARE
    return False


def is_near(answer: RangeAnswer, available: int) -> bool:
    """Whether a growing file, readable up to `available`, has or will soon have the bytes of an answer.

    Several ranges are sent as one body, so all of them must be there already.
    """
    match answer:
        case Whole() | Unsatisfiable():
            return True
        case Partial(span=span):
            return span.start <= available + NEAR_BYTES
        case Multi(spans=spans):
            return all(span.stop <= available for span in spans)
