"""Where tunnels and ordinary flows may connect; names resolve as each test says."""

import asyncio
import socket
from typing import Any

import pytest
from mitmproxy.connection import Server
from mitmproxy.proxy.mode_specs import ProxyMode

from pkgcache.engine.upstream.parent_proxy import ParentProxy
from pkgcache.proxy.exchange import TunnelPlan
from pkgcache.proxy.tunnels import ITSELF, Checked, Tunnels
from pkgcache.rules.routing.router import Router
from pkgcache.settings import make_settings
from tests.proxy.connections import make_client

NAMES = {
    "public.test": ["192.31.196.1"],
    "both.test": ["127.0.0.1", "192.31.196.1", "10.0.0.1"],
    "inside.test": ["127.0.0.1", "::1"],
    "private.test": ["10.0.0.1"],
    "localhost": ["127.0.0.1"],
    "file-host.test": ["127.0.0.1"],
}
PARENT = ParentProxy(
    url="http://parent.test:3128",
    scheme="http",
    address=("parent.test", 3128),
    authorization="",
    no_proxy="direct.test,public.test",
)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(_: object, host: str, port: int, **more: Any) -> list[tuple[Any, ...]]:
        if host not in NAMES:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in NAMES[host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)


def make_tunnels(parent: ParentProxy | None = None, **options: Any) -> Tunnels:
    settings = make_settings({f"pypi_cache_{name}": value for name, value in options.items()})
    return Tunnels(settings, Router((), [("file-host.test", 443)], {}), parent, lambda: {8080})


def planned(tunnels: Tunnels, host: str, port: int = 443) -> TunnelPlan:
    plan = TunnelPlan((host, port), make_client())
    asyncio.run(tunnels.plan(plan))
    return plan


def checked(tunnels: Tunnels, server: Server) -> Checked | None:
    return asyncio.run(tunnels.checked(server))


def server_of(host: str, port: int = 443) -> Server:
    return Server(address=(host, port), transport_protocol="tcp")


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("public.test", ["192.31.196.1"]),
        ("private.test", ["10.0.0.1"]),  # clients reach their own network anyway
        ("both.test", ["192.31.196.1", "10.0.0.1"]),
    ],
)
def test_a_tunnel(host: str, addresses: list[str]) -> None:
    plan = planned(make_tunnels(), host)
    assert [server.address for server in plan.servers] == [(address, 443) for address in addresses]
    assert (plan.refusal, plan.error, plan.parent) == ("", "", None)


def test_a_tunnel_into_this_machine() -> None:
    plan = planned(make_tunnels(), "inside.test", 22)
    assert plan.servers == []
    assert "pypi_cache_local_hosts=inside.test:22" in plan.refusal


def test_an_exception_for_one_port() -> None:
    tunnels = make_tunnels(local_hosts=["inside.test:22"])
    assert [server.address for server in planned(tunnels, "inside.test", 22).servers] == [
        ("127.0.0.1", 22),
        ("::1", 22),
    ]
    assert planned(tunnels, "inside.test", 23).refusal


@pytest.mark.parametrize("host", ["nowhere.test", "x" * 64 + ".test"])
def test_a_name_that_does_not_resolve(host: str) -> None:
    plan = planned(make_tunnels(), host)
    assert (plan.servers, plan.refusal) == ([], "")
    assert f"{host} cannot be resolved" in plan.error


def test_no_tunnels() -> None:
    plan = planned(make_tunnels(other_hosts="deny"), "public.test")
    assert "pypi_cache_other_hosts=deny" in plan.refusal
    assert plan.servers == []


def test_the_parent_proxy_resolves_the_name() -> None:
    """Where only the parent leads outside, the proxy's own machine may know no outside names."""
    plan = planned(make_tunnels(PARENT), "nowhere.test")
    assert (plan.parent, plan.error, plan.servers) == (("http", ("parent.test", 3128)), "", [])


def test_no_proxy() -> None:
    plan = planned(make_tunnels(PARENT), "public.test")
    assert plan.parent is None
    assert [server.address for server in plan.servers] == [("192.31.196.1", 443)]


