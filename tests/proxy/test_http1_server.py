"""LimitedHttp1Server without a network: events in, commands out, and a clock that the test moves."""

from collections.abc import Iterator
from typing import Final

import pytest
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import _events
from mitmproxy.proxy.layers.http._base import ReceiveHttp

from pkgcache.proxy import http1_server
from pkgcache.proxy.connection_limits import BODY_SECONDS, HEAD_SECONDS, LINGER_SECONDS, MAX_HEAD, MAX_LINE
from pkgcache.proxy.http1_server import LimitedHttp1Server, PypiCacheDrainHook, PypiCacheHalfCloseHook
from tests.proxy.connections import make_context

GET: Final = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST: Final = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n"


class Served:
    """A server that is fed by hand; each request is answered at its end, or by `answer`."""

    def __init__(self) -> None:
        self.context = make_context()
        self.context.client.state = ConnectionState.OPEN
        self.server = LimitedHttp1Server(self.context)
        self.sent = b""
        self.timers: list[commands.RequestWakeup] = []
        self.received: list[events.Event] = []
        self.drains: list[PypiCacheDrainHook] = []
        self.has_left = False  # what is decided of a client that closes its sending side
        self.closed = False
        self.answers = True
        self._run(self.server.handle_event(events.Start()))

    def feed(self, data: bytes) -> None:
        self._run(self.server.handle_event(events.DataReceived(self.context.client, data)))

    def half_close(self) -> None:
        self.context.client.state = ConnectionState.CAN_WRITE
        self._run(self.server.handle_event(events.ConnectionClosed(self.context.client)))

    def wake(self, timer: commands.RequestWakeup) -> None:
        self.timers.remove(timer)
        self._run(self.server.handle_event(events.Wakeup(timer)))

    def turn(self) -> None:
        """One turn of the event loop: timers of no delay, then the waits for the client that they begin."""
        for timer in [timer for timer in self.timers if not timer.delay]:
            self.wake(timer)
        while self.drains:
            self._run(self.server.handle_event(events.HookCompleted(self.drains.pop())))

    def answer(self) -> None:
        stream = self.server.stream_id
        response = http.Response.make(200, b"", {"Content-Length": "0"})
        self._run(self.server.handle_event(_events.ResponseHeaders(stream, response, True)))
        self._run(self.server.handle_event(_events.ResponseEndOfMessage(stream)))

    def _run(self, generator: Iterator[commands.Command]) -> None:
        for command in generator:
            if isinstance(command, commands.SendData):
                self.sent += command.data
            elif isinstance(command, commands.RequestWakeup):
                self.timers.append(command)
            elif isinstance(command, PypiCacheDrainHook):
                self.drains.append(command)
            elif isinstance(command, PypiCacheHalfCloseHook):
                command.half_close.has_left = self.has_left
                self._run(self.server.handle_event(events.HookCompleted(command)))
            elif isinstance(command, (commands.CloseConnection, commands.CloseTcpConnection)):
                self.closed = True
            elif isinstance(command, ReceiveHttp):
                self.received.append(command.event)
                if self.answers and isinstance(command.event, _events.RequestEndOfMessage):
                    self.answer()


