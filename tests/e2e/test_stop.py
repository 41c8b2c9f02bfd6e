"""What a client has had by the time the proxy is told to stop is in the store when it is up again, and needs no upstream.

Another process holds the database's lock as the proxy is told, and one commit waits for it: what comes next has not even begun.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import House
from tests.support.index import PLAIN_HTML_TYPE
from tests.support.names import INDEX_URL, file_url
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched

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
    upstream.down()
    house.proxy.start()
    again = ask(house)
    assert (again.status, again.body) == (first.status, first.body)
    assert (again.headers["Cache-Status"] or "").startswith("pypi-cache; hit")
