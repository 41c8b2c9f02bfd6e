"""mitmproxy's inner names that proxy/ relies on: each is there, with the signature that is used.

The fast path subclasses classes that mitmproxy does not promise to keep (`mitmproxy>=12.2,<13`). When one of these tests fails after an
upgrade, its message says where in proxy/ to look; compare mitmproxy's old and new code of that name, and adapt proxy/ to it.
"""

import ast
import asyncio
import dataclasses
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import mitmproxy.version
import pytest
from h11 import _readers, _receivebuffer
from mitmproxy import addonmanager, addons, certs, connection, log, master, options, optmanager
from mitmproxy.addons import (
    asgiapp,
    block,
    dumper,
    errorcheck,
    next_layer,
    onboarding,
    proxyauth,
    proxyserver,
    script,
    termlog,
    tlsconfig,
)
from mitmproxy.net import tls as net_tls
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, context, events, layer, mode_servers, mode_specs, server, tunnel
from mitmproxy.proxy.layers import ClientTLSLayer, http, tcp
from mitmproxy.proxy.layers.http import _base, _events, _hooks, _http1, _upstream_proxy
from mitmproxy.proxy.layers.tls import TLSLayer
from mitmproxy.test import taddons
from mitmproxy.tools import main

from pkgcache.proxy.host_tls import ALERTS

PROXY: Final = Path(__file__).resolve().parents[2] / "addon" / "pkgcache" / "proxy"


def test_the_version() -> None:
    """The pin of pyproject.toml, as installed."""
    major, minor = map(int, mitmproxy.version.VERSION.split(".")[:2])
    assert major == 12, (
        "another major version: go through proxy/fast_path.py and proxy/connect.py with mitmproxy's layers/http/__init__.py beside it"
    )
    assert minor >= 2


