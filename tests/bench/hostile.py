"""Hostile clients and upstreams, while another client asks for a 28 kB hit every 20 ms: its waits, memory, tracebacks, /healthz.

Each kind of harm is done for some seconds by a process of the lowest priority, and before it the same load well formed. The client's
99th percentile is to stay under 50 ms, or three times that beside the well-formed load, whichever is more; the memory of all the
proxy's processes within 300 MB of what they had when idle; no traceback is to be in the log, and /healthz to answer.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.bench import tools
from tests.bench.attacks import KINDS, Target
from tests.bench.load import waits
from tests.bench.tools import MB, memory, note, percentile
from tests.support.behaviour import Behaviour
from tests.support.index import PLAIN_HTML_TYPE
from tests.support.names import FILES_ORIGIN, INDEX_URL, file_url, page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel
from tests.support.wire import Wire, fetch

PAGE_LINKS: Final = 47
WHEEL: Final = 60 * MB
ASKED_EACH: Final = 0.02
P99_LIMIT: Final = 0.05
MEMORY_LIMIT: Final = 300 * MB
EVIL: Final = "evil"


def run(arguments: argparse.Namespace) -> None:
    """All kinds, or those named, one after the other against one proxy."""
    names = [name for name in KINDS if not arguments.only or any(word in name for word in arguments.only)]
    rows = []
    with tools.stage() as here, ExitStack() as stack:
        here.upstream.add(*(make_wheel("paged", f"1.{number}") for number in range(PAGE_LINKS)))
        here.upstream.add(make_wheel(EVIL))
        wheel = here.wheel(WHEEL)
        here.upstream.script(Behaviour("/slow", delay=30))
        for name, body, headers in harmful_pages():
            for number in range(3):
                here.upstream.serve(f"{here.upstream.prefix}/simple/{name}-{number}/", body, PLAIN_HTML_TYPE, **headers)
        corp = stack.enter_context(Upstream(here.authority))
        public = make_wheel("public", payload_size=MB)
        corp.add(public)
        indexes = [f"pypi={here.upstream.index_url}", f"corp={corp.index_url}"]
        with here.proxy(options={"pypi_cache_deny": EVIL, "pypi_cache_index": indexes}) as proxy:
            target = Target(
                port=proxy.port,
                ca=str(proxy.ca),
                page=page_url("paged"),
                wheel=file_url(wheel),
                cold=f"{INDEX_URL}cold-",
                slow="slow-",
                evil=EVIL,
                pages=INDEX_URL,
                public=corp.file_url(public),
            )
            for url in (target.page, target.wheel, corp.page_url(public.project), target.public):
                fetch(proxy.port, url, ca=proxy.ca, keep=False)
            here.settle(proxy)
            idle = resident(proxy.pid)
            note(f"idle: {idle / MB:.0f} MB")
            rows = [trial(name, proxy, target, idle, arguments.seconds) for name in names]
    tools.table(
        f"A 28 kB hit every 20 ms, each kind for {arguments.seconds} s; memory over idle",
        (
            "kind",
            "p99 beside the same well formed",
            "p99 beside it",
            "memory",
            "tracebacks",
            "/healthz",
            "what came of it",
            "",
        ),
        rows,
    )
    bad = [row[0] for row in rows if row[-1]]
    print(
        f"\n{len(rows) - len(bad)} of {len(rows)} kinds within the limits"
        + (f"; not: {', '.join(bad)}" if bad else ".")
    )


def trial(name: str, proxy: Proxy, target: Target, idle: int, seconds: float) -> tuple[str, ...]:
    """Two rounds of one kind, well formed and hostile."""
    before = len(proxy.complaints)
    well, _, _ = measured(name, proxy, target, seconds, ill=False)
    time.sleep(0.5)
    ill, most, came = measured(name, proxy, target, seconds, ill=True)
    health = json.loads(proxy.get("/healthz", timeout=30).body)
    complaints = len(proxy.complaints) - before
    limit = max(P99_LIMIT, 3 * percentile(well, 0.99))
    faults = [
        f"p99 above {limit * 1000:.0f} ms" if percentile(ill, 0.99) > limit else "",
        "memory" if most - idle > MEMORY_LIMIT else "",
        "tracebacks" if complaints else "",
    ]
    trouble = ", ".join(health["trouble"].values())
    row = (
        name,
        _waits(well),
        _waits(ill),
        f"{(most - idle) / MB:+.0f} MB",
        str(complaints),
        f"{health['status']}{f' ({trouble})' if trouble else ''}",
        ", ".join(f"{count} × {what}" for what, count in Counter(came).most_common(6)),
        ", ".join(filter(None, faults)),
    )
    note(" | ".join(row))
    return row


def measured(
    name: str, proxy: Proxy, target: Target, seconds: float, *, ill: bool
) -> tuple[list[float], int, dict[str, int]]:
    """The other client's waits, the most memory meanwhile, and what came of the load."""
    words = [sys.executable, "-m", "tests.bench.hostile"]
    described = json.dumps({field: getattr(target, field) for field in Target.__slots__})
    with peak(proxy.pid) as most:
        attack = subprocess.Popen(
            [*words, "attack", name, str(int(ill)), str(seconds), described],
            stdout=subprocess.PIPE,
        )
        watch = subprocess.Popen([*words, "watch", str(seconds), described], stdout=subprocess.PIPE)
        found = json.loads(watch.communicate(timeout=120)[0] or "[60.0]")
        came = json.loads(attack.communicate(timeout=120)[0] or "{}")
    return found, most[0], came


