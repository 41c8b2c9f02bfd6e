"""Hits a second by one worker and by several, with what the load itself takes of the processor: wrk through socat, in turns."""

import argparse
import os
from contextlib import ExitStack
from typing import Final

from tests.bench import tools
from tests.bench.compare.contenders import Peer
from tests.bench.compare.figures import LOAD, PROCESSOR
from tests.bench.compare.loads import BUSY, RATE, Pages, each_page, wrk
from tests.bench.tools import Stage, spread, stage
from tests.support.proxy import Options, Proxy
from tests.support.wheels import make_wheel

PAGES: Final = 16
CONNECTIONS: Final = 32
"""So many that the kernel spreads them about evenly."""


def run(arguments: argparse.Namespace) -> None:
    """One table: a row for each number of workers; 0 is `mitmdump -s`, without a supervisor."""
    figures: dict[int, list[dict[str, float]]] = {}
    with stage() as here, ExitStack() as stack:
        here.upstream.add(
            *(
                make_wheel(f"proj{number}", f"{version}.0")
                for number in range(PAGES)
                for version in range(arguments.versions)
            )
        )
        peers = {count: _peer(here, stack, count) for count in (0, 1, arguments.workers)}
        for _ in range(arguments.repeat):
            for count, peer in peers.items():
                found = wrk(peer, here.folder, Pages(pages=PAGES, connections=CONNECTIONS), arguments.seconds)
                figures.setdefault(count, []).append(found)
    cores = os.cpu_count() or 1
    rows = [
        (
            f"{count} worker{'s' * (count > 1)}" if count else "`mitmdump -s`",
            spread([each[RATE] for each in of]),
            spread([each[BUSY] for each in of], digits=2),
            spread([each[PROCESSOR] for each in of], digits=3),
            spread([each[LOAD] * each[RATE] / 1000 for each in of], digits=2),
        )
        for count, of in figures.items()
    ]
    header = (
        "proxy",
        "hits a second",
        "cores busy with it",
        "its processor ms a hit",
        f"cores busy with the load, of {cores}",
    )
    tools.table(f"hits of {PAGES} pages by {CONNECTIONS} connections", header, rows)


def _peer(here: Stage, stack: ExitStack, count: int) -> Peer:
    options: Options = {"pypi_cache_index": f"pypi={here.upstream.index_url}", "pypi_cache_index_ttl": "1d"}
    proxy = stack.enter_context(
        Proxy(here.new_folder(), options=options, upstream_ca=here.authority.bundle, workers=count or None)
    )
    peer = Peer(name=f"{count}", pid=proxy.pid, ca=proxy.ca, proxy=proxy.port)
    if count:
        proxy.worker_pids()
    for _ in range(4 * max(count, 1)):  # each worker has them in memory
        each_page(peer, here.folder, PAGES)
    return peer


def _further(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=8, help="of each load (default: %(default)s)")
    parser.add_argument("--versions", type=int, default=30, help="files on a page (default: %(default)s)")


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=3, further=_further)