def imported_names() -> list[tuple[str, str, str]]:
    """(file, module, name) of every `from mitmproxy… import …` under proxy/."""
    found = []
    for path in sorted(PROXY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "mitmproxy":
                found += [(path.name, node.module or "", alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize(("file", "module", "name"), imported_names(), ids=str)
def test_what_is_imported_is_there(file: str, module: str, name: str) -> None:
    place = importlib.import_module(module)
    if not hasattr(place, name):
        importlib.import_module(f"{module}.{name}")  # ImportError: mitmproxy has moved what proxy/{file} imports


SIGNATURES: Final[list[tuple[Callable[..., Any], str, str]]] = [
    (http.HttpLayer.__init__, "self, context, mode", "FastPathLayer.__init__ passes both on"),
    (http.HttpLayer.make_stream, "self, stream_id", "FastPathLayer.make_stream takes its place"),
    (http.HttpLayer.event_to_child, "self, child, event", "FastPathLayer.make_stream starts its stream by it"),
    (http.HttpLayer.register_connection, "self, command", "FastPathLayer.register_connection limits the upstream"),
    (_http1.Http1Client.__init__, "self, context", "http1_client.limit_upstream makes one"),
    (_http1.Http1Client.read_headers, "self, event", "LimitedHttp1Client.read_headers"),
    (_http1.Http1Client.read_body, "self, event", "LimitedHttp1Client.read_body"),
    (http.HttpStream.__init__, "self, context, stream_id", "FastPathStream.__init__"),
    (http.HttpStream.state_wait_for_request_headers, "self, event", "where a request is taken"),
    (http.HttpStream.state_consume_request_body, "self, event", "FastPathStream drops the body of an answered request"),
    (http.HttpStream.handle_protocol_error, "self, event", "FastPathStream: a client that leaves"),
    (http.HttpStream.handle_connect, "self", "ConnectStream: package host or tunnel"),
    (http.HttpStream.handle_connect_finish, "self", "ConnectStream answers the CONNECT by it"),
    (http.HttpStream.check_killed, "self, emit_error_hook", "ConnectStream.handle_connect"),
    (http.HttpStream.passthrough, "self, event", "ConnectStream.passthrough carries tunnels itself"),
    (http.HttpStream.send_response, "self, already_streamed=…", "ConnectStream: a package host cannot be reached"),
    (http.HttpStream.state_done, "self, _", "FastPathStream ends in it"),
    (http.HttpStream.state_errored, "self, _", "FastPathStream ends in it"),
    (http.validate_request, "mode, request, validate_inbound_headers", "FastPathStream: a bad header is a 400"),
    (http.SendHttp, "event, connection", "how FastPathStream answers"),
    (http.DropStream, "stream_id", "how FastPathStream ends"),
    (_events.RequestHeaders, "stream_id, request, end_stream, replay_flow=…", "what FastPathStream gets"),
    (_events.RequestEndOfMessage, "stream_id", "what FastPathStream gets"),
    (_events.RequestData, "stream_id, data", "what FastPathStream gets"),
    (_events.RequestProtocolError, "stream_id, message, code", "a client that leaves"),
    (_events.ResponseHeaders, "stream_id, response, end_stream=…", "how FastPathStream answers"),
    (_events.ResponseData, "stream_id, data", "how FastPathStream answers"),
    (_events.ResponseEndOfMessage, "stream_id", "how FastPathStream answers"),
    (_events.ResponseProtocolError, "stream_id, message, code", "FastPathStream._end_early"),
    (_hooks.HttpConnectHook, "flow", "ConnectStream.handle_connect: proxyauth listens to it"),
    (tcp.TCPLayer, "context, ignore=…", "ConnectStream._tunnel: ignore=True, so that no flow is made"),
    (_upstream_proxy.HttpUpstreamProxy.make, "ctx, send_connect", "ConnectStream._tunnel_through_parent"),
    (layer.NextLayer, "context, ask_on_start=…", "ConnectStream.handle_connect for a package host"),
    (_http1.Http1Server.__init__, "self, context", "LimitedHttp1Server.__init__"),
    (_http1.Http1Server.read_headers, "self, event", "LimitedHttp1Server: where a head is measured"),
    (_http1.Http1Server.read_body, "self, event", "LimitedHttp1Server: where a body is"),
    (
        _http1.Http1Server.mark_done,
        "self, request=…, response=…",
        "LimitedHttp1Server: calls read_headers with no bytes",
    ),
    (_http1.Http1Server.send, "self, event", "LimitedHttp1Server.send: every answer passes it"),
    (_http1.Http1Server.wait, "self, event", "LimitedHttp1Server.wait: a half-close"),
    (_http1.Http1Server.make_pipe, "self", "LimitedHttp1Server.make_pipe: a half-close before a tunnel"),
    (_http1.make_body_reader, "expected_size", "LimitedHttp1Server._begin"),
    (http1.read_request_head, "lines", "LimitedHttp1Server._begin"),
    (http1.expected_http_body_size, "request, response=…", "LimitedHttp1Server._begin"),
    (http1.assemble_request_head, "request", "forwarded: a TRACE"),
    (http1.assemble_response_head, "response", "response_head: an interim response"),
    (http.HttpStream.state_wait_for_response_headers, "self, event", "FastPathStream: a response is passed on"),
    (_base.ReceiveHttp, "event", "LimitedHttp1Server._refuse"),
    (commands.RequestWakeup, "delay", "LimitedHttp1Server's timers"),
    (commands.CloseTcpConnection, "connection, half_close=…", "LimitedHttp1Server._refuse"),
    (
        server.ConnectionHandler.handle_connection,
        "self, connection",
        "ClientReader is what it reads from; KnownConnection may come first",
    ),
    (_receivebuffer.ReceiveBuffer.maybe_extract_at_most, "self, count", "ChunkedBody takes out what it has decoded"),
    (_readers.ChunkedReader.__call__, "self, buf", "ChunkedBody stands in its place"),
    (_readers.ChunkedReader.read_eof, "self", "ChunkedBody stands in its place"),
    (commands.OpenConnection, "connection", "ConnectStream._tunnel"),
    (commands.Log, "message, level=…", "ConnectStream._tunnel"),
    (next_layer.NextLayer.next_layer, "self, nextlayer", "PypiCache.next_layer lets it choose first"),
    (tlsconfig.TlsConfig.tls_start_server, "self, tls_start", "PypiCache.tls_start_server lets it go first"),
    (tlsconfig.TlsConfig.get_cert, "self, conn_context", "HostTls: the names of the certificate, and its chain"),
    (
        net_tls.create_client_proxy_context.__wrapped__,
        (
            "method, min_version, max_version, cipher_list, ecdh_curve, chain_file, alpn_select_callback, "
            "request_client_cert, extra_chain_certs, dhparams"
        ),
        "HostTls: a context a host, where mitmproxy has one for all",
    ),
    (
        certs.CertStore.create_store,
        "path, basename, key_size, organization=…, cn=…",
        "certificates.name_new_ca: a new CA has our name",
    ),
    (tlsconfig.TlsConfig.configure, "self, updated", "certificates.name_new_ca: the new CA is read"),
    (
        ClientTLSLayer.on_handshake_error,
        "self, err",
        "FastPathTlsLayer: mitmproxy's line is ours to say, once a client",
    ),
    (ClientTLSLayer.errored, "self, event", "FastPathTlsLayer: as mitmproxy's layer ends"),
    (certs.dummy_cert, "privkey, cacert, commonname, sans, organization=…, crl_url=…", "HostTls: a host's certificate"),
    (addonmanager.AddonManager.trigger_event, "self, event", "HookTable.deliver does the same"),
    (addonmanager.AddonManager.invoke_addon, "self, addon, event", "HookTable.deliver does the same"),
    (server.ConnectionHandler.drain_writers, "self", "PypiCache.pypi_cache_chunk: the backpressure"),
    (proxyserver.Proxyserver.listen_addrs, "self", "PypiCache._listens"),
    (
        proxyserver.Proxyserver.register_connection,
        "self, connection_id, handler",
        "ProxyProtocol covers it to have each new connection",
    ),
    (server.ConnectionHandler.handle_client, "self", "ProxyProtocol reads the PROXY header before it"),
    (dumper.Dumper.echo_flow, "self, f", "redact_flows takes its place"),
    (dumper.Dumper.echo, "self, text, ident=…, style", "redact_flows: it prints to `outfp`"),
    (proxyauth.parse_http_basic_auth, "s", "Authenticator.refusal"),
    (optmanager.OptManager.process_deferred, "self", "options.raw_values reads what waits for it"),
    (mode_specs.ProxyMode.parse, "spec", "PypiCache._parent"),
    (
        mode_servers.AsyncioServerInstance.listen,
        "self, host, port",
        "workers.listening.listen_on: mitmproxy binds its sockets there, and a worker has them already",
    ),
    (errorcheck.ErrorCheck.finish, "self", "workers.listening.listen_on: a start that is over, without an error"),
    (addonmanager.Loader.add_option, "self, name, typespec, default, help, choices=…", "workers.arguments stands in"),
    (addonmanager.Loader.add_command, "self, path, func", "workers.arguments stands in for Loader"),
    (main.process_options, "parser, opts, args", "workers.arguments.read_options"),
    (main.mitmdump, "args=…", "serve, and each worker"),
    (optmanager.parse, "text", "option_changes._configured"),
    (optmanager.OptManager.update, "self, **kwargs".replace("**", ""), "option_changes._update"),
    (optmanager.load_paths, "opts, *paths".replace("*", ""), "workers.arguments.read_options"),
    (mode_specs.ProxyMode.listen_host, "self, default=…", "workers.listening.addresses"),
    (mode_specs.ProxyMode.listen_port, "self, default=…", "workers.listening.addresses"),
    (termlog.TermLog.uninstall, "self", "workers.arguments.all_options makes one only for its options"),
    (log.MitmFormatter.__init__, "self, colorize", "LineFormatter"),
    (log.MitmFormatter.format, "self, record", "LineFormatter.format"),
]


def shape(function: Callable[..., Any]) -> str:
    """A signature's names, with `=…` where there is a default."""
    parameters = inspect.signature(function).parameters.values()
    shown = [p.name + ("" if p.default is p.empty else "=…") for p in parameters]
    return ", ".join(shown)


@pytest.mark.parametrize(
    ("function", "expected", "look_at"), SIGNATURES, ids=[function.__qualname__ for function, _, _ in SIGNATURES]
)
def test_a_signature(function: Callable[..., Any], expected: str, look_at: str) -> None:
    assert shape(function) == expected, f"{function.__qualname__} has changed: {look_at}"


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (http.SendHttp, commands.Command),
        (http.DropStream, commands.Command),
        (http.HttpStream, layer.Layer),
        (http.HttpLayer, layer.Layer),
        (_events.RequestProtocolError, events.Event),
        (_hooks.HttpConnectHook, commands.StartHook),
    ],
)
def test_a_kind(kind: type, base: type) -> None:
    assert issubclass(kind, base)


def test_error_codes() -> None:
    """`KILL` cuts and sends no error page; the two others become the status that FastPathStream means."""
    codes = _events.ErrorCode
    assert codes.KILL.http_status_code() is None, "FastPathStream._end_early: a cut must not send a page"
    assert codes.REQUEST_VALIDATION_FAILED.http_status_code() == 400, "FastPathStream._reject"
    generic = codes.GENERIC_SERVER_ERROR.http_status_code()
    assert generic is not None, "FastPathStream._reject"
    assert generic >= 500
    assert {"PASSTHROUGH_CLOSE", "CLIENT_DISCONNECTED"} <= set(codes.__members__)


def test_modes() -> None:
    assert set(http.HTTPMode.__members__) == {"regular", "transparent", "upstream"}, (
        "request_checks.destination has a branch for each"
    )


def test_a_blocking_hook() -> None:
    """A StartHook dataclass: its name is that of the addon's method, and the stream waits until that has returned."""

    @dataclasses.dataclass
    class SomeNewHook(commands.StartHook):
        thing: int

    hook = SomeNewHook(7)
    assert (hook.name, hook.args(), hook.blocking) == ("some_new", [7], True), "connect.FastPathHook and its subclasses"


def a_context() -> context.Context:
    client = connection.Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 8080))
    return context.Context(client, options.Options())


