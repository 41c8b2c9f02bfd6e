"""Metrics that are made when they are asked for, of figures that are kept in another way than prometheus_client's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pkgcache.engine.runtime.request_figures import RequestFigures, cumulative


class Requests(Collector):
    """The figures of requests as Prometheus wants them, made when they are asked for."""

    def __init__(self, figures: RequestFigures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Make them."""
        requests = CounterMetricFamily(
            "pypi_cache_requests", "Requests that are over, by status and source.", labels=["status", "source"]
        )
        for labels, count in self._figures.by_status().items():
            requests.add_metric(labels, count)
        rows = self._figures.by_source()
        sent = sum(row.size for row in rows.values())
        by_source = CounterMetricFamily(
            "pypi_cache_response_bytes", "Body bytes sent to clients, by where they came from.", labels=["source"]
        )
        times = HistogramMetricFamily(
            "pypi_cache_request_duration_seconds",
            "Time from a request's head to the end of its answer, by source.",
            labels=["source"],
        )
        for source, row in rows.items():
            by_source.add_metric([source], row.size)
            times.add_metric([source], cumulative(row), row.seconds)
        total = CounterMetricFamily("pypi_cache_sent_bytes", "Body bytes sent to clients.", sent)
        return iter([requests, total, by_source, times])


class Processes(Collector):
    """The processes' own figures, added up."""

    def __init__(self, of_one: Collector, processes: Sequence[Mapping[str, float]], missing: int) -> None:
        self._of_one = of_one
        self._processes = processes
        self._missing = missing

    def collect(self) -> Iterator[Metric]:
        """Make them."""
        for family in self._of_one.collect():
            values = [each[family.name] for each in self._processes if family.name in each]
            together = min(values) if family.name == "process_start_time_seconds" else sum(values)
            added = Metric(family.name, family.documentation, family.type)
            added.add_sample(family.samples[0].name, {}, together)
            yield added
        yield GaugeMetricFamily("pypi_cache_workers_missing", "Workers that do not answer.", self._missing)
