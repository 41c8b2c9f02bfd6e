"""Dates of HTTP (RFC 9110 §5.6.7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.http.dates import format_http_date, parse_http_date
from tests.support.stored import T0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", 784111777, id="IMF-fixdate"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", 784111777, id="RFC 850"),
        pytest.param("Sun Nov  6 08:49:37 1994", 784111777, id="asctime"),
        pytest.param("sun, 06 nov 1994 08:49:37 gmt", 784111777, id="RFC 9111 §4.2 case-insensitive"),
        pytest.param("Thursday, 01-Jan-26 00:00:00 GMT", T0, id="two digits, this century"),
        pytest.param("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800, id="leap second"),
        pytest.param("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800, id="leap year"),
        pytest.param("Wed, 29 Feb 2023 00:00:00 GMT", None, id="no leap year"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 UTC", None, id="RFC 9111 §4.2 no zone but GMT"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 +0000", None, id="a numeric zone"),
        pytest.param("Sun, 00 Nov 1994 08:49:37 GMT", None, id="day 0"),
        pytest.param("Sun, 06 Foo 1994 08:49:37 GMT", None, id="no such month"),
        pytest.param("Sun, 06 Nov 1994 24:00:00 GMT", None, id="hour 24"),
        pytest.param("Sun, 06 Nov 0000 08:49:37 GMT", None, id="year 0"),
        pytest.param("6 Nov 1994 08:49:37 GMT", None, id="no day's name"),
        pytest.param("0", None, id="RFC 9111 §5.3 0"),
        pytest.param("", None, id="empty"),
    ],
)
def test_parse_http_date(text: str, seconds: float | None) -> None:
    assert parse_http_date(text) == seconds


@given(st.integers(0, 253402300799))
def test_dates_survive_being_written(seconds: int) -> None:
    assert parse_http_date(format_http_date(seconds)) == seconds
