"""A model of many machines: hit ratios, upstream and tier requests, waiting and money by their number and the size of their stores.

What one proxy costs is measured (`Costs`; `--measure` does it again for a miss). What agents do and what things cost are assumptions
(`Load`, `Prices`): change them by options. A machine's store is an LRU before which requests are independent, so its hit ratio comes
from Che's approximation (Che, Tung and Wang, 2002), which `tests/test_farm.py` holds against an LRU; pages are hits for their lifetime.
The wait for a processor comes from a simulation of one machine in its busiest hour (SimPy). Machines share nothing but the tier.

Leaves out: the balancer, whose part is bytes alone; downloads that several wait for; failures.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

GB: Final = 1e9
MONTH: Final = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor seconds of one proxy, measured on the machine of docs/pages/performance.md."""

    hit: float = 0.0003
    connection: float = 0.0045
    miss: float = 0.013
    """Besides the hit: the request upstream, its check and its commit. By `measure`, 13 to 14 ms while the machine had other work too."""
    bytes_a_second: float = 600e6
    """Bytes that one process sends of a stored file, at least (600 to 960 MB/s were measured)."""


@dataclass(frozen=True, slots=True)
class Load:
    """What agents do in the busiest hour, which counts for eight hours of each day. Assumed."""

    installs: float = 6.0
    """Of one agent, an hour."""
    connections: int = 4
    pages: int = 20
    files: int = 20
    projects: int = 20_000
    versions: int = 5
    """Files of a project that are in use."""
    file_size: float = 3e6
    exponent: float = 0.9
    """Of Zipf's law: how much more popular the first projects are."""
    page_lifetime: float = 600.0
    new_files: float = 2_000.0
    """A day, of those that somebody installs."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Money, as clouds list it. Assumed."""

    core_hour: float = 0.04
    disk_gb_month: float = 0.08
    tier_gb_month: float = 0.023
    tier_get: float = 0.4e-6
    tier_put: float = 5e-6


@dataclass(frozen=True, slots=True)
class Farm:
    """How many machines, their cores and stores, and how many agents they have."""

    agents: int
    machines: int
    near: float
    """Bytes of each machine's store."""
    cores: int = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """In the busiest hour, for all machines together, a second; money for a month."""

    requests: float
    file_hits: float
    page_hits: float
    upstream_alone: float
    """Without a tier."""
    upstream: float
    """With one."""
    tier: float
    utilisation: float
    wait: float
    """99th percentile of the seconds that a request waits for a processor."""
    gigabits: float
    """A second, of each machine."""
    money: float


@cache
def popularity(count: int, exponent: float) -> np.ndarray:
    """The share of requests of each of so many things, by Zipf's law."""
    weights = np.arange(1, count + 1, dtype=float) ** -exponent
    return weights / weights.sum()


def lru_hits(shares: np.ndarray, places: float) -> float:
    """The hit ratio of an LRU for so many of these, by Che's approximation: each stays for the same time since it was asked for."""
    if places >= len(shares):
        return 1.0
    low, high = 0.0, 1.0
    while (1 - np.exp(-shares * high)).sum() < places:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - np.exp(-shares * middle)).sum() < places else (low, middle)
    return float((shares * (1 - np.exp(-shares * high))).sum())


def fetches(shares: np.ndarray, rate: float, lifetime: float) -> float:
    """How often a second things are fetched that are then fresh for a lifetime, where they are asked for at `rate` together."""
    rates = shares * rate
    return float((rates / (1 + rates * lifetime)).sum())


