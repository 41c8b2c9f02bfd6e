"""Hits: one 200 MB wheel by curl, and 28 kB index pages on 8 connections; against `flow.response` and nginx.

All over TLS and HTTP/1.1, through CONNECT (nginx, which is no forward proxy, straight), the same bytes from each peer.
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.bench import tools
from tests.bench.load import PIP_ACCEPT, requests_a_second
from tests.bench.peers import NGINX, Peer, flow_proxy, nginx_cache
from tests.bench.spy import PY_SPY, Spy
from tests.bench.tools import MB, Curl, cpu_seconds, memory, reset_peak, spread, stage
from tests.support.index import JSON_TYPE
from tests.support.names import INDEX_HOST, file_url, page_url
from tests.support.proxy import Proxy
from tests.support.wheels import make_wheel
from tests.support.wire import Wire, fetch

WHEEL: Final = 200 * MB
PAGE_LINKS: Final = 47
CONNECTIONS: Final = 8
SECONDS: Final = 4.0


def run(arguments: argparse.Namespace) -> None:
    """Both tables, and with `--profile` where our proxy's time went."""
    with stage() as here, ExitStack() as stack:
        wheel = here.wheel(WHEEL)
        here.upstream.add(*(make_wheel("paged", f"1.{number}") for number in range(PAGE_LINKS)))
        ours = stack.enter_context(here.proxy())
        url, page = file_url(wheel), page_url("paged")
        Curl(url, ca=ours.ca, proxy=ours.url).result()
        here.settle(ours)
        answer = fetch(ours.port, page, ca=ours.ca, headers={"Accept": PIP_ACCEPT})
        saved = here.folder / "page.json"
        saved.write_bytes(answer.body)
        here.upstream.serve(f"/{wheel.path}", Path(str(wheel.data)))
        here.upstream.serve("/simple/paged/", saved, JSON_TYPE)
        peers = [Peer(name="this proxy, a hit", ca=ours.ca, pid=ours.pid, proxy=ours.url)]
        answers = {f"/{wheel.quoted_path}": (Path(str(wheel.data)), "application/octet-stream")}
        answers["/simple/paged/"] = (saved, JSON_TYPE)
        flows = stack.enter_context(flow_proxy(here.new_folder(), answers))
        peers.append(Peer(name="the same mitmdump, `flow.response`", ca=flows.ca, pid=flows.pid, proxy=flows.url))
        if NGINX:
            nginx = stack.enter_context(nginx_cache(here.new_folder(), here.upstream.origin))
            peers.append(
                Peer(
                    name="nginx, TLS reverse cache", ca=nginx.ca, pid=nginx.worker, connect_to=f"127.0.0.1:{nginx.port}"
                )
            )
        _wheels(peers, url, arguments.repeat)
        _pages(peers, page, len(answer.body), arguments.repeat)
        if arguments.profile and PY_SPY:
            _profiles(ours, url, page)


def _wheels(peers: list[Peer], url: str, repeat: int) -> None:
    for number in range(repeat + 1):  # the first of each is for warming up
        for peer in peers:
            if number == 1:
                reset_peak(peer.pid)
            before = sum(cpu_seconds(peer.pid))
            got = Curl(url, ca=peer.ca, proxy=peer.proxy, connect_to=peer.connect_to).result()
            if number:
                peer.rates.append(got.rate)
                peer.costs.append(sum(cpu_seconds(peer.pid)) - before)
                peer.peak = memory(peer.pid, "VmHWM")
    _print("One 200 MB wheel, a hit", "throughput", "MB/s", 1 / MB, peers, "CPU s a wheel")


def _pages(peers: list[Peer], url: str, size: int, repeat: int) -> None:
    for peer in peers:
        peer.rates.clear()
        peer.costs.clear()
    for number in range(repeat + 1):
        for peer in peers:
            if number == 1:
                reset_peak(peer.pid)
            with _connected(peer, url) as wires:
                before = sum(cpu_seconds(peer.pid))
                rate = requests_a_second(wires, url, SECONDS if number else 0.5)
                if number:
                    peer.rates.append(rate)
                    peer.costs.append((sum(cpu_seconds(peer.pid)) - before) / (rate * SECONDS) * 1000)
                    peer.peak = memory(peer.pid, "VmHWM")
    title = f"Index pages of {size / 1000:.0f} kB, {CONNECTIONS} connections, a hit"
    _print(title, "requests", "/s", 1, peers, "CPU ms a page")


def _print(title: str, what: str, unit: str, scale: float, peers: list[Peer], cost: str) -> None:
    ours = tools.median(peers[0].rates)
    tools.table(
        title,
        ("", what, "this proxy's ratio to it", cost, "peak memory"),
        [
            (
                peer.name,
                spread(peer.rates, unit, scale=scale),
                f"{ours / tools.median(peer.rates):.2f} ×",
                spread(peer.costs, digits=2),
                f"{peer.peak / MB:.0f} MB",
            )
            for peer in peers
        ],
    )


@contextmanager
def _connected(peer: Peer, url: str) -> Iterator[list[Wire]]:
    """So many connections to a peer, each of which has had its first answer."""
    with ExitStack() as stack:
        wires = []
        for _ in range(CONNECTIONS):
            if peer.connect_to:
                straight = f"https://localhost:{peer.connect_to.rpartition(':')[2]}/"
                wire = Wire(0, straight, ca=peer.ca, via="direct")
                wire.authority = INDEX_HOST
            else:
                assert peer.proxy
                wire = Wire(int(peer.proxy.rpartition(":")[2]), url, ca=peer.ca)
            wires.append(stack.enter_context(wire))
        yield wires


def _profiles(ours: Proxy, url: str, page: str) -> None:
    with Spy(ours.pid) as spy:
        for _ in range(10):
            Curl(url, ca=ours.ca, proxy=ours.url).result()
    tools.shares("Where a hit's time goes: 200 MB wheels", spy)
    peer = Peer(name="", ca=ours.ca, pid=ours.pid, proxy=ours.url)
    with _connected(peer, page) as wires, Spy(ours.pid) as spy:
        requests_a_second(wires, page, 8)
    tools.shares("Where a hit's time goes: index pages", spy)


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=7, profile="also sample this proxy with py-spy (if installed)")
