"""Turns for bodies of pages that are large: few of each origin are held in memory at a time.

An origin has 64 connections, each of which may bring a page of 32 MB, faster than any page can be worked on: four of them at once took
500 MB. What has to wait is the origin's own other large pages; small pages, and other origins, do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

MOST_HELD: Final = 2
"""Large bodies of one origin, from where they are known to be large until the page is made: one is worked on while the next one comes."""

type TakeTurn = Callable[[], Awaitable[None]]


class LargeBodies:
    """The turns of all origins. There are as many origins as the operator has named upstreams."""

    def __init__(self) -> None:
        self._turns: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def turn(self, origin: str) -> AsyncIterator[TakeTurn]:
        """Yield what waits for a turn once a body is known to be large. The turn ends with the context."""
        async with AsyncExitStack() as taken:

            async def take() -> None:
                turns = self._turns.setdefault(origin, asyncio.Semaphore(MOST_HELD))
                await taken.enter_async_context(turns)

            yield take
