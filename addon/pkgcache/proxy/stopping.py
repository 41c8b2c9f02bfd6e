"""SIGTERM, by which a service, a container or a worker is told to stop: no new connections at once, and time for what is under way.

What comes on connections that are open already is refused meanwhile (`Intake.closing`). A balancer that asks `/readyz`, or finds the
port closed, sends its clients elsewhere. Ctrl-C and a second SIGTERM do not wait.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import suppress
from typing import Any, Final

from mitmproxy import ctx
from mitmproxy.proxy.server import ConnectionHandler

from pkgcache.proxy.held_bytes import is_busy
from pkgcache.settings import PREFIX
from pkgcache.units import parse_duration

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.05

SILENT_SECONDS: Final = 3.0
"""A client on whose connection nothing has passed for so long is not waited for: a tunnel that is kept open, or a stalled upstream."""


class Stopping:
    """An addon within the addon."""

    def __init__(self) -> None:
        self._finishing: asyncio.Task[None] | None = None

    def has_begun(self) -> bool:
        """Whether nothing new is let through any more."""
        exits: bool = ctx.master.should_exit.is_set()
        return exits or self._finishing is not None

    def running(self) -> None:
        """Take the signal, which mitmproxy would end at once by."""
        with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or a thread that gets no signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)

    def _stop(self) -> None:
        if self._finishing is not None:
            ctx.master.shutdown()
        else:
            under_way = sum(map(_is_under_way, ctx.master.addons.get("proxyserver").connections.values()))
            logger.info("SIGTERM: pypi-cache stops; clients with something under way: %d", under_way)
            self._finishing = asyncio.ensure_future(self._finish())

    async def _finish(self) -> None:
        """Stop listening, wait until nothing is under way or time is up, and end the process."""
        try:
            manager: Any = ctx.master.addons.get("proxyserver")
            await manager.servers.update([])
            deadline = time.monotonic() + parse_duration(getattr(ctx.options, f"{PREFIX}stop_wait"))
            while time.monotonic() < deadline and any(map(_is_under_way, manager.connections.values())):
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            ctx.master.shutdown()


def _is_under_way(handler: ConnectionHandler) -> bool:
    transport = handler.transports.get(handler.client)
    writer = transport and transport.writer
    unsent = isinstance(writer, asyncio.StreamWriter) and writer.transport.get_write_buffer_size()
    silent = time.time() - handler.timeout_watchdog.last_activity
    return silent < SILENT_SECONDS and bool(unsent or is_busy(handler.layer))
