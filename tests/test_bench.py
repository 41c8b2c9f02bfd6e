"""The comparison of `./run.sh bench`: its command line, what it makes of given figures, and what becomes of a peer that is not there.

Nothing is measured here.
"""

import doctest
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench.compare import __main__ as compare
from tests.bench.compare import figures, picture
from tests.bench.compare.contenders import Peer, Unavailable
from tests.bench.compare.figures import OURS, Goal, Row
from tests.bench.compare.turns import gathered, in_turns

GIVEN: Mapping[str, Mapping[str, list[float]]] = {
    "ms": {OURS: [3.0, 1.0, 2.0], "one": [1.0], "other": [4.0]},
    "rate": {OURS: [800.0], "one": [100.0], "other": [400.0]},
}


def row(*goals: Goal) -> Row:
    made = Row(name="B0", work="nothing", goals=goals)
    for what, peers in GIVEN.items():
        for peer, values in peers.items():
            for value in values:
                made.add(peer, {what: value})
    return made


@pytest.mark.parametrize(
    ("goal", "value", "met", "missed_by"),
    [
        (Goal(what="ms", limit=2.5), 2.0, True, 0),
        (Goal(what="ms", limit=2), 2.0, True, 0),  # the limit itself is met
        (Goal(what="ms", limit=1.6), 2.0, False, 0.25),
        (Goal(what="ms", limit=1.5, against=("one",)), 2.0, False, 1 / 3),
        (Goal(what="ms", limit=0.5, against=("other",)), 0.5, True, 0),
        (Goal(what="ms", limit=1.0, against=("one", "other")), 2.0, False, 1.0),  # the quicker one counts
        (Goal(what="ms", limit=1.0, against=("other", "missing")), 0.5, True, 0),
        (Goal(what="ms", limit=1.0, against=("missing",)), None, None, 0),
        (Goal(what="never measured", limit=1.0), None, None, 0),
        (Goal(what="ms", limit=0.5, against=("one",), by="+"), 1.0, False, 1.0),
        (Goal(what="ms", limit=20, against=("one",), by="+"), 1.0, True, 0),
        (Goal(what="rate", bound="≥", limit=8, against=("one",)), 8.0, True, 0),
        (Goal(what="rate", bound="≥", limit=4, against=("one", "other")), 2.0, False, 0.5),  # the faster one counts
        (Goal(what="ms", limit=1.0, against=("one",), of="other"), 4.0, False, 3.0),
    ],
    ids=str,
)
def test_a_goal_is_met_or_missed_by_so_much(
    goal: Goal, value: float | None, met: bool | None, missed_by: float
) -> None:
    verdict = row().verdict(goal)
    assert (verdict.value, verdict.met) == (value, met)
    assert verdict.missed_by == pytest.approx(missed_by)
    assert ("missed" in str(verdict)) is (met is False)


def test_examples() -> None:
    assert doctest.testmod(figures).failed == 0


def test_the_report_has_each_peer_and_each_goal() -> None:
    lines = list(row(Goal(what="ms", limit=1.5, against=("one",))).markdown())
    assert "| this proxy | 2.00 (1.00–3.00) | 800 |" in lines
    assert "- ms ≤ 1.5 × one: 2.00: **missed** by 33%" in lines


def test_the_json_and_the_picture(tmp_path: Path) -> None:
    about = {"date": "2026-01-02T03:04:05", "quick": True, "versions": {"nginx": "1.2"}}
    about |= {"machine": {"cores": 2, "processor": "x", "memory": 1e9, "load before": 0.1}}
    compare.write(tmp_path, about, [row(Goal(what="ms", limit=1)), Row(name="B9", work="not measured at all")])
    found = json.loads((tmp_path / "bench.json").read_text())
    assert {name: found[name] for name in about} == about
    assert found["rows"][0]["figures"]["ms"][OURS] == {"median": 2.0, "values": [3.0, 1.0, 2.0]}
    assert found["rows"][0]["goals"] == [{"goal": "ms ≤ 1", "value": 2.0, "met": False, "missed_by": 1.0}]
    assert "2 cores (x)" in (tmp_path / "bench.md").read_text()
    if picture.AVAILABLE:
        drawn = (tmp_path / "bench.svg").read_text()
        assert all(text in drawn for text in ("B0: ms", "this proxy", "other"))


@pytest.mark.parametrize(
    ("words", "rows", "quick"),
    [([], [], False), (["--quick"], [], True), (["b3", "B2", "--quick"], ["B3", "B2"], True)],
)
def test_the_command_line(words: list[str], rows: list[str], quick: bool) -> None:
    arguments = compare.parsed(words)
    assert (arguments.rows, arguments.quick, arguments.save, arguments.install) == (rows, quick, False, False)


@pytest.mark.parametrize("words", [["B17"], ["--fast"]])
def test_a_wrong_command_line(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        compare.parsed(words)


def test_a_peer_that_is_not_there_or_fails_is_reported(tmp_path: Path) -> None:
    @contextmanager
    def there(name: str) -> Iterator[Peer]:
        yield Peer(name=name, pid=0, ca=tmp_path)

    @contextmanager
    def missing() -> Iterator[Peer]:
        raise Unavailable("not installed: apt-get install it")
        yield

    asked: list[tuple[str, int]] = []

    def measure(peer: Peer, number: int) -> dict[str, float]:
        asked.append((peer.name, number))
        if peer.name == "breaks" and number == 1:
            raise RuntimeError("it broke")
        return {"ms": number}

    made = Row(name="B0", work="nothing")
    with gathered(made, {"a": there("a"), "gone": missing(), "breaks": there("breaks")}) as peers:
        in_turns(made, peers, 2, measure)
    assert asked == [("a", 0), ("breaks", 0), ("a", 1), ("breaks", 1), ("a", 2)]
    assert made.values == {"ms": {"a": [1, 2]}}
    assert made.remarks == ["gone is not there: not installed: apt-get install it", "breaks failed: it broke"]
