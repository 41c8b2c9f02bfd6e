"""Decides which responses a shared cache may store (RFC 9111 §3).

It is for index pages and other responses that are revalidated; a file whose digest was verified is stored whatever its headers say.
Stricter than necessary: `must-understand` does not lift `no-store`. Vary (§4.1) needs no comparison later: what is sent upstream depends
only on the entry's key (representation, credentials), so all requests for one entry match. `Vary: *` is not stored.

Leaves out: storing and combining partial responses (§3.3, §3.4), and invalidation (§4.4).
"""

import enum
import itertools
from dataclasses import dataclass
from http import HTTPStatus

from multidict import CIMultiDict

from pkgcache.rules.http.cache_control import Headers, control_of, listed

_UNDERSTOOD = frozenset({HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class StoreRefusal(enum.StrEnum):
    """Why a response is not stored."""

    REQUEST_NO_STORE = "request-no-store"
    RESPONSE_NO_STORE = "no-store"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"
    VARY_ANYTHING = "vary-any"
    PARTIAL = "partial"
    STATUS = "status"
    HEADERS = "headers"


@dataclass(frozen=True, slots=True)
class Storable:
    """The response may be stored."""


@dataclass(frozen=True, slots=True)
class NotStorable:
    """The response may not be stored."""

    reason: StoreRefusal


MOST_FIELDS = 256
MOST_FIELD_BYTES = 64 * 1024
"""Header fields that are stored with a response, and what they may have together. They are read and written with every look at an entry;
the largest that a real server was seen to send had 12 kB."""


type Storability = Storable | NotStorable


def storable(*, request_headers: Headers, status: int, response_headers: Headers) -> Storability:
    """Whether the response to a GET may be stored and served to other clients (RFC 9111 §3)."""
    control = control_of(response_headers)
    # §3.3, §3.4: a cache may store partial responses; this one does not.
    if status == HTTPStatus.PARTIAL_CONTENT:
        return NotStorable(StoreRefusal.PARTIAL)
    # §3: "the response status code is final", and here one that a later request can use.
    if status not in _UNDERSTOOD:
        return NotStorable(StoreRefusal.STATUS)
    # §5.2.1.5: "a cache MUST NOT store any part of either this request or any response to it".
    if control_of(request_headers).no_store:
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
    if "*" in listed(response_headers, "Vary"):
        return NotStorable(StoreRefusal.VARY_ANYTHING)
    # Departure: fields without a bound would be read with each later request.
    if (
        len(response_headers) > MOST_FIELDS
        or sum(map(len, itertools.chain(*response_headers.items()))) > MOST_FIELD_BYTES
    ):
        return NotStorable(StoreRefusal.HEADERS)
    # §3: "at least one of the following" holds, because each status above is "defined as heuristically cacheable".
    return Storable()


# RFC 9110 §7.6.1 and RFC 9111 §3.1. Set-Cookie is not hop-by-hop, but it is meant for one client.
NEVER_STORED = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("proxy-connection", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization"),
        *("set-cookie", "set-cookie2"),
    }
)


def storable_headers(headers: Headers) -> CIMultiDict[str]:
    """The header fields to store (RFC 9111 §3.1)."""
    # §3.1: "The Connection header field and fields whose names are listed in it".
    dropped = NEVER_STORED | listed(headers, "Connection")
    return CIMultiDict([(name, value) for name, value in headers.items() if name.lower() not in dropped])