@pytest.mark.parametrize("parent", [None, PARENT])
@pytest.mark.parametrize("host", ["index.test", "direct.test"])
def test_mitmproxys_upstream_mode(parent: ParentProxy | None, host: str) -> None:
    """`--mode upstream:` goes before the environment, and has no exceptions."""
    client = make_client()
    client.proxy_mode = ProxyMode.parse("upstream:https://mode.test:8443")
    assert make_tunnels(parent).parent_of(host, client) == ("https", ("mode.test", 8443))


@pytest.mark.parametrize(
    ("host", "port", "addresses"),
    [
        ("public.test", 443, ["192.31.196.1"]),
        ("private.test", 443, ["10.0.0.1"]),
        ("inside.test", 443, []),
        ("both.test", 443, ["192.31.196.1", "10.0.0.1"]),
        ("127.0.0.1", 443, []),
        ("nat64.test", 443, []),
        ("nowhere.test", 443, []),
        ("file-host.test", 443, ["127.0.0.1"]),  # in pypi_cache_file_hosts
        ("file-host.test", 80, []),
        ("localhost", 8000, ["127.0.0.1"]),  # in pypi_cache_local_hosts
    ],
)
def test_an_ordinary_flow(monkeypatch: pytest.MonkeyPatch, host: str, port: int, addresses: list[str]) -> None:
    monkeypatch.setitem(NAMES, "127.0.0.1", ["127.0.0.1"])
    monkeypatch.setitem(NAMES, "nat64.test", ["64:ff9b::7f00:1"])
    found = checked(make_tunnels(PARENT, local_hosts=["localhost:8000"]), server_of(host, port))
    assert found is not None
    assert found.addresses == tuple((address, port) for address in addresses)
    assert bool(found.refusal or found.error) is not bool(addresses)
    assert bool(found.error) is (host == "nowhere.test")


def test_the_parent_proxy_is_dialled_as_it_is() -> None:
    assert checked(make_tunnels(PARENT), server_of("parent.test", 3128)) is None


@pytest.mark.parametrize("host", ["file-host.test", "localhost", "own.test", "inside.test"])
def test_the_proxys_own_port(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A loop, whatever the options allow: whoever came that way would look like a client on the proxy's machine."""
    monkeypatch.setattr("pkgcache.proxy.tunnels.is_own_address", lambda ip: str(ip) == "192.31.196.7")
    monkeypatch.setitem(NAMES, "own.test", ["192.31.196.7"])
    tunnels = make_tunnels(local_hosts=["file-host.test", "localhost", "own.test", "inside.test"])
    assert planned(tunnels, host, 8080).refusal == ITSELF
    found = checked(tunnels, server_of(host, 8080))
    assert found is not None
    assert (found.refusal, found.addresses) == (ITSELF, ())
    assert not planned(tunnels, host, 8081).refusal


def test_that_port_elsewhere() -> None:
    """8080 is a usual port: what is on other machines is reached, and only this machine is left out."""
    plan = planned(make_tunnels(local_hosts=["both.test"]), "both.test", 8080)
    assert [server.address[0] for server in plan.servers if server.address] == ["192.31.196.1", "10.0.0.1"]


def test_an_address_of_this_machines_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The LAN address leads to the same services as loopback does."""
    monkeypatch.setattr("pkgcache.proxy.tunnels.is_own_address", lambda ip: str(ip) == "10.0.0.1")
    assert "pypi_cache_local_hosts=private.test:22" in planned(make_tunnels(), "private.test", 22).refusal
    monkeypatch.setitem(NAMES, "nat64.test", ["64:ff9b::10.0.0.1"])
    assert planned(make_tunnels(), "nat64.test", 22).refusal
    assert not planned(make_tunnels(local_hosts=["private.test:22"]), "private.test", 22).refusal


def test_what_was_planned_is_not_looked_at_again() -> None:
    """Its address is an exception by the name, and would be refused by itself. The same address alone is no exception."""
    tunnels = make_tunnels(local_hosts=["localhost"])
    (server,) = planned(tunnels, "localhost").servers
    assert checked(tunnels, server) is None
    assert checked(tunnels, server_of("127.0.0.1")) is not None


def test_a_connection_through_a_parent_proxy() -> None:
    """What it leads to is the parent's to decide."""
    server = server_of("inside.test")
    server.via = ("http", ("parent.test", 3128))
    assert checked(make_tunnels(), server) is None
