"""Decides for how long a stored response is fresh, and what to do with it once it is stale.

By RFC 9111 for a shared cache, and RFC 5861 (stale-while-revalidate, stale-if-error). It is for index pages and other responses that
are revalidated; a file whose digest was verified is always fresh. Departures, each marked in the code: `max-age=0` in a request does
not defeat a fresh page; `max-age=0, must-revalidate` (uv --refresh) means no-cache; the operator's lifetime goes before the upstream's,
and counts from when the response was stored; a remembered 404 or 410 is never served stale.

Leaves out: what may be stored (`storability`), conditional requests (`validation`), heuristics from Last-Modified (§4.2.2).
"""

import enum
import math
from dataclasses import dataclass
from http import HTTPStatus

from pkgcache.rules.http.cache_control import FOREVER, CacheControl, Headers, control_of, listed, parse_delta_seconds
from pkgcache.rules.http.dates import format_http_date, parse_http_date

CLOCK_SKEW = 86_400.0
"""By how many seconds a stored response may be ahead of the clock, which may have been set back since: a day, as for a wrong time zone."""

_NEGATIVE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The operator's settings. Times are in seconds."""

    default_lifetime: float = 600.0  # where the upstream gives none
    override: float | None = None  # goes before the upstream's lifetime
    stale_while_revalidate: float = 60.0
    stale_if_error: float = 2_592_000.0
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A stored response, with the times of its request and its arrival in seconds since the epoch."""

    status: int
    headers: Headers
    request_time: float
    response_time: float


# --- For how long it is fresh (RFC 9111 §4.2) ---


def current_age(stored: Stored, now: float) -> float:
    """The response's age in seconds at `now` (RFC 9111 §4.2.3). Never negative, even if a clock was set back."""
    date = _date(stored)
    apparent_age = max(0.0, stored.response_time - date)
    response_delay = max(0.0, stored.response_time - stored.request_time)
    corrected_age_value = _age_value(stored.headers) + response_delay
    corrected_initial_age = max(apparent_age, corrected_age_value)
    return corrected_initial_age + resident_time(stored.response_time, now)


def resident_time(response_time: float, now: float) -> float:
    """For how many seconds a response has been stored (RFC 9111 §4.2.3).

    Departure: one that comes from further ahead than CLOCK_SKEW was stored under a wrong clock, or by somebody who wants it to be fresh
    for ever. Nothing is known of its age, so it counts as that old.
    """
    if response_time - now > CLOCK_SKEW:
        return response_time - now
    return max(0.0, now - response_time)


def times_of(stored: Stored, now: float) -> dict[str, str]:
    """The `Date` and `Age` of an answer out of the store (RFC 9111 §5.1).

    The `Date` is the origin's. RFC 9110 §6.6.1: "A recipient with a clock that receives a response message without a Date
    header field MUST record the time it was received". A new one would make the response younger than it is.

    >>> from multidict import CIMultiDict
    >>> times_of(Stored(status=200, headers=CIMultiDict(Age="590"), request_time=784111777, response_time=784111777), 784111787)
    {'Date': 'Sun, 06 Nov 1994 08:49:37 GMT', 'Age': '600'}
    """
    return {"Date": format_http_date(_date(stored)), "Age": shown_age(current_age(stored, now))}


def shown_age(age: float) -> str:
    """The value of `Age`. RFC 9111 §1.2.2: an age that is too large is sent as 2147483648."""
    return str(min(int(age), FOREVER))


def received_times(headers: Headers) -> dict[str, str]:
    """The `Date` and `Age` of an answer that is passed on as it comes; without those that nobody can read."""
    date, age = parse_http_date(headers.get("Date", "")), _age_value(headers)
    return ({} if date is None else {"Date": format_http_date(date)}) | ({"Age": str(age)} if age else {})


