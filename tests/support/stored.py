"""Stored answers and headers in few words, for the tables of cases."""

from multidict import CIMultiDict

from pkgcache.rules.http.dates import format_http_date
from pkgcache.rules.http.freshness import Stored

T0 = 1_767_225_600.0  # Thu, 01 Jan 2026 00:00:00 GMT
NOW = T0 + 300
DATE = format_http_date(T0)


def h(*lines: str) -> CIMultiDict[str]:
    """Headers from `Name: value` lines."""
    return CIMultiDict((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))


def stored(*lines: str, status: int = 200, delay: float = 0.0) -> Stored:
    """An answer that came at T0, dated so unless a line says otherwise."""
    headers = h(*lines)
    headers.setdefault("Date", DATE)
    return Stored(status=status, headers=headers, request_time=T0 - delay, response_time=T0)
