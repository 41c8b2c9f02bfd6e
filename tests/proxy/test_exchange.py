"""An exchange's end, and a response as mitmproxy sends it."""

import asyncio

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses.messages import Chunk, Request, Response
from pkgcache.proxy.exchange import Exchange, rendered
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.routing.urls import parse_url
from tests.proxy.connections import make_client, make_request

VIA = "1.1 pypi-cache-test"


class OneBody:
    """A streamed body that notes how often it is closed."""

    exhausted = False
    closed = 0

    def read_now(self) -> Chunk:
        return b""

    async def read(self) -> Chunk:
        return b"x"

    def close(self) -> None:
        self.closed += 1


def make_exchange(
    finished: list[Exchange] | None = None, *, http_version: str = "HTTP/1.1", method: str = "GET"
) -> Exchange:
    source = make_request(host="index.test")
    source.http_version = http_version
    asked = Request(
        method=method, url=parse_url("https://index.test/simple/six/"), headers=CIMultiDictProxy(CIMultiDict())
    )
    seen: list[Exchange] = [] if finished is None else finished
    return Exchange(request=asked, route=None, source=source, client=make_client(), finished=seen.append)


@pytest.mark.parametrize(
    ("status", "headers", "body", "version", "expected"),
    [
        (200, {"Content-Length": "2"}, b"ok", "HTTP/1.1", {"Content-Length": "2"}),
        (200, {"Content-Length": "9"}, b"", "HTTP/1.1", {"Content-Length": "9"}),  # HEAD
        (404, {}, b"", "HTTP/1.1", {"Content-Length": "0"}),
        (304, {}, b"", "HTTP/1.1", {}),  # RFC 9110 §8.6: 0 would be the length of the 200
        (204, {}, b"", "HTTP/1.1", {}),
        (
            200,
            {"Transfer-Encoding": "chunked", "Content-Length": "2"},
            b"ok",
            "HTTP/1.1",
            {"Transfer-Encoding": "chunked"},
        ),
    ],
)
def test_the_length_of_a_body(
    status: int, headers: dict[str, str], body: bytes, version: str, expected: dict[str, str]
) -> None:
    response = Response(status=status, headers=CIMultiDict(headers), body=body)
    sent = rendered(make_exchange(http_version=version), response, VIA)
    framing = {"Content-Length", "Transfer-Encoding", "Connection"}
    assert {name: value for name, value in sent.headers.items() if name in framing} == expected


def test_what_every_response_carries() -> None:
    response = Response.text(504, "offline", detail="offline")
    sent = rendered(make_exchange(), response, VIA)
    assert (sent.status_code, sent.reason) == (504, "Gateway Time-out")
    assert sent.headers["Via"] == VIA
    assert sent.headers["Cache-Status"] == str(response.cache)
    assert sent.raw_content is None, "the stream sends the body"


@pytest.mark.parametrize("status", [200, 400, 403, 404, 503])
def test_the_response_to_a_head_has_no_body(status: int) -> None:
    """A refusal is made before anybody looks at the method; its text would be read as the next response."""
    response = Response.text(status, "refused")
    length = response.headers["Content-Length"]
    sent = rendered(make_exchange(method="HEAD"), response, VIA)
    assert (response.body, sent.headers["Content-Length"]) == (b"", length)


def test_a_streamed_body_is_closed_for_a_head() -> None:
    body = OneBody()
    response = Response(status=200, headers=CIMultiDict(), body=body)
    rendered(make_exchange(method="HEAD"), response, VIA)
    assert (response.body, body.closed) == (b"", 1)


def test_a_header_that_is_no_latin_1() -> None:
    response = Response(status=200, headers=CIMultiDict({"X-Name": "snow☃"}), body=b"ok")
    assert rendered(make_exchange(), response, VIA).headers.fields[0] == (b"X-Name", b"snow?")


@pytest.mark.parametrize("control", ["\r\nX-Evil: yes", "\0", "\x7f", "\x0b"])
def test_a_header_has_no_control_character(control: str) -> None:
    """RFC 9110 §5.5: a space in its place; a tab may stay."""
    response = Response(status=200, headers=CIMultiDict({"X-Name": f"a\t{control}b"}), body=b"ok")
    sent = rendered(make_exchange(), response, VIA).headers
    assert "X-Evil" not in sent
    assert sent["X-Name"] == "a\t" + "".join(" " if c < " " or c == "\x7f" else c for c in control) + "b"


@pytest.mark.parametrize(
    ("passes", "needs_upstream", "body", "hit", "left"),
    [
        (False, False, None, False, False),
        (False, True, None, False, True),
        (True, False, None, False, True),  # what is passed on needs its origin
        (False, True, b"ok", False, False),  # it is about to be sent
        (False, False, OneBody(), True, False),  # from the store
        (False, True, OneBody(), False, True),  # from a download
    ],
)
def test_a_half_close(passes: bool, needs_upstream: bool, body: bytes | OneBody | None, hit: bool, left: bool) -> None:
    exchange = make_exchange()
    exchange.passes = passes
    if needs_upstream:
        exchange.wait_for_upstream()
    if body is not None:
        exchange.response = Response(status=200, headers=CIMultiDict(), body=body, cache=CacheStatus(hit=hit))
    assert exchange.half_close() is left


def test_an_upstream_is_needed_after_a_half_close() -> None:
    """Then the client counts as left at once, and the upstream is not asked on its behalf."""
    finished: list[Exchange] = []
    exchange = make_exchange(finished)
    assert not exchange.half_close()
    exchange.wait_for_upstream()
    exchange.wait_for_upstream()
    assert finished == [exchange]
    assert exchange.gone


def test_an_exchange_ends_once() -> None:
    finished: list[Exchange] = []
    body = OneBody()
    exchange = make_exchange(finished)
    exchange.response = Response(status=200, headers=CIMultiDict(), body=body)
    exchange.leave()
    exchange.close()
    assert finished == [exchange]
    assert body.closed == 1
    assert (exchange.closed, exchange.gone, exchange.cut) == (True, True, "the client left")


def test_the_first_reason_for_a_cut_stays() -> None:
    exchange = make_exchange()
    exchange.cut = "the digest is wrong"
    exchange.leave()
    assert exchange.cut == "the digest is wrong"


def test_the_request_as_a_flow_shows_it() -> None:
    exchange = make_exchange()
    shown = exchange.flow_request()
    assert (shown.scheme, shown.host, shown.port) == ("https", "index.test", 443)
    assert exchange.source.host == ""


async def test_a_client_that_leaves_while_its_answer_is_awaited() -> None:
    """What waits on its behalf ends, so that nothing looks wanted any more."""
    exchange = make_exchange()
    exchange.answering = asyncio.create_task(asyncio.sleep(60))
    exchange.leave()
    with pytest.raises(asyncio.CancelledError):
        await exchange.answering
