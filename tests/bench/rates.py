"""Small hits at full speed: 400 index pages of 28 kB on kept connections, and a new connection for each request; beside named peers.

The pages are asked for in turn with 16 clients' headers, so that a memory of whole answers gains nothing. wrk is the load (a C program);
socat makes its CONNECTs. What counts is processor time a request: it stays the same where the machine is noisy.
"""

import argparse
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench import tools
from tests.bench.load import PIP_ACCEPT
from tests.bench.peers import NGINX, flow_proxy, nginx_cache
from tests.bench.squid import AVAILABLE as SQUID_AVAILABLE
from tests.bench.squid import Squid
from tests.bench.tools import Stage, cpu_seconds, note, spread, stage
from tests.support.index import JSON_TYPE
from tests.support.names import INDEX_HOST, page_url
from tests.support.wheels import make_wheel
from tests.support.wire import fetch

PAGES: Final = 400
CLIENTS: Final = 16
LINKS: Final = 47
CONNECTIONS: Final = 8
LOAD_PROGRAMS: Final = ("wrk", "socat")

_LUA: Final = """
local asked = 0
local threads = 0
function setup(thread) threads = threads + 1; thread:set("seed", threads * 131) end
request = function()
  asked = asked + 1
  local headers = {["Host"] = "%(host)s", ["Accept"] = "%(accept)s", ["User-Agent"] = "pip/25." .. ((asked * 5 + seed) %% %(clients)d)}
  %(more)s
  return wrk.format("GET", "/simple/proj" .. ((asked * 7 + seed) %% %(pages)d) .. "/", headers)
end
"""


@dataclass(slots=True, kw_only=True)
class Measured:
    """A peer: where its CONNECTs go (or its own TLS port), whose processor time counts, and what was measured."""

    name: str
    pid: int
    connect: int = 0
    direct: int = 0
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)


def run(arguments: argparse.Namespace) -> None:
    """Both tables."""
    missing = [program for program in LOAD_PROGRAMS if shutil.which(program) is None]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}")
    with stage() as here, ExitStack() as stack:
        peers = _peers(here, stack)
        for closes in (False, True):
            if closes:
                peers = [peer for peer in peers if peer.connect]
            for peer in peers:
                peer.rates, peer.costs = [], []
            for number in range(arguments.repeat + 1):  # the first of each is for warming up
                for peer in peers:
                    _measure(peer, here.folder, arguments.seconds, closes=closes, counts=number > 0)
            _print("A new connection for each request" if closes else "Kept connections", peers)


def _peers(here: Stage, stack: ExitStack) -> list[Measured]:
    """Everybody, with all pages in their caches."""
    here.upstream.add(*(make_wheel("paged", f"1.{number}") for number in range(LINKS)))
    ours = stack.enter_context(here.proxy())
    document = json.loads(fetch(ours.port, page_url("paged"), ca=ours.ca, headers={"Accept": PIP_ACCEPT}).body)
    answers: dict[str, tuple[Path, str]] = {}
    for number in range(PAGES):
        name = f"proj{number}"
        saved = here.folder / f"{name}.json"
        saved.write_text(json.dumps({**document, "name": name}))
        answers[f"/simple/{name}/"] = (saved, JSON_TYPE)
        for prefix in ("/pypi", ""):
            here.upstream.serve(f"{prefix}/simple/{name}/", saved, JSON_TYPE, Cache_Control="max-age=86400")
    peers = [Measured(name="this proxy", pid=ours.pid, connect=ours.port)]
    for number in range(PAGES):
        fetch(ours.port, page_url(f"proj{number}"), ca=ours.ca, headers={"Accept": PIP_ACCEPT})
    flows = stack.enter_context(flow_proxy(here.new_folder(), answers))
    peers.append(Measured(name="the same mitmdump, `flow.response`", pid=flows.pid, connect=flows.port))
    if SQUID_AVAILABLE:
        port = int(here.upstream.origin.rpartition(":")[2])
        squid = stack.enter_context(Squid(here.new_folder(), port, here.authority.bundle))
        peers.append(Measured(name="Squid, ssl-bump", pid=squid.process.pid, connect=squid.port))
    else:
        note("no Squid: Debian's package squid-openssl is not installed")
    if NGINX:
        nginx = stack.enter_context(nginx_cache(here.new_folder(), here.upstream.origin))
        peers.append(Measured(name="nginx, TLS reverse cache", pid=nginx.worker, direct=nginx.port))
    else:
        note("no nginx")
    return peers


def _measure(peer: Measured, folder: Path, seconds: int, *, closes: bool, counts: bool) -> None:
    script = folder / "load.lua"
    more = 'headers["Connection"] = "close"' if closes else ""
    script.write_text(
        _LUA % {"host": INDEX_HOST, "accept": PIP_ACCEPT, "clients": CLIENTS, "pages": PAGES, "more": more}
    )
    with _tls_port(peer) as port:
        before = sum(cpu_seconds(peer.pid))
        words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), f"https://127.0.0.1:{port}/"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        used = sum(cpu_seconds(peer.pid)) - before
    found = re.search(r"(\d+) requests in ([\d.]+)s", said)
    if found is None or int(found[1]) == 0:
        raise RuntimeError(f"{peer.name}: {said}")
    if wrong := re.search(r"Non-2xx.*", said):
        raise RuntimeError(f"{peer.name}: {wrong[0]}")
    if counts:
        peer.rates.append(int(found[1]) / float(found[2]))
        peer.costs.append(used / int(found[1]) * 1000)


@contextmanager
def _tls_port(peer: Measured) -> Iterator[int]:
    """A port on which TLS can be begun at once."""
    if peer.direct:
        yield peer.direct
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=128,nodelay"
    through = f"PROXY:127.0.0.1:{INDEX_HOST}:443,proxyport={peer.connect},nodelay"
    with subprocess.Popen(["socat", "-b", "131072", listen, through], stderr=subprocess.DEVNULL) as process:
        try:
            time.sleep(0.3)
            yield port
        finally:
            process.kill()


def _print(title: str, peers: list[Measured]) -> None:
    ours = peers[0]
    tools.table(
        f"{title}: {PAGES} pages of 28 kB, {CLIENTS} clients' headers, {CONNECTIONS} at a time",
        ("", "requests", "processor ms a request", "this proxy's, as a multiple of it"),
        [
            (
                peer.name,
                spread(peer.rates, "/s"),
                spread(peer.costs, digits=3),
                f"{tools.median(ours.costs) / tools.median(peer.costs):.2f} ×",
            )
            for peer in peers
        ],
    )


if __name__ == "__main__":
    tools.main(
        run,
        __doc__,
        repeat=3,
        further=lambda parser: parser.add_argument("--seconds", type=int, default=5, help="of each round"),
    )
