"""Counters for /metrics and /stats. Each service has a registry of its own: prometheus_client's global one refuses a second service."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.samples import Sample

from pkgcache.engine.runtime.collectors import Processes, Requests
from pkgcache.engine.runtime.request_figures import RequestFigures, seconds_saved
from pkgcache.engine.runtime.shared_figures import SharedFigures
from pkgcache.engine.upstream.errors import Failure, UpstreamError

type DownloadResult = Literal["stored", "served", "stopped", "failed"]
"""`served`: whole and right, but not kept. `stopped`: nobody wanted it any more, or the proxy ended."""

logger = logging.getLogger(__name__)

ADVISORIES: Final = (
    ("records", "", "Advisories in force."),
    ("malicious", "_malicious", "Advisories in force about malicious packages."),
    ("age_seconds", "_age_seconds", "Time since the source of advisories was last seen; -1 without any in force."),
)
"""A figure, the end of its metric's name, and what it says."""


class Metrics:
    """Counters of one service. Each method counts one event; `answered` a request that is over (`RequestFigures.count`).

    `processes`: the figures of several processes, by name, whose counters are added to these (`sum_of_all`); `missing` workers do not
    answer.
    """

    def __init__(self, processes: Sequence[Mapping[str, float]] | None = None, missing: int = 0) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they would be a second time series for each counter
        self.registry = CollectorRegistry()
        registry = self.registry
        self._answers = Counter(
            "pypi_cache_answers", "Answers, by kind and by what the cache did.", ["kind", "cache"], registry=registry
        )
        self._counters: dict[tuple[str, str], Counter] = {}
        self._failures = Counter(
            "pypi_cache_upstream_failures", "Upstream failures, by reason.", ["reason"], registry=registry
        )
        self._stored = Counter("pypi_cache_stored_bytes", "Bytes of release files stored.", registry=registry)
        self._fills = Gauge("pypi_cache_fills", "Downloads under way.", registry=registry)
        self._downloads = Counter(
            "pypi_cache_downloads",
            "Downloads of release files that are over, by result.",
            ["result"],
            registry=registry,
        )
        for result in get_args(DownloadResult.__value__):
            self._downloads.labels(result)  # a rate needs the zero before the first one
        self._store = {
            "entries": Gauge("pypi_cache_store_entries", "Entries in the store.", registry=registry),
            "bytes": Gauge("pypi_cache_store_bytes", "Bytes in the store.", registry=registry),
            "max_bytes": Gauge("pypi_cache_store_max_bytes", "Bytes that the store may hold.", registry=registry),
            "disk_bytes": Gauge("pypi_cache_disk_bytes", "Size of the store's disk.", registry=registry),
            "disk_free_bytes": Gauge(
                "pypi_cache_disk_free_bytes", "Free bytes on the store's disk.", registry=registry
            ),
            "disk_min_free_bytes": Gauge(
                "pypi_cache_disk_min_free_bytes", "Bytes of the store's disk that are to stay free.", registry=registry
            ),
        }
        self._evictions = Counter("pypi_cache_evictions", "Entries evicted from the store.", registry=registry)
        self._evicted = Counter("pypi_cache_evicted_bytes", "Bytes evicted from the store.", registry=registry)
        self._refusals = Counter(
            "pypi_cache_refusals", "Pages and files refused by the operator's rules.", ["reason"], registry=registry
        )
        self._advisories: dict[str, Gauge] = {}
        self._trouble = Gauge(
            "pypi_cache_store_trouble", "1 while the store or its disk has a problem, else 0.", registry=registry
        )
        self._store_errors = Counter("pypi_cache_store_errors", "Failures of the store.", registry=registry)
        self._store_damaged = Counter(
            "pypi_cache_store_damaged", "Stored files found damaged on the disk.", registry=registry
        )
        self._busy = Counter(
            "pypi_cache_busy", "Requests that found no free connection to an upstream in time.", registry=registry
        )
        self._known_heads = Counter(
            "pypi_cache_known_heads", "Answers to requests whose head was known from before.", registry=registry
        )
        self._faults = Counter("pypi_cache_faults", "Errors in the proxy's own code.", registry=registry)
        self._build = Info("pypi_cache_build", "The version that runs.", registry=registry)
        self.has_inherited = False  # the figures of a worker whose place this one has taken
        self.requests = RequestFigures()
        self.answered = self.requests.count
        registry.register(Requests(self.requests))
        self._process = ProcessCollector(registry=None if processes else registry)
        if processes:
            registry.register(Processes(self._process, processes, missing))

    @property
    def has_shared(self) -> bool:
        """Whether there is a shared tier."""
        return "shared" in vars(self)

    @cached_property
    def shared(self) -> SharedFigures:
        """The counters of a shared tier, which are there only where there is one."""
        return SharedFigures(self.registry)

    def hit(self, kind: str) -> None:
        """Count an answer from the store."""
        self._answered(kind, "hit").inc()

    def known_head(self) -> None:
        """Count an answer to a request whose head was known from before."""
        self._known_heads.inc()

    def stale(self, kind: str) -> None:
        """Count an answer from the store past its freshness lifetime."""
        self._answered(kind, "stale").inc()

    def miss(self, kind: str) -> None:
        """Count an answer that was fetched for its request."""
        self._answered(kind, "miss").inc()

    def collapsed(self, kind: str) -> None:
        """Count an answer that joined another request's fetch."""
        self._answered(kind, "collapsed").inc()

    def _answered(self, kind: str, cache: str) -> Counter:
        """The counter of these answers. `labels` checks its arguments anew each time, and a hit has little else to do."""
        counter = self._counters.get((kind, cache))
        if counter is None:
            counter = self._counters[kind, cache] = self._answers.labels(kind, cache)
        return counter

    def upstream_failed(self, error: UpstreamError) -> None:
        """Count an upstream's failure, and log it; a 404 is counted alone, because mirrors lack files all the time.

        An upstream that was not asked, because all connections to it are in use, has not failed.
        """
        if error.of_shared_tier or error.failure is Failure.OFFLINE:
            self.shared.on_failure(error)
            return
        if error.failure is Failure.BUSY:
            self._busy.inc()
            logger.info("%s", error)
            return
        self._failures.labels(error.failure.value).inc()
        if error.failure is not Failure.NOT_FOUND:
            logger.warning("upstream: %s", error)

    def stored(self, size: int) -> None:
        """Count a release file that was stored, of `size` bytes."""
        self._stored.inc(size)

    def evicted(self, entries: int, size: int) -> None:
        """Count entries that were evicted, of `size` bytes together. For all threads."""
        self._evictions.inc(entries)
        self._evicted.inc(size)

    def downloaded(self, result: DownloadResult) -> None:
        """Count a download that is over."""
        self._downloads.labels(result).inc()

    def refused(self, reason: str) -> None:
        """Count a page or file that the operator's rules refused."""
        self._refusals.labels(reason).inc()

    def fault(self) -> None:
        """Count an error in the proxy's own code."""
        self._faults.inc()

    def store_failed(self) -> None:
        """Count a failure of the store."""
        self._store_errors.inc()

    def store_damaged(self) -> None:
        """Count a stored file that was found damaged."""
        self._store_damaged.inc()

    def _set_advisories(self, figures: Mapping[str, int]) -> None:
        """Set the gauges of advisories, which are there only with that option: an alert on an age must not find a zero."""
        if not self._advisories:
            self._advisories = {
                name: Gauge(f"pypi_cache_advisories{suffix}", text, registry=self.registry)
                for name, suffix, text in ADVISORIES
            }
        for name, gauge in self._advisories.items():
            gauge.set(figures[name])

    def prometheus(
        self,
        store: Mapping[str, int],
        fills: int,
        *,
        store_trouble: bool,
        version: str,
        advisories: Mapping[str, int] | None = None,
    ) -> bytes:
        """Return all metrics in the Prometheus text format.

        `store` (`Store.figures`), the number of fills and `advisories` (`AdvisoryFeed.figures`) are gauges.
        """
        if advisories is not None:
            self._set_advisories(advisories)
        self._build.info({"version": version})
        for name, gauge in self._store.items():
            gauge.set(store.get(name, 0))
        self._fills.set(fills)
        self._trouble.set(store_trouble)
        return generate_latest(self.registry)

    def figures(self) -> dict[str, float]:
        """Return the counters as plain numbers, by name and labels: `pypi_cache_answers_total{kind=file}{cache=hit}`."""
        return {
            sample.name + "".join(f"{{{k}={v}}}" for k, v in sample.labels.items()): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }

    def counters(self) -> dict[str, Counter]:
        """Return all counters by their names."""
        owners = (self, self.shared) if self.has_shared else (self,)
        found = [value for owner in owners for value in vars(owner).values() if isinstance(value, Counter)]
        return {family.name: counter for counter in found for family in counter.describe()}

    def process_figures(self) -> dict[str, float]:
        """Return what the system says of this process: memory, processor time, open files."""
        return {family.name: family.samples[0].value for family in self._process.collect()}

    def summary(self) -> dict[str, Any]:
        """Return the figures for /stats, named for people; docs/pages/operating.md explains them."""
        totals = self.figures()
        rows = self.requests.by_source()
        by_status: dict[str, int] = {}
        for (status, _), count in self.requests.by_status().items():
            by_status[status] = by_status.get(status, 0) + count
        answers: dict[str, dict[str, int]] = {}
        for sample in samples_of(self._answers):
            answers.setdefault(sample.labels["kind"], {})[sample.labels["cache"]] = int(sample.value)
        return {
            "requests": {
                "total": sum(by_status.values()),
                "by_status": by_status,
                "by_source": {source: row.count for source, row in rows.items()},
            },
            "hit_ratio": _ratio(rows["store"].count, [row.count for source, row in rows.items() if source != "proxy"]),
            "byte_hit_ratio": _ratio(
                rows["store"].size, [row.size for source, row in rows.items() if source != "proxy"]
            ),
            "bytes": {
                "sent": sum(row.size for row in rows.values()),
                "sent_by_source": {source: row.size for source, row in rows.items()},
                "stored": int(totals["pypi_cache_stored_bytes_total"]),
            },
            "saved": {"bytes": rows["store"].size + rows["shared"].size, "seconds": seconds_saved(rows)},
            "answers": answers,
            "downloads": _by_label(self._downloads),
            "upstream_failures": _by_label(self._failures),
            "refusals": _by_label(self._refusals),
            "evictions": {
                "entries": int(totals["pypi_cache_evictions_total"]),
                "bytes": int(totals["pypi_cache_evicted_bytes_total"]),
            },
            "no_free_connection": int(totals["pypi_cache_busy_total"]),
            "known_heads": int(totals["pypi_cache_known_heads_total"]),
            "store_errors": int(totals["pypi_cache_store_errors_total"]),
            "store_damaged": int(totals["pypi_cache_store_damaged_total"]),
            "faults": int(totals["pypi_cache_faults_total"]),
        }


def samples_of(counter: Counter) -> list[Sample]:
    """Return a counter's numbers, with their labels."""
    return [sample for family in counter.collect() for sample in family.samples if sample.name.endswith("_total")]


def _by_label(counter: Counter) -> dict[str, int]:
    return {next(iter(sample.labels.values())): int(sample.value) for sample in samples_of(counter)}


def _ratio(part: int, whole: Iterable[int]) -> float:
    return round(part / (sum(whole) or 1), 4)
