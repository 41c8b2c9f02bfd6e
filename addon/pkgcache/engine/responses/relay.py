"""An upstream's bytes relayed to one client, as they come and unverified."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import override

from pkgcache.engine.responses.messages import Body, Chunk, CutShortError
from pkgcache.engine.upstream.client import UpstreamResponse
from pkgcache.engine.upstream.errors import UpstreamError


class RelayBody(Body):
    """The body of an upstream's response. Call `open` first, then `read` to the end; `close` or `aclose` in any case.

    `sending` is the request, which `open` sends.
    """

    def __init__(self, sending: AbstractAsyncContextManager[UpstreamResponse]) -> None:
        self._sending = sending
        self._response: UpstreamResponse | None = None
        self._reading: asyncio.Task[bytes] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._gathered = bytearray()
        self._gather_length = 0
        self._on_complete: Callable[[bytes], None] | None = None

    def gather(self, length: int, on_complete: Callable[[bytes], None]) -> None:
        """Keep the body in memory too, and call `on_complete` with it if it turns out to be `length` bytes long."""
        self._gather_length, self._on_complete = length, on_complete

    async def open(self) -> UpstreamResponse:
        """Send the request; returns the response, whose body is still to come. Raises UpstreamError."""
        self._response = await self._sending.__aenter__()
        return self._response

    @property
    @override
    def exhausted(self) -> bool:
        return False  # only an empty read tells the end

    @override
    def read_now(self) -> Chunk:
        return b""  # it comes from the network

    @override
    async def read(self) -> Chunk:
        if self._response is None:
            raise CutShortError("closed")
        # A task, so that `close` can cancel the wait without cancelling whoever reads.
        self._reading = asyncio.ensure_future(self._response.chunk())
        try:
            chunk = await self._reading
        except UpstreamError as error:
            self.close()
            raise CutShortError(str(error)) from error
        except asyncio.CancelledError:
            if self._closing is None:
                raise
            raise CutShortError("closed while it waited") from None
        self._gather(chunk)
        if not chunk:
            self.close()
        return chunk

    def _gather(self, chunk: bytes) -> None:
        if self._on_complete is None:
            return
        self._gathered += chunk
        if len(self._gathered) >= self._gather_length or not chunk:
            on_complete, self._on_complete = self._on_complete, None
            if len(self._gathered) == self._gather_length:
                on_complete(bytes(self._gathered))
            self._gathered.clear()

    async def aclose(self) -> None:
        """Close the response and wait for it: its connection is back in the pool, or closed if bytes were still to come."""
        response, self._response = self._response, None
        if response is not None:
            await self._sending.__aexit__(None, None, None)

    @override
    def close(self) -> None:
        if self._response is not None and self._closing is None:
            if self._reading is not None:
                self._reading.cancel()  # else the closed connection would count as the upstream's failure
            self._closing = asyncio.ensure_future(self.aclose())