@contextmanager
def peak(pid: int) -> Iterator[list[int]]:
    """The most memory of a process and its children meanwhile, in a list of one."""
    most, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            most[0] = max(most[0], resident(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def resident(pid: int) -> int:
    """Resident bytes of a process and all below it."""
    total = 0
    for each in [pid, *_children(pid)]:
        try:
            total += memory(each)
        except (OSError, RuntimeError):
            continue  # it has just ended
    return total


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in path.read_text().split()]
        except OSError:
            continue
    return found + [below for child in found for below in _children(child)]


def _waits(found: list[float]) -> str:
    return f"{percentile(found, 0.99) * 1000:.0f} ms (most {max(found) * 1000:.0f}, {len(found)} asked)"


def harmful_pages() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Pages by which a bad parser, or one without limits, would stop; and `large`, which is none."""
    link = f'<a href="{FILES_ORIGIN}/packages/aa/bb/{"c" * 60}/one-1.{{}}-py3-none-any.whl">one</a>\n'
    yield "large", "".join(link.format(number) for number in range(3000)).encode(), {}
    yield "bomb", gzip.compress(b"<a href=x>" * 20_000_000, 9), {"Content_Encoding": "gzip"}
    yield "anchors", b"<a " * 100_000, {}
    yield "base", b'<base href="https://files.test/' + b"b" * 100_000 + b'/">' + b'<a href="x-1.whl">x</a>' * 20_000, {}
    yield "references", b'<a href="&#' + b"1" * 5000 + b';">x</a>' + b"&" * 100_000, {}
    yield "deep", b"<div>" * 200_000, {}
    yield "comments", b"<!--" * 100_000, {}
    yield "attributes", b"<a" + b" a='" * 100_000, {}


def attack(words: list[str]) -> None:
    """What the attacker's process does: NAME, whether it is hostile, seconds, and the target."""
    os.nice(19)
    name, ill, seconds, described = words
    came = KINDS[name](Target(**json.loads(described)), bool(int(ill)), time.monotonic() + float(seconds))
    print(json.dumps(came))


def watch(words: list[str]) -> None:
    """What the other client's process does: seconds, and the target. It begins a little later than the attack and ends before."""
    seconds, described = float(words[0]), json.loads(words[1])
    time.sleep(0.3)
    with Wire(described["port"], described["page"], ca=described["ca"]) as wire:
        ends = time.monotonic() + seconds
        found = waits(wire, described["page"], lambda _: time.monotonic() > ends, pause=ASKED_EACH)
    print(json.dumps(found))


def options(parser: argparse.ArgumentParser) -> Any:
    """Further options."""
    parser.add_argument("--seconds", type=float, default=20.0, help="of each round (default: %(default)s)")
    parser.add_argument("--only", nargs="*", help="only the kinds in whose name one of these is")


if __name__ == "__main__":
    if sys.argv[1:2] == ["attack"]:
        attack(sys.argv[2:])
    elif sys.argv[1:2] == ["watch"]:
        watch(sys.argv[2:])
    else:
        tools.main(run, __doc__, repeat=1, further=options)
