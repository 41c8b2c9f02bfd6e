"""`kill -9` of a worker under load: what its clients see, and that pip and uv see nothing of it.

Each request that fails is one of the killed worker's: on a connection whose `Via` has named it, or reset before the first byte of its
answer within a second of a kill. No byte is wrong, and no file that a client had whole is lost. tests/bench/worker_kills.py does the same
50 times.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from pkgcache.proxy.workers.listening import why_impossible
from tests.support.authority import Authority
from tests.support.clients import PIP_ENV, UV_ENV, Way
from tests.support.names import file_url
from tests.support.proxy import Proxy, worker_of
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched, Wire, fetch

pytestmark = pytest.mark.skipif(why_impossible() is not None, reason=f"{why_impossible()}")

RESET_SECONDS: Final = 10.0
"""How long after a kill a client may notice. It is a second where nothing else runs: see tests/bench/worker_kills.py."""

PIPS_OWN_RETRIES: Final = {"PIP_RETRIES": "5"}
MOST_ON_A_CONNECTION: Final = 8


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed: when, the process that its connection's `Via` has named (0: none yet), and whether its answer had begun."""

    at: float
    pid: int
    has_begun: bool
    what: str


@dataclass(slots=True)
class Seen:
    """All that happened."""

    kills: list[tuple[float, int]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    whole: dict[str, ReleaseFile] = field(default_factory=dict)
    requests: int = 0
    slowest: float = 0.0
    installs: list[tuple[str, int, str]] = field(default_factory=list)

    def unexplained(self, seconds: float) -> list[Failure]:
        """The failures that no kill explains: of another worker's connection, or reset later than so many seconds after a kill."""

        def is_explained(failure: Failure) -> bool:
            if failure.pid:
                return any(pid == failure.pid for _, pid in self.kills)
            return not failure.has_begun and any(0 <= failure.at - at <= seconds for at, _ in self.kills)

        return [failure for failure in self.failures if not is_explained(failure)]


class Load:
    """Clients that ask for files, on connections that they keep for a while. A context manager: they stop at its end."""

    def __init__(self, proxy: Proxy, releases: Sequence[ReleaseFile], clients: int) -> None:
        self.seen = Seen()
        self.proxy = proxy
        self._releases = releases
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._use, args=(seed,)) for seed in range(clients)]

    @contextmanager
    def running(self) -> Iterator[Seen]:
        for thread in self._threads:
            thread.start()
        try:
            yield self.seen
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    def kill(self, source: random.Random) -> None:
        """SIGKILL to one of the workers that there are just now."""
        assert self.proxy.alive, self.proxy.output[-3000:]
        children = Path(f"/proc/{self.proxy.pid}/task/{self.proxy.pid}/children").read_text().split()
        if children:
            pid = int(source.choice(children))
            self.seen.kills.append((time.monotonic(), pid))
            os.kill(pid, signal.SIGKILL)

    def _use(self, seed: int) -> None:
        source = random.Random(seed)
        while not self._over.is_set():
            pid, has_begun, what = 0, False, "connecting"
            try:
                with Wire(
                    self.proxy.port, "https://" + file_url(self._releases[0]).split("/")[2], ca=self.proxy.ca
                ) as wire:
                    for _ in range(source.randint(1, MOST_ON_A_CONNECTION)):
                        release = self._releases[int(len(self._releases) * source.random() ** 2)]
                        what, has_begun = release.filename, False
                        answer = wire.request(file_url(release), keep=False)
                        has_begun = True
                        pid = worker_of(answer)[1]
                        self._note(release, answer)
                        if not answer.complete:
                            raise ConnectionError(answer.error)
            except OSError as error:
                with self._lock:
                    self.seen.failures.append(Failure(time.monotonic(), pid, has_begun, f"{what}: {error!r}"))

    def _note(self, release: ReleaseFile, answer: Fetched) -> None:
        with self._lock:
            self.seen.requests += 1
            self.seen.slowest = max(self.seen.slowest, answer.first_byte)
            if answer.status != 200 or (answer.complete and answer.sha256 != release.sha256):
                self.seen.wrong.append(
                    f"{release.filename}: {answer.status}, {answer.size} bytes {answer.body[:200]!r}"
                )
            elif answer.complete:
                self.seen.whole[release.filename] = release


def install_again_and_again(load: Load, way: Way, homes: Path, requirement: str, over: threading.Event) -> None:
    """A new agent each time, with the client's own retries."""
    number = 0
    while not over.is_set() or not number:
        number += 1
        home = homes / f"{way.tool}-{number}"
        home.mkdir(parents=True)
        done = way.install(load.proxy, home, [requirement], home / "target", env=PIPS_OWN_RETRIES)
        load.seen.installs.append((way.tool, done.returncode, str(done)))


def kill_under_load(
    proxy: Proxy, upstream: Upstream, folder: Path, *, kills: int, files: int, clients: int, pause: tuple[float, float]
) -> Seen:
    """So many kills at random moments, while clients, pip and uv are at work. The upstream is down afterwards."""
    source = random.Random(kills)
    releases = [
        make_wheel(f"file-{number}", payload_size=source.randint(1000, 400_000), seed=number) for number in range(files)
    ]
    needed = make_wheel("needed", payload_size=300_000)
    upstream.add(*releases, needed, make_wheel("wanted", requires=("needed",)))
    load, over = Load(proxy, releases, clients), threading.Event()
    proxy.worker_pids()
    assert proxy.bundle.exists()
    installers = [
        threading.Thread(target=install_again_and_again, args=(load, way, folder, "wanted", over))
        for way in (PIP_ENV, UV_ENV)
    ]
    with load.running() as seen:
        for each in installers:
            each.start()
        for _ in range(kills):
            time.sleep(source.uniform(*pause))
            load.kill(source)
        over.set()
        for each in installers:
            each.join()
    return seen


def lost(proxy: Proxy, upstream: Upstream, seen: Seen) -> list[str]:
    """Which files some client had whole, and the store has not."""
    upstream.down()
    missing = []
    for name, release in seen.whole.items():
        with suppress(OSError):
            answer = fetch(proxy.port, file_url(release), ca=proxy.ca, keep=False)
            if (answer.status, answer.sha256) == (200, release.sha256):
                continue
        missing.append(name)
    return missing


def test_every_failure_is_the_killed_workers(ca: Authority, tmp_path: Path) -> None:
    with Upstream(ca) as upstream:
        options = {"pypi_cache_index": [f"pypi={upstream.index_url}"]}
        with Proxy(tmp_path / "proxy", options=options, upstream_ca=ca.bundle, workers=2) as proxy:
            seen = kill_under_load(proxy, upstream, tmp_path / "agents", kills=2, files=20, clients=2, pause=(0.4, 0.8))
            assert seen.wrong == []
            assert seen.unexplained(RESET_SECONDS) == []
            assert [install for install in seen.installs if install[1]] == []
            assert {tool for tool, _, _ in seen.installs} == {"pip", "uv"}
            assert seen.requests > len(seen.failures)
            assert lost(proxy, upstream, seen) == []
            assert not proxy.complaints, proxy.complaints
