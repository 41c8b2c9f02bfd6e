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
    ("100.64.0.1", False, False),  # RFC 6598: carrier-grade NAT
    ("100.128.0.1", False, True),
    ("0.0.0.0", True, False),  # dials this machine
    ("0.0.0.1", False, False),
    ("255.255.255.255", False, False),
    ("224.0.0.1", True, True),
    ("240.0.0.1", False, False),
    ("192.0.2.1", False, False),  # documentation
    ("198.18.0.1", False, False),  # benchmarks
    ("192.31.196.1", False, True),
    ("::1", True, False),
    ("::", True, False),
    ("fe80::1", True, False),
    ("febf::1", True, False),
    ("fec0::1", False, True),  # site-local, deprecated by RFC 3879
    ("fc00::1", False, False),
    ("fd00::1", False, False),
    ("ff02::1", True, True),
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
    # translated addresses are judged as they stand, not by what is in them
    ("64:ff9b::7f00:1", False, True),  # NAT64, RFC 6052
    ("64:ff9b:1::1", False, False),  # NAT64 for local use, RFC 8215
    ("2002:7f00:1::", False, False),  # 6to4, RFC 3056
    ("2002:808:808::", False, False),
    ("2001:0:7f00:1::", False, False),  # Teredo, RFC 4380
    ("::127.0.0.1", False, True),  # IPv4-compatible, deprecated by RFC 4291
]


@pytest.mark.parametrize(("address", "local", "public"), ADDRESSES)
def test_an_address(address: str, *, local: bool, public: bool) -> None:
    assert (is_local(address), is_public(address)) == (local, public)


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
    ],
)
def test_exceptions_for_tunnels(host: str, port: int, option: str, *, expected: bool) -> None:
    assert is_local_allowed(host, port, settings("other.test", option)) is expected


def test_no_exceptions_by_default() -> None:
    assert not is_local_allowed("localhost", 80, settings())


def test_the_refusal_names_the_option_that_allows_it() -> None:
    assert "--set pypi_cache_local_hosts=localhost:22" in refusal_line("localhost", 22)
