"""The proxy's own fetches go to public addresses only, be they written in a URL or found by the resolver."""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from aiohttp.abc import ResolveResult

from pkgcache.engine.upstream import guard
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import UpstreamError
from pkgcache.engine.upstream.guard import GuardedResolver, RefusedAddressError, check_literal, is_own_address
from pkgcache.rules.routing.urls import parse_url

CONFIGURED = ("mirror.test", 443)


def is_configured(address: tuple[str, int]) -> bool:
    return address in {CONFIGURED, ("10.0.0.7", 443)}


def resolving(*addresses: str) -> Callable[[str, int, socket.AddressFamily], object]:
    """What the system's resolver would answer."""

    async def resolve(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in addresses
        ]

    return resolve


def resolved(monkeypatch: pytest.MonkeyPatch, host: str, port: int, *addresses: str) -> list[str]:
    async def run() -> list[str]:
        resolver = GuardedResolver(is_configured)
        monkeypatch.setattr(resolver._inner, "resolve", resolving(*addresses))
        return [item["host"] for item in await resolver.resolve(host, port)]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("host", "port", "addresses", "expected"),
    [
        ("files.test", 443, ["8.8.8.8"], ["8.8.8.8"]),
        ("files.test", 443, ["10.0.0.1", "8.8.8.8", "::1"], ["8.8.8.8"]),
        ("mirror.test", 443, ["10.0.0.1"], ["10.0.0.1"]),
        ("mirror.test", 443, ["127.0.0.1", "8.8.8.8"], ["127.0.0.1", "8.8.8.8"]),
    ],
)
def test_what_is_left_to_dial(
    monkeypatch: pytest.MonkeyPatch, host: str, port: int, addresses: list[str], expected: list[str]
) -> None:
    assert resolved(monkeypatch, host, port, *addresses) == expected


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("files.test", 443, "10.0.0.1"),
        ("files.test", 443, "fe80::1%eth0"),
        ("files.test", 443, "::ffff:127.0.0.1"),
        ("files.test", 443, "64:ff9b::10.0.0.1"),
        ("files.test", 443, "2002:7f00:1::"),
        ("mirror.test", 8443, "10.0.0.1"),  # another port of a configured host is another server
    ],
)
def test_nothing_is_left(monkeypatch: pytest.MonkeyPatch, host: str, port: int, address: str) -> None:
    with pytest.raises(RefusedAddressError, match=f"{host} resolves to a private address"):
        resolved(monkeypatch, host, port, address)


@pytest.mark.parametrize(
    "url", ["https://8.8.8.8/x", "https://intranet.test/x", "https://10.0.0.7/x", "https://[2001:4860::8]/"]
)
def test_a_url_that_may_be_dialled(url: str) -> None:
    check_literal(parse_url(url), is_configured)


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/x",
        "https://127.0.0.1/",
        "http://10.0.0.7/x",
        "https://[::1]/",
        "http://169.254.169.254/latest",
    ],
)
def test_a_url_that_may_not(url: str) -> None:
    with pytest.raises(RefusedAddressError, match="pypi_cache_index"):
        check_literal(parse_url(url), is_configured)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("8.8.8.8", False),
        ("203.0.113.1", False),
        ("2001:4860::8", False),
        ("10.255.255.254", False),
    ],
)
def test_an_address_of_this_machine(address: str, *, expected: bool) -> None:
    assert is_own_address(ip_address(address)) is expected


def test_where_any_address_can_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ip_nonlocal_bind`: a bind that succeeds proves nothing, and must not close the whole outside."""
    monkeypatch.setattr(guard, "_can_bind", lambda _: True)
    monkeypatch.setattr(guard, "_answers_itself", lambda ip: ip.is_loopback)
    assert is_own_address(ip_address("127.0.0.1"))
    assert not is_own_address(ip_address("192.31.196.1"))


def test_a_public_address_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine in a data centre has one; a page's link must not lead to a service there that trusts the machine itself."""

    def is_own(ip: IPv4Address | IPv6Address) -> bool:
        return str(ip) == "192.31.196.1"

    monkeypatch.setattr(guard, "is_own_address", is_own)
    assert resolved(monkeypatch, "files.test", 443, "192.31.196.1", "8.8.8.8") == ["8.8.8.8"]
    with pytest.raises(RefusedAddressError, match="this machine"):
        resolved(monkeypatch, "files.test", 443, "192.31.196.1")
    with pytest.raises(RefusedAddressError, match="this machine's own"):
        check_literal(parse_url("https://192.31.196.1/x"), is_configured)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([["192.31.196.1"], ["127.0.0.1"]], "may dial loopback only, not .'192.31.196.1'"),
        ([["127.0.0.1", "192.31.196.1"], ["127.0.0.1"]], "may dial loopback only, not .'192.31.196.1'"),
        ([["127.0.0.1"], ["192.31.196.1"]], "resolves to a private address"),
        ([["64:ff9b::7f00:1"], ["192.31.196.1"]], "resolves to a private address"),
    ],
)
async def test_what_was_checked_is_dialled(
    monkeypatch: pytest.MonkeyPatch, answers: list[list[str]], expected: str
) -> None:
    """A name that resolves otherwise the second time (DNS rebinding) is not looked up a second time."""
    asked: list[str] = []

    async def getaddrinfo(_: object, host: str, port: int, **more: object) -> list[tuple[object, ...]]:
        asked.append(host)
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in answers[len(asked) - 1]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    client = UpstreamClient(may_be_private=lambda _: False, via="1.1 test")
    client.open()
    try:
        with pytest.raises((UpstreamError, RuntimeError), match=expected):
            async with client.request("GET", parse_url("http://rebinds.test/x"), {}):
                pass
    finally:
        await client.close()
    assert asked == ["rebinds.test"]
