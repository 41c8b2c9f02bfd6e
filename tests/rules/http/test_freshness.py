"""For how long a stored answer is fresh, and what is done with it then (RFC 9111 §4, §5.2, RFC 5861): one clause, one row."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.http.dates import format_http_date
from pkgcache.rules.http.freshness import (
    CLOCK_SKEW,
    Decision,
    Fresh,
    MustRevalidate,
    Policy,
    StaleReason,
    StaleUsable,
    Stored,
    current_age,
    decide,
    freshness_lifetime,
    only_if_cached,
)
from tests.support.stored import DATE, NOW, T0, h, stored


@pytest.mark.parametrize(
    ("answer", "age"),
    [
        pytest.param(stored(), 300, id="§4.2.3 resident_time"),
        pytest.param(stored("Age: 100"), 400, id="§4.2.3 age_value"),
        pytest.param(stored("Age: 100", delay=5), 405, id="§4.2.3 response_delay"),
        pytest.param(stored(f"Date: {format_http_date(T0 - 50)}"), 350, id="§4.2.3 apparent_age"),
        pytest.param(stored(f"Date: {format_http_date(T0 - 50)}", "Age: 10"), 350, id="§4.2.3 the greater of both"),
        pytest.param(stored(f"Date: {format_http_date(T0 + 9999)}"), 300, id="§4.2.3 Date in the future counts 0"),
        pytest.param(stored("Date: yesterday"), 300, id="RFC 9110 §6.6.1 invalid Date: when it came"),
        pytest.param(stored("Age: 7, 9"), 307, id="§5.1 a list: its first member"),
        pytest.param(stored("Age: 7", "Age: 9"), 307, id="§5.1 two lines: the first"),
        pytest.param(stored("Age: old"), 300, id="§5.1 invalid: ignored"),
        pytest.param(stored("Age: -5"), 300, id="§5.1 negative: ignored"),
        pytest.param(stored(delay=-60), 300, id="the clock was set back while it came"),
    ],
)
def test_current_age(answer: Stored, age: float) -> None:
    assert current_age(answer, NOW) == age


def test_age_is_never_negative() -> None:
    """The clock was set back after the answer came."""
    assert current_age(stored(), T0 - 9999) == 0


@pytest.mark.parametrize(
    ("ahead", "age"),
    [(CLOCK_SKEW, 0), (CLOCK_SKEW + 1, CLOCK_SKEW + 1), (1e9, 1e9), (253402300799 - T0, 253402300799 - T0)],
)
def test_what_comes_from_the_future_is_not_fresh_until_then(ahead: float, age: float) -> None:
    """A wrong time zone is forgiven; whoever writes the year 9999 into a row would have it served for ever."""
    assert current_age(stored("Date: ?"), T0 - ahead) == age
    fresh = isinstance(decide(stored("Date: ?"), h(), Policy(), T0 - ahead), Fresh)
    assert fresh is (ahead <= CLOCK_SKEW)


EXPIRES = f"Expires: {format_http_date(T0 + 77)}"


@pytest.mark.parametrize(
    ("lines", "lifetime"),
    [
        pytest.param(("Cache-Control: max-age=60, s-maxage=30", EXPIRES), 30, id="§4.2.1 s-maxage first"),
        pytest.param(("Cache-Control: max-age=60", EXPIRES), 60, id="§4.2.1 then max-age"),
        pytest.param((EXPIRES,), 77, id="§4.2.1 then Expires less Date"),
        pytest.param((EXPIRES, f"Date: {format_http_date(T0 - 10)}"), 87, id="§4.2.1 by the origin's clock"),
        pytest.param((EXPIRES, "Date: ?"), 77, id="RFC 9110 §6.6.1 no Date: when it came"),
        pytest.param((EXPIRES, f"Expires: {DATE}"), 0, id="§4.2.1 two Expires: the earlier"),
        pytest.param(("Expires: 0",), 0, id="§5.3 Expires: 0 is already expired"),
        pytest.param((EXPIRES, "Expires: never"), 0, id="§5.3 one of two invalid"),
        pytest.param((f"Expires: {format_http_date(T0 - 5)}",), 0, id="§5.3 in the past"),
        pytest.param(("Cache-Control: max-age=x", EXPIRES), 0, id="§4.2.1 malformed max-age does not fall through"),
        pytest.param(("Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT",), 600, id="§4.2.2 no heuristic: the default"),
        pytest.param((), 600, id="§4.2.2 the default"),
        pytest.param(("Cache-Control: no-store, max-age=60",), 0, id="§5.2.2.5 never"),
        pytest.param(("Cache-Control: private, max-age=60",), 0, id="§5.2.2.7 never"),
    ],
)
def test_freshness_lifetime(lines: tuple[str, ...], lifetime: float) -> None:
    assert freshness_lifetime(stored(*lines), Policy()) == lifetime


@pytest.mark.parametrize(
    ("lines", "lifetime"),
    [
        pytest.param(("Cache-Control: max-age=60",), 5, id="override before max-age"),
        pytest.param(("Cache-Control: s-maxage=60",), 5, id="override before s-maxage"),
        pytest.param(("Expires: 0",), 5, id="override before Expires"),
        pytest.param(("Cache-Control: private",), 0, id="§5.2.2.7 private before override"),
        pytest.param(("Cache-Control: no-store",), 0, id="§5.2.2.5 no-store before override"),
    ],
)
def test_override(lines: tuple[str, ...], lifetime: float) -> None:
    assert freshness_lifetime(stored(*lines), Policy(override=5)) == lifetime


# --- §4, §5.2, RFC 5861: at NOW every answer is 300 seconds old ---

FRESH, STALE_30, STALE_200 = "max-age=600", "max-age=270", "max-age=100"
ASK, ASK_STRICT = "MustRevalidate, else stale", "MustRevalidate, else an error"
DECISIONS: list[tuple[str, str, tuple[str, ...], str, StaleReason | None]] = [
    # id, the response's Cache-Control, the request's lines, what to do, why
    ("§4.2 within its lifetime", FRESH, (), "Fresh", None),
    ("§4.2 the default lifetime", "public", (), "Fresh", None),
    ("§4.2 lifetime equals age: stale", "max-age=300", (), "StaleUsable", StaleReason.STALE_WHILE_REVALIDATE),
    ("RFC 8246 immutable is fresh no longer than that", "max-age=100, immutable", (), ASK, StaleReason.STALE),
    ("§5.2.1.1 max-age=0: older pip, pdm", FRESH, ("Cache-Control: max-age=0",), "Fresh", None),
    ("§5.2.1.1 max-age=0, stale", STALE_30, ("Cache-Control: max-age=0",), ASK, StaleReason.REQUEST_MAX_AGE),
    ("design: uv --refresh", FRESH, ("Cache-Control: max-age=0, must-revalidate",), ASK, StaleReason.REQUEST_NO_CACHE),
    ("§5.2.1.1 older than asked for", FRESH, ("Cache-Control: max-age=299",), ASK, StaleReason.REQUEST_MAX_AGE),
    ("§5.2.1.1 as old as asked for", FRESH, ("Cache-Control: max-age=300",), "Fresh", None),
    ("§5.2.1.1 no wish for a stale one", STALE_30, ("Cache-Control: max-age=900",), ASK, StaleReason.REQUEST_MAX_AGE),
    (
        "§5.2.1.1 unless max-stale is there",
        STALE_200,
        ("Cache-Control: max-age=900, max-stale=200",),
        "StaleUsable",
        StaleReason.MAX_STALE,
    ),
    ("§5.2.1.2 max-stale, within", STALE_200, ("Cache-Control: max-stale=200",), "StaleUsable", StaleReason.MAX_STALE),
    ("§5.2.1.2 max-stale, beyond", STALE_200, ("Cache-Control: max-stale=199",), ASK, StaleReason.STALE),
    ("§5.2.1.2 max-stale, any", STALE_200, ("Cache-Control: max-stale",), "StaleUsable", StaleReason.MAX_STALE),
    ("§5.2.1.3 min-fresh, met", FRESH, ("Cache-Control: min-fresh=300",), "Fresh", None),
    ("§5.2.1.3 min-fresh, not met", FRESH, ("Cache-Control: min-fresh=301",), ASK, StaleReason.REQUEST_MIN_FRESH),
    ("§5.2.1.4 no-cache", FRESH, ("Cache-Control: no-cache",), ASK, StaleReason.REQUEST_NO_CACHE),
    ("§5.2.1.5 no-store says nothing of what is stored", FRESH, ("Cache-Control: no-store",), "Fresh", None),
    ("§5.2.1.7 only-if-cached, fresh", FRESH, ("Cache-Control: only-if-cached",), "Fresh", None),
    ("§5.4 Pragma", FRESH, ("Pragma: no-cache",), ASK, StaleReason.REQUEST_NO_CACHE),
    ("§5.4 Pragma beside Cache-Control", FRESH, ("Pragma: no-cache", "Cache-Control: max-age=900"), "Fresh", None),
    ("§5.2.2.4 no-cache, fresh", "max-age=600, no-cache", (), ASK_STRICT, StaleReason.RESPONSE_NO_CACHE),
    (
        "§5.2.2.4 no-cache is not lifted by max-stale",
        "no-cache",
        ("Cache-Control: max-stale",),
        ASK_STRICT,
        StaleReason.RESPONSE_NO_CACHE,
    ),
    ("§5.2.2.2 must-revalidate, fresh", "max-age=600, must-revalidate", (), "Fresh", None),
    ("§5.2.2.2 must-revalidate, stale", "max-age=290, must-revalidate", (), ASK_STRICT, StaleReason.STALE),
    (
        "§5.2.2.2 must-revalidate, stale, max-stale",
        "max-age=290, must-revalidate",
        ("Cache-Control: max-stale",),
        ASK_STRICT,
        StaleReason.STALE,
    ),
    (
        "§5.2.2.2 must-revalidate, fresh, refresh fails",
        "max-age=600, must-revalidate",
        ("Cache-Control: no-cache",),
        ASK,
        StaleReason.REQUEST_NO_CACHE,
    ),
    ("§5.2.2.8 proxy-revalidate, stale", "max-age=290, proxy-revalidate", (), ASK_STRICT, StaleReason.STALE),
    ("§5.2.2.10 s-maxage, stale", "s-maxage=290", (), ASK_STRICT, StaleReason.STALE),
    ("§5.2.2.10 s-maxage, fresh", "s-maxage=301, max-age=1", (), "Fresh", None),
    (
        "§5.2.2.10 s-maxage forbids stale-while-revalidate",
        "s-maxage=290, stale-while-revalidate=99",
        (),
        ASK_STRICT,
        StaleReason.STALE,
    ),
    ("§5.2.2.5 made no-store by a 304", "no-store", (), ASK_STRICT, StaleReason.STALE),
    ("§5.2.2.7 made private by a 304", "private, max-age=600", (), ASK_STRICT, StaleReason.STALE),
    ("§4.2.1 malformed max-age", "max-age=soon", (), ASK, StaleReason.STALE),
    ("RFC 5861 §3 within the operator's window", STALE_30, (), "StaleUsable", StaleReason.STALE_WHILE_REVALIDATE),
    ("RFC 5861 §3 at its end", "max-age=240", (), "StaleUsable", StaleReason.STALE_WHILE_REVALIDATE),
    ("RFC 5861 §3 past it", "max-age=239", (), ASK, StaleReason.STALE),
    (
        "RFC 5861 §3 the response's own window is longer",
        "max-age=100, stale-while-revalidate=200",
        (),
        "StaleUsable",
        StaleReason.STALE_WHILE_REVALIDATE,
    ),
    ("RFC 5861 §3 the response's own is shorter", "max-age=270, stale-while-revalidate=29", (), ASK, StaleReason.STALE),
    ("RFC 5861 §3 malformed: none", "max-age=270, stale-while-revalidate=x", (), ASK, StaleReason.STALE),
    ("RFC 5861 §4 within the response's own window", "max-age=100, stale-if-error=200", (), ASK, StaleReason.STALE),
    (
        "RFC 5861 §4 past the response's own window",
        "max-age=100, stale-if-error=199",
        (),
        ASK_STRICT,
        StaleReason.STALE,
    ),
    ("RFC 5861 §4 none", "max-age=100, stale-if-error=0", (), ASK_STRICT, StaleReason.STALE),
    ("RFC 5861 §4 the request's", STALE_200, ("Cache-Control: stale-if-error=199",), ASK_STRICT, StaleReason.STALE),
    (
        "RFC 5861 §4 the request's goes first",
        "max-age=100, stale-if-error=1",
        ("Cache-Control: stale-if-error=900",),
        ASK,
        StaleReason.STALE,
    ),
]


def _named(decision: Decision) -> tuple[str, StaleReason | None]:
    match decision:
        case Fresh():
            return "Fresh", None
        case StaleUsable():
            return "StaleUsable", decision.reason
        case MustRevalidate():
            return ASK if decision.stale_if_error_ok else ASK_STRICT, decision.reason


@pytest.mark.parametrize(
    ("response", "request_lines", "answer", "reason"), [row[1:] for row in DECISIONS], ids=[row[0] for row in DECISIONS]
)
def test_decide(response: str, request_lines: tuple[str, ...], answer: str, reason: StaleReason | None) -> None:
    decision = decide(stored(f"Cache-Control: {response}"), h(*request_lines), Policy(), NOW)
    assert _named(decision) == (answer, reason)
    assert decision.age == 300
    assert (decision.ttl > 0) or not isinstance(decision, Fresh)


@pytest.mark.parametrize(
    ("response", "request_lines", "status"),
    [
        pytest.param("max-age=1", (), 200, id="§4.2.4 disconnected"),
        pytest.param("max-age=1, must-revalidate", (), 200, id="§5.2.2.2 must-revalidate forbids, unless offline"),
        pytest.param("no-cache", ("Cache-Control: no-cache",), 200, id="§5.2.2.4 no-cache forbids, unless offline"),
        pytest.param("max-age=1", (), 404, id="§4.2.4 a remembered 404"),
    ],
)
def test_offline_serves_whatever_is_stored(response: str, request_lines: tuple[str, ...], status: int) -> None:
    answer = stored(f"Cache-Control: {response}", status=status)
    decision = decide(answer, h(*request_lines), Policy(offline=True), NOW + 10**7)
    assert isinstance(decision, StaleUsable)
    assert (decision.reason, decision.revalidate) == (StaleReason.OFFLINE, False)
    assert isinstance(decide(answer, h(), Policy(offline=True, override=math.inf), NOW), Fresh)


def test_operator_windows() -> None:
    """RFC 5861: where the response says nothing, the settings hold."""
    strict = Policy(stale_while_revalidate=0, stale_if_error=29)
    answer = stored(f"Cache-Control: {STALE_30}")
    assert _named(decide(answer, h(), strict, NOW)) == (ASK_STRICT, StaleReason.STALE)
    assert _named(decide(answer, h(), strict, NOW - 1)) == (ASK, StaleReason.STALE)


@pytest.mark.parametrize("status", [404, 410])
def test_a_404_is_never_served_stale(status: int) -> None:
    """A 404 for an upstream's failure would send uv on to the next index: dependency confusion."""
    answer = stored("Cache-Control: max-age=299, stale-while-revalidate=900, stale-if-error=900", status=status)
    assert isinstance(decide(answer, h(), Policy(), NOW - 2), Fresh)
    assert _named(decide(answer, h("Cache-Control: max-stale"), Policy(), NOW)) == (ASK_STRICT, StaleReason.STALE)
    assert _named(decide(answer, h("Cache-Control: no-cache"), Policy(), T0))[0] == ASK_STRICT


