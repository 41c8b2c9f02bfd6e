"""B1, B5, B6 and B7: large files, from the cache and cold, to one client, to a herd and to slow readers."""

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from tests.bench.compare import contenders
from tests.bench.compare.contenders import DIRECT, NGINX_NAME, PROXPI, SQUID_NAME, Peer
from tests.bench.compare.figures import OURS, Goal, Row
from tests.bench.compare.loads import download, downloads, used
from tests.bench.compare.turns import Size, Work, gathered, in_turns
from tests.bench.tools import MB, Stage, descendants, memory, reset_peak
from tests.support.wheels import ReleaseFile

RATE, PEAK, COST, LOAD = "MB/s", "memory at most, MB", "processor s", "the load's"
TOTAL, FIRST = "ms in all", "ms to the first byte"
GETS, LAST = "upstream GETs", "s of the last client"
OVER_IDLE, IDLE = "MB over idle", "MB idle"
HERD, READERS = 50, 32
FILL_SECONDS: Final = 60
"""For 1 GB, before a peer is given up: Squid 5.7 was not done after nearly five minutes, at 100 % of a core."""


def resident(peer: Peer, field: str = "VmRSS") -> float:
    """MB of a peer and its descendants."""
    return sum(memory(pid, field) for pid in descendants(peer.pid)) / MB


def hit(here: Stage, size: Size, row: Row) -> None:
    """B1."""
    wheel = here.wheel(200 * MB)

    def measure(peer: Peer, number: int) -> Mapping[str, float]:
        if number == 1:
            for pid in descendants(peer.pid):
                reset_peak(pid)
        with used(peer) as taken:
            got = download(peer, wheel).result()
        return {RATE: got.rate / MB, PEAK: resident(peer, "VmHWM"), COST: taken.processor, LOAD: taken.load}

    kinds = {OURS: contenders.ours(here), NGINX_NAME: contenders.nginx(here), SQUID_NAME: contenders.squid(here)}
    with gathered(row, kinds) as peers:
        in_turns(row, peers, size.of(9, 3), measure)


def miss(here: Stage, size: Size, row: Row) -> None:
    """B5: a new wheel each round."""
    rounds = size.of(5, 1)
    wheels = [here.wheel(200 * MB, f"cold{number}") for number in range(rounds + 1)]

    def measure(peer: Peer, number: int) -> Mapping[str, float]:
        os.sync()  # what the one before has written is not to be this one's
        with used(peer) as taken:
            got = download(peer, wheels[number]).result()
        return {TOTAL: got.total * 1000, FIRST: got.first_byte * 1000, COST: taken.processor, LOAD: taken.load}

    with ExitStack() as stack:
        origin = stack.enter_context(contenders.mirror(here, *wheels))
        kinds = {OURS: contenders.ours(here, origin=origin), NGINX_NAME: contenders.nginx(here, origin)}
        peers = stack.enter_context(gathered(row, kinds))
        in_turns(row, [origin, *peers], rounds, measure)


def herd(here: Stage, size: Size, row: Row) -> None:
    """B6: a new file each round."""
    rounds, length = size.of(2, 1), size.of(100, 10) * MB
    wheels = [here.wheel(length, f"herd{number}") for number in range(rounds + 1)]
    here.upstream.pace(length)  # one second for one download

    def measure(peer: Peer, number: int) -> Mapping[str, float]:
        wheel = wheels[number]
        before = here.upstream.count(method="GET", path_contains=wheel.filename)
        with used(peer) as taken:
            last = max(each.total for each in downloads(peer, wheel, HERD))
        gets = here.upstream.count(method="GET", path_contains=wheel.filename) - before
        return {LAST: last, GETS: gets, COST: taken.processor, LOAD: taken.load}

    kinds = {OURS: contenders.ours(here), NGINX_NAME: contenders.nginx(here), SQUID_NAME: contenders.squid(here)}
    with gathered(row, kinds) as peers:
        in_turns(row, peers, rounds, measure, warm_up=False)


def slow_readers(here: Stage, size: Size, row: Row) -> None:
    """B7."""
    wheel: ReleaseFile = here.wheel(size.of(1000, 200) * MB)
    seconds = size.of(12, 3)

    def measure(peer: Peer, _: int) -> Mapping[str, float]:
        idle, most = resident(peer), 0.0
        with used(peer) as taken:
            readers = [download(peer, wheel, limit_rate=2 * MB) for _ in range(READERS)]
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.25)
                most = max(most, resident(peer))
            for reader in readers:
                if reader.process.poll() is not None:
                    raise RuntimeError(f"curl: exit {reader.process.returncode} after less than {seconds} s")
                reader.leave()
        return {OVER_IDLE: most - idle, IDLE: idle, COST: taken.processor, LOAD: taken.load}

    kinds = {
        OURS: contenders.ours(here),
        NGINX_NAME: contenders.nginx(here),
        SQUID_NAME: contenders.squid(here),
        PROXPI: contenders.proxpi(here),
    }
    if size.quick:  # the goal is this proxy's alone
        kinds = {OURS: kinds[OURS]}
    for name, kind in kinds.items():  # one after the other: each with a fresh process that has stored the file
        with gathered(row, {name: kind}) as peers:
            in_turns(row, peers, 0, lambda peer, _: fill(here, peer, wheel))
            in_turns(row, peers, 1, measure, warm_up=False)


def fill(here: Stage, peer: Peer, wheel: ReleaseFile) -> Mapping[str, float]:
    """Have a peer store a file."""
    download(peer, wheel, args=("--location", "--max-time", str(FILL_SECONDS))).result()
    time.sleep(2)  # what has been sent may still be on its way into the store
    return {}


ROWS: Final = {
    "B1": Work(
        text="hit, one wheel of 200 MB by curl, over TLS (CONNECT where the peer is a forward proxy)",
        measure=hit,
        goals=(
            Goal(what=RATE, bound="≥", limit=1, against=(NGINX_NAME,)),
            Goal(what=RATE, bound="≥", limit=2, against=(SQUID_NAME,)),
            Goal(what=PEAK, limit=150),
        ),
    ),
    "B5": Work(
        text="miss, a wheel of 200 MB, from an nginx on this machine",
        measure=miss,
        goals=(
            Goal(what=TOTAL, limit=1.3, against=(NGINX_NAME,)),
            Goal(what=FIRST, limit=20, against=(DIRECT,), by="+"),
        ),
    ),
    "B6": Work(
        text=f"{HERD} cold clients of one 100 MB file at once, upstream at 100 MB/s (quick: 10 MB, 10 MB/s)",
        measure=herd,
        goals=(Goal(what=GETS, limit=1), Goal(what=LAST, limit=1, against=(NGINX_NAME,))),
    ),
    "B7": Work(
        text=f"memory: {READERS} readers of a 1 GB hit (quick: 200 MB) at 2 MB/s each",
        measure=slow_readers,
        goals=(Goal(what=OVER_IDLE, limit=64),),
    ),
}
