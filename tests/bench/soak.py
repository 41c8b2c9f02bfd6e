"""Ten minutes of mixed load on a store that is too small for it: the limit at each second, each byte checked, nothing left over."""

import argparse
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pkgcache.engine.store.database import TROUBLE
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.integrity import orphans
from tests.bench import tools
from tests.bench.mixture import BrokenError, Client, Tally, WrongError, publish
from tests.bench.tools import MB, memory, note, spread, stage
from tests.support.clients import bare_env
from tests.support.proxy import Proxy
from tests.support.wheels import ReleaseFile

CLIENTS: Final = 8
SMALLEST, LARGEST = 1_000, 50 * MB
TIMES: Final = 3
"""So many times the limit are the files together."""

PAUSE: Final = 0.02


@dataclass(slots=True)
class Samples:
    """What was seen each second."""

    store: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)


def run(arguments: argparse.Namespace) -> None:
    """One table."""
    limit = arguments.limit * MB
    with stage() as here:
        releases = publish(here.upstream, here.folder / "wheels", TIMES * limit, SMALLEST, LARGEST)
        note(f"{len(releases)} wheels, {sum(release.size for release in releases) / MB:,.0f} MB")
        options = {"pypi_cache_max_size": limit, "pypi_cache_min_free": 0, "pypi_cache_index_ttl": "5s"}
        with here.proxy(options=options) as proxy:
            tally, samples, trouble = _load(proxy, releases, arguments.seconds)
            left = _left_over(proxy)
            assert not proxy.complaints, proxy.output
            proxy.stop()
            faults = _faults(proxy.store, limit)
            verified = _verify(proxy)
            evicted = proxy.output.count("evicted ")
    over = max(samples.store) - limit
    rows = [
        (
            "files, bytes",
            f"{len(releases)}, {sum(release.size for release in releases) / MB:,.0f} MB: {TIMES} × the limit",
        ),
        ("clients, seconds", f"{CLIENTS}, {arguments.seconds}"),
        *((f"requests: {kind}", f"{count:,}") for kind, count in sorted(tally.requests.items())),
        ("hits", f"{tally.hits:,}"),
        ("bytes received, all held against digests", f"{tally.bytes / MB:,.0f} MB"),
        ("different files asked for", f"{len(tally.asked_for)} of {len(releases)}"),
        ("wrong bytes, broken answers", "; ".join(trouble[:5]) or "0"),
        ("store, sampled each second", spread(samples.store, "MB", scale=1 / MB)),
        ("limit", f"{limit / MB:.0f} MB; passed by {max(0, over) / MB:.1f} MB at the most"),
        ("times that something was evicted", f"{evicted:,}"),
        ("entries", spread(samples.entries)),
        ("resident memory", spread(samples.resident, "MB", scale=1 / MB)),
        ("left in the folder of downloads", ", ".join(left) or "nothing"),
        ("rows without a file, files without a row", ", ".join(faults) or "none"),
        ("`pypi-cache verify`", verified),
    ]
    tools.table("Mixed load", ("what", "figure"), rows)
    if trouble or left or faults or over > LARGEST or not verified.startswith("exit 0"):
        sys.exit("it does not hold")


def _load(proxy: Proxy, releases: list[ReleaseFile], seconds: float) -> tuple[Tally, Samples, list[str]]:
    tally, samples = Tally(), Samples()
    trouble: list[str] = []
    end = time.monotonic() + seconds
    waiting = list(releases)  # each is to be asked for once at least
    lock = threading.Lock()

    def use(number: int) -> None:
        client = Client(proxy, releases, number, tally)
        asked = 0
        while time.monotonic() < end:
            asked += 1
            release = None
            with lock:
                share = 1 - (end - time.monotonic()) / seconds
                if waiting and len(tally.asked_for) < share * 1.2 * len(releases):
                    release = waiting.pop()
            try:
                client.ask(release)
            except (WrongError, BrokenError) as error:
                trouble.append(str(error))
                note(str(error))
            time.sleep(PAUSE)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        time.sleep(1)
        samples.store.append(store_bytes(proxy.store))
        samples.resident.append(memory(proxy.pid))
        samples.entries.append(json.loads(proxy.get("/stats").body)["store"]["entries"])
    for thread in threads:
        thread.join()
    return tally, samples, trouble


def store_bytes(store: Path) -> int:
    """Bytes of all values' files, and of the database."""
    total = (store / "entries" / "cache.db").stat().st_size
    for path in (store / "entries").glob("*/*/*.val"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _left_over(proxy: Proxy) -> list[str]:
    """What is still in the folder of downloads some seconds after the last request."""
    deadline = time.monotonic() + 20
    while (left := [path.name for path in (proxy.store / "growing").iterdir()]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def _faults(store: Path, limit: int) -> list[str]:
    """Rows without a file, and files without a row, in a store that nobody uses."""
    entries = Entries(store, max_size=limit, min_free=0)
    try:
        entries.open()
        rows = [row for row in entries.rows() if row.filename and not (entries.folder / row.filename).exists()]
        return [
            *(f"row without a file: {row.key}" for row in rows),
            *(f"no row: {name}" for name, _ in orphans(entries, 0)),
        ]
    except TROUBLE as error:
        return [str(error)]
    finally:
        entries.close()


def _verify(proxy: Proxy) -> str:
    line = [str(Path(sys.executable).parent / "pypi-cache"), "verify", "--dir", str(proxy.store), "--json"]
    done = subprocess.run(line, env=bare_env(proxy.folder), capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    return f"exit {done.returncode}: {found['entries']:,} entries, {len(found['wrong'])} wrong"


def _further(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=600, help="of load (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=500, help="MB that the store may have (default: %(default)s)")


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=1, further=_further)
