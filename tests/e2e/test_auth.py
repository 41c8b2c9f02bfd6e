"""mitmproxy's `proxyauth`: the fast path answers before that addon is asked, so it asks by itself.

407 where the proxy is used as one, 401 at its own address; the few pages that an agent needs before it has anything stay open; and
what opens the proxy is for the proxy alone, and never goes on to an upstream.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.authority import Authority
from tests.support.clients import pip_download, uv_install
from tests.support.factories import small_wheels
from tests.support.names import file_url, page_url
from tests.support.peers import Peer, web
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wire import Wire, fetch

USER: Final = "u"
PASSWORD: Final = "sesame"


def basic(user: str = USER, password: str = PASSWORD) -> str:
    """The value of a credentials header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


WRONG: Final = {
    "none": {},
    "a wrong password": {"{name}": basic(password="wrong")},
    "a wrong user": {"{name}": basic(user="wrong")},
    "no password": {"{name}": "Basic " + base64.b64encode(b"u").decode()},
    "no base64": {"{name}": "Basic u:sesame"},
    "another scheme": {"{name}": "Bearer sesame"},
    "an empty header": {"{name}": " "},
    "bytes that are no text": {"{name}": "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode()},
}
"""`{name}` stands for Proxy-Authorization or Authorization."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A proxy that wants a password, a mirror over plain http that is an index's own URL too, and a host beside them."""

    proxy: Proxy
    upstream: Upstream
    peer: Peer

    def mirror_page(self, project: str = "alpha") -> str:
        """A page of index `near`, which clients ask for in absolute form."""
        return self.upstream.page_url(project)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Scene]:
    with Upstream() as upstream, Peer(web()) as peer:
        upstream.add(*small_wheels())
        options = {
            "proxyauth": f"{USER}:{PASSWORD}",
            "pypi_cache_index": [f"pypi={upstream.index_url}", f"near={upstream.index_url}"],
            "pypi_cache_local_hosts": [peer.authority],
        }
        with Proxy(tmp_path_factory.mktemp("auth"), options=options, upstream_ca=ca.bundle) as proxy:
            yield Scene(proxy, upstream, peer)
            assert not proxy.complaints, proxy.output
            assert PASSWORD not in proxy.output, "the password is in the log"
            assert PASSWORD not in proxy.access_log_path.read_text()


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    """The scene; after each test, no upstream has seen the password."""
    shared.upstream.clear()
    yield shared
    for seen in shared.upstream.requests:
        assert "proxy-authorization" not in seen.headers
        assert PASSWORD not in str(seen.headers)
        assert basic() not in seen.headers.values()


def credentials(name: str, headers: dict[str, str]) -> dict[str, str]:
    return {key.format(name=name): value for key, value in headers.items()}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("kind", ["package host", "other host"])