def test_only_if_cached() -> None:
    """§5.2.1.7: "either respond using a stored response consistent with the other constraints" or 504."""
    request = h("Cache-Control: only-if-cached")
    decision = decide(stored(f"Cache-Control: {STALE_200}"), request, Policy(), NOW)
    assert isinstance(decision, MustRevalidate)
    assert decision.only_if_cached
    assert only_if_cached(request)
    assert not only_if_cached(h("Cache-Control: max-age=0"))


DIRECTIVES = (
    *("max-age=0", "max-age=100", "max-age=900", "s-maxage=5", "no-cache", "no-store", "private", "must-revalidate"),
    *("max-stale", "min-fresh=9", "stale-while-revalidate=500", "stale-if-error=500", "only-if-cached"),
)
LINES = st.lists(st.sampled_from(DIRECTIVES)).map(", ".join)


@given(response=LINES, request=LINES, now=st.floats(T0 - 10**6, T0 + 10**7), offline=st.booleans())
def test_every_answer_keeps_its_promise(response: str, request: str, now: float, *, offline: bool) -> None:
    """Fresh has time left, StaleUsable none; and what must not be stored is never served, but offline."""
    answer = stored(f"Cache-Control: {response}")
    decision = decide(answer, h(f"Cache-Control: {request}"), Policy(offline=offline), now)
    assert decision.age >= 0
    match decision:
        case Fresh():
            assert decision.ttl > 0
        case StaleUsable():
            assert decision.ttl <= 0
            assert offline or not {"no-store", "private", "no-cache", "must-revalidate"} & set(response.split(", "))
        case MustRevalidate():
            assert not offline