class Clock:
    """In the place of the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(http1_server, "time", clock)
    return clock


def test_a_whole_request_sets_no_timer() -> None:
    served = Served()
    served.feed(GET)
    assert served.sent.startswith(b"HTTP/1.1 200 ")
    assert not served.timers
    assert not served.server.is_busy


def test_empty_lines_are_counted_until_a_request() -> None:
    """RFC 9112 §2.2 has them skipped; a client that sends nothing else is refused."""
    served = Served()
    for _ in range(3):
        served.feed(b"\r\n" * (MAX_HEAD // 2) + GET)
        served.turn()
    assert served.sent.count(b"HTTP/1.1 200 ") == 3
    served.feed(b"\n" * MAX_HEAD)
    assert not served.closed
    served.feed(b"\r")
    assert served.sent.count(b"HTTP/1.1 431 ") == 1
    assert served.closed


@pytest.mark.parametrize(
    ("begin", "seconds"),
    [
        (b"G", HEAD_SECONDS),
        (GET[:-1], HEAD_SECONDS),
        (b"\r\n\r\nG", HEAD_SECONDS),
        (POST, BODY_SECONDS),
        (POST + b"1234", BODY_SECONDS),
        (POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"5\r\n12", BODY_SECONDS),
    ],
    ids=repr,
)
def test_what_does_not_come_in_time(begin: bytes, seconds: float, clock: Clock) -> None:
    served = Served()
    served.feed(begin)
    assert [timer.delay for timer in served.timers] == [seconds]
    clock.now += seconds
    served.wake(served.timers[0])
    assert served.sent.startswith(b"HTTP/1.1 408 ")
    assert served.closed
    assert [timer.delay for timer in served.timers] == [LINGER_SECONDS]


def test_a_head_that_drips_has_no_more_time(clock: Clock) -> None:
    served = Served()
    for byte in GET[:-1]:
        served.feed(bytes((byte,)))
        clock.now += HEAD_SECONDS / len(GET)
    assert len(served.timers) == 1
    clock.now = 1000 + HEAD_SECONDS
    served.wake(served.timers[0])
    assert served.sent.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_comes_slowly_has_more_time(clock: Clock) -> None:
    served = Served()
    served.feed(POST)
    for byte in b"1234":
        clock.now += BODY_SECONDS - 1
        served.feed(bytes((byte,)))
        for timer in tuple(served.timers):
            served.wake(timer)
    assert not served.sent
    served.feed(b"5")
    assert served.sent.startswith(b"HTTP/1.1 200 ")
    clock.now += 2 * BODY_SECONDS
    for timer in tuple(served.timers):
        served.wake(timer)
    assert not served.closed
    assert not served.timers


def test_a_timer_of_a_finished_head_does_nothing(clock: Clock) -> None:
    served = Served()
    served.feed(GET[:5])
    served.feed(GET[5:])
    clock.now += HEAD_SECONDS
    served.wake(served.timers[0])
    assert not served.closed
    assert not served.timers


def test_a_timer_that_was_set_for_an_earlier_head(clock: Clock) -> None:
    """The second head has its own time, though the first one's timer is still running."""
    served = Served()
    served.feed(GET[:5])
    served.feed(GET[5:])
    clock.now += HEAD_SECONDS - 1
    served.feed(GET[:5])
    clock.now += 1
    served.wake(served.timers[0])
    assert not served.closed
    assert [timer.delay for timer in served.timers] == [HEAD_SECONDS - 1]


def test_requests_sent_ahead_wait_for_their_turn() -> None:
    """One in each turn, and only when the client has taken the answers before."""
    served = Served()
    served.feed(GET * 300)
    assert served.sent.count(b"HTTP/1.1 200 ") == 1
    assert served.server.is_busy
    served.wake(served.timers[0])
    assert served.sent.count(b"HTTP/1.1 200 ") == 1, "the client is waited for"
    for number in range(2, 301):
        served.turn()
        assert served.sent.count(b"HTTP/1.1 200 ") == number
    assert not served.timers
    assert not served.server.is_busy


def test_bytes_that_come_while_a_request_waits_for_its_turn() -> None:
    served = Served()
    served.feed(GET + GET[:10])
    served.feed(GET[10:] + GET)
    assert served.sent.count(b"HTTP/1.1 200 ") == 1
    served.turn()
    served.turn()
    assert served.sent.count(b"HTTP/1.1 200 ") == 3


