"""The connections of clients: how many of them there may be, and which are closed when there are too many.

mitmproxy accepts connections until the process has no file handle left, at which CPython's accept loop writes a traceback at every turn
and nobody is served.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from mitmproxy.connection import Client
from mitmproxy.proxy.server import ConnectionHandler

from pkgcache.engine.runtime.health import Health
from pkgcache.engine.runtime.open_files import count_open_files, open_files_limit
from pkgcache.proxy.client_reader import ClientReader
from pkgcache.proxy.connection_limits import Excess, refusal
from pkgcache.proxy.held_bytes import is_busy
from pkgcache.proxy.read_pace import CostlyWork

CLOSE_IDLE_SHARE: Final = 0.375
REFUSE_SHARE: Final = 0.5
"""Of the limit of open files: where idle clients are closed, and where new ones get 503. The other half is for files, upstreams, and
connections that are accepted before this module sees them (some turns of the event loop × ACCEPTS_EACH)."""

CALM_SHARE: Final = 0.8
CALM_SECONDS: Final = 2.0
"""It is over with fewer open files than this share of the lower mark, and when no client was closed or refused for so long: closing
idle clients leads below the mark at once, and a flood of them would begin and end it all the time."""

REQUEST_AHEAD_COST: Final = 0.002
"""Seconds of work for a request that was sent before the answer to the one before it, about."""

GRACE_SECONDS: Final = 0.2
"""A client of which nothing has come for less is not idle yet: its request may be on the way, or not have been read."""

SILENT_SECONDS: Final = 30.0
"""A client that waits for an answer, sends a body or has a tunnel is closed for new ones only if nothing has passed for so long."""

TAKE_SECONDS: Final = 60.0
"""How long a client may take nothing of what was written to it: nginx's `send_timeout`. One that reads slowly may take its time."""

ACCEPTS_EACH: Final = 2
"""Connections accepted in one turn of the event loop. asyncio takes 100: they would pass any mark at once, and as each costs about a
millisecond, those who are connected already would wait for all of them."""

WAITING: Final = 4096
"""Connections that the system keeps until they are accepted: Linux's default limit. asyncio's 100 are full when a thousand agents
start within a second, and those beyond are reset."""

CLOSES_EACH: Final = 8
LOOKS_EACH: Final = 64
"""Idle connections closed, and connections looked at for that, at each new one above the mark."""

COMPONENT: Final = "accepting connections"
FULL: Final = Excess(HTTPStatus.SERVICE_UNAVAILABLE, "the proxy has too many connections; try again")


