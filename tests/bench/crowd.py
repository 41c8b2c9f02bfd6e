"""A crowd at one index: 70 stalled readers and 200 abandoned downloads there, while pip installs from another one, cold.

The crowd's upstream either stops again and again or drips in tiny pieces, so that what it has begun stays under way. pip's time beside
each crowd is compared with pip alone, each time on a new proxy, in turns. The crowd's upstream is a process of the lowest priority:
its work would be another machine's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

from tests.bench import tools
from tests.bench.tools import MB, median, note, processor_seconds, spread
from tests.support import clients
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel
from tests.support.wire import Wire

STALLED: Final = 70
ABANDONED: Final = 200
WANTED: Final = [f"wanted-{number}" for number in range(8)]
CROWDS: Final = {
    "stops": Behaviour("/left_", stall_after=20_000, stall_for=6),  # six seconds are less than an upstream's failure
    "drips": Behaviour("/left_", pace=2000.0),  # 40 bytes fifty times a second, of each
}


def run(arguments: argparse.Namespace) -> None:
    """One table."""
    times: dict[str, list[float]] = {name: [] for name in ("alone", *CROWDS)}
    held: dict[str, list[str]] = {name: [] for name in CROWDS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ca = Authority(folder)
        well = stack.enter_context(Upstream(ca))
        well.add(*(make_wheel(name, payload_size=MB, seed=seed) for seed, name in enumerate(WANTED)))
        crowds = {name: stack.enter_context(CrowdedUpstream(folder / name, name)) for name in CROWDS}
        trusted = folder / "all.pem"
        trusted.write_bytes(b"".join(one.read_bytes() for one in (ca.bundle, *(c.bundle for c in crowds.values()))))
        for number in range(arguments.repeat):
            for name, taken in times.items():
                here = folder / f"{number}-{name}"
                crowd = crowds.get(name)
                indexes = [f"pypi={well.index_url}", *([f"crowded={crowd.index_url}"] if crowd else [])]
                with (
                    Proxy(here / "proxy", options={"pypi_cache_index": indexes}, upstream_ca=trusted) as proxy,
                    ExitStack() as inner,
                ):
                    if crowd:
                        inner.enter_context(_crowd(proxy, crowd))
                    before = processor_seconds(proxy.pid)
                    taken.append(_install(proxy, here))
                    used = processor_seconds(proxy.pid) - before
                    trouble = json.loads(proxy.get("/healthz").body)["trouble"]
                    if crowd:
                        held[name].append(f"{crowd.figures()['peak']} at once, trouble {trouble or 'none'}")
                    assert not proxy.complaints, proxy.complaints
                note(f"{number + 1}: {name} {taken[-1]:.2f} s; the proxy's processor time {used:.2f} s")
    alone = times.pop("alone")
    rows = [
        (
            f"{STALLED} stalled, {ABANDONED} abandoned at an upstream that {name}",
            spread(alone, "s", 2),
            spread(beside, "s", 2),
            f"{median(one / other for one, other in zip(beside, alone, strict=True)):.2f} ×",
            "; ".join(dict.fromkeys(held[name])),
        )
        for name, beside in times.items()
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


class CrowdedUpstream:
    """An `Upstream` in a process of its own. A context manager."""

    def __init__(self, folder: Path, behaviour: str) -> None:
        folder.mkdir()
        self.bundle = folder / "upstream-ca.pem"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.crowd", "upstream", behaviour, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        described = self._answer()
        self.index_url: str = described["index"]
        self.files: list[str] = described["files"]
        """Beginning with the one that is read and not left."""

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def figures(self, *, clear: bool = False) -> dict[str, int]:
        """How many of the files to be left it was asked for, and how many it served at one time."""
        assert self._process.stdin is not None
        print("clear" if clear else "figures", file=self._process.stdin, flush=True)
        return self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def serve(behaviour: str, folder: Path) -> None:
    """What an upstream's process does: describe itself, then answer each line of its input with its figures."""
    os.nice(19)
    with Upstream(Authority(folder)) as upstream:
        files = [make_wheel("big", payload_size=64 * MB, seed=99)]
        files += [make_wheel(f"left-{number}", payload_size=300_000, seed=number) for number in range(ABANDONED)]
        upstream.add(*files)
        upstream.script(CROWDS[behaviour])
        urls = [f"localhost:{upstream.port}{upstream.prefix}/{release.quoted_path}" for release in files]
        print(json.dumps({"index": upstream.index_url, "files": urls}), flush=True)
        for line in sys.stdin:
            if line.strip() == "clear":
                upstream.clear()
            print(json.dumps({"asked": upstream.count(path_contains="/left_"), "peak": upstream.peak}), flush=True)


@contextmanager
def _crowd(proxy: Proxy, crowded: CrowdedUpstream) -> Iterator[None]:
    """Readers that read nothing, and clients that have left as soon as their downloads had begun."""
    big, *small = [f"{proxy.url}/crowded/files/https/{file}" for file in crowded.files]
    crowded.figures(clear=True)
    with ExitStack() as stack:
        for _ in range(STALLED):
            stack.enter_context(Wire(proxy.port, big, via="own", receive_buffer=4096)).send(big)
        leavers = [stack.enter_context(Wire(proxy.port, url, via="own")) for url in small]
        for leaver, url in zip(leavers, small, strict=True):
            leaver.send(url)
        while crowded.figures()["asked"] < 20:
            time.sleep(0.1)
        time.sleep(1)
        for leaver in leavers:
            leaver.close()
        time.sleep(1)
        yield


if __name__ == "__main__":
    if sys.argv[1:2] == ["upstream"]:
        serve(sys.argv[2], Path(sys.argv[3]))
    else:
        tools.main(run, __doc__, repeat=3)
