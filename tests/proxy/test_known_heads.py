"""Which heads are remembered, and when a remembered one may not be used."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest
from mitmproxy.addons.proxyauth import ProxyAuth
from mitmproxy.proxy.layers.http import HTTPMode
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.service import Service
from pkgcache.proxy.authentication import Authenticator
from pkgcache.proxy.exchange import Exchange
from pkgcache.proxy.intake import Intake
from pkgcache.proxy.known_heads import HEAD_OVERHEAD, KnownHead, KnownHeads, Place, place_of, plain_fields
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.routing.routes import ProjectPage
from pkgcache.rules.routing.urls import Url
from pkgcache.settings import make_settings
from pkgcache.web.endpoints import ProxyPages
from tests.proxy.connections import make_client, make_context, make_request
from tests.support.index import JSON_TYPE

NEAR: Final = ("near.test", 443)
PLACE: Final[Place] = ("near.test", 443, HTTPMode.transparent, True)
LINE: Final = b"GET /simple/six/ HTTP/1.1\r\n"
HEAD: Final = LINE + b"Host: near.test\r\n\r\n"


class Scene:
    """An intake whose service answers each page from memory, and one client within a CONNECT."""

    def __init__(self, folder: Path, *, shows_flows: bool = False, **options: Any) -> None:
        given = {f"pypi_cache_{name}": value for name, value in options.items()}
        self.service = Service(
            make_settings(
                {"pypi_cache_dir": str(folder), "pypi_cache_index": ["near=https://near.test/simple"], **given}
            )
        )
        self.answer: Callable[[], Response | None] = lambda: Response(
            status=200, headers=CIMultiDict({"Content-Length": "4"}), body=b"page", cache=CacheStatus(hit=True, ttl=60)
        )
        self.service.from_memory = lambda *_: self.answer  # type: ignore[method-assign]
        self.exiting = False
        self.logged: list[Exchange] = []
        self.proxyauth = ProxyAuth()
        self.intake = Intake(
            self.service,
            ProxyPages(self.service, folder / "ca.pem", lambda: b""),
            Authenticator(self.proxyauth),
            shows_flows=shows_flows,
            log=self.logged.append,
            exiting=lambda: self.exiting,
        )
        self.client = make_client(tls=True)

    def ask(
        self,
        path: str = "/simple/six/",
        host: str = "near.test",
        head: bytes = HEAD,
        place: Place = PLACE,
        *,
        in_memory: bool = True,
    ) -> None:
        """A request the ordinary way, answered from memory if that has the answer."""
        context = make_context(self.client, (host, 443))
        request = make_request(path=path, host=host)
        del request.headers["Content-Length"]  # mitmproxy's maker adds one
        exchange = self.intake.admit_request(context, HTTPMode.transparent, request, ends=True)
        assert exchange is not None
        assert exchange.response is None
        assert (self.intake.try_from_memory(exchange, (place, head)) is not None) is in_memory

    def again(self, head: bytes = HEAD, place: Place = PLACE, client: Any = None) -> Exchange | None:
        """What the same head gets."""
        return self.intake.from_known_head((place, head), client or self.client)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def no_answer(*_: object) -> None:
    """No head is made of its parts."""


def request_with(method: str, *headers: tuple[str, str]) -> Request:
    return Request(method=method, url=None, headers=CIMultiDictProxy(CIMultiDict(headers)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "line", "headers", "expected"),
    [
        ("GET", LINE, [("Host", "near.test"), ("Accept", "text/html"), ("Accept-Encoding", "gzip")], True),
        ("GET", LINE, [("Connection", "keep-alive")], True),
        ("GET", LINE, [("connection", "Keep-Alive")], True),
        ("GET", LINE, [("If-None-Match", '"a"')], True),
        ("GET", LINE, [("Range", "bytes=0-9")], True),
        ("GET", LINE, [("Cache-Control", "max-age=0")], True),
        pytest.param("GET", LINE, [("Connection", "close")], True, id="RFC 9112 §9.6"),
        pytest.param("GET", LINE, [("Connection", "keep-alive, close")], False, id="of several options"),
        pytest.param("GET", LINE, [("Connection", "keep-alive, x")], False, id="names a field"),
        pytest.param("GET", LINE, [("Connection", "keep-alive"), ("Connection", "close")], False, id="two lines"),
        pytest.param("GET", b"GET /simple/six/ HTTP/1.0\r\n", [], False, id="HTTP/1.0 closes"),
        pytest.param("GET", LINE.replace(b"\r", b""), [], False, id="RFC 9112 §2.2: lines that end in LF alone"),
        pytest.param("GET", LINE[:-2] + b"\nX: y HTTP/1.1\r\n", [], False, id="header lines before the first CRLF"),
        pytest.param("HEAD", LINE.replace(b"GET", b"HEAD"), [], False, id="HEAD"),
        pytest.param("GET", LINE, [("Authorization", "Basic YTpi")], False, id="an origin's login"),
        pytest.param("GET", LINE, [("authorization", "Basic YTpi")], False, id="in lower case"),
        pytest.param("GET", LINE, [("Proxy-Authorization", "Basic YTpi")], False, id="this proxy's login"),
        pytest.param("GET", LINE, [("Cookie", "a=b")], False, id="a session"),
        pytest.param("GET", LINE, [("Content-Length", "0")], False, id="a body"),
        pytest.param("GET", LINE, [("Expect", "100-continue")], False, id="expects"),
        pytest.param("GET", LINE, [("Upgrade", "h2c"), ("Connection", "upgrade")], False, id="upgrades"),
        pytest.param("GET", LINE, [("Via", "1.1 other")], False, id="a loop"),
    ],
)
def test_which_heads_are_remembered(method: str, line: bytes, headers: list[tuple[str, str]], expected: bool) -> None:
    heads = KnownHeads(1_000_000, no_answer)
    key = PLACE, line + b"\r\n"
    known = KnownHead(request_with(method, *headers), None, lambda: None)  # type: ignore[arg-type]
    heads.remember(key, known)
    assert heads.get(key) is (known if expected else None)


HOST: Final = b"Host: near.test\r\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (HOST, {"Host": "near.test"}),
        (
            HOST
            + b'User-Agent: pip/26.0 {"ci":true}\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\nConnection: keep-alive\r\n',
            {
                "Host": "near.test",
                "User-Agent": 'pip/26.0 {"ci":true}',
                "Accept": "*/*",
                "Accept-Encoding": "gzip, br",
                "Connection": "keep-alive",
            },
        ),
        (b"host: near.test\r\ncache-control: max-age=0\r\n", {"host": "near.test", "cache-control": "max-age=0"}),
        (HOST + b"Connection: close\r\n", {"Host": "near.test", "Connection": "close"}),
        pytest.param(b"", None, id="no Host (RFC 9112 §3.2)"),
        pytest.param(HOST + HOST, None, id="two Hosts (RFC 9112 §3.2)"),
        pytest.param(b"Host: other.test\r\n", None, id="another Host"),
        pytest.param(b"Host: NEAR.test\r\n", None, id="in another spelling"),
        pytest.param(b"Host:near.test\r\n", None, id="no blank"),
        pytest.param(b"Host : near.test\r\n", None, id="a blank before the colon (RFC 9112 §5.1)"),
        pytest.param(b"Host: near.test \r\n", None, id="a blank at the end"),
        pytest.param(b"Host: near.test\n", None, id="a line that ends in LF"),
        pytest.param(HOST + b"Accept: a\r\nAccept: b\r\n", None, id="a field twice"),
        pytest.param(HOST + b"Accept: a\r\naccept: b\r\n", None, id="in two spellings"),
        pytest.param(HOST + b"Accept: a\r\n b\r\n", None, id="a folded line (RFC 9112 §5.2)"),
        pytest.param(HOST + b"Accept: \xe9\r\n", None, id="not ASCII"),
        pytest.param(HOST + b"Accept: a\x00b\r\n", None, id="a control character"),
        pytest.param(HOST + b"Accept:\r\n", None, id="an empty value"),
        pytest.param(HOST + b"Connection: Accept\r\n", None, id="names a field (RFC 9110 §7.6.1)"),
        pytest.param(HOST + b"Connection: Close\r\n", None, id="another spelling of close"),
        pytest.param(HOST + b"Authorization: Basic YTpi\r\n", None, id="credentials"),
        pytest.param(HOST + b"Proxy-Authorization: Basic YTpi\r\n", None, id="a login"),
        pytest.param(HOST + b"Cookie: a=b\r\n", None, id="a cookie"),
        pytest.param(HOST + b"Content-Length: 4\r\n", None, id="a body"),
        pytest.param(HOST + b"Transfer-Encoding: chunked\r\n", None, id="a chunked body"),
        pytest.param(HOST + b"Expect: 100-continue\r\n", None, id="expects"),
        pytest.param(HOST + b"Upgrade: h2c\r\n", None, id="upgrades"),
        pytest.param(HOST + b"Via: 1.1 other\r\n", None, id="a loop"),
        pytest.param(HOST + b"Max-Forwards: 0\r\n", None, id="counts proxies"),
        pytest.param(HOST + b"Range: bytes=0-1\r\n", None, id="a part"),
        pytest.param(HOST + b"X: y\r\n", None, id="whatever else"),
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\r\nGET /", b"\r\nx", b"", b"\r", b"\n"])
def test_header_lines_that_were_never_seen(lines: bytes, expected: dict[str, str] | None, end: bytes) -> None:
    found = plain_fields(lines + end, {"Host": "near.test"})
    assert (None if found is None else dict(found)) == (expected if end == b"\r\n" else None)


def test_a_page_that_is_known_is_answered_whoever_asks(scene: Scene) -> None:
    """The request has the header lines that were sent."""
    scene.ask()
    head = LINE + HOST + b"User-Agent: new\r\n\r\n"
    assert (exchange := scene.again(head)) is not None
    assert dict(exchange.request.headers) == {"Host": "near.test", "User-Agent": "new"}
    assert exchange.request.url.path == "/simple/six/"
    assert scene.again(LINE.replace(b"six", b"seven") + HOST + b"\r\n") is None, "another page was never asked for"
    assert scene.again(LINE + HOST + b"User-Agent: " + b"x" * 1024 + b"\r\n\r\n") is None, "its end may be missing"


def test_the_memory_is_bounded() -> None:
    heads = KnownHeads(20 * HEAD_OVERHEAD, no_answer)
    for number in range(100):
        heads.remember((PLACE, b"%d" % number + LINE), KnownHead(request_with("GET"), None, lambda: None))  # type: ignore[arg-type]
    kept = [number for number in range(100) if heads.get((PLACE, b"%d" % number + LINE))]
    assert 5 <= len(kept) < 10
    assert kept[-1] == 99
    for number in range(10_000):
        heads.remember_connect((("", 0, HTTPMode.regular, False), b"CONNECT %d" % number), NEAR)
    assert heads.address((("", 0, HTTPMode.regular, False), b"CONNECT 0")) is None


def test_many_short_lines_weigh_what_they_take() -> None:
    """150 fields of a few bytes take ten times as much memory as one long field."""
    kept = []
    for lines in (b"a: " + 900 * b"b" + b"\r\n", 180 * b"a:\r\n"):
        heads = KnownHeads(1_000_000, no_answer)
        keys = [(PLACE, LINE + b"%03d:\r\n" % number + lines + b"\r\n") for number in range(300)]
        for key in keys:
            heads.remember(key, KnownHead(request_with("GET"), None, lambda: None))  # type: ignore[arg-type]
        kept.append(sum(heads.get(key) is not None for key in keys))
    assert kept[0] > 5 * kept[1] > 0


def test_no_memory_at_all(tmp_path: Path) -> None:
    scene = Scene(tmp_path, known_heads="0")
    scene.ask()
    assert scene.again() is None


def test_the_same_head_gets_the_same_answer(scene: Scene) -> None:
    scene.ask()
    exchange = scene.again()
    assert exchange is not None
    assert exchange.response is not None
    assert (exchange.request.url.path, exchange.request.client) == ("/simple/six/", scene.client.peername[0])
    exchange.sent = 4
    exchange.close()
    assert scene.logged == [exchange]


METADATA: Final = "/packages/aa/six-1.0-py3-none-any.whl.metadata"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/simple/six/", True),
        (METADATA, True),
        pytest.param(METADATA.removesuffix(".metadata"), False, id="a wheel may be large"),
        pytest.param(f"{METADATA.removesuffix('.metadata')}.asc", False, id="a signature"),
    ],
)
def test_what_memory_will_have_is_known_from_its_first_request_on(tmp_path: Path, path: str, expected: bool) -> None:
    scene = Scene(tmp_path, file_hosts="near.test")
    ready, stored = scene.answer, list[bool]()
    scene.answer = lambda: ready() if stored else None
    head = f"GET {path} HTTP/1.1\r\nHost: near.test\r\n\r\n".encode()
    scene.ask(path, head=head, in_memory=False)
    assert scene.again(head) is None, "memory does not have it yet"
    stored.append(True)
    assert (scene.again(head) is not None) is expected


def test_another_client_is_logged_as_itself(scene: Scene) -> None:
    scene.ask()
    other = make_client(tls=True)
    other.peername = ("192.0.2.77", 1)
    exchange = scene.again(client=other)
    assert exchange is not None
    assert exchange.request.client == "192.0.2.77"


@pytest.mark.parametrize(
    ("head", "place"),
    [
        (HEAD + b"\r\n", PLACE),
        (HEAD[:-1], PLACE),
        (HEAD + HEAD, PLACE),
        (HEAD.replace(b"six", b"Six"), PLACE),
        (HEAD.replace(b"Host: ", b"Host:"), PLACE),
        (HEAD, ("other.test", 443, HTTPMode.transparent, True)),
        (HEAD, ("near.test", 80, HTTPMode.transparent, True)),
        (HEAD, ("near.test", 443, HTTPMode.transparent, False)),
        (HEAD, ("near.test", 443, HTTPMode.regular, True)),
    ],
)
def test_what_differs_is_not_known(scene: Scene, head: bytes, place: Place) -> None:
    scene.ask()
    assert scene.again(head, place) is None


PIP: Final = b"Host: near.test\r\nUser-Agent: pip\r\n\r\n"
UV: Final = b"Host: near.test\r\nUser-Agent: uv\r\n\r\n"
BETA: Final = b"GET /simple/beta/ HTTP/1.1\r\n"
REGULAR: Final[Place] = ("192.0.2.1", 8080, HTTPMode.regular, False)


@pytest.mark.parametrize(
    ("head", "place", "project"),
    [
        (LINE + UV, PLACE, "six"),
        (BETA + PIP, PLACE, "beta"),
        (LINE + PIP, PLACE, "six"),
        pytest.param(LINE + UV[:-2], PLACE, None, id="not all of the fields"),
        pytest.param(LINE + UV + b"GET", PLACE, None, id="more than the fields"),
        pytest.param(LINE + b"\r\n" + UV, PLACE, None, id="an empty line before the fields"),
        pytest.param(BETA.replace(b"beta", b"gamma") + UV, PLACE, None, id="another page"),
        pytest.param(LINE + UV, ("other.test", 443, HTTPMode.transparent, True), None, id="another host"),
        pytest.param(LINE + UV, REGULAR, None, id="no CONNECT"),
    ],
)
def test_a_head_whose_parts_are_known(scene: Scene, head: bytes, place: Place, project: str | None) -> None:
    """Each of the two was asked for with the other's header lines, or by the other client."""
    scene.ask("/simple/six/", head=LINE + PIP)
    scene.ask("/simple/beta/", head=BETA + UV)
    scene.ask("/simple/six/", head=LINE + PIP, place=REGULAR)
    scene.ask("/simple/beta/", head=BETA + UV, place=REGULAR)
    exchange = scene.again(head, place)
    assert (exchange and exchange.request.url.path) == (project and f"/simple/{project}/")
    if exchange is not None:
        assert isinstance(exchange.route, ProjectPage)
        assert exchange.route.project == project


