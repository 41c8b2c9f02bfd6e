"""Connections to upstreams are limited by host, pages and files apart: whoever drips holds up nobody else, and is blamed for nothing.

The proxy here has four places of each kind at a host, three for one client, and a queue of five; the defaults are tested with the rules.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.house import leftovers
from tests.support.limits import script_with
from tests.support.names import file_url, page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched, Wire, fetch

HOST, CLIENT, QUEUE = 4, 3, 5


@dataclass(frozen=True, slots=True)
class Town:
    """A proxy with an index `pypi` that behaves well, and an index `drip` that sends a few bytes of what it is told to, and waits."""

    proxy: Proxy
    well: Upstream
    drip: Upstream

    def page(self, project: str, index: str = "drip") -> str:
        return f"{self.proxy.url}/{index}/simple/{project}/"

    def file(self, release: ReleaseFile) -> str:
        return f"{self.proxy.url}/drip/files/https/localhost:{self.drip.port}{self.drip.prefix}/{release.quoted_path}"

    def get(self, url: str, **headers: str) -> Fetched:
        via = "own" if url.startswith(self.proxy.url) else "connect"
        return fetch(self.proxy.port, url, via=via, ca=self.proxy.ca, headers=headers)  # type: ignore[arg-type]

    def published(self, name: str, count: int, *, at: Upstream | None = None) -> list[ReleaseFile]:
        wheels = [make_wheel(f"{name}-{number}", payload_size=200_000, seed=number) for number in range(count)]
        (at or self.drip).add(*wheels)
        return wheels

    @contextmanager
    def dripping(self, match: str, urls: list[str]) -> Iterator[tuple[list[Wire], threading.Event]]:
        """Clients that ask for these of what `match` names, which stops after 10 bytes until the event is set (at the end at latest)."""
        gate = threading.Event()
        self.drip.script(Behaviour(match, stall_after=10, gate=gate))
        began = self.drip.count()
        with ExitStack() as stack:
            stack.callback(gate.set)
            wires = []
            for url in urls:
                wires.append(stack.enter_context(Wire(self.proxy.port, url, via="own")))
                wires[-1].send(url)
            self.drip.wait_for(began + min(CLIENT, len(urls)))
            yield wires, gate
        self.drip.unscript()

    def trouble(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.proxy.get("/healthz").body)["trouble"]
        return found


@contextmanager
def built(folder: Path, ca: Authority, **limits: object) -> Iterator[Town]:
    named = {name.replace("__", "."): value for name, value in limits.items()}
    script = script_with(
        folder,
        {
            "engine.upstream.places.PlaceLimits": f"lambda: PlaceLimits(host={HOST}, client={CLIENT}, queue={QUEUE})",
            "engine.upstream.places.PLACE_SECONDS": 0.5,
            "engine.responses.relay.SLOW_SECONDS": 0.1,
            **named,
        },
    )
    with Upstream(ca) as well, Upstream(ca) as drip:
        options = {"pypi_cache_index": [f"pypi={well.index_url}", f"drip={drip.index_url}"]}
        with Proxy(folder / "proxy", options=options, upstream_ca=ca.bundle, script=script) as proxy:
            yield Town(proxy, well, drip)
        assert not proxy.complaints, f"{proxy.complaints}\n{proxy.output}"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Town]:
    with built(tmp_path_factory.mktemp("places"), ca) as town:
        yield town


@pytest.fixture
def patient_town(tmp_path: Path, ca: Authority) -> Iterator[Town]:
    """Another one, where requests wait for places as long as it takes: slow readers give theirs up when a busy machine lets them."""
    with built(tmp_path, ca, engine__upstream__places__PLACE_SECONDS=60.0) as town:
        yield town


@pytest.fixture
def strict_town(tmp_path: Path, ca: Authority) -> Iterator[Town]:
    """Another one, whose clients must take something every second: not for the readers above, who wait on purpose."""
    with built(tmp_path, ca, proxy__client_connections__TAKE_SECONDS=1.0) as town:
        yield town


def test_files_that_drip(town: Town) -> None:
    """Neither another index nor this one's pages wait for them; who finds no place is told to come again, and in the end all is right."""
    wheels, (other,) = town.published("files", CLIENT + QUEUE), town.published("well", 1, at=town.well)
    (beyond,) = town.published("beyond", 1)
    with town.dripping(r"\.whl", [town.file(wheel) for wheel in wheels]) as (wires, gate):
        for url in (page_url(other.project), file_url(other), town.page(wheels[0].project)):
            assert town.get(url).status == 200
        answer = town.get(town.file(beyond))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), answer.body
        assert f"{CLIENT} connections to it are all in use, and {QUEUE} requests wait".encode() in answer.body
        assert answer.headers["Cache-Status"] == "pypi-cache; detail=busy"
        assert town.drip.count(path_contains="/packages/") == CLIENT
        assert town.trouble() == {}
        gate.set()
        for wire, wheel in zip(wires, wheels, strict=True):
            got = wire.receive()
            assert (got.status, got.complete, got.sha256) == (200, True, wheel.sha256)
    assert town.get(town.file(beyond)).sha256 == beyond.sha256
    assert town.drip.peak <= HOST


