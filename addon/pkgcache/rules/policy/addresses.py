"""Which addresses may be dialled: by a client's tunnel or ordinary request, and by the proxy's own fetches.

- A **tunnel** is dialled at a client's wish, so it must not lead into the proxy's own machine, where a server may trust whoever comes
  from there, nor to link-local addresses and the like, where a cloud gives out a machine's credentials. The private network is fine: the
  client could reach it by itself. `pypi_cache_local_hosts` makes exceptions.
- An **own fetch** may be led anywhere by a page's link or by a redirect, so it is confined to public addresses (by the IANA's
  special-purpose registries, as `ipaddress` has them). Hosts that the operator configured are exempt: many mirrors are in a private
  network.

Both are decided by the resolved address, never by the name, and by every IPv4 address that an IPv6 address may lead to (`readings`).
Which addresses are the machine's own is not known here: `is_own` is passed in. IPv6 zone identifiers (RFC 4007) are ignored.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

from pkgcache.settings import Settings

type IsOwn = Callable[[IPv4Address | IPv6Address], bool]
"""Whether an address is one of this machine's interfaces."""

# Networks whose addresses end in an IPv4 address.
_ENDS_IN_IPV4: Final = (
    IPv6Network("::/96"),  # IPv4-compatible, RFC 4291 §2.5.5.1
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped, RFC 4291 §2.5.5.2: the kernel dials the IPv4 address
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated, RFC 2765
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052
)
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_6TO4: Final = IPv6Network("2002::/16")  # RFC 3056
_TEREDO: Final = IPv6Network("2001::/32")  # RFC 4380
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214 §6.1
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")  # RFC 1122 §3.2.1.3; Linux dials loopback for 0.0.0.0
_LOOPBACK: Final = IPv6Address("::1")
_UNSPECIFIED: Final = IPv6Address("::")
_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        (
            "fd00:ec2::254",  # AWS, beside its link-local 169.254.169.254
            "fd20:ce::254",  # Google
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
            "168.63.129.16",  # Azure
        ),
    )
)
"""Where a cloud gives a machine its credentials, at addresses that are not link-local."""


def nobody(_: IPv4Address | IPv6Address) -> bool:
    """Say that no address is this machine's: an `IsOwn` for tests and for callers that look at that separately."""
    return False


def is_local(address: str, is_own: IsOwn = nobody) -> bool:
    """Whether an IP address leads to this machine or its link, and so is closed to tunnels. Raises ValueError.

    >>> [is_local(address) for address in ("127.0.0.1", "64:ff9b::7f00:1", "fe80::1%eth0", "10.0.0.1")]
    [True, True, True, False]
    """
    return any(_is_local(ip) or is_own(ip) for ip in readings(address))


def is_public(address: str, is_own: IsOwn = nobody) -> bool:
    """Whether an IP address is globally reachable, and so open to the proxy's own fetches. Raises ValueError.

    >>> [is_public(address) for address in ("192.31.196.1", "10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fd00::1")]
    [True, False, False, False, False]
    """
    return all(_is_public(ip) and not is_own(ip) for ip in readings(address))


def is_private_literal(host: str, is_own: IsOwn = nobody) -> bool:
    """Whether the host of a URL is itself an address that is not public. A name is not: its addresses are known once it is resolved.

    >>> is_private_literal("10.0.0.1"), is_private_literal("intranet.example")
    (True, False)
    """
    try:
        return not is_public(host, is_own)
    except ValueError:
        return False


def readings(address: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """Return the addresses that one may lead to: itself and the IPv4 addresses in it, or these alone where it only stands for them.

    Raises ValueError.

    >>> [str(ip) for ip in readings("2002:7f00:1::")]
    ['2002:7f00:1::', '127.0.0.1']
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address) or ip in (_LOOPBACK, _UNSPECIFIED):
        return (ip,)
    if any(ip in network for network in _ENDS_IN_IPV4):
        return (_ipv4(ip, 96),)
    if ip in _LOCAL_NAT64:
        return _local_nat64(ip)
    embedded: tuple[IPv4Address, ...] = ()
    if ip in _6TO4:
        embedded = (_ipv4(ip, 16),)
    elif ip in _TEREDO and ip.teredo:
        embedded = ip.teredo
    elif int(ip) >> 32 & 0xFFFFFFFF in _ISATAP:
        embedded = (_ipv4(ip, 96),)
    return (ip, *embedded)


def is_local_allowed(host: str, port: int, settings: Settings) -> bool:
    """Whether `pypi_cache_local_hosts` lets tunnels reach this host, on this port or on all."""
    shown = _as_option(host)
    return shown in settings.local_hosts or f"{shown}:{port}" in settings.local_hosts


def refusal_line(host: str, port: int) -> str:
    """Say why a tunnel is refused, and which option would allow it."""
    shown = _as_option(host)
    return f"{shown}:{port} is on the proxy's own machine or link; --set pypi_cache_local_hosts={shown}:{port} would allow it"


def _as_option(host: str) -> str:
    """A host as `pypi_cache_local_hosts` takes it: IPv6 in brackets, without a zone.

    >>> _as_option("::1"), _as_option("localhost")
    ('[::1]', 'localhost')
    """
    return f"[{host.partition('%')[0]}]" if ":" in host else host


def _ipv4(ip: IPv6Address, first_bit: int) -> IPv4Address:
    return IPv4Address(int(ip) >> (96 - first_bit) & 0xFFFFFFFF)


def _local_nat64(ip: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that a network's own NAT64 may make of an address: how long its prefix is, is not known from outside.

    RFC 6052 §2.2: a prefix has 48, 56, 64 or 96 bits, the bits 64 to 71 are skipped, and what follows the IPv4 address is zero. Readings
    that come out in 0.0.0.0/8 are those of a wrong length, unless there is no other.
    """
    bits = int(ip)
    without_octet = (bits >> 64 << 56) | bits & ((1 << 56) - 1)  # 120 bits
    found = [_ipv4(ip, 96)]
    for prefix in (48, 56, 64):
        behind = 120 - prefix - 32
        if not without_octet & ((1 << behind) - 1):
            found.append(IPv4Address(without_octet >> behind & 0xFFFFFFFF))
    return tuple(each for each in found if each not in _THIS_NETWORK) or (found[0],)


def _is_local(ip: IPv4Address | IPv6Address) -> bool:
    return (
        ip in _METADATA
        or ip.is_loopback
        or ip.is_link_local
        or ip.is_unspecified
        or ip.is_multicast
        or (isinstance(ip, IPv4Address) and ip in _THIS_NETWORK)
    )


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    is_site_local = isinstance(ip, IPv6Address) and ip.is_site_local  # fec0::/10, RFC 3879; `ipaddress` calls it global
    return ip.is_global and not ip.is_multicast and not is_site_local and ip not in _METADATA
