"""What the lane's hooks carry: one request with its answer, and one tunnel with where it may go."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.net.server_spec import ServerSpec

from pkgcache.engine.responses.messages import Chunk, Request, Response
from pkgcache.rules.routing.routes import Route


@dataclass(eq=False, slots=True)
class Exchange:
    """One request in the lane. The stream and the addon's coroutines pass it back and forth; `finished` is called once."""

    request: Request
    route: Route | None
    source: http.Request
    client: Client
    finished: Callable[[Exchange], None]
    response: Response | None = None
    chunk: Chunk = b""
    cut: str = ""
    gone: bool = False
    sent: int = 0
    started: float = field(default_factory=time.time)
    _closed: bool = False

    def leave(self) -> None:
        """The client has left: nothing more is read for it."""
        self.gone = True
        self.cut = self.cut or "the client left"
        self.close()

    def close(self) -> None:
        """Let go of the body, and have the exchange accounted for; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self.response is not None and not isinstance(self.response.body, bytes):
            self.response.body.close()
        self.finished(self)

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._closed

    def flow_request(self) -> http.Request:
        """The request as a flow shows it: with its full destination."""
        shown = self.source.copy()
        url = self.request.url
        shown.scheme, shown.host, shown.port = url.scheme, url.host, url.port
        return shown


@dataclass(eq=False, slots=True)
class TunnelPlan:
    """A CONNECT to a host that is no package host: filled in by the addon."""

    address: tuple[str, int]
    client: Client
    addresses: list[tuple[str, int]] = field(default_factory=list)
    parent: ServerSpec | None = None
    refusal: str = ""
    error: str = ""
