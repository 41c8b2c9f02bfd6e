"""CONNECT: TLS to a package host is opened here; every other host gets a tunnel whose bytes are never looked at.

mitmproxy's own handling depends on `connection_strategy`: `eager` connects to every host first, even where the store has the answer,
and `lazy` lets tunnels hang in which the server speaks first (SSH, SMTP), and answers 200 for hosts that cannot be reached. Neither
fits both kinds of host, so `ConnectStream` decides by the host and leaves that option alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import tcp
from mitmproxy.proxy.layers.http import HTTPMode, HttpStream, SendHttp, _upstream_proxy
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestProtocolError,
    ResponseData,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import HttpConnectHook, HttpResponseHeadersHook

from pkgcache.proxy.addresses import canonical_address
from pkgcache.proxy.exchange import FastPathHook, TunnelPlan
from pkgcache.proxy.intake import Intake
from pkgcache.proxy.known_heads import HeadKey
from pkgcache.proxy.request_checks import CLOSING, why_connect_refused
from pkgcache.rules.routing.package_hosts import Address
from pkgcache.units import printable


@dataclass
class PypiCacheTunnelHook(FastPathHook):
    """Find the addresses that a tunnel may be opened to."""

    plan: TunnelPlan


class ConnectStream(HttpStream):
    """mitmproxy's stream of one request, with a CONNECT of its own, and an answer of ours where a package host cannot be reached."""

    def __init__(self, context: Context, stream_id: int, intake: Intake, head: HeadKey | None) -> None:
        super().__init__(context, stream_id)
        self.intake = intake
        self.head = head

    def handle_protocol_error(
        self, event: RequestProtocolError | ResponseProtocolError
    ) -> layer.CommandGenerator[None]:
        """End an ordinary flow after an error. Where a package host cannot be reached the client is told when to come again."""
        response = None
        unreached = isinstance(event, ResponseProtocolError) and event.code is ErrorCode.CONNECT_FAILED
        if unreached and self.client_state == self.state_done:  # it does not stream: no body is still to come
            response = self.intake.unreachable(self.flow.request, event.message)
        if response is None:
            yield from super().handle_protocol_error(event)
            return
        self.flow.response = response
        yield HttpResponseHeadersHook(self.flow)
        # mitmproxy keeps the error with the client's connection, and would not dial again for the next request on it.
        response.headers["Connection"] = "close"
        if not (yield from self.check_killed(emit_error_hook=True)):
            yield from self.send_response()

    def handle_connect(self) -> layer.CommandGenerator[None]:
        """Answer a CONNECT: a package host without connecting anywhere, any other host after connecting to it.

        Overrides HttpStream's method. Within another proxy mode, or where `pypi_cache_other_hosts=intercept` covers the host,
        mitmproxy's own handling stays.
        """
        if self.intake.closing:
            self.client_state = self.state_done
            self._refuse_tunnel(503, CLOSING)
            yield from self.handle_connect_finish()
            return
        if why := why_connect_refused(self.flow.request):
            self.client_state = self.state_done
            self._refuse_tunnel(400, why)
            yield from self.handle_connect_finish()
            return
        address = canonical_address((self.flow.request.host, self.flow.request.port))
        if self.mode is HTTPMode.transparent or self.intake.intercepts(address):
            yield from super().handle_connect()
            return
        self.client_state = self.state_done
        yield HttpConnectHook(self.flow)
        if (yield from self.check_killed(False)):
            return
        self.context.server.address = address
        if self.flow.response:  # another addon has refused it: proxyauth's 407
            yield from self.handle_connect_finish()
        elif self.intake.router.hosts.is_package_host(address):
            self.intake.remember_connect(self.head, address)
            self.child_layer = layer.NextLayer(self.context)
            yield from self.handle_connect_finish()
        else:
            yield from self._tunnel(address)

    def _tunnel(self, address: Address) -> layer.CommandGenerator[None]:
        """Connect to the first address that accepts, and answer with what came of it: 200, 403 or 502."""
        plan = TunnelPlan(address, self.context.client)
        yield PypiCacheTunnelHook(plan)
        if plan.refusal:
            self._refuse_tunnel(403, plan.refusal)
        elif plan.parent is not None:
            self._tunnel_through_parent(plan)
        else:
            error: str | None = plan.error or "it has no address"
            for server in plan.servers:
                self.context.server = server
                error = yield commands.OpenConnection(server)
                if not error:
                    break
            if error:
                text = f"Cannot connect to {address[0]}:{address[1]}: {error}"
                yield commands.Log(printable(text))  # clients show only the status
                self._refuse_tunnel(502, text)
            else:
                self.child_layer = tcp.TCPLayer(self.context, ignore=True)  # ignore: no flow, no hooks
        yield from self.handle_connect_finish()

    def _tunnel_through_parent(self, plan: TunnelPlan) -> None:
        """Let the parent proxy connect. It does so after our 200, so its refusal can only close the connection."""
        self.context.server.via = plan.parent
        stack = _upstream_proxy.HttpUpstreamProxy.make(self.context, send_connect=True)
        stack /= tcp.TCPLayer(self.context, ignore=True)
        self.child_layer = stack[0]

    def _refuse_tunnel(self, status: int, text: str) -> None:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if status in {400, 503}:
            headers["Connection"] = "close"
        if status == 503:
            headers["Retry-After"] = "1"
        self.flow.response = http.Response.make(status, f"{text}\n", headers)

    def passthrough(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Carry a tunnel's bytes both ways. What is read within a CONNECT, and other protocols after a 101, go mitmproxy's way."""
        is_tunnel = self.flow.request.data.method == b"CONNECT" and isinstance(self.child_layer, tcp.TCPLayer)
        return self._carry(event) if is_tunnel else super().passthrough(event)

    def _carry(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Carry bytes both ways, and each side's end by itself.

        HttpStream.passthrough turns a half-close into a whole one: a client that has sent all that it has (`git upload-pack`, `nc -N`)
        would lose the answer.
        """
        client = self.context.client
        if isinstance(event, RequestData):
            event = events.DataReceived(client, event.data)
        elif isinstance(event, RequestEndOfMessage):
            event = events.ConnectionClosed(client)
        assert self.child_layer is not None
        for command in self.child_layer.handle_event(event):
            half = isinstance(command, commands.CloseTcpConnection) and command.half_close
            if isinstance(command, commands.SendData) and command.connection == client:
                yield SendHttp(ResponseData(self.stream_id, command.data), client)
            elif isinstance(command, commands.CloseConnection) and command.connection == client and not half:
                yield SendHttp(ResponseProtocolError(self.stream_id, "EOF", ErrorCode.PASSTHROUGH_CLOSE), client)
            else:
                yield command
