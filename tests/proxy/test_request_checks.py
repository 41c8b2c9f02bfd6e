"""Where a request is meant to go, and the requests that are refused before anything is looked up."""

from dataclasses import replace
from typing import Final

import pytest
from mitmproxy.proxy.layers.http import HTTPMode
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.proxy.addresses import canonical_address
from pkgcache.proxy.request_checks import (
    MAX_HOST,
    Destination,
    destination,
    drop_upgrade,
    is_proxy_address,
    public_place,
    request_of,
    why_connect_refused,
    why_refused,
)
from pkgcache.rules.routing.paths import inner_path
from tests.proxy.connections import make_client, make_context, make_request

PUBLIC = ("proxy.example", 8080)
PUBLIC_URL = public_place("http://proxy.example:8080")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("index.test", "index.test"),
        ("Index.TEST", "index.test"),
        ("index.test.", "index.test"),
        ("::1", "::1"),
        ("0:0:0::1", "::1"),
        ("FD00::00A", "fd00::a"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("10.0.0.5", "10.0.0.5"),
        ("10.0.0.5.", "10.0.0.5"),
        ("10.5", "10.0.0.5"),
        ("012.0.0.05", "10.0.0.5"),
        ("0xA.5", "10.0.0.5"),
        ("0xa00000f", "10.0.0.15"),
        ("167772165", "10.0.0.5"),
        ("7zip.test", "7zip.test"),
        ("bücher.test", "xn--bcher-kva.test"),
        ("BÜCHER.test.", "xn--bcher-kva.test"),
        ("xn--bcher-kva.test", "xn--bcher-kva.test"),
        ("ü" * 64 + ".test", "ü" * 64 + ".test"),  # no label is that long
        ("1:2", "1:2"),
    ],
)
def test_canonical_address(host: str, expected: str) -> None:
    assert canonical_address((host, 443)) == (expected, 443)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", None),
        ("http://proxy.example:8080", PUBLIC),
        ("http://proxy.example", ("proxy.example", 80)),
        ("https://proxy.example", ("proxy.example", 443)),
        ("http://[2001:db8::1]:3128", ("2001:db8::1", 3128)),
    ],
)
def test_public_address(url: str, expected: tuple[str, int] | None) -> None:
    place = public_place(url)
    assert (place and (place.host, place.port)) == expected


@pytest.mark.parametrize(
    ("address", "sockname", "expected"),
    [
        (("192.0.2.9", 8080), ("192.0.2.9", 8080), True),
        (("192.0.2.9", 80), ("192.0.2.9", 8080), False),
        (("192.0.2.8", 8080), ("192.0.2.9", 8080), False),
        (("localhost", 8080), ("127.0.0.1", 8080), True),
        (("localhost", 8080), ("::1", 8080), True),
        (("localhost", 8081), ("127.0.0.1", 8080), False),
        (("localhost", 8080), ("192.0.2.9", 8080), False),  # the client's own localhost
        (PUBLIC, ("192.0.2.9", 1), True),
        (("proxy.example", 80), ("192.0.2.9", 8080), False),
        (("::1", 8080), ("::1", 8080, 0, 0), True),  # an IPv6 socket's name has four parts
    ],
)
def test_is_proxy_address(address: tuple[str, int], sockname: tuple[str, int], *, expected: bool) -> None:
    assert is_proxy_address(address, make_client(sockname), PUBLIC_URL) is expected


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (("Index.Test.", 443), ("index.test", 443)),
        (("INDEX.TEST", 8443), ("index.test", 8443)),
        (("b\u00fccher.test", 443), ("xn--bcher-kva.test", 443)),
        (("XN--BCHER-KVA.test.", 443), ("xn--bcher-kva.test", 443)),
        (("10.5", 443), ("10.0.0.5", 443)),
        (("2001:DB8::01", 443), ("2001:db8::1", 443)),
        (("2001:DB8::01", 443, 0, 0), ("2001:db8::1", 443)),  # of a socket, as mitmproxy's transparent mode has it
        (("::ffff:10.0.0.5", 443, 0, 0), ("10.0.0.5", 443)),
    ],
)
def test_destination_within_a_connect(server: tuple[str, int], expected: tuple[str, int]) -> None:
    """The target of the CONNECT counts, or of the transparent connection; Host is compared with it later."""
    context = make_context(make_client(tls=True), server)
    request = make_request(path="/simple/", host="other.test")
    assert destination(context, HTTPMode.transparent, request, PUBLIC_URL) == Destination(
        "https", expected, at_proxy=False
    )


