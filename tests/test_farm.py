"""The model of many machines (`tests.bench.farm`): its formulas against what they stand for, and that its rows make sense."""

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import pytest

pytest.importorskip("numpy", reason="the model needs the dependency group `bench`")
pytest.importorskip("simpy", reason="the model needs the dependency group `bench`")

from tests.bench.farm import GB, Costs, Farm, Load, Prices, fetches, lru_hits, outcome, popularity


def draws(shares: Sequence[float], count: int) -> list[int]:
    return random.Random(7).choices(range(len(shares)), weights=shares, k=count)


@pytest.mark.parametrize(("things", "places"), [(2000, 100), (2000, 600), (500, 500), (500, 1)])
def test_an_lru_has_the_hits_that_the_formula_says(things: int, places: int) -> None:
    shares = popularity(things, 0.9)
    lru: OrderedDict[int, None] = OrderedDict()
    hits = 0
    asked = draws(shares, 60_000)
    for number, one in enumerate(asked):
        if one in lru:
            lru.move_to_end(one)
            hits += number >= 20_000
        else:
            lru[one] = None
            if len(lru) > places:
                lru.popitem(last=False)
    assert hits / 40_000 == pytest.approx(lru_hits(shares, places), abs=0.02)


def test_pages_are_fetched_as_often_as_the_formula_says() -> None:
    shares, rate, lifetime = popularity(300, 0.9), 20.0, 60.0
    clock = random.Random(8)
    now, count, until = 0.0, 0, dict.fromkeys(range(300), 0.0)
    for one in draws(shares, 60_000):
        now += clock.expovariate(rate)
        if now >= until[one]:
            until[one] = now + lifetime
            count += 1
    assert count / now == pytest.approx(fetches(shares, rate, lifetime), rel=0.05)


def test_the_rows_make_sense() -> None:
    """More machines find less near; the upstream does not notice them behind a tier; a larger store saves tier requests."""
    inputs = (Load(projects=2_000), Costs(), Prices())
    farm = Farm(agents=10_000, machines=10, near=5 * GB)
    one, ten, hundred = (outcome(replace(farm, machines=number), *inputs, seconds=5) for number in (1, 10, 100))
    assert one.page_hits > ten.page_hits > hundred.page_hits
    assert one.upstream == ten.upstream == hundred.upstream
    assert one.upstream_alone < ten.upstream_alone < hundred.upstream_alone
    assert one.utilisation > ten.utilisation > hundred.utilisation
    assert one.money < ten.money < hundred.money
    larger = outcome(replace(farm, near=15 * GB), *inputs, seconds=5)
    assert larger.tier < ten.tier
    assert larger.file_hits > ten.file_hits
    costly = outcome(farm, inputs[0], replace(Costs(), connection=0.045), Prices(), seconds=5)
    assert costly.utilisation > ten.utilisation
