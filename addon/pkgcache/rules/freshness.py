"""Decides what may be stored, for how long it is fresh, and what to do with it afterwards.

By RFC 9111 for a shared cache, RFC 5861 (stale-while-revalidate, stale-if-error) and RFC 9110 §13 (conditional
requests). It is for index pages and other revalidated answers; a digest-verified file has no freshness.
Departures, marked where they are made: `max-age=0` in a request does not defeat a fresh page; `max-age=0,
must-revalidate` (uv --refresh) means no-cache; the operator's lifetime goes before the upstream's; a remembered 404 or
410 is never served stale. Stricter than need be: qualified `no-cache="…"` and `private="…"` count as unqualified, as in
most caches, and `must-understand` does not lift `no-store`.
Left out: heuristics from Last-Modified (§4.2.2), stored 206 (§3.3, §3.4), freshening by HEAD (§4.3.5),
invalidation (§4.4).
"""

import calendar
import enum
import functools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from multidict import CIMultiDict, MultiMapping

type Headers = MultiMapping[str]

FOREVER = 2**31
"""RFC 9111 §1.2.2: a greater delta-seconds counts as 2147483648."""
_NEGATIVE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_UNDERSTOOD = frozenset({HTTPStatus.OK}) | _NEGATIVE

# --- Cache-Control (RFC 9111 §5.2) ---

# §5.2: cache-directive = token [ "=" ( token / quoted-string ) ]; other members are passed over.
_DIRECTIVE = re.compile(r'([^\s=,"]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?[^,]*')


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheControl:
    """The directives of a request or a response; None: not there. Times in seconds."""

    max_age: int | None = None
    s_maxage: int | None = None
    no_cache: bool = False
    no_store: bool = False
    private: bool = False
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    immutable: bool = False
    only_if_cached: bool = False
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    max_stale: int | None = None
    min_fresh: int | None = None


def parse_cache_control(values: Iterable[str]) -> CacheControl:
    """Read all Cache-Control lines of one message; of duplicates and of conflicts the strictest holds.

    >>> parse_cache_control(["max-age=600, public", 'max-age="60"']).max_age
    60
    """
    given: dict[str, list[str | None]] = {}
    for value in values:
        for found in _DIRECTIVE.finditer(value):
            # §5.2: "recipients ought to accept both forms, even if a specific form is required for generation."
            argument = found[3] if found[2] is None else re.sub(r"\\(.)", r"\1", found[2])
            # §5.2: directives are "compared case-insensitively".
            given.setdefault(found[1].lower(), []).append(argument)

    def shortest(name: str) -> int | None:
        # §4.2.1: "Caches are encouraged to consider responses that have invalid freshness information (e.g., a max-age
        # directive with non-integer content) to be stale."
        return min((_delta_seconds(text) or 0 for text in given[name]), default=0) if name in given else None

    return CacheControl(
        max_age=shortest("max-age"),
        s_maxage=shortest("s-maxage"),
        no_cache="no-cache" in given,
        no_store="no-store" in given,
        private="private" in given,
        public="public" in given,
        must_revalidate="must-revalidate" in given,
        proxy_revalidate="proxy-revalidate" in given,
        immutable="immutable" in given,
        only_if_cached="only-if-cached" in given,
        stale_while_revalidate=shortest("stale-while-revalidate"),
        stale_if_error=shortest("stale-if-error"),
        max_stale=_max_stale(given.get("max-stale", [])),
        min_fresh=max((_delta_seconds(text) or 0 for text in given.get("min-fresh", [])), default=None),
    )


def _delta_seconds(text: str | None) -> int | None:
    digits = (text or "").strip()
    if not (digits.isascii() and digits.isdigit()):
        return None
    # §1.2.2: "the cache MUST consider the value to be 2147483648 (2^31) or the greatest positive integer it can
    # conveniently represent."
    significant = digits.lstrip("0") or "0"
    return min(int(significant), FOREVER) if len(significant) <= len(str(FOREVER)) else FOREVER


def _max_stale(arguments: list[str | None]) -> int | None:
    # §5.2.1.2: "If no value is assigned to max-stale, then the client will accept a stale response of any age."
    return min((FOREVER if text is None else _delta_seconds(text) or 0 for text in arguments), default=None)


def _control(headers: Headers) -> CacheControl:
    return _remembered_control(tuple(headers.getall("Cache-Control", ())))


# A handful of values make up nearly all traffic, and reading one costs as much as the rest of a decision.
_remembered_control = functools.lru_cache(maxsize=128)(parse_cache_control)


