"""Request heads that were answered from memory before: the same bytes mean the same request, so they need not be parsed and judged again.

Agents send the same few heads for each page, and what becomes of a head depends on its bytes, on where its connection leads, and on
the state that `Intake.from_known_head` asks for each time. A head that differs in one byte goes the ordinary way, and so does one with
anything that concerns more than its own answer: credentials, a body, a change of protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.store.lru import ByteLru
from pkgcache.rules.routing.package_hosts import Address
from pkgcache.rules.routing.routes import ProjectPage, ReleaseFile, Route

LONGEST_HEAD: Final = 1024
"""Bytes of a head that is remembered. pip's and uv's have 300 to 600."""

HEAD_OVERHEAD: Final = 1536
LINE_OVERHEAD: Final = 256
"""What a head, and each of its lines, takes in memory beside its bytes, about: a head of 1024 bytes may have 150 lines."""

MOST_CONNECTS: Final = 1024 * 1024
"""Bytes of memory for the heads of CONNECTs, of which each client program has one a host."""

type Place = tuple[str, int, HTTPMode, bool]
"""Where a connection leads: host, port, whether its requests are all for that host, and whether they come by TLS."""

type HeadKey = tuple[Place, bytes]

_OWN_ANSWER_ONLY: Final = frozenset(
    {"authorization", "connection", "content-length", "cookie", "expect", "proxy-authorization", "upgrade", "via"}
)
"""Fields that keep a head from being remembered, but for a `Connection` that says keep-alive or close and no more."""

_PLAIN_FIELDS: Final = frozenset(
    {"host", "user-agent", "accept", "accept-encoding", "accept-language", "cache-control", "connection"}
)
_PLAIN_LINE: Final = re.compile(rb"([A-Za-z-]+): ([!-~](?:[ -~]*[!-~])?)\r\n")
"""Fields that concern the answer alone, and a line of one, as every client writes it (RFC 9112 §5 allows more)."""


@dataclass(frozen=True, slots=True)
class KnownHead:
    """The request that a head means. `answer` gives the response from memory, or None where it is not there any more."""

    request: Request
    route: Route
    answer: Callable[[], Response | None]


class KnownHeads:
    """The heads that were used last, in about `limit` bytes of memory. A CONNECT has the address that it leads to.

    Within a CONNECT what a request line means and what the header lines mean does not depend on each other, so a head is known as
    soon as both are: a client asks for many pages with the same header lines, and many clients ask for the same page. Header lines as
    all clients have them need not have been seen.
    `answer` gives what answers a request from memory.
    """

    def __init__(self, limit: int, answer: Callable[[Request, Route], Callable[[], Response | None] | None]) -> None:
        self._answer = answer
        self._heads: ByteLru[HeadKey, KnownHead] = ByteLru(limit // 2)
        self._lines: ByteLru[HeadKey, KnownHead] = ByteLru(limit // 4)
        self._fields: ByteLru[HeadKey, KnownHead] = ByteLru(limit // 4)
        self._connects: ByteLru[HeadKey, Address] = ByteLru(min(limit, MOST_CONNECTS))
        self.address = self._connects.get

    def clear(self) -> None:
        """Forget all but CONNECTs."""
        for each in (self._heads, self._lines, self._fields):
            each.clear()

    def get(self, key: HeadKey) -> KnownHead | None:
        """Return the request that a head means, if it or its parts are known."""
        if known := self._heads.get(key):
            return known
        place, head = key
        line, _, fields = head.partition(b"\r\n")
        of_line = self._lines.get((place, line))
        if of_line is None or len(head) > LONGEST_HEAD:
            return None
        of_fields = self._fields.get((place, fields))
        headers = of_fields.request.headers if of_fields else plain_fields(fields, of_line.request.headers)
        if headers is None:
            return None
        request = replace(of_line.request, headers=headers)
        answer = self._answer(request, of_line.route)
        if answer is None:
            return None
        known = KnownHead(request, of_line.route, answer)
        shares_lines = of_fields is not None
        self._heads.put(key, known, HEAD_OVERHEAD + len(head) if shares_lines else _weight(head))
        return known

    def remember_connect(self, key: HeadKey, address: Address) -> None:
        """Keep the head of a CONNECT that needs no login."""
        if key[0][2] is HTTPMode.regular and b"authorization" not in key[1].lower():
            self._connects.put(key, address, _weight(key[1]))

    def remember(self, key: HeadKey, known: KnownHead) -> None:
        """Keep a head with the request that it means, if that concerns nothing but its own answer."""
        headers = known.request.headers
        fields = {name.lower() for name in headers}
        if [option.lower() for option in headers.getall("Connection", ())] in (["keep-alive"], ["close"]):
            fields.discard("connection")
        place, head = key
        line, _, rest = head.partition(b"\r\n")
        if known.request.method != "GET" or not line.endswith(b" HTTP/1.1") or not fields.isdisjoint(_OWN_ANSWER_ONLY):
            return
        if b"\n" in line:  # lines may end in it alone (RFC 9112 §2.2): these are the request line and some header lines
            return
        weight = _weight(head)
        self._heads.put(key, known, weight)
        # Elsewhere one part alone says which host is meant.
        if place[2] is HTTPMode.transparent and line.startswith(b"GET /"):
            self._lines.put((place, line), known, weight)
            self._fields.put((place, rest), known, weight)


def plain_fields(lines: bytes, known: Mapping[str, str]) -> CIMultiDictProxy[str] | None:
    """Read the header lines of a head, up to its end. None unless all are such as pip and uv send, with the `Host` of `known`."""
    found = CIMultiDict[str]()
    at = 0
    while match := _PLAIN_LINE.match(lines, at):
        name, value = match[1].decode(), match[2].decode()
        if name.lower() not in _PLAIN_FIELDS or name in found:
            return None
        found[name] = value
        at = match.end()
    if lines[at:] != b"\r\n" or found.get("Host") is None or found["Host"] != known.get("Host"):
        return None
    return CIMultiDictProxy(found) if found.get("Connection", "close") in {"keep-alive", "close"} else None


def is_small(route: Route) -> bool:
    """Whether memory will have what a route leads to, once that is stored: a head is remembered at its first request then."""
    return isinstance(route, ProjectPage) or (isinstance(route, ReleaseFile) and route.suffix == ".metadata")


def _weight(head: bytes) -> int:
    return HEAD_OVERHEAD + LINE_OVERHEAD * head.count(b"\n") + len(head)


def place_of(context: Context, mode: HTTPMode) -> Place:
    """Where the requests of a connection lead: to one host, within a CONNECT; else to where each says, or to the proxy itself."""
    address = (context.server.address if mode is HTTPMode.transparent else context.client.sockname) or ("", 0)
    return address[0], address[1], mode, context.client.tls_established
