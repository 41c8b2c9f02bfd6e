"""Caching of index pages (RFC 9111, RFC 5861) and conditional requests (RFC 9110 §13): one clause, one row."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pkgcache.rules.freshness import (
    FOREVER,
    CacheControl,
    Decision,
    Fresh,
    MustRevalidate,
    NotStorable,
    Policy,
    Reason,
    StaleUsable,
    Storable,
    Stored,
    StoreRefusal,
    current_age,
    decide,
    format_http_date,
    freshened,
    freshness_lifetime,
    not_modified,
    only_if_cached,
    parse_cache_control,
    parse_http_date,
    storable,
    storable_headers,
    updates,
    validators,
    vary_matches,
)

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


# --- §5.2 ---


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


# --- §3 ---

AUTHORIZED = ("Authorization: Basic eDp5",)


@pytest.mark.parametrize(
    ("request_lines", "status", "response_lines", "refusal"),
    [
        pytest.param((), 200, (), None, id="§3 200 is heuristically cacheable"),
        pytest.param((), 404, (), None, id="§3 404 is heuristically cacheable"),
        pytest.param((), 410, (), None, id="§3 410 is heuristically cacheable"),
        pytest.param((), 206, (), StoreRefusal.PARTIAL, id="§3.3 partial"),
        pytest.param((), 304, (), StoreRefusal.STATUS, id="§3 304 is not an answer of its own"),
        pytest.param((), 301, ("Cache-Control: max-age=9",), StoreRefusal.STATUS, id="§3 a redirect is not used"),
        pytest.param((), 500, ("Cache-Control: max-age=9",), StoreRefusal.STATUS, id="§3 nothing else negative"),
        pytest.param((), 103, (), StoreRefusal.STATUS, id="§3 not final"),
        pytest.param(("Cache-Control: no-store",), 200, (), StoreRefusal.REQUEST_NO_STORE, id="§5.2.1.5"),
        pytest.param((), 200, ("Cache-Control: no-store",), StoreRefusal.RESPONSE_NO_STORE, id="§5.2.2.5"),
        pytest.param(
            (), 200, ("Cache-Control: must-understand, no-store",), StoreRefusal.RESPONSE_NO_STORE, id="§5.2.2.3"
        ),
        pytest.param((), 200, ("Cache-Control: private",), StoreRefusal.PRIVATE, id="§5.2.2.7"),
        pytest.param((), 200, ("Cache-Control: no-cache",), None, id="§5.2.2.4 stored, but always asked about"),
        pytest.param(AUTHORIZED, 200, ("Cache-Control: max-age=9",), StoreRefusal.AUTHORIZATION, id="§3.5"),
        pytest.param(AUTHORIZED, 200, ("Cache-Control: public",), None, id="§3.5 public"),
        pytest.param(AUTHORIZED, 200, ("Cache-Control: must-revalidate",), None, id="§3.5 must-revalidate"),
        pytest.param(AUTHORIZED, 200, ("Cache-Control: s-maxage=9",), None, id="§3.5 s-maxage"),
        pytest.param(
            AUTHORIZED, 200, ("Cache-Control: public, private",), StoreRefusal.PRIVATE, id="§4.2.1 the strictest"
        ),
        pytest.param((), 200, ("Vary: Accept", "Vary: *"), StoreRefusal.VARY_ANYTHING, id="§4.1 Vary: *"),
        pytest.param((), 200, ("Vary: Accept, Accept-Encoding",), None, id="§4.1 Vary: Accept"),
        pytest.param((), 200, ("Set-Cookie: a=b",), None, id="§7.3 a cookie alone is no reason; it is dropped"),
    ],
)
def test_storable(
    request_lines: tuple[str, ...], status: int, response_lines: tuple[str, ...], refusal: StoreRefusal | None
) -> None:
    answer = storable(request_headers=h(*request_lines), status=status, response_headers=h(*response_lines))
    assert answer == (Storable() if refusal is None else NotStorable(refusal))


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        pytest.param("ETag: x", True, id="§3.1 any field"),
        pytest.param("X-Unknown: x", True, id="§3.1 unrecognised ones too"),
        pytest.param("Age: 5", True, id="§4.2.3 Age is needed"),
        pytest.param("Connection: x", False, id="§3.1 Connection"),
        pytest.param("X-Hop: x", False, id="§3.1 named by Connection"),
        pytest.param("Keep-Alive: x", False, id="RFC 9110 §7.6.1 Keep-Alive"),
        pytest.param("Transfer-Encoding: chunked", False, id="RFC 9110 §7.6.1 Transfer-Encoding"),
        pytest.param("TE: x", False, id="RFC 9110 §7.6.1 TE"),
        pytest.param("Upgrade: x", False, id="RFC 9110 §7.6.1 Upgrade"),
        pytest.param("Proxy-Connection: x", False, id="RFC 9110 §7.6.1 Proxy-Connection"),
        pytest.param("Proxy-Authenticate: x", False, id="§3.1 Proxy-Authenticate"),
        pytest.param("Proxy-Authentication-Info: x", False, id="§3.1 Proxy-Authentication-Info"),
        pytest.param("Proxy-Authorization: x", False, id="§3.1 Proxy-Authorization"),
        pytest.param("Trailer: x", False, id="§3.1 trailers are discarded"),
        pytest.param("set-cookie: a=b", False, id="design: Set-Cookie is never stored"),
    ],
)
def test_storable_headers(line: str, *, kept: bool) -> None:
    headers = h(line, "Connection: close, x-hop")
    assert (line.partition(":")[0] in storable_headers(headers)) is kept


@pytest.mark.parametrize(
    ("vary", "before", "now", "matches"),
    [
        pytest.param("X-A", "X-A: 1", "X-A: 1", True, id="§4.1 equal"),
        pytest.param("X-A", "X-A: 1", "X-A: 2", False, id="§4.1 different"),
        pytest.param("X-A", "X-A: 1", "X-B: 1", False, id="§4.1 absent matches only absent"),
        pytest.param("X-A", "X-B: 1", "X-B: 2", True, id="§4.1 absent from both"),
        pytest.param("X-A", "X-A: 1,2", "X-A: 1, 2", True, id="§4.1 white space"),
        pytest.param("Accept, accept-encoding", "Accept: a", "Accept: b", True, id="§4.1 Accept is in the key"),
        pytest.param("*", "X-A: 1", "X-A: 1", False, id="§4.1 * never matches"),
    ],
)
def test_vary(vary: str, before: str, now: str, *, matches: bool) -> None:
    assert vary_matches(h(f"Vary: {vary}"), h(before), h(now)) is matches


# --- §4.2 ---


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
DECISIONS: list[tuple[str, str, tuple[str, ...], str, Reason | None]] = [
    # id, the response's Cache-Control, the request's lines, what to do, why
    ("§4.2 within its lifetime", FRESH, (), "Fresh", None),
    ("§4.2 the default lifetime", "public", (), "Fresh", None),
    ("§4.2 lifetime equals age: stale", "max-age=300", (), "StaleUsable", Reason.STALE_WHILE_REVALIDATE),
    ("RFC 8246 immutable is fresh no longer than that", "max-age=100, immutable", (), ASK, Reason.STALE),
    ("§5.2.1.1 max-age=0: older pip, pdm", FRESH, ("Cache-Control: max-age=0",), "Fresh", None),
    ("§5.2.1.1 max-age=0, stale", STALE_30, ("Cache-Control: max-age=0",), ASK, Reason.REQUEST_MAX_AGE),
    ("design: uv --refresh", FRESH, ("Cache-Control: max-age=0, must-revalidate",), ASK, Reason.REQUEST_NO_CACHE),
    ("§5.2.1.1 older than asked for", FRESH, ("Cache-Control: max-age=299",), ASK, Reason.REQUEST_MAX_AGE),
    ("§5.2.1.1 as old as asked for", FRESH, ("Cache-Control: max-age=300",), "Fresh", None),
    ("§5.2.1.1 no wish for a stale one", STALE_30, ("Cache-Control: max-age=900",), ASK, Reason.REQUEST_MAX_AGE),
    (
        "§5.2.1.1 unless max-stale is there",
        STALE_200,
        ("Cache-Control: max-age=900, max-stale=200",),
        "StaleUsable",
        Reason.MAX_STALE,
    ),
    ("§5.2.1.2 max-stale, within", STALE_200, ("Cache-Control: max-stale=200",), "StaleUsable", Reason.MAX_STALE),
    ("§5.2.1.2 max-stale, beyond", STALE_200, ("Cache-Control: max-stale=199",), ASK, Reason.STALE),
    ("§5.2.1.2 max-stale, any", STALE_200, ("Cache-Control: max-stale",), "StaleUsable", Reason.MAX_STALE),
    ("§5.2.1.3 min-fresh, met", FRESH, ("Cache-Control: min-fresh=300",), "Fresh", None),
    ("§5.2.1.3 min-fresh, not met", FRESH, ("Cache-Control: min-fresh=301",), ASK, Reason.REQUEST_MIN_FRESH),
    ("§5.2.1.4 no-cache", FRESH, ("Cache-Control: no-cache",), ASK, Reason.REQUEST_NO_CACHE),
    ("§5.2.1.5 no-store says nothing of what is stored", FRESH, ("Cache-Control: no-store",), "Fresh", None),
    ("§5.2.1.7 only-if-cached, fresh", FRESH, ("Cache-Control: only-if-cached",), "Fresh", None),
    ("§5.4 Pragma", FRESH, ("Pragma: no-cache",), ASK, Reason.REQUEST_NO_CACHE),
    ("§5.4 Pragma beside Cache-Control", FRESH, ("Pragma: no-cache", "Cache-Control: max-age=900"), "Fresh", None),
    ("§5.2.2.4 no-cache, fresh", "max-age=600, no-cache", (), ASK_STRICT, Reason.RESPONSE_NO_CACHE),
    (
        "§5.2.2.4 no-cache is not lifted by max-stale",
        "no-cache",
        ("Cache-Control: max-stale",),
        ASK_STRICT,
        Reason.RESPONSE_NO_CACHE,
    ),
    ("§5.2.2.2 must-revalidate, fresh", "max-age=600, must-revalidate", (), "Fresh", None),
    ("§5.2.2.2 must-revalidate, stale", "max-age=290, must-revalidate", (), ASK_STRICT, Reason.STALE),
    (
        "§5.2.2.2 must-revalidate, stale, max-stale",
        "max-age=290, must-revalidate",
        ("Cache-Control: max-stale",),
        ASK_STRICT,
        Reason.STALE,
    ),
    (
        "§5.2.2.2 must-revalidate, fresh, refresh fails",
        "max-age=600, must-revalidate",
        ("Cache-Control: no-cache",),
        ASK,
        Reason.REQUEST_NO_CACHE,
    ),
    ("§5.2.2.8 proxy-revalidate, stale", "max-age=290, proxy-revalidate", (), ASK_STRICT, Reason.STALE),
    ("§5.2.2.10 s-maxage, stale", "s-maxage=290", (), ASK_STRICT, Reason.STALE),
    ("§5.2.2.10 s-maxage, fresh", "s-maxage=301, max-age=1", (), "Fresh", None),
    (
        "§5.2.2.10 s-maxage forbids stale-while-revalidate",
        "s-maxage=290, stale-while-revalidate=99",
        (),
        ASK_STRICT,
        Reason.STALE,
    ),
    ("§5.2.2.5 made no-store by a 304", "no-store", (), ASK_STRICT, Reason.STALE),
    ("§5.2.2.7 made private by a 304", "private, max-age=600", (), ASK_STRICT, Reason.STALE),
    ("§4.2.1 malformed max-age", "max-age=soon", (), ASK, Reason.STALE),
    ("RFC 5861 §3 within the operator's window", STALE_30, (), "StaleUsable", Reason.STALE_WHILE_REVALIDATE),
    ("RFC 5861 §3 at its end", "max-age=240", (), "StaleUsable", Reason.STALE_WHILE_REVALIDATE),
    ("RFC 5861 §3 past it", "max-age=239", (), ASK, Reason.STALE),
    (
        "RFC 5861 §3 the response's own window is longer",
        "max-age=100, stale-while-revalidate=200",
        (),
        "StaleUsable",
        Reason.STALE_WHILE_REVALIDATE,
    ),
    ("RFC 5861 §3 the response's own is shorter", "max-age=270, stale-while-revalidate=29", (), ASK, Reason.STALE),
    ("RFC 5861 §3 malformed: none", "max-age=270, stale-while-revalidate=x", (), ASK, Reason.STALE),
    ("RFC 5861 §4 within the response's own window", "max-age=100, stale-if-error=200", (), ASK, Reason.STALE),
    ("RFC 5861 §4 past the response's own window", "max-age=100, stale-if-error=199", (), ASK_STRICT, Reason.STALE),
    ("RFC 5861 §4 none", "max-age=100, stale-if-error=0", (), ASK_STRICT, Reason.STALE),
    ("RFC 5861 §4 the request's", STALE_200, ("Cache-Control: stale-if-error=199",), ASK_STRICT, Reason.STALE),
    (
        "RFC 5861 §4 the request's goes first",
        "max-age=100, stale-if-error=1",
        ("Cache-Control: stale-if-error=900",),
        ASK,
        Reason.STALE,
    ),
]


def _named(decision: Decision) -> tuple[str, Reason | None]:
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
def test_decide(response: str, request_lines: tuple[str, ...], answer: str, reason: Reason | None) -> None:
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
    assert (decision.reason, decision.revalidate) == (Reason.OFFLINE, False)
    assert isinstance(decide(answer, h(), Policy(offline=True, override=math.inf), NOW), Fresh)


def test_operator_windows() -> None:
    """RFC 5861: where the response says nothing, the settings hold."""
    strict = Policy(stale_while_revalidate=0, stale_if_error=29)
    answer = stored(f"Cache-Control: {STALE_30}")
    assert _named(decide(answer, h(), strict, NOW)) == (ASK_STRICT, Reason.STALE)
    assert _named(decide(answer, h(), strict, NOW - 1)) == (ASK, Reason.STALE)


@pytest.mark.parametrize("status", [404, 410])
def test_a_404_is_never_served_stale(status: int) -> None:
    """A 404 for an upstream's failure would send uv on to the next index: dependency confusion."""
    answer = stored("Cache-Control: max-age=299, stale-while-revalidate=900, stale-if-error=900", status=status)
    assert isinstance(decide(answer, h(), Policy(), NOW - 2), Fresh)
    assert _named(decide(answer, h("Cache-Control: max-stale"), Policy(), NOW)) == (ASK_STRICT, Reason.STALE)
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