# --- What may be stored (RFC 9111 §3) ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator's settings say, in seconds."""

    default_lifetime: float = 600.0
    override: float | None = None
    stale_while_revalidate: float = 60.0
    stale_if_error: float = 2_592_000.0
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A stored answer: its headers, and when it was asked for and came, in seconds since the epoch."""

    status: int
    headers: Headers
    request_time: float
    response_time: float


class StoreRefusal(enum.StrEnum):
    """Why an answer is not stored."""

    REQUEST_NO_STORE = "request-no-store"
    RESPONSE_NO_STORE = "no-store"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"
    VARY_ANYTHING = "vary-any"
    PARTIAL = "partial"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Storable:
    """The answer may be stored."""


@dataclass(frozen=True, slots=True)
class NotStorable:
    """The answer may not be stored."""

    reason: StoreRefusal


type Storability = Storable | NotStorable


def storable(*, request_headers: Headers, status: int, response_headers: Headers) -> Storability:
    """Whether the answer to a GET may be stored for others (RFC 9111 §3)."""
    control = _control(response_headers)
    # §3.3, §3.4: no partial answer is stored or combined here.
    if status == HTTPStatus.PARTIAL_CONTENT:
        return NotStorable(StoreRefusal.PARTIAL)
    # §3: "the response status code is final", and one that this cache makes use of.
    if status not in _UNDERSTOOD:
        return NotStorable(StoreRefusal.STATUS)
    # §5.2.1.5: "a cache MUST NOT store any part of either this request or any response to it".
    if _control(request_headers).no_store:
        return NotStorable(StoreRefusal.REQUEST_NO_STORE)
    # §3: "the no-store cache directive is not present in the response (see Section 5.2.2.5)".
    if control.no_store:
        return NotStorable(StoreRefusal.RESPONSE_NO_STORE)
    # §5.2.2.7: "a shared cache MUST NOT store the response".
    if control.private:
        return NotStorable(StoreRefusal.PRIVATE)
    # §3.5: "must-revalidate (Section 5.2.2.2), public (Section 5.2.2.9), and s-maxage (Section 5.2.2.10)".
    shared = control.public or control.must_revalidate or control.s_maxage is not None
    if "Authorization" in request_headers and not shared:
        return NotStorable(StoreRefusal.AUTHORIZATION)
    # §4.1: "A stored response with a Vary header field value containing a member '*' always fails to match."
    if "*" in _listed(response_headers, "Vary"):
        return NotStorable(StoreRefusal.VARY_ANYTHING)
    # §3: of "at least one of the following" each status above is "defined as heuristically cacheable".
    return Storable()


# RFC 9110 §7.6.1 and RFC 9111 §3.1. Set-Cookie is no hop-by-hop field, but one client's.
_NEVER_STORED = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("proxy-connection", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization"),
        *("set-cookie", "set-cookie2"),
    }
)


def storable_headers(headers: Headers) -> CIMultiDict[str]:
    """The header fields to store (RFC 9111 §3.1)."""
    # §3.1: "The Connection header field and fields whose names are listed in it".
    dropped = _NEVER_STORED | _listed(headers, "Connection")
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


def vary_matches(response_headers: Headers, stored_request: Headers, request: Headers) -> bool:
    """Whether a stored answer was chosen by the same header fields (RFC 9111 §4.1).

    `Accept` and `Accept-Encoding` are no matter here: the representation is part of the store's key, and bodies are
    served in the coding that the client takes.
    """
    nominated = _listed(response_headers, "Vary") - {"accept", "accept-encoding"}
    # §4.1: "If (after any normalization that might take place) a header field is absent from a request, it can only
    # match another request if it is also absent there."
    return "*" not in nominated and all(
        _combined(stored_request, name) == _combined(request, name) for name in nominated
    )


def _listed(headers: Headers, name: str) -> frozenset[str]:
    members = ",".join(headers.getall(name, ())).split(",")
    return frozenset(text for member in members if (text := member.strip().lower()))


def _combined(headers: Headers, name: str) -> list[str]:
    return [member.strip() for value in headers.getall(name, ()) for member in value.split(",")]


# --- Freshness (RFC 9111 §4.2) ---


def current_age(stored: Stored, now: float) -> float:
    """The age in seconds at `now` (RFC 9111 §4.2.3), never negative whatever the clocks did."""
    date = _date(stored)
    apparent_age = max(0.0, stored.response_time - date)
    response_delay = max(0.0, stored.response_time - stored.request_time)
    corrected_age_value = _age_value(stored.headers) + response_delay
    corrected_initial_age = max(apparent_age, corrected_age_value)
    resident_time = max(0.0, now - stored.response_time)
    return corrected_initial_age + resident_time


def freshness_lifetime(stored: Stored, policy: Policy) -> float:
    """For how many seconds of age the answer is fresh (RFC 9111 §4.2.1)."""
    control = _control(stored.headers)
    # §5.2.2.5, §5.2.2.7: not to be stored at all, so nothing makes it fresh, no setting either.
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
    # RFC 9110 §6.6.1: without a (valid) Date the time it was received takes its place.
    date = parse_http_date(stored.headers.get("Date", ""))
    return stored.response_time if date is None else date


def _age_value(headers: Headers) -> int:
    # §5.1: of several members the first counts, and where it is "something other than a non-negative integer", "a cache
    # SHOULD ignore the field".
    return _delta_seconds(headers.get("Age", "").partition(",")[0]) or 0


# --- What to do with a stored answer (RFC 9111 §4, RFC 5861) ---


class Reason(enum.StrEnum):
    """Why a stored answer is not simply served."""

    STALE = "stale"
    MAX_STALE = "max-stale"
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"
    OFFLINE = "offline"
    RESPONSE_NO_CACHE = "response-no-cache"
    REQUEST_NO_CACHE = "request-no-cache"
    REQUEST_MAX_AGE = "request-max-age"
    REQUEST_MIN_FRESH = "request-min-fresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """Serve it. `ttl` > 0 and `age` in seconds."""

    ttl: float
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleUsable:
    """Serve it although stale (`ttl` <= 0), and revalidate in the background where `revalidate` says so."""

    ttl: float
    age: float
    reason: Reason
    revalidate: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MustRevalidate:
    """Ask the upstream first; where that fails, serve it only if `stale_if_error_ok`, else 502 or 504.

    With `only_if_cached` nothing may be asked: 504 (RFC 9111 §5.2.1.7).
    """

    ttl: float
    age: float
    reason: Reason
    stale_if_error_ok: bool
    only_if_cached: bool = False


type Decision = Fresh | StaleUsable | MustRevalidate


def decide(stored: Stored, request_headers: Headers, policy: Policy, now: float) -> Decision:
    """What to do with a stored answer for this request (RFC 9111 §4)."""
    age = current_age(stored, now)
    ttl = freshness_lifetime(stored, policy) - age
    response, request = _control(stored.headers), _control(request_headers)
    # §4.2.4: "unless it is disconnected": offline there is nobody to ask, and everything stored is usable.
    if policy.offline:
        stale = StaleUsable(ttl=ttl, age=age, reason=Reason.OFFLINE, revalidate=False)
        return Fresh(ttl=ttl, age=age) if ttl > 0 else stale
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
        reason=refusal or Reason.STALE,
        stale_if_error_ok=not forbidden and -ttl <= _error_window(response, request, policy),
        only_if_cached=request.only_if_cached,
    )


def only_if_cached(request_headers: Headers) -> bool:
    """Whether the client wants a stored answer or a 504 (RFC 9111 §5.2.1.7); for a request that finds nothing."""
    return _control(request_headers).only_if_cached


def _unusable(
    response: CacheControl, request: CacheControl, request_headers: Headers, age: float, ttl: float
) -> Reason | None:
    """Why the answer may not be used without asking, fresh or not."""
    # §5.2.2.4: "MUST NOT be used to satisfy any other request without forwarding it for validation"
    if response.no_cache:
        return Reason.RESPONSE_NO_CACHE
    # §5.2.1.4: "the client prefers a stored response not be used to satisfy the request without successful validation".
    # Departure: `max-age=0, must-revalidate`, which is what uv --refresh sends, says the same.
    if request.no_cache or (request.max_age == 0 and request.must_revalidate):
        return Reason.REQUEST_NO_CACHE
    # §5.4: Pragma is "defined for HTTP/1.0 caches, so that clients could specify a 'no-cache' request"; it counts where
    # there is no Cache-Control.
    if "Cache-Control" not in request_headers and "no-cache" in _listed(request_headers, "Pragma"):
        return Reason.REQUEST_NO_CACHE
    # §5.2.1.1: "the client prefers a response whose age is less than or equal to the specified number of seconds."
    # Departure: max-age=0 means nothing while the page is fresh, since older pip sends it always.
    if request.max_age and age > request.max_age:
        return Reason.REQUEST_MAX_AGE
    # §5.2.1.1: "Unless the max-stale request directive is also present, the client does not wish to receive a stale
    # response."
    if request.max_age is not None and request.max_stale is None and ttl <= 0:
        return Reason.REQUEST_MAX_AGE
    # §5.2.1.3: "the client wants a response that will still be fresh for at least the specified number of seconds."
    if request.min_fresh is not None and ttl < request.min_fresh:
        return Reason.REQUEST_MIN_FRESH
    return None


def _forbids_stale(status: int, response: CacheControl, ttl: float) -> bool:
    """Whether the answer may not be used where validation failed."""
    # §4.2.4: "prohibited by an explicit in-protocol directive (e.g., by a no-cache response directive". §3: what a 304
    # made no-store or private should not be here at all.
    if response.no_cache or response.no_store or response.private:
        return True
    # Departure: a 404 or 410 is no answer for a failing upstream, since uv would go on to another index.
    if status in _NEGATIVE:
        return True
    # §5.2.2.2, §5.2.2.8: "once the response has become stale, a shared cache MUST NOT reuse that response"; §5.2.2.10:
    # s-maxage "incorporates the semantics of the proxy-revalidate response directive".
    bound = response.must_revalidate or response.proxy_revalidate or response.s_maxage is not None
    return bound and ttl <= 0


def _permits_stale(response: CacheControl, request: CacheControl, policy: Policy, staleness: float) -> Reason | None:
    # §5.2.1.2: "willing to accept a response that has exceeded its freshness lifetime by no more than the specified
    # number of seconds."
    if request.max_stale is not None and staleness <= request.max_stale:
        return Reason.MAX_STALE
    # RFC 5861 §3: "caches MAY serve the response it appears in after it becomes stale, up to the indicated number of
    # seconds."
    window = response.stale_while_revalidate
    if staleness <= (policy.stale_while_revalidate if window is None else window):
        return Reason.STALE_WHILE_REVALIDATE
    return None


def _error_window(response: CacheControl, request: CacheControl, policy: Policy) -> float:
    # RFC 5861 §4: "when an error is encountered, a cached stale response MAY be used to satisfy the request". The
    # request's own value is for this request; the response's goes before the operator's.
    windows = (request.stale_if_error, response.stale_if_error, policy.stale_if_error)
    return next(float(window) for window in windows if window is not None)


# --- Validation (RFC 9111 §4.3, RFC 9110 §13) ---


def validators(stored_headers: Headers) -> dict[str, str]:
    """The precondition fields to revalidate with (RFC 9111 §4.3.1)."""
    pairs = (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified"))
    return {condition: stored_headers[name] for condition, name in pairs if stored_headers.get(name)}


def updates(stored_headers: Headers, not_modified_headers: Headers) -> bool:
    """Whether a 304 speaks of what is stored; if not it must not freshen it (RFC 9111 §4.3.4).

    §4.3.4: "If none of the initial set contains at least one of the same strong validators, then the cache MUST NOT use
    the new response to update any stored responses." Weak ones are compared too: here one answer is stored, not a set.
    """
    etag, stored_etag = not_modified_headers.get("ETag"), stored_headers.get("ETag")
    return etag is None or stored_etag is None or etag.removeprefix("W/") == stored_etag.removeprefix("W/")


# §3.2: "The Content-Length header field", fields "automatically processed and removed", and fields that "the cache's
# stored response depends upon": the body was parsed, decoded and re-coded by these.
_BOUND_TO_BODY = frozenset({"content-length", "content-type", "content-encoding", "content-range", "etag"})
# These are of the message that bore them, so a 304 without them must not inherit the old ones.
_OF_THE_MESSAGE = frozenset({"age", "date"})


def freshened(stored: Stored, not_modified_headers: Headers, request_time: float, response_time: float) -> Stored:
    """The stored answer as a 304 renews it (RFC 9111 §4.3.4, §3.2)."""
    new = CIMultiDict(
        (name, value)
        for name, value in storable_headers(not_modified_headers).items()
        if name.lower() not in _BOUND_TO_BODY
    )
    # §3.2: "the cache MUST add each header field in the provided response to the stored response, replacing field
    # values that are already present".
    replaced = _OF_THE_MESSAGE | {name.lower() for name in new}
    headers = CIMultiDict((name, value) for name, value in stored.headers.items() if name.lower() not in replaced)
    headers.extend(new)
    return Stored(status=stored.status, headers=headers, request_time=request_time, response_time=response_time)


_ENTITY_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def not_modified(request_headers: Headers, etag: str, last_modified: str | None) -> bool:
    """Whether a client's GET or HEAD is answered 304; `etag` is ours with its quotes, '' if we have none."""
    # RFC 9110 §13.2.2: If-None-Match goes before If-Modified-Since, which then counts no more.
    if "If-None-Match" in request_headers:
        listed = ",".join(request_headers.getall("If-None-Match"))
        # §13.1.2: "If the field value is '*', the condition is false if the origin server has a current representation
        # for the target resource."
        if listed.strip() == "*":
            return True
        # §13.1.2: "A recipient MUST use the weak comparison function when comparing entity tags for If-None-Match"
        return etag.removeprefix("W/") in _ENTITY_TAG.findall(listed)
    # §13.1.3: "A recipient MUST ignore the If-Modified-Since header field if the received field value is not a valid
    # HTTP-date, the field value has more than one member", or "if the resource does not have a modification date".
    conditions = request_headers.getall("If-Modified-Since", ())
    since = parse_http_date(conditions[0]) if len(conditions) == 1 else None
    modified = parse_http_date(last_modified or "")
    return since is not None and modified is not None and modified <= since


# --- Dates (RFC 9110 §5.6.7) ---

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
