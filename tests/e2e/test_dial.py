"""The address that was checked is the address that is dialled: for tunnels, for ordinary requests, and for what mitmproxy opens.

A name server that answers with an innocent address first and with loopback next (DNS rebinding) must not get anybody to a service on
the proxy's machine. The innocent one here is of the prefix whose packets are discarded (RFC 6666).
"""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.peers import Peer, looked_up, resolving, web
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wire import Wire, fetch

NOWHERE = "100::1"
REBINDS = {f"rebinds-{number}.example": (NOWHERE, "127.0.0.1") for number in range(6)}
TWO = "two.example"
"""A host with two addresses, of which the first is dead."""


class Scene:
    """A proxy with a scripted resolver, a secret on its machine, and an ordinary web server that it may reach."""

    def __init__(self, folder: Path, proxy: Proxy, secret: Peer, site: Upstream) -> None:
        self.names = folder / "names"
        self.proxy = proxy
        self.secret = secret
        self.site = site


@pytest.fixture(scope="module")
def make_scene(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Callable[..., Scene]]:
    with Peer(web(b"secret")) as secret, Upstream(None) as site, Upstream(ca, names=[TWO]) as secure:
        scenes: dict[str, Scene] = {}

        def make(other_hosts: str) -> Scene:
            if other_hosts not in scenes:
                folder = tmp_path_factory.mktemp(f"dial-{other_hosts}")
                local = [f"{TWO}:{site.port}", f"{TWO}:{secure.port}", f"localhost:{site.port}"]
                proxy = Proxy(
                    folder / "proxy",
                    options={"pypi_cache_other_hosts": other_hosts, "pypi_cache_local_hosts": local},
                    upstream_ca=ca.bundle,
                    env=resolving(folder / "names", {**REBINDS, TWO: "127.0.0.2 127.0.0.1"}),
                )
                scenes[other_hosts] = Scene(folder, proxy, secret, secure if other_hosts == "intercept" else site)
            return scenes[other_hosts]

        site.serve("/hello", b"hello", "text/plain")
        secure.serve("/hello", b"hello", "text/plain")
        yield make
        for scene in scenes.values():
            scene.proxy.close()
            assert not scene.proxy.complaints, scene.proxy.output
        assert secret.accepted == 0, "a rebinding name has led to a service on the proxy's machine"


def test_rebinding_by_plain_requests(make_scene: Callable[..., Scene]) -> None:
    """The check looked at one address, and mitmproxy then resolved the name once more: `secret` came back with 200."""
    scene = make_scene("tunnel")
    url = f"http://rebinds-0.example:{scene.secret.port}/secret"
    answers = [fetch(scene.proxy.port, url, via="absolute") for _ in range(2)]
    answers += [
        fetch(
            scene.proxy.port, f"http://rebinds-1.example:{scene.secret.port}/", via="absolute", method=method, body=b"x"
        )
        for method in ("POST", "PUT")
    ]
    assert {answer.status for answer in answers} == {502}
    assert scene.secret.accepted == 0
    assert looked_up(scene.names, "rebinds-0.example") == 2, "once for each dial"


def test_rebinding_by_a_tunnel(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene("tunnel")
    for expected in (502, 403):  # an address where nobody is, then loopback
        refusal = Wire(scene.proxy.port, f"http://rebinds-2.example:{scene.secret.port}/").refusal
        assert refusal is not None
        assert refusal.status == expected
    assert scene.secret.accepted == 0


def test_rebinding_where_mitmproxy_intercepts(make_scene: Callable[..., Scene]) -> None:
    """Its own CONNECT, which connects at once, and the requests inside."""
    scene = make_scene("intercept")
    for name in ("rebinds-3.example", "rebinds-4.example"):
        url = f"http://{name}:{scene.secret.port}/secret"
        with Wire(scene.proxy.port, url) as wire:
            status = wire.refusal.status if wire.refusal else wire.request(url).status
            assert status == 502
    assert scene.secret.accepted == 0


def test_ten_requests_on_one_connection(make_scene: Callable[..., Scene]) -> None:
    """The connection is known by the host's name, so it is used again; mitmproxy allows five at a time, and the sixth hung."""
    scene = make_scene("tunnel")
    before, url = scene.site.accepted, f"http://{TWO}:{scene.site.port}/hello"
    with Wire(scene.proxy.port, url, via="absolute", timeout=10) as wire:
        for number in range(10):
            method = "POST" if number % 3 == 2 else "GET"
            answer = wire.request(url, method=method, body=b"x" * number if method == "POST" else b"")
            assert answer.status in {200, 405}, answer
    assert scene.site.accepted == before + 1
    assert {request.headers["host"] for request in scene.site.requests} == {f"{TWO}:{scene.site.port}"}


def test_the_other_address_of_a_host(make_scene: Callable[..., Scene]) -> None:
    """The first is dead: the second is dialled, by tunnels and by ordinary requests."""
    scene = make_scene("tunnel")
    url = f"http://{TWO}:{scene.site.port}/hello"
    assert fetch(scene.proxy.port, url, via="absolute").body == b"hello"
    assert fetch(scene.proxy.port, url).body == b"hello"


def test_the_name_stays_for_tls(make_scene: Callable[..., Scene], ca: Authority) -> None:
    """SNI and the certificate's name are the host's, on the address that was dialled."""
    scene = make_scene("intercept")
    url = f"https://{TWO}:{scene.site.port}/hello"
    with Wire(scene.proxy.port, url, ca=scene.proxy.ca) as wire:
        assert [wire.request(url).body for _ in range(10)] == [b"hello"] * 10
        assert isinstance(wire.sock, ssl.SSLSocket)


def test_after_a_dial_names_resolve_as_ever(make_scene: Callable[..., Scene]) -> None:
    """What was pinned for one dial is not dialled by the next, on the same client connection."""
    scene = make_scene("tunnel")
    urls = [f"http://{host}:{scene.site.port}/hello" for host in (TWO, "localhost", TWO, "rebinds-5.example")]
    with Wire(scene.proxy.port, urls[0], via="absolute") as wire:
        found = []
        for url in urls:
            wire.authority = url.split("/")[2]
            found.append(wire.request(url).status)
    assert found == [200, 200, 200, 502]
