"""What mitmproxy would hand over, made by hand: a client's connection, its context, and a parsed request."""

from collections.abc import Mapping

from mitmproxy import http, options
from mitmproxy.connection import Client
from mitmproxy.proxy.context import Context

CLIENT_ADDRESS = ("192.0.2.1", 50000)


def make_client(sockname: tuple[str, int] = ("192.0.2.9", 8080), *, tls: bool = False) -> Client:
    """A client that is connected to `sockname`."""
    client = Client(peername=CLIENT_ADDRESS, sockname=sockname)
    if tls:
        client.timestamp_tls_setup = 1.0
    return client


def make_context(client: Client | None = None, server: tuple[str, int] | None = None) -> Context:
    """The context of one connection; `server` is the target of its CONNECT."""
    context = Context(client or make_client(), options.Options())
    context.server.address = server
    return context


def make_request(
    method: str = "GET",
    path: str = "/",
    *,
    url: str = "",
    host: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> http.Request:
    """A request in absolute form if `url` is given, else in origin form, as mitmproxy parses it. `host`: the Host header."""
    request = http.Request.make(method, url or f"http://unused.test{path}", headers=dict(headers or {}))
    if not url:
        request.data.host, request.data.port, request.data.scheme = "", 0, b""
    request.headers.pop("Host", None)
    if host is not None:
        request.headers["Host"] = host
    return request
