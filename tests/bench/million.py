"""A store of 1,000,000 entries beside one of 1,000: opening, hits, hits while 10,000 are evicted, memory.

Hot memory is off, and what is asked for is drawn at random from all of it, so that each hit reads its row, and a wheel's its file too.
"""

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pkgcache.engine.store.eviction import HIGH_WATER
from tests.bench import tools
from tests.bench.load import each_wait
from tests.bench.manyentries import EACH, make_store, urls_of
from tests.bench.tools import MB, Stage, memory, note, percentile, spread, stage
from tests.support.names import FILES_ORIGIN, INDEX_URL, file_url
from tests.support.proxy import REPOSITORY, Proxy
from tests.support.wheels import make_wheel
from tests.support.wire import Wire, fetch

FEW: Final = 1_000
ROUNDS: Final = 8
IN_A_ROUND: Final = 400
FIRST, AGAIN = ", their rows read from the disk", ", their rows in the system's page cache"
QUIET_SECONDS: Final = 15.0
PAUSE: Final = 0.004
CLIENTS: Final = 4
EVICTED: Final = 10_000
FILES_URL: Final = f"{FILES_ORIGIN}/"
_OPEN: Final = """
import sys, time
from pathlib import Path
from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store.store import Store
store = Store(Path(sys.argv[1]), max_size=1 << 50, min_free=0, inactive=0, health=Health())
began = time.perf_counter()
store.open()
assert store.usable
print(time.perf_counter() - began)
"""


def run(arguments: argparse.Namespace) -> None:
    """Four tables."""
    with stage() as here:
        folder = arguments.store or here.folder / "stores"
        large, small = folder / "large", folder / "small"
        for store, entries in ((large, arguments.entries), (small, FEW)):
            began = time.monotonic()
            make_store(store, entries)
            note(f"{entries:,} entries in {store}: made in {time.monotonic() - began:.0f} s")
        if not arguments.evictions:
            _openings(here, large, arguments)
            _hits(here, large, small, arguments)
        _evictions(here, large, arguments)


def _proxy(here: Stage, store: Path, *, max_size: int = 1 << 50, hot: str = "1k", start: bool = True) -> Proxy:
    options: dict[str, str | int] = {
        "pypi_cache_dir": str(store),
        "pypi_cache_max_size": max_size,
        "pypi_cache_min_free": 0,
    }
    options |= {"pypi_cache_memory": hot, "pypi_cache_index_ttl": "3650d"}
    options |= {"pypi_cache_index": f"pypi={here.upstream.index_url}"}
    bundle = here.authority.bundle
    return Proxy(here.new_folder(), options=options, upstream_ca=bundle, timeout=60, start=start)


# Opening


def _openings(here: Stage, large: Path, arguments: argparse.Namespace) -> None:
    cold, warm = [], []
    starts: dict[str, list[float]] = {"large": [], "empty": []}
    for _ in range(arguments.repeat):
        _forget(large / "entries" / "cache.db")
        cold.append(_opening(large))
        warm.append(_opening(large))
        for name, store in (("large", large), ("empty", here.new_folder() / "store")):
            with _proxy(here, store, start=False) as proxy:
                began = time.monotonic()
                proxy.start()
                starts[name].append(time.monotonic() - began)
    rows = [
        ("the store opened, its database not in the page cache", spread(cold, "s", 3)),
        ("the store opened again", spread(warm, "s", 3)),
        ("mitmdump from its start to its first answer", spread(starts["large"], "s", 2)),
        ("the same with an empty store", spread(starts["empty"], "s", 2)),
    ]
    tools.table(f"Opening {arguments.entries:,} entries", ("what", "time"), rows)


def _opening(store: Path) -> float:
    line = [sys.executable, "-c", _OPEN, str(store)]
    done = subprocess.run(line, cwd=REPOSITORY / "addon", check=True, capture_output=True, text=True)
    return float(done.stdout)