def test_a_layer_enters_itself_into_its_context() -> None:
    """`_with_fast_path` takes the old layer out of `context.layers` and puts a FastPathLayer there."""
    here = a_context()
    first = http.HttpLayer(here, http.HTTPMode.regular)
    assert here.layers == [first]
    here.layers.remove(first)
    second = http.HttpLayer(here, first.mode)
    assert here.layers == [second]
    assert second.streams == {}
    assert second.context is here


def test_a_streams_mode_is_that_of_the_layer_above() -> None:
    here = a_context()
    above = http.HttpLayer(here, http.HTTPMode.upstream)
    stream = http.HttpStream(above.context.fork(), 1)
    assert stream.mode is http.HTTPMode.upstream
    assert stream.stream_id == 1


def test_a_streams_attributes() -> None:
    """What FastPathStream reads and writes of its base."""
    above = http.HttpLayer(a_context(), http.HTTPMode.regular)
    stream = http.HttpStream(above.context.fork(), 1)
    assert stream.child_layer is None
    for name in ("client_state", "server_state", "context", "_handle_event", "state_uninitialized"):
        assert hasattr(stream, name), f"FastPathStream uses HttpStream.{name}"


def test_the_first_connection_of_an_http_layer() -> None:
    """FastPathLayer enters its own connection before `Start`, and HttpLayer keeps it."""
    source = inspect.getsource(http.HttpLayer._handle_event)
    assert "self.connections.setdefault(self.context.client, http_conn)" in source, "FastPathLayer._handle_event"
    assert "RequestWakeup" in inspect.getsource(http.HttpLayer.event_to_child), (
        "timers of LimitedHttp1Server would not come back to it"
    )


