"""RFC 9111 by the rules alone: one clause, one row. What a client sees of them is tabled in test_pages.py and test_files.py."""

from collections.abc import Mapping

import pytest
from multidict import CIMultiDict

from pkgcache.rules.http.dates import format_http_date
from pkgcache.rules.http.freshness import Fresh, MustRevalidate, Policy, Stored, decide, received_times, times_of
from pkgcache.rules.http.validation import updates
from tests.support.stored import DATE, NOW, T0, h, stored

LATE, EARLY = format_http_date(T0 - 3600), format_http_date(T0 + 3600)


@pytest.mark.parametrize(
    ("answer", "date", "age"),
    [
        pytest.param(stored(), DATE, 300, id="§4.2.3 as long as it is here"),
        pytest.param(stored("Age: 590"), DATE, 890, id="§5.1 and as long as it was elsewhere"),
        pytest.param(stored("Age: 590", delay=5), DATE, 895, id="§4.2.3 and under way"),
        pytest.param(stored(f"Date: {LATE}"), LATE, 3900, id="§4.2.3 a late clock"),
        pytest.param(stored(f"Date: {LATE}", "Age: 7"), LATE, 3900, id="§4.2.3 a late clock, and an Age"),
        pytest.param(stored(f"Date: {LATE}", "Age: 3601"), LATE, 3901, id="§4.2.3 the greater one"),
        pytest.param(stored(f"Date: {EARLY}"), EARLY, 300, id="§4.2.3 an early clock"),
        pytest.param(stored("Date: ?"), DATE, 300, id="RFC 9110 §6.6.1 no date: when it came"),
        pytest.param(stored("Date:"), DATE, 300, id="RFC 9110 §6.6.1 an empty date"),
        pytest.param(
            stored("Date: Thursday, 01-Jan-26 00:00:00 GMT"), DATE, 300, id="RFC 9110 §5.6.7 an obsolete form"
        ),
        pytest.param(stored("Age: 99999999999999999999"), DATE, 2**31, id="§1.2.2 never more than 2147483648"),
        pytest.param(stored("Age: 2147483648"), DATE, 2**31, id="§1.2.2 nor by a sum"),
    ],
)
def test_times_of_a_stored_answer(answer: Stored, date: str, age: int) -> None:
    assert times_of(answer, NOW) == {"Date": date, "Age": str(age)}


@pytest.mark.parametrize(
    ("lines", "times"),
    [
        pytest.param((f"Date: {LATE}", "Age: 7"), {"Date": LATE, "Age": "7"}, id="§5.1 passed on"),
        pytest.param(("Age: 0",), {}, id="§5.1 no age is none"),
        pytest.param(("Date: yesterday", "Age: old"), {}, id="what nobody can read is left out"),
        pytest.param(("Age: 7, 9",), {"Age": "7"}, id="§5.1 the first member"),
        pytest.param((), {}, id="none"),
    ],
)
def test_times_of_an_answer_that_is_passed_on(lines: tuple[str, ...], times: Mapping[str, str]) -> None:
    assert received_times(h(*lines)) == times


@pytest.mark.parametrize(
    ("answer", "now", "fresh"),
    [
        pytest.param(stored("Age: 4000"), NOW, True, id="§4.2.3 an Age does not shorten it"),
        pytest.param(stored(f"Date: {LATE}"), NOW, True, id="§4.2.3 nor a late clock"),
        pytest.param(stored("Age: 4000"), T0 + 599, True, id="to its end"),
        pytest.param(stored("Age: 4000"), T0 + 600, False, id="§4.2 and no longer"),
        pytest.param(stored(f"Date: {EARLY}", "Cache-Control: max-age=9999"), T0 + 600, False, id="an early clock"),
        pytest.param(stored("Age: 4000", "Cache-Control: no-cache"), NOW, False, id="§5.2.2.4 no-cache holds"),
        pytest.param(stored("Age: 4000", "Cache-Control: private"), NOW, False, id="§5.2.2.7 private holds"),
    ],
)
def test_the_operators_lifetime_counts_from_when_it_was_stored(answer: Stored, now: float, *, fresh: bool) -> None:
    """With `pypi_cache_index_ttl` an `Age: 4000` made each install a page request."""
    policy = Policy(override=600, stale_while_revalidate=0)
    decision = decide(answer, CIMultiDict(), policy, now)
    assert isinstance(decision, Fresh) is fresh
    assert decision.age >= now - T0


