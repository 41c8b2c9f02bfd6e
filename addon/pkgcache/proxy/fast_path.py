"""The fast path: requests for packages, answered within mitmproxy's HTTP layer and past its flow hooks.

A flow is offered to some forty addons, which is more than half of the time that a request takes, and a response set in a hook is sent
in one piece, however large. So `FastPathLayer`, mitmproxy's HttpLayer in all else, makes its streams `FastPathStream`: a GET or HEAD
that `Intake` admits goes through states of its own, anything else through `super()`. mitmproxy's parser, TLS and connections stay in
use. Every wait is a blocking hook (`PypiCacheAnswerHook`, `PypiCacheChunkHook`): the stream yields it, and the addon's coroutine of
that name awaits.

The classes used here are mitmproxy's inner ones; tests/proxy/test_mitmproxy_names.py checks each name and signature.
"""

from __future__ import annotations

import time
from dataclasses import replace

from mitmproxy import flow, http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import (
    DropStream,
    HttpLayer,
    HTTPMode,
    RegisterHttpConnection,
    SendHttp,
    validate_request,
)
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import (
    HttpErrorHook,
    HttpRequestHeadersHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)
from mitmproxy.proxy.utils import expect

from pkgcache.engine.responses.bodies import BytesBody
from pkgcache.engine.responses.messages import MOST_AT_ONCE, Body, Chunk
from pkgcache.proxy.connect import ConnectStream
from pkgcache.proxy.exchange import (
    Exchange,
    ExchangeWithBody,
    PypiCacheAnswerHook,
    PypiCacheChunkHook,
    answer_to_known_head,
    rendered,
)
from pkgcache.proxy.forwarded import forward_response
from pkgcache.proxy.http1_client import limit_upstream
from pkgcache.proxy.http1_server import HeadBeforeData, LimitedHttp1Server
from pkgcache.proxy.intake import Intake
from pkgcache.proxy.known_heads import HeadKey, place_of
from pkgcache.proxy.mitmweb_sizes import SENT, show_sent_sizes
from pkgcache.proxy.request_checks import FAILED
from pkgcache.proxy.response_head import is_interim

CHUNKS_AT_ONCE = 4
"""Chunks sent after one wait for the client, where the next ones are at hand: each wait costs a round through the event loop."""


