"""The figures of several workers, added up."""

import json
from typing import Any

import pytest

from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.sum_of_all import CPU, NOTHING, Report, added_up, alone, inherit, snapshot, together
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.routing.urls import parse_url


def busy(times: int = 1) -> Metrics:
    """Counters of a worker to which each thing has happened so often."""
    metrics = Metrics()
    for _ in range(times):
        metrics.hit("file")
        metrics.miss("page")
        metrics.known_head()
        metrics.stored(1000)
        metrics.downloaded("stored")
        metrics.refused("denied")
        metrics.upstream_failed(UpstreamError(Failure.UNREACHABLE, parse_url("https://mirror.example/"), "no route"))
        metrics.store_failed()
        metrics.answered(200, "store", 0.002, 300)
        metrics.answered(404, "upstream", 2.0, 10)
    return metrics


def report(number: int, metrics: Metrics, **more: Any) -> Report:
    """What worker `number` tells of these metrics, sent through JSON as between processes."""
    told = {"started": 100.0 + number, "fills": number, **more}
    return Report(number=number, snapshot=json.loads(json.dumps(snapshot(metrics))), **told)


def text(metrics: Metrics) -> dict[str, float]:
    """What Prometheus gets, by series, without what the system says of the process."""
    store = {"entries": 1, "bytes": 2, "max_bytes": 3}
    lines = metrics.prometheus(store, 0, store_trouble=False, version="1").decode().splitlines()
    series = dict(line.rsplit(" ", 1) for line in lines if not line.startswith(("#", "process_")))
    return {name: float(value) for name, value in series.items()}


@pytest.mark.parametrize("counts", [(1,), (1, 1), (3, 0, 2), (5, 4, 3, 2)])
def test_all_counters_are_added(counts: tuple[int, ...]) -> None:
    """What one worker would have, had all of it happened to that one."""
    everyone = added_up([report(number, busy(count)) for number, count in enumerate(counts, 1)], {})
    expected = text(busy(sum(counts)))
    assert {name: value for name, value in text(everyone.metrics).items() if name in expected} == pytest.approx(
        expected
    )
    assert everyone.metrics.summary() == busy(sum(counts)).summary()
    assert everyone.fills == sum(range(len(counts) + 1))
    assert everyone.started == 101
    assert (everyone.answering, everyone.missing) == (list(range(1, len(counts) + 1)), [])


def test_what_a_worker_told_before_it_was_missing_still_counts() -> None:
    """A counter that shrinks looks to Prometheus like a restart of all, with everything counted since."""
    everyone = added_up([report(1, busy(2))], {2: snapshot(busy(3)), 3: NOTHING})
    assert everyone.metrics.summary() == busy(5).summary()
    assert (everyone.answering, everyone.missing, everyone.fills) == ([1], [2, 3], 1)
    assert everyone.problems["workers"].startswith("workers 2, 3 do not answer")
    assert text(everyone.metrics)["pypi_cache_workers_missing"] == 2


def test_a_successor_goes_on_from_there_once() -> None:
    """Options that change make another service of the same worker, with the same counters."""
    metrics = busy(1)
    for _ in range(2):
        inherit(metrics, json.loads(json.dumps(snapshot(busy(3)))))
    assert metrics.summary() == busy(4).summary()


def test_a_counter_that_this_version_does_not_know() -> None:
    """A folder of an older supervisor's is never read, but a damaged file may hold anything that is JSON."""
    metrics = Metrics()
    inherit(metrics, {"counters": [["pypi_cache_no_such", {}, 3]], "requests": [], "process": {}})
    assert metrics.summary() == Metrics().summary()


def test_what_the_system_says() -> None:
    """Sums, but for when it began; of a missing worker the processor time, which is a counter."""
    one, two = (report(number, Metrics()) for number in (1, 2))
    one.snapshot["process"].update({CPU: 1.0, "process_open_fds": 10, "process_start_time_seconds": 7})
    two.snapshot["process"].update({CPU: 2.0, "process_open_fds": 5, "process_start_time_seconds": 6})
    gone = {"counters": [], "requests": [], "process": {CPU: 4.0, "process_open_fds": 99}}
    lines = added_up([one, two], {3: gone}).metrics.prometheus(
        {"entries": 0, "bytes": 0, "max_bytes": 0}, 0, store_trouble=False, version="1"
    )
    for line in (b"process_cpu_seconds_total 7.0", b"process_open_fds 15.0", b"process_start_time_seconds 6.0"):
        assert line in lines.splitlines()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({1: {}}, {}),
        ({1: {"store": "full"}}, {"store": "full"}),
        ({1: {"store": "full"}, 2: {"store": "full"}}, {"store": "full"}),
        ({1: {"store": "full"}, 2: {}}, {"store (worker 1)": "full"}),
        ({1: {}, 3: {"store": "full"}}, {"store (worker 3)": "full"}),
        ({1: {"store": "full"}, 2: {"store": "locked"}}, {"store (worker 1)": "full", "store (worker 2)": "locked"}),
        ({1: {"store": "full", "log": "x"}, 2: {"store": "full"}}, {"store": "full", "log (worker 1)": "x"}),
    ],
)
def test_problems(told: dict[int, dict[str, str]], expected: dict[str, str]) -> None:
    assert together(told) == expected


def test_reasons_and_trouble_of_any_are_those_of_all() -> None:
    one = report(1, Metrics(), reasons=["it is starting"], has_trouble=False)
    two = report(2, Metrics(), reasons=["it is starting", "the store cannot be used"], has_trouble=True)
    everyone = added_up([one, two], {})
    assert everyone.reasons == ["it is starting", "the store cannot be used"]
    assert everyone.has_trouble


def test_one_alone_has_its_own_counters() -> None:
    metrics = busy(1)
    everyone = alone(Report(number=1, started=3.0, snapshot=NOTHING, fills=2), metrics)
    assert everyone.metrics is metrics
    assert (everyone.fills, everyone.answering, everyone.missing) == (2, (), ())


def test_a_shared_tier_of_all() -> None:
    """Its counters are there where a worker has one; what is wrong with it for one is wrong."""
    metrics = [busy(), busy(), busy()]
    for number in (0, 1):
        metrics[number].shared.read("hit")
    problems = {"shared tier": "the shared tier does not answer"}
    reports = [report(number, each, problems=problems if number == 2 else {}) for number, each in enumerate(metrics, 1)]
    lines = text(added_up(reports, {}).metrics)
    assert lines['pypi_cache_shared_reads_total{result="hit"}'] == 2
    assert lines["pypi_cache_shared_trouble"] == 1
    assert not [name for name in text(added_up([report(1, busy())], {}).metrics) if "cache_shared_" in name]
