"""mitmproxy's HTTP/1 connection with the upstream of an ordinary flow, with a limit on heads, and without an error for trailers.

`FastPathLayer` puts `LimitedHttp1Client` in the place of mitmproxy's Http1Client, which collects a head without a limit, and raises
NotImplementedError at trailers: the client would wait for ever.
"""

from __future__ import annotations

from h11._readers import ChunkedReader
from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import HttpClient
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ErrorCode, ResponseHeaders, ResponseProtocolError
from mitmproxy.proxy.layers.http._http1 import Http1Client

from pkgcache.proxy.chunked_body import ChunkedBody
from pkgcache.proxy.connection_limits import MAX_HEAD
from pkgcache.proxy.response_head import is_interim
from pkgcache.rules.http.forwarding import with_plain_options


class LimitedHttp1Client(Http1Client):
    """Http1Client that gives up a response whose head is too long, and drops trailers."""

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        """Read the response's head as Http1Client does, up to MAX_HEAD bytes.

        Interim responses are handed on, and the final one is read after them (RFC 9110 §15.2): Http1Client would take the first for final.
        """
        again = True
        while again:
            again = False
            for command in super().read_headers(event):
                response = _response_in(command)
                if response is not None:
                    response.headers.fields = with_plain_options(response.headers.fields)
                yield command
                if response is not None and is_interim(response):
                    self.response = None
                    again = bool(self.buf)
                    break
        if self.state == self.read_headers and self.stream_id is not None and len(self.buf) > MAX_HEAD:
            self.state = self._ended
            yield commands.CloseConnection(self.conn)
            text = f"the upstream's response has a head of more than {MAX_HEAD // 1024} kB"
            yield ReceiveHttp(ResponseProtocolError(self.stream_id, text, ErrorCode.GENERIC_SERVER_ERROR))

    def _ended(self, _: events.Event) -> layer.CommandGenerator[None]:
        """Do nothing: the connection is closed."""
        yield from ()

    def read_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Read the response's body as Http1Client does, but for trailers, which are dropped (RFC 9112 §7.1.2)."""
        if type(self.body_reader) is ChunkedReader:
            self.body_reader = ChunkedBody()  # type: ignore[assignment]  # it has what mitmproxy calls of h11's readers
        return super().read_body(event)


def _response_in(command: commands.Command) -> http.Response | None:
    is_head = isinstance(command, ReceiveHttp) and isinstance(command.event, ResponseHeaders)
    return command.event.response if is_head else None  # type: ignore[attr-defined]


def limit_upstream(top: layer.Layer) -> None:
    """Put a LimitedHttp1Client into the layers of a connection that has just been made, if it is one of HTTP/1."""
    found: layer.Layer | None = top
    while found is not None and not isinstance(found, HttpClient):  # TLS, and a parent proxy's CONNECT, are above it
        found = getattr(found, "child_layer", None)
    old = getattr(found, "child_layer", None)
    if found is None or type(old) is not Http1Client:
        return
    new = LimitedHttp1Client(old.context)
    new.context.layers.remove(old)
    for _ in new.handle_event(events.Start()):
        raise AssertionError("Http1Client wants something at its start")
    found.child_layer = new
    found._handle_event = new.handle_event  # noqa: SLF001  as HttpClient does