def freshness_lifetime(stored: Stored, policy: Policy) -> float:
    """Up to which age in seconds the response is fresh (RFC 9111 §4.2.1)."""
    control = control_of(stored.headers)
    # §5.2.2.5, §5.2.2.7: it should not be stored at all (a 304 may have said so later), so no setting makes it fresh.
    if control.no_store or control.private:
        return 0.0
    # Departure: the operator's own lifetime goes before the upstream's.
    if policy.override is not None:
        return policy.override
    # §4.2.1: "If the cache is shared and the s-maxage response directive (Section 5.2.2.10) is present, use its value".
    if control.s_maxage is not None:
        return float(control.s_maxage)
    # §4.2.1: "If the max-age response directive (Section 5.2.2.1) is present, use its value".
    if control.max_age is not None:
        return float(control.max_age)
    # §4.2.1: "If the Expires response header field (Section 5.3) is present, use its value minus the value of the Date
    # response header field". Of several the earliest.
    if expires := stored.headers.getall("Expires", ()):
        # §5.3: "A cache recipient MUST interpret invalid date formats, especially the value '0', as representing a time
        # in the past (i.e., 'already expired')."
        earliest = min(-math.inf if (date := parse_http_date(text)) is None else date for text in expires)
        return max(0.0, earliest - _date(stored))
    # §4.2.2: "a cache MAY assign a heuristic expiration time when an explicit time is not specified".
    return policy.default_lifetime


def _date(stored: Stored) -> float:
    # RFC 9110 §6.6.1: without a (valid) Date the time of its arrival takes its place.
    date = parse_http_date(stored.headers.get("Date", ""))
    return stored.response_time if date is None else date


def _age_value(headers: Headers) -> int:
    # §5.1: of several members the first counts, and where it is "something other than a non-negative integer", "a cache
    # SHOULD ignore the field".
    return parse_delta_seconds(headers.get("Age", "").partition(",")[0]) or 0


# --- What to do with a stored response (RFC 9111 §4, RFC 5861) ---


