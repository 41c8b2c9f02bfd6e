"""The figures of requests, and what /metrics and /stats make of them."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.request_figures import BOUNDS, RequestFigures, cumulative, seconds_saved
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.http.cache_status import SOURCES, CacheStatus, Source

PROMTOOL: Final = shutil.which("promtool")
MONITORING: Final = Path(__file__).resolve().parents[3] / "addon" / "pkgcache" / "data" / "monitoring"
STORE: Final = {"entries": 1, "bytes": 2, "max_bytes": 3}


@pytest.mark.parametrize(
    ("cache", "source"),
    [
        (CacheStatus(hit=True, ttl=3), "store"),
        (CacheStatus(hit=True, ttl=-3, detail="stale-if-error"), "store"),
        (CacheStatus(fwd="miss", stored=True), "upstream"),
        (CacheStatus(fwd="partial"), "upstream"),
        (CacheStatus(fwd="request", fwd_status=200), "upstream"),
        (CacheStatus(fwd="stale", fwd_status=304), "upstream"),
        (CacheStatus(fwd="miss", collapsed=True), "shared"),
        (CacheStatus(), "proxy"),
        (CacheStatus(detail="unclear-path"), "proxy"),
    ],
    ids=str,
)
def test_where_an_answer_came_from(cache: CacheStatus, source: str) -> None:
    assert cache.source == source


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [
        (0.0, "0.001"),
        (0.001, "0.001"),
        (0.0011, "0.005"),
        (0.5, "0.5"),
        (59.9, "60.0"),
        (60.1, "+Inf"),
        (-0.5, "0.001"),
    ],
)
def test_a_time_is_in_its_class(seconds: float, bound: str) -> None:
    """Prometheus: `le` is "less than or equal", and each class holds those below. A clock that was set back is no error."""
    figures = RequestFigures()
    figures.count(200, "store", seconds, 0)
    classes = dict(cumulative(figures.by_source()["store"]))
    assert list(classes) == [*map(str, BOUNDS), "+Inf"]
    assert next(name for name, count in classes.items() if count) == bound
    assert classes["+Inf"] == 1


def test_labels_are_few() -> None:
    """An upstream may send any status: a time series for each would be the upstream's to choose."""
    figures = RequestFigures()
    for status in range(100, 1000):
        figures.count(status, "upstream", 0.1, 1)
    found = figures.by_status()
    assert len(found) < 70
    assert sum(found.values()) == figures.by_source()["upstream"].size == 900
    assert found["other", "upstream"] > 800
    assert {"200", "499", "503"} <= {status for status, _ in found}


def counted() -> Metrics:
    metrics = Metrics()
    answers: list[tuple[int, Source, float, int]] = [
        (200, "store", 0.0004, 100),
        (200, "store", 0.002, 100),
        (206, "upstream", 1.5, 50),
        (200, "shared", 0.7, 50),
        (404, "proxy", 0.01, 9),
        (799, "upstream", 70, 0),
    ]
    for answer in answers:
        metrics.answered(*answer)
    metrics.hit("file")
    metrics.miss("page")
    metrics.stored(300)
    metrics.downloaded("stored")
    metrics.refused("deny")
    metrics.upstream_failed(UpstreamError(Failure.TIMEOUT, "https://mirror.test/", "no answer"))
    return metrics


def exposed(metrics: Metrics) -> str:
    return metrics.prometheus(STORE, 1, store_trouble=False, version="1.2").decode()


@pytest.mark.parametrize(
    "line",
    [
        'pypi_cache_requests_total{source="store",status="200"} 2.0',
        'pypi_cache_requests_total{source="upstream",status="other"} 1.0',
        "pypi_cache_sent_bytes_total 309.0",
        'pypi_cache_response_bytes_total{source="store"} 200.0',
        'pypi_cache_response_bytes_total{source="proxy"} 9.0',
        'pypi_cache_request_duration_seconds_bucket{le="0.001",source="store"} 1.0',
        'pypi_cache_request_duration_seconds_bucket{le="+Inf",source="upstream"} 2.0',
        'pypi_cache_request_duration_seconds_bucket{le="60.0",source="upstream"} 1.0',
        'pypi_cache_request_duration_seconds_count{source="shared"} 1.0',
        'pypi_cache_request_duration_seconds_sum{source="shared"} 0.7',
        'pypi_cache_downloads_total{result="stored"} 1.0',
        'pypi_cache_downloads_total{result="failed"} 0.0',
        'pypi_cache_upstream_failures_total{reason="timeout"} 1.0',
        'pypi_cache_build_info{version="1.2"} 1.0',
        "pypi_cache_fills 1.0",
        "pypi_cache_store_max_bytes 3.0",
    ],
)
def test_a_metric(line: str) -> None:
    assert line in exposed(counted()).splitlines()


def test_the_figures_for_people() -> None:
    found = counted().summary()
    assert found["requests"] == {
        "total": 6,
        "by_status": {"other": 1, "200": 3, "206": 1, "404": 1},
        "by_source": {"store": 2, "shared": 1, "upstream": 2, "proxy": 1},
    }
    assert (found["hit_ratio"], found["byte_hit_ratio"]) == (0.4, 0.6667)
    assert found["bytes"]["sent"] == sum(found["bytes"]["sent_by_source"].values()) == 309
    assert found["bytes"]["stored"] == 300
    assert found["answers"] == {"file": {"hit": 1}, "page": {"miss": 1}}
    assert found["downloads"] == {"stored": 1, "served": 0, "stopped": 0, "failed": 0}
    assert (found["upstream_failures"], found["refusals"]) == ({"timeout": 1}, {"deny": 1})
    assert all(re.fullmatch("[a-z_]+", name) for name in found), "names as a person would write them"


