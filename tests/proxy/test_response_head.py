"""The heads of answers as clients get them, each row with its section."""

import pytest
from mitmproxy import http

from pkgcache.proxy.response_head import complete, has_no_body, interim_head, is_interim
from tests.proxy.connections import make_request

DATE = "Date: then|"


def message_with(response: http.Response, headers: str) -> http.Response:
    """The response with headers from `Name: value` lines separated by `|`."""
    pairs = [line.partition(": ") for line in headers.split("|") if line]
    response.headers.fields = tuple((name.encode(), value.encode()) for name, _, value in pairs)
    return response


@pytest.mark.parametrize(
    ("request_line", "asked", "status", "headers", "expected"),
    [
        # RFC 9112 §9.3 and §9.6
        ("GET HTTP/1.1", "", 200, "Content-Length: 2", "Content-Length: 2"),
        ("GET HTTP/1.1", "close", 200, "Content-Length: 2", "Content-Length: 2|Connection: close"),
        ("GET HTTP/1.1", "CLOSE", 404, "Content-Length: 2", "Content-Length: 2|Connection: close"),
        ("GET HTTP/1.1", "x, Close", 200, "Content-Length: 2", "Content-Length: 2|Connection: close"),
        ("GET HTTP/1.1", "keep-alive", 200, "Content-Length: 2", "Content-Length: 2"),
        ("GET HTTP/1.1", "", 503, "Content-Length: 2|Connection: close", "Content-Length: 2|Connection: close"),
        ("GET HTTP/1.0", "", 200, "Content-Length: 2", "Content-Length: 2|Connection: close"),
        ("GET HTTP/1.0", "Keep-Alive", 200, "Content-Length: 2", "Content-Length: 2|Connection: keep-alive"),
        ("GET HTTP/1.0", "close, keep-alive", 200, "Content-Length: 2", "Content-Length: 2|Connection: close"),
        (
            "GET HTTP/1.0",
            "keep-alive",
            503,
            "Content-Length: 2|Connection: close",
            "Content-Length: 2|Connection: close",
        ),
        # RFC 9112 §6.1: no transfer coding for HTTP/1.0; §6.3: the end of the connection is the end of the body
        ("GET HTTP/1.1", "", 200, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("GET HTTP/1.0", "", 200, "Transfer-Encoding: chunked", "Connection: close"),
        ("GET HTTP/1.0", "keep-alive", 200, "Transfer-Encoding: chunked", "Connection: close"),
        ("HEAD HTTP/1.0", "keep-alive", 200, "Transfer-Encoding: chunked", "Connection: keep-alive"),
        ("GET HTTP/1.1", "", 200, "", "Connection: close"),
        ("GET HTTP/1.1", "", 200, "Transfer-Encoding: gzip", "Transfer-Encoding: gzip|Connection: close"),
        # RFC 9110 §8.6, §15.3.5, §15.4.5
        ("GET HTTP/1.1", "", 204, "", ""),
        ("GET HTTP/1.1", "", 204, "Content-Length: 0", ""),
        ("GET HTTP/1.1", "", 204, "Transfer-Encoding: chunked", ""),
        ("GET HTTP/1.1", "", 304, "Content-Length: 9", "Content-Length: 9"),
        ("GET HTTP/1.1", "", 304, "Transfer-Encoding: chunked", ""),
        ("HEAD HTTP/1.1", "", 200, "Content-Length: 9", "Content-Length: 9"),
        ("HEAD HTTP/1.1", "", 404, "", ""),
        # RFC 9110 §9.3.6 and §15.2.2: the connection is another protocol's from here on
        ("CONNECT HTTP/1.1", "close", 200, "", ""),
        ("CONNECT HTTP/1.1", "", 403, "Content-Length: 2", "Content-Length: 2"),
        ("GET HTTP/1.1", "upgrade", 101, "Connection: upgrade|Upgrade: x", "Connection: upgrade|Upgrade: x"),
    ],
)
def test_the_end_of_a_message(request_line: str, asked: str, status: int, headers: str, expected: str) -> None:
    method, _, version = request_line.partition(" ")
    request = make_request(method, headers={"Connection": asked} if asked else {})
    request.http_version = version
    response = message_with(http.Response.make(status), DATE + headers)
    complete(request, response, closes=False)
    shown = "|".join(f"{name.decode()}: {value.decode()}" for name, value in response.headers.fields)
    assert shown.removeprefix("Date: then").removeprefix("|") == expected


def test_the_last_answer_on_a_connection() -> None:
    response = message_with(http.Response.make(200), DATE + "Content-Length: 2")
    complete(make_request(), response, closes=True)
    assert response.headers["Connection"] == "close"


@pytest.mark.parametrize("status", [200, 304, 400, 404, 502])
def test_a_date(status: int) -> None:
    """RFC 9110 §6.6.1: an origin server with a clock sends one with 2xx, 3xx and 4xx; a recipient adds it where it is missing."""
    response = message_with(http.Response.make(status), "Content-Length: 2")
    complete(make_request(), response, closes=False)
    assert response.headers["Date"].endswith(" GMT")


def test_an_origins_date_stays() -> None:
    response = message_with(http.Response.make(200), "date: then|Content-Length: 2")
    complete(make_request(), response, closes=False)
    assert response.headers.get_all("Date") == ["then"]


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        ("HEAD", 200, True),
        ("HEAD", 502, True),
        ("GET", 204, True),
        ("GET", 304, True),
        ("GET", 200, False),
        ("POST", 205, False),
    ],
)
def test_no_body(method: str, status: int, expected: bool) -> None:
    """RFC 9112 §6.3, rule 1."""
    assert has_no_body(make_request(method), http.Response.make(status)) is expected


@pytest.mark.parametrize(("status", "expected"), [(100, True), (102, True), (103, True), (101, False), (200, False)])
def test_an_interim_response(status: int, expected: bool) -> None:
    """RFC 9110 §15.2; 101 is final, as what follows is no HTTP."""
    assert is_interim(http.Response.make(status)) is expected


def test_an_old_client_gets_no_interim_response() -> None:
    """RFC 9110 §15.2: "MUST NOT send a 1xx response to an HTTP/1.0 client"."""
    response = message_with(http.Response.make(103), "Link: </a>")
    request = make_request()
    assert interim_head(request, response).startswith(b"HTTP/1.1 103 ")
    request.http_version = "HTTP/1.0"
    assert interim_head(request, response) == b""