@pytest.mark.parametrize(
    ("lines", "reusable"),
    [
        pytest.param((), True, id="§4.1 no Vary"),
        pytest.param(("Vary: Accept",), True, id="§4.1 the key has the representation"),
        pytest.param(("Vary: Accept, Accept-Encoding, User-Agent",), True, id="§4.1 all requests upstream are alike"),
        pytest.param(("Vary: *",), False, id="§4.1 * always fails to match"),
        pytest.param(("Vary: Accept, *",), False, id="§4.1 a member *"),
        pytest.param(("Vary: Accept", "Vary: *"), False, id="§4.1 in another line"),
        pytest.param(("Vary: *,*",), False, id="§4.1 twice"),
        pytest.param(("Vary: *x",), True, id="§4.1 a member that is not *"),
        pytest.param(("Vary:",), True, id="§4.1 an empty one"),
    ],
)
def test_vary(lines: tuple[str, ...], *, reusable: bool) -> None:
    """§4.1. Also if the upstream fails, and for max-stale: it is not the answer to any other request."""
    answer = stored("Cache-Control: max-age=3600", *lines)
    for asks in ((), ("Cache-Control: max-stale",), ("Cache-Control: stale-if-error=9999",)):
        decision = decide(answer, h(*asks), Policy(), NOW)
        assert isinstance(decision, Fresh) is reusable
        assert reusable or (isinstance(decision, MustRevalidate) and not decision.stale_if_error_ok)


OTHER = format_http_date(T0 - 86_400)


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        pytest.param(('ETag: "a"',), ('ETag: "a"',), True, id="§4.3.4 the same tag"),
        pytest.param(('ETag: "a"',), ('ETag: "b"',), False, id="§4.3.4 another tag"),
        pytest.param(('ETag: "a"',), ('ETag: W/"a"',), True, id="§4.3.4 made weak"),
        pytest.param(('ETag: W/"a"',), ('ETag: "a"',), True, id="§4.3.4 made strong"),
        pytest.param(('ETag: W/"a"',), ('ETag: W/"b"',), False, id="§4.3.4 another weak tag"),
        pytest.param(('ETag: "abc--gzip"',), ('ETag: "abc"',), False, id="§4.3.4 the tag of another coding"),
        pytest.param(('ETag: "a"',), (), True, id="§4.3.4 no validator in the 304"),
        pytest.param((), (), True, id="§4.3.4 none in either"),
        pytest.param(
            ('ETag: "a"', f"Last-Modified: {DATE}"), ('ETag: "a"', f"Last-Modified: {OTHER}"), True, id="tag first"
        ),
        pytest.param(
            ('ETag: "a"', f"Last-Modified: {DATE}"), ('ETag: "b"', f"Last-Modified: {DATE}"), False, id="alone"
        ),
        pytest.param((f"Last-Modified: {DATE}",), (f"Last-Modified: {DATE}",), True, id="§4.3.4 the same date"),
        pytest.param((f"Last-Modified: {DATE}",), (f"Last-Modified: {OTHER}",), False, id="§4.3.4 another date"),
        pytest.param(
            (f"Last-Modified: {DATE}",),
            ("Last-Modified: Thursday, 01-Jan-26 00:00:00 GMT",),
            True,
            id="RFC 9110 §5.6.7 the same date in an obsolete form",
        ),
        pytest.param((f"Last-Modified: {DATE}",), ("Last-Modified: today",), True, id="RFC 9110 §8.8.2 no date"),
        pytest.param(
            (f"Last-Modified: {DATE}",), ('ETag: "a"', f"Last-Modified: {OTHER}"), False, id="a new tag, another date"
        ),
        pytest.param(
            (f"Last-Modified: {DATE}",), ('ETag: "a"', f"Last-Modified: {DATE}"), True, id="a new tag, the same date"
        ),
    ],
)
def test_which_304_updates_what_is_stored(ours: tuple[str, ...], theirs: tuple[str, ...], *, same: bool) -> None:
    assert updates(h(*ours), h(*theirs)) is same
