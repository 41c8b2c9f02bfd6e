"""Upload times (PEP 700), and when a file's cooldown ends."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.policy.cooldown import cooldown_end, parse_upload_time

DAY = 86400.0
NOW = datetime(2024, 6, 8, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("upload_time", "end"),
    [("2024-06-08T12:00:00Z", NOW + 7 * DAY), ("1970-01-01T00:00:00Z", 7 * DAY), ("", None), ("yesterday", None)],
)
def test_cooldown_end(upload_time: str, end: float | None) -> None:
    assert cooldown_end(upload_time, 7 * DAY) == end


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2024-06-08T12:00:00Z", NOW),
        ("2024-06-08T12:00:00.5Z", NOW + 0.5),
        pytest.param("2024-06-08T12:00:00.123456Z", NOW + 0.123456, id="PEP 700's format"),
        pytest.param("2024-06-08T12:00:00.123456789Z", NOW + 0.123456, id="nanoseconds are cut"),
        pytest.param("2024-06-08T14:00:00+02:00", NOW, id="an offset"),
        pytest.param("2024-06-08T12:00:00", NOW, id="PEP 700: UTC"),
        ("1969-12-31T23:59:59Z", -1.0),
        ("", None),
        pytest.param("2024-06-08", None, id="a day is no time"),
        pytest.param("2024-06-08 12:00:00Z", None, id="a blank"),
        pytest.param("2024-06-31T12:00:00Z", None, id="no such day"),
        pytest.param("2024-06-08T24:30:00Z", None, id="no such hour"),
        pytest.param("2024-06-08T12:00:60Z", None, id="a leap second"),
        pytest.param("0000-01-01T00:00:00Z", None, id="no such year"),
        pytest.param("0001-01-01T00:00:00+23:59", -62135683140.0, id="before the first year"),
        pytest.param("9999-12-31T23:59:59-23:59", 253402387139.0, id="after the last year"),
        pytest.param("2024-06-08T12:00:00+99:00", None, id="no such offset"),
        pytest.param("2024-W23-6T12:00:00Z", None, id="ISO 8601's weeks"),
        pytest.param("٢٠٢٤-06-08T12:00:00Z", None, id="other digits"),
        pytest.param("2024-06-08T12:00:00Z\n", None, id="a line end"),
    ],
)
def test_parse_upload_time(text: str, seconds: float | None) -> None:
    assert parse_upload_time(text) == (None if seconds is None else pytest.approx(seconds, abs=1e-5))


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),  # noqa: DTZ001 - hypothesis wants them so
    st.integers(-23 * 60, 23 * 60),
)
def test_upload_times_read_back(moment: datetime, offset: int) -> None:
    there = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    assert parse_upload_time(there.isoformat()) == pytest.approx(there.timestamp(), abs=1e-5)
    assert parse_upload_time(f"{moment.isoformat()}Z") == moment.replace(tzinfo=UTC).timestamp()


@given(st.text() | st.text("0123456789-T:Z+.", max_size=30))
def test_any_text_is_a_time_or_none(text: str) -> None:
    assert isinstance(parse_upload_time(text), float | None)