def test_an_http1_connections_attributes() -> None:
    """What LimitedHttp1Server, ChunkedBody and held_bytes read and write."""
    connection = _http1.Http1Server(a_context())
    assert isinstance(connection.buf, _receivebuffer.ReceiveBuffer)
    assert isinstance(connection.buf._data, bytearray), "the bytes of a head or body, measured without a copy"
    assert (connection.stream_id, connection.request, connection.response) == (1, None, None)
    assert isinstance(_http1.make_body_reader(None), _readers.ChunkedReader), "LimitedHttp1Server.read_body"
    source = inspect.getsource(_http1.Http1Connection.mark_done)
    assert 'self.state(events.DataReceived(self.conn, b""))' in source, (
        "LimitedHttp1Server knows the next request by it"
    )
    assert {"self.state = self.read_body", "self.state = self.read_headers"} <= {
        line.strip() for line in inspect.getsource(_http1).splitlines()
    }


def test_how_a_client_says_that_it_lacks_the_ca() -> None:
    """The three alerts of `lacks_ca`, which mitmproxy's layer logs at each try, and the options of its onboarding page."""
    source = inspect.getsource(ClientTLSLayer.on_handshake_error)
    assert all(f'"{alert}" in err' in source for alert in ALERTS)
    assert "self.event_to_child = self.errored" in source
    assert onboarding.APP_HOST == "mitm.it"
    assert "not flow.response" in inspect.getsource(asgiapp.ASGIApp.should_serve)


