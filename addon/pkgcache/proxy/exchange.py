"""What the fast path's hooks carry: one request with its response, or one CONNECT with the places that it may lead to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.net.http import status_codes
from mitmproxy.net.server_spec import ServerSpec
from mitmproxy.proxy import commands

from pkgcache.engine.responses.messages import Chunk, Request, Response
from pkgcache.engine.runtime.request_figures import CLIENT_LEFT
from pkgcache.proxy.response_head import head_for_get
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.routing.routes import Route
from pkgcache.web.activity import Finished
from pkgcache.web.admin import MOST_BODY

_SPACES = bytes(32 if (byte < 32 and byte != 9) or byte == 127 else byte for byte in range(256))
"""Maps each control character but TAB to a space."""


NO_ANSWER: Final = CacheStatus()


class FastPathHook(commands.StartHook):
    """A hook that concerns this addon alone: `PypiCache.client_connected` has it delivered without asking the other addons."""

    name = ""


@dataclass(eq=False, slots=True)
class Exchange:
    """One request on the fast path and its response.

    The stream and the addon's coroutines hand it to each other; `finished` is called once, when the exchange is over.
    """

    request: Request
    route: Route | None  # None: one of the proxy's own pages, or a refusal
    source: http.Request | None  # None: its head was known, and is not shown as a flow
    client: Client
    finished: Callable[[Exchange], None]
    passes: bool = False  # held to the operator's rules alone; without a response it is then passed on to the origin
    response: Response | None = None
    chunk: Chunk = b""  # what `pypi_cache_chunk` has read
    cut: str = ""  # why the body ends early
    gone: bool = False  # the client has disconnected
    half_closed: bool = False  # the client has closed its sending side
    needs_upstream: bool = False  # the answer waits for an upstream, or has done so
    sent: int = 0  # bytes of body
    user: str = ""  # who has logged in (`proxyauth`)
    answering: asyncio.Task[Any] | None = None  # finds the response, just now
    started: float = field(default_factory=time.time)
    closed: bool = False

    def leave(self) -> None:
        """End the exchange because its client has disconnected; whatever waits for an upstream on its behalf ends too."""
        self.gone = True
        if self.answering is not None:
            self.answering.cancel()
        self.cut = self.cut or "the client left"
        self.close()

    def half_close(self) -> bool:
        """Note that the client has closed its sending side. Returns whether it counts as left, since nothing tells it from one that has.

        What needs no upstream is answered all the same.
        """
        self.half_closed = True
        if self.response is None:
            return self.passes or self.needs_upstream
        return not (isinstance(self.response.body, bytes) or self.response.cache.hit)

    def wait_for_upstream(self) -> None:
        """Note that an upstream is needed for the answer. Called as often as one is."""
        self.needs_upstream = True
        if self.half_closed and self.response is None and not self.closed:
            self.leave()

    def close(self) -> None:
        """Release the body and report the exchange as finished; a second call does nothing."""
        if self.closed:
            return
        self.closed = True
        if self.response is not None and not isinstance(self.response.body, bytes):
            self.response.body.close()
        self.finished(self)

    def flow_request(self) -> http.Request:
        """Return a copy of the request with its full destination, to be shown as a flow."""
        assert self.source is not None
        shown = self.source.copy()
        url = self.request.url
        shown.scheme, shown.host, shown.port = url.scheme, url.host, url.port
        return shown


@dataclass(eq=False, slots=True)
class ExchangeWithBody(Exchange):
    """An exchange whose request may have a body: an operator asks for a change."""

    body: bytearray = field(default_factory=bytearray)

    def take(self, data: bytes) -> None:
        """Keep a piece of the body, unless it is larger than any may be; one byte more tells that it was."""
        self.body += data[: MOST_BODY + 1 - len(self.body)]


@dataclass
class PypiCacheAnswerHook(FastPathHook):
    """Find the response to this exchange's request."""

    exchange: Exchange


@dataclass
class PypiCacheChunkHook(FastPathHook):
    """Wait until the client can take more, and read this exchange's next chunk."""

    exchange: Exchange


@dataclass
class PypiCacheDrainHook(FastPathHook):
    """Wait until this client has taken what was written to it."""

    client: Client


@dataclass(eq=False, slots=True)
class TunnelPlan:
    """A CONNECT to a host that is no package host. `Tunnels.plan` fills in one of: `servers`, `parent`, `refusal` or `error`."""

    address: tuple[str, int]
    client: Client
    servers: list[Server] = field(default_factory=list)  # to be tried in this order
    parent: ServerSpec | None = None  # the parent proxy that connects instead
    refusal: str = ""  # answered with 403
    error: str = ""  # answered with 502


@dataclass(eq=False, slots=True)
class HalfClose:
    """A client that has closed its sending side while it waits for an answer. `has_left`: it is taken for one that has closed both."""

    client: Client
    has_left: bool = True


@dataclass
class PypiCacheHalfCloseHook(FastPathHook):
    """Decide about a client that has closed its sending side."""

    half_close: HalfClose


def as_finished(exchange: Exchange) -> Finished:
    """Return what is noted of an exchange that is over."""
    response, started = exchange.response, exchange.started
    status, cache = (response.status, response.cache) if response else (CLIENT_LEFT, NO_ANSWER)
    return Finished(
        exchange.request, exchange.route, status, cache, exchange.sent, started, time.time() - started, exchange.user
    )


def rendered(exchange: Exchange, response: Response, via: str) -> http.Response:
    """Return a response as mitmproxy sends it, with `Cache-Status` (RFC 9211) and `Via` (RFC 9110 §7.6.3)."""
    headers = response.headers
    if exchange.request.method == "HEAD" and response.body:  # RFC 9110 §9.3.2; nobody would read or close it
        _drop_body(response)
    headers["Cache-Status"] = str(response.cache)
    headers["Via"] = via
    if not response.body and response.status not in {204, 304}:
        headers.setdefault("Content-Length", "0")
    if "Transfer-Encoding" in headers:
        headers.pop("Content-Length", None)
    return http.Response(
        b"HTTP/1.1",
        response.status,
        status_codes.RESPONSES.get(response.status, "").encode(),
        http.Headers(_as_sent(headers.items())),
        None,
        None,
        exchange.started,
        time.time(),
    )


def answer_to_known_head(exchange: Exchange, via: str) -> tuple[bytes, bool]:
    """Return an answer from memory as it is sent, and whether the connection ends with it."""
    response = exchange.response
    assert response is not None
    assert isinstance(response.body, bytes)
    if not response.sent_head:
        response.sent_head = head_for_get(rendered(exchange, response, via))
    head, closes = response.sent_head, "close" in exchange.request.headers.get("Connection", "").lower()
    if closes:
        head = head.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n"
    exchange.sent = len(response.body)
    return head + response.body, closes


def _as_sent(fields: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """A control character would be another header line, or worse; RFC 9110 §5.5 wants a space in its place."""
    return [
        (name.encode("latin-1", "replace").translate(_SPACES), value.encode("latin-1", "replace").translate(_SPACES))
        for name, value in fields
    ]


def plain_response(response: Response, *, with_body: bool) -> http.Response:
    """Return a text of ours as the response of an ordinary flow. Without its body it answers a HEAD (RFC 9110 §9.3.2)."""
    assert isinstance(response.body, bytes)
    headers = {**response.headers, "Cache-Status": str(response.cache)}
    made = http.Response.make(response.status, response.body if with_body else b"", headers)
    made.headers["Content-Length"] = str(len(response.body))
    return made


def _drop_body(response: Response) -> None:
    if not isinstance(response.body, bytes):
        response.body.close()
    response.body = b""
