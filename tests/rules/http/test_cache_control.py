"""Cache-Control (RFC 9111 §5.2): one clause, one row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.http.cache_control import FOREVER, CacheControl, parse_cache_control


@pytest.mark.parametrize(
    ("values", "parsed"),
    [
        pytest.param(["max-age=600, public"], CacheControl(max_age=600, public=True), id="§5.2 two directives"),
        pytest.param(["max-age=600", "public"], CacheControl(max_age=600, public=True), id="§5.2 two lines"),
        pytest.param(["MAX-AGE=5, No-Cache"], CacheControl(max_age=5, no_cache=True), id="§5.2 case-insensitive"),
        pytest.param(['max-age="5"'], CacheControl(max_age=5), id="§5.2 quoted form"),
        pytest.param(['x="a, no-store", public'], CacheControl(public=True), id="§5.2 comma in quotes"),
        pytest.param(["foo, bar=1, immutable"], CacheControl(immutable=True), id="§5.2.3 unknown ones are ignored"),
        pytest.param(["max-age=abc"], CacheControl(max_age=0), id="§4.2.1 no number: stale"),
        pytest.param(["max-age=1.5"], CacheControl(max_age=0), id="§4.2.1 no integer: stale"),
        pytest.param(["max-age=-1"], CacheControl(max_age=0), id="§4.2.1 negative: stale"),
        pytest.param(["max-age"], CacheControl(max_age=0), id="§4.2.1 no value: stale"),
        pytest.param(["max-age="], CacheControl(max_age=0), id="§4.2.1 empty value: stale"),
        pytest.param(["max-age=9, max-age=5"], CacheControl(max_age=5), id="§4.2.1 duplicates: the strictest"),
        pytest.param(["max-age=9", "max-age=x"], CacheControl(max_age=0), id="§4.2.1 duplicates: one malformed"),
        pytest.param(["max-age=" + "9" * 5000], CacheControl(max_age=FOREVER), id="§1.2.2 greater than any integer"),
        pytest.param(["max-age=2147483649"], CacheControl(max_age=FOREVER), id="§1.2.2 greater than 2^31"),
        pytest.param(["max-age=\u0665"], CacheControl(max_age=0), id="§1.2.2 a digit, but not ASCII"),
        pytest.param(['no-cache="Set-Cookie"'], CacheControl(no_cache=True), id="§5.2.2.4 qualified as unqualified"),
        pytest.param(['private="X, Y"'], CacheControl(private=True), id="§5.2.2.7 qualified as unqualified"),
        pytest.param(["max-stale"], CacheControl(max_stale=FOREVER), id="§5.2.1.2 without value: any age"),
        pytest.param(["max-stale=x"], CacheControl(max_stale=0), id="§5.2.1.2 malformed: none"),
        pytest.param(["min-fresh=5, min-fresh=9"], CacheControl(min_fresh=9), id="§5.2.1.3 duplicates: the strictest"),
        pytest.param(
            ["stale-while-revalidate=30, stale-if-error=60"],
            CacheControl(stale_while_revalidate=30, stale_if_error=60),
            id="RFC 5861 §3, §4",
        ),
        pytest.param(['max-age="5', ", ,=,"], CacheControl(max_age=0), id="broken quoting does not raise"),
        pytest.param([], CacheControl(), id="§5.2 none"),
    ],
)
def test_parse_cache_control(values: list[str], parsed: CacheControl) -> None:
    assert parse_cache_control(values) == parsed


@given(st.lists(st.text(max_size=60)))
def test_any_cache_control_is_read(values: list[str]) -> None:
    control = parse_cache_control(values)
    assert control.max_age is None or 0 <= control.max_age <= FOREVER