@pytest.mark.parametrize("target", [b"http://near.test/simple/six/", b"https://other.test/simple/six/", b"*"])
def test_a_target_that_names_a_host_is_known_as_a_whole_alone(scene: Scene, target: bytes) -> None:
    line = b"GET " + target + b" HTTP/1.1\r\n"
    scene.ask("/simple/six/", head=line + PIP)
    scene.ask("/simple/beta/", head=BETA + UV)
    assert scene.again(line + PIP) is not None
    assert scene.again(line + UV) is None


def test_header_lines_before_the_first_crlf_are_no_other_clients(scene: Scene) -> None:
    """RFC 9112 §2.2: a line may end in LF alone. What such lines say must not count for whoever sends the rest of the head."""
    scene.ask("/simple/six/", head=LINE + PIP)
    scene.ask("/simple/beta/", head=BETA[:-2] + b"\nIf-None-Match: *\nX: HTTP/1.1\r\n" + UV)
    assert (exchange := scene.again(LINE + UV)) is not None
    assert dict(exchange.request.headers) == {"Host": "near.test", "User-Agent": "uv"}


def test_each_request_for_a_page_is_looked_up_by_its_own_header_lines(scene: Scene) -> None:
    """A head that is put together has the route of another request."""
    first, second = (
        replace(request_with("GET", ("Accept", kind)), url=Url("https", *NEAR, "/simple/six/", ""))
        for kind in ("text/html", JSON_TYPE)
    )
    route = scene.service.route(first)
    assert isinstance(route, ProjectPage)
    found = [scene.service.pages._lookups.of(request, route) for request in (first, second, first)]
    assert found[0] == found[2] != found[1]
    assert scene.service.pages._lookups.of(first, route) is found[2]


