"""Loads by C programs, and what they and a peer took of the processor: wrk and h2load (through socat, which makes their CONNECTs), curl."""

import re
import resource
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.compare.contenders import Peer, free_port
from tests.bench.compare.figures import LOAD, PROCESSOR
from tests.bench.load import PIP_ACCEPT
from tests.bench.peers import wait_for_port
from tests.bench.tools import Curl, Transfer, processor_seconds
from tests.support.clients import bare_env
from tests.support.names import INDEX_HOST
from tests.support.wheels import ReleaseFile

PROGRAMS: Final = ("wrk", "socat", "curl", "h2load")
CLIENTS: Final = 16
"""Values of `User-Agent` that a load sends in turn: a page is asked for with so many different heads."""
RATE, BUSY, ERRORS = "requests a second", "busy, of one core", "answers missing or not 200"


@dataclass(slots=True)
class Used:
    """Seconds: on the clock, and of the processor by a peer and by the load."""

    seconds: float = 0.0
    processor: float = 0.0
    load: float = 0.0


@contextmanager
def used(peer: Peer, socat: int = 0) -> Iterator[Used]:
    """Filled in at its end. The load: children of this process that ended meanwhile, and socat."""
    found, began, before = Used(), time.monotonic(), (processor_seconds(peer.pid), _children())
    yield found
    found.seconds = time.monotonic() - began
    found.processor = processor_seconds(peer.pid) - before[0]
    found.load = _children() - before[1] + (processor_seconds(socat) if socat else 0)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """What wrk asks for: so many pages in turn, `<index>proj0/` and on, by so many connections."""

    pages: int
    connections: int = 8
    closes: bool = False
    """Each request on a new connection."""
    new_heads: bool = False
    """No two requests have the same head."""
    name: str = "proj%d"
    """Of a page, with its number."""


_LUA: Final = """
local asked = 0
request = function()
  asked = asked + 1
  local client = %(client)s
  local headers = {["Host"] = "%(host)s", ["Accept"] = "%(accept)s", ["User-Agent"] = "pip/25." .. client}
  %(more)s
  return wrk.format("GET", string.format("%(path)s%(name)s/", (asked * 7) %% %(pages)d), headers)
end
"""


def wrk(peer: Peer, folder: Path, load: Pages, seconds: float) -> dict[str, float]:
    """Requests a second, and processor time a request. Raises RuntimeError for any other answer than a 200."""
    scheme, _, rest = peer.index.partition("://")
    host, _, path = rest.partition("/")
    script = folder / "load.lua"
    values = {"host": host, "path": f"/{path}"}
    values |= {
        "client": "asked" if load.new_heads else f"((asked * 5 + math.floor(asked / {load.pages})) % {CLIENTS})",
        "accept": PIP_ACCEPT,
    }
    values |= {"more": 'headers["Connection"] = "close"' if load.closes else ""}
    script.write_text(_LUA % {**values, "pages": load.pages, "name": load.name})
    with _socat(peer) as (port, socat):
        url = f"https://127.0.0.1:{port}/" if port else f"{scheme}://{host}/"
        words = ["wrk", "-t1", f"-c{load.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s"]
        with used(peer, socat) as taken:
            said = subprocess.run(
                [*words, "-s", str(script), url], capture_output=True, text=True, check=True, timeout=seconds + 60
            ).stdout
    found = re.search(r"(\d+) requests in ([\d.]+)s", said)
    if found is None or int(found[1]) == 0 or "Non-2xx" in said:
        raise RuntimeError(f"wrk: {' '.join(said.split())[-300:]}")
    requests, seconds = int(found[1]), float(found[2])
    each = {PROCESSOR: taken.processor / requests * 1000, LOAD: taken.load / requests * 1000}
    return each | {RATE: requests / seconds, BUSY: taken.processor / seconds}


def new_connections(peer: Peer, rate: int, seconds: int, path: str) -> dict[str, float]:
    """h2load: so many new connections a second whatever becomes of them, one request each; `ERRORS` counts those without a 200."""
    count = rate * seconds
    with _socat(peer) as (port, socat):
        words = ["h2load", "--h1", f"-n{count}", f"-c{count}", f"-r{rate}", f"--connect-to=127.0.0.1:{port}"]
        with used(peer, socat) as taken:
            said = subprocess.run(
                [*words, "-H", f"Accept: {PIP_ACCEPT}", f"https://{INDEX_HOST}{path}"],
                capture_output=True, text=True, check=True, timeout=120,
            ).stdout  # fmt: skip
    found = re.search(r"status codes: (\d+) 2xx", said)
    good = int(found[1]) if found else 0
    return {PROCESSOR: taken.processor / count * 1000, LOAD: taken.load / count * 1000, ERRORS: count - good}


@contextmanager
def _socat(peer: Peer) -> Iterator[tuple[int, int]]:
    """A port on which TLS can be begun at once, and socat's process; 0 and 0 for a peer that is asked directly."""
    if not peer.proxy:
        yield 0, 0
        return
    port = free_port()
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=4096,nodelay"
    through = f"PROXY:127.0.0.1:{INDEX_HOST}:443,proxyport={peer.proxy},nodelay"
    with subprocess.Popen(["socat", "-b", "131072", listen, through], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port(port, process)
            yield port, process.pid
        finally:
            process.terminate()


def download(peer: Peer, release: ReleaseFile, *, limit_rate: int | None = None, args: Sequence[str] = ()) -> Curl:
    """A curl that asks a peer for a file."""
    return Curl(peer.file_url(release), ca=peer.ca, proxy=peer.proxy_url, limit_rate=limit_rate, args=args)


def downloads(peer: Peer, release: ReleaseFile, count: int) -> Sequence[Transfer]:
    """So many at once. Raises RuntimeError where one did not get all."""
    transfers = [each.result() for each in [download(peer, release) for _ in range(count)]]
    if any(each.size != release.size for each in transfers):
        raise RuntimeError(f"{peer.name}: answers of another size")
    return transfers


def each_page(peer: Peer, folder: Path, pages: int) -> None:
    """Ask a peer once for each page, on one connection."""
    words = ["curl", "--disable", "--silent", "--show-error", "--fail", "--http1.1", "--cacert", str(peer.ca)]
    words += ["--proxy", peer.proxy_url] if peer.proxy_url else ["--noproxy", "*"]
    words += ["--header", f"Accept: {PIP_ACCEPT}", "--output", "/dev/null", f"{peer.index}proj[0-{pages - 1}]/"]
    subprocess.run(words, check=True, capture_output=True, env=bare_env(folder), timeout=120)
