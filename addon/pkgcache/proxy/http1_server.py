"""mitmproxy's HTTP/1 connection with a client, with limits on what it collects before it parses.

`FastPathLayer` puts `LimitedHttp1Server` in the place of mitmproxy's Http1Server, outside a CONNECT and inside one. Besides the
limits it mends what lets one client stop others or fill the log: requests sent ahead are parsed one in each turn of the event loop,
and only when the client has taken the answers so far (mitmproxy recurses, and 250 hits in one packet were a RecursionError); chunked
bodies are decoded by `ChunkedBody`; and an unfinished head is not written to the log.

Every answer to a client passes `send`, whoever has made it, so what RFC 9110 and 9112 want of all answers is here (`response_head`).
A client that closes its sending side alone is answered where that needs no upstream; mitmproxy takes it for one that has left.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus

from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._http1 import Http1Server, make_body_reader
from mitmproxy.utils import human

from pkgcache.proxy.chunked_body import ChunkedBody
from pkgcache.proxy.connection_limits import (
    BAD_FIELD,
    BAD_LINE,
    BODY_SECONDS,
    BODY_TOO_SLOW,
    FOREIGN_HEADER,
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
from pkgcache.proxy.exchange import HalfClose, PypiCacheDrainHook, PypiCacheHalfCloseHook
from pkgcache.proxy.known_heads import LONGEST_HEAD
from pkgcache.proxy.response_head import complete, has_no_body, interim_head, is_interim
from pkgcache.rules.http.forwarding import with_plain_options
from pkgcache.rules.http.request_head import is_clean, is_for_whole_server, why_bad, with_path
from pkgcache.rules.proxy_header import begins_header
from pkgcache.units import printable, redact

# RFC 9112 §3: method, target and version are visible ASCII, and no blank comes before them. Other bytes would become lone surrogates in
# mitmproxy's texts, which no log and no response takes. A PROXY header is none either: without a request it would be waited for.
_LINE_SO_FAR = re.compile(rb"(?!PROXY (?:TCP[46] |UNKNOWN[ \r]))(?:[\x21-\x7e][\x20-\x7e\t]*+)?\r?(?:\n|\Z)")


class HeadBeforeData(ResponseHeaders):
    """The head of an answer, behind which a part of the body follows at once.

    Both go out in one piece: pip does not ask again for an answer that ends behind its head.
    """


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
        self._bodiless = False  # the answer that is being sent has no body, whatever its maker hands over
        self._half_closed = False  # nothing more will come
        self._held_head = b""  # of an answer whose body follows
        self.head = b""  # the bytes of the request's head, where it came alone and may be remembered

    @property
    def is_busy(self) -> bool:
        """Whether a request is being received or answered, or the next one is there already; False within a tunnel."""
        return self._next_turn is not None or (self.request is not None and self.state != self.passthrough)

    @property
    def is_idle(self) -> bool:
        """Whether the next bytes begin a request, and its answer may be sent at once."""
        return self.state == self.read_headers and not self.buf and self._next_turn is None and not self._half_closed

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Wakeup):
            return self._woken(event)
        return super()._handle_event(event)

    def _woken(self, event: events.Wakeup) -> layer.CommandGenerator[None]:
        if event.command is self._next_turn:
            yield PypiCacheDrainHook(self.context.client)
            self._next_turn = None
            if self.buf and self.state == self.read_headers:
                yield from self._read_head()
            yield from self._close_if_done()
        elif event.command is self._timer:
            self._timer = None
            yield from self._expect_more_until(self._deadline)
        elif event.command is self._linger:
            yield commands.CloseConnection(self.conn)

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        """Refuse a head that is too long, else do as Http1Server does."""
        if isinstance(event, events.ConnectionClosed) and self._next_turn is not None and _can_write(event):
            self._half_closed = True
        elif isinstance(event, events.ConnectionClosed):
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
            yield from self._read_head()

    def _read_head(self) -> layer.CommandGenerator[None]:
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
            yield from self._refuse(FOREIGN_HEADER if begins_header(received) else BAD_LINE)
            return
        if len(received) > SHORT_HEAD:
            self._meter = self._meter or HeadMeter()
            if excess := self._meter.excess(received):
                yield from self._refuse(excess)
                return
        head = bytes(received) if len(received) <= LONGEST_HEAD else b""
        if lines := self.buf.maybe_extract_lines():
            self.head = b"" if self.buf else head
            yield from self._begin([bytes(line) for line in lines])
        if self.state == self.read_headers and self.buf and self._next_turn is None:
            if self._deadline is None:
                yield from self._expect_more_until(time.monotonic() + HEAD_SECONDS)
            return
        self._meter = None  # the head is complete, or none has begun
        if has_begun:
            self._blank = 0
        if self.state != self.read_body:
            self._deadline = None

    def _begin(self, lines: list[bytes]) -> layer.CommandGenerator[None]:
        """Hand a complete head on, as Http1Server.read_headers does, or refuse it."""
        try:
            lines[0] = with_path(lines[0])
            self.request = request = http1.read_request_head(lines)
            size = http1.expected_http_body_size(request)
        except ValueError as error:
            yield from self._refuse(
                Excess(HTTPStatus.BAD_REQUEST, f"Bad Request: {printable(redact(str(error)))}"), lines[0]
            )
            return
        if not is_clean(lines[1:]):
            yield from self._refuse(BAD_FIELD, lines[0])
            return
        data = request.data
        if is_for_whole_server(lines[0]):
            data.path = b"*"
        if bad := why_bad(data.method, data.path, data.http_version, request.headers.fields):
            yield from self._refuse(Excess(*bad), lines[0])
            return
        data.http_version = min(data.http_version, b"HTTP/1.1")  # RFC 9110 §2.5: a later 1.x is read as 1.1
        request.headers.fields = with_plain_options(request.headers.fields)
        yield ReceiveHttp(RequestHeaders(self.stream_id, request, size == 0))
        self.body_reader = make_body_reader(size)
        self.state = self.read_body
        yield from self.state(events.DataReceived(self.conn, b""))

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

    def _refuse(self, excess: Excess, line: bytes | bytearray | None = None) -> layer.CommandGenerator[None]:
        """Answer with what is too much, and close a little later. `line`: the request's first one, if it is no longer in `buf`."""
        receiving, answering = self.state == self.read_body, self.response is not None
        to_head = self._is_head if receiving else (line or self.buf._data).startswith(b"HEAD ")  # noqa: SLF001  as above
        self._deadline = None
        self.state = self._drop
        self.buf = ReceiveBuffer()
        yield commands.Log(f"{human.format_address(self.conn.peername)}: {excess.text}")
        if not answering and excess is not FOREIGN_HEADER:
            yield commands.SendData(self.conn, refusal(excess, to_head=to_head))
        if receiving:
            yield ReceiveHttp(RequestProtocolError(self.stream_id, excess.text, ErrorCode.CLIENT_DISCONNECTED))
        yield commands.CloseTcpConnection(self.conn, half_close=True)
        self._linger = commands.RequestWakeup(LINGER_SECONDS)
        yield self._linger

    @property
    def _is_head(self) -> bool:
        return self.request is not None and self.request.data.method == b"HEAD"

    def _drop(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Read on and keep nothing, until the client has closed or `_linger` ends."""
        self.buf = ReceiveBuffer()
        if isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(self.conn)

    # The answer

    def send(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        """Send as Http1Server does, what is whole by RFC 9110 and 9112, and no body where there must be none."""
        if isinstance(event, ResponseHeaders):
            return self._send_head(event)
        if isinstance(event, ResponseProtocolError):
            return self._send_error(event)
        if self._bodiless and isinstance(event, ResponseData):
            return _nothing()
        return self._send_with_head(event) if self._held_head else super().send(event)

    def _send_head(self, event: ResponseHeaders) -> layer.CommandGenerator[None]:
        assert self.request is not None
        if is_interim(event.response):
            if head := interim_head(self.request, event.response):
                yield commands.SendData(self.conn, head)
            return
        self._bodiless = has_no_body(self.request, event.response)
        complete(self.request, event.response, closes=self._half_closed and not self.buf)
        for command in super().send(event):
            if isinstance(event, HeadBeforeData) and not self._bodiless and isinstance(command, commands.SendData):
                self._held_head = command.data
            else:
                yield command

    def _send_with_head(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        head, self._held_head = self._held_head, b""
        data = [command.data for command in super().send(event) if isinstance(command, commands.SendData)]
        yield commands.SendData(self.conn, b"".join((head, *data)))

    def _send_error(self, event: ResponseProtocolError) -> layer.CommandGenerator[None]:
        """Send what went wrong, without mitmproxy's HTML, which it sends to a HEAD too."""
        if not self.conn.state & ConnectionState.CAN_WRITE:
            return
        status = event.code.http_status_code()
        if self.response is None and status is not None:
            phrase = HTTPStatus(status).phrase
            excess = Excess(HTTPStatus(status), f"{phrase}: {printable(redact(event.message))}")
            yield commands.SendData(self.conn, refusal(excess, to_head=self._is_head))
        yield commands.CloseConnection(self.conn)

    # A client that will send no more

    def wait(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Wait for the answer's end as Http1Server does, but do not take every client for gone that has sent all it will."""
        if not isinstance(event, events.ConnectionClosed):
            yield from super().wait(event)
            return
        assert self.request is not None
        if self.request.data.method == b"CONNECT":  # its stream knows no errors; the tunnel is told of the end
            self._half_closed = True
            return
        if _can_write(event):
            half_close = HalfClose(self.context.client)
            yield PypiCacheHalfCloseHook(half_close)
            if not half_close.has_left:
                self._half_closed = True
                return
        yield from super().wait(event)

    def make_pipe(self) -> layer.CommandGenerator[None]:
        """Become a tunnel as Http1Server does, and pass on that the client has closed its side already."""
        yield from super().make_pipe()
        if self._half_closed:
            yield ReceiveHttp(RequestEndOfMessage(self.stream_id))

    def mark_done(self, *, request: bool = False, response: bool = False) -> layer.CommandGenerator[None]:
        """Go on with the next request as Http1Server does; where none can come, close."""
        yield from super().mark_done(request=request, response=response)
        if response:
            self._bodiless = False
            yield from self._close_if_done()

    def _close_if_done(self) -> layer.CommandGenerator[None]:
        if self._half_closed and self.state == self.read_headers and self._next_turn is None:
            yield commands.CloseConnection(self.conn)


def _can_write(event: events.ConnectionClosed) -> bool:
    return event.connection.state is ConnectionState.CAN_WRITE


def _nothing() -> layer.CommandGenerator[None]:
    yield from ()
