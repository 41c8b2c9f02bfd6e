"""What RFC 9110 and 9112 want of the head of every answer to a client: by us, by mitmproxy, by another script, by an origin."""

from __future__ import annotations

import time
from http import HTTPStatus

from mitmproxy import http
from mitmproxy.net.http import http1

from pkgcache.rules.http.dates import format_http_date
from pkgcache.rules.http.forwarding import options_of

_PLAIN_GET = http.Request.make("GET", "http://plain.test/")


def is_interim(response: http.Response) -> bool:
    """Whether the final response is still to come (RFC 9110 §15.2)."""
    return 100 <= response.status_code < 200 and response.status_code != HTTPStatus.SWITCHING_PROTOCOLS


def interim_head(request: http.Request, response: http.Response) -> bytes:
    """Return the bytes of an interim response; none for HTTP/1.0, which knows no such thing."""
    return b"" if request.data.http_version == b"HTTP/1.0" else http1.assemble_response_head(response)


def is_switch(request: http.Request, response: http.Response) -> bool:
    """Whether the connection belongs to another protocol from here on."""
    connected = request.data.method == b"CONNECT" and 200 <= response.status_code < 300
    return connected or response.status_code == HTTPStatus.SWITCHING_PROTOCOLS


def has_no_body(request: http.Request, response: http.Response) -> bool:
    """Whether no body may follow (RFC 9112 §6.3): the client would read it as its next answer."""
    return request.data.method == b"HEAD" or response.status_code in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


def complete(request: http.Request, response: http.Response, *, closes: bool) -> None:
    """Add what is missing to a final response: `Date` (RFC 9110 §6.6.1), framing that the client understands, and `Connection`.

    `closes`: this is the last answer on the connection, whatever the two messages say.
    """
    if is_switch(request, response):
        return
    is_old = request.data.http_version == b"HTTP/1.0"
    headers = response.headers
    names = {name.lower() for name, _ in headers.fields}
    if b"date" not in names:
        headers.fields = (*headers.fields, (b"Date", format_http_date(time.time()).encode()))
    if b"transfer-encoding" in names and (is_old or response.status_code in {204, 304}):  # RFC 9112 §6.1
        del headers["Transfer-Encoding"]
        names.discard(b"transfer-encoding")
    if response.status_code == HTTPStatus.NO_CONTENT:  # RFC 9110 §8.6
        headers.pop("Content-Length", None)
    chunked = b"transfer-encoding" in names and "chunked" in headers["Transfer-Encoding"].lower()
    asked, told = options_of(request.headers.fields), options_of(headers.fields)
    closes = closes or b"close" in asked | told or (is_old and b"keep-alive" not in asked)
    closes = closes or not (chunked or b"content-length" in names or has_no_body(request, response))
    if closes and b"close" not in told:  # RFC 9112 §9.6
        headers["Connection"] = "close"
    elif is_old and not closes:
        headers["Connection"] = "keep-alive"


def head_for_get(response: http.Response) -> bytes:
    """Return the bytes of the head of an answer to a GET that says nothing of its connection."""
    complete(_PLAIN_GET, response, closes=False)
    return bytes(http1.assemble_response_head(response))
