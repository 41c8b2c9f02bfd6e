"""An upstream's bytes relayed to one client, as they come and unverified.

They are read ahead into a small buffer, so that a client never holds an upstream's connection by reading slowly. Where the buffer stays
full the connection is let go, and what is missing is asked for (`Range`) once the client has read what there is: after HOLD_SECONDS, or
at once if another request waits for a connection to that host. An upstream that cannot go on from there cuts the client short.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from typing import override

from pkgcache.engine.responses.messages import CHUNK, Body, Chunk, CutShortError
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.places import ASKER, PLACE_SECONDS, Asker, as_asker, waiting_for_upstream
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.http.ranges import ContentRange, goes_on, parse_content_range, rest_of

AHEAD = 512 * 1024
"""Bytes read ahead for a client. Most ranges fit in: a resolver reads the end of a wheel."""

HOLD_SECONDS = 5.0
"""How long a connection is kept for a client that does not read what there is, where nobody else needs it."""

SLOW_SECONDS = 0.5
"""A client that has left the buffer full for this long is slow, and its connection is another request's if one waits."""


type Send = Callable[[dict[str, str]], AbstractAsyncContextManager[UpstreamResponse]]
"""Makes the request for a body, with more headers where only the rest is wanted."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What follows the first `received` bytes of a body. `first` is its Content-Range (None: it is a whole file), `tag` its strong ETag."""

    received: int
    first: ContentRange | None
    tag: str

    @property
    def headers(self) -> dict[str, str]:
        """What asks for it, and only if the file is the same (RFC 9110 §13.1.5)."""
        condition = {"If-Range": self.tag} if self.tag else {}
        return {"Range": rest_of(self.first, self.received), **condition}


class RelayBody(Body):
    """The body of an upstream's response. Call `open` first, then `read` to the end; `close` or `aclose` in any case.

    `send({})` makes the request, and again with headers that ask for the rest. `immutable`: the URL stands for the same bytes for ever;
    else the rest is asked for only where an entity tag holds the parts together.
    """

    def __init__(
        self,
        send: Send,
        *,
        immutable: bool,
    ) -> None:
        self._send = send
        self._immutable = immutable
        self._kind, self._client = ASKER.get().kind, ASKER.get().client
        self._opened: asyncio.Future[UpstreamResponse] = asyncio.get_running_loop().create_future()
        self._pump: asyncio.Task[None] | None = None
        self._buffer = bytearray()
        self._received = 0
        self._full_since: float | None = None
        self._ended = False
        self._error: UpstreamError | None = None
        self._more = asyncio.Event()  # there is something to read, or the end
        self._room = asyncio.Event()  # the client has read some, or the connection is wanted elsewhere
        self._let_go = False
        self._closed = False
        self._gathered = bytearray()
        self._gather_length = 0
        self._on_complete: Callable[[bytes], None] | None = None

    def gather(self, length: int, on_complete: Callable[[bytes], None]) -> None:
        """Keep the body in memory too, and call `on_complete` with it if it is `length` bytes long. Before the first `read`."""
        self._gather_length, self._on_complete = length, on_complete
        self._gather(bytes(self._buffer), end=self._ended)

    async def open(self) -> UpstreamResponse:
        """Send the request; returns the response, whose body is still to come. Raises UpstreamError."""
        waiting_for_upstream()
        self._pump = asyncio.Task(self._run(), loop=asyncio.get_running_loop(), name="relay", eager_start=False)
        try:
            return await asyncio.shield(self._opened)
        except asyncio.CancelledError:
            self.close()
            raise

    # The upstream's side

    async def _run(self) -> None:
        """Read the upstream's bytes into the buffer, over as many connections as that takes."""
        as_asker(
            Asker(
                kind=self._kind,
                client=self._client,
                patience=PLACE_SECONDS,
                is_spare=self._is_slow,
                give_way=self._give_way,
            )
        )
        try:
            rest = await self._read_some(None)
            while not self._ended:
                await self._drained()
                rest = await self._read_some(rest)
        except UpstreamError as error:
            self._error = error.to_keep()
            if not self._opened.done():
                self._opened.set_exception(error)
                self._opened.exception()  # nobody may be waiting any more
        finally:
            self._ended = True
            self._more.set()

    async def _read_some(self, rest: Rest | None) -> Rest:
        """Read one response to its end, or until the connection is let go; returns what is missing then. Raises UpstreamError."""
        async with self._send(rest.headers if rest else {}) as response:
            found = parse_content_range(response.headers.get("Content-Range"))
            if rest is None:
                self._opened.set_result(response)
            elif response.status != 206 or not goes_on(rest.first, rest.received, found):
                raise UpstreamError(
                    Failure.WRONG_SPAN, response.url, "its client reads slowly, and it cannot go on later"
                )
            while await self._has_room():
                chunk = await response.chunk()
                self._gather(chunk, end=not chunk)
                if not chunk:
                    self._ended = True
                    break
                self._received += len(chunk)
                self._buffer += chunk
                self._more.set()
            if rest is not None:
                return replace(rest, received=self._received)
            tag = response.headers.get("ETag", "")
            tag = tag if tag.startswith('"') else ""
            if not self._ended and (not (self._immutable or tag) or (response.status == 206 and found is None)):
                raise UpstreamError(Failure.BROKEN, response.url, "its client reads slowly, and it cannot go on later")
            return Rest(self._received, found if response.status == 206 else None, tag)

    async def _has_room(self) -> bool:
        """Wait until there is room in the buffer; False where the connection is let go instead."""
        self._let_go = False
        if len(self._buffer) < AHEAD:
            return True
        self._full_since = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(HOLD_SECONDS):
                while len(self._buffer) >= AHEAD and not self._let_go:
                    self._room.clear()
                    await self._room.wait()
        self._full_since = None
        return len(self._buffer) < AHEAD

    async def _drained(self) -> None:
        """Wait until the client has read all that there is."""
        while self._buffer:
            self._room.clear()
            await self._room.wait()

    def _is_slow(self) -> bool:
        return self._full_since is not None and time.monotonic() - self._full_since > SLOW_SECONDS

    def _give_way(self) -> None:
        self._let_go = True
        self._room.set()

    def _gather(self, chunk: bytes, *, end: bool) -> None:
        if self._on_complete is None:
            return
        self._gathered += chunk
        if len(self._gathered) >= self._gather_length or end:
            on_complete, self._on_complete = self._on_complete, None
            if len(self._gathered) == self._gather_length:
                on_complete(bytes(self._gathered))
            self._gathered.clear()

    # The client's side

    @property
    @override
    def exhausted(self) -> bool:
        return False  # only an empty read tells the end

    @override
    def read_now(self) -> Chunk:
        chunk = bytes(self._buffer[:CHUNK])
        del self._buffer[:CHUNK]
        if chunk:
            self._room.set()
        return chunk

    @override
    async def read(self) -> Chunk:
        while not self._closed:
            if chunk := self.read_now():
                return chunk
            if self._error is not None:
                raise CutShortError(str(self._error))
            if self._ended:
                return b""
            self._more.clear()
            await self._more.wait()
        raise CutShortError("closed")

    async def aclose(self) -> None:
        """Close the response and wait for it: its connection is back in the pool, or closed if bytes were still to come."""
        self.close()
        if self._pump is not None:
            await asyncio.wait([self._pump])

    @override
    def close(self) -> None:
        self._closed = True
        self._more.set()
        if self._pump is not None and not self._ended:
            self._pump.cancel()