def _forget(path: Path) -> None:
    """Have the system read a file from the disk when it is next asked for."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def _remember(path: Path) -> None:
    """Have the system hold a file in memory."""
    with path.open("rb") as file:
        while file.read(16 * MB):
            pass


# Hits


@dataclass(slots=True)
class _Side:
    """One store's proxy, with a connection to each host."""

    proxy: Proxy
    projects: int
    pages: Wire
    files: Wire
    waits: dict[str, list[float]] = field(default_factory=dict)
    idle: int = 0

    def ask(self, number: int, when: str) -> None:
        """A round: pages, then wheels; the same ones each time that the number comes."""
        source = random.Random(number)
        pages, files = urls_of([source.randrange(self.projects) for _ in range(IN_A_ROUND)])
        for kind, wire, urls in (("index pages", self.pages, pages), ("wheels of 40 kB", self.files, files)):
            self.waits.setdefault(f"{kind}{when}", []).extend(took for _, took in each_wait(wire, urls))


def _hits(here: Stage, large: Path, small: Path, arguments: argparse.Namespace) -> None:
    with ExitStack() as stack:
        sides = []
        for store, entries in ((large, arguments.entries), (small, FEW)):
            proxy = stack.enter_context(_proxy(here, store))
            pages = stack.enter_context(Wire(proxy.port, INDEX_URL, ca=proxy.ca))
            files = stack.enter_context(Wire(proxy.port, file_url(here.small), ca=proxy.ca))
            _forget(store / "entries" / "cache.db")
            sides.append(_Side(proxy, entries // EACH, pages, files, idle=memory(proxy.pid)))
        asked = here.upstream.count()
        for when in ("", FIRST, AGAIN):  # the first time is for warming up
            for number in range(ROUNDS) if when else (-1,):
                for side in sides:
                    side.ask(number, when)
        assert here.upstream.count() == asked, "the upstream was asked for what the stores should have"
        rows = []
        for kind in sorted(key for key in sides[0].waits if key.endswith((FIRST, AGAIN))):
            many, few = (side.waits[kind] for side in sides)
            ratio = tools.median(many) / tools.median(few)
            rows.append((kind, _shown(many), _shown(few), f"{ratio:.2f} ×"))
        names = [f"{entries:,} entries" for entries in (arguments.entries, FEW)]
        tools.table("A hit over TLS: median, 99th percentile", ("", *names, "ratio of the medians"), rows)
        memories = [
            (f"{name}, hot memory off", *_memories(side.proxy, side.idle))
            for name, side in zip(names, sides, strict=True)
        ]
    memories.append(_with_hot_memory(here, large, arguments.entries))
    count = (2 * ROUNDS + 1) * IN_A_ROUND * 2
    tools.table("Resident memory of mitmdump", ("", "at its start", f"after {count:,} hits", "most"), memories)


def _memories(proxy: Proxy, idle: int) -> tuple[str, str, str]:
    now, most = memory(proxy.pid), memory(proxy.pid, "VmHWM")
    return f"{idle / MB:.0f} MB", f"{now / MB:.0f} MB", f"{most / MB:.0f} MB"


def _with_hot_memory(here: Stage, store: Path, entries: int) -> Sequence[str]:
    """As agents do it: a project's page, its wheel's metadata, its wheel; with the default of `pypi_cache_memory`."""
    source = random.Random(6)
    with _proxy(here, store, hot="64m") as proxy, ExitStack() as stack:
        idle = memory(proxy.pid)
        pages = stack.enter_context(Wire(proxy.port, INDEX_URL, ca=proxy.ca))
        files = stack.enter_context(Wire(proxy.port, FILES_URL, ca=proxy.ca))
        for _ in range((2 * ROUNDS + 1) * IN_A_ROUND * 2 // 3):
            page, wheel = urls_of([source.randrange(entries // EACH)])
            each_wait(pages, page)
            each_wait(files, [f"{wheel[0]}.metadata", *wheel])
        return (f"{entries:,} entries, hot memory of 64 MB, metadata too", *_memories(proxy, idle))


def _shown(waits: Sequence[float]) -> str:
    return f"{tools.median(waits) * 1000:.2f} ms, {percentile(waits, 0.99) * 1000:.2f} ms"


# Eviction


def _evictions(here: Stage, large: Path, arguments: argparse.Namespace) -> None:
    rows = []
    for clients, pause in ((1, PAUSE), (CLIENTS, 0.0)):
        for number in range(arguments.repeat if clients == 1 else 1):
            what = f"{clients} {'client, paced' if pause else 'clients'}"
            rows.append(_eviction(here, large, arguments.entries // EACH, f"{what}-{number}", clients, pause))
    header = (
        "",
        "entries evicted",
        "in",
        "hits before",
        "hits meanwhile",
        "ratio of the 99th percentiles",
        "memory, most",
    )
    tools.table("Hits (half pages, half wheels) while entries are evicted: median, 99th percentile", header, rows)


def _eviction(here: Stage, store: Path, projects: int, name: str, clients: int, pause: float) -> Sequence[str]:
    """The limit is a little above what is there; then files come that pass it."""
    coming = [make_wheel(f"coming-{time.time_ns()}-{number}", payload_size=10 * MB, seed=number) for number in range(4)]
    here.upstream.add(*coming)
    _remember(store / "entries" / "cache.db")
    limit = int((_volume(store) + 2.5 * 10 * MB) / HIGH_WATER)
    with _proxy(here, store, max_size=limit) as proxy, ExitStack() as stack:
        time.sleep(6)  # it has looked after itself once
        stopped = threading.Event()
        waits: list[list[tuple[float, float]]] = [[] for _ in range(clients)]
        threads = [
            threading.Thread(target=_keep_asking, args=(proxy, projects, number, pause, stopped, waits[number]))
            for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        stack.callback(stopped.set)
        time.sleep(2)
        began = time.perf_counter()
        time.sleep(QUIET_SECONDS)
        quiet = time.perf_counter()
        for release in coming:
            answer = fetch(proxy.port, file_url(release), ca=proxy.ca, keep=False)
            assert answer.sha256 == release.sha256
        start, end, gone = _watch(store)
        stopped.set()
        for thread in threads:
            thread.join()
        assert all(waits), proxy.output[-2000:]
        found = [pair for each in waits for pair in each]
        before = [took for at, took in found if began <= at < quiet]
        meanwhile = [took for at, took in found if start <= at < end]
        ratio = percentile(meanwhile, 0.99) / percentile(before, 0.99)
        most = f"{memory(proxy.pid, 'VmHWM') / MB:.0f} MB"
        return (
            name.rpartition("-")[0],
            f"{gone:,}",
            f"{end - start:.1f} s",
            _shown(before),
            _shown(meanwhile),
            f"{ratio:.2f} ×",
            most,
        )


def _keep_asking(
    proxy: Proxy, projects: int, number: int, pause: float, stopped: threading.Event, found: list[tuple[float, float]]
) -> None:
    """Of the younger half of all, which eviction does not come to."""
    source = random.Random(number)
    with Wire(proxy.port, INDEX_URL, ca=proxy.ca) as pages, Wire(proxy.port, FILES_URL, ca=proxy.ca) as files:
        while not stopped.is_set():
            page, wheel = urls_of([source.randrange(projects // 2, projects)])
            found += each_wait(pages, page, pause=pause)
            found += each_wait(files, wheel, pause=pause)


def _volume(store: Path) -> int:
    with _database(store) as database:
        ((pages,),) = database.execute("PRAGMA page_count").fetchall()
        ((size,),) = database.execute("PRAGMA page_size").fetchall()
        ((files,),) = database.execute("SELECT value FROM Settings WHERE key = 'size'").fetchall()
    return int(pages * size + files)


def _watch(store: Path) -> tuple[float, float, int]:
    """When the number of entries began to fall, when it had fallen by so many or come to rest, and by how many it fell."""
    with _database(store) as database:
        counts: list[tuple[float, int]] = []
        while not counts or (
            counts[0][1] - counts[-1][1] < EVICTED and (len(counts) < 500 or counts[-500][1] != counts[-1][1])
        ):
            ((count,),) = database.execute("SELECT value FROM Settings WHERE key = 'count'").fetchall()
            counts.append((time.perf_counter(), count))
            time.sleep(0.01)
    start = max(at for at, count in counts if count == max(count for _, count in counts))
    end = min(at for at, count in counts if count == counts[-1][1])
    assert start < end, "nothing is evicted"
    return start, end, max(count for _, count in counts) - counts[-1][1]


@contextmanager
def _database(store: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{store}/entries/cache.db?mode=ro", uri=True)) as database:
        yield database


def _further(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the large store (default: %(default)s)")
    parser.add_argument(
        "--store", type=Path, help="a folder for the stores, kept and used again (default: a temporary one)"
    )


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=3, further=_further, evictions="only what happens while entries are evicted")
