"""Keeps the proxy's own fetches to public addresses, at the two places where an address becomes known.

A URL's host is either an address itself (`check_literal`) or a name, whose addresses are looked at as they come from the resolver.
aiohttp then dials exactly these, so a name that resolves differently the next time gains nothing (DNS rebinding).
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from pkgcache.rules.policy.addresses import is_private_literal, is_public
from pkgcache.rules.routing.urls import Url

type MayBePrivate = Callable[[tuple[str, int]], bool]
"""Whether a (host, port) may be in a private network, because the operator configured it."""

_EXEMPT = "only hosts named in pypi_cache_index or pypi_cache_file_hosts may have one"


class RefusedAddressError(OSError):
    """The host is in a private network, and the operator did not configure it. An OSError, since aiohttp passes these on."""


def check_literal(url: Url, may_be_private: MayBePrivate) -> None:
    """Raise RefusedAddressError if the host of `url` is a private address that may not be dialled."""
    if is_private_literal(url.host) and not may_be_private((url.host, url.port)):
        raise RefusedAddressError(f"{url.host} is a private address; {_EXEMPT}")


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
        public = [item for item in found if is_public(item["host"])]
        if not public:
            raise RefusedAddressError(f"{host} resolves to a private address; {_EXEMPT}")
        return public

    async def close(self) -> None:
        """Release the system's resolver."""
        await self._inner.close()
