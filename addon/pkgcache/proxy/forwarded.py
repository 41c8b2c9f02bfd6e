"""Requests and responses of ordinary flows, changed to what a proxy passes on (RFC 9110 §7.6).

A flow has copies of them (`FastPathStream`): mitmproxy's connections frame a message, and know when they end, by what came.
"""

from __future__ import annotations

from http import HTTPStatus

from mitmproxy import http
from mitmproxy.net.http import http1

from pkgcache.rules.http.forwarding import end_to_end, forwards_left, options_of, unfolded, with_via

_SECRET = ("Authorization", "Cookie", "Proxy-Authorization")
_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}


def forward_request(request: http.Request, name: str) -> http.Response | None:
    """Make of a request what is sent on. `name` is this proxy's; returns the response where the request ends here."""
    data, fields = request.data, request.headers.fields
    if name in request.headers.get("Via", ""):
        return http.Response.make(
            HTTPStatus.LOOP_DETECTED, "this request has been through this proxy before\n", _HEADERS
        )
    upgrades = data.http_version == b"HTTP/1.1" and b"upgrade" in options_of(fields)
    left = forwards_left(data.method, fields)
    if left == 0:
        return _as_last(request)
    if left is not None:
        request.headers["Max-Forwards"] = str(left - 1)
    fields = end_to_end(request.headers.fields, upgrades=upgrades)
    request.headers.fields = with_via(fields, data.http_version, name.encode())
    if data.http_version == b"HTTP/1.0":  # RFC 9110 §2.5: a proxy says its own version
        data.http_version = b"HTTP/1.1"
    if data.path == b"*" and data.authority:  # a parent proxy has to be told the host
        data.path = b""
    return None


def _as_last(request: http.Request) -> http.Response:
    """RFC 9110 §7.6.2: answer as the one that the request was meant for."""
    if request.data.method == b"OPTIONS":
        return http.Response.make(HTTPStatus.OK, b"", {"Content-Length": "0"})
    shown = request.copy()  # §9.3.8: without what is secret
    for name in _SECRET:
        shown.headers.pop(name, None)
    return http.Response.make(HTTPStatus.OK, http1.assemble_request_head(shown), {"Content-Type": "message/http"})


def forward_response(response: http.Response, name: str) -> None:
    """Make of an upstream's response what is sent on to the client."""
    data = response.data
    upgrades = data.status_code in {HTTPStatus.SWITCHING_PROTOCOLS, HTTPStatus.UPGRADE_REQUIRED}
    fields = end_to_end(unfolded(response.headers.fields), upgrades=upgrades)
    response.headers.fields = with_via(fields, data.http_version, name.encode())
    data.http_version = b"HTTP/1.1"
