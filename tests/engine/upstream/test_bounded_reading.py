"""What an upstream may send before, as and behind an answer, and in which pieces it is worked on."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import StreamReader

from pkgcache.engine.upstream import bounded_reading
from pkgcache.engine.upstream.bounded_reading import MOST_HEAD, MOST_INTERIM, BoundedResponses, bound_reading

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
LONG_HINT = b"HTTP/1.1 103 Early Hints\r\nX: " + b"a" * 8000 + b"\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Transport(asyncio.Transport):
    """Says what was done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False
        self.paused = False

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default


def connected() -> tuple[BoundedResponses, Transport]:
    """A connection that waits for its answer."""
    transport = Transport()
    handler = BoundedResponses(asyncio.get_running_loop())
    handler.connection_made(transport)
    handler.set_response_params(auto_decompress=False, read_bufsize=512 * 1024)
    return handler, transport


async def answer(handler: BoundedResponses) -> tuple[int, StreamReader]:
    async with asyncio.timeout(10):
        head, payload = await handler.read()
    return head.code, payload


GOOD = {
    "nothing before it": ANSWER,
    "one interim response": CONTINUE + ANSWER,
    "early hints (RFC 8297)": EARLY + EARLY + ANSWER,
    "as many as may be": CONTINUE * MOST_INTERIM + ANSWER,
    "a blank line before it (RFC 9112 §2.2)": b"\r\n" + ANSWER,
    "a head of 12 kB": ANSWER.replace(
        b"\r\n\r\n", b"\r\nX-A: " + b"a" * 6000 + b"\r\nX-B: " + b"b" * 6000 + b"\r\n\r\n"
    ),
}


@pytest.mark.parametrize("sent", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_an_answer_is_read_in_pieces_of_any_size(sent: bytes, size: int) -> None:
    handler, transport = connected()
    for at in range(0, len(sent), size):
        handler.data_received(sent[at : at + size])
    status, payload = await answer(handler)
    assert (status, await payload.read(), transport.closing) == (200, b"hello", False)


BAD = {
    "one interim response too many": CONTINUE * (MOST_INTERIM + 1) + ANSWER,
    "interim responses without end": CONTINUE * 20_000,
    "each of another kind": (CONTINUE + EARLY + b"HTTP/1.1 102 Processing\r\n\r\n" + b"HTTP/1.1 199 X\r\n\r\n") * 5_000,
    "few and long ones": LONG_HINT * 20 + ANSWER,
    "blank lines": b"\r\n" * MOST_HEAD,
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X%d: %s\r\n" % (n, b"a" * 1000) for n in range(100)),
    "a line without end": b"HTTP/1.1 200 " + b"a" * 2 * MOST_HEAD,
    "header lines of nothing": b"HTTP/1.1 200 OK\r\n" + b"X:\r\n" * MOST_HEAD,
}


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD)
@pytest.mark.parametrize("size", [1000, 256 * 1024])
async def test_an_answer_that_does_not_begin_is_given_up(sent: bytes, size: int) -> None:
    handler, transport = connected()
    for at in range(0, len(sent), size):
        if transport.closing:
            break
        handler.data_received(sent[at : at + size])
    assert transport.closing
    with pytest.raises((aiohttp.ClientError, aiohttp.http.HttpProcessingError)):
        await answer(handler)


BEHIND = {
    "an answer": ANSWER,
    "many answers": EMPTY * 10_000,
    "an interim response": CONTINUE,
    "a head that is not complete": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("sent", BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("together", [True, False])
async def test_what_nobody_asked_for_ends_the_connection_and_not_the_answer(sent: bytes, *, together: bool) -> None:
    handler, transport = connected()
    for data in [ANSWER + sent] if together else [ANSWER, sent]:
        handler.data_received(data)
    assert transport.closing
    assert handler.should_close
    handler.connection_lost(None)
    status, payload = await answer(handler)
    assert (status, await payload.read()) == (200, b"hello")


async def test_each_request_on_a_connection_begins_to_count_anew() -> None:
    handler, transport = connected()
    for _ in range(5):
        handler.set_response_params(auto_decompress=False)
        handler.data_received(CONTINUE * MOST_INTERIM + ANSWER)
        _, payload = await answer(handler)
        assert await payload.read() == b"hello"
    assert not transport.closing


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    """By this clock each piece of work takes ten milliseconds."""
    clock = itertools.count()
    monkeypatch.setattr(bounded_reading.time, "thread_time", lambda: next(clock) * 0.01)


@pytest.mark.usefixtures("costly")
@pytest.mark.parametrize(
    "body",
    [b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n", b"%x\r\n" % 250_000 + b"a" * 250_000 + b"\r\n0\r\n\r\n"],
    ids=["chunks of one byte", "one chunk"],
)
async def test_costly_bytes_are_worked_on_in_turns(body: bytes) -> None:
    """Behind each piece there is a pause, in which nothing is read; all of it arrives, in order."""
    handler, transport = connected()
    handler.data_received(CHUNKED + body)
    assert transport.paused
    _, payload = await answer(handler)
    assert payload.total_bytes < 20_000
    async with asyncio.timeout(30):
        whole = await payload.read()
    assert whole in {b"a" * 50_000, b"a" * 250_000}
    assert not transport.closing


@pytest.mark.usefixtures("costly")
@pytest.mark.parametrize("end", [lambda handler: handler.eof_received(), lambda handler: handler.connection_lost(None)])
async def test_what_waits_when_the_connection_ends_counts(end: Callable[[ResponseHandler], None]) -> None:
    handler, _ = connected()
    handler.data_received(CHUNKED + b"1\r\na\r\n" * 5_000)
    handler.data_received(b"0\r\n\r\n")
    end(handler)
    _, payload = await answer(handler)
    assert await payload.read() == b"a" * 5_000


@pytest.mark.usefixtures("costly")
async def test_a_pause_outlasts_aiohttp_reading_on() -> None:
    handler, transport = connected()
    handler.data_received(CHUNKED + b"1\r\na\r\n" * 10_000)
    assert transport.paused
    handler.resume_reading()
    assert transport.paused


def test_names_of_aiohttp() -> None:
    """What the module leans on. If one is missing: look at what aiohttp does in its place."""
    for name in ("set_response_params", "data_received", "feed_data", "eof_received", "connection_lost", "force_close"):
        assert callable(getattr(ResponseHandler, name)), name
    assert callable(ResponseHandler.resume_reading)


async def test_the_connections_of_a_connector_are_bounded() -> None:
    connector = aiohttp.TCPConnector()
    bound_reading(connector)
    assert isinstance(connector._factory(), BoundedResponses)
    assert hasattr(BoundedResponses(asyncio.get_running_loop()), "_reading_paused")
    await connector.close()
