"""Reads HTTP dates in all three forms, and writes the preferred one (RFC 9110 §5.6.7).

The standard library's `email.utils.parsedate_to_datetime` is not used for reading: it takes the dates of mail, which have zones and may
leave out the seconds, and RFC 9111 §4.2 wants such dates treated as invalid.
"""

import calendar
import math
import re
from email.utils import formatdate

from pkgcache.rules.memo import memo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_YEAR = r"(?P<year>(?!0000)\d{4})"
_TIME = r"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d):(?P<second>[0-5]\d|60)"  # §5.6.7: a leap second is 60
_PIVOT = 70  # two-digit years below it are of this century, as in the time of UNIX
_DATES = tuple(
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        rf"[a-z]{{3}}, (?P<day>\d\d) {_MONTH} {_YEAR} {_TIME} GMT",  # IMF-fixdate
        rf"[a-z]{{6,9}}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",  # rfc850-date
        rf"[a-z]{{3}} {_MONTH} (?P<day>[ \d]\d) {_TIME} {_YEAR}",  # asctime-date
    )
)


def parse_http_date(text: str) -> float | None:
    """Convert a date in any of the three forms to seconds since the epoch; None for anything else.

    RFC 9111 §4.2: match "case-insensitively", and "a date with a zone abbreviation other than 'GMT'" is invalid. The name of the day is
    not checked. A two-digit year below 70 is of this century; RFC 9110 would compare it with today, but rules have no clock.

    >>> parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT") == parse_http_date("Sun Nov  6 08:49:37 1994") == 784111777
    True
    """
    return _remembered_date(text)


@memo(maxsize=128)  # the Date of a stored page is read at every hit
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
    """Write seconds since the epoch, rounded down, in the preferred form (IMF-fixdate).

    >>> format_http_date(784111777)
    'Sun, 06 Nov 1994 08:49:37 GMT'
    """
    return formatdate(math.floor(seconds), usegmt=True)
