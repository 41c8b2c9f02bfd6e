"""A proxy as its clients see it: its URL, its own pages, and requests through it, whole or cut short, on connections that it may close."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from pkgcache.cli.proxy_client import (
    EnvironmentProxy,
    ProxyClient,
    ProxyError,
    proxy_of_environment,
    shown_url,
    without_credentials,
)
from pkgcache.engine.upstream.errors import UpstreamError
from pkgcache.rules.routing.urls import parse_url
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
    assert str(caught.value) == "not a proxy's URL; expected http://HOST:PORT"


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
        (http(b"{}"), "is not a pypi-cache"),
        (http(b"[]"), "is not a pypi-cache"),
        (http(b"<html>"), "is not a pypi-cache"),
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
    with pytest.raises(ProxyError, match=r"/bundle.pem holds no certificates"):
        ProxyClient("http://127.0.0.1:1").trust("no PEM")


# Through it


def got(client: ProxyClient, *urls: str) -> list[tuple[int, bytes]]:
    """Status and body of each, asked for one after the other in one session."""

    async def get() -> list[tuple[int, bytes]]:
        found = []
        async with client.session() as session:
            for url in urls:
                async with session.request("GET", parse_url(url), {"Accept": "*/*"}) as response:
                    found.append((response.status, await response.body(1 << 20)))
        return found

    return asyncio.run(get())


def test_absolute_form(peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    """A login for the proxy goes along; NO_PROXY does not count."""
    monkeypatch.setenv("NO_PROXY", "*")
    one = peer(http(b"body"))
    client = ProxyClient(one.url.replace("//", "//user:p%3Ass@"))
    assert got(client, "http://i.example/simple/%78/?a=b") == [(200, b"body")]
    assert one.asked[0].startswith("GET http://i.example/simple/%78/?a=b HTTP/1.1")
    assert "Proxy-Authorization: Basic dXNlcjpwOnNz" in one.asked[0]


def test_connections_are_kept(peer: Callable[..., Peer]) -> None:
    """Two requests use one; after the proxy has closed it, the third opens another, and nothing fails."""
    one = peer(http(b"1"), http(b"2"), http(b"3"), answers_a_connection=2)
    assert [body for _, body in got(ProxyClient(one.url), *["http://i.example/"] * 3)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http(b"half", length=8), "broke off"),
        (
            b"HTTP/1.1 200 OK\r\nCache-Status: pypi-cache\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "broke off",
        ),
        (b"", "Server disconnected"),
    ],
    ids=["by length", "chunked", "at once"],
)
def test_a_body_that_is_cut_short(answer: bytes, reason: str, peer: Callable[..., Peer]) -> None:
    with pytest.raises(UpstreamError, match=f"http://i.example/x: .*{reason}"):
        got(ProxyClient(peer(answer, answer).url), "http://i.example/x")


# The proxy of an environment


def test_nobodys_environment() -> None:
    assert proxy_of_environment({"HTTP_PROXY": "http://proxy.example:1"}) is None


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_an_agents_environment(name: str, peer: Callable[..., Peer]) -> None:
    one = peer(http(json.dumps(HEALTH).encode()))
    found = proxy_of_environment({name: one.url})
    assert found is not None
    assert found.client is not None
    assert found.is_here


def test_an_environment_behind_another_proxy(peer: Callable[..., Peer]) -> None:
    found = proxy_of_environment({"HTTPS_PROXY": peer(http(b"", status="400 Bad Request")).url})
    assert found is not None
    assert (found.client, found.is_here) == (None, False)
    assert "/healthz answers 400" in found.error


def test_another_machines_proxy_is_not_here() -> None:
    """203.0.113.0/24 (RFC 5737) is nobody's."""
    assert not EnvironmentProxy("x", ProxyClient("http://203.0.113.1:8080"), "").is_here
