"""The counters of a shared tier (`engine/shared`): what it was asked for, and what was written to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from pkgcache.engine.upstream.errors import UpstreamError

type SharedRead = Literal["hit", "miss", "failed", "wrong", "skipped"]
"""`wrong`: it was not what its digest says. `skipped`: it was not asked, since it has failed, or is busy."""

type SharedWrite = Literal["stored", "present", "failed", "dropped"]
"""`dropped`: not written, since another write has failed just before, or too much waits."""


type SharedLease = Literal["owner", "followed", "taken-over", "gave-up", "failed"]
"""`owner`: this machine downloads it. `followed`: it came from the tier. `taken-over`: its owner was gone. `gave-up`: both download it."""


class SharedFigures:
    """What a shared tier was asked for, and what came of it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.on_failure: Callable[[UpstreamError], None] = lambda _error: None
        """Called with what a download says of the tier."""
        self._reads = Counter(
            "pypi_cache_shared_reads", "Objects asked of the shared tier, by result.", ["result"], registry=registry
        )
        self._writes = Counter(
            "pypi_cache_shared_writes",
            "Objects to be written to the shared tier, by result.",
            ["result"],
            registry=registry,
        )
        self._bytes = Counter("pypi_cache_shared_written_bytes", "Bytes written to the shared tier.", registry=registry)
        self._trouble = Gauge(
            "pypi_cache_shared_trouble", "1 while the shared tier has a problem, else 0.", registry=registry
        )
        self._leases = Counter(
            "pypi_cache_shared_leases",
            "Downloads for which the shared tier was asked who makes them, by result.",
            ["result"],
            registry=registry,
        )
        for result in get_args(SharedLease.__value__):
            self._leases.labels(result)
        for result in get_args(SharedRead.__value__):
            self._reads.labels(result)
        for result in get_args(SharedWrite.__value__):
            self._writes.labels(result)

    def read(self, result: SharedRead) -> None:
        """Count an object that was asked for."""
        self._reads.labels(result).inc()

    def written(self, result: SharedWrite) -> None:
        """Count an object that was to be written."""
        self._writes.labels(result).inc()

    def lease(self, result: SharedLease) -> None:
        """Count a download for which a lease was asked for."""
        self._leases.labels(result).inc()

    def bytes_written(self, size: int) -> None:
        """Count the bytes of an object that was written."""
        self._bytes.inc(size)

    def trouble(self, problem: Callable[[], bool]) -> None:
        """Let the gauge show whether there is a problem."""
        self._trouble.set_function(problem)
