"""SIGKILL in the middle of a fill, at random instants: the next start finds a whole entry or none, and no leftover.

100 instants: `python -m tests.bench.kills`; 200, of two processes on one store: `python -m tests.bench.siblings`.
"""

import json
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.bench.mixture import publish
from tests.bench.siblings import Pair, Seen, look
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.names import file_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel
from tests.support.wire import fetch

SIZE: Final = 1_500_000
PACE: Final = 3e6
SPAN: Final = 0.75
"""Seconds after the request within which the kill comes: a fill takes half a second, and then comes the commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """What one kill did."""

    instant: float
    fetched: int
    """Bytes that the upstream had sent by then."""
    committed: bool
    """The file needed no upstream after the restart."""


def kill_and_ask_again(proxy: Proxy, upstream: Upstream, number: int, instant: float) -> Killed:
    """One fill, killed so many seconds after it was asked for; AssertionError unless all is well afterwards."""
    release = make_wheel(f"killed-{number}", payload_size=SIZE, seed=number)
    upstream.add(release)
    upstream.script(Behaviour(f"/killed_{number}-", pace=PACE, times=1))
    url = file_url(release)

    def ask() -> None:
        with suppress(OSError):
            fetch(proxy.port, url, ca=proxy.ca, keep=False)

    client = threading.Thread(target=ask)
    client.start()
    upstream.wait_for(1, path_contains=release.filename)
    time.sleep(instant)
    proxy.kill()
    client.join()
    fetched = upstream.bytes_sent(path_contains=release.filename)
    proxy.start()
    left = {path.suffix for path in (proxy.store / "growing").iterdir()}
    waits = left == {".part", ".json"} and fetched == release.size  # verified, and not yet committed
    assert waits or not left, f"left over after the start: {left}"
    asked = upstream.count(method="GET", path_contains=release.filename)
    answer = fetch(proxy.port, url, ca=proxy.ca)
    assert (answer.status, answer.complete, answer.sha256) == (200, True, release.sha256)
    committed = "; hit" in answer.headers["Cache-Status"]
    asked_again = upstream.count(method="GET", path_contains=release.filename) - asked
    assert asked_again == (0 if committed or waits else 1)
    assert not committed or fetched == release.size, "a hit, and the file had not come"
    return Killed(instant=instant, fetched=fetched, committed=committed or waits)


@pytest.mark.parametrize("size", [1_000, 3_000_000], ids=["held back", "announced"])
def test_killed_before_the_commit(size: int, ca: Authority, tmp_path: Path) -> None:
    """A client has all of a file, and the store is busy: the file outlives the process, though the upstream does not."""
    release = make_wheel("waiting", payload_size=size)
    with Upstream(ca) as upstream:
        upstream.add(release)
        options = {"pypi_cache_index": [f"pypi={upstream.index_url}"]}
        with Proxy(tmp_path / "proxy", options=options, upstream_ca=ca.bundle) as proxy:
            database = proxy.store / "entries" / "cache.db"
            with closing(sqlite3.connect(database, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
                assert (answer.status, answer.sha256) == (200, release.sha256)
                proxy.kill()
            assert [each.name for each in (proxy.store / "growing").glob("*.part")]
            proxy.start()
            upstream.down()
            for outcome in ("fwd=", "; hit"):
                answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
                assert (answer.status, answer.sha256) == (200, release.sha256)
                assert outcome in answer.headers["Cache-Status"]
                upstream.wait_until(lambda: not list((proxy.store / "growing").iterdir()))


def assert_nothing_is_orphaned(proxy: Proxy) -> None:
    """Every file of the store belongs to an entry: as many files as /healthz knows entries, and all of them whole."""
    figures = json.loads(proxy.get("/healthz").body)["store"]
    files = list((proxy.store / "entries").rglob("*.val"))
    assert len(files) <= figures["entries"], (files, figures)
    assert not [path for path in files if path.stat().st_size != make_wheel("killed-0", payload_size=SIZE).size]


def instants(count: int) -> Iterator[float]:
    source = random.Random(9)
    for _ in range(count):
        yield source.uniform(0, SPAN)


@pytest.mark.slow
def test_killed_in_mid_fill(ca: Authority, tmp_path: Path) -> None:
    with Upstream(ca) as upstream:
        options = {"pypi_cache_index": [f"pypi={upstream.index_url}"]}
        with Proxy(tmp_path / "proxy", options=options, upstream_ca=ca.bundle) as proxy:
            for number, instant in enumerate(instants(6)):
                kill_and_ask_again(proxy, upstream, number, instant)
            assert not proxy.complaints, proxy.output


@pytest.mark.slow
def test_killed_beside_a_sibling(ca: Authority, tmp_path: Path) -> None:
    """Whoever asks the other process gets right answers all the while, and nothing that is stored is wrong after any kill."""
    with Upstream(ca) as upstream, ExitStack() as stack:
        releases = publish(upstream, tmp_path / "wheels", 20_000_000, 1_000, 2_000_000)
        shared = tmp_path / "store"
        options = {"pypi_cache_index": [f"pypi={upstream.index_url}"], "pypi_cache_dir": str(shared)}
        options |= {"pypi_cache_max_size": "8m", "pypi_cache_min_free": "0"}
        one, two = (
            stack.enter_context(Proxy(tmp_path / name, options=options, upstream_ca=ca.bundle))
            for name in ("one", "two")
        )
        seen = Seen()
        with Pair((one, two), releases, seen) as pair:
            for number, instant in enumerate(instants(4)):
                time.sleep(instant)
                pair.kill(number % 2)
                look(shared, seen, number)
                pair.revive(number % 2)
        assert not seen.wrong
        assert not seen.broken
        assert seen.looked_at > 10
        assert pair.tally.requests["whole file"] > 10
        assert not one.complaints, one.output
        assert not two.complaints, two.output