class StaleReason(enum.StrEnum):
    """Why a stored response is not served as fresh. The values appear in the `detail` of Cache-Status."""

    STALE = "stale"
    MAX_STALE = "max-stale"
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"
    OFFLINE = "offline"
    VARY_ANYTHING = "vary-any"
    RESPONSE_NO_CACHE = "response-no-cache"
    REQUEST_NO_CACHE = "request-no-cache"
    REQUEST_MAX_AGE = "request-max-age"
    REQUEST_MIN_FRESH = "request-min-fresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """Serve it. `ttl` is what is left of its lifetime (> 0); both in seconds."""

    ttl: float
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleUsable:
    """Serve it although it is stale (`ttl` <= 0), and revalidate it in the background if `revalidate` is set."""

    ttl: float
    age: float
    reason: StaleReason
    revalidate: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MustRevalidate:
    """Revalidate it first. If the upstream fails, serve it only if `stale_if_error_ok`; else answer 502 or 504.

    With `only_if_cached` the upstream may not be asked, and the answer is 504 (RFC 9111 §5.2.1.7).
    """

    ttl: float
    age: float
    reason: StaleReason
    stale_if_error_ok: bool
    only_if_cached: bool = False


type Decision = Fresh | StaleUsable | MustRevalidate


def decide(stored: Stored, request_headers: Headers, policy: Policy, now: float) -> Decision:
    """What to do with a stored response for this request (RFC 9111 §4)."""
    age = current_age(stored, now)
    # Departure: the operator's own lifetime counts from when the response was stored. A mirror whose cache or clock makes each
    # page look an hour old would otherwise be asked at every request.
    spent = age if policy.override is None else resident_time(stored.response_time, now)
    ttl = freshness_lifetime(stored, policy) - spent
    response, request = control_of(stored.headers), control_of(request_headers)
    # §4.2.4 forbids serving stale responses "unless it is disconnected". Offline it is, and everything stored is usable.
    if policy.offline:
        stale = StaleUsable(ttl=ttl, age=age, reason=StaleReason.OFFLINE, revalidate=False)
        return Fresh(ttl=ttl, age=age) if ttl > 0 else stale
    # §4.1: "A stored response with a Vary header field value containing a member '*' always fails to match." One is here
    # only where a 304 said so later.
    if "*" in listed(stored.headers, "Vary"):
        return MustRevalidate(
            ttl=ttl,
            age=age,
            reason=StaleReason.VARY_ANYTHING,
            stale_if_error_ok=False,
            only_if_cached=request.only_if_cached,
        )
    forbidden = _forbids_stale(stored.status, response, ttl)
    refusal = _unusable(response, request, request_headers, age, ttl)
    # §4.2: response_is_fresh = (freshness_lifetime > current_age)
    if refusal is None and ttl > 0:
        return Fresh(ttl=ttl, age=age)
    if refusal is None and not forbidden and (permission := _permits_stale(response, request, policy, -ttl)):
        return StaleUsable(ttl=ttl, age=age, reason=permission)
    return MustRevalidate(
        ttl=ttl,
        age=age,
        reason=refusal or StaleReason.STALE,
        stale_if_error_ok=not forbidden and -ttl <= _error_window(response, request, policy),
        only_if_cached=request.only_if_cached,
    )


def only_if_cached(request_headers: Headers) -> bool:
    """Whether the client accepts only a stored response (RFC 9111 §5.2.1.7); for a request that finds nothing stored."""
    return control_of(request_headers).only_if_cached


def _unusable(
    response: CacheControl, request: CacheControl, request_headers: Headers, age: float, ttl: float
) -> StaleReason | None:
    """Why the response, fresh or not, may not be used without revalidation; None if it may."""
    # §5.2.2.4: "MUST NOT be used to satisfy any other request without forwarding it for validation"
    if response.no_cache:
        return StaleReason.RESPONSE_NO_CACHE
    # §5.2.1.4: "the client prefers a stored response not be used to satisfy the request without successful validation".
    # Departure: `max-age=0, must-revalidate`, which is what uv --refresh sends, says the same.
    if request.no_cache or (request.max_age == 0 and request.must_revalidate):
        return StaleReason.REQUEST_NO_CACHE
    # §5.4: Pragma is "defined for HTTP/1.0 caches, so that clients could specify a 'no-cache' request"; it counts only without
    # Cache-Control.
    if "Cache-Control" not in request_headers and "no-cache" in listed(request_headers, "Pragma"):
        return StaleReason.REQUEST_NO_CACHE
    # §5.2.1.1: "the client prefers a response whose age is less than or equal to the specified number of seconds."
    # Departure: max-age=0 means nothing while the page is fresh, because older versions of pip always send it.
    if request.max_age and age > request.max_age:
        return StaleReason.REQUEST_MAX_AGE
    # §5.2.1.1: "Unless the max-stale request directive is also present, the client does not wish to receive a stale
    # response."
    if request.max_age is not None and request.max_stale is None and ttl <= 0:
        return StaleReason.REQUEST_MAX_AGE
    # §5.2.1.3: "the client wants a response that will still be fresh for at least the specified number of seconds."
    if request.min_fresh is not None and ttl < request.min_fresh:
        return StaleReason.REQUEST_MIN_FRESH
    return None


def _forbids_stale(status: int, response: CacheControl, ttl: float) -> bool:
    """Whether the response may not be served stale, not even if revalidation fails."""
    # §4.2.4: "prohibited by an explicit in-protocol directive (e.g., by a no-cache response directive". §3: what a 304
    # made no-store or private should not be here at all.
    if response.no_cache or response.no_store or response.private:
        return True
    # Departure: a 404 or 410 does not stand in for a failing upstream, because uv would go on to another index.
    if status in _NEGATIVE:
        return True
    # §5.2.2.2, §5.2.2.8: "once the response has become stale, a shared cache MUST NOT reuse that response"; §5.2.2.10:
    # s-maxage "incorporates the semantics of the proxy-revalidate response directive".
    bound = response.must_revalidate or response.proxy_revalidate or response.s_maxage is not None
    return bound and ttl <= 0


def _permits_stale(
    response: CacheControl, request: CacheControl, policy: Policy, staleness: float
) -> StaleReason | None:
    # §5.2.1.2: "willing to accept a response that has exceeded its freshness lifetime by no more than the specified
    # number of seconds."
    if request.max_stale is not None and staleness <= request.max_stale:
        return StaleReason.MAX_STALE
    # RFC 5861 §3: "caches MAY serve the response it appears in after it becomes stale, up to the indicated number of
    # seconds."
    window = response.stale_while_revalidate
    if staleness <= (policy.stale_while_revalidate if window is None else window):
        return StaleReason.STALE_WHILE_REVALIDATE
    return None


def _error_window(response: CacheControl, request: CacheControl, policy: Policy) -> float:
    # RFC 5861 §4: "when an error is encountered, a cached stale response MAY be used to satisfy the request". The request's own value
    # goes first, then the response's, then the operator's.
    windows = (request.stale_if_error, response.stale_if_error, policy.stale_if_error)
    return next(float(window) for window in windows if window is not None)
