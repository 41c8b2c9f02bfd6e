"""engine/upstream/guard.py."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver


class RefusedAddressError(OSError):
    """A name that resolves to a private address, and no operator's index is there."""


class _GuardedResolver(AbstractResolver):
    """The system's resolver, without private addresses for hosts that no operator named."""

    def __init__(self, operators: Callable[[tuple[str, int]], bool]) -> None:
        self._operators = operators
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if self._operators((host, port)):
            return found
        allowed = [item for item in found if ipaddress.ip_address(item["host"].partition("%")[0]).is_global]
        if not allowed:
            raise RefusedAddressError(f"{host} resolves to a private address, and no index of the operator's is there")
        return allowed

    async def close(self) -> None:
        await self._inner.close()
