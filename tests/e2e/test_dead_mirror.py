"""An upstream that does not answer: 503 with `Retry-After` while it may be back in a moment, and 504 at once when it is dead.

pip tries a 502 and a 503 again for 8 s or longer, and a 504 not at all. With a dead mirror pip-compile took 628 s, where it took 55 s
without one; but a mirror's restart must not fail a new agent. By the rule of tests/rules/policy/test_circuit_breaker.py, on each way that
a request can take. The proxy's clock for that rule is a file here, so that nothing waits.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from pkgcache.rules.policy.circuit_breaker import OPEN_SECONDS
from tests.support import names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.house import House
from tests.support.peers import Peer, read_head
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_sdist, make_wheel
from tests.support.wire import Fetched

CLOCK: Final = """
import types
from pathlib import Path
from pkgcache.engine.upstream import breakers

breakers.time = types.SimpleNamespace(monotonic=lambda: float(Path({path!r}).read_text()))
"""

WHEEL, SDIST = make_wheel("cold"), make_sdist("cold")
STALE = make_wheel("stale")
INDEX: Final = names.INDEX_URL
POETRY: Final = {"User-Agent": "poetry/2.2.1"}

# What is asked, by its way through the proxy: (method, URL, headers). {corp} is an index whose upstream is its own host.
WAYS: Final[dict[str, tuple[str, str, dict[str, str]]]] = {
    "page": ("GET", names.page_url("cold"), {}),
    "page, HEAD": ("HEAD", names.page_url("cold"), {}),
    "page, own address": ("GET", "/pypi/simple/cold/", {}),
    "page, corp": ("GET", "{corp}/simple/cold/", {}),
    "page, no-cache": ("GET", names.page_url("cold"), {"Cache-Control": "no-cache"}),
    "page, credentials": ("GET", "{corp}/simple/cold/", {"Authorization": "Basic dTpw"}),
    "document": ("GET", INDEX.replace("/simple/", "/pypi/cold/1.0/json"), {}),
    "document for poetry": ("GET", INDEX.replace("/simple/", "/pypi/cold/1.0/json"), POETRY),
    "list of projects": ("GET", INDEX, {}),
    "file": ("GET", names.file_url(SDIST), {}),
    "file, HEAD": ("HEAD", names.file_url(SDIST), {}),
    "file, range": ("GET", names.file_url(SDIST), {"Range": "bytes=-10"}),
    "file, own address": ("GET", f"/pypi/{SDIST.quoted_path}", {}),
    "metadata": ("GET", names.file_url(WHEEL, ".metadata"), {}),
    "ordinary flow": ("GET", "{corp}/pypi/cold/json", {}),
    "ordinary flow, HEAD": ("HEAD", "{corp}/pypi/cold/json", {}),
    "ordinary flow, POST": ("POST", "{corp}/legacy/", {}),
    "ordinary flow, a cookie": ("GET", "{corp}/simple/", {"Cookie": "a=b"}),
}


@dataclass(frozen=True, slots=True)
class Scene:
    house: House
    clock: Path

    def pass_seconds(self, seconds: float) -> None:
        self.clock.write_text(str(float(self.clock.read_text()) + seconds))

    def ask(self, way: str) -> Fetched:
        method, url, headers = WAYS[way]
        url = url.format(corp=f"{self.house.upstream.origin}/corp")
        return self.house.fetch(url, method=method, headers=headers)

    def may_be_back(self, way: str) -> None:
        """The answer tells the client to come again."""
        answer = self.ask(way)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "3"), (way, answer)
        self.is_told(way, answer)

    def is_dead(self, way: str, *, unasked: bool = True) -> None:
        """The answer is none that pip tries again. `unasked`: it tells when the mirror is asked again."""
        answer = self.ask(way)
        assert (answer.status, answer.headers["Retry-After"]) == (504, None), (way, answer)
        self.is_told(way, answer)
        if unasked and WAYS[way][0] != "HEAD":
            assert b"it is asked again in" in answer.body, (way, answer.body)

    def is_told(self, way: str, answer: Fetched) -> None:
        assert answer.headers["Cache-Control"] == "no-store"
        if WAYS[way][0] == "HEAD":
            assert answer.body == b""
        else:
            assert str(self.house.upstream.port).encode() in answer.body, (way, answer.body)


@pytest.fixture
def scene(ca: Authority, tmp_path: Path) -> Iterator[Scene]:
    clock, script = tmp_path / "clock", tmp_path / "clock.py"
    clock.write_text("1000.0")
    script.write_text(CLOCK.format(path=str(clock)))
    with Upstream(ca) as upstream:
        upstream.add(WHEEL, SDIST, STALE)
        upstream.serve("/corp/pypi/cold/json", b"{}", "application/json")
        options = {
            "pypi_cache_index": [f"pypi={upstream.index_url}", f"corp={upstream.origin}/corp/simple/"],
            "pypi_cache_index_ttl": "0",
            "pypi_cache_stale_while_revalidate": "0",
        }
        with Proxy(tmp_path / "proxy", options=options, upstream_ca=ca.bundle, args=["-s", str(script)]) as proxy:
            yield Scene(House(upstream, proxy), clock)
        assert not proxy.complaints, proxy.output


def test_on_every_way(scene: Scene) -> None:
    upstream = scene.house.upstream
    for way in ("page", "file", "ordinary flow"):
        scene.house.page("stale")
        upstream.down()
        for _ in range(2):  # more than open the breaker
            scene.may_be_back(way)
        upstream.up()
        assert scene.ask(way).status == 200, f"{way}: it was but a restart"
    scene.house.proxy.restart()  # with the page and the file in no memory
    upstream.down()
    cold = [way for way in WAYS if way not in {"page", "page, HEAD", "page, own address", "page, no-cache"}]
    cold = [way for way in cold if not way.startswith("file")]
    for way in cold:
        scene.may_be_back(way)
    scene.pass_seconds(OPEN_SECONDS)
    scene.is_dead("metadata", unasked=False)  # the probe
    for way in cold:
        scene.is_dead(way)
    for _ in range(2):  # what is stored is given, at once too
        assert scene.house.page("stale").status == scene.ask("page").status == scene.ask("file").status == 200
    upstream.up()
    upstream.clear()
    for way in cold:
        scene.is_dead(way)
    assert upstream.count() == 0
    scene.pass_seconds(OPEN_SECONDS)
    for way in WAYS:
        assert scene.ask(way).status in {200, 206, 401, 404, 405}, way


@pytest.mark.parametrize("probe", ["page", "file", "file, range", "list of projects", "ordinary flow"])
def test_a_probe_of_any_kind(probe: str, scene: Scene) -> None:
    """Whichever request is the probe, it decides for all."""
    upstream = scene.house.upstream
    upstream.down()
    for _ in range(2):
        scene.may_be_back(probe)
    scene.pass_seconds(OPEN_SECONDS)
    scene.is_dead(probe, unasked=False)
    for way in WAYS:
        scene.is_dead(way)
    upstream.up()
    scene.pass_seconds(OPEN_SECONDS)
    assert scene.ask(probe).status in {200, 206}
    assert scene.ask("document for poetry").status == 200, "it is alive for all others, too"


def test_another_host_is_another_matter(scene: Scene) -> None:
    """mitmproxy's own 502, as ever, for hosts that have no packages."""
    upstream = scene.house.upstream
    upstream.down()
    for _ in range(3):
        scene.ask("page")
        scene.pass_seconds(OPEN_SECONDS)
    with Upstream(None) as other:
        origin = other.origin
        other.serve("/x", b"x", "text/plain")
        other.down()
        assert scene.house.fetch(f"{origin}/x").status in {403, 502}


