"""Where a request is meant to go, and what is wrong with it: the checks that need nothing but the request and its connection.

The target of the CONNECT, or of an absolute-form request, decides which host is meant, because mitmproxy connects there and the
cache keys are made of it. A `Host` that names another host is refused (421), so that no agent can fill an index's page from a
different host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode
from multidict import CIMultiDictProxy

from pkgcache.engine.responses.messages import Request, Response
from pkgcache.proxy.addresses import canonical_address
from pkgcache.rules.http.request_head import is_host
from pkgcache.rules.http.request_limits import too_long
from pkgcache.rules.policy.gate import CACHED_METHODS
from pkgcache.rules.routing.package_hosts import Address
from pkgcache.rules.routing.urls import DEFAULT_PORTS, Url, parse_authority, parse_url

CLOSING = "the proxy is starting or stopping; retry"
FAILED = "pypi-cache failed; its log says why"

MAX_HOST = 260
"""Longest Host header that is parsed: 255 octets of name (RFC 1035 §2.3.4), and a port."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Scheme and address that a request is meant for; `at_proxy`: it is for the proxy's own pages and indexes."""

    scheme: str
    address: Address
    at_proxy: bool


def destination(context: Context, mode: HTTPMode, request: http.Request, public: Url | None) -> Destination | None:
    """Return where a request is meant to go; None where mitmproxy knows no address (a misconfigured transparent mode)."""
    client = context.client
    scheme = "https" if client.tls_established else "http"
    if mode is HTTPMode.transparent:  # within a CONNECT; also mitmproxy's reverse and transparent proxy modes
        server = context.server.address
        return Destination(scheme, canonical_address((server[0], server[1])), at_proxy=False) if server else None
    if not request.host:  # origin-form on a connection without CONNECT: always for the proxy, whatever Host says
        if public is not None:
            return Destination(public.scheme, (public.host, public.port), at_proxy=True)
        own = _named_by(request, scheme) or (client.sockname[0], client.sockname[1])
        return Destination(scheme, own, at_proxy=True)
    address = canonical_address((request.host, request.port))
    at_proxy = is_proxy_address(address, client, public)
    return Destination(request.scheme, address, at_proxy or _is_below(public, address, request.path))


def destination_url(request: http.Request) -> Url:
    """Return the URL that an ordinary flow's request goes to, without its query."""
    host, port = canonical_address((request.host, request.port))
    return Url(request.scheme, host, port, request.path.partition("?")[0] or "/", "")


def is_proxy_address(address: Address, client: Client, public: Url | None) -> bool:
    """Whether an address is the proxy itself: that of its public URL, or the one that the client connected to.

    Where the public URL has a path, others may be at that address too.
    """
    if public is not None and public.path == "/" and address == (public.host, public.port):
        return True
    host, port = client.sockname[0], client.sockname[1]
    return address[1] == port and (address[0] == host or (address[0] == "localhost" and host in {"127.0.0.1", "::1"}))


def public_place(public_url: str) -> Url | None:
    """Return the URL in `pypi_cache_public_url`, or None where the option is empty."""
    return parse_url(public_url) if public_url else None


def _is_below(public: Url | None, address: Address, path: str) -> bool:
    """Whether a path is within that of the proxy's public URL, and the address is the URL's."""
    return (
        public is not None and address == (public.host, public.port) and path.startswith(f"{public.path.rstrip('/')}/")
    )


def request_of(
    client: Client,
    request: http.Request,
    target: Destination,
    headers: CIMultiDictProxy[str],
    inner_path: Callable[[str], str] = str,
) -> Request:
    """Return the request as the engine takes it, with these headers. `inner_path`: of a path at the proxy's own address."""
    path, _, query = request.path.partition("?")
    path = inner_path(path) if target.at_proxy else path
    return Request(
        method=request.method,
        url=Url(target.scheme, *target.address, path if path.startswith("/") else "/", query),
        headers=headers,
        at_proxy_address=target.at_proxy,
        client=str(client.peername[0]),
    )


def why_refused(
    mode: HTTPMode, request: http.Request, target: Destination, *, ends: bool, changes: bool = False
) -> Response | None:
    """Return the refusal of a malformed request for a package host or for the proxy itself; None if nothing is wrong with it.

    `ends`: the head is the whole request, as it is for every GET that a package client sends. `changes`: what it asks for is a change, by
    an operator.
    """
    if target.at_proxy and request.method not in CACHED_METHODS and not changes:
        refusal = Response.text(405, f"{request.method}: this address answers GET and HEAD only")
        refusal.headers["Allow"] = "GET, HEAD"  # RFC 9110 §15.5.6
        return refusal
    if request.method in CACHED_METHODS and not ends:
        return Response.text(400, f"a {request.method} request must not have a body")
    return _misdirected(request, target) if mode is HTTPMode.transparent else None


def why_connect_refused(request: http.Request) -> str:
    """Return what is wrong with a CONNECT; empty if nothing is. What follows its head is the tunnel's, so it has no body (RFC 9110 §9.3.6).

    mitmproxy would wait for the body, and then hand it to layers that expect none.
    """
    length = request.headers.get("Content-Length", "0").strip()
    if "Transfer-Encoding" in request.headers or length.strip("0"):
        return "a CONNECT request must not have a body"
    return ""


def why_too_long(asked: Request) -> Response | None:
    """Return the refusal of a request of which so much would have to be taken apart that others had to wait; else None."""
    excess = too_long(asked.url.path, list(asked.headers.items()))
    return Response.text(excess.status, excess.text) if excess else None


def drop_upgrade(request: http.Request) -> None:
    """Take out the offer to change the protocol (RFC 9110 §7.8), but for WebSocket, whose frames mitmproxy reads.

    After `101 Switching Protocols` to h2c everything is passed on unread, so any page could be asked for.
    """
    if request.headers.get("Upgrade", "websocket").strip().lower() != "websocket":
        del request.headers["Upgrade"]


def unavailable() -> Response:
    """503: the proxy is stopping, or starts again with other options. The client's next connection finds the new state."""
    refusal = Response.text(503, CLOSING)
    refusal.headers["Retry-After"] = "1"
    refusal.headers["Connection"] = "close"
    return refusal


def _misdirected(request: http.Request, target: Destination) -> Response | None:
    """RFC 9110 §7.2 and §7.4: reject a Host that disagrees with the connection's target."""
    if not request.host_header:
        return None
    named = _named_by(request, target.scheme)
    if named is None:
        return Response.text(400, f"the Host header names no host: {request.host_header!r}")
    if named != target.address:
        host, port = target.address
        return Response.text(421, f"the Host header is {request.host_header!r}, but the connection is to {host}:{port}")
    return None


def _named_by(request: http.Request, scheme: str) -> Address | None:
    """Return the address in the Host header, or None where the header is missing or malformed."""
    host = request.host_header or ""
    if len(host) > MAX_HOST or not is_host(
        host.encode(errors="replace")
    ):  # it is written into /env.sh, which a shell evaluates
        return None
    try:
        return canonical_address(parse_authority(host, DEFAULT_PORTS[scheme]))
    except ValueError:
        return None
