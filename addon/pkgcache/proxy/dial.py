"""Dials the very addresses that were checked, where mitmproxy would resolve the name once more.

mitmproxy asks the hook `server_connect` whether it may connect, and then, in the same task, calls `asyncio.open_connection` with the
name. A name server that answers with a public address first and with 127.0.0.1 next would get past any check in that hook (DNS
rebinding). To put an address in the place of the name is no way out: TLS would ask for the wrong certificate, and mitmproxy would not
recognise the connection when the client's next request comes, and open another one.

So the event loop's `create_connection` is wrapped: where a task has `pin` addresses, these are dialled, one after the other. Every other
caller of the loop, aiohttp among them, is passed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final

from pkgcache.rules.routing.package_hosts import Address

CONNECT_SECONDS: Final = 5.0
"""For each address, as for the proxy's own fetches. The kernel alone gives up a dead one after two minutes."""

# A task that is started while this is set inherits it; `unpin` comes before mitmproxy's layers can start any.
_PINNED: Final[ContextVar[tuple[Address, ...] | None]] = ContextVar("pinned", default=None)


class PinnedDials:
    """The wrapper around one event loop's `create_connection`, from `__init__` to `close`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dial = type(loop).create_connection
        loop.create_connection = self._create_connection  # type: ignore[assignment, method-assign]

    def close(self) -> None:
        """Let the loop dial as before."""
        vars(self._loop).pop("create_connection", None)

    @staticmethod
    def pin(addresses: Sequence[Address]) -> None:
        """Let the running task's dial go to these addresses, whatever the host that it names."""
        _PINNED.set(tuple(addresses))

    @staticmethod
    def unpin() -> None:
        """End that: the dial is over."""
        _PINNED.set(None)

    async def _create_connection(self, factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        addresses = _PINNED.get()
        if addresses is None:
            return await self._dial(self._loop, factory, host, port, **more)
        error: OSError = OSError(f"{host} has no address that may be dialled")
        for address in addresses:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await self._dial(self._loop, factory, *address, **more)
            except TimeoutError:
                error = TimeoutError(f"{address[0]} does not answer within {CONNECT_SECONDS:g} s")
            except OSError as trouble:
                error = trouble
        raise error
