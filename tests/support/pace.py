"""A token bucket that does not drift."""

import asyncio
import time
from typing import Final

SLOT: Final = 0.02
"""Seconds of traffic let through at once: what a stream may run ahead, and how coarse its pieces are."""


class Bucket:
    """Lets `rate` bytes a second through, for all who take from it; used in one event loop only."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._due = 0.0

    @property
    def piece(self) -> int:
        """A good size to take at once, in bytes."""
        return max(1, min(256 * 1024, int(self.rate * SLOT)))

    async def take(self, size: int) -> None:
        """Wait until the last of `size` bytes is due. Idle time earns nothing but one slot."""
        now = time.monotonic()
        self._due = max(self._due, now - SLOT) + size / self.rate
        if self._due > now:
            await asyncio.sleep(self._due - now)