BROKEN_HEADS: Final = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "no HTTP": b"banana\r\n\r\n",
    "a bad status": b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
    "a bad length": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: two\r\n\r\nab",
    "a bad field": b"HTTP/1.1 200 OK\r\nA\0b: c\r\nContent-Length: 0\r\n\r\n",
    "too long": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 200_000 + b"\r\n\r\n",
    "a body cut short": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 20\r\n\r\nab",
}


def test_one_page_that_is_broken(scene: Scene) -> None:
    """A mirror that sends no valid HTTP for one project has answered: it is not dead to the others, as it was."""
    for number, (kind, raw) in enumerate(BROKEN_HEADS.items()):
        scene.house.upstream.script(Behaviour("/simple/broken/", raw=raw))
        for _ in range(3):
            assert scene.house.fetch("/pypi/simple/broken/").status == 502, kind
            scene.pass_seconds(OPEN_SECONDS)
        other = make_wheel(f"other-{number}")
        scene.house.upstream.add(other)
        scene.pass_seconds(-OPEN_SECONDS)  # as soon as the last one has failed
        assert scene.house.fetch(f"/pypi/simple/{other.project}/").status == 200, kind
        scene.house.upstream.unscript()


@pytest.mark.parametrize("says", [b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", b"banana\r\n\r\n"])
def test_a_parent_proxy_that_cannot_reach_it(says: bytes, tmp_path: Path) -> None:
    """What the parent proxy says of a mirror is no answer of the mirror's."""
    clock, script = tmp_path / "clock", tmp_path / "clock.py"
    clock.write_text("1000.0")
    script.write_text(CLOCK.format(path=str(clock)))
    options = {"pypi_cache_index": "pypi=https://mirror.test/simple/"}

    def refuse(client: socket.socket) -> None:
        read_head(client)
        client.sendall(says)

    with Peer(refuse) as parent:
        env = {"HTTPS_PROXY": f"http://{parent.authority}"}
        with Proxy(tmp_path / "proxy", options=options, env=env, args=["-s", str(script)]) as proxy:
            for _ in range(2):
                assert proxy.get("/pypi/simple/any/").status == 502
            clock.write_text(str(1000 + OPEN_SECONDS))
            proxy.get("/pypi/simple/any/")  # the probe
            assert proxy.get("/pypi/simple/any/").status == 504
