"""The lane: package requests answered within mitmproxy's HTTP layer, without passing the flow hooks of its forty addons.

`LaneLayer` is mitmproxy's HttpLayer with `LaneStream` for its streams. A LaneStream takes a GET or HEAD that its `Desk` claims
through states of its own; anything else goes to `super()` and is an ordinary flow. mitmproxy's parser, TLS and connection handling
stay in charge. Waits are blocking hooks (`PypiCacheAnswerHook`, …): the stream yields one, the addon's coroutine of that name does
the awaiting, and the event loop is never blocked.

The lane stands before mitmproxy's own checks, so it makes them itself, first thing: `validate_request`, then `proxyauth`.
The classes used here are mitmproxy's inner ones; tests/proxy/test_mitmproxy_names.py holds every name and signature.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitmproxy import flow, http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import ClientTLSLayer, tcp
from mitmproxy.proxy.layers.http import (
    DropStream,
    HttpLayer,
    HTTPMode,
    HttpStream,
    SendHttp,
    _upstream_proxy,
    validate_request,
)
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import (
    HttpConnectHook,
    HttpErrorHook,
    HttpRequestHeadersHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)
from mitmproxy.proxy.utils import expect
from OpenSSL import SSL

from pkgcache.engine.responses.messages import Body, Chunk
from pkgcache.proxy.connect import FastPathHook, PypiCacheTunnelHook
from pkgcache.proxy.exchange import Exchange, TunnelPlan
from pkgcache.proxy.request_checks import canonical_address

if TYPE_CHECKING:
    from mitmproxy.proxy.context import Context

    from pkgcache.proxy.intake import Intake

logger = logging.getLogger(__name__)


CHUNKS_AT_ONCE = 4
"""Chunks that go out after one wait for the client to take more, where the file is in memory."""

CIPHERTEXT = 512 * 1024


class FastPathTlsLayer(ClientTLSLayer):
    """mitmproxy's TLS towards clients, which hands ciphertext on in larger pieces: one a chunk, not five."""

    def tls_interact(self) -> layer.CommandGenerator[None]:
        """As TLSLayer does it."""
        while True:
            try:
                data = self.tls.bio_read(CIPHERTEXT)
            except SSL.WantReadError:
                return
            yield commands.SendData(self.conn, data)


@dataclass
class PypiCacheAnswerHook(FastPathHook):
    """Answer this exchange's request."""

    exchange: Exchange


@dataclass
class PypiCacheChunkHook(FastPathHook):
    """Wait until the client can take more, and read this exchange's next chunk."""

    exchange: Exchange


class FastPathLayer(HttpLayer):
    """mitmproxy's HTTP layer, with the lane's streams."""

    def __init__(self, context: Context, mode: HTTPMode, desk: Intake) -> None:
        super().__init__(context, mode)
        self.intake = desk

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        """As HttpLayer does, with a LaneStream."""
        self.streams[stream_id] = FastPathStream(self.context.fork(), stream_id, self.intake)
        yield from self.event_to_child(self.streams[stream_id], events.Start())


