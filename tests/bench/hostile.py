"""Hostile clients and upstreams, while another client asks for a 28 kB hit every 20 ms: its waits, memory, tracebacks, /healthz.

Each kind of harm is done for some seconds by a process of the lowest priority, and before it the same load well formed. The client's
99th percentile is to stay under 50 ms, or three times that beside the well-formed load, whichever is more; the memory of all the
proxy's processes within 300 MB of what they had when idle; no traceback is to be in the log, and /healthz to answer.
"""

import argparse
import http.client
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

from tests.bench import attacks_within, harm, tools
from tests.bench.attacks import KINDS, Target
from tests.bench.load import waits
from tests.bench.tools import MB, memory, note, percentile
from tests.support.behaviour import Behaviour
from tests.support.index import JSON_TYPE
from tests.support.names import INDEX_URL, file_url, page_url
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
assert attacks_within, "its kinds are entered into KINDS"


def run(arguments: argparse.Namespace) -> None:
    """All kinds, or those named, one after the other against one proxy."""
    names = [name for name in KINDS if not arguments.only or any(word in name for word in arguments.only)]
    with tools.stage() as here, ExitStack() as stack:
        corp = stack.enter_context(Upstream(here.authority))
        with described(here, corp) as (proxy, target):
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


@contextmanager
def described(here: tools.Stage, corp: Upstream) -> Iterator[tuple[Proxy, Target]]:
    """Put all that an attack needs on the upstreams, into the store and beside it; yields a warm proxy and where that is."""
    here.upstream.add(*(make_wheel("paged", f"1.{number}") for number in range(PAGE_LINKS)))
    here.upstream.add(make_wheel(EVIL), *(make_wheel(f"row-{number}") for number in range(harm.ROWS)))
    wheel, public = here.wheel(WHEEL), make_wheel("public", payload_size=MB)
    here.upstream.script(Behaviour("/slow", delay=30))
    corp.add(public)
    harm.serve_files(corp)
    lists = harm.serve_lists(corp)
    indexes = [f"pypi={here.upstream.index_url}", f"corp={corp.index_url}"]
    options = {
        "pypi_cache_deny": EVIL,
        "pypi_cache_index": [*indexes, *(f"list{number}={url}" for number, url in enumerate(lists))],
        "pypi_cache_max_size": "1g",
    }
    with here.proxy(options=options) as proxy:
        rows = [page_url(f"row-{number}") for number in range(harm.ROWS)]
        for url in (page_url("paged"), file_url(wheel), corp.page_url(public.project), corp.file_url(public), *rows):
            fetch(proxy.port, url, ca=proxy.ca, keep=False)
        here.settle(proxy)
        good, bad = harm.archives(proxy.store, here.folder)
        locks = harm.locks(here.folder)
        wheels = harm.serve_wheels(corp)
        for number in range(len(wheels)):
            fetch(proxy.port, f"{corp.index_url}six{number}/", ca=proxy.ca, headers={"Accept": JSON_TYPE})
        yield (
            proxy,
            Target(
                port=proxy.port,
                ca=str(proxy.ca),
                page=page_url("paged"),
                wheel=file_url(wheel),
                cold=f"{INDEX_URL}cold-",
                slow="slow-",
                evil=EVIL,
                pages=INDEX_URL,
                public=corp.file_url(public),
                upload=f"{corp.origin}/legacy/",
                files=f"{corp.origin}{corp.prefix}/",
                store=str(proxy.store),
                rows=rows,
                archives=[str(good), str(bad)],
                harmful=harm.serve_pages(here.upstream),
                lists=lists,
                wheels=wheels,
                locks=[*locks["good"], *locks["bad"]],
            ),
        )


def trial(name: str, proxy: Proxy, target: Target, idle: int, seconds: float) -> tuple[str, ...]:
    """Two rounds of one kind, well formed and hostile."""
    before = len(proxy.complaints)
    well, _, _ = measured(name, proxy, target, seconds, ill=False)
    time.sleep(0.5)
    ill, most, came = measured(name, proxy, target, seconds, ill=True)
    health, untrue = truth(proxy, name)
    complaints = len(proxy.complaints) - before + came.get("traceback", 0)
    limit = max(P99_LIMIT, 3 * percentile(well, 0.99))
    faults = [
        f"p99 above {limit * 1000:.0f} ms" if percentile(ill, 0.99) > limit else "",
        "memory" if most - idle > MEMORY_LIMIT else "",
        "tracebacks" if complaints else "",
        untrue,
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


def truth(proxy: Proxy, name: str) -> tuple[dict[str, Any], str]:
    """What /healthz says after an attack, and why that is not so: it is well if, and only if, a page is fetched that nobody had.

    Another client asks: what the attacker's address has begun counts against its own limits.
    """
    health = json.loads(proxy.get("/healthz", timeout=30).body)
    other = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30, source_address=("127.0.0.2", 0))
    other.request("GET", f"/pypi/simple/after-{name.replace(' ', '-')}/")
    status = other.getresponse().status
    other.close()
    if health["status"] == "ok" and status != 404:  # the upstream has no such project, and says so
        return health, f"/healthz: ok, but a cold page is a {status}"
    return health, "" if health["status"] == "ok" or health["trouble"] else "/healthz names no trouble"


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
        found = json.loads(watch.communicate(timeout=300)[0] or "[60.0]")
        came = json.loads(attack.communicate(timeout=300)[0] or "{}")
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