def test_a_range_where_files_drip(town: Town) -> None:
    """It is no download that clients can share, so it waits for a short time only."""
    *wheels, last = town.published("range", CLIENT + 1)
    with town.dripping(r"\.whl", [town.file(wheel) for wheel in wheels]):
        for headers in ({"Range": "bytes=-20"}, {"Range": "bytes=10-19"}):
            answer = town.get(town.file(last), **headers)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), answer.body
    assert town.get(town.file(last), Range="bytes=10-19").status == 206


def test_a_slow_client_holds_no_connection(patient_town: Town) -> None:
    """Ranges that are not read give their places to whoever waits, and go on where they stopped."""
    town = patient_town
    big = make_wheel("slow-reader", payload_size=32_000_000, seed=99)
    (other,) = town.published("beside", 1)
    town.drip.add(big)
    url, headers = town.file(big), {"Range": "bytes=1000-15000999"}
    with ExitStack() as stack:
        readers = [stack.enter_context(Wire(town.proxy.port, url, via="own", receive_buffer=4096)) for _ in range(HOST)]
        for reader in readers:
            reader.send(url, headers=headers)
        town.drip.wait_for(HOST, path_contains="slow_reader")
        answer = town.get(town.file(other))
        assert (answer.status, answer.sha256) == (200, other.sha256), answer.body
        whole = big.content[1000:15001000]
        for reader in readers:
            got = reader.receive()
            assert (got.status, got.complete, got.body == whole) == (206, True, True), got.error
    asked = town.drip.seen(path_contains="slow_reader")
    assert len(asked) > HOST
    assert sum(each.bytes_sent for each in asked) < 2 * HOST * len(whole)


def test_pages_that_drip(town: Town) -> None:
    """Files of the same index are fetched, a stale page is served, and for want of one the client is told to come again."""
    wheels, (other,) = town.published("pages", CLIENT), town.published("well-page", 1, at=town.well)
    stale, cold = town.published("stale", 2)
    assert town.get(town.page(stale.project)).status == 200
    with town.dripping("/simple/", [town.page(wheel.project) for wheel in wheels]):
        assert town.get(page_url(other.project)).status == 200
        assert town.get(town.file(wheels[0])).status == 200
        answer = town.get(town.page(cold.project))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), answer.body
        renewed = town.get(town.page(stale.project), **{"Cache-Control": "no-cache"})
        assert renewed.status == 200
        assert "detail=stale-if-error" in (renewed.headers["Cache-Status"] or "")
        assert town.trouble() == {}, "it was not asked, so it has not failed"
    assert town.get(town.page(cold.project)).status == 200


def test_what_nobody_waits_for_gives_way(town: Town) -> None:
    """Downloads whose clients have left hold all places: one that a client waits for gets the first of them at once."""
    wheels, (wanted,) = town.published("left", HOST + QUEUE), town.published("wanted", 1)
    lines = len(
        town.proxy.access_log()
    )  # before any of them: the last finds the queue full, and may be answered at once
    with town.dripping("/packages/.*left", [town.file(wheel) for wheel in wheels]) as (wires, _):
        for wire in wires:
            wire.close()
        town.proxy.access_log(at_least=lines + len(wires))  # the proxy has seen them leave
        town.drip.wait_for(HOST, path_contains="/left_")  # and lets one more go on for nobody: all places are taken
        answer = town.get(town.file(wanted))
        assert (answer.status, answer.sha256) == (200, wanted.sha256), answer.body
        assert "stopped for another download" in town.proxy.output
        assert town.get(town.file(wheels[0]), Range="bytes=0-9").status in {206, 503}
    assert not leftovers(town.proxy.store)
    assert town.trouble() == {}


def test_a_client_that_reads_nothing_is_cut(strict_town: Town) -> None:
    """Of a stored file and of one on its way; what it holds is free then, and the download is finished for nobody."""
    town = strict_town
    stored = make_wheel("stalled", payload_size=16_000_000, seed=98)
    town.drip.add(stored)
    url = town.file(stored)
    with ExitStack() as stack:
        for _ in range(2):
            lines = len(town.proxy.access_log())
            reader = stack.enter_context(Wire(town.proxy.port, url, via="own", receive_buffer=4096))
            reader.send(url)
            # Somebody who reads is served meanwhile.
            assert town.get(url).sha256 == stored.sha256
            cut = [line for line in town.proxy.access_log(at_least=lines + 2, timeout=20) if "cut" in line]
            assert cut[-1]["cut"] == "the client has read nothing for too long"
            assert cut[-1]["seconds"] >= 1
