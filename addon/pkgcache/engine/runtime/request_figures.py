"""What requests came to, counted as they end: by status and source, with their times and bytes. /metrics and /stats are made of it.

prometheus_client's own counters look up their labels and take a lock each time. A hit has little else to do, so it is one look into a
dict here. For the event loop's thread alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import accumulate
from typing import Final

from pkgcache.rules.http.cache_status import SOURCES, Source

CLIENT_LEFT: Final = 499
"""Status of a client that disconnected before its answer began, as nginx logs it."""

BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the classes of times, in seconds. A hit takes a millisecond; a large file as long as its client's connection."""

OTHER: Final = "other"
"""For a status that no standard has: an upstream may send any, and each would be another time series."""

_KNOWN: Final = frozenset({status.value for status in HTTPStatus} | {CLIENT_LEFT})


@dataclass(slots=True)
class Row:
    """Requests of one status and source. `classes` has one number for each of BOUNDS, and one for what took longer."""

    count: int = 0
    size: int = 0
    seconds: float = 0.0
    classes: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, other: Row) -> None:
        """Add another row's figures."""
        self.count += other.count
        self.size += other.size
        self.seconds += other.seconds
        self.classes = [mine + theirs for mine, theirs in zip(self.classes, other.classes, strict=True)]


class RequestFigures:
    """Counts requests that are over."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, Source], Row] = {}

    def count(self, status: int, source: Source, seconds: float, size: int) -> None:
        """Count a request that is over: the status and source of its answer, how long it took, and the bytes of body that were sent."""
        row = self._rows.get((status, source))
        if row is None:
            row = self._rows.setdefault((status if status in _KNOWN else 0, source), Row())
        row.count += 1
        row.size += size
        row.seconds += seconds
        row.classes[bisect_left(BOUNDS, seconds)] += 1

    def rows(self) -> list[tuple[int, Source, Row]]:
        """Return all figures, as `add` takes them."""
        return [(status, source, row) for (status, source), row in self._rows.items()]

    def add(self, status: int, source: Source, row: Row) -> None:
        """Add another process's figures."""
        self._rows.setdefault((status, source), Row()).add(row)

    def by_status(self) -> dict[tuple[str, Source], int]:
        """Return the number of requests for each status and source."""
        return {(str(status or OTHER), source): row.count for (status, source), row in sorted(self._rows.items())}

    def by_source(self) -> dict[Source, Row]:
        """Return the figures for each source, zeros among them."""
        found = {source: Row() for source in SOURCES}
        for (_, source), row in self._rows.items():
            found[source].add(row)
        return found


def cumulative(row: Row) -> list[tuple[str, float]]:
    """Return how many requests took no longer than each bound, as Prometheus' histograms have it."""
    return list(zip([*map(str, BOUNDS), "+Inf"], accumulate(map(float, row.classes)), strict=True))


def seconds_saved(rows: Mapping[Source, Row]) -> float | None:
    """Estimate how much longer clients would have waited without the store. None where nothing went upstream yet, so that nobody knows.

    Either as long a request as the middle one of those that went upstream, or as long a byte, whichever is more: pages take an upstream's
    time to answer, large files that of their bytes. The mean time of a request would count each page as a share of the largest download.
    """
    asked, stored = rows["upstream"], rows["store"]
    if not asked.count:
        return None
    by_byte = stored.size * asked.seconds / asked.size if asked.size else 0.0
    return round(max(0.0, max(stored.count * _middle(asked), by_byte) - stored.seconds), 1)


def _middle(row: Row) -> float:
    """Return the lower end of the class in which the middle one of these requests is, in seconds."""
    below = list(accumulate(row.classes))
    at = bisect_left(below, row.count / 2)
    return BOUNDS[at - 1] if at else 0.0
