"""A clock that a test moves: a lifetime lapses at once, and none lapses because a busy machine takes its time.

`time.time()` of a forked proxy is the machine's plus what its `Clock` says, at any moment. Only the wall clock moves, by which answers
grow old; waits and time-outs go by the monotonic one.
"""

import mmap
import struct
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Final

VARIABLE: Final = "PYPI_CACHE_TEST_CLOCK"
"""Tells a forked proxy its clock's path."""

_SECONDS: Final = struct.Struct("d")
_running: dict[Path, float] = {}
"""By a clock's path: how far it is ahead."""
_real: list[Callable[[], float]] = []
_ahead: "memoryview[float]" = memoryview(array("d", [0.0]))


class Clock:
    """How far a proxy's clock is ahead of the machine's: a file that the proxy has mapped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(_SECONDS.pack(0.0))

    def move(self, seconds: float) -> None:
        """Let time pass."""
        with self.path.open("r+b") as file:
            (ahead,) = _SECONDS.unpack(file.read())
            file.seek(0)
            file.write(_SECONDS.pack(ahead + seconds))
        _running[self.path] = ahead + seconds

    def begin(self) -> None:
        """Its proxy starts."""
        (_running[self.path],) = _SECONDS.unpack(self.path.read_bytes())

    def end(self) -> None:
        """Its proxy has ended: upstreams need no longer go by it."""
        _running.pop(self.path, None)


def furthest() -> float:
    """Now by the clock of a running proxy that is furthest ahead. Upstreams go by it.

    By a Date in the past their answers would be old (RFC 9111 §4.2.3).
    """
    return time.time() + max(_running.values(), default=0.0)


def install() -> None:
    """Make this process's clock movable, before anything has taken `time.time` away under a name of its own."""
    real = time.time
    time.time = lambda: real() + _ahead[0]
    _real.append(real)


def leave() -> None:
    """Let a forked process have the machine's own clock, as one that was not forked: a benchmark wants to know what that costs."""
    time.time = _real[0]


def follow(path: str) -> None:
    """Go by the `Clock` at a path from now on."""
    global _ahead  # noqa: PLW0603 - of a forked process that runs one proxy
    with Path(path).open("r+b") as file:
        _ahead = memoryview(mmap.mmap(file.fileno(), _SECONDS.size)).cast("d")
