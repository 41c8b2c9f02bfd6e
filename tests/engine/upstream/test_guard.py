"""The proxy's own fetches go to public addresses only, be they written in a URL or found by the resolver."""

import asyncio
import socket
from collections.abc import Callable

import pytest
from aiohttp.abc import ResolveResult

from pkgcache.engine.upstream.guard import GuardedResolver, RefusedAddressError, check_literal
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