class ClientConnections:
    """All clients that are connected, the one that has been silent longest first."""

    def __init__(self) -> None:
        self._limit = self._close_idle_at = self._refuse_at = 0
        self._health: Health | None = None
        self._handlers: OrderedDict[str, ConnectionHandler] = OrderedDict()
        self._costly = CostlyWork()
        self._recheck: asyncio.TimerHandle | None = None
        self._calm_from = 0.0  # by the loop's clock: when it may be over

    def open(self, health: Health) -> None:
        """Tell `health` from now on. Called again when options have changed; the clients that are connected stay."""
        self.close()
        self._limit = limit = open_files_limit()
        self._close_idle_at = int(limit * CLOSE_IDLE_SHARE)
        self._refuse_at = int(limit * REFUSE_SHARE)
        self._health = health

    def admit(self, handler: ConnectionHandler, client: Client) -> None:
        """Take a new connection, or refuse it with 503, by the number of its handle.

        A new handle has the lowest free number. So where none above a mark is kept, a number below it is free again after each
        refusal, and what is above it is left for files and upstreams; nothing has to be counted.
        """
        if self._health is None:
            return
        transport = handler.transports[client]
        if not isinstance(transport.writer, asyncio.StreamWriter) or not isinstance(
            transport.reader, asyncio.StreamReader
        ):
            return  # UDP, or a mode in which all clients share one socket
        number = transport.writer.get_extra_info("socket").fileno()
        if number >= self._close_idle_at:
            self._make_room(refused=number >= self._refuse_at)
        if number >= self._refuse_at:
            transport.writer.write(refusal(FULL))
            client.error = FULL.text  # mitmproxy closes it then
            return
        self._handlers[client.id] = handler
        transport.reader = ClientReader(handler, client, transport.reader, self._touched, self._costly)  # type: ignore[assignment]

    def left(self, client: Client) -> None:
        """Forget a client that has disconnected, and close its connection where mitmproxy has not.

        Its task, told to end while it waits for its lock (`ConnectionHandler.server_event`), ends without that, and the socket stays open
        for good. A client gets there by sending on after what closes its connection.
        """
        handler = self._handlers.pop(client.id, None)
        left_open = handler and handler.transports.get(client)
        if left_open and left_open.writer:
            left_open.writer.close()

    def close(self) -> None:
        """Stop telling health."""
        if self._recheck is not None:
            self._recheck.cancel()
        self._health = self._recheck = None

    async def drained(self, client: Client) -> None:
        """Wait until a client has taken what was written to it, or is cut off; then for the turn of its next request."""
        if (handler := self._handlers.get(client.id)) is not None:
            await taken(handler)
        await asyncio.sleep(self._costly.wait(REQUEST_AHEAD_COST, asyncio.get_running_loop().time()))

    def _touched(self, name: str) -> None:
        if name in self._handlers:
            self._handlers.move_to_end(name)

    def _make_room(self, *, refused: bool) -> None:
        assert self._health is not None
        done = "idle clients are closed and new ones get 503" if refused else "idle clients are closed"
        self._health.report(COMPONENT, f"of {self._limit} open files too many are clients' connections: {done}")
        loop = asyncio.get_running_loop()
        self._calm_from = loop.time() + CALM_SECONDS
        if self._recheck is None:
            self._recheck = loop.call_later(CALM_SECONDS, self._look_again)
        closed = 0
        for _ in range(min(LOOKS_EACH, len(self._handlers))):
            name, handler = next(iter(self._handlers.items()))
            silent = time.time() - handler.timeout_watchdog.last_activity
            if silent < GRACE_SECONDS or (silent < SILENT_SECONDS and is_busy(handler.layer)):
                self._handlers.move_to_end(name)
                continue
            del self._handlers[name]
            self._close(handler)
            closed += 1
            if closed == CLOSES_EACH:
                return

    def _close(self, handler: ConnectionHandler) -> None:
        transport = handler.transports.get(handler.client)
        if transport is not None and transport.handler is not None:
            transport.handler.cancel("too many connections")

    def _look_again(self) -> None:
        """Tell when there is room again."""
        loop = asyncio.get_running_loop()
        self._recheck = None
        if self._health is None:
            return
        if loop.time() >= self._calm_from and count_open_files() < self._close_idle_at * CALM_SHARE:
            self._health.clear(COMPONENT)
        else:
            self._recheck = loop.call_later(1, self._look_again)


def has_reset(handler: ConnectionHandler) -> bool:
    """Whether a client's connection is gone. One that had closed its sending side has no end to be read, so nothing else tells of it."""
    transport = handler.transports.get(handler.client)
    return transport is None or transport.writer is None or transport.writer.is_closing()


async def taken(handler: ConnectionHandler) -> bool:
    """Wait until a client has taken what was written to it. If it takes nothing for TAKE_SECONDS its connection is cut: False."""
    transport = handler.transports.get(handler.client)
    if transport is None or not isinstance(transport.writer, asyncio.StreamWriter):
        await handler.drain_writers()
        return True
    writing = transport.writer.transport
    left = writing.get_write_buffer_size()
    while left:
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKE_SECONDS):
                await handler.drain_writers()
            return True
        before, left = left, writing.get_write_buffer_size()
        if left >= before:
            writing.abort()  # closing it would wait for the client to take the rest
            return False
    return True


def accept_few_at_once(instances: Iterable[Any]) -> None:
    """Let mitmproxy's listening sockets accept ACCEPTS_EACH connections in a turn. Only private names of both can say so."""
    loop: Any = asyncio.get_running_loop()
    if not hasattr(loop, "_start_serving"):
        return  # another kind of loop
    servers = [server for instance in instances for server in getattr(instance, "_servers", ())]
    for server in servers:
        for listening in getattr(server, "_sockets", None) or ():  # `sockets` are wrappers that cannot accept
            listening.listen(WAITING)
            loop._start_serving(server._protocol_factory, listening, None, server, backlog=ACCEPTS_EACH)  # noqa: SLF001