class FastPathLayer(HttpLayer):
    """mitmproxy's HTTP layer, with `FastPathStream` for its streams."""

    def __init__(self, context: Context, mode: HTTPMode, intake: Intake) -> None:
        super().__init__(context, mode)
        self.intake = intake
        self.place = place_of(context, mode)
        self._server: LimitedHttp1Server | None = None
        if context.client.alpn not in {b"h2", b"h3"}:  # HttpLayer takes an Http1Server only where there is none
            self._server = self.connections[context.client] = LimitedHttp1Server(context.fork())

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Answer a request at once that is all of these bytes and was answered before; leave everything else to HttpLayer."""
        if (
            isinstance(event, events.DataReceived)
            and event.connection is self.context.client
            and not self.streams
            and self._server is not None
            and self._server.is_idle
            and (exchange := self.intake.from_known_head((self.place, event.data), self.context.client)) is not None
        ):
            return self._answer(exchange)
        return super()._handle_event(event)

    def _answer(self, exchange: Exchange) -> layer.CommandGenerator[None]:
        answer, closes = answer_to_known_head(exchange, self.intake.via)
        yield commands.SendData(self.context.client, answer)
        exchange.close()
        if closes:
            assert self._server is not None
            self._server.state = self._server.done
            yield commands.CloseConnection(self.context.client)

    def register_connection(self, command: RegisterHttpConnection) -> layer.CommandGenerator[None]:
        """Read the responses of an upstream by a `LimitedHttp1Client`, where HttpClient has taken an Http1Client."""
        limit_upstream(self.connections[command.connection])
        return super().register_connection(command)

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        """Start a `FastPathStream`, where HttpLayer would start an HttpStream."""
        head = (self.place, self._server.head) if self._server and self._server.head else None
        self.streams[stream_id] = FastPathStream(self.context.fork(), stream_id, self.intake, head)
        yield from self.event_to_child(self.streams[stream_id], events.Start())


class FastPathStream(ConnectStream):
    """One request and its response. `exchange` is None for an ordinary flow."""

    def __init__(self, context: Context, stream_id: int, intake: Intake, head: HeadKey | None) -> None:
        super().__init__(context, stream_id, intake, head)
        self.exchange: Exchange | None = None

    # Which way a request goes

    # These states return a generator and are none themselves: each command and its answer passes every generator on the way.
    @expect(RequestHeaders)
    def state_wait_for_request_headers(self, event: RequestHeaders) -> layer.CommandGenerator[None]:
        """Take the request if `Intake` admits it, else leave it to mitmproxy."""
        request = event.request
        if event.replay_flow or request.method == "CONNECT":
            return super().state_wait_for_request_headers(event)
        # HttpStream makes this check first thing too; a request with a smuggled header must not reach the cache either.
        if invalid := validate_request(self.mode, request, self.context.options.validate_inbound_headers):
            return self._reject(ErrorCode.REQUEST_VALIDATION_FAILED, invalid)
        try:
            self.exchange = self.intake.admit_request(self.context, self.mode, request, ends=event.end_stream)
        except Exception as error:  # noqa: BLE001  an exception in a layer would leave the client hanging
            self.intake.report_fault("deciding on a request", error)
            return self._reject(ErrorCode.GENERIC_SERVER_ERROR, FAILED)
        if self.exchange is None:
            return self._pass_on(event)
        if self.exchange.passes and self.exchange.response is None:
            return self._judge(event, self.exchange)
        self.client_state = self.state_fast_path_request
        return self.state_fast_path_ignore(event)

    def _judge(self, event: RequestHeaders, exchange: Exchange) -> layer.CommandGenerator[None]:
        """Pass a request on if the operator's rules admit it. What the client sends meanwhile waits."""
        yield PypiCacheAnswerHook(exchange)
        if exchange.response is not None or exchange.gone:
            self.client_state = self.state_fast_path_request
            return
        self.intake.passed_on(exchange)
        self.exchange = None
        yield from self._pass_on(event)

    def _pass_on(self, event: RequestHeaders) -> layer.CommandGenerator[None]:
        if self.mode is HTTPMode.transparent and self.context.client.tls_established:
            # For a package host TLS was opened towards the client alone (addon._with_fast_path); the origin speaks it too.
            self.context.server.tls = True
        passed = event.request.copy()  # it is changed for the next hop
        if passed.authority:  # RFC 9112 §3.2.2: absolute-form says which host is meant
            passed.headers["Host"] = passed.authority
        return super().state_wait_for_request_headers(replace(event, request=passed))

    @expect(ResponseHeaders)
    def state_wait_for_response_headers(self, event: ResponseHeaders) -> layer.CommandGenerator[None]:
        """Pass a response on as a proxy does; an interim one at once, and the final one is still to come (RFC 9110 §15.2)."""
        passed = event.response.copy()  # it is changed for the client
        if is_interim(passed):
            forward_response(passed, self.intake.service.instance)
            yield SendHttp(ResponseHeaders(self.stream_id, passed), self.context.client)
        else:
            yield from super().state_wait_for_response_headers(replace(event, response=passed))

    @expect(RequestData, RequestEndOfMessage)
    def state_fast_path_request(self, event: RequestData | RequestEndOfMessage) -> layer.CommandGenerator[None]:
        """Wait for the end of the request, then answer it. A body is kept if it is wanted, and else read and dropped."""
        if not isinstance(event, RequestEndOfMessage):
            if isinstance(self.exchange, ExchangeWithBody):
                self.exchange.take(event.data)
            return self.state_fast_path_ignore(event)
        self.client_state = self.state_fast_path_ignore
        return self._answer()

    def state_consume_request_body(
        self, event: RequestData | RequestTrailers | RequestEndOfMessage
    ) -> layer.CommandGenerator[None]:
        """Drop the body of an ordinary request that has its response already (a 407): HttpStream would keep all of it."""
        if isinstance(event, RequestData) and self.flow.response is not None:
            return self.state_fast_path_ignore(event)
        return super().state_consume_request_body(event)

    def state_fast_path_ignore(self, _: object) -> layer.CommandGenerator[None]:
        """Do nothing: what the client still sends of a request that is being answered does not matter."""
        yield from ()

    def handle_protocol_error(
        self, event: RequestProtocolError | ResponseProtocolError
    ) -> layer.CommandGenerator[None]:
        """End the exchange of a client that has disconnected.

        HttpStream's method would report the error to a server connection, which does not exist here: a KeyError.
        """
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
        shown = self.intake.shows_flows
        if shown:
            yield from self._show_request(exchange)
        if exchange.response is None:
            exchange.response = self.intake.try_from_memory(exchange, self.head)
        if exchange.response is None:
            yield PypiCacheAnswerHook(exchange)
        response = exchange.response
        if exchange.gone or response is None:
            yield from self._end_early(exchange)
            return
        sent = rendered(exchange, response, self.intake.via)
        if isinstance(response.body, bytes) and len(response.body) > MOST_AT_ONCE and not shown:
            exchange.response = response = replace(response, body=BytesBody(response.body))
        body = response.body
        if first := body if isinstance(body, bytes) else body.read_now():
            yield SendHttp(HeadBeforeData(self.stream_id, sent), self.context.client)
            yield self._data(exchange, first)
        else:
            yield SendHttp(ResponseHeaders(self.stream_id, sent, not body), self.context.client)
        if not isinstance(body, bytes):
            yield from self._stream(exchange, body)
        if shown:
            yield from self._show_response(exchange, sent)
        if exchange.cut or exchange.gone:
            yield from self._end_early(exchange)
            return
        exchange.close()
        self.client_state = self.server_state = self.state_done
        # Before the end of the message, at which the connection reads the client's next request.
        yield DropStream(self.stream_id)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _stream(self, exchange: Exchange, body: Body) -> layer.CommandGenerator[None]:
        """Send a body chunk by chunk: wait until the client can take more, then send what needs no waiting too."""
        while not body.exhausted:
            yield PypiCacheChunkHook(exchange)
            if not exchange.chunk or exchange.cut or exchange.gone:
                return
            chunk, more = exchange.chunk, CHUNKS_AT_ONCE - 1
            while chunk:
                yield self._data(exchange, chunk)
                chunk, more = (body.read_now(), more - 1) if more else (b"", 0)

    def _data(self, exchange: Exchange, chunk: Chunk) -> SendHttp:
        exchange.sent += len(chunk)
        return SendHttp(ResponseData(self.stream_id, chunk), self.context.client)  # type: ignore[arg-type]

    def _end_early(self, exchange: Exchange) -> layer.CommandGenerator[None]:
        """End without a whole response, and close the client's connection, so that it notices that bytes are missing."""
        exchange.cut = exchange.cut or "the client left"
        exchange.close()
        return self._reject(ErrorCode.KILL, exchange.cut)

    def _reject(self, code: ErrorCode, why: str) -> layer.CommandGenerator[None]:
        self.client_state = self.server_state = self.state_errored
        yield SendHttp(ResponseProtocolError(self.stream_id, why, code), self.context.client)
        yield DropStream(self.stream_id)

    # The same traffic as flows, for mitmweb and the console

    def _show_request(self, exchange: Exchange) -> layer.CommandGenerator[None]:
        self.flow = http.HTTPFlow(self.context.client, self.context.server)
        self.flow.request = exchange.flow_request()
        show_sent_sizes()
        self.flow.live = False
        yield HttpRequestHeadersHook(self.flow)
        yield HttpRequestHook(self.flow)

    def _show_response(self, exchange: Exchange, response: http.Response) -> layer.CommandGenerator[None]:
        self.flow.response = response.copy()
        body = exchange.response.body if exchange.response else b""
        # As sent: setting `content` would compress a compressed body once more, and give it a Content-Length of its own.
        self.flow.response.raw_content = body if isinstance(body, bytes) else None
        self.flow.metadata[SENT] = exchange.sent
        self.flow.response.timestamp_end = time.time()
        if exchange.cut:
            self.flow.error = flow.Error(exchange.cut)
            yield HttpErrorHook(self.flow)
            return
        yield HttpResponseHeadersHook(self.flow)
        yield HttpResponseHook(self.flow)
