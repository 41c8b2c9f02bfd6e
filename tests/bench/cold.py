"""Cold: 200 MB through the proxy against straight from the same upstream, paced at 100 MB/s and unpaced, and what it is made of.

Each time the proxy is a new process with an empty store that has answered one small request, as a proxy in use would have.
"""

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from tests.bench import tools
from tests.bench.peers import NGINX, nginx_files
from tests.bench.spy import PY_SPY, Spy
from tests.bench.tools import MB, Curl, Stage, Transfer, cpu_seconds, median, note, spread, stage
from tests.support.names import file_url
from tests.support.wheels import ReleaseFile

WHEEL: Final = 200 * MB
PACE: Final = 100 * MB
PIECE: Final = 128 * 1024
"""About what a fill gets at a time."""


def run(arguments: argparse.Namespace) -> None:
    """The tables."""
    with stage() as here, ExitStack() as stack:
        wheel = here.wheel(WHEEL)
        here.upstream.pace(PACE)
        _compare(here, wheel, here.upstream.file_url(wheel), "paced at 100 MB/s", arguments)
        here.upstream.pace(None)
        if not NGINX:
            _compare(here, wheel, here.upstream.file_url(wheel), "scripted, unpaced", arguments)
        else:
            root = here.new_folder()
            _lay_out(root, wheel, Path(str(wheel.data)))
            _lay_out(root, here.small, here.small.content)
            nginx = stack.enter_context(nginx_files(here.new_folder(), root))
            url = f"{nginx.origin}/pypi/{wheel.quoted_path}"
            _compare(here, wheel, url, "nginx, unpaced", arguments, index=f"{nginx.origin}/pypi/simple/", ca=nginx.ca)
        _parts(here, wheel, arguments.repeat)


def _compare(
    here: Stage,
    wheel: ReleaseFile,
    straight: str,
    name: str,
    arguments: argparse.Namespace,
    *,
    index: str | None = None,
    ca: Path | None = None,
) -> None:
    trust = ca or here.authority.bundle
    pairs: list[tuple[Transfer, Transfer]] = []
    loops, threads = [], []
    for number in range(arguments.repeat):
        with here.proxy(index=index, ca=ca) as proxy:
            direct = Curl(straight, ca=trust).result()
            before = cpu_seconds(proxy.pid)
            cold = Curl(file_url(wheel), ca=proxy.ca, proxy=proxy.url).result()
            after = cpu_seconds(proxy.pid)
            pairs.append((direct, cold))
            loops.append(after[0] - before[0])
            threads.append(after[1] - before[1])
            note(f"{name}, {number + 1}: straight {direct.total:.2f} s, through the proxy {cold.total:.2f} s")
    tools.table(
        f"One cold 200 MB wheel; upstream {name}",
        ("", "straight", "through the proxy", "difference"),
        [
            (
                "total time",
                spread([direct.total for direct, _ in pairs], "s", 2),
                spread([cold.total for _, cold in pairs], "s", 2),
                f"{median(cold.total / direct.total for direct, cold in pairs):.2f} ×",
            ),
            (
                "first byte",
                spread([direct.first_byte for direct, _ in pairs], "ms", 0, 1000),
                spread([cold.first_byte for _, cold in pairs], "ms", 0, 1000),
                f"{median((cold.first_byte - direct.first_byte) * 1000 for direct, cold in pairs):+.0f} ms",
            ),
            (
                "throughput",
                spread([direct.rate for direct, _ in pairs], "MB/s", 0, 1 / MB),
                spread([cold.rate for _, cold in pairs], "MB/s", 0, 1 / MB),
                f"{median(cold.rate / direct.rate for direct, cold in pairs):.2f} ×",
            ),
            ("proxy's processor time, event loop", "", spread(loops, "s", 2), ""),
            ("proxy's processor time, threads (hash, write)", "", spread(threads, "s", 2), ""),
        ],
    )
    if arguments.profile and PY_SPY and "unpaced" in name:
        with here.proxy(index=index, ca=ca) as proxy:
            with Spy(proxy.pid) as spy:
                Curl(file_url(wheel), ca=proxy.ca, proxy=proxy.url).result()
                time.sleep(1)
            tools.shares("Where a cold file's time goes (all threads)", spy)


def _parts(here: Stage, wheel: ReleaseFile, repeat: int) -> None:
    """What the parts cost by themselves, one after the other in one thread: the floor under a cold file."""
    path = Path(str(wheel.data))
    parts: dict[str, Callable[[], object]] = {
        "read it from the page cache": lambda: _each_piece(path, lambda _: None),
        "BLAKE2b of it": lambda: _hash(path),
        "write it": lambda: _write(here.folder, path, sync=False),
    }
    rows = []
    for name, work in parts.items():
        seconds = []
        for _ in range(repeat):
            started = time.monotonic()
            work()
            seconds.append(time.monotonic() - started)
        rows.append((name, spread(seconds, "s", 2)))
    syncs = [_write(here.folder, path) for _ in range(repeat)]
    rows.append(("fsync after that", spread(syncs, "s", 2)))
    tools.table(f"200 MB in pieces of {PIECE // 1024} KiB, outside the proxy", ("", "time"), rows)


def _each_piece(path: Path, work: Callable[[bytes], object]) -> None:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            work(piece)


def _hash(path: Path) -> None:
    _each_piece(path, hashlib.blake2b(digest_size=32).update)


def _write(folder: Path, path: Path, *, sync: bool = True) -> float:
    """A copy; gives the seconds of the fsync at its end."""
    with closing(tempfile.NamedTemporaryFile(dir=folder, buffering=0)) as file:
        _each_piece(path, file.write)
        started = time.monotonic()
        if sync:
            os.fsync(file.fileno())
        return time.monotonic() - started


def _lay_out(root: Path, release: ReleaseFile, data: Path | bytes) -> None:
    """Put a release file where a mirror has it."""
    target = root / "pypi" / release.path
    target.parent.mkdir(parents=True)
    if isinstance(data, Path):
        target.hardlink_to(data)
    else:
        target.write_bytes(data)


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=5, profile="also sample an unpaced fill with py-spy (if installed)")
