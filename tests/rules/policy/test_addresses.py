"""Which addresses tunnels and the proxy's own fetches may dial, by the special-purpose registries of RFC 6890."""

from typing import Any

import pytest

from pkgcache.rules.policy.addresses import is_local, is_local_allowed, is_private_literal, is_public, refusal_line
from pkgcache.settings import make_settings

ADDRESSES = [
    # (address, closed to tunnels, open to own fetches)
    ("8.8.8.8", False, True),
    ("127.0.0.1", True, False),
    ("127.255.255.254", True, False),
    ("126.255.255.255", False, True),
    ("128.0.0.1", False, True),
    ("10.0.0.1", False, False),  # RFC 1918, and the two ranges below
    ("172.16.0.1", False, False),
    ("172.31.255.255", False, False),
    ("172.32.0.1", False, True),
    ("192.168.1.1", False, False),
    ("169.254.0.1", True, False),
    ("169.254.169.254", True, False),  # a cloud machine's metadata
    ("fd00:ec2::254", True, False),  # other clouds' metadata, and AWS's by IPv6
    ("fd20:ce::254", True, False),
    ("100.100.100.200", True, False),
    ("192.0.0.192", True, False),
    ("168.63.129.16", True, False),
    ("::ffff:168.63.129.16", True, False),
    ("64:ff9b::a83f:8110", True, False),
    ("168.63.129.17", False, True),
    ("100.64.0.1", False, False),  # RFC 6598: carrier-grade NAT
    ("100.128.0.1", False, True),
    ("0.0.0.0", True, False),  # dials this machine
    ("0.0.0.1", True, False),  # RFC 1122: this network
    ("0.255.255.255", True, False),
    ("255.255.255.255", False, False),
    ("224.0.0.1", True, False),
    ("240.0.0.1", False, False),
    ("192.0.2.1", False, False),  # documentation
    ("198.18.0.1", False, False),  # benchmarks
    ("192.31.196.1", False, True),
    ("::1", True, False),
    ("::", True, False),
    ("fe80::1", True, False),
    ("febf::1", True, False),
    ("fec0::1", False, False),  # site-local, deprecated by RFC 3879
    ("fc00::1", False, False),
    ("fd00::1", False, False),
    ("ff02::1", True, False),
    ("2001:4860:4860::8888", False, True),
    ("2001:db8::1", False, False),
    # zone identifiers are ignored
    ("fe80::1%eth0", True, False),
    ("fe80::1%1", True, False),
    ("::1%lo", True, False),
    # IPv4 mapped into IPv6: what is dialled is the IPv4 address
    ("::ffff:127.0.0.1", True, False),
    ("::ffff:169.254.169.254", True, False),
    ("::ffff:0.0.0.0", True, False),
    ("::ffff:10.0.0.1", False, False),
    ("::ffff:8.8.8.8", False, True),
    ("::ffff:7f00:1", True, False),
    ("::ffff:0.0.0.1", True, False),
    # so is one in any other form that leads to an IPv4 address
    ("::ffff:0:127.0.0.1", True, False),  # IPv4-translated, RFC 2765
    ("::ffff:0:8.8.8.8", False, True),
    ("::127.0.0.1", True, False),  # IPv4-compatible, deprecated by RFC 4291
    ("::169.254.169.254", True, False),
    ("::10.0.0.1", False, False),
    ("::8.8.8.8", False, True),
    ("::2", True, False),  # 0.0.0.2
    ("64:ff9b::7f00:1", True, False),  # NAT64, RFC 6052
    ("64:ff9b::127.0.0.1", True, False),
    ("64:ff9b::a9fe:a9fe", True, False),
    ("64:ff9b::a00:1", False, False),
    ("64:ff9b::808:808", False, True),
    ("64:ff9b::", True, False),
    ("64:ff9b:1::7f00:1", True, False),  # NAT64 for local use, RFC 8215, with each length of prefix that it may have
    ("64:ff9b:1:abcd:ef:123:7f00:1", True, False),
    ("64:ff9b:1:7f00:0:100::", True, False),
    ("64:ff9b:1:ab7f::1:0:0", True, False),
    ("64:ff9b:1:abcd:7f:0:100:0", True, False),
    ("64:ff9b:1:a9fe:a9:fe00::", True, False),
    ("64:ff9b:1:a00:0:100::", False, False),
    ("64:ff9b:1::808:808", False, True),
    ("64:ff9b:1:808:8:800::", False, True),
    ("64:ff9b:1::1", True, False),
    ("64:ff9b:1::", True, False),
    ("2002:7f00:1::", True, False),  # 6to4, RFC 3056
    ("2002:a9fe:a9fe::1", True, False),
    ("2002:a00:1::", False, False),
    ("2002:808:808::", False, False),
    ("2001:0:7f00:1::", True, False),  # Teredo, RFC 4380: the server
    ("2001:0:808:808::80ff:fffe", True, False),  # and the client, inverted: 127.0.0.1
    ("2001:0:808:808::f7f7:f7f7", False, False),
    ("2001:4860::5efe:7f00:1", True, False),  # ISATAP, RFC 5214
    ("2001:4860::200:5efe:127.0.0.1", True, False),
    ("2001:4860::5efe:808:808", False, True),
    ("64:ff9b::7f00:1%eth0", True, False),
]


