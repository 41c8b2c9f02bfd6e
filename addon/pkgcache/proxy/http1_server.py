"""mitmproxy's HTTP/1 connection with a client, with limits on what it collects before it parses.

`FastPathLayer` puts `LimitedHttp1Server` in the place of mitmproxy's Http1Server, outside a CONNECT and inside one. Besides the
limits it mends what lets one client stop others or fill the log: requests sent ahead are parsed one in each turn of the event loop,
and only when the client has taken the answers so far (mitmproxy recurses, and 250 hits in one packet were a RecursionError); chunked
bodies are decoded by `ChunkedBody`; and an unfinished head is not written to the log.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.connection import Client
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ErrorCode, RequestProtocolError
from mitmproxy.proxy.layers.http._http1 import Http1Server
from mitmproxy.utils import human

from pkgcache.proxy.chunked_body import ChunkedBody
from pkgcache.proxy.connection_limits import (
    BAD_LINE,
    BODY_SECONDS,
    BODY_TOO_SLOW,
    HEAD_SECONDS,
    HEAD_TOO_LONG,
    HEAD_TOO_SLOW,
    LINGER_SECONDS,
    MAX_HEAD,
    SHORT_HEAD,
    Excess,
    HeadMeter,
    refusal,
)
from pkgcache.proxy.exchange import FastPathHook

# RFC 9112 §3: method, target and version are visible ASCII. Other bytes would become lone surrogates in mitmproxy's texts, which no log
# and no response takes.
_LINE_SO_FAR = re.compile(rb"[\x20-\x7e\t]*+\r?(?:\n|\Z)")


@dataclass
class PypiCacheDrainHook(FastPathHook):
    """Wait until this client has taken what was written to it."""

    client: Client


class LimitedHttp1Server(Http1Server):
    """Http1Server that refuses heads which are too long, and heads and bodies which take too long."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._meter: HeadMeter | None = None
        self._blank = 0  # bytes of empty lines since the last request
        self._deadline: float | None = None  # by the monotonic clock: when more of the head or body must have come
        self._timer: commands.RequestWakeup | None = None
        self._next_turn: commands.RequestWakeup | None = None
        self._linger: commands.RequestWakeup | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a request is being received or answered, or the next one is there already; False within a tunnel."""
        return self._next_turn is not None or (self.request is not None and self.state != self.passthrough)

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Wakeup):
            return self._woken(event)
        return super()._handle_event(event)

    def _woken(self, event: events.Wakeup) -> layer.CommandGenerator[None]:
        if event.command is self._next_turn:
            yield PypiCacheDrainHook(self.context.client)
            self._next_turn = None
            if self.buf and self.state == self.read_headers:
                yield from self._read_head(events.DataReceived(self.conn, b""))
        elif event.command is self._timer:
            self._timer = None
            yield from self._expect_more_until(self._deadline)
        elif event.command is self._linger:
            yield commands.CloseConnection(self.conn)

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        """Refuse a head that is too long, else do as Http1Server does."""
        if isinstance(event, events.ConnectionClosed):
            self._deadline = None
            if self.buf:
                peer = human.format_address(self.conn.peername)
                yield commands.Log(f"{peer} closed the connection after {len(self.buf)} bytes of a request's head")
            yield commands.CloseConnection(self.conn)
        elif self._next_turn is not None:
            return
        elif isinstance(event, events.DataReceived) and not event.data:
            # Called by `mark_done`: the next request has come already. It has to wait for its turn.
            self._next_turn = commands.RequestWakeup(0)
            yield self._next_turn
        else:
            yield from self._read_head(event)

    def _read_head(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        received = self.buf._data  # noqa: SLF001  `bytes(buf)` would copy all of it at each byte that comes
        if received.startswith((b"\r", b"\n")):  # empty lines before the request (RFC 9112 §2.2)
            blank = len(received) - len(received.lstrip(b"\r\n"))
            self.buf.maybe_extract_at_most(blank)
            self._blank += blank
            if self._blank > MAX_HEAD:
                yield from self._refuse(HEAD_TOO_LONG)
                return
        has_begun = bool(received)
        if not _LINE_SO_FAR.match(received):
            yield from self._refuse(BAD_LINE)
            return
        if len(received) > SHORT_HEAD:
            self._meter = self._meter or HeadMeter()
            if excess := self._meter.excess(received):
                yield from self._refuse(excess)
                return
        yield from super().read_headers(event)
        if self.state == self.read_headers and self.buf and self._next_turn is None:
            if self._deadline is None:
                yield from self._expect_more_until(time.monotonic() + HEAD_SECONDS)
            return
        self._meter = None  # the head is complete, or none has begun
        if has_begun:
            self._blank = 0
        if self.state != self.read_body:
            self._deadline = None

    def read_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Read the request's body as Http1Server does, with limits on what is no data and on the time."""
        if type(self.body_reader) is ChunkedReader:
            self.body_reader = ChunkedBody()  # type: ignore[assignment]  # it has what mitmproxy calls of h11's readers
        self._deadline = None
        yield from super().read_body(event)
        if self.state == self.read_body and isinstance(event, events.DataReceived):
            yield from self._expect_more_until(time.monotonic() + BODY_SECONDS)

    def _expect_more_until(self, deadline: float | None) -> layer.CommandGenerator[None]:
        """Refuse the request if the deadline has passed, else look again then. One timer runs at a time, however often it is set."""
        self._deadline = deadline
        if deadline is None or self._timer is not None:
            return
        if (seconds := deadline - time.monotonic()) > 0:
            self._timer = commands.RequestWakeup(seconds)
            yield self._timer
        else:
            yield from self._refuse(HEAD_TOO_SLOW if self.state == self.read_headers else BODY_TOO_SLOW)

    def _refuse(self, excess: Excess) -> layer.CommandGenerator[None]:
        """Answer with what is too much, and close a little later."""
        receiving, answering = self.state == self.read_body, self.response is not None
        self._deadline = None
        self.state = self._drop
        self.buf = ReceiveBuffer()
        yield commands.Log(f"{human.format_address(self.conn.peername)}: {excess.text}")
        if not answering:
            yield commands.SendData(self.conn, refusal(excess))
        if receiving:
            yield ReceiveHttp(RequestProtocolError(self.stream_id, excess.text, ErrorCode.CLIENT_DISCONNECTED))
        yield commands.CloseTcpConnection(self.conn, half_close=True)
        self._linger = commands.RequestWakeup(LINGER_SECONDS)
        yield self._linger

    def _drop(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Read on and keep nothing, until the client has closed or `_linger` ends."""
        self.buf = ReceiveBuffer()
        if isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(self.conn)