def test_a_failure_as_a_head_is_put_together(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.ask("/simple/six/", head=LINE + PIP)
    scene.ask("/simple/beta/", head=BETA + UV)

    def broken(*_: object) -> NoReturn:
        raise RuntimeError("broken")

    scene.intake._heads._answer = broken
    assert scene.again(LINE + UV) is None
    assert "RuntimeError: broken" in caplog.text


def stop(scene: Scene) -> None:
    scene.exiting = True


def close(scene: Scene) -> None:
    scene.intake.close()


def want_a_login(scene: Scene) -> None:
    scene.proxyauth.validator = lambda *_: True  # type: ignore[assignment]


def learn_a_host(scene: Scene) -> None:
    scene.service.hosts.learn("near", "six", [("files.test", 443)])


def forget_the_page(scene: Scene) -> None:
    scene.answer = lambda: None


def fail(scene: Scene) -> None:
    def answer() -> Response:
        raise RuntimeError("broken")

    scene.answer = answer


def stream(scene: Scene) -> None:
    scene.answer = lambda: Response(status=200, headers=CIMultiDict(), body=object())  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [stop, close, want_a_login, learn_a_host])
def test_what_forbids_the_short_way(scene: Scene, change: Callable[[Scene], None]) -> None:
    scene.ask()
    assert scene.again() is not None
    change(scene)
    assert scene.again() is None