def outcome(farm: Farm, load: Load, costs: Costs, prices: Prices, *, seconds: float = 60.0) -> Outcome:
    """Work it out; `seconds` of one machine are simulated."""
    installs = farm.agents * load.installs / 3600
    pages, files = installs * load.pages, installs * load.files
    of_projects = popularity(load.projects, load.exponent)
    of_files = popularity(load.projects * load.versions, load.exponent)
    page_fetches = fetches(of_projects, pages / farm.machines, load.page_lifetime) * farm.machines
    near = lru_hits(of_files, farm.near / load.file_size)
    fresh_files = load.new_files / 86400
    missed_files = files * (1 - near) + min(fresh_files * farm.machines, files)
    upstream = fetches(of_projects, pages, load.page_lifetime) + fresh_files
    requests = pages + files
    misses = page_fetches + missed_files
    busy, wait = simulate(installs / farm.machines, misses / requests, farm.cores, load, costs, seconds)
    tier_month = (misses * prices.tier_get + upstream * prices.tier_put) * MONTH / 3
    kept = load.projects * load.versions * load.file_size / GB
    machine = farm.cores * prices.core_hour * MONTH / 3600 + farm.near / GB * prices.disk_gb_month
    return Outcome(
        requests=requests,
        file_hits=1 - missed_files / files,
        page_hits=1 - page_fetches / pages,
        upstream_alone=misses,
        upstream=upstream,
        tier=misses,
        utilisation=busy,
        wait=wait,
        gigabits=files * load.file_size * 8 / GB / farm.machines,
        money=farm.machines * machine + tier_month + kept * prices.tier_gb_month,
    )


def simulate(
    installs: float, misses: float, cores: int, load: Load, costs: Costs, seconds: float
) -> tuple[float, float]:
    """Simulate one machine's processors: the share of time that they work, and the 99th percentile of the waits for them."""
    import simpy  # noqa: PLC0415  dependency group `bench`

    chance = random.Random(14)
    world = simpy.Environment()
    processors = simpy.Resource(world, capacity=cores)
    waits: list[float] = []
    worked = 0.0

    def work(amount: float) -> Iterator[simpy.Event]:
        nonlocal worked
        asked = world.now
        with processors.request() as turn:
            yield turn
            waits.append(world.now - asked)
            yield world.timeout(amount)
            worked += amount

    def connection(requests: int) -> Iterator[simpy.Event]:
        yield from work(costs.connection)
        for _ in range(requests):
            is_miss, is_file = chance.random() < misses, chance.random() < load.files / (load.files + load.pages)
            sends = load.file_size / costs.bytes_a_second if is_file else 0.0
            yield from work(costs.hit + sends + (costs.miss if is_miss else 0.0))

    def arrivals() -> Iterator[simpy.Event]:
        each = (load.pages + load.files) // load.connections
        while True:
            yield world.timeout(chance.expovariate(installs))
            for _ in range(load.connections):
                world.process(connection(each))

    world.process(arrivals())
    world.run(until=seconds)
    return worked / seconds / cores, sorted(waits)[int(len(waits) * 0.99)] if waits else 0.0


def measure(count: int = 150) -> float:
    """Measure what a small cold file costs above a hit: processor seconds of a running proxy."""
    import tempfile  # noqa: PLC0415  a proxy is needed for this alone

    from tests.support.authority import Authority  # noqa: PLC0415
    from tests.support.names import file_url  # noqa: PLC0415
    from tests.support.proxy import Proxy  # noqa: PLC0415
    from tests.support.upstream import Upstream  # noqa: PLC0415
    from tests.support.wheels import make_wheel  # noqa: PLC0415
    from tests.support.wire import Wire  # noqa: PLC0415

    folder = Path(tempfile.mkdtemp())
    (folder / "ca").mkdir()
    authority = Authority(folder / "ca")
    wheels = [make_wheel(f"small{number}", payload_size=60_000) for number in range(count)]
    with Upstream(authority) as upstream:
        upstream.add(*wheels)
        options = {"pypi_cache_index": f"pypi={upstream.index_url}"}
        with Proxy(folder / "proxy", options=options, upstream_ca=authority.bundle) as proxy:
            spent = []
            for _ in range(2):
                with Wire(proxy.port, file_url(wheels[0]), ca=proxy.ca) as wire:
                    before = _processor_seconds(proxy.pid)
                    assert all(wire.request(file_url(wheel)).complete for wheel in wheels)
                    time.sleep(2)  # commits are over; asking for that would be measured too
                    spent.append((_processor_seconds(proxy.pid) - before) / count)
    return spent[0] - spent[1]


def _processor_seconds(pid: int) -> float:
    import os  # noqa: PLC0415

    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


