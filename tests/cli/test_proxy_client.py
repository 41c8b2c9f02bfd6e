"""Asking a proxy: its URL, what it says of itself, answers that are whole or cut short, and connections that it has closed meanwhile."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from pkgcache.cli.proxy_client import (
    Agents,
    ProxyAnswer,
    ProxyClient,
    ProxyError,
    agents_proxy,
    shown_url,
    without_credentials,
)
from tests.cli.peers import Peer, http

HEALTH = {"status": "ok", "version": "1", "store": {}, "trouble": {}}


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def make(*answers: bytes, **more: int) -> Peer:
        peers.append(Peer(*answers, **more))
        return peers[-1]

    yield make
    for each in peers:
        each.close()


# URLs


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("http://proxy.example:3128/", "http://proxy.example:3128"),
        ("http://proxy.example", "http://proxy.example:8080"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("http://user:p%40ss@proxy.example:3128", "http://user:p%40ss@proxy.example:3128"),
        ("http://[::1]:3128", "http://[::1]:3128"),
    ],
)
def test_a_proxys_url(given: str, url: str) -> None:
    assert ProxyClient(given).url == url


@pytest.mark.parametrize(
    "given",
    ["", "https://proxy.example", "socks5://proxy.example", "http://", "http://proxy.example:many", "http://u:se/cret@p:1"],
)  # fmt: skip
def test_no_proxys_url(given: str) -> None:
    """One line that says what would be right, without a piece of what was given: it may be of a password."""
    with pytest.raises(ProxyError) as caught:
        ProxyClient(given)
    assert str(caught.value) == "no proxy's URL; expected http://HOST:PORT"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@proxy.example:1", "http://***@proxy.example:1"),
        ("user:secret@proxy.example:1", "http://***@proxy.example:1"),
        ("http://proxy.example:1", "http://proxy.example:1"),
        ("http://user:se@cret@proxy.example:1", "http://***@proxy.example:1"),
    ],
)
def test_how_it_is_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("url", "plain", "login"),
    [
        ("https://i.example/simple", "https://i.example/simple", ""),
        ("https://user:pass@i.example/simple", "https://i.example/simple", "Basic dXNlcjpwYXNz"),
        ("https://us%40er:p%3As@i.example:1/", "https://i.example:1/", "Basic dXNAZXI6cDpz"),
    ],
)
def test_credentials_of_an_index(url: str, plain: str, login: str) -> None:
    assert without_credentials(url) == (plain, login)


# What it says of itself


def test_a_healthy_proxy(peer: Callable[..., Peer]) -> None:
    one = peer(http(json.dumps(HEALTH).encode()))
    assert ProxyClient(one.url.replace("//", "//user:pass@")).health() == HEALTH
    assert one.asked[0].startswith("GET /healthz HTTP/1.1")
    assert "Authorization: Basic dXNlcjpwYXNz" in one.asked[0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(b"{}"), "is no pypi-cache"),
        (http(b"[]"), "is no pypi-cache"),
        (http(b"<html>"), "is no pypi-cache"),
        (http(b"\n no such page \n", status="404 Not Found"), "/healthz answers 404: no such page"),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer (SSH-2.0-OpenSSH)"),
        (b"", "does not answer (Remote end closed connection without response)"),
        (http(b"{}", length=100), "does not answer (98 bytes are missing)"),
    ],
    ids=["another object", "a list", "a page", "404", "no HTTP", "nothing", "cut short"],
)
def test_something_else_listens(answer: bytes, said: str, peer: Callable[..., Peer]) -> None:
    with pytest.raises(ProxyError) as caught:
        ProxyClient(peer(answer).url).health()
    assert said in str(caught.value)


def test_nobody_listens() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    with pytest.raises(ProxyError, match=f"127.0.0.1:{port} does not answer"):
        ProxyClient(f"http://127.0.0.1:{port}").health()


def test_a_bundle_without_certificates() -> None:
    with pytest.raises(ProxyError, match=r"its /bundle.pem holds no certificates"):
        ProxyClient("http://127.0.0.1:1").trust("no PEM")


# Through it


def got(client: ProxyClient, url: str) -> tuple[ProxyAnswer, bytes]:
    parts: list[bytes] = []
    return client.get(url, {"Accept": "*/*"}, parts.append), b"".join(parts)


def test_absolute_form(peer: Callable[..., Peer]) -> None:
    """A login for the proxy goes along, and none that is in the URL of the page."""
    one = peer(http(b"body"))
    client = ProxyClient(one.url.replace("//", "//user:pass@"))
    answer, body = got(client, "http://me:secret@i.example/simple/x/?a=b")
    assert (answer.status, answer.headers["cache-status"], body) == (200, "pypi-cache; hit", b"body")
    assert one.asked[0].startswith("GET http://i.example/simple/x/?a=b HTTP/1.1")
    assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in one.asked[0]
    assert "secret" not in one.asked[0]


def test_what_is_not_200_has_its_first_line(peer: Callable[..., Peer]) -> None:
    answer, body = got(
        ProxyClient(peer(http(b"\nwhy not\nmore", status="504 Gateway Timeout")).url), "http://i.example/"
    )
    assert (answer.status, answer.text, body) == (504, "why not", b"")


@pytest.mark.parametrize("header", ["", "Cache-Status: other; hit\r\n"])
def test_what_is_only_tunnelled(header: str, peer: Callable[..., Peer]) -> None:
    """Nothing of it would be in the store, though it is whole."""
    with pytest.raises(ProxyError, match=r"http://i.example/: it comes past the store"):
        got(ProxyClient(peer(http(b"body", more=header)).url), "http://i.example/")


def test_connections_are_kept(peer: Callable[..., Peer]) -> None:
    """Two requests on one; a third, after the proxy has closed it, on a new one without a word."""
    one = peer(http(b"1"), http(b"2"), http(b"3"), answers_a_connection=2)
    client = ProxyClient(one.url)
    assert [got(client, "http://i.example/")[1] for _ in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(b"half", length=8), "it broke off"),
        (
            b"HTTP/1.1 200 OK\r\nCache-Status: pypi-cache\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "it broke off",
        ),
        (b"", "Remote end closed connection"),
    ],
    ids=["by length", "chunked", "at once"],
)
def test_a_body_that_is_cut_short(answer: bytes, said: str, peer: Callable[..., Peer]) -> None:
    """http.client gives half a body without a word where it is read in pieces."""
    with pytest.raises(ProxyError, match=f"http://i.example/x: .*{said}"):
        got(ProxyClient(peer(answer).url), "http://i.example/x")


def test_who_takes_the_body_may_end_it(peer: Callable[..., Peer]) -> None:
    """And the next request is not answered by what was left on the connection."""
    one = peer(http(b"x" * 100_000), http(b"next"))
    client = ProxyClient(one.url)

    def enough(_: bytes) -> None:
        raise ProxyError("enough")

    with pytest.raises(ProxyError, match="enough"):
        client.get("http://i.example/", {}, enough)
    assert got(client, "http://i.example/")[1] == b"next"


# The proxy of an environment


def test_nobodys_environment() -> None:
    assert agents_proxy({"HTTP_PROXY": "http://proxy.example:1"}) is None


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_an_agents_environment(name: str, peer: Callable[..., Peer]) -> None:
    one = peer(http(json.dumps(HEALTH).encode()))
    found = agents_proxy({name: one.url})
    assert found is not None
    assert found.client is not None
    assert found.is_here


def test_an_environment_behind_another_proxy(peer: Callable[..., Peer]) -> None:
    found = agents_proxy({"HTTPS_PROXY": peer(http(b"", status="400 Bad Request")).url})
    assert found is not None
    assert (found.client, found.is_here) == (None, False)
    assert "/healthz answers 400" in found.said


def test_another_machines_proxy_is_not_here() -> None:
    """203.0.113.0/24 (RFC 5737) is nobody's."""
    assert not Agents("x", ProxyClient("http://203.0.113.1:8080"), "").is_here