def test_a_connect_without_the_right_credentials(scene: Scene, kind: str, headers: dict[str, str]) -> None:
    url = page_url("alpha") if kind == "package host" else f"http://{scene.peer.authority}/"
    accepted = scene.peer.accepted
    wire = Wire(scene.proxy.port, url, ca=scene.proxy.ca, connect_headers=credentials("Proxy-Authorization", headers))
    assert wire.refusal is not None
    assert (wire.refusal.status, wire.refusal.headers["Proxy-Authenticate"][:5]) == (407, "Basic")
    assert (scene.peer.accepted, scene.upstream.count()) == (accepted, 0)


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("kind", ["package host", "other host"])
def test_an_absolute_form_without_the_right_credentials(scene: Scene, kind: str, headers: dict[str, str]) -> None:
    url = scene.mirror_page() if kind == "package host" else f"http://{scene.peer.authority}/"
    accepted = scene.peer.accepted
    answer = fetch(scene.proxy.port, url, via="absolute", headers=credentials("Proxy-Authorization", headers))
    assert (answer.status, answer.headers["Proxy-Authenticate"][:5]) == (407, "Basic")
    assert (scene.peer.accepted, scene.upstream.count()) == (accepted, 0)


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("path", ["/", "/metrics", "/stats", "/why/alpha", "/pypi/simple/alpha/", "/nothing"])
def test_the_own_address_without_the_right_credentials(scene: Scene, path: str, headers: dict[str, str]) -> None:
    answer = scene.proxy.get(path, headers=credentials("Authorization", headers))
    assert (answer.status, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")
    assert scene.upstream.count() == 0


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/ca.pem", "/bundle.pem", "/env.sh", "/env.fish", "/env.docker"]
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": basic(password="wrong")}], ids=["none", "wrong"])
def test_what_an_agent_needs_first_is_open(scene: Scene, path: str, headers: dict[str, str]) -> None:
    assert scene.proxy.get(path, headers=headers).status == 200


@pytest.mark.parametrize(
    "path", ["/healthz/", "/healthz/../stats", "/env.sh/../metrics", "//healthz", "/healthz%2f..%2fstats"]
)
def test_what_only_looks_open_is_not(scene: Scene, path: str) -> None:
    """The open pages are four paths, and not what begins with one."""
    assert scene.proxy.get(path).status in {400, 401, 404}
    assert b"pypi_cache_" not in scene.proxy.get(path).body


def test_a_healthz_of_a_package_host_is_not_open(scene: Scene) -> None:
    """The open paths are open at the proxy's own address."""
    answer = fetch(scene.proxy.port, f"{scene.upstream.origin}/healthz", via="absolute")
    assert (answer.status, scene.upstream.count()) == (407, 0)


def test_with_credentials_cold_and_hit(scene: Scene) -> None:
    """Once on the CONNECT, and then for all that goes through it."""
    alpha = small_wheels()[0]
    for _ in range(2):
        with Wire(
            scene.proxy.port,
            file_url(alpha),
            ca=scene.proxy.ca,
            connect_headers={"Proxy-Authorization": basic()},
        ) as wire:
            assert wire.refusal is None
            assert wire.request(file_url(alpha)).sha256 == alpha.sha256
            assert wire.request(file_url(alpha)).sha256 == alpha.sha256
    assert scene.upstream.count(path_contains=alpha.filename) <= 1


def test_a_hit_is_not_for_everybody(scene: Scene) -> None:
    """What is in the store is behind the password too: hits take the short way, and must not be shorter by this."""
    headers = {"Proxy-Authorization": basic()}
    for _ in range(2):
        assert fetch(scene.proxy.port, scene.mirror_page("beta"), via="absolute", headers=headers).status == 200
    asked = scene.upstream.count()
    assert fetch(scene.proxy.port, scene.mirror_page("beta"), via="absolute").status == 407
    assert scene.proxy.get("/pypi/simple/beta/").status == 401
    assert scene.upstream.count() == asked


def test_the_own_address_with_credentials(scene: Scene) -> None:
    """`index-url = http://u:p@proxy:8080/pypi/simple`: the credentials are the proxy's, so the page is everybody's, and cached."""
    headers = {"Authorization": basic()}
    for path in ("/", "/metrics", "/stats"):
        assert scene.proxy.get(path, headers=headers).status == 200
    first, second = (scene.proxy.get("/pypi/simple/gamma-ray/", headers=headers) for _ in range(2))
    assert (first.status, second.status) == (200, 200)
    assert scene.upstream.count(path_contains="gamma-ray") == 1
    assert "hit" in second.headers["Cache-Status"]


def test_credentials_are_asked_of_each_request(scene: Scene) -> None:
    """In absolute form each request brings its own; one that was right opens nothing for the next on the same connection."""
    url = scene.mirror_page()
    with Wire(scene.proxy.port, url, via="absolute") as wire:
        assert wire.request(url, headers={"Proxy-Authorization": basic()}).status == 200
        assert wire.request(url).status == 407
        assert wire.request(url, headers={"Proxy-Authorization": basic()}).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_ordinary_flow_wants_them_too(scene: Scene, method: str) -> None:
    """What is not cacheable goes as an ordinary flow, and its origin sees no Proxy-Authorization (RFC 9110 §11.7.2)."""
    url = f"{scene.upstream.origin}/upload"
    assert fetch(scene.proxy.port, url, via="absolute", method=method, body=b"x").status == 407
    assert scene.upstream.count() == 0
    headers = {"Proxy-Authorization": basic()}
    assert fetch(scene.proxy.port, url, via="absolute", method=method, body=b"x", headers=headers).status == 405
    assert scene.upstream.count(method=method) == 1


def test_a_tunnel_with_credentials(scene: Scene) -> None:
    url = f"http://{scene.peer.authority}/"
    with Wire(scene.proxy.port, url, connect_headers={"Proxy-Authorization": basic()}) as wire:
        assert wire.refusal is None
        assert wire.request(url).body == b"hello from elsewhere\n"


def test_real_clients(scene: Scene, home: Path, tmp_path: Path) -> None:
    """pip and uv with the credentials in the proxy's URL, in the index's URL, and without any."""
    proxy = scene.proxy
    with_password = f"http://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}"
    pip_download(home, ["beta"], tmp_path / "a", args=["--proxy", with_password, "--cert", proxy.bundle]).ok()
    index = ["-i", f"{with_password}/pypi/simple", "--trusted-host", "127.0.0.1", "--no-cache-dir"]
    pip_download(home, ["beta"], tmp_path / "b", args=index).ok()
    env = {"HTTPS_PROXY": with_password, "SSL_CERT_FILE": str(proxy.bundle)}
    uv_install(home, ["beta"], tmp_path / "c", env=env).ok()
    refused = pip_download(
        home, ["beta"], tmp_path / "d", args=["--proxy", proxy.url, "--cert", proxy.bundle, "--no-cache-dir"]
    ).failed()
    assert "407" in str(refused)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {path.name for path in (tmp_path / "b").iterdir()}


def test_the_access_log_says_who(scene: Scene) -> None:
    """Through CONNECT, in absolute form and at the proxy's own address; who has no login, or a wrong one, is nobody."""
    agent, wrong = {"User-Agent": "who"}, {"Proxy-Authorization": basic(user="mallory")}
    login = {"Proxy-Authorization": basic()}
    with Wire(scene.proxy.port, page_url("alpha"), ca=scene.proxy.ca, connect_headers=login) as wire:
        wire.request(page_url("alpha"), headers=agent)
        wire.request(page_url("beta"), headers=agent)
    for headers in (login, wrong, {}):
        fetch(scene.proxy.port, scene.mirror_page(), via="absolute", headers=agent | headers)
    scene.proxy.get("/stats", headers=agent | {"Authorization": basic()})
    scene.proxy.get("/ca.pem", headers=agent)

    def told() -> list[tuple[str | None, int]]:
        return [(line.get("user"), line["status"]) for line in scene.proxy.access_log() if line["agent"] == "who"]

    expected = [(USER, 200), (USER, 200), (USER, 200), (None, 407), (None, 407), (USER, 200), (None, 200)]
    assert eventually(told, lambda lines: len(lines) == len(expected)) == expected


def test_one_connection_of_two_users(scene: Scene) -> None:
    """In absolute form each request has its own login: the next one's is not the last one's."""
    with Wire(scene.proxy.port, scene.mirror_page(), via="absolute") as wire:
        for headers in ({"Proxy-Authorization": basic()}, {}):
            wire.request(scene.mirror_page(), headers={"User-Agent": "two", **headers})

    def told() -> list[str | None]:
        return [line.get("user") for line in scene.proxy.access_log() if line["agent"] == "two"]

    assert eventually(told, lambda lines: len(lines) == 2) == [USER, None]
