"""200 installs through a store on a file system of 64 MB: no failed client, the trouble told once, and over when its cause is gone.

Half the way in, something else fills the disk for a while. Needs a mount, which root may make (Linux): without it says so and ends.
"""

import argparse
import json
import logging
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench import tools
from tests.bench.tools import MB, note, spread, stage
from tests.support.clients import pip_install
from tests.support.index import JSON_TYPE
from tests.support.names import file_url, page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import fetch

INSTALLS: Final = 200
WHEELS: Final = 4
SIZES: Final = (10_000, 10_000, 100_000, 400_000, 1 * MB, 3 * MB, 8 * MB, 15 * MB, 30 * MB)
DISK_MB: Final = 64
AT_ONCE: Final = 4
REAL: Final = 10
"""Each tenth install is a real pip's."""


@dataclass(frozen=True, slots=True)
class Install:
    """A project and what it needs."""

    number: int
    wheels: tuple[ReleaseFile, ...]


@dataclass(slots=True)
class Seen:
    """What became of the installs."""

    seconds: list[float] = field(default_factory=list)
    by_pip: int = 0
    files: int = 0
    hits: int = 0
    bytes: int = 0
    failed: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def run(arguments: argparse.Namespace) -> None:
    """One table."""
    logging.getLogger("asyncio").setLevel(
        logging.ERROR
    )  # the mirror's, about downloads that find no room and are broken off
    with stage() as here, small_disk(here.folder / "disk") as disk:
        if disk is None:
            return
        installs = _publish(here.upstream, here.folder / "wheels", arguments.installs)
        options = {"pypi_cache_dir": str(disk / "store")}
        with here.proxy(options=options) as proxy:
            seen = Seen()
            half = len(installs) // 2
            _install_all(proxy, installs[:half], seen)
            calm = _trouble(proxy)
            with _filled(disk):
                _wait(lambda: "disk" in _trouble(proxy), 60)
                _install_all(proxy, installs[half : half + half // 4], seen)
                line = _trouble(proxy).get("disk", "")
                metric = "pypi_cache_store_trouble 1.0" in proxy.get("/metrics").body.decode()
            over = _wait(lambda: not _trouble(proxy))
            _install_all(proxy, installs[half + half // 4 :], seen)
            kept = _is_kept(proxy, installs[-1].wheels[0])
            output = proxy.output
            told = sum("cannot be written: " in line or " has trouble: " in line for line in output.splitlines())
            assert not proxy.complaints, output
    rows = [
        ("installs, of them by pip", f"{len(seen.seconds)}, {seen.by_pip}"),
        ("files, of them hits", f"{seen.files:,}, {seen.hits:,}"),
        ("bytes", f"{seen.bytes / MB:,.0f} MB through {DISK_MB} MB"),
        ("failed", "; ".join(seen.failed[:5]) or "0"),
        ("seconds an install", spread(seen.seconds, "s", 2)),
        ("trouble before the disk was full", "; ".join(calm.values()) or "none"),
        ("while it was: on /healthz, metric", f"{line or 'nothing'!r}, {'shown' if metric else 'not shown'}"),
        (
            "lines of the log about it, about its end",
            f"{told}, {output.count('disk works again')}",
        ),
        ("afterwards", f"{'no trouble' if over else 'still trouble'}; a new file is {'kept' if kept else 'not kept'}"),
    ]
    tools.table(f"{len(installs)} installs through a disk of {DISK_MB} MB", ("what", "figure"), rows)
    if seen.failed or not (line and metric and over and kept and told == 1):
        sys.exit("it does not hold")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of 64 MB; None, and a line, where none can be mounted."""
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        why = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        why = str(error)
    if why:
        print(f"\nLeft out: no file system of {DISK_MB} MB can be mounted here ({why}); run it as root on Linux.")
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def _filled(disk: Path) -> Iterator[None]:
    """Something takes all that is left, again and again: the store gives way until it has nothing more to give."""
    over = threading.Event()
    path = disk / "ballast"

    def fill() -> None:
        with path.open("wb", buffering=0) as file:
            while not over.wait(0.2):
                with suppress(OSError):
                    while file.write(bytes(MB // 4)):
                        pass

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        path.unlink()


def _publish(upstream: Upstream, folder: Path, count: int) -> list[Install]:
    """Installs that share a part of what they need, as those of one team do."""
    source = random.Random(64)
    shared = [make_wheel(f"shared-{n}", payload_size=source.choice(SIZES), seed=n, folder=folder) for n in range(20)]
    upstream.add(*shared)
    installs = []
    for number in range(count):
        own = [
            make_wheel(
                f"own-{number}-{n}", payload_size=source.choice(SIZES), seed=1000 + number * WHEELS + n, folder=folder
            )
            for n in range(WHEELS - 2)
        ]
        upstream.add(*own)
        installs.append(Install(number, (*own, *source.sample(shared, 2))))
    return installs


def _install_all(proxy: Proxy, installs: Sequence[Install], seen: Seen) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda install: _install(proxy, install, seen), installs):
            pass


def _install(proxy: Proxy, install: Install, seen: Seen) -> None:
    began = time.monotonic()
    by_pip = install.number % REAL == 0
    failed = _by_pip(proxy, install) if by_pip else _by_hand(proxy, install, seen)
    with seen.lock:
        seen.seconds.append(time.monotonic() - began)
        seen.by_pip += by_pip
        seen.files += len(install.wheels)
        seen.bytes += sum(wheel.size for wheel in install.wheels)
        seen.failed += [f"{install.number}: {each}" for each in failed]
    for each in failed:
        note(f"{install.number}: {each}")


def _by_pip(proxy: Proxy, install: Install) -> list[str]:
    """A pip that tries nothing twice. Its wheels name nothing that they need, so it installs just these."""
    home = proxy.folder / f"agent-{install.number}"
    env = {"HTTPS_PROXY": proxy.url, "PIP_CERT": str(proxy.bundle), "PIP_RETRIES": "0"}
    words = [wheel.project for wheel in install.wheels]
    done = pip_install(home, words, home / "target", args=("--no-cache-dir",), env=env)
    shutil.rmtree(home)
    return [f"pip: exit {done.returncode}: {done.stderr[-300:]}"] if done.returncode else []


def _by_hand(proxy: Proxy, install: Install, seen: Seen) -> list[str]:
    failed = []
    for wheel in install.wheels:
        try:
            page = fetch(proxy.port, page_url(wheel.project), ca=proxy.ca, headers={"Accept": JSON_TYPE})
            if page.status != 200 or wheel.blake2b[4:].encode() not in page.body:
                failed.append(f"page of {wheel.project}: {page.status} {page.body[:200]!r}")
            answer = fetch(proxy.port, file_url(wheel), ca=proxy.ca, keep=False)
        except OSError as error:
            failed.append(f"{wheel.filename}: {error!r}")
            continue
        if (answer.status, answer.complete, answer.sha256) != (200, True, wheel.sha256):
            failed.append(f"{wheel.filename}: {answer.status} {answer.error or 'wrong bytes'}")
        with seen.lock:
            seen.hits += "; hit" in (answer.headers["Cache-Status"] or "")
    return failed


def _trouble(proxy: Proxy) -> dict[str, str]:
    found: dict[str, str] = json.loads(proxy.get("/healthz").body)["trouble"]
    return found


def _is_kept(proxy: Proxy, wheel: ReleaseFile) -> bool:
    for _ in range(20):
        answer = fetch(proxy.port, file_url(wheel), ca=proxy.ca, keep=False)
        if "; hit" in (answer.headers["Cache-Status"] or ""):
            return True
        time.sleep(0.2)
    return False


def _wait(holds: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _further(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--installs", type=int, default=INSTALLS, help="(default: %(default)s)")


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=1, further=_further)
