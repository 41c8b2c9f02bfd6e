"""A crowd at one index: 70 stalled readers and 200 abandoned downloads there, while pip installs from another one, cold.

The crowd's upstream stops again and again, so that what it has begun stays under way. pip's time beside the crowd is compared with pip
alone, each time on a new proxy, in turns.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.bench import tools
from tests.bench.tools import MB, median, note, spread
from tests.support import clients
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Wire

STALLED: Final = 70
ABANDONED: Final = 200
WANTED: Final = [f"wanted-{number}" for number in range(8)]
STALLS_AFTER: Final = 20_000
"""Bytes after which each of the abandoned downloads stops for six seconds: less than what counts as an upstream's failure.

Not a pace: `Behaviour.pace` of 2 kB/s for each is 12,800 pieces a second, and then the processor is what is measured.
"""


def run(arguments: argparse.Namespace) -> None:
    """One table."""
    alone: list[float] = []
    beside: list[float] = []
    held: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ca = Authority(folder)
        well, crowded = (stack.enter_context(Upstream(ca)) for _ in range(2))
        well.add(*(make_wheel(name, payload_size=MB, seed=seed) for seed, name in enumerate(WANTED)))
        big = make_wheel("big", payload_size=64 * MB, seed=99)
        small = [make_wheel(f"left-{number}", payload_size=300_000, seed=number) for number in range(ABANDONED)]
        crowded.add(big, *small)
        crowded.script(Behaviour("/left_", stall_after=STALLS_AFTER, stall_for=6))
        options = {"pypi_cache_index": [f"pypi={well.index_url}", f"crowded={crowded.index_url}"]}
        for number in range(arguments.repeat):
            for times, crowd in ((alone, False), (beside, True)):
                here = folder / f"{number}-{crowd}"
                with Proxy(here / "proxy", options=options, upstream_ca=ca.bundle) as proxy, ExitStack() as inner:
                    if crowd:
                        inner.enter_context(_crowd(proxy, crowded, big, small))
                    times.append(_install(proxy, here))
                    trouble = json.loads(proxy.get("/healthz").body)["trouble"]
                    if crowd:
                        held.append(f"{crowded.peak} at once, trouble {trouble or 'none'}")
                    assert not proxy.complaints, proxy.complaints
                note(f"{number + 1}: {'beside the crowd' if crowd else 'alone'} {times[-1]:.2f} s")
    rows = [
        (
            f"{STALLED} stalled, {ABANDONED} abandoned",
            spread(alone, "s", 2),
            spread(beside, "s", 2),
            f"{median(one / other for one, other in zip(beside, alone, strict=True)):.2f} ×",
            "; ".join(dict.fromkeys(held)),
        )
    ]
    tools.table(
        "A crowd at one index, and a cold pip at another",
        ("crowd", "pip alone", "pip beside it", "beside : alone", "the crowded upstream's requests, /healthz"),
        rows,
    )


def _install(proxy: Proxy, folder: Path) -> float:
    home = folder / "home"
    home.mkdir(parents=True)
    began = time.monotonic()
    clients.PIP_PROXY.install(proxy, home, WANTED, folder / "target", args=["--no-deps"]).ok()
    return time.monotonic() - began


@contextmanager
def _crowd(proxy: Proxy, crowded: Upstream, big: ReleaseFile, small: Sequence[ReleaseFile]) -> Iterator[None]:
    """Readers that read nothing, and clients that have left as soon as their downloads had begun."""

    def url(release: ReleaseFile) -> str:
        return f"{proxy.url}/crowded/files/https/localhost:{crowded.port}{crowded.prefix}/{release.quoted_path}"

    crowded.clear()
    with ExitStack() as stack:
        for _ in range(STALLED):
            reader = stack.enter_context(Wire(proxy.port, url(big), via="own", receive_buffer=4096))
            reader.send(url(big))
        leavers = [stack.enter_context(Wire(proxy.port, url(release), via="own")) for release in small]
        for leaver, release in zip(leavers, small, strict=True):
            leaver.send(url(release))
        crowded.wait_for(20, path_contains="/left_")
        time.sleep(1)
        for leaver in leavers:
            leaver.close()
        time.sleep(1)
        yield


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=3)
