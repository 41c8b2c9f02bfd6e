"""Which requests are answered by this proxy, which are refused, and which are mitmproxy's ordinary flows."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from mitmproxy import http
from mitmproxy.addons.proxyauth import ProxyAuth
from mitmproxy.connection import Client
from mitmproxy.proxy.layers.http import HTTPMode
from multidict import CIMultiDict

from pkgcache.engine.responses.messages import Response
from pkgcache.engine.service import Service
from pkgcache.engine.upstream import breakers
from pkgcache.proxy import intake as intake_module
from pkgcache.proxy.authentication import Authenticator
from pkgcache.proxy.exchange import Exchange
from pkgcache.proxy.intake import Intake
from pkgcache.rules.policy.circuit_breaker import OPEN_SECONDS
from pkgcache.rules.routing.routes import ProjectPage, Uncacheable
from pkgcache.settings import make_settings
from pkgcache.web.endpoints import ProxyPages
from tests.proxy.connections import CLIENT_ADDRESS, make_client, make_context, make_request

OTHER = ("other.test", 443)
NEAR = ("near.test", 443)
"""An index's host."""


class RefusingAll(Authenticator):
    """Lets nobody in."""

    def refusal(self, client: Client, path: str, headers: CIMultiDict[str], *, at_proxy: bool) -> Response | None:
        return Response.text(401 if at_proxy else 407, "no")


class Scene:
    """An intake before a service that is not open, and the exchanges that are over."""

    def __init__(self, folder: Path, authenticator: Authenticator, options: dict[str, Any]) -> None:
        given = {f"pypi_cache_{name}": value for name, value in options.items()}
        settings = make_settings(
            {"pypi_cache_dir": str(folder), "pypi_cache_index": ["near=https://near.test/simple"], **given}
        )
        service = Service(settings)
        self.exiting = False
        self.logged: list[Exchange] = []
        pages = ProxyPages(service, folder / "ca.pem", lambda: b"")
        self.intake = Intake(
            service, pages, authenticator, shows_flows=False, log=self.logged.append, exiting=lambda: self.exiting
        )
        self.client = make_client(tls=True)

    def inside(self, request: http.Request, target: tuple[str, int] = NEAR, *, ends: bool = True) -> Exchange | None:
        """A request within a CONNECT to `target`."""
        return self.intake.admit_request(make_context(self.client, target), HTTPMode.transparent, request, ends=ends)

    def outside(self, request: http.Request) -> Exchange | None:
        """A request without a CONNECT."""
        return self.intake.admit_request(make_context(make_client()), HTTPMode.regular, request, ends=True)


type MakeScene = Callable[..., Scene]


@pytest.fixture
def make_scene(tmp_path: Path) -> MakeScene:
    def make(authenticator: Authenticator | None = None, **options: Any) -> Scene:
        return Scene(tmp_path, authenticator or Authenticator(ProxyAuth()), options)

    return make


def status_of(exchange: Exchange | None) -> int | None:
    """The status of a refusal; 0: it is to be answered. None: an ordinary flow."""
    if exchange is None:
        return None
    return exchange.response.status if exchange.response else 0


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/simple/six/", {}, 0),
        ("HEAD", "/simple/six/", {}, 0),
        ("GET", "/files/six-1.0-py3-none-any.whl", {}, 0),
        ("GET", "/account/login", {}, None),
        ("GET", "/simple/six/", {"Cookie": "session=1"}, 0),
        ("GET", "/simple/", {"Cookie": "session=1"}, None),
        ("POST", "/simple/six/x/", {}, 404),
        ("POST", "/legacy/", {}, None),
        ("OPTIONS", "/simple/six/", {}, 0),
    ],
)
def test_within_a_connect(
    make_scene: MakeScene, method: str, path: str, headers: dict[str, str], expected: int | None
) -> None:
    exchange = make_scene().inside(make_request(method, path, host="near.test", headers=headers))
    assert status_of(exchange) == expected


@pytest.mark.parametrize(
    ("path", "host", "ends", "status"),
    [
        ("/simple/six/", "other.test", True, 421),
        ("/simple/six/", "no host", True, 400),
        ("/simple/six/", "near.test", False, 400),
        ("/account/login", "other.test", True, 421),  # an ordinary flow must not go by a forged Host either
    ],
)
def test_refused_within_a_connect(make_scene: MakeScene, path: str, host: str, status: int, *, ends: bool) -> None:
    exchange = make_scene().inside(make_request(path=path, host=host), ends=ends)
    assert status_of(exchange) == status