class FastPathStream(HttpStream):
    """One request and its answer."""

    def __init__(self, context: Context, stream_id: int, desk: Intake) -> None:
        super().__init__(context, stream_id)
        self.intake = desk
        self.exchange: Exchange | None = None

    # Which way a request goes

    @expect(RequestHeaders)
    def state_wait_for_request_headers(self, event: RequestHeaders) -> layer.CommandGenerator[None]:
        """Take the request into the lane if the desk claims it, else leave it to mitmproxy."""
        request = event.request
        if event.replay_flow or request.method == "CONNECT":
            yield from super().state_wait_for_request_headers(event)
            return
        if invalid := validate_request(self.mode, request, self.context.options.validate_inbound_headers):
            yield from self._refuse(400, invalid)
            return
        try:
            verdict = self.intake.admit_request(self.context, self.mode, request, ends=event.end_stream)
        except Exception as error:  # noqa: BLE001  the hook boundary: the lane must never leave a client hanging
            self.intake.fault("deciding on a request", error)
            yield from self._refuse(500, "pypi-cache failed; its log says why")
            return
        if isinstance(verdict, Exchange):
            self.exchange = verdict
            self.client_state = self.state_fast_path_request
        else:
            if self.mode is HTTPMode.transparent and self.context.client.tls_established:
                self.context.server.tls = (
                    True  # `_with_lane` opened TLS towards the client alone; the origin speaks it too
                )
            yield from super().state_wait_for_request_headers(event)

    @expect(RequestData, RequestEndOfMessage)
    def state_fast_path_request(self, event: RequestData | RequestEndOfMessage) -> layer.CommandGenerator[None]:
        """Wait for the request's end, then answer."""
        if isinstance(event, RequestEndOfMessage):
            self.client_state = self.state_fast_path_ignore
            yield from self._answer()

    def state_fast_path_ignore(self, _: object) -> layer.CommandGenerator[None]:
        """Whatever comes of this request after its answer has begun."""
        yield from ()

    def handle_protocol_error(
        self, event: RequestProtocolError | ResponseProtocolError
    ) -> layer.CommandGenerator[None]:
        """A client that leaves: the lane ends itself (the stock handler would tell a server connection that is not there)."""
        if self.exchange is None:
            yield from super().handle_protocol_error(event)
            return
        self.exchange.close()
        self.client_state = self.server_state = self.state_errored
        yield DropStream(self.stream_id)

    # The answer

    def _answer(self) -> layer.CommandGenerator[None]:
        exchange = self.exchange
        assert exchange is not None
        viewed = self.intake.shows_flows
        if viewed:
            yield from self._show_request(exchange)
        if exchange.response is None:
            exchange.response = self.intake.try_from_memory(exchange)
        if exchange.response is None:
            yield PypiCacheAnswerHook(exchange)
        reply = exchange.response
        if exchange.gone or reply is None:
            yield from self._end(exchange, "the client left", cut=not exchange.gone)
            return
        response = self.intake.response(exchange, reply)
        yield SendHttp(ResponseHeaders(self.stream_id, response, not reply.body), self.context.client)
        if isinstance(reply.body, bytes):
            if reply.body:
                yield SendHttp(ResponseData(self.stream_id, reply.body), self.context.client)
                exchange.sent = len(reply.body)
        else:
            yield from self._stream(exchange, reply.body)
        if viewed:
            yield from self._show_response(exchange, response)
        if exchange.cut or exchange.gone:
            yield from self._end(exchange, exchange.cut or "the client left", cut=not exchange.gone)
            return
        exchange.close()
        self.client_state = self.server_state = self.state_done
        yield DropStream(self.stream_id)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _stream(self, exchange: Exchange, body: Body) -> layer.CommandGenerator[None]:
        """Chunk by chunk: one wait until the client can take more, then what needs no waiting."""
        while not body.exhausted:
            yield PypiCacheChunkHook(exchange)
            if not exchange.chunk or exchange.cut or exchange.gone:
                return
            yield from self._send(exchange, exchange.chunk)
            for _ in range(CHUNKS_AT_ONCE - 1):
                if not (chunk := body.read_now()):
                    break
                yield from self._send(exchange, chunk)

    def _send(self, exchange: Exchange, chunk: Chunk) -> layer.CommandGenerator[None]:
        exchange.sent += len(chunk)
        yield SendHttp(ResponseData(self.stream_id, chunk), self.context.client)  # type: ignore[arg-type]

    def _end(self, exchange: Exchange, why: str, *, cut: bool) -> layer.CommandGenerator[None]:
        """End without a whole answer: the client's connection is cut, so that it sees an incomplete read."""
        exchange.cut = exchange.cut or why
        exchange.close()
        self.client_state = self.server_state = self.state_errored
        if cut:
            yield SendHttp(ResponseProtocolError(self.stream_id, why, ErrorCode.KILL), self.context.client)
        yield DropStream(self.stream_id)

    def _refuse(self, status: int, why: str) -> layer.CommandGenerator[None]:
        code = ErrorCode.REQUEST_VALIDATION_FAILED if status == 400 else ErrorCode.GENERIC_SERVER_ERROR
        yield SendHttp(ResponseProtocolError(self.stream_id, why, code), self.context.client)
        self.client_state = self.server_state = self.state_errored
        yield DropStream(self.stream_id)

    # The same traffic as flows, where somebody watches

    def _show_request(self, exchange: Exchange) -> layer.CommandGenerator[None]:
        self.flow = http.HTTPFlow(self.context.client, self.context.server)
        self.flow.request = exchange.flow_request()
        self.flow.live = False
        yield HttpRequestHeadersHook(self.flow)
        yield HttpRequestHook(self.flow)

    def _show_response(self, exchange: Exchange, response: http.Response) -> layer.CommandGenerator[None]:
        self.flow.response = response.copy()
        self.flow.response.content = (
            exchange.response.body if exchange.response and isinstance(exchange.response.body, bytes) else b""
        )
        self.flow.response.timestamp_end = time.time()
        if exchange.cut:
            self.flow.error = flow.Error(exchange.cut)
            yield HttpErrorHook(self.flow)
            return
        yield HttpResponseHeadersHook(self.flow)
        yield HttpResponseHook(self.flow)

    # CONNECT

    def handle_connect(self) -> layer.CommandGenerator[None]:
        """Package host: no upstream connection. Any other: connect at once, answer truly, then bytes as they come."""
        address = canonical_address((self.flow.request.host, self.flow.request.port))
        if self.mode is HTTPMode.transparent or self.intake.intercepts(address):
            yield from super().handle_connect()
            return
        self.client_state = self.state_done
        yield HttpConnectHook(self.flow)
        if (yield from self.check_killed(False)):
            return
        self.context.server.address = address
        if self.flow.response:  # refused by another addon: proxyauth's 407
            yield from self.handle_connect_finish()
        elif self.intake.is_package_host(address):
            self.child_layer = layer.NextLayer(self.context)
            yield from self.handle_connect_finish()
        else:
            yield from self._tunnel(address)

    def _tunnel(self, address: tuple[str, int]) -> layer.CommandGenerator[None]:
        plan = TunnelPlan(address, self.context.client)
        yield PypiCacheTunnelHook(plan)
        if plan.refusal:
            self._say(403, plan.refusal)
        elif plan.parent is not None:
            self.context.server.via = plan.parent
            self._tunnel_through_parent()
        else:
            error = ""
            for candidate in plan.addresses:
                self.context.server = Server(address=candidate, transport_protocol="tcp")
                self.intake.vet(self.context.server)
                error = yield commands.OpenConnection(self.context.server)
                if not error:
                    break
            if error or not plan.addresses:
                self._say(502, f"Cannot connect to {address[0]}:{address[1]}: {error or plan.error}")
            else:
                self.child_layer = tcp.TCPLayer(self.context, ignore=True)
        yield from self.handle_connect_finish()

    def _tunnel_through_parent(self) -> None:
        """The parent proxy connects; its refusal comes as a closed connection, since our 200 has gone by then."""
        stack = _upstream_proxy.HttpUpstreamProxy.make(self.context, send_connect=True)
        stack /= tcp.TCPLayer(self.context, ignore=True)
        self.child_layer = stack[0]

    def passthrough(self, event: events.Event) -> layer.CommandGenerator[None]:
        """A raw tunnel's bytes. mitmproxy makes each half-close a whole one; here who has said all may still be answered."""
        if not isinstance(self.child_layer, tcp.TCPLayer):
            yield from super().passthrough(event)
            return
        client = self.context.client
        if isinstance(event, RequestData):
            event = events.DataReceived(client, event.data)
        elif isinstance(event, RequestEndOfMessage):
            event = events.ConnectionClosed(client)
        for command in self.child_layer.handle_event(event):
            half = isinstance(command, commands.CloseTcpConnection) and command.half_close
            if isinstance(command, commands.SendData) and command.connection == client:
                yield SendHttp(ResponseData(self.stream_id, command.data), client)
            elif isinstance(command, commands.CloseConnection) and command.connection == client and not half:
                yield SendHttp(ResponseProtocolError(self.stream_id, "EOF", ErrorCode.PASSTHROUGH_CLOSE), client)
            else:
                yield command

    def _say(self, status: int, text: str) -> None:
        self.flow.response = http.Response.make(status, text + "\n", {"Content-Type": "text/plain; charset=utf-8"})
