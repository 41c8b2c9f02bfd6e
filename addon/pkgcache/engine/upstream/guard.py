"""Keeps the proxy's own fetches to public addresses, at the two places where an address becomes known.

A URL's host is either an address itself (`check_literal`) or a name, whose addresses are looked at as they come from the resolver.
aiohttp then dials exactly these, so a name that resolves differently the next time gains nothing (DNS rebinding).

`is_own_address` says which addresses are this machine's; tunnels ask it too.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from pkgcache.rules.policy.addresses import is_private_literal, is_public
from pkgcache.rules.routing.urls import Url, join_authority

type MayBePrivate = Callable[[tuple[str, int]], bool]
"""Whether a (host, port) may be in a private network, because the operator configured it."""

_FOREIGN: Final = {4: ip_address("203.0.113.77"), 6: ip_address("2001:db8:ffff::77")}
"""Addresses for documentation (RFC 5737, RFC 3849), which no machine has."""


def is_own_address(ip: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of this machine's: a socket can be bound to it.

    Where the kernel lets a socket be bound to any address (`ip_nonlocal_bind`, set on machines that take over one another's addresses),
    the address is ours if packets to it would leave from it.
    """
    if not _can_bind(ip):
        return False
    return not _can_bind(_FOREIGN[ip.version]) or _answers_itself(ip)


def _can_bind(ip: IPv4Address | IPv6Address) -> bool:
    try:
        with socket.socket(_family(ip)) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True


def _answers_itself(ip: IPv4Address | IPv6Address) -> bool:
    try:
        with socket.socket(_family(ip), socket.SOCK_DGRAM) as probe:
            probe.connect((str(ip), 9))  # of UDP: no packet is sent
            return ip_address(probe.getsockname()[0].partition("%")[0]) == ip
    except OSError:
        return False


def _family(ip: IPv4Address | IPv6Address) -> socket.AddressFamily:
    return socket.AF_INET if ip.version == 4 else socket.AF_INET6


class RefusedAddressError(OSError):
    """The host is in a private network, and the operator did not configure it. An OSError, since aiohttp passes these on."""


def _cure(host: str, port: int) -> str:
    """How the operator lets a host be asked. Each port is named by itself: another one may be another service's."""
    named = "only hosts named in pypi_cache_index or pypi_cache_file_hosts may have one, port by port"
    return f"{named} (pypi_cache_file_hosts={join_authority(host, port)} names it)"


def check_literal(url: Url, may_be_private: MayBePrivate) -> None:
    """Raise RefusedAddressError if the host of `url` is a private address that may not be dialled."""
    if is_private_literal(url.host, is_own_address) and not may_be_private((url.host, url.port)):
        raise RefusedAddressError(f"{url.host} is a private address or this machine's own; {_cure(url.host, url.port)}")


class GuardedResolver(AbstractResolver):
    """The system's resolver, without the private addresses of hosts that the operator did not configure."""

    def __init__(self, may_be_private: MayBePrivate) -> None:
        self._may_be_private = may_be_private
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses that may be dialled. Raises RefusedAddressError if there are only others."""
        found = await self._inner.resolve(host, port, family)
        if self._may_be_private((host, port)):
            return found
        public = [item for item in found if is_public(item["host"], is_own_address)]
        if not public:
            raise RefusedAddressError(f"{host} resolves to a private address or to this machine; {_cure(host, port)}")
        return public

    async def close(self) -> None:
        """Release the system's resolver."""
        await self._inner.close()