@pytest.mark.parametrize("change", [forget_the_page, fail, stream])
def test_an_answer_that_needs_the_ordinary_way(scene: Scene, change: Callable[[Scene], None]) -> None:
    scene.service.from_memory = lambda *_: lambda: scene.answer()  # type: ignore[method-assign]  # noqa: PLW0108  as it is then
    scene.ask()
    assert scene.again() is not None
    change(scene)
    assert scene.again() is None


def test_nothing_is_remembered_where_everybody_logs_in(scene: Scene) -> None:
    request = make_request(path="/simple/six/", host="near.test")
    del request.headers["Content-Length"]
    exchange = scene.intake.admit_request(make_context(scene.client, NEAR), HTTPMode.transparent, request, ends=True)
    assert exchange is not None
    want_a_login(scene)
    assert scene.intake.try_from_memory(exchange, (PLACE, HEAD)) is not None
    scene.proxyauth.validator = None
    assert scene.again() is None


def test_nothing_is_remembered_where_flows_are_shown(tmp_path: Path) -> None:
    """mitmweb lists each request."""
    scene = Scene(tmp_path, shows_flows=True)
    scene.ask()
    scene.intake.remember_connect((place_of(make_context(make_client()), HTTPMode.regular), HEAD), NEAR)
    assert scene.again() is None
    assert scene.intake.known_connect((place_of(make_context(make_client()), HTTPMode.regular), HEAD)) is None