def test_where_layers_keep_what_they_have_not_taken() -> None:
    """What held_bytes counts."""
    here = a_context()
    above = http.HttpLayer(here, http.HTTPMode.regular)
    assert (list(above._paused_event_queue), above._paused) == ([], None)
    assert layer.NextLayer(here).events == []
    assert tunnel.TunnelLayer(here, here.client, here.client)._event_queue == []
    assert "self.recv_buffer" in inspect.getsource(ClientTLSLayer)
    assert ClientTLSLayer(here).child_layer is not None


def test_a_handlers_reader() -> None:
    """ClientReader takes the place of a client's reader before the first read; ClientConnections closes by `handler.cancel`."""
    source = inspect.getsource(server.ConnectionHandler.handle_connection)
    assert "reader = self.transports[connection].reader" in source
    assert source.count("reader.") == source.count("reader.read(") == 1, "ClientReader has no other method"
    assert "except OSError:" in source, "ClientReader.read ends a connection by it"
    assert {"handler", "reader", "writer"} <= {field.name for field in dataclasses.fields(server.ConnectionIO)}
    assert "self.last_activity = time.time()" in inspect.getsource(server.TimeoutWatchdog.register_activity)
    hook = inspect.getsource(server.ConnectionHandler.handle_client)
    assert hook.index("ClientConnectedHook") < hook.index("self.client.error") < hook.index("self.handle_connection")


def test_where_a_connection_begins() -> None:
    """ProxyProtocol changes the client's address before anything reads it, and `block_global` then has that one."""
    source = inspect.getsource(mode_servers.ServerInstance.handle_stream)
    with_block = source[source.index("with self.manager.register_connection(") :]
    assert "await handler.handle_client()" in with_block, "found anew at the handler, after it was registered"
    assert "client.peername[0]" in inspect.getsource(block.Block.client_connected)


def test_the_ca_in_use() -> None:
    """What OwnCertificates reads."""
    source = inspect.getsource(certs.CertStore.__init__)
    assert "self.default_ca = default_ca" in source
    assert "self.default_chain_certs = (" in source
    assert inspect.signature(certs.Cert.to_pem).return_annotation in {bytes, "bytes"}
    assert 'path / f"{basename}-ca.pem"' in inspect.getsource(certs.CertStore.from_store), "own_ca.CA_KEY_NAME"
    assert "certstore" in vars(tlsconfig.TlsConfig)


