"""What the fast path's hooks carry: one request with its response, or one CONNECT with the places that it may lead to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.net.http import status_codes
from mitmproxy.net.server_spec import ServerSpec
from mitmproxy.proxy import commands

from pkgcache.engine.responses.messages import Chunk, Request, Response
from pkgcache.rules.routing.routes import Route


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
    source: http.Request
    client: Client
    finished: Callable[[Exchange], None]
    passes: bool = (
        False  # to be held to the operator's rules alone; without a response it is then passed on to the origin
    )
    response: Response | None = None
    chunk: Chunk = b""  # what `pypi_cache_chunk` has read
    cut: str = ""  # why the body ends early
    gone: bool = False  # the client has disconnected
    sent: int = 0  # bytes of body
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
        shown = self.source.copy()
        url = self.request.url
        shown.scheme, shown.host, shown.port = url.scheme, url.host, url.port
        return shown


@dataclass(eq=False, slots=True)
class TunnelPlan:
    """A CONNECT to a host that is no package host. `Tunnels.plan` fills in one of: `servers`, `parent`, `refusal` or `error`."""

    address: tuple[str, int]
    client: Client
    servers: list[Server] = field(default_factory=list)  # to be tried in this order
    parent: ServerSpec | None = None  # the parent proxy that connects instead
    refusal: str = ""  # answered with 403
    error: str = ""  # answered with 502


def rendered(exchange: Exchange, response: Response, via: str) -> http.Response:
    """Return a response as mitmproxy sends it, with `Cache-Status` (RFC 9211) and `Via` (RFC 9110 §7.6.3)."""
    headers = response.headers
    if (
        exchange.request.method == "HEAD" and response.body
    ):  # RFC 9110 §9.3.2; the client would read it as the next response
        _drop_body(response)
    headers["Cache-Status"] = str(response.cache)
    headers["Via"] = via
    if not response.body and response.status not in {204, 304}:
        headers.setdefault("Content-Length", "0")
    if "Transfer-Encoding" in headers:
        headers.pop("Content-Length", None)
        if exchange.source.http_version == "HTTP/1.0":  # RFC 9112 §6.1: it knows no transfer coding
            del headers["Transfer-Encoding"]
            headers["Connection"] = "close"  # the end of the connection marks the end of the body
    return http.Response(
        b"HTTP/1.1",
        response.status,
        status_codes.RESPONSES.get(response.status, "").encode(),
        http.Headers([(k.encode("latin-1", "replace"), v.encode("latin-1", "replace")) for k, v in headers.items()]),
        None,
        None,
        exchange.started,
        time.time(),
    )


def _drop_body(response: Response) -> None:
    if not isinstance(response.body, bytes):
        response.body.close()
    response.body = b""