def test_no_destination() -> None:
    assert destination(make_context(), HTTPMode.transparent, make_request(), None) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://Index.test/simple/", Destination("http", ("index.test", 80), at_proxy=False)),
        ("https://index.test:8443/", Destination("https", ("index.test", 8443), at_proxy=False)),
        ("http://192.0.2.9:8080/healthz", Destination("http", ("192.0.2.9", 8080), at_proxy=True)),
        ("http://proxy.example:8080/", Destination("http", PUBLIC, at_proxy=True)),
    ],
)
def test_destination_of_absolute_form(url: str, expected: Destination) -> None:
    assert destination(make_context(), HTTPMode.regular, make_request(url=url), PUBLIC_URL) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("agents-name.test:81", ("agents-name.test", 81)),
        ("agents-name.test", ("agents-name.test", 80)),
        ("[2001:db8::1]:8080", ("2001:db8::1", 8080)),
        (None, ("192.0.2.9", 8080)),
        ("", ("192.0.2.9", 8080)),
        ("a;rm -rf /", ("192.0.2.9", 8080)),  # the address is written into /env.sh
        ("$(id).test", ("192.0.2.9", 8080)),
        ("host.test:99999", ("192.0.2.9", 8080)),
        ("x" * (MAX_HOST + 1), ("192.0.2.9", 8080)),
    ],
)
def test_destination_of_origin_form(host: str | None, expected: tuple[str, int]) -> None:
    """It is always for the proxy, by the name in Host where that is one, else by the socket's address."""
    found = destination(make_context(), HTTPMode.regular, make_request(host=host), None)
    assert found == Destination("http", expected, at_proxy=True)


SHARED: Final = public_place("https://tools.example/pypi-cache")
AT_SHARED: Final = ("tools.example", 443)


@pytest.mark.parametrize(
    ("url", "at_proxy"),
    [
        ("https://tools.example/pypi-cache/pypi/simple/six/", True),
        ("https://tools.example:443/pypi-cache/", True),
        ("https://Tools.Example/pypi-cache/env.sh", True),
        ("https://tools.example/", False),  # what else is at that address is none of ours
        ("https://tools.example/pypi-cache", False),
        ("https://tools.example/pypi-cache-2/pypi/simple/six/", False),
        ("https://tools.example/gitea/pypi-cache/", False),
        ("https://other.example/pypi-cache/pypi/simple/six/", False),
        ("https://tools.example:8443/pypi-cache/pypi/simple/six/", False),
        ("http://192.0.2.9:8080/pypi/simple/six/", True),
    ],
)
def test_a_public_url_with_a_path(url: str, *, at_proxy: bool) -> None:
    """By an agent that has the proxy both as its proxy and as its index: sent on, it would come back by the reverse proxy (508)."""
    found = destination(make_context(), HTTPMode.regular, make_request(url=url), SHARED)
    assert found is not None
    assert found.at_proxy is at_proxy


def test_an_address_that_the_proxy_shares_is_not_itself() -> None:
    """A CONNECT to the reverse proxy of the company's tools is a tunnel like any other."""
    assert is_proxy_address(PUBLIC, make_client(), PUBLIC_URL)
    assert not is_proxy_address(AT_SHARED, make_client(), SHARED)
    assert is_proxy_address(("192.0.2.9", 8080), make_client(), SHARED)


def test_the_public_urls_scheme_counts() -> None:
    """TLS ends at the reverse proxy; a page's `<base href>` that said http, port 443, led nowhere."""
    found = destination(make_context(), HTTPMode.regular, make_request(host="upstream_of_nginx"), SHARED)
    assert found == Destination("https", AT_SHARED, at_proxy=True)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/pypi-cache/pypi/simple/six/?format=json", "/pypi/simple/six/"),
        ("/pypi/simple/six/", "/pypi/simple/six/"),
        ("/pypi-cache/", "/"),
        ("/pypi-cache", "/pypi-cache"),
    ],
)
def test_the_path_of_the_public_url_is_taken_away(path: str, expected: str) -> None:
    request, place = make_request(path=path, host="any.test"), Destination("https", AT_SHARED, at_proxy=True)
    headers = CIMultiDictProxy(CIMultiDict[str]())

    def inner(path: str) -> str:
        return inner_path(path, "/pypi-cache", {"pypi"})

    assert request_of(make_client(), request, place, headers, inner).url.path == expected
    elsewhere = Destination("https", ("index.test", 443), at_proxy=False)
    assert request_of(make_client(), request, elsewhere, headers, inner).url.path == path.partition("?")[0]


