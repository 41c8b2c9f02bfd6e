"""The one spelling of a host and port by which it is looked up, whoever has named it."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address

from pkgcache.rules.routing.package_hosts import Address


def canonical_address(address: tuple[str, int]) -> Address:
    """Return a (host, port) in the spelling of the routing tables: lower case, no trailing dot, and of an address the usual form.

    mitmproxy decodes `xn--` names, which the tables have as the operator writes them.

    >>> canonical_address(("Files.Example.", 443)), canonical_address(("b\u00fccher.example", 443)), canonical_address(("10.5", 80))
    (('files.example', 443), ('xn--bcher-kva.example', 443), ('10.0.0.5', 80))
    """
    host, port = address[0].lower().rstrip("."), address[1]
    if host.isascii() and ":" not in host and not host[:1].isdigit():
        return host, port
    return _respelt(host), port


def _respelt(host: str) -> str:
    try:
        if not host.isascii():
            return host.encode("idna").decode("ascii")
        if ":" in host:
            ip = IPv6Address(host)
            return str(ip.ipv4_mapped or ip)  # the kernel dials the IPv4 address
        return socket.inet_ntoa(socket.inet_aton(host))  # takes `127.1` and `0x7f.1` as the resolver does
    except (ValueError, OSError):
        return host