# --- §4.3 ---


@pytest.mark.parametrize(
    ("lines", "conditions"),
    [
        pytest.param(('ETag: W/"a"',), {"If-None-Match": 'W/"a"'}, id="§4.3.1 entity tag"),
        pytest.param((f"Last-Modified: {DATE}",), {"If-Modified-Since": DATE}, id="§4.3.1 timestamp"),
        pytest.param(
            ('ETag: "a"', f"Last-Modified: {DATE}"),
            {"If-None-Match": '"a"', "If-Modified-Since": DATE},
            id="§4.3.1 both",
        ),
        pytest.param(("ETag:",), {}, id="§4.3.1 an empty one is none"),
        pytest.param((), {}, id="§4.3.1 none"),
    ],
)
def test_validators(lines: tuple[str, ...], conditions: Mapping[str, str]) -> None:
    assert validators(h(*lines)) == conditions


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        pytest.param('ETag: "a"', 'ETag: "a"', True, id="§4.3.4 the same strong validator"),
        pytest.param('ETag: "a"', 'ETag: "b"', False, id="§4.3.4 another strong validator"),
        pytest.param('ETag: "a"', 'ETag: W/"a"', True, id="§4.3.4 made weak on the way"),
        pytest.param('ETag: "a"', "X: y", True, id="§4.3.4 no validator in the 304"),
        pytest.param("X: y", 'ETag: "a"', True, id="§4.3.4 none stored"),
    ],
)
def test_updates(ours: str, theirs: str, *, same: bool) -> None:
    assert updates(h(ours), h(theirs)) is same