def test_the_public_url_wins_over_host() -> None:
    found = destination(make_context(), HTTPMode.regular, make_request(host="other.test"), PUBLIC_URL)
    assert found == Destination("http", PUBLIC, at_proxy=True)


INDEX = Destination("https", ("index.test", 443), at_proxy=False)


@pytest.mark.parametrize(
    ("method", "ends", "host", "status"),
    [
        ("GET", True, "index.test", None),
        ("HEAD", True, "index.test", None),
        ("GET", True, "INDEX.test.:443", None),
        ("GET", True, "index.test:", None),  # RFC 3986 §3.2.3: the default port
        ("GET", True, None, None),  # HTTP/1.0
        ("POST", True, "index.test", None),
        ("POST", False, "index.test", None),
        ("POST", False, "other.test", 421),
        ("GET", False, "index.test", 400),
        ("GET", True, "two words", 400),
        ("GET", True, "index.test:0", 400),
        ("GET", True, "other.test", 421),
        ("GET", True, "index.test:8443", 421),
    ],
)
def test_refusals_within_a_connect(method: str, host: str | None, status: int | None, *, ends: bool) -> None:
    refusal = why_refused(HTTPMode.transparent, make_request(method, host=host), INDEX, ends=ends)
    assert (refusal.status if refusal else None) == status


@pytest.mark.parametrize(
    ("address", "host", "status"),
    [
        ("10.0.0.5", "10.5", None),
        ("10.0.0.5", "0xa000005:443", None),
        ("10.0.0.5", "10.6", 421),
        ("2001:db8::1", "[2001:DB8:0::1]", None),
        ("2001:db8::1", "[2001:db8::2]", 421),
        ("10.0.0.5", "[::ffff:10.0.0.5]", None),
        ("xn--bcher-kva.test", "XN--BCHER-KVA.test.", None),
        ("xn--bcher-kva.test", "bcher-kva.test", 421),
    ],
)
def test_host_in_other_spellings(address: str, host: str, status: int | None) -> None:
    """One host however it is spelt (RFC 9110 §4.2.3)."""
    target = Destination("https", (address, 443), at_proxy=False)
    refusal = why_refused(HTTPMode.transparent, make_request(host=host), target, ends=True)
    assert (refusal.status if refusal else None) == status


def test_the_proxys_own_address_answers_get_and_head() -> None:
    refusal = why_refused(HTTPMode.regular, make_request("POST"), replace(INDEX, at_proxy=True), ends=True)
    assert refusal is not None
    assert (refusal.status, refusal.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("value", ["h2c", "TLS/1.0", "websocket, h2c", "h2c, websocket", ""])
def test_no_other_protocol(value: str) -> None:
    request = make_request(headers={"Upgrade": value})
    drop_upgrade(request)
    assert "Upgrade" not in request.headers


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        ({"Content-Length": "0"}, False),
        ({"Content-Length": "000"}, False),
        ({"Content-Length": ""}, False),
        ({"Content-Length": "1"}, True),
        ({"Content-Length": "010"}, True),
        ({"Content-Length": "0, 5"}, True),
        ({"Transfer-Encoding": "chunked"}, True),
        ({"transfer-encoding": "identity"}, True),
        ({"Transfer-Encoding": "chunked", "Content-Length": "0"}, True),
    ],
)
def test_a_connect_with_a_body(headers: dict[str, str], *, refused: bool) -> None:
    request = make_request("CONNECT")
    request.headers.clear()  # mitmproxy has put in a length
    request.headers.update(headers)
    assert bool(why_connect_refused(request)) is refused


def test_websocket() -> None:
    request = make_request(headers={"Upgrade": "WebSocket"})
    drop_upgrade(request)
    assert request.headers["Upgrade"] == "WebSocket"


def test_host_does_not_matter_in_absolute_form() -> None:
    """RFC 9112 §3.2.2: a proxy ignores Host there, and sends on the target's (`FastPathStream._pass_on`)."""
    request = make_request(url="http://index.test/", host="other.test")
    target = Destination("http", ("index.test", 80), at_proxy=False)
    assert why_refused(HTTPMode.regular, request, target, ends=True) is None
