"""What a client has had by the time the proxy is told to stop is in the store when it is up again, and needs no upstream.

Another process holds the database's lock as the proxy is told, and one commit waits for it: what comes next has not even begun.
"""

import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import House
from tests.support.index import PLAIN_HTML_TYPE
from tests.support.names import INDEX_URL, file_url
from tests.support.waiting import PATIENCE, eventually
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, Wire

HELD_SECONDS = 0.7
BEFORE, SMALL = make_wheel("before"), make_wheel("small")
LARGE = make_wheel("large", payload_size=400_000)
ROOT = b"<!DOCTYPE html><html><head><title>Simple index</title></head><body><a href='small/'>small</a></body></html>"


@contextmanager
def locked(house: House) -> Iterator[None]:
    """The database is locked in here, and for a while after."""
    other = sqlite3.connect(house.proxy.store / "entries" / "cache.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    letting_go = threading.Timer(HELD_SECONDS, lambda: other.execute("ROLLBACK"))
    try:
        yield
    finally:
        letting_go.start()
        house.proxy.stop()
        letting_go.join()
        other.close()


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda house: house.fetch(file_url(SMALL)), id="small file"),
        pytest.param(lambda house: house.fetch(file_url(LARGE)), id="large file"),
        pytest.param(lambda house: house.fetch(file_url(LARGE), headers={"Range": "bytes=-1000"}), id="range"),
        pytest.param(lambda house: house.page("small"), id="page"),
        pytest.param(lambda house: house.fetch(INDEX_URL, headers={"Accept": "text/html"}), id="all projects"),
    ],
)
def test_what_a_client_has_had_is_kept(
    ask: Callable[[House], Fetched], make_proxy: MakeProxy, make_upstream: MakeUpstream
) -> None:
    """The commit was cancelled with its task: the next agent, with the mirror gone, had a 502 for what the last one had installed."""
    upstream = make_upstream(BEFORE, SMALL, LARGE)
    upstream.serve("/pypi/simple/", ROOT, PLAIN_HTML_TYPE)
    house = House(upstream, make_proxy(upstream))
    with locked(house):
        assert house.fetch(file_url(BEFORE)).complete
        first = ask(house)
        assert first.complete
    assert house.proxy.output.count("pypi-cache stops; requests under way: ") == 1
    upstream.down()
    house.proxy.start()
    again = ask(house)
    assert (again.status, again.body) == (first.status, first.body)
    assert (again.headers["Cache-Status"] or "").startswith("pypi-cache; hit")


# What is under way when the proxy is told to stop

UNDER_WAY = make_wheel("underway", payload_size=2_000_000)
SLOWLY = 100_000.0
"""Bytes a second: something always passes, and it would take 20 seconds."""


def started(house: House) -> Wire:
    """A connection on which a download has begun."""
    wire = Wire(house.proxy.port, file_url(UNDER_WAY), ca=house.proxy.ca, timeout=PATIENCE)
    wire.send(file_url(UNDER_WAY))
    assert wire.sock.recv(1000).startswith(b"HTTP/1.1 200")
    return wire


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionError:
        return True
    return False


def rest_of(wire: Wire) -> int:
    """How many bytes still come."""
    size = 0
    try:
        while data := wire.sock.recv(65536):
            size += len(data)
    except OSError:
        pass
    return size


def test_what_is_under_way_may_end(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """The port is closed at once, a connection that is open already gets 503 for what is new, and the download ends whole."""
    upstream = make_upstream(UNDER_WAY, SMALL)
    house = House(upstream, make_proxy(upstream, options={"pypi_cache_stop_wait": "1h"}))
    assert house.fetch(file_url(SMALL)).complete
    upstream.pace(SLOWLY)
    with started(house) as wire, Wire(house.proxy.port, file_url(SMALL), ca=house.proxy.ca) as other:
        assert other.request(file_url(SMALL)).status == 200
        assert house.proxy.process is not None
        house.proxy.process.send_signal(signal.SIGTERM)
        eventually(lambda: is_refused(house.proxy.port))
        assert house.proxy.alive
        refused = other.request(file_url(SMALL))
        assert (refused.status, refused.headers["Connection"]) == (503, "close")
        upstream.pace(None)
        assert rest_of(wire) > 1_900_000
    assert house.proxy.wait_for_exit() == 0
    assert "SIGTERM: pypi-cache stops; clients with something under way: " in house.proxy.output


@pytest.mark.parametrize("wait", ["0", "1"])
def test_it_ends_within_the_set_time(wait: str, make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """A client that is still waiting then is cut, and asks again elsewhere."""
    upstream = make_upstream(UNDER_WAY)
    upstream.pace(SLOWLY)
    house = House(upstream, make_proxy(upstream, options={"pypi_cache_stop_wait": wait}))
    with started(house) as wire:
        assert house.proxy.stop(signal.SIGTERM) == 0
        assert rest_of(wire) < 1_500_000


def test_an_idle_connection_is_not_waited_for(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    upstream = make_upstream(SMALL)
    house = House(upstream, make_proxy(upstream, options={"pypi_cache_stop_wait": "1h"}))
    with Wire(house.proxy.port, file_url(SMALL), ca=house.proxy.ca) as wire:
        assert wire.request(file_url(SMALL)).status == 200
        assert house.proxy.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_who_does_not_want_to_wait(second: signal.Signals, make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """A second signal ends it at once, as Ctrl-C alone does."""
    upstream = make_upstream(UNDER_WAY)
    upstream.pace(SLOWLY)
    house = House(upstream, make_proxy(upstream, options={"pypi_cache_stop_wait": "1h"}))
    with started(house) as wire:
        if second == signal.SIGTERM:
            assert house.proxy.process is not None
            house.proxy.process.send_signal(signal.SIGTERM)
            eventually(lambda: is_refused(house.proxy.port))
        assert house.proxy.stop(second) == 0
        assert rest_of(wire) < 1_500_000
