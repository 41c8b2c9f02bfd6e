"""The figures of several processes, added up: what each tells of itself, and what /metrics, /stats and /healthz make of it.

Counters only ever grow, even while a worker is started again: its successor begins with the figures that it told last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pkgcache.engine.runtime.metrics import Metrics, samples_of
from pkgcache.engine.runtime.request_figures import Row

CPU: Final = "process_cpu_seconds"
NOTHING: Final[Mapping[str, Any]] = {"counters": (), "requests": (), "process": {}}

type Snapshot = Mapping[str, Any]
"""The counters of one process, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a process tells of itself. `reasons`: why no client should be sent to it just now."""

    number: int
    started: float
    snapshot: Snapshot
    fills: int = 0
    problems: Mapping[str, str] = field(default_factory=dict)
    reasons: Sequence[str] = ()
    has_trouble: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Everyone:
    """All processes of one proxy. `missing` are the numbers of those that did not answer; both are empty where there is only one."""

    metrics: Metrics
    started: float
    fills: int
    problems: Mapping[str, str]
    reasons: Sequence[str]
    has_trouble: bool
    answering: Sequence[int] = ()
    missing: Sequence[int] = ()

    @property
    def workers(self) -> dict[str, Any]:
        """Which workers have answered, as a field of JSON; nothing where there is only one process."""
        return {"workers": {"answering": self.answering, "missing": self.missing}} if self.answering else {}


def snapshot(metrics: Metrics) -> Snapshot:
    """Return all counters of a process, and what the system says of it."""
    return {
        "counters": [
            [name, sample.labels, sample.value]
            for name, counter in metrics.counters().items()
            for sample in samples_of(counter)
            if sample.value
        ],
        "requests": [
            [status, source, row.count, row.size, row.seconds, row.classes]
            for status, source, row in metrics.requests.rows()
        ],
        "process": metrics.process_figures(),
        "shared": metrics.has_shared,
    }


def add(metrics: Metrics, told: Snapshot) -> None:
    """Add a snapshot's counters."""
    if told.get("shared"):
        _ = metrics.shared  # from here on there are its counters
    counters = metrics.counters()
    for name, labels, value in told["counters"]:
        if name in counters:
            (counters[name].labels(**labels) if labels else counters[name]).inc(value)
    for status, source, count, size, seconds, classes in told["requests"]:
        metrics.requests.add(status, source, Row(count, size, seconds, classes))


def inherit(metrics: Metrics, told: Snapshot) -> None:
    """Let the counters of a worker that has just begun go on from what the one before it told."""
    if not metrics.has_inherited:
        metrics.has_inherited = True
        add(metrics, told)


def added_up(reports: Sequence[Report], last_told: Mapping[int, Snapshot]) -> Everyone:
    """Return all together. `last_told`: of those that do not answer, by number, what they told before, if they did."""
    worked = [{CPU: told["process"][CPU]} for told in last_told.values() if CPU in told["process"]]
    metrics = Metrics([*(report.snapshot["process"] for report in reports), *worked], missing=len(last_told))
    for told in [*(report.snapshot for report in reports), *last_told.values()]:
        add(metrics, told)
    missing = sorted(last_told)
    problems = together({report.number: report.problems for report in reports})
    if missing:
        problems["workers"] = (
            f"{_listed(missing)} not answer; the figures are those of the others, and what was told before"
        )
    if metrics.has_shared:
        metrics.shared.trouble(lambda: any("shared tier" in component for component in problems))
    return Everyone(
        metrics=metrics,
        started=min(report.started for report in reports),
        fills=sum(report.fills for report in reports),
        problems=problems,
        reasons=list(dict.fromkeys(reason for report in reports for reason in report.reasons)),
        has_trouble=any(report.has_trouble for report in reports),
        answering=sorted(report.number for report in reports),
        missing=missing,
    )


def alone(report: Report, metrics: Metrics) -> Everyone:
    """Return what there is to tell of a process that has no others."""
    return Everyone(
        metrics=metrics,
        started=report.started,
        fills=report.fills,
        problems=report.problems,
        reasons=report.reasons,
        has_trouble=report.has_trouble,
    )


def together(problems: Mapping[int, Mapping[str, str]]) -> dict[str, str]:
    """Return all problems by component: what several tell in the same words is told once, and what only some tell has their number.

    >>> together({1: {"store": "the disk is full", "log": "gone"}, 2: {"store": "the disk is full"}})
    {'store': 'the disk is full', 'log (worker 1)': 'gone'}
    """
    found: dict[str, str] = {}
    for number, lines in problems.items():
        for component, line in lines.items():
            is_common = all(other.get(component) == line for other in problems.values())
            found[component if is_common else f"{component} (worker {number})"] = line
    return found


def _listed(numbers: Iterable[int]) -> str:
    names = [str(number) for number in numbers]
    return f"worker {names[0]} does" if len(names) == 1 else f"workers {', '.join(names)} do"
