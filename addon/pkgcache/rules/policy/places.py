"""Decides who gets a connection to an upstream, where more requests want one than there are places.

Each upstream host has its own places, for pages and for files apart: a host that drips holds up nobody who asks another one, nor the
host's pages if it drips files. Among those who wait, the client that holds the fewest places comes first. What nobody waits for (a
download whose clients have left, a body that its client does not read) is `spare`: it is served last, few at a time, and gives way
first.

Left out: how long somebody waits, and what giving way is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that holds a place or waits for one. `client` is its address; '' for what no client asked for."""

    client: str
    spare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceLimits:
    """Limits of one kind of requests to one host.

    `host`: connections. With one request on each (HTTP/1.1), 64 keep a line of 1 Gbit/s busy at 100 ms; a mirror may take more for an
    attack. `client`: how many of them one client may hold. uv asks for up to 50 files at once and hardly notices, and another client
    finds the rest. `queue`: how many may wait. Ten agents that each install everything at once fit in; others come again later.
    `spare`: while so many are held that are spare, no other of that sort is served. An agent that is killed leaves a hundred downloads
    that have not begun, and each costs a connection.
    """

    host: int = 64
    client: int = 48
    queue: int = 512
    spare: int = 8


def next_to_serve(waiting: Sequence[Claim], held: Sequence[Claim], limits: PlaceLimits) -> int | None:
    """Return which of those who wait (first come first) gets a place now, or None if none may.

    >>> next_to_serve([Claim("a"), Claim("b")], [Claim("a")], PlaceLimits())
    1
    """
    if len(held) >= limits.host:
        return None
    holds = _holds(held)
    spare = sum(claim.spare for claim in held) < limits.spare
    may = [n for n, claim in enumerate(waiting) if (spare if claim.spare else _below_limit(claim, holds, limits))]
    return min(may, key=lambda number: (waiting[number].spare, holds[waiting[number].client]), default=None)


def to_give_way(waiting: Sequence[Claim], held: Sequence[Claim], limits: PlaceLimits) -> list[int]:
    """Return which of those who hold a place must leave it, oldest first: one for each wanted request that could have it.

    >>> to_give_way([Claim("b")], [Claim("a"), Claim("a", spare=True)], PlaceLimits(host=2))
    [1]
    """
    holds = _holds(held)
    wanted = sum(not claim.spare and _below_limit(claim, holds, limits) for claim in waiting)
    lacking = max(0, wanted - max(0, limits.host - len(held)))
    return [number for number, claim in enumerate(held) if claim.spare][:lacking]


def to_leave_queue(waiting: Sequence[Claim]) -> int | None:
    """Return who leaves a queue that is full, so that one more may wait: the oldest that is spare; None if all are wanted."""
    return next((number for number, claim in enumerate(waiting) if claim.spare), None)


def is_queue_full(waiting: Sequence[object], limits: PlaceLimits) -> bool:
    """Whether nobody more may wait."""
    return len(waiting) >= limits.queue


def _holds(held: Sequence[Claim]) -> Counter[str]:
    """How many places each client holds. What is spare counts for nobody: its client may have left long ago."""
    return Counter(claim.client for claim in held if not claim.spare)


def _below_limit(claim: Claim, holds: Counter[str], limits: PlaceLimits) -> bool:
    return not claim.client or holds[claim.client] < limits.client
