"""With always_fast.py a head that nobody has sent before goes the way of known heads, if that can take it, and no other does."""

import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.test import taddons

from pkgcache.proxy.known_heads import LONGEST_HEAD, Place
from tests.proxy.test_known_heads import NEAR, PLACE, Scene
from tests.support.always_fast import from_known_head, known_connect
from tests.support.authority import Authority
from tests.support.factories import MakeProxy
from tests.support.names import page_url
from tests.support.proxy import ALWAYS_FAST, Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wire import Wire

OUTSIDE: Final[Place] = ("192.0.2.9", 8080, HTTPMode.regular, False)
CONNECT: Final = b"CONNECT near.test:443 HTTP/1.1\r\n\r\n"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with taddons.context(Proxyserver()):  # it has the option by which heads are validated
        yield Scene(tmp_path)


def head(target: str = "/simple/six/", *fields: str, method: str = "GET", host: str = "near.test") -> bytes:
    lines = (f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", "")
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("packet", "place"),
    [
        pytest.param(head(), PLACE, id="a page"),
        pytest.param(head("/packages/6/six-1.0.tar.gz"), PLACE, id="a file"),
        pytest.param(head("/simple/six/", "X: y", "Connection: close"), PLACE, id="a field of its own; the last one"),
        pytest.param(head("/simple/six/", "Connection: keep-alive", 'If-None-Match: "a"'), PLACE, id="a condition"),
        pytest.param(head("/near/six/", host="192.0.2.9:8080"), OUTSIDE, id="at the proxy's own address"),
        pytest.param(head("https://near.test/simple/six/"), OUTSIDE, id="RFC 9112 §3.2.2: absolute-form"),
    ],
)
def test_what_is_taken(scene: Scene, packet: bytes, place: Place) -> None:
    assert scene.again(packet, place) is None
    exchange = from_known_head(scene.intake, (place, packet), scene.client)
    assert exchange is not None
    assert exchange.response is not None
    assert exchange.response.body == b"page"
    assert not scene.logged
    assert not scene.intake.exchanges
    assert scene.again(packet, place) is not None


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(head(method="HEAD"), id="HEAD"),
        pytest.param(head(method="POST"), id="POST"),
        pytest.param(head().replace(b"1.1", b"1.0"), id="HTTP/1.0 closes"),
        pytest.param(head().replace(b"1.1", b"1.2"), id="RFC 9110 §2.5: HTTP/1.2"),
        pytest.param(head("/simple/six/", "Authorization: Basic YTpi"), id="an origin's login"),
        pytest.param(head("/simple/six/", "Proxy-Authorization: Basic YTpi"), id="this proxy's login"),
        pytest.param(head("/simple/six/", "Cookie: a=b"), id="a session"),
        pytest.param(head("/simple/six/", "Content-Length: 0"), id="a body that is empty"),
        pytest.param(head("/simple/six/", "Content-Length: 1") + b"x", id="a body"),
        pytest.param(head("/simple/six/", "Transfer-Encoding: chunked") + b"0\r\n\r\n", id="a body in chunks"),
        pytest.param(head("/simple/six/", "Transfer-Encoding: chunked"), id="a body that is still to come"),
        pytest.param(head("/simple/six/", "Expect: 100-continue"), id="expects"),
        pytest.param(head("/simple/six/", "Upgrade: h2c", "Connection: upgrade"), id="upgrades"),
        pytest.param(head("/simple/six/", "Via: 1.1 other"), id="a loop"),
        pytest.param(head("/simple/six/", "Connection: keep-alive, X", "X: y"), id="names a field"),
        pytest.param(head("/simple/six/", "X: y\r\n z"), id="RFC 9112 §5.2: folded"),
        pytest.param(head("/simple/six/", "X : y"), id="RFC 9112 §5.1: a blank before the colon"),
        pytest.param(head("/simple/six/", "Host: near.test"), id="RFC 9112 §3.2: two Hosts"),
        pytest.param(head(host="other.test"), id="RFC 9110 §7.4: another host"),
        pytest.param(head().replace(b"\r\n", b"\n"), id="RFC 9112 §2.2: lines that end in LF alone"),
        pytest.param(b"\r\n" + head(), id="RFC 9112 §2.2: an empty line first"),
        pytest.param(head() + head(), id="two requests"),
        pytest.param(head()[:-2], id="not complete"),
        pytest.param(head("/simple/six/", f"X: {'x' * LONGEST_HEAD}"), id="longer than is remembered"),
        pytest.param(b"\x16\x03\x01\x00\x05hello", id="TLS"),
        pytest.param(b"", id="the end"),
        pytest.param(head("/elsewhere"), id="passed on"),
        pytest.param(head("/simple/six/", "Content-Length: x"), id="a length that is none"),
    ],
)
def test_what_is_not_taken(scene: Scene, packet: bytes) -> None:
    assert from_known_head(scene.intake, (PLACE, packet), scene.client) is None
    assert not scene.intake.exchanges


