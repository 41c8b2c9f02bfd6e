"""Turns for pages that are large, so that few are held in memory at a time (`rules/simple/limits` has the budget).

An origin has 64 connections, each of which may bring a page of 32 MB, faster than any page can be worked on: four of them at once took
500 MB. And 41 kB become such a page when they are decompressed. So a page waits twice: for a turn of its origin while it comes, and for
a turn of all pages from where it is decompressed until it is made. Small pages never wait, and no origin waits for one that drips.

Waiting is no upstream's failure: who waits too long is told to come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from pkgcache.engine.pages.worker import LARGE
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.response import SMALL_BODY
from pkgcache.rules.routing.urls import Url
from pkgcache.rules.simple.limits import HEAVY_PAGE, MOST_LARGE

MOST_HELD: Final = 2
"""Large bodies of one origin, from where they are known to be large until the page is made: one is worked on while the next one comes."""

TURN_SECONDS: Final = 60.0
"""How long a page waits for its turn: of heavy pages, two to five seconds each, a dozen."""

type TakeTurn = Callable[[int], Awaitable[None]]
"""Called with the bytes of a body that have come so far, while it comes."""


class PageTurns:
    """The turns of all origins, and those of all pages. There are as many origins as the operator has named upstreams.

    `before_heavy` is called on a thread before a heavy page is decompressed: to give back memory that lies free.
    """

    def __init__(self, before_heavy: Callable[[], None] = lambda: None) -> None:
        self._before_heavy = before_heavy
        self._bodies: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._large = asyncio.Semaphore(MOST_LARGE)
        self._heavy = asyncio.Semaphore(1)

    @asynccontextmanager
    async def body(self, url: Url) -> AsyncIterator[TakeTurn]:
        """Yield what waits for a turn once a body is known to be large, or heavy. The turns end with the context."""
        steps = [(SMALL_BODY, MOST_HELD), (HEAVY_PAGE, 1)]
        async with AsyncExitStack() as taken:

            async def take(size: int) -> None:
                while steps and size > steps[0][0]:
                    above, most = steps.pop(0)
                    turns = self._bodies.setdefault((url.origin, above), asyncio.Semaphore(most))
                    await taken.enter_async_context(_in_turn(turns, url))

            yield take

    @asynccontextmanager
    async def work(self, size: int, url: Url | None = None) -> AsyncIterator[None]:
        """Hold a turn for a page of at most `size` bytes, from before it is decompressed until it is made.

        `url`: of a page that is fetched, which waits for TURN_SECONDS. Raises UpstreamError (BUSY) then.
        """
        if size <= LARGE:
            yield
        elif size <= HEAVY_PAGE:
            async with _in_turn(self._large, url):
                yield
        else:
            async with _in_turn(self._heavy, url):
                await asyncio.to_thread(self._before_heavy)
                yield


@asynccontextmanager
async def _in_turn(turns: asyncio.Semaphore, url: Url | None) -> AsyncIterator[None]:
    """Hold one of the turns. Raises UpstreamError (BUSY)."""
    try:
        async with asyncio.timeout(TURN_SECONDS if url else None):
            await turns.acquire()
    except TimeoutError:
        assert url is not None
        raise UpstreamError(Failure.BUSY, url, "other large pages are worked on", origin=url.origin) from None
    try:
        yield
    finally:
        turns.release()