def test_what_is_admitted(make_scene: MakeScene) -> None:
    exchange = make_scene().inside(make_request(path="/simple/Six/?x=1", host="near.test", headers={"Accept": "a"}))
    assert exchange is not None
    assert str(exchange.request.url) == "https://near.test/simple/Six/?x=1"
    assert exchange.request.headers["accept"] == "a"
    assert exchange.request.client == CLIENT_ADDRESS[0]
    assert not exchange.request.at_proxy_address
    assert isinstance(exchange.route, ProjectPage)
    assert (exchange.route.index.name, exchange.route.project) == ("near", "six")


def test_other_hosts_are_ordinary_flows(make_scene: MakeScene) -> None:
    scene = make_scene()
    assert scene.inside(make_request(path="/simple/six/", host="other.test"), OTHER) is None
    assert scene.outside(make_request(url="http://other.test/simple/six/")) is None


def test_other_hosts_denied(make_scene: MakeScene) -> None:
    """Within a tunnel nothing is left to deny: its CONNECT would have been."""
    scene = make_scene(other_hosts="deny")
    for method in ("GET", "POST"):
        assert status_of(scene.outside(make_request(method, url="http://other.test/"))) == 403
    assert scene.inside(make_request(host="other.test"), OTHER) is None
    assert status_of(scene.outside(make_request(url="https://near.test/simple/six/"))) == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 0),
        ("HEAD", "/", 0),
        ("GET", "/nothing", 0),
        ("POST", "/healthz", 405),
        ("POST", "/nothing", 405),
    ],
)
def test_at_the_proxys_own_address(make_scene: MakeScene, method: str, path: str, status: int) -> None:
    """What is no page here is answered with a 404 by the service, and never goes anywhere else."""
    exchange = make_scene().outside(make_request(method, path, host="proxy.test"))
    assert status_of(exchange) == status
    assert exchange is not None
    assert exchange.request.at_proxy_address
    if status == 0:
        assert (exchange.route is None) == (path != "/nothing")


def test_offline_nothing_goes_to_the_origin(make_scene: MakeScene) -> None:
    exchange = make_scene(offline=True).inside(make_request(path="/account/login", host="near.test"))
    assert status_of(exchange) == 504
    assert exchange is not None
    assert isinstance(exchange.route, Uncacheable)
    assert exchange.response is not None
    assert b"pypi_cache_offline" in bytes(exchange.response.body)  # type: ignore[arg-type]


def test_without_a_login_nothing_else_is_told(make_scene: MakeScene) -> None:
    """407 or 401 comes before any other refusal, so that nobody can try out which hosts and pages there are."""
    scene = make_scene(RefusingAll(None), other_hosts="deny")
    assert status_of(scene.inside(make_request("POST", host="other.test"), ends=False)) == 407
    assert status_of(scene.outside(make_request(url="http://other.test/"))) == 407
    assert status_of(scene.outside(make_request("POST", "/nothing"))) == 401


def test_where_mitmproxy_intercepts(make_scene: MakeScene) -> None:
    assert not make_scene().intake.intercepts(OTHER)
    intake = make_scene(other_hosts="intercept").intake
    assert intake.intercepts(OTHER)
    assert not intake.intercepts(NEAR)


# While the proxy starts and stops


@pytest.mark.parametrize("how", ["closed", "told to stop"])
def test_whatever_is_new_is_refused(how: str, make_scene: MakeScene) -> None:
    """Package hosts, other hosts and our own pages, answered or passed on: 503, and the client is to come back."""
    scene = make_scene()
    if how == "closed":
        scene.intake.close()
    scene.exiting = how == "told to stop"
    for exchange in (
        scene.inside(make_request(path="/simple/six/", host="near.test")),
        scene.inside(make_request("POST", "/legacy/", host="near.test"), ends=False),
        scene.inside(make_request(host="other.test"), OTHER),
        scene.outside(make_request(url="http://other.test/")),
        scene.outside(make_request(path="/healthz")),
    ):
        assert exchange is not None
        assert exchange.response is not None
        assert exchange.response.status == 503
        assert exchange.response.headers["Connection"] == "close"


