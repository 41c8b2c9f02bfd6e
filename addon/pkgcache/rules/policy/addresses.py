"""Which addresses may be dialled: by a client's tunnel, and by the proxy's own fetches.

- A **tunnel** is dialled at a client's wish, so it must not lead into the proxy's own machine, where a server may trust whoever comes
  from there, nor to link-local addresses (169.254.169.254 gives out a cloud machine's credentials). The private network is fine: the
  client could reach it by itself. `pypi_cache_local_hosts` makes exceptions.
- An **own fetch** may be led anywhere by a page's link or by a redirect, so it is confined to public addresses (by the IANA's
  special-purpose registries, as `ipaddress` has them). Hosts that the operator configured are exempt: many mirrors are in a private
  network.

Both are decided by the resolved address, never by the name. An IPv4 address mapped into IPv6 (`::ffff:0:0/96`) is judged as the IPv4
address that the kernel dials. Translated addresses (NAT64, 6to4, Teredo) are judged as what they are, since what they lead to depends on
the network. IPv6 zone identifiers (RFC 4007) are ignored.
"""

from __future__ import annotations

import ipaddress

from pkgcache.settings import Settings


def is_local(address: str) -> bool:
    """Whether an IP address is loopback, link-local, unspecified or multicast, and so closed to tunnels. Raises ValueError.

    >>> [is_local(address) for address in ("127.0.0.1", "::ffff:127.0.0.1", "fe80::1%eth0", "10.0.0.1")]
    [True, True, True, False]
    """
    ip = _parse(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    # The unspecified address (0.0.0.0, ::) reaches this machine: Linux dials loopback for it.
    return ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast


def is_local_allowed(host: str, port: int, settings: Settings) -> bool:
    """Whether `pypi_cache_local_hosts` lets tunnels reach this host, on this port or on all."""
    shown = f"[{host}]" if ":" in host else host
    return shown in settings.local_hosts or f"{shown}:{port}" in settings.local_hosts


def refusal_line(host: str, port: int) -> str:
    """Say why a tunnel is refused, and which option would allow it."""
    return f"{host}:{port} is on the proxy's own machine or link; --set pypi_cache_local_hosts={host}:{port} would allow it"


def is_public(address: str) -> bool:
    """Whether an IP address is globally reachable, and so open to the proxy's own fetches. Raises ValueError.

    >>> [is_public(address) for address in ("192.31.196.1", "10.0.0.1", "::ffff:10.0.0.1", "fd00::1")]
    [True, False, False, False]
    """
    return _parse(address).is_global


def is_private_literal(host: str) -> bool:
    """Whether the host of a URL is itself an address that is not public. A name is not: its addresses are known once it is resolved.

    >>> is_private_literal("10.0.0.1"), is_private_literal("intranet.example")
    (True, False)
    """
    try:
        return not is_public(host)
    except ValueError:
        return False


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address.partition("%")[0])
