"""Decides from when on a new file may be installed: `pypi_cache_cooldown` after its upload.

By the upload time that the index page gives (PEP 700). What is refused, and for which rule, is in `admission`; young files are left
out of pages in engine/pages/filtering.
"""

import re
from datetime import UTC, datetime
from typing import Final

# PEP 700 has `yyyy-mm-ddThh:mm:ss.ffffffZ`; other indexes write offsets and longer fractions.
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})?"
)


def cooldown_end(upload_time: str, cooldown: float) -> float | None:
    """When a file's cooldown of so many seconds ends, in seconds since the epoch; None where its upload time is unknown.

    >>> cooldown_end("1970-01-01T00:01:00Z", 3600.0)
    3660.0
    """
    uploaded = parse_upload_time(upload_time)
    return None if uploaded is None else uploaded + cooldown


def parse_upload_time(text: str) -> float | None:
    """Convert a PEP 700 `upload-time` to seconds since the epoch; None for anything else.

    PEP 700: "the upload time MUST use the UTC timezone", so a time without the `Z` is in UTC.

    >>> parse_upload_time("1970-01-01T00:01:00.250000Z")
    60.25
    """
    if not _TIME.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):  # no such day or hour
        return None
