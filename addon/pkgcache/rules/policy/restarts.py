"""When a worker that has ended is started again: at once, after a pause that doubles, or not at all.

A worker that has served for a while and dies has met something rare: its successor starts at once. One that dies right after its start is
likely to do so again, so each further one waits longer. Where one gives up by itself before any worker has listened, an option is wrong
or a file cannot be read, and another start would change nothing; one that a signal has ended (the system is out of memory, say) has not
given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STEADY_SECONDS: Final = 1.0
"""A worker that has listened for so long has not died of its start."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0

MOST_TRIES: Final = 5
"""Starts that may fail one after another: by themselves while no other worker listens, or by a signal before any has listened."""

PATIENT_SECONDS: Final = 0.5
"""How long connections wait for a worker's successor where others listen. Behind a longer pause its sockets are closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a worker ended. `by_itself`: no signal has ended it. `listened`: for how many seconds, None for a start that failed.

    `failures`: how many have ended in their first second just before this one.
    """

    by_itself: bool
    listened: float | None
    failures: int
    others_listen: bool
    any_ever_listened: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Start another one after `pause` seconds; `failures` counts this end too, if it was one."""

    pause: float
    failures: int
    keeps_sockets: bool
    """Whether connections are to wait for the successor."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop everything."""


def after(ended: Ended) -> Restart | GiveUp:
    """Return what to do about a worker that has ended without being asked to.

    >>> after(Ended(by_itself=False, listened=60.0, failures=3, others_listen=True, any_ever_listened=True))
    Restart(pause=0.0, failures=0, keeps_sockets=True)
    """
    if ended.listened is not None and ended.listened >= STEADY_SECONDS:
        return Restart(pause=0.0, failures=0, keeps_sockets=True)
    failures = ended.failures + 1
    if _is_hopeless(ended, failures):
        return GiveUp()
    pause = min(FIRST_PAUSE * 2 ** min(failures - 1, 10), LONGEST_PAUSE)
    return Restart(pause=pause, failures=failures, keeps_sockets=pause <= PATIENT_SECONDS or not ended.others_listen)


def _is_hopeless(ended: Ended, failures: int) -> bool:
    if ended.listened is not None or ended.others_listen:
        return False
    if not ended.any_ever_listened:
        return ended.by_itself or failures >= MOST_TRIES
    return ended.by_itself and failures >= MOST_TRIES
