"""Who may use the proxy: mitmproxy's `proxyauth`, asked by the fast path."""

import base64
from collections.abc import Iterator

import pytest
from mitmproxy.addons.proxyauth import ProxyAuth
from mitmproxy.test import taddons
from multidict import CIMultiDict

from pkgcache.proxy.authentication import OPEN_PAGES, Authenticator
from tests.proxy.connections import make_client


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.fixture
def proxyauth() -> Iterator[ProxyAuth]:
    auth = ProxyAuth()
    with taddons.context(auth) as running:
        running.configure(auth, proxyauth="user:sesame")
        yield auth


@pytest.mark.parametrize("at_proxy", [False, True])
@pytest.mark.parametrize(
    ("value", "passes"),
    [
        (basic("user:sesame"), True),
        (basic("user:wrong"), False),
        (basic("other:sesame"), False),
        (basic("user"), False),
        ("Bearer sesame", False),
        ("", False),
        (None, False),
    ],
)
def test_credentials(proxyauth: ProxyAuth, value: str | None, *, passes: bool, at_proxy: bool) -> None:
    """401 at the proxy's own address, 407 for a client that uses it as a proxy, each with its own challenge."""
    name = "Authorization" if at_proxy else "Proxy-Authorization"
    headers = CIMultiDict({"Accept": "*/*"} | ({name: value} if value is not None else {}))
    refusal = Authenticator(proxyauth).refusal(make_client(), "/simple/", headers, at_proxy=at_proxy)
    if passes:
        assert refusal is None
        assert list(headers) == ["Accept"], "the credentials must not go on to an upstream"
    else:
        assert refusal is not None
        assert refusal.status == (401 if at_proxy else 407)
        challenge = "WWW-Authenticate" if at_proxy else "Proxy-Authenticate"
        assert refusal.headers[challenge] == 'Basic realm="pypi-cache"'


def test_the_other_header_does_not_count(proxyauth: ProxyAuth) -> None:
    """`Authorization` on a proxied request is for the index, and must stay."""
    headers = CIMultiDict({"Authorization": basic("user:sesame")})
    refusal = Authenticator(proxyauth).refusal(make_client(), "/simple/", headers, at_proxy=False)
    assert refusal is not None
    assert refusal.status == 407
    assert "Authorization" in headers


@pytest.mark.parametrize("path", [*sorted(OPEN_PAGES), "/stats", "/", "/healthz/x", "/dashboard.json", "/start.txt"])
def test_open_pages(proxyauth: ProxyAuth, path: str) -> None:
    refusal = Authenticator(proxyauth).refusal(make_client(), path, CIMultiDict(), at_proxy=True)
    assert (refusal is None) == (path in OPEN_PAGES)


def test_a_path_is_open_at_the_proxy_only(proxyauth: ProxyAuth) -> None:
    assert Authenticator(proxyauth).refusal(make_client(), "/healthz", CIMultiDict(), at_proxy=False) is not None


def test_a_client_that_its_connect_has_authenticated(proxyauth: ProxyAuth) -> None:
    client = make_client()
    proxyauth.authenticated[client] = ("user", "sesame")
    assert Authenticator(proxyauth).refusal(client, "/", CIMultiDict(), at_proxy=False) is None


@pytest.mark.parametrize("auth", [None, ProxyAuth()])
def test_without_the_option_everybody_may(auth: ProxyAuth | None) -> None:
    assert Authenticator(auth).refusal(make_client(), "/", CIMultiDict(), at_proxy=False) is None