def test_the_next_head_is_measured_from_its_own_beginning() -> None:
    served = Served()
    served.feed(
        b"GET / HTTP/1.1\r\nHost: a.test\r\nA: "
        + b"a" * 6000
        + b"\r\n\r\n"
        + b"GET / HTTP/1.1\r\nHost: a.test\r\nA: "
        + b"a" * 6000
    )
    served.turn()
    served.feed(b"\r\n\r\n")
    assert served.sent.count(b"HTTP/1.1 200 ") == 2
    served.feed(b"GET /" + b"a" * MAX_LINE)
    assert b"HTTP/1.1 414 " in served.sent


def test_empty_lines_are_taken_at_once() -> None:
    served = Served()
    served.feed(b"\r\n" * 30000 + GET)
    served.feed(b"\n" * 60000)
    assert served.sent.count(b"HTTP/1.1 200 ") == 1
    assert not served.server.buf


def test_what_comes_after_a_refusal_is_dropped() -> None:
    served = Served()
    served.feed(b"a" * (MAX_LINE + 1))
    assert served.sent.startswith(b"HTTP/1.1 414 ")
    before = served.sent
    for _ in range(10):
        served.feed(GET * 1000)
    assert served.sent == before
    assert not served.server.buf
    assert not served.received


def test_a_body_is_refused_to_its_stream_too(clock: Clock) -> None:
    served = Served()
    served.feed(POST)
    clock.now += BODY_SECONDS
    served.wake(served.timers[0])
    assert isinstance(served.received[-1], _events.RequestProtocolError)


def test_trailers_are_dropped() -> None:
    served = Served()
    served.feed(
        POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\nA: b\r\n\r\n" + GET
    )
    served.turn()
    assert served.sent.count(b"HTTP/1.1 200 ") == 2


# A client that closes its sending side


def test_a_half_close_before_the_answer() -> None:
    """It is answered, and the connection is closed then: nothing more can come."""
    served = Served()
    served.answers = False
    served.feed(GET)
    served.half_close()
    assert not served.closed
    served.answer()
    assert served.sent.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in served.sent
    assert served.closed


def test_a_half_close_of_a_client_that_counts_as_left() -> None:
    served = Served()
    served.answers, served.has_left = False, True
    served.feed(GET)
    served.half_close()
    assert served.closed
    assert isinstance(served.received[-1], _events.RequestProtocolError)


def test_a_half_close_behind_requests_sent_ahead() -> None:
    """Each of them is answered, and the last answer says `close`."""
    served = Served()
    served.feed(GET * 3)
    served.half_close()
    served.turn()
    assert not served.closed
    served.turn()
    assert served.sent.count(b"HTTP/1.1 200 ") == 3
    assert served.closed


def test_a_half_close_behind_a_part_of_a_head() -> None:
    served = Served()
    served.feed(GET + GET[:10])
    served.half_close()
    served.turn()
    assert served.sent.count(b"HTTP/1.1 200 ") == 1
    assert served.closed


def test_a_half_close_of_a_connect() -> None:
    """The stream hears of it once there is a tunnel: what was sent ahead first, then the end."""
    served = Served()
    served.answers = False
    served.feed(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\nahead")
    served.half_close()
    assert not served.closed
    stream = served.server.stream_id
    served._run(served.server.handle_event(_events.ResponseHeaders(stream, http.Response.make(200), True)))
    served._run(served.server.handle_event(_events.ResponseEndOfMessage(stream)))
    assert served.received[-2:] == [_events.RequestData(stream, b"ahead"), _events.RequestEndOfMessage(stream)]


@pytest.mark.parametrize(
    "request_",
    [b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD /", b"HEAD " + b"a" * MAX_LINE, b"HEAD /\xff", b"HEAD / HTTP/1.1\r\nA\r\n\r\n"],
)
def test_a_refusal_of_a_head_has_no_body(request_: bytes, clock: Clock) -> None:
    """RFC 9110 §9.3.2, whether the head is complete or not."""
    served = Served()
    served.feed(request_)
    if not served.sent:
        clock.now += HEAD_SECONDS
        served.wake(served.timers[0])
    assert served.sent.startswith(b"HTTP/1.1 4")
    assert served.sent.endswith(b"\r\n\r\n")
