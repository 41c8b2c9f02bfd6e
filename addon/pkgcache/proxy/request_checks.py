"""proxy/request_checks.py."""

from __future__ import annotations

import re

from mitmproxy import http
from mitmproxy.proxy.layers.http import HTTPMode

from pkgcache.engine.responses.messages import Response
from pkgcache.rules.routing.routes import Address
from pkgcache.rules.routing.urls import parse_authority

MAX_HOST = 260  # RFC 1035 §2.3.4: 255 octets, and a port


_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9.])?)(?::[0-9]{1,5})?")


def canonical_address(address: tuple[str, int]) -> Address:
    """A (host, port) as hosts are known by: lower-cased and without a trailing dot.

    >>> canonical_address(("Files.Example.", 443))
    ('files.example', 443)
    """
    return address[0].lower().rstrip("."), address[1]


def _public_address(public_url: str) -> Address | None:
    if not public_url:
        return None
    scheme, _, authority = public_url.partition("://")
    return parse_authority(authority, 443 if scheme == "https" else 80)


def _named_by(request: http.Request, scheme: str) -> Address | None:
    """The address that the Host header names, if it is a host's name or address by its syntax."""
    host = request.host_header or ""
    if len(host) > MAX_HOST or not _HOST.fullmatch(host):
        return None
    try:
        return parse_authority(host, 443 if scheme == "https" else 80)
    except ValueError:
        return None


def why_refused(
    mode: HTTPMode, request: http.Request, address: Address, scheme: str, *, own: bool, ends: bool
) -> Response | None:
    """What is wrong with a request for a package host or the proxy itself; None if nothing is."""
    if request.method not in {"GET", "HEAD"}:
        refusal = Response.text(405, f"{request.method}: this address answers GET and HEAD")
        refusal.headers["Allow"] = "GET, HEAD"  # RFC 9110 §15.5.6
        return refusal
    if not ends:
        return Response.text(400, f"a {request.method} with a body makes no sense here")
    if own or mode is not HTTPMode.transparent or not request.host_header:
        return None
    # RFC 9110 §7.2, §7.4: the CONNECT's target is the key, and Host must not say otherwise.
    named = _named_by(request, scheme)
    if named is None:
        return Response.text(400, f"the Host header is no host: {request.host_header!r}")
    if named != address:
        return Response.text(
            421, f"the Host header says {request.host_header!r}, and the connection is to {address[0]}:{address[1]}"
        )
    return None
