"""Request heads that were answered from memory before: the same bytes mean the same request, so they need not be parsed and judged again.

Agents send the same few heads for each page, and what becomes of a head depends on its bytes, on where its connection leads, and on
the state that `Intake.from_known_head` asks for each time. A head that differs in one byte goes the ordinary way, and so does one with
anything that concerns more than its own answer: credentials, a body, another connection option than keep-alive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode

from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.store.lru import ByteLru
from pkgcache.rules.routing.package_hosts import Address
from pkgcache.rules.routing.routes import Route

LONGEST_HEAD: Final = 1024
"""Bytes of a head that is remembered. pip's and uv's have 300 to 600."""

HEAD_OVERHEAD: Final = 3072
"""What a head takes in memory beside its bytes and the texts of its fields, about."""

MOST_CONNECTS: Final = 1024 * 1024
"""Bytes of memory for the heads of CONNECTs, of which each client program has one a host."""

type Place = tuple[str, int, HTTPMode, bool]
"""Where a connection leads: host, port, whether its requests are all for that host, and whether they come by TLS."""

type HeadKey = tuple[Place, bytes]

_OWN_ANSWER_ONLY: Final = frozenset(
    {"authorization", "connection", "content-length", "cookie", "expect", "proxy-authorization", "upgrade", "via"}
)
"""Fields that keep a head from being remembered, but for `Connection: keep-alive`."""


@dataclass(frozen=True, slots=True)
class KnownHead:
    """The request that a head means. `answer` gives the response from memory, or None where it is not there any more."""

    request: Request
    route: Route
    answer: Callable[[], Response | None]


class KnownHeads:
    """The heads that were used last, in about `limit` bytes of memory. A CONNECT has the address that it leads to."""

    def __init__(self, limit: int) -> None:
        self._heads: ByteLru[HeadKey, KnownHead] = ByteLru(limit)
        self._connects: ByteLru[HeadKey, Address] = ByteLru(min(limit, MOST_CONNECTS))
        self.get = self._heads.get
        self.clear = self._heads.clear
        self.address = self._connects.get

    def remember_connect(self, key: HeadKey, address: Address) -> None:
        """Keep the head of a CONNECT that needs no login."""
        if key[0][2] is HTTPMode.regular and b"authorization" not in key[1].lower():
            self._connects.put(key, address, HEAD_OVERHEAD + len(key[1]))

    def remember(self, key: HeadKey, known: KnownHead) -> None:
        """Keep a head with the request that it means, if that concerns nothing but its own answer."""
        headers = known.request.headers
        fields = {name.lower() for name in headers}
        if [option.lower() for option in headers.getall("Connection", ())] == ["keep-alive"]:
            fields.discard("connection")
        if (
            known.request.method == "GET"
            and key[1].count(b" HTTP/1.1\r\n") == 1
            and fields.isdisjoint(_OWN_ANSWER_ONLY)
        ):
            self._heads.put(key, known, HEAD_OVERHEAD + 2 * len(key[1]))


def place_of(context: Context, mode: HTTPMode) -> Place:
    """Where the requests of a connection lead: to one host, within a CONNECT; else to where each says, or to the proxy itself."""
    address = (context.server.address if mode is HTTPMode.transparent else context.client.sockname) or ("", 0)
    return address[0], address[1], mode, context.client.tls_established