async def test_no_client_is_let_in_before_the_service_is_ready(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the learned hosts are not known, and a request for one would be any other host's."""
    monkeypatch.setattr(intake_module, "READY_SECONDS", 0.01)
    assert not await make_scene().intake.is_open()


# Exchanges under way


def test_an_exchange_that_is_over_is_logged_and_counted_once(make_scene: MakeScene) -> None:
    scene = make_scene()
    exchange = scene.inside(make_request(path="/simple/six/", host="near.test"))
    assert exchange is not None
    exchange.sent = 7
    exchange.close()
    exchange.close()
    assert scene.logged == [exchange]
    assert scene.intake.service.metrics.figures()["pypi_cache_sent_bytes_total"] == 7
    scene.intake.client_left(scene.client)
    assert scene.logged == [exchange]


def test_a_client_that_left_ends_its_own_exchanges(make_scene: MakeScene) -> None:
    scene = make_scene()
    request = make_request(path="/simple/six/", host="near.test")
    mine = [scene.inside(request), scene.inside(request)]
    scene.client = make_client(tls=True)
    other = scene.inside(request)
    assert mine[0] is not None
    scene.intake.client_left(mine[0].client)
    assert [exchange.gone for exchange in mine if exchange] == [True, True]
    assert other is not None
    assert not other.gone
    assert set(scene.logged) == set(mine)


def test_an_ordinary_flow_leaves_no_exchange(make_scene: MakeScene) -> None:
    scene = make_scene()
    assert scene.inside(make_request(path="/account/login", host="near.test")) is None
    scene.intake.client_left(scene.client)
    assert scene.logged == []


def test_a_failure_on_the_short_cut_takes_the_ordinary_way(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene = make_scene()
    exchange = scene.inside(make_request(path="/simple/six/", host="near.test"))
    assert exchange is not None

    def fail(*_: object) -> NoReturn:
        raise RuntimeError("broken")

    monkeypatch.setattr(scene.intake.service, "from_memory", fail)
    assert scene.intake.try_from_memory(exchange) is None
    assert "RuntimeError: broken" in caplog.text


@pytest.mark.parametrize(
    ("host", "why", "status"),
    [
        ("near.test", "Connect call failed", 503),
        ("NEAR.test.", "Connect call failed", 503),
        pytest.param("near.test", "Connection killed: that is this proxy itself", None, id="a rule of ours"),
        pytest.param("other.test", "Connect call failed", None, id="no package host"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_host_that_cannot_be_reached(
    make_scene: MakeScene, method: str, host: str, why: str, status: int | None
) -> None:
    """An ordinary flow's answer is the one that a page would get; any other host's is mitmproxy's."""
    request = make_request(method, "/account/login?x=1", host=host)
    request.host, request.port, request.scheme = host, 443, "https"
    answer = make_scene().intake.unreachable(request, why)
    assert (answer and answer.status_code) == status
    if answer is not None:
        assert answer.headers["Retry-After"] == "3"
        assert bool(answer.content) == (method != "HEAD")
        assert int(answer.headers["Content-Length"]) > 0


def test_a_dead_host_is_not_asked(make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ordinary flows, too, one goes out as a probe, and the others are answered at once."""
    now = 1000.0
    monkeypatch.setattr(breakers, "time", SimpleNamespace(monotonic=lambda: now))
    scene = make_scene()

    def ask(method: str, path: str) -> int | None:
        return status_of(scene.inside(make_request(method, path, host="near.test", headers={"Cookie": "a=b"})))

    request = make_request("GET", "/account/login", host="near.test")
    request.host, request.port, request.scheme = "near.test", 443, "https"
    ways = [("GET", "/account/login"), ("HEAD", "/account/login"), ("POST", "/legacy/"), ("GET", "/simple/")]
    for _ in range(2):
        assert scene.intake.unreachable(request, "refused") is not None
        assert [ask(*way) for way in ways] == [None] * 4
    now += OPEN_SECONDS
    assert ask(*ways[0]) is None, "the probe"
    answer = scene.intake.unreachable(request, "refused")
    assert answer is not None
    assert answer.status_code == 504
    assert [ask(*way) for way in ways] == [504] * 4
    page = scene.inside(make_request("GET", "/simple/six/", host="near.test"))
    assert status_of(page) == 0, "what may be stored is looked for"
    now += OPEN_SECONDS
    assert [ask(*way) for way in ways] == [None, 504, 504, 504]
    scene.intake.service.client.breakers.answered("https://near.test")
    assert [ask(*way) for way in ways] == [None] * 4