@pytest.mark.parametrize(
    ("new", "name", "values"),
    [
        pytest.param("Cache-Control: max-age=9", "Cache-Control", ["max-age=9"], id="§3.2 replaced"),
        pytest.param("X-New: 1", "X-New", ["1"], id="§3.2 added"),
        pytest.param("X-New: 1", "X-Old", ["1", "2"], id="§3.2 kept"),
        pytest.param("X-Old: 3", "X-Old", ["3"], id="§3.2 every value replaced"),
        pytest.param("Content-Length: 0", "Content-Length", ["5"], id="§3.2 but Content-Length"),
        pytest.param("Content-Encoding: br", "Content-Encoding", [], id="§3.2 but Content-Encoding"),
        pytest.param("Content-Type: text/plain", "Content-Type", ["text/html"], id="§3.2 but Content-Type (pip#5345)"),
        pytest.param("Set-Cookie: a=b", "Set-Cookie", [], id="§3.2 but what is not stored"),
        pytest.param("Connection: x-hop", "Connection", [], id="§3.1 but Connection"),
        pytest.param('ETag: W/"a"', "ETag", ['"a"'], id="§4.3.4 the tag is the stored body's"),
        pytest.param("X-New: 1", "Age", [], id="§4.2.3 the old Age is not the 304's"),
        pytest.param("X-New: 1", "Date", [], id="§4.2.3 nor is the old Date"),
        pytest.param("Age: 3", "Age", ["3"], id="§4.2.3 its own Age"),
    ],
)
def test_freshened(new: str, name: str, values: list[str]) -> None:
    before = stored(
        *("Cache-Control: max-age=1", "X-Old: 1", "X-Old: 2", "Content-Length: 5", "Content-Type: text/html"),
        *('ETag: "a"', "Age: 99"),
    )
    after = freshened(before, h(new), NOW - 1, NOW)
    assert after.headers.getall(name, []) == values
    assert (after.status, after.request_time, after.response_time) == (200, NOW - 1, NOW)