@pytest.mark.parametrize(("address", "local", "public"), ADDRESSES)
def test_an_address(address: str, *, local: bool, public: bool) -> None:
    assert (is_local(address), is_public(address)) == (local, public)


def test_the_machines_own_addresses() -> None:
    """They are as loopback is, whatever range they are in, and in every form."""
    own = {"192.31.196.1", "10.0.0.5", "fd00::5"}
    for address in (*own, "::ffff:10.0.0.5", "64:ff9b::10.0.0.5", "::10.0.0.5", "2002:a00:5::", "fd00::5%eth0"):
        assert is_local(address, lambda ip: str(ip) in own), address
        assert not is_public(address, lambda ip: str(ip) in own), address
    for address in ("192.31.196.2", "10.0.0.6", "fd00::6", "64:ff9b::10.0.0.6"):
        assert not is_local(address, lambda ip: str(ip) in own), address


@pytest.mark.parametrize("text", ["index.test", "", "127.1", "0x7f000001", "2130706433", "1.2.3.4.5", "[::1]"])
def test_what_is_no_address(text: str) -> None:
    """The short spellings of IPv4 are names to us: the resolver turns them into addresses, which are then looked at."""
    with pytest.raises(ValueError):
        is_local(text)
    with pytest.raises(ValueError):
        is_public(text)
    assert not is_private_literal(text)


@pytest.mark.parametrize(
    ("host", "expected"), [("10.0.0.1", True), ("::1", True), ("8.8.8.8", False), ("a.test", False)]
)
def test_is_private_literal(host: str, *, expected: bool) -> None:
    assert is_private_literal(host) is expected


def settings(*local_hosts: str) -> Any:
    return make_settings({"pypi_cache_local_hosts": list(local_hosts)})


@pytest.mark.parametrize(
    ("host", "port", "option", "expected"),
    [
        ("localhost", 8000, "localhost", True),
        ("localhost", 8000, "localhost:8000", True),
        ("localhost", 8000, "LOCALHOST:8000", True),
        ("localhost", 8001, "localhost:8000", False),
        ("localhost", 8000, "127.0.0.1", False),  # an exception is for a name as clients spell it
        ("127.0.0.1", 8000, "localhost", False),
        ("::1", 8000, "[::1]", True),
        ("::1", 8000, "[::1]:8000", True),
        ("::1", 8001, "[::1]:8000", False),
        ("a.localhost", 8000, "localhost", False),
        ("fe80::1%eth0", 80, "[fe80::1]", True),
    ],
)
def test_exceptions_for_tunnels(host: str, port: int, option: str, *, expected: bool) -> None:
    assert is_local_allowed(host, port, settings("other.test", option)) is expected


def test_no_exceptions_by_default() -> None:
    assert not is_local_allowed("localhost", 80, settings())


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("localhost", "localhost:22"),
        ("127.0.0.1", "127.0.0.1:22"),
        ("::1", "[::1]:22"),
        ("::ffff:127.0.0.1", "[::ffff:127.0.0.1]:22"),
        ("fe80::1%eth0", "[fe80::1]:22"),
        ("0x7f.1", "0x7f.1:22"),
    ],
)
def test_the_refusal_names_the_option_that_allows_it(host: str, advice: str) -> None:
    """Whoever takes the advice must not be told that it is a wrong value, nor be refused again."""
    assert f"--set pypi_cache_local_hosts={advice} would" in refusal_line(host, 22)
    assert is_local_allowed(host, 22, settings(advice))
    assert not is_local_allowed(host, 23, settings(advice))