def test_a_learned_host_is_not_remembered(scene: Scene) -> None:
    """Each use of it is counted: it is forgotten after a month without any."""
    scene.service.hosts.learn("near", "six", [("files.test", 443)])
    place = ("files.test", 443, HTTPMode.transparent, True)
    scene.ask("/six-1.0-py3-none-any.whl", "files.test", place=place)
    assert scene.again(place=place) is None


CONNECT: Final = b"CONNECT near.test:443 HTTP/1.1\r\nHost: near.test:443\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "mode", "expected"),
    [
        (CONNECT, HTTPMode.regular, NEAR),
        (CONNECT.replace(b"\r\n\r\n", b"\r\nUser-Agent: pip\r\n\r\n"), HTTPMode.regular, NEAR),
        (CONNECT.replace(b"\r\n\r\n", b"\r\nProxy-Authorization: Basic YTpi\r\n\r\n"), HTTPMode.regular, None),
        (CONNECT.replace(b"\r\n\r\n", b"\r\nproxy-authorization: Basic YTpi\r\n\r\n"), HTTPMode.regular, None),
        (CONNECT, HTTPMode.upstream, None),
        (CONNECT, HTTPMode.transparent, None),
    ],
)
def test_which_connects_are_remembered(
    scene: Scene, head: bytes, mode: HTTPMode, expected: tuple[str, int] | None
) -> None:
    place = "192.0.2.1", 8080, mode, False
    scene.intake.remember_connect((place, head), NEAR)
    assert scene.intake.known_connect((place, head)) == expected


@pytest.mark.parametrize("change", [stop, close, want_a_login])
def test_what_forbids_a_known_connect(scene: Scene, change: Callable[[Scene], None]) -> None:
    key = ("192.0.2.1", 8080, HTTPMode.regular, False), CONNECT
    scene.intake.remember_connect(key, NEAR)
    assert scene.intake.known_connect(key) == NEAR
    change(scene)
    assert scene.intake.known_connect(key) is None


def test_a_host_that_is_no_package_host_any_more(scene: Scene) -> None:
    key = ("192.0.2.1", 8080, HTTPMode.regular, False), CONNECT
    scene.intake.remember_connect(key, ("gone.test", 443))
    assert scene.intake.known_connect(key) is None
