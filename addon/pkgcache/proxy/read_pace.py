"""Decides how much of what a client sends the layers get at a time, and how long its next bytes wait.

asyncio has 256 kB at hand, and mitmproxy would work on all of it before anybody else's turn: with chunks of one byte for a third of a
second. Cheap bytes, such as an upload's, come in large reads; those that cost much, of a client that has more at hand, in ever smaller
ones, so that a turn stays short however many such clients there are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

LARGEST_READ: Final = 16 * 1024
SMALL_READ: Final = 4 * 1024
"""Bytes for a connection's first QUICK_READS reads, and within a handshake: heads and ClientHellos are shorter."""

QUICK_READS: Final = 8

LEAST_READ: Final = 1024

COSTLY_SECONDS: Final = 0.004
"""Of processor time, for a read of any size: an ordinary request takes 1 to 2 ms. The client's next bytes wait for as long."""

COSTLY_A_BYTE: Final = COSTLY_SECONDS / LARGEST_READ
"""The same, for a read that was full: a flood. In chunks of one byte it is twice this, in an upload a twentieth."""

LONG_TURN: Final = COSTLY_SECONDS / 2
"""Full reads that take longer are halved."""

LONGEST_PAUSE: Final = 0.05


SHARE: Final = 0.5
"""Of the event loop's time, for costly work of all clients together: each alone would wait as long as its own took, and twenty of them
would still leave nothing for the others."""

LONGEST_QUEUE: Final = 5.0
"""Seconds that a client waits at most while others' costly work comes first."""


WATCHED_READS: Final = 16


class CostClock:
    """What tells how long the work on a client's bytes took. `now` gives seconds.

    What has taken long may only have waited for the processor. Then, for WATCHED_READS, the thread's processor time counts; to ask for
    that costs twenty times as much.
    """

    __slots__ = ("_left", "now")

    def __init__(self) -> None:
        self.now: Callable[[], float] = time.perf_counter
        self._left = 0

    def confirms(self, is_costly: bool) -> bool:
        """Take note of whether a read seems to have been costly. Returns whether that is certain."""
        is_certain = is_costly and self.now is time.thread_time
        self._left = WATCHED_READS if is_costly else max(0, self._left - 1)
        self.now = time.thread_time if self._left else time.perf_counter
        return is_certain


class CostlyWork:
    """The costly work of all clients, one after the other."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def wait(self, cost: float, now: float) -> float:
        """Give work of `cost` seconds its turn; returns in how many seconds that is."""
        begin = min(max(now, self._free_at), now + LONGEST_QUEUE)
        self._free_at = begin + cost / SHARE
        return begin - now


class ReadPace:
    """The reads of one connection. `size`: bytes of the next one."""

    __slots__ = ("_reads", "size")

    def __init__(self) -> None:
        self._reads = 0
        self.size = SMALL_READ

    def pause_after(self, got: int, cost: float) -> float:
        """Take note of a read of `got` bytes that took `cost` seconds to work on; returns how many seconds the next one is to wait."""
        is_flood = got >= self.size
        is_costly = cost > (min(COSTLY_SECONDS, got * COSTLY_A_BYTE) if is_flood else COSTLY_SECONDS)
        self._reads += 1
        if is_flood and cost > LONG_TURN:
            self.size = max(LEAST_READ, self.size // 2)
        elif not is_costly and self._reads >= QUICK_READS:
            self.size = min(LARGEST_READ, 2 * self.size) if is_flood else LARGEST_READ
        return min(cost, LONGEST_PAUSE) if is_costly else 0.0


async def read_before_reset(reader: asyncio.StreamReader, size: int) -> bytes:
    """Read what has come, though the connection was reset meanwhile; the next read raises OSError.

    asyncio would raise at once. A client that does not trust our CA sends an alert, and leaves the rest of the handshake unread, so
    that its system resets the connection: on a busy machine both are there before the alert was read.
    """
    held: bytearray = reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001
    if reader.exception() and held:
        data = bytes(held[:size])
        del held[:size]
        return data
    return await reader.read(size)