def test_a_304_makes_a_stale_page_fresh() -> None:
    """§4.3.4; with the old Date and Age kept, the page would be stale again at once."""
    stale = stored(f"Cache-Control: {STALE_200}", "Age: 90")
    after = freshened(stale, h(), NOW, NOW)
    assert decide(after, h(), Policy(), NOW) == Fresh(ttl=100, age=0)


@pytest.mark.parametrize(
    ("lines", "etag", "last_modified", "answer"),
    [
        pytest.param(('If-None-Match: "a"',), '"a"', None, True, id="RFC 9110 §13.1.2 the same"),
        pytest.param(('If-None-Match: "b"',), '"a"', None, False, id="RFC 9110 §13.1.2 another"),
        pytest.param(('If-None-Match: W/"a"',), '"a"', None, True, id="RFC 9110 §8.8.3.2 weak comparison: theirs"),
        pytest.param(('If-None-Match: "a"',), 'W/"a"', None, True, id="RFC 9110 §8.8.3.2 weak comparison: ours"),
        pytest.param(('If-None-Match: "b", W/"a"',), '"a"', None, True, id="RFC 9110 §13.1.2 a list"),
        pytest.param(('If-None-Match: "b"', 'If-None-Match: "a"'), '"a"', None, True, id="RFC 9110 §5.3 two lines"),
        pytest.param(('If-None-Match: "x,y"',), '"x,y"', None, True, id="RFC 9110 §8.8.3 a comma in a tag"),
        pytest.param(("If-None-Match: *",), '"a"', None, True, id="RFC 9110 §13.1.2 asterisk"),
        pytest.param(("If-None-Match: a",), '"a"', None, False, id="RFC 9110 §8.8.3 unquoted"),
        pytest.param(('If-None-Match: "a"',), "", None, False, id="RFC 9110 §13.1.2 we have no tag"),
        pytest.param((f"If-Modified-Since: {DATE}",), "", DATE, True, id="RFC 9110 §13.1.3 the same date"),
        pytest.param(
            (f"If-Modified-Since: {format_http_date(NOW)}",), "", DATE, True, id="RFC 9110 §13.1.3 modified before"
        ),
        pytest.param(
            (f"If-Modified-Since: {DATE}",), "", format_http_date(NOW), False, id="RFC 9110 §13.1.3 modified since"
        ),
        pytest.param(("If-Modified-Since: 0",), "", DATE, False, id="RFC 9110 §13.1.3 no valid date"),
        pytest.param((f"If-Modified-Since: {DATE}",) * 2, "", DATE, False, id="RFC 9110 §13.1.3 more than one"),
        pytest.param((f"If-Modified-Since: {DATE}",), '"a"', None, False, id="RFC 9110 §13.1.3 we have no date"),
        pytest.param(
            ('If-None-Match: "b"', f"If-Modified-Since: {DATE}"),
            '"a"',
            DATE,
            False,
            id="RFC 9110 §13.2.2 the tag first",
        ),
        pytest.param((), '"a"', DATE, False, id="RFC 9110 §13.2.2 no condition"),
    ],
)
def test_not_modified(lines: tuple[str, ...], etag: str, last_modified: str | None, *, answer: bool) -> None:
    assert not_modified(h(*lines), etag, last_modified) is answer


# --- RFC 9110 §5.6.7 ---


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
