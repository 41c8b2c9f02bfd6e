"""What a row of the comparison found: each peer's figures, the row's goals, and by how much each is met or missed. Pure."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

OURS: Final = "this proxy"

PROCESSOR: Final = "processor ms a request"
LOAD: Final = "the load's"
"""Its processor time in the same unit: what the figure beside it may have been limited by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a figure should be: a multiple of the same figure of another peer, so much more than it, or an amount by itself."""

    what: str
    bound: Literal["≤", "≥"] = "≤"
    limit: float
    against: Sequence[str] = ()
    """Of several peers the best counts; of none, the limit is an amount."""
    by: Literal["×", "+"] = "×"
    of: str = OURS

    @property
    def text(self) -> str:
        """As the table has it.

        >>> Goal(what="processor ms", limit=1.5, against=("Squid",)).text
        'processor ms ≤ 1.5 × Squid'
        """
        name = f"{self.what}, {self.of}" if self.of != OURS else self.what
        others = " or ".join(self.against)
        if not others:
            return f"{name} {self.bound} {self.limit:g}"
        return (
            f"{name} {self.bound} {self.limit:g} × {others}"
            if self.by == "×"
            else f"{name} ≤ {others} + {self.limit:g}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A goal and what was reached of it. `value` is None where a peer that it needs was not measured."""

    goal: Goal
    value: float | None

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None: unknown."""
        if self.value is None:
            return None
        return self.value <= self.goal.limit if self.goal.bound == "≤" else self.value >= self.goal.limit

    @property
    def missed_by(self) -> float:
        """By which share of its limit the goal is missed; 0 where it is met or unknown."""
        return (
            0.0
            if self.met is not False or self.value is None
            else abs(self.value - self.goal.limit) / (self.goal.limit or 1)
        )

    def __str__(self) -> str:
        """Such as `1.8: missed by 20 %`."""
        if self.value is None:
            return "not measured"
        return f"{shown(self.value)}: {'met' if self.met else f'**missed** by {self.missed_by:.0%}'}"


@dataclass(slots=True, kw_only=True)
class Row:
    """A row: `values` are by figure and peer, in the order in which they came."""

    name: str
    work: str
    goals: Sequence[Goal] = ()
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    """Peers that could not be had or failed, and why."""
    seconds: float = 0.0

    def add(self, peer: str, found: Mapping[str, float]) -> None:
        """One measurement of a peer."""
        for what, value in found.items():
            self.values.setdefault(what, {}).setdefault(peer, []).append(value)

    def median(self, what: str, peer: str) -> float | None:
        """None: not measured."""
        values = self.values.get(what, {}).get(peer)
        return statistics.median(values) if values else None

    def verdict(self, goal: Goal) -> Verdict:
        """What was reached of a goal."""
        value = self.median(goal.what, goal.of)
        if goal.against and value is not None:
            others = [found for peer in goal.against if (found := self.median(goal.what, peer)) is not None]
            best = (min if goal.bound == "≤" else max)(others, default=0)
            value = None if not best else value / best if goal.by == "×" else value - best
        return Verdict(goal=goal, value=value)

    def to_json(self) -> dict[str, Any]:
        """Figures with their single values, and verdicts."""
        verdicts = [self.verdict(goal) for goal in self.goals]
        return {
            "name": self.name,
            "work": self.work,
            "seconds": round(self.seconds, 1),
            "figures": {
                what: {peer: {"median": statistics.median(values), "values": values} for peer, values in of.items()}
                for what, of in self.values.items()
            },
            "goals": [
                {"goal": each.goal.text, "value": each.value, "met": each.met, "missed_by": round(each.missed_by, 3)}
                for each in verdicts
            ],
            "remarks": self.remarks,
        }

    def markdown(self) -> Iterator[str]:
        """Its part of the report, line by line."""
        peers = list(dict.fromkeys(peer for of in self.values.values() for peer in of))
        yield from ("", f"**{self.name}: {self.work}** ({self.seconds:.0f} s)", "")
        yield f"| | {' | '.join(self.values)} |"
        yield f"|---|{'---|' * len(self.values)}"
        for peer in peers:
            yield f"| {peer} | {' | '.join(spread(of.get(peer, ())) for of in self.values.values())} |"
        yield ""
        for goal in self.goals:
            yield f"- {goal.text}: {self.verdict(goal)}"
        yield from (f"- {remark}" for remark in self.remarks)


def shown(value: float) -> str:
    """A number to three digits or all of its whole ones.

    >>> [shown(value) for value in (34092.4, 12.34, 0.09812, 0)]
    ['34,092', '12.3', '0.098', '0']
    """
    size = abs(value)
    return f"{value:,.{0 if size >= 100 or not size else 1 if size >= 10 else 2 if size >= 1 else 3}f}"


def spread(values: Sequence[float]) -> str:
    """The median and, in brackets, the range.

    >>> spread([3.0, 1.0, 2.0]), spread([])
    ('2.00 (1.00–3.00)', '–')
    """
    if not values:
        return "–"
    text = shown(statistics.median(values))
    return text if len(values) == 1 else f"{text} ({shown(min(values))}–{shown(max(values))})"
