"""An upstream's bytes on their way to one client, unverified."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import override

from pkgcache.engine.responses.messages import Body, Chunk, CutShortError
from pkgcache.engine.upstream.client import UpstreamResponse
from pkgcache.engine.upstream.errors import UpstreamError


class RelayBody(Body):
    """A body that is read straight from an upstream's answer. `open` first, then `read` to the end, `close` in any case."""

    def __init__(self, asking: AbstractAsyncContextManager[UpstreamResponse]) -> None:
        self._asking = asking
        self._answer: UpstreamResponse | None = None
        self._reading: asyncio.Task[bytes] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._gathered = bytearray()
        self._awaited = 0
        self._complete: Callable[[bytes], None] | None = None

    def gather(self, length: int, complete: Callable[[bytes], None]) -> None:
        """Also call `complete` with the whole body of `length` bytes, if all of it comes."""
        self._awaited, self._complete = length, complete

    async def open(self) -> UpstreamResponse:
        """Send the request; its answer, whose body is still to come. Raises UpstreamError."""
        self._answer = await self._asking.__aenter__()
        return self._answer

    @property
    @override
    def exhausted(self) -> bool:
        return False  # only an empty read tells

    @override
    def read_now(self) -> Chunk:
        return b""  # it comes from the network

    @override
    async def read(self) -> Chunk:
        if self._answer is None:
            raise CutShortError("closed")
        self._reading = asyncio.ensure_future(self._answer.chunk())
        try:
            chunk = await self._reading
        except UpstreamError as error:
            self.close()
            raise CutShortError(str(error)) from error
        except asyncio.CancelledError:
            if self._closing is None:
                raise
            raise CutShortError("closed while it waited") from None
        if self._complete is not None:
            self._gathered += chunk
            if len(self._gathered) >= self._awaited or not chunk:
                complete, self._complete = self._complete, None
                if len(self._gathered) == self._awaited:
                    complete(bytes(self._gathered))
                self._gathered.clear()
        if not chunk:
            self.close()
        return chunk

    async def aclose(self) -> None:
        """Give the connection back."""
        answer, self._answer = self._answer, None
        if answer is not None:
            await self._asking.__aexit__(None, None, None)

    @override
    def close(self) -> None:
        if self._answer is not None and self._closing is None:
            if self._reading is not None:
                self._reading.cancel()  # or the upstream would be blamed for a client that left
            self._closing = asyncio.ensure_future(self.aclose())
