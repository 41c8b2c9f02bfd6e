"""B8: what becomes of this proxy's figures as entries, clients, pages, files and new connections grow."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.compare import contenders, loads
from tests.bench.compare.contenders import Peer
from tests.bench.compare.figures import OURS, PROCESSOR, Goal, Row
from tests.bench.compare.loads import ERRORS, RATE, Pages
from tests.bench.compare.small_hits import publish_pages
from tests.bench.compare.turns import Size, Work, gathered, in_turns
from tests.bench.manyentries import EACH, make_store, open_entries
from tests.bench.tools import MB, Stage
from tests.support.wheels import ReleaseFile

FLAT: Final = 1.25
"""How much dearer the largest may be than the smallest: what the machine's noise does to a figure that stays the same."""
A_KB, A_MB = "processor µs a kB", "processor ms a MB"
PAGES: Final = 100
"""Of 28 kB, for clients and new connections."""
REAL: Final = 1000
"""Entries that are asked for; all others are copies of one of them under other names."""
_COPY: Final = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?),
    one AS MATERIALIZED (SELECT * FROM Cache WHERE filename IS NULL AND key LIKE '%project-000000%')
INSERT INTO Cache (key, raw, store_time, access_time, access_count, tag, size, mode, filename, value)
SELECT replace(key, 'project-000000', printf('copy-%07d', i)), raw, store_time, access_time, 0, tag, size, mode, NULL, value
FROM one CROSS JOIN n
"""


def growth(here: Stage, size: Size, row: Row) -> None:
    """B8, one kind of growth after the other."""
    _entries(here, size, row)
    _pages(here, size, row)
    publish_pages(here.upstream, PAGES, 47, here.folder)
    with gathered(row, {OURS: contenders.ours(here)}) as peers:
        for peer in peers:
            loads.each_page(peer, here.folder, PAGES)
        _clients(peers, here, size, row)
        _files(peers, here, size, row)
        _connections(peers, size, row)


def _goal(row: Row, what: str, names: Sequence[str]) -> None:
    row.goals = [*row.goals, Goal(what=what, limit=FLAT, against=names[:1], of=names[-1])]


def _ask(row: Row, peers: Sequence[Peer], here: Stage, size: Size, load: Pages) -> None:
    in_turns(row, list(peers), size.of(3, 1), lambda peer, _: loads.wrk(peer, here.folder, load, size.of(3, 1)))


def _entries(here: Stage, size: Size, row: Row) -> None:
    """Hits on pages of which nothing is in memory but the database's own cache."""
    options = {"pypi_cache_memory": "1k", "pypi_cache_known_heads": "0", "pypi_cache_index_ttl": "3650d"}
    options |= {"pypi_cache_min_free": "0", "pypi_cache_max_size": "1t"}
    kinds = {}
    for count in size.of((10**3, 10**5, 10**6), (10**3, 10**4)):
        store = here.folder / f"store-{count}"
        make_store(store, REAL)
        with open_entries(store) as entries, entries.database.transaction(10):
            entries.database.sql(_COPY, ((count - REAL) // 2,))
        kinds[f"{count:,} entries"] = contenders.ours(here, options={**options, "pypi_cache_dir": str(store)})
    with gathered(row, kinds) as peers:
        named = [dataclasses.replace(peer, name=name) for peer, name in zip(peers, kinds, strict=True)]
        _ask(row, named, here, size, Pages(pages=REAL // EACH, name="project-%06d"))
    _goal(row, PROCESSOR, list(kinds))


def _clients(peers: Sequence[Peer], here: Stage, size: Size, row: Row) -> None:
    """The difference of a short and a long load: what the handshakes took is in both."""
    counts = size.of((8, 1, 256), (8, 64))
    times = size.of((4, 12), (1, 3))

    def measure(peer: Peer, _: int, *, count: int) -> dict[str, float]:
        load = Pages(pages=PAGES, connections=count)
        short, long = (loads.wrk(peer, here.folder, load, seconds) for seconds in times)
        before, after = (found[RATE] * seconds for found, seconds in zip((short, long), times, strict=True))
        used = long[PROCESSOR] * after - short[PROCESSOR] * before
        return {PROCESSOR: used / (after - before), RATE: (after - before) / (times[1] - times[0])}

    for count in counts:
        each = functools.partial(measure, count=count)
        in_turns(row, _as(peers, f"{count} clients"), size.of(2, 1), each, warm_up=False)
    _goal(row, PROCESSOR, [f"{count} clients" for count in counts])


def _pages(here: Stage, size: Size, row: Row) -> None:
    names = {"1 kB": 1, "28 kB": 47, "1 MB": 1700, "5 MB": 8500}
    for name, links in names.items():
        if size.quick and links > 1700:
            break
        answers = publish_pages(here.upstream, 5, links, here.folder)
        length = next(iter(answers.values()))[0].stat().st_size

        def measure(peer: Peer, number: int, length: int = length) -> dict[str, float]:
            if not number:
                loads.each_page(peer, here.folder, 5)
            found = loads.wrk(peer, here.folder, Pages(pages=5), size.of(3, 1))
            return {**found, A_KB: found[PROCESSOR] * 1e6 / length}

        with gathered(row, {name: contenders.ours(here)}) as peers:
            in_turns(row, _as(peers, f"pages of {name}"), size.of(3, 1), measure)
    _goal(row, A_KB, [f"pages of {name}" for name in size.of(("1 MB", "5 MB"), ("28 kB", "1 MB"))])


def _files(peers: Sequence[Peer], here: Stage, size: Size, row: Row) -> None:
    lengths = size.of((1, 100, 4000), (1, 20, 100))
    for length in lengths:
        wheel = here.wheel(length * MB, f"grown{length}")
        measure = functools.partial(_file, wheel=wheel, times=max(1, 50 // length))
        in_turns(row, _as(peers, f"files of {length:,} MB"), size.of(3, 1), measure)
        Path(str(wheel.data)).unlink()
    _goal(row, A_MB, [f"files of {length:,} MB" for length in lengths[1:]])


def _file(peer: Peer, _: int, *, wheel: ReleaseFile, times: int) -> dict[str, float]:
    with loads.used(peer) as taken:
        for _ in range(times):
            loads.download(peer, wheel).result()
    megabytes = times * wheel.size / MB
    return {A_MB: taken.processor * 1000 / megabytes, "MB/s": megabytes / taken.seconds}


def _connections(peers: Sequence[Peer], size: Size, row: Row) -> None:
    for rate in (1, 100, 1000):
        name = f"{rate:,} new connections a second"

        def measure(peer: Peer, _: int, rate: int = rate) -> dict[str, float]:
            return loads.new_connections(peer, rate, size.of(2, 1), "/simple/proj0/")

        in_turns(row, _as(peers, name), size.of(2, 1), measure, warm_up=False)
        row.goals = [*row.goals, Goal(what=ERRORS, limit=0, of=name)]


def _as(peers: Sequence[Peer], name: str) -> list[Peer]:
    return [dataclasses.replace(peer, name=name) for peer in peers]


ROWS: Final = {
    "B8": Work(
        text="growth of this proxy's figures with entries (nothing in memory), clients, pages, files, new connections",
        measure=growth,
    ),
}