FARMS: Final = (
    Farm(agents=100, machines=1, near=50 * GB),
    Farm(agents=1_000, machines=1, near=50 * GB),
    Farm(agents=10_000, machines=1, near=50 * GB),
    Farm(agents=10_000, machines=10, near=50 * GB),
    Farm(agents=100_000, machines=10, near=50 * GB),
    Farm(agents=100_000, machines=10, near=200 * GB),
    Farm(agents=100_000, machines=40, near=200 * GB),
    Farm(agents=100_000, machines=100, near=50 * GB),
    Farm(agents=100_000, machines=1_000, near=10 * GB),
    Farm(agents=100_000, machines=1_000, near=50 * GB),
)
HEADER: Final = (
    "| agents | machines | store of each | requests | files found near | pages found near | upstream, no tier | upstream, tier | tier "
    "| processors busy | waits for one | Gbit/s each | money a month |\n|" + "---|" * 13
)


def row(farm: Farm, found: Outcome) -> str:
    """A row of the table; rates are a second."""
    return (
        f"| {farm.agents:,} | {farm.machines:,} | {farm.near / GB:.0f} GB | {found.requests:,.0f} | {found.file_hits:.0%} "
        f"| {found.page_hits:.0%} | {found.upstream_alone:,.1f} | {found.upstream:,.1f} | {found.tier:,.1f} | {found.utilisation:.0%} "
        f"| {shown(found)} | {found.gigabits:,.2f} | {found.money:,.0f} |"
    )


def shown(found: Outcome) -> str:
    """The wait; a queue that grows has none."""
    return "grows" if found.utilisation > 0.97 else f"{found.wait * 1000:.1f} ms"


def draw(folder: Path, load: Load, costs: Costs, prices: Prices) -> None:
    """Two pictures: hits and upstream requests against the number of machines, and money against the size of their stores."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "farm", "font.size": 9})
    numbers = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    rows = [outcome(Farm(100_000, number, 50 * GB, cores=64), load, costs, prices, seconds=0.01) for number in numbers]
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogx(numbers, [100 * each.page_hits for each in rows], label="pages")
    left.semilogx(numbers, [100 * each.file_hits for each in rows], label="files")
    left.set(xlabel="machines", ylabel="found near, %", ylim=(0, 100), title="100,000 agents, 50 GB each")
    left.legend()
    right.loglog(numbers, [each.upstream_alone for each in rows], label="without a tier")
    right.loglog(numbers, [each.upstream for each in rows], label="with a tier")
    right.set(xlabel="machines", ylabel="upstream requests a second")
    right.legend()
    figure.savefig(folder / "farm-hits.svg", metadata={"Date": None})
    sizes = [2, 5, 10, 20, 50, 100, 200, 300]
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number in (1, 10, 100, 1000):
        found = [outcome(Farm(100_000, number, size * GB), load, costs, prices, seconds=0.01) for size in sizes]
        left.semilogx(sizes, [each.tier for each in found], label=f"{number:,} machines")
        right.loglog(sizes, [each.money for each in found], label=f"{number:,} machines")
    left.set(xlabel="GB of each machine's store", ylabel="tier requests a second", title="100,000 agents")
    right.set(xlabel="GB of each machine's store", ylabel="money a month")
    left.legend()
    figure.savefig(folder / "farm-money.svg", metadata={"Date": None})


def main(words: Sequence[str] | None = None) -> None:
    """Print the table; each field of the inputs is an option."""
    parser = argparse.ArgumentParser(description="a model of many machines")
    parser.add_argument(
        "--measure", action="store_true", help="measure a miss on this machine, and print what it costs"
    )
    parser.add_argument("--pictures", type=Path, help="the folder for two SVG files")
    groups = (Costs(), Load(), Prices())
    for group in groups:
        for each in fields(group):
            default = getattr(group, each.name)
            parser.add_argument(f"--{each.name.replace('_', '-')}", type=type(default), default=default)
    given = vars(parser.parse_args(words))
    if given["measure"]:
        print(f"a miss: {measure() * 1000:.2f} ms above a hit")
        return
    costs, load, prices = (
        replace(group, **{each.name: given[each.name] for each in fields(group)}) for group in groups
    )
    print(HEADER)
    for farm in FARMS:
        print(row(farm, outcome(farm, load, costs, prices)))
    if given["pictures"]:
        draw(given["pictures"], load, costs, prices)


if __name__ == "__main__":
    main()