def test_the_terminals_log() -> None:
    """What log_lines changes, and the lines that it leaves out."""
    handler = termlog.TermLog().logger
    handler.uninstall()
    assert {"file", "has_vt_codes", "formatter"} <= set(vars(handler)), "improve_lines"
    assert "self.formatTime(record)" in inspect.getsource(log.MitmFormatter.format), "LineFormatter.formatTime"
    source = inspect.getsource(server)
    for line in ("client connect", "client disconnect", "server disconnect"):
        assert f'self.log("{line}")' in source or f'self.log(f"{line} ' in source, "log_lines.ONLY_IF_VERBOSE"
    assert server.logger.name == "mitmproxy.proxy.server", "log_lines"
    assert "self._legacy_log_events = log.LegacyLogEvents(self)" in inspect.getsource(master), "skip_add_log"


def test_a_handshake_that_the_layers_take_over() -> None:
    """WithinConnect gives a TLS layer a connection that is past its ClientHello, whether the handshake goes on or has failed."""
    names = {"client_hello_parsed", "tls"} & {name for each in ClientTLSLayer.__mro__ for name in vars(each)}
    assert names == {"client_hello_parsed", "tls"}
    source = inspect.getsource(ClientTLSLayer.receive_handshake_data)
    assert source.index("if self.client_hello_parsed:") < source.index("super().receive_handshake_data(data)")
    shaking = inspect.getsource(TLSLayer.receive_handshake_data)
    assert (
        shaking.index("if data:") < shaking.index("self.tls.do_handshake()") < shaking.index("except SSL.Error as e:")
    )
    assert 'yield from self.receive_data(b"")' in shaking, "data that came with the handshake's end"


async def test_a_listening_socket() -> None:
    """`accept_few_at_once` asks asyncio's loop to accept fewer connections in one turn."""
    assert "self._servers" in inspect.getsource(mode_servers.AsyncioServerInstance)
    loop = asyncio.get_running_loop()
    assert {"protocol_factory", "sock", "sslcontext", "server", "backlog"} <= set(
        inspect.signature(loop._start_serving).parameters  # type: ignore[attr-defined]
    )
    listening = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    assert callable(listening._protocol_factory)  # type: ignore[attr-defined]
    assert [one.fileno() for one in listening._sockets] == [one.fileno() for one in listening.sockets]  # type: ignore[attr-defined]
    listening.close()


FAULTS: Final[list[tuple[Callable[..., Any], str, str]]] = [
    (
        _http1.Http1Connection.read_body,
        'raise NotImplementedError(f"HTTP trailers are not implemented yet.")',
        "trailers crash no more: chunked_body.ChunkedBody need not drop them, nor forwarding.HOP_BY_HOP `Trailer`",
    ),
    (
        http1.connection_close,
        'if "close" in tokens:',
        "options of Connection may have lost their case: forwarding.with_plain_options",
    ),
    (
        _http1.Http1Server.send,
        "self.conn, make_error_response(status, event.message)",
        "error pages may know of HEAD: LimitedHttp1Server._send_error",
    ),
    (
        _http1.Http1Connection.wait,
        "yield commands.CloseConnection(event.connection)",
        "a half-close may be no disconnect any more: LimitedHttp1Server.wait",
    ),
    (
        _http1.Http1Client.read_headers,
        "ResponseHeaders(self.stream_id, self.response, expected_size == 0)",
        "interim responses may be read as such: LimitedHttp1Client.read_headers",
    ),
    (
        http.HttpStream.passthrough,
        "command = commands.CloseConnection(command.connection)",
        "a half-close within a tunnel may pass: ConnectStream.passthrough",
    ),
    (
        http.HttpStream.handle_protocol_error,
        "self.client_state in (self.state_stream_request_body, self.state_done)",
        "a client that leaves within a CONNECT may be no KeyError any more: LimitedHttp1Server.wait",
    ),
]


