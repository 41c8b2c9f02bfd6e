"""200 SIGKILLs at random instants: two proxies on one store under load, one of them killed and started again each time.

After each kill all that is stored is re-hashed: nothing may be wrong, ever. A row whose file is gone, which no client ever sees, is what a
kill in mid eviction leaves by design: those are counted at the end, when `verify` is to leave none.
"""

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.integrity import fault_of, orphans
from tests.bench import tools
from tests.bench.mixture import BrokenError, Client, Tally, WrongError, publish
from tests.bench.tools import MB, note, stage
from tests.support.clients import bare_env
from tests.support.proxy import Options, Proxy
from tests.support.wheels import ReleaseFile

KILLS: Final = 200
CLIENTS: Final = 3
"""Of each proxy."""

LIMIT: Final = 60 * MB
SMALLEST, LARGEST = 1_000, 8 * MB
LONGEST: Final = 1.0
TROUBLES: Final = (" has trouble: ", " cannot be written")
GONE: Final = "its file is gone"


@dataclass(slots=True)
class Seen:
    """What was found, by all kills together."""

    wrong: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Answers of the proxy that lives that broke: there may be none."""
    cut: int = 0
    """Answers of the one that was killed."""
    looked_at: int = 0
    waits: list[float] = field(default_factory=list)
    """Seconds that answers of the proxy that lives took, whole."""


class Pair:
    """Two proxies on one store, and clients that never rest: a context manager for the clients."""

    def __init__(self, proxies: tuple[Proxy, Proxy], releases: list[ReleaseFile], seen: Seen) -> None:
        self.proxies = proxies
        self.tally = Tally()
        self._releases = releases
        self._seen = seen
        self._down = [0, 0]
        """How often each was killed, twice: odd while it is down."""
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._use, args=(number,)) for number in range(2 * CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def kill(self, which: int) -> None:
        """SIGKILL."""
        self._down[which] += 1
        self.proxies[which].kill()

    def revive(self, which: int) -> None:
        """Start it again."""
        self.proxies[which].start()
        self._down[which] += 1

    def _use(self, number: int) -> None:
        which = number % 2
        client = Client(self.proxies[which], self._releases, number, self.tally)
        while not self._over.is_set():
            kills = self._down[which]
            if kills % 2:
                time.sleep(0.05)
                continue
            began = time.monotonic()
            try:
                client.ask()
                if self._down[which] == kills:
                    self._seen.waits.append(time.monotonic() - began)
            except WrongError as error:
                self._seen.wrong.append(str(error))
                note(f"wrong: {error}")
            except BrokenError as error:
                if self._down[which] != kills:
                    self._seen.cut += 1
                else:
                    self._seen.broken.append(f"{error} ({time.monotonic() - began:.1f} s)")
                    note(f"broken: {self._seen.broken[-1]}\n{self.proxies[which].output[-3000:]}")


def run(arguments: argparse.Namespace) -> None:
    """One table."""
    source = random.Random(200)
    seen = Seen()
    with stage() as here, ExitStack() as stack:
        releases = publish(here.upstream, here.folder / "wheels", 3 * LIMIT, SMALLEST, LARGEST)
        store = here.folder / "store"
        options: Options = {
            "pypi_cache_dir": str(store),
            "pypi_cache_max_size": LIMIT,
            "pypi_cache_min_free": 0,
            "pypi_cache_index_ttl": "1s",
        }
        first, second = (stack.enter_context(here.proxy(options=options)) for _ in range(2))
        with Pair((first, second), releases, seen) as pair:
            for number in range(arguments.kills):
                which = source.randrange(2)
                time.sleep(source.uniform(0, LONGEST))
                pair.kill(which)
                look(store, seen, number)
                pair.revive(which)
        troubles = sum(proxy.output.count(words) for proxy in (first, second) for words in TROUBLES)
        complaints = [*first.complaints, *second.complaints]
        second.stop()
        first.restart()
        growing = [path.name for path in (store / "growing").iterdir()]
        first.stop()
        before, verified, left = _left(store), _verify(store, here.folder), _left(store)
    rows = [
        ("kills", f"{arguments.kills}"),
        (
            "requests, bytes, all held against digests",
            f"{pair.tally.requests.total():,}, {pair.tally.bytes / MB:,.0f} MB",
        ),
        ("of them hits", f"{pair.tally.hits:,}"),
        ("entries re-hashed", f"{seen.looked_at:,}"),
        ("wrong entries, wrong bytes at a client", "; ".join(seen.wrong[:5]) or "0"),
        ("broken answers of the proxy that lived", "; ".join(seen.broken[:5]) or "0"),
        ("seconds that its answers took: median, 99th percentile, most", _shown(seen.waits)),
        ("answers that the killed one broke off", f"{seen.cut:,}"),
        ("times that trouble with the store was told", f"{troubles}"),
        ("errors in the logs", "; ".join(complaints[:3]) or "0"),
        ("left in the folder of downloads after the last start", ", ".join(growing) or "nothing"),
        (
            "left in the store by then: rows whose file is gone, files without a row",
            f"{before['rows']}, {before['files']}",
        ),
        ("`pypi-cache verify` then", verified),
        ("left after it", f"{left['rows']}, {left['files']}"),
    ]
    tools.table("kill -9, two proxies on one store", ("what", "count"), rows)
    if seen.wrong or seen.broken or complaints or growing or left.total() or not verified.startswith("exit 0"):
        sys.exit("it does not hold")


def _shown(waits: list[float]) -> str:
    return f"{tools.median(waits):.2f} s, {tools.percentile(waits, 0.99):.2f} s, {max(waits):.2f} s"


def _opened(store: Path) -> Entries:
    entries = Entries(store, max_size=LIMIT, min_free=0)
    entries.open()
    return entries


def look(store: Path, seen: Seen, number: int) -> None:
    """Re-hash all that is stored, beside the process that lives: what that one evicts just now is gone, and not wrong."""
    entries = _opened(store)
    try:
        for row in entries.rows():
            fault = fault_of(entries, row)
            seen.looked_at += 1
            if fault and fault != GONE:
                seen.wrong.append(f"after kill {number}: {row.key}: {fault}")
                note(seen.wrong[-1])
    finally:
        entries.close()


def _left(store: Path) -> Counter[str]:
    """Rows whose file is gone, and files without a row."""
    entries = _opened(store)
    try:
        gone = sum(fault_of(entries, row) == GONE for row in entries.rows())
        return Counter(rows=gone, files=sum(1 for _ in orphans(entries, 0)))
    finally:
        entries.close()


def _verify(store: Path, home: Path) -> str:
    line = [str(Path(sys.executable).parent / "pypi-cache"), "verify", "--dir", str(store), "--json"]
    done = subprocess.run(line, env=bare_env(home), capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    return f"exit {done.returncode}: {found['entries']:,} entries, {len(found['wrong'])} wrong"


def _further(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=KILLS, help="(default: %(default)s)")


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=1, further=_further)
