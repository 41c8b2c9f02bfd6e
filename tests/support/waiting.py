"""Waiting for what comes true a moment later, however slow the machine: tests wait for states, never for a time."""

import time
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 30.0
"""Seconds: what has not come true by then never will."""


def eventually[T](ask: Callable[[], T], holds: Callable[[T], bool] = bool, *, timeout: float = PATIENCE) -> T:
    """Ask until the answer `holds`, and give that answer; AssertionError with the last one if it never does."""
    deadline = time.monotonic() + timeout
    while not holds(answer := ask()):
        assert time.monotonic() < deadline, f"not in {timeout} s; the last answer: {answer!r}"
        time.sleep(0.02)
    return answer