@pytest.mark.parametrize(
    ("function", "fault", "mended"), FAULTS, ids=[function.__qualname__ for function, _, _ in FAULTS]
)
def test_a_fault_that_proxy_goes_around(function: Callable[..., Any], fault: str, mended: str) -> None:
    """When one of these fails, mitmproxy has mended it, and the message says what may go here."""
    assert fault in inspect.getsource(function), mended


def test_where_a_tunnel_begins() -> None:
    """ConnectStream has a `passthrough` of its own, which is put in place here."""
    assert "self._handle_event = self.passthrough" in inspect.getsource(http.HttpStream.handle_connect_finish)


def test_bodies_that_stream() -> None:
    """`Streaming` says so in the hooks for heads, and mitmproxy looks at it after them."""
    request = inspect.getsource(http.HttpStream.state_wait_for_request_headers)
    assert request.index("HttpRequestHeadersHook(") < request.index("self.flow.request.stream and not event.end_stream")
    response = inspect.getsource(http.HttpStream.state_wait_for_response_headers)
    assert response.index("HttpResponseHeadersHook(") < response.index("self.flow.response.stream and")
    assert "if self.flow.response:" in inspect.getsource(http.HttpStream.start_request_stream), (
        "why a 407 must not stream"
    )


def test_where_a_flow_cannot_be_connected() -> None:
    """ConnectStream answers this error for package hosts; Intake.unreachable leaves those alone that a rule has forbidden."""
    source = inspect.getsource(http.HttpStream.make_server_connection)
    assert "handle_protocol_error(" in source
    assert "ErrorCode.CONNECT_FAILED" in source
    assert 'f"Connection killed: {err}"' in inspect.getsource(server.ConnectionHandler.open_connection)
    # Why the answer closes the client's connection: the next request on it would get the same error without a dial.
    assert "self.context.server.error" in inspect.getsource(http.HttpLayer.get_connection)


def test_where_an_upstreams_layer_is_made() -> None:
    """`http1_client.limit_upstream` does the same as HttpClient, once more, before any request is sent."""
    source = inspect.getsource(http.HttpClient._handle_event)
    assert "self.child_layer = Http1Client(self.context)" in source
    assert "self._handle_event = self.child_layer.handle_event" in source
    assert source.rstrip().endswith("yield RegisterHttpConnection(self.context.server, err)")
    assert "RegisterHttpConnection" in inspect.getsource(http.HttpLayer.event_to_child)


def test_where_a_name_is_dialled() -> None:
    """`dial.PinnedDials`: the hook and the dial are in one task, and the dial goes by the event loop's `create_connection`."""
    source = inspect.getsource(server.ConnectionHandler.open_connection)
    steps = (
        "ServerConnectHook(",
        "asyncio.open_connection(",
        "ServerConnectedHook(",
        "OpenConnectionCompleted(command, None)",
    )
    places = [source.index(step) for step in steps]
    assert places == sorted(places), (
        "PypiCache.server_connect, the dial, PypiCache.server_connected, and then the layers"
    )
    errors = source.split("ServerConnectErrorHook(")[1:]
    assert len(errors) == 2, "PypiCache.server_connect_error is told of a refused and of a failed dial"
    assert all("OpenConnectionCompleted" in each for each in errors), "and before the layers are"
    assert "create_task(" not in source
    assert "loop.create_connection(" in inspect.getsource(asyncio.open_connection)


def test_context_and_connections() -> None:
    """What Intake, request_checks and Tunnels read and write of the context's two ends."""
    here = a_context()
    assert here.client.id != connection.Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 1)).id
    assert (here.client.peername[0], here.client.sockname[1]) == ("192.0.2.1", 8080)
    assert not here.client.tls_established
    for name in ("address", "via", "tls", "connected", "transport_protocol", "error"):
        assert hasattr(here.server, name), f"proxy/ uses Server.{name}"
    assert connection.Server(address=("192.0.2.3", 443), transport_protocol="tcp").address == ("192.0.2.3", 443)


