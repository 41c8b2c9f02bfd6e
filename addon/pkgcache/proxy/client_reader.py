"""How far a client is read ahead of what is done with its bytes: mitmproxy reads on whatever has become of those before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from mitmproxy.connection import Client
from mitmproxy.proxy.server import ConnectionHandler

from pkgcache.proxy.connection_limits import HEAD_SECONDS, MAX_HANDSHAKE, MAX_HELD
from pkgcache.proxy.held_bytes import EVENT_COST, held_bytes, is_busy
from pkgcache.proxy.read_pace import (
    LARGEST_READ,
    QUICK_READS,
    SMALL_READ,
    CostClock,
    CostlyWork,
    ReadPace,
    read_before_reset,
)

LOOK_AGAIN_SECONDS: Final = 0.25
"""At most between two looks at a client that is not read from, because it waits for its answer and has sent far ahead. The first look
comes after a thousandth of a second, and each later one after twice as long: an upload waits for its upstream many times."""

HANDSHAKE_PAUSE: Final = 0.02
"""A ClientHello is parsed anew at each read until it is complete. It comes in one or two; after eight, bytes gather this long."""


class ClientReader:
    """Stands between mitmproxy and a client's StreamReader, whose `read` alone it calls: it waits, or fails, where too much is held."""

    def __init__(
        self,
        handler: ConnectionHandler,
        client: Client,
        reader: asyncio.StreamReader,
        touched: Callable[[str], None],
        costly: CostlyWork,
    ) -> None:
        self._handler = handler
        self._client = client
        self._reader = reader
        self._touched = touched
        self._costly = costly
        self._unchecked = 0
        self._pace = ReadPace()
        self._got = 0
        # The layers work on what was read before they ask for more.
        self._clock = CostClock()
        self._given_at = 0.0
        self._handshake_reads = 0
        self._handshake_bytes = 0
        self._handshake_ends = 0.0
        self._unread = b""

    def unread(self, data: bytes) -> None:
        """Let `read` give these bytes once more."""
        self._unread = data

    async def read(self, size: int) -> bytes:
        """Read the client's next bytes. Raises OSError, which ends the connection, where a handshake is too long or too slow."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        is_flood = self._got >= self._pace.size
        if self._got:
            pause = self._pace.pause_after(self._got, self._clock.now() - self._given_at)
            if self._clock.confirms(pause > 0):
                # A head or a handshake may be costly on a slow machine; only who has more at hand waits for others of that kind.
                turn = self._costly.wait(pause, asyncio.get_running_loop().time()) if is_flood else 0.0
                await asyncio.sleep(max(pause, turn))
        if self._unchecked >= LARGEST_READ:
            self._unchecked = 0
            await self._make_room()
            await asyncio.sleep(0)  # others' turn: a reader that has bytes at hand does not wait
        if self._client.tls and not self._client.tls_established:
            data = await self._read_in_handshake()
        else:
            self._handshake_reads = self._handshake_bytes = 0
            data = await self._reader.read(min(size, self._pace.size))
        self._touched(self._client.id)
        self._got = len(data)
        self._unchecked += max(len(data), EVENT_COST)
        self._given_at = self._clock.now()
        return data

    async def _make_room(self) -> None:
        """Wait while the layers hold too much. Where none of them is waiting for anything, only more bytes would end that: fail."""
        pause = 0.001
        while held_bytes(self._handler.layer) > MAX_HELD:
            if not is_busy(self._handler.layer):
                raise OSError(f"more than {MAX_HELD // 1024} kB before the end of what was begun")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_AGAIN_SECONDS)

    async def _read_in_handshake(self) -> bytes:
        if self._handshake_bytes > MAX_HANDSHAKE:
            raise OSError(f"a TLS handshake of more than {MAX_HANDSHAKE // 1024} kB")
        now = asyncio.get_running_loop().time()
        if not self._handshake_reads:
            self._handshake_ends = now + HEAD_SECONDS
        self._handshake_reads += 1
        if self._handshake_reads > QUICK_READS:
            await asyncio.sleep(HANDSHAKE_PAUSE)
        async with asyncio.timeout_at(self._handshake_ends):
            data = await read_before_reset(self._reader, SMALL_READ)
        self._handshake_bytes += len(data)
        return data