def test_nothing_was_asked_yet() -> None:
    """No division by zero; a rate has its zeros to begin at."""
    assert (Metrics().summary()["hit_ratio"], Metrics().summary()["requests"]["total"]) == (0, 0)
    for source in SOURCES:
        assert f'pypi_cache_response_bytes_total{{source="{source}"}} 0.0' in exposed(Metrics())


@pytest.mark.parametrize(
    ("upstream", "store", "saved"),
    [
        ([], [(0.001, 10)], None),
        ([(0.03, 1_000)] * 3, [(0.001, 1_000)] * 100, 2.9),  # pages: by the time of the request
        (
            [(0.03, 1_000)] * 9 + [(40.0, 40_000_000)],
            [(0.001, 1_000)] * 100,
            2.4,
        ),  # one large download is no page's time
        ([(0.03, 1_000)] * 9 + [(40.0, 40_000_000)], [(0.2, 40_000_000)], 40.1),  # a large file: by its bytes
        ([(0.03, 0)], [(0.001, 0)], 0.0),
        ([(0.0, 10)], [(5.0, 10)], 0.0),  # slow readers: never below nothing
    ],
)
def test_the_time_that_the_store_has_saved(
    upstream: list[tuple[float, int]], store: list[tuple[float, int]], saved: float | None
) -> None:
    """The mean time of all that went upstream made half an hour of 600 small hits, because of two large downloads."""
    figures = RequestFigures()
    sources: dict[Source, list[tuple[float, int]]] = {"upstream": upstream, "store": store}
    for source, requests in sources.items():
        for seconds, size in requests:
            figures.count(200, source, seconds, size)
    assert seconds_saved(figures.by_source()) == saved


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bpypi_cache_\w+", text))


@pytest.mark.parametrize("file", ["rules.yml", "dashboard.json"])
def test_dashboard_and_rules_ask_for_what_is_there(file: str) -> None:
    """Each name in them is one of /metrics, with the labels that they ask for; Prometheus says nothing about one that is not there."""
    text = exposed(counted())
    samples = {match[1] for match in re.finditer(r"^(\w+)[ {]", text, re.MULTILINE)}
    assert names_in((MONITORING / file).read_text()) - {"pypi_cache_store_bytes"} <= samples
    labels = set(re.findall(r'[{,](\w+)="', text)) | {"instance", "job"}
    asked = re.findall(r"[{,](\w+)\\?(?:=~|!=|!~|=)", (MONITORING / file).read_text())
    assert set(asked) <= labels | {"severity"}


def test_the_dashboard_is_one() -> None:
    found: Mapping[str, list[Mapping[str, Mapping[str, int]]]] = json.loads((MONITORING / "dashboard.json").read_text())
    spots = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in found["panels"]]
    assert len(set(spots)) == len(spots) > 10


@pytest.mark.skipif(PROMTOOL is None, reason="Prometheus' promtool is not installed")
def test_promtool_finds_nothing_wrong() -> None:
    """Names and types by Prometheus' conventions, and rules that it can read."""
    assert PROMTOOL
    for arguments, given in (
        (["metrics"], exposed(counted())),
        (["rules", "--lint=all", "--lint-fatal", str(MONITORING / "rules.yml")], ""),
    ):
        done = subprocess.run([PROMTOOL, "check", *arguments], input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not (arguments == ["metrics"] and done.stderr + done.stdout)


UNIT_TEST: Final = """
rule_files: [RULES]
tests:
  - interval: 1m
    input_series:
      - {series: 'pypi_cache_upstream_failures_total{reason="wrong-digest", instance="p"}', values: '_x5 1x30'}
      - {series: 'pypi_cache_requests_total{source="store", status="200", instance="p"}', values: '0+90x40'}
      - {series: 'pypi_cache_requests_total{source="upstream", status="502", instance="p"}', values: '0+10x40'}
      - {series: 'pypi_cache_requests_total{source="proxy", status="200", instance="p"}', values: '0+5x40'}
    promql_expr_test:
      - {expr: 'round(pypi_cache:hit_ratio:rate5m * 10)', eval_time: 20m, exp_samples: [{labels: '{instance="p"}', value: 9}]}
      - {expr: 'count(ALERTS{alertstate="firing", alertname="PypiCacheErrors"})', eval_time: 35m, exp_samples: [{labels: '{}', value: 1}]}
      - {expr: 'count(ALERTS{alertname="PypiCacheWrongFiles"})', eval_time: 8m, exp_samples: [{labels: '{}', value: 1}]}
      - {expr: 'count(ALERTS{alertname="PypiCacheWrongFiles"})', eval_time: 30m, exp_samples: []}
"""


@pytest.mark.skipif(PROMTOOL is None, reason="Prometheus' promtool is not installed")
def test_the_rules_say_what_they_should(tmp_path: Path) -> None:
    """The ratio is of requests that a store could have answered; the very first wrong file raises the alert."""
    assert PROMTOOL
    (tmp_path / "test.yml").write_text(UNIT_TEST.replace("RULES", str(MONITORING / "rules.yml")))
    done = subprocess.run(
        [PROMTOOL, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