def test_proxyauth() -> None:
    """`Authenticator.refusal`: the validator and the note of clients that a CONNECT has authenticated."""
    auth = proxyauth.ProxyAuth()
    assert auth.validator is None
    client = a_context().client
    assert client not in auth.authenticated
    auth.authenticated[client] = ("u", "p")
    assert client in auth.authenticated
    with taddons.context(auth) as running:
        running.configure(auth, proxyauth="u:p")
        assert auth.validator is not None
        assert (auth.validator("u", "p"), auth.validator("u", "x")) == (True, False)
    assert proxyauth.parse_http_basic_auth("Basic dTpw") == ("Basic", "u", "p")
    with pytest.raises(ValueError):
        proxyauth.parse_http_basic_auth("Bearer dTpw")


def test_the_order_of_addons() -> None:
    """Hooks are asked in this order: our script before NextLayer and TlsConfig (each of ours calls theirs), after ProxyAuth."""
    order = [type(addon) for addon in addons.default_addons()]
    ours = order.index(script.ScriptLoader)
    assert order.index(proxyauth.ProxyAuth) < ours, (
        "proxyauth must have answered a CONNECT before ConnectStream.handle_connect"
    )
    assert ours < order.index(next_layer.NextLayer), "PypiCache.next_layer would be asked after the layer is chosen"
    assert ours < order.index(tlsconfig.TlsConfig), "PypiCache.tls_start_server calls TlsConfig's first"


def test_names_by_which_addons_are_found() -> None:
    """`ctx.master.addons.get(…)`."""
    wanted = {
        "nextlayer": next_layer.NextLayer,
        "tlsconfig": tlsconfig.TlsConfig,
        "proxyauth": proxyauth.ProxyAuth,
        "proxyserver": proxyserver.Proxyserver,
    }
    with taddons.context(*(addon() for addon in wanted.values()), loadcore=False) as running:
        found = {name: type(running.master.addons.get(name)) for name in wanted}
        assert running.options.validate_inbound_headers is True, "FastPathStream reads it"
    assert found == wanted


def test_connections_of_the_proxyserver() -> None:
    """`pypi_cache_chunk` finds a client's handler by the client's id, and waits for it."""
    assert proxyserver.Proxyserver().connections == {}
    assert inspect.iscoroutinefunction(server.ConnectionHandler.drain_writers)
    source = inspect.getsource(proxyserver.Proxyserver.register_connection)
    assert "self.connections[connection_id] = handler" in source
    assert "_drain_lock" in inspect.getsource(server.ConnectionHandler.drain_writers), (
        "`taken` may cancel it: no lock is kept"
    )
    assert "client.id" in inspect.getsource(importlib.import_module("mitmproxy.proxy.mode_servers")), (
        "connections are no longer known by the client's id: PypiCache.pypi_cache_chunk"
    )


def test_options_that_wait() -> None:
    """What `--set` gives for an option that is not there yet is deferred, as a wrapped list; config.yaml's as it is."""
    manager = optmanager.OptManager()
    manager.set("pypi_cache_one=1", "pypi_cache_one=2", defer=True)
    manager.update_defer(pypi_cache_two=["x"])
    assert set(manager.deferred) == {"pypi_cache_one", "pypi_cache_two"}
    assert manager.deferred["pypi_cache_one"].val == ["1", "2"], "options.raw_values"
    assert manager.deferred["pypi_cache_two"] == ["x"]


def test_the_strategy_is_the_users() -> None:
    """`connection_strategy` stays `eager`: ConnectStream goes round it, so that tunnels to dead hosts are a 502."""
    with taddons.context(proxyserver.Proxyserver()) as running:
        assert running.options.connection_strategy == "eager"
        assert running.options.http2 is True, "http2=false in PypiCache.running would mean nothing"
