"""What one request passes through: entries into functions, functions, files, and moves from one file to another.

A warm 1 MB wheel (stored as a file), a warm page of 28 kB that memory has, and a cold page, each over a new CONNECT and TLS; counted
in a real mitmdump on its main thread. Repeated; the smallest of the counts, since housekeeping may come between.
"""

import argparse
import json
import os
import signal
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.bench import tools
from tests.bench.tools import MB, stage
from tests.support.names import file_url, page_url
from tests.support.proxy import Proxy
from tests.support.wheels import make_wheel
from tests.support.wire import fetch

ADDON: Final = Path(__file__).with_name("calls_addon.py")
ACCEPT: Final = "application/vnd.pypi.simple.v1+json, text/html; q=0.01"
PAGE_LINKS: Final = 47


def run(arguments: argparse.Namespace) -> None:
    """One table, and with `--trace` every entry in order."""
    with stage() as here, ExitStack() as stack:
        wheel = here.wheel(MB)
        here.upstream.add(*(make_wheel("paged", f"1.{number}") for number in range(PAGE_LINKS)))
        for number in range(arguments.repeat):
            here.upstream.add(make_wheel(f"cold{number}", "1.0"))
        counts = here.folder / "calls.json"
        proxy = stack.enter_context(here.proxy(args=["-s", str(ADDON)], env={"BENCH_CALLS": str(counts)}))
        for url in (file_url(wheel), page_url("paged")):
            fetch(proxy.port, url, ca=proxy.ca, headers={"Accept": ACCEPT})
        here.settle(proxy)
        cases = {
            "a warm 1 MB wheel": [file_url(wheel)] * arguments.repeat,
            "a warm page": [page_url("paged")] * arguments.repeat,
            "a cold page": [page_url(f"cold{number}") for number in range(arguments.repeat)],
        }
        least = {name: min((_entries(proxy, counts, url) for url in urls), key=len) for name, urls in cases.items()}
        tools.table(
            "What a request passes through, on the main thread",
            ("request", "function entries", "functions", "files", "moves between files"),
            [(name, *map(str, _figures(entries))) for name, entries in least.items()],
        )
        if arguments.trace:
            for name, entries in least.items():
                print(f"\n{name}:")
                for entry, following in pairwise([*entries, ("", "")]):
                    print(f"  {entry[0]:34} {entry[1]}{'' if entry[0] == following[0] else '  →'}")


def _entries(proxy: Proxy, counts: Path, url: str) -> list[tuple[str, str]]:
    """What one request for `url` entered, from before its connection to after its last byte."""
    counts.unlink(missing_ok=True)
    os.kill(proxy.pid, signal.SIGUSR1)
    time.sleep(0.05)
    answer = fetch(proxy.port, url, ca=proxy.ca, headers={"Accept": ACCEPT})
    assert answer.status == 200, answer
    time.sleep(0.2)
    os.kill(proxy.pid, signal.SIGUSR2)
    while not counts.exists():
        time.sleep(0.02)
    return [(file, function) for file, function in json.loads(counts.read_text())]


def _figures(entries: list[tuple[str, str]]) -> tuple[int, int, int, int]:
    files = [file for file, _ in entries]
    moves = sum(one != other for one, other in pairwise(files))
    return len(entries), len(set(entries)), len(set(files)), moves


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=5, trace="also print every entry, in order")
