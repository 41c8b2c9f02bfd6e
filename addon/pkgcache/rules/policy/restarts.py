"""When a worker that has ended is started again: at once, after a pause that doubles, or not at all.

A worker that has served for a while and dies has met something rare: its successor starts at once. One that dies right after its start is
likely to do so again, so each further one waits longer. Where no worker has ever listened, an option is wrong or a file cannot be
read, and another start would change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STEADY_SECONDS: Final = 1.0
"""A worker that has listened for so long has not died of its start."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0

MOST_TRIES: Final = 5
"""Starts that may fail one after another while no other worker is left."""

PATIENT_SECONDS: Final = 0.5
"""How long connections wait for a worker's successor. Behind a longer pause its sockets are closed: new ones go to the others then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a worker ended. `listened`: for how many seconds, None for a start that failed. `failures`: such ends just before this one."""

    listened: float | None
    failures: int
    others_listen: bool
    any_ever_listened: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Start another one after `pause` seconds; `failures` counts this end too, if it was one."""

    pause: float
    failures: int

    @property
    def keeps_sockets(self) -> bool:
        """Whether connections are to wait for the successor."""
        return self.pause <= PATIENT_SECONDS


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop everything."""


def after(ended: Ended) -> Restart | GiveUp:
    """Return what to do about a worker that has ended without being asked to.

    >>> after(Ended(listened=60.0, failures=3, others_listen=True, any_ever_listened=True))
    Restart(pause=0.0, failures=0)
    """
    if not ended.any_ever_listened:
        return GiveUp()
    if ended.listened is not None and ended.listened >= STEADY_SECONDS:
        return Restart(pause=0.0, failures=0)
    failures = ended.failures + 1
    if ended.listened is None and failures >= MOST_TRIES and not ended.others_listen:
        return GiveUp()
    return Restart(pause=min(FIRST_PAUSE * 2 ** min(failures - 1, 10), LONGEST_PAUSE), failures=failures)
