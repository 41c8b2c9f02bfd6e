"""Dates of HTTP (RFC 9110 §5.6.7), in all three forms."""

import calendar
import functools
import math
import re
from email.utils import formatdate

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_YEAR = r"(?P<year>(?!0000)\d{4})"
_TIME = r"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d):(?P<second>[0-5]\d|60)"  # §5.6.7: a leap second is 60
_PIVOT = 70
_DATES = tuple(
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        rf"[a-z]{{3}}, (?P<day>\d\d) {_MONTH} {_YEAR} {_TIME} GMT",
        rf"[a-z]{{6,9}}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
        rf"[a-z]{{3}} {_MONTH} (?P<day>[ \d]\d) {_TIME} {_YEAR}",
    )
)


def parse_http_date(text: str) -> float | None:
    """Seconds since the epoch by any of the three forms (RFC 9110 §5.6.7); None for anything else.

    RFC 9111 §4.2: match "case-insensitively", and "a date with a zone abbreviation other than 'GMT'" is invalid.
    The day's name is not checked; a two-digit year below 70 is of this century (no clock to ask here).
    """
    return _remembered_date(text)


@functools.lru_cache(maxsize=128)  # one page's Date is read at every hit
def _remembered_date(text: str) -> float | None:
    found = next((match for form in _DATES if (match := form.fullmatch(text.strip(" \t")))), None)
    if found is None:
        return None
    year, month, day = int(found["year"]), _MONTHS.index(found["month"].lower()) + 1, int(found["day"])
    if len(found["year"]) < len("1970"):
        year += 2000 if year < _PIVOT else 1900
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return float(calendar.timegm((year, month, day, int(found["hour"]), int(found["minute"]), int(found["second"]))))


def format_http_date(seconds: float) -> str:
    """The preferred form, IMF-fixdate.

    >>> format_http_date(784111777)
    'Sun, 06 Nov 1994 08:49:37 GMT'
    """
    return formatdate(math.floor(seconds), usegmt=True)