def closes(scene: Scene) -> None:
    scene.exiting = True


def wants_logins(scene: Scene) -> None:
    scene.proxyauth.validator = lambda *_: True  # type: ignore[assignment]


def has_no_answer(scene: Scene) -> None:
    scene.answer = lambda: None


@pytest.mark.parametrize("change", [closes, wants_logins, has_no_answer])
def test_what_forbids_it(scene: Scene, change: Callable[[Scene], None]) -> None:
    change(scene)
    assert from_known_head(scene.intake, (PLACE, head()), scene.client) is None
    if change is not has_no_answer:
        assert known_connect(scene.intake, (OUTSIDE, CONNECT)) is None


def test_a_learned_host(scene: Scene) -> None:
    """Each use of it is counted on the ordinary way."""
    scene.service.hosts.learn("near", "six", [("files.test", 443)])
    place = ("files.test", 443, HTTPMode.transparent, True)
    key = place, head("/six-1.0-py3-none-any.whl", host="files.test")
    assert from_known_head(scene.intake, key, scene.client) is None


def test_where_flows_are_shown(tmp_path: Path) -> None:
    with taddons.context(Proxyserver()):
        scene = Scene(tmp_path, shows_flows=True)
        assert from_known_head(scene.intake, (PLACE, head()), scene.client) is None
        assert known_connect(scene.intake, (OUTSIDE, CONNECT)) is None


@pytest.mark.parametrize(
    ("packet", "place", "expected"),
    [
        pytest.param(CONNECT, OUTSIDE, NEAR, id="a package host"),
        pytest.param(CONNECT.replace(b"near", b"NEAR"), OUTSIDE, NEAR, id="RFC 9110 §4.2.3: in capitals"),
        pytest.param(CONNECT.replace(b"near", b"far"), OUTSIDE, None, id="another host"),
        pytest.param(CONNECT.replace(b":443", b":444"), OUTSIDE, None, id="another port"),
        pytest.param(CONNECT, PLACE, None, id="within a CONNECT"),
        pytest.param(CONNECT + b"\x16", OUTSIDE, None, id="more comes with it"),
        pytest.param(CONNECT[:-2] + b"Content-Length: 1\r\n\r\n", OUTSIDE, None, id="RFC 9110 §9.3.6: a body"),
        pytest.param(CONNECT[:-2] + b"Proxy-Authorization: Basic YTpi\r\n\r\n", OUTSIDE, None, id="a login"),
        pytest.param(head("http://near.test/simple/six/"), OUTSIDE, None, id="no CONNECT"),
    ],
)
def test_connects(scene: Scene, packet: bytes, place: Place, expected: tuple[str, int] | None) -> None:
    assert known_connect(scene.intake, (place, packet)) == expected


@pytest.mark.parametrize(("fast_way", "is_taken"), [("always", True), ("never", False), ("", False)])
def test_at_a_running_proxy(
    make_proxy: MakeProxy, upstream: Upstream, ca: Authority, fast_way: str, *, is_taken: bool
) -> None:
    """Each request has a field that no other has, and each connection a CONNECT like the one before."""
    proxy = make_proxy(upstream, fast_way=fast_way)
    numbers = count()

    def taken() -> int:
        with Wire(proxy.port, page_url("alpha"), ca=proxy.ca) as wire:
            for _ in range(3):
                assert wire.request(page_url("alpha"), headers={"X": str(next(numbers))}).status == 200
        told = re.search(r"(?m)^pypi_cache_known_heads_total (\S+)", proxy.get("/metrics").body.decode())
        assert told
        return int(float(told[1]))

    if is_taken:
        eventually(taken)
    else:
        assert taken() == 0


@pytest.mark.parametrize(
    ("fast_way", "own", "expected"),
    [
        ("", {}, []),
        ("always", {}, []),
        ("never", {}, ["0"]),
        pytest.param("never", {"pypi_cache_known_heads": "1k"}, ["1k"], id="a test's own option is stronger"),
        pytest.param("always", {"pypi_cache_known_heads": "0"}, ["0"], id="here too"),
    ],
)
def test_what_is_run(tmp_path: Path, fast_way: str, own: dict[str, str], expected: list[str]) -> None:
    command = Proxy(tmp_path, options=own, fast_way=fast_way, start=False).command
    assert [word.partition("=")[2] for word in command if word.startswith("pypi_cache_known_heads=")] == expected
    assert (str(ALWAYS_FAST) in command) == (fast_way == "always")
