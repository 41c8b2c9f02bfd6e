"""A real `mitmdump` with the addon, as a process of its own."""

import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mitmproxy.certs import CertStore

from pkgcache.proxy.access_log import FLUSH_SECONDS
from tests.support.clients import bare_env
from tests.support.clock import VARIABLE as CLOCK
from tests.support.clock import Clock
from tests.support.forked import MITMDUMP, REPOSITORY, ForkedProcess, Program, may_fork, start_forked
from tests.support.waiting import PATIENCE, eventually
from tests.support.wire import Fetched, fetch

ADDON: Final = REPOSITORY / "addon" / "pypi_cache.py"
ALWAYS_FAST: Final = Path(__file__).parent / "always_fast.py"
PYPI_CACHE: Final = MITMDUMP.parent / "pypi-cache"
HOUR: Final = 3600.0
LAPSE: Final = 12 * HOUR
type Options = Mapping[str, str | int | bool | Sequence[str]]

FAST_WAY: Final = os.environ.get("PYPI_CACHE_TEST_FAST", "")
"""How proxies take the way of known heads: `never`, `always` (at first sight: always_fast.py), or as in use where it is not set."""


class ProxyDied(AssertionError):  # noqa: N818 - what happened, for a test's report
    """The process is gone, or never came to life; says what it printed."""


class Proxy:
    """A running proxy in a folder of its own: `store/`, `conf/`, `access.log`, `out.log`. A context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        options: Options | None = None,
        upstream_ca: Path | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        script: Path | None = ADDON,
        workers: int | None = None,
        fast_way: str = FAST_WAY,
        start: bool = True,
        timeout: float = 60,
    ) -> None:
        """`options` become `--set name=value`; a sequence is given once for each value (`pypi_cache_index`).

        `upstream_ca` is its SSL_CERT_FILE. `script=None`: mitmdump without the addon. `workers`: `pypi-cache serve` with so many.
        `fast_way`: as FAST_WAY. `timeout`: to be up.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.store = folder / "store"
        self.confdir = folder / "conf"
        self.access_log_path = folder / "access.log"
        self.output_path = folder / "out.log"
        self.ca = self.confdir / "mitmproxy-ca-cert.pem"
        self.options: dict[str, str | int | bool | Sequence[str]] = {}
        """May be changed before `restart`."""
        if script is not None:
            self.options |= {"pypi_cache_dir": str(self.store), "pypi_cache_access_log": str(self.access_log_path)}
        self.options |= options or {}
        self.args = list(args)
        self.wrapper: list[str] = []
        """Words before the command: a program that starts it in its own way. May be changed before `restart`."""
        self.env = bare_env(folder)
        if upstream_ca is not None:
            self.env["SSL_CERT_FILE"] = str(upstream_ca)
        self.clock = Clock(folder / "clock")
        self.env |= {CLOCK: str(self.clock.path)} | dict(env or {})
        self.script = script
        self.workers = workers
        self.fast_way = fast_way if script is not None else ""
        self.timeout = timeout
        self.process: subprocess.Popen[bytes] | ForkedProcess | None = None
        # Bound and never listening: keeps the port ours before the start and over restarts
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind(("127.0.0.1", 0))
        self.port: int = self._reservation.getsockname()[1]
        if start:
            self.start()

    @property
    def url(self) -> str:
        """The proxy as clients are told of it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self.process is not None, "not started"
        return self.process.pid

    def worker_pids(self) -> dict[int, int]:
        """The process ids of those workers that listen by now, by number: asked until each has answered."""
        assert self.workers is not None
        found: dict[int, int] = {}

        def ask() -> int:
            with suppress(OSError):
                found.update([worker_of(self.get("/readyz"))])
            return len(found)

        eventually(ask, lambda count: count == self.workers)
        return found

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def output(self) -> str:
        """All that it has printed so far, over restarts too."""
        return self.output_path.read_text(errors="replace") if self.output_path.exists() else ""

    @property
    def complaints(self) -> list[str]:
        """Lines of the output that tell of an error in code: ours or mitmproxy's."""
        marks = ("Traceback (most recent", "has crashed", "Addon error", "was never awaited", "never retrieved")
        return [line for line in self.output.splitlines() if any(mark in line for mark in marks)]

    @property
    def command(self) -> list[str]:
        """What is run."""
        line = [*self.wrapper, str(MITMDUMP)]
        if self.workers is not None:
            line = [*self.wrapper, str(PYPI_CACHE), "serve", "--workers", str(self.workers)]
        elif self.script is not None:
            line += ["-s", str(self.script)]
        if self.fast_way == "always":
            line += ["-s", str(ALWAYS_FAST)]
        line += ["--listen-host", "127.0.0.1", "--listen-port", str(self.port), "--set", f"confdir={self.confdir}"]
        first = {"pypi_cache_known_heads": 0} if self.fast_way == "never" else {}
        for name, value in {**first, **self.options}.items():
            for each in _values(value):
                line += ["--set", f"{name}={each}"]
        return [*line, *self.args]

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until `/healthz` answers with any status; ProxyDied where it does not come up."""
        assert not self.alive, "already running"
        if not self.confdir.exists():
            shutil.copytree(_made_ca(), self.confdir)
        self.clock.begin()
        if not self.wrapper and may_fork(self.env):
            program: Program = "mitmdump" if self.workers is None else "serve"
            arguments = self.command[1 if self.workers is None else 2 :]
            self.process = start_forked(
                arguments, env=self.env, cwd=self.folder, output=self.output_path, program=program
            )
        else:
            self.process = self._executed()
        if wait:
            self.wait_until_up()

    def _executed(self) -> subprocess.Popen[bytes]:
        with self.output_path.open("ab") as output:
            return subprocess.Popen(
                self.command,
                env={"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"} | self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_until_up(self) -> None:
        """Wait until `/healthz` answers with any status; ProxyDied where it does not come up."""
        deadline = time.monotonic() + self.timeout
        while True:
            if not self.alive:
                raise ProxyDied(f"exit {self.process and self.process.returncode} at start:\n{self.output}")
            try:
                self.get("/healthz", timeout=10)
            except OSError:
                if time.monotonic() > deadline:
                    self.kill()
                    raise ProxyDied(f"not up in {self.timeout} s:\n{self.output}") from None
                time.sleep(0.03)
            else:
                return

    def wait_for_exit(self, timeout: float = PATIENCE) -> int:
        """The exit status of a process that is expected to end by itself (a refused option)."""
        assert self.process is not None, "not started"
        return self.process.wait(timeout)

    def stop(self, sign: signal.Signals = signal.SIGINT) -> int:
        """Ask it to end; asserts that it does. Gives the exit status."""
        assert self.process is not None, "not started"
        if not self.alive:
            raise ProxyDied(f"exit {self.process.returncode} before stop:\n{self.output}")
        self.process.send_signal(sign)
        self.clock.end()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)
            raise AssertionError(f"still running {PATIENCE:g} s after {sign.name}:\n{self.output}") from None

    def kill(self) -> None:
        """SIGKILL, and no time to say goodbye."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.clock.end()

    def restart(self, *, kill: bool = False) -> None:
        """Stop (or kill) and start again, on the same port and folders, with `options` as they are by now."""
        if kill:
            self.kill()
        elif self.alive:
            self.stop()
        self.start()

    def lapse(self, seconds: float = LAPSE) -> None:
        """Let time pass on its clock; unless said otherwise more than any lifetime in hours, and less than stale-if-error's days."""
        assert isinstance(self.process, ForkedProcess), "only a fork has such a clock"
        self.clock.move(seconds)

    def at_rest(self) -> None:
        """Wait until no download is remembered any more: from here on files come from the store."""
        eventually(lambda: json.loads(self.get("/stats").body)["fills"], lambda count: count == 0)

    def rss(self) -> int:
        """Resident bytes now."""
        return self._memory("VmRSS")

    def peak_rss(self) -> int:
        """The most resident bytes so far."""
        return self._memory("VmHWM")

    def reset_peak(self) -> None:
        """Let `peak_rss` count from here."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def cpu_seconds(self) -> float:
        """Processor time used so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def get(self, path: str, *, timeout: float = PATIENCE, headers: Mapping[str, str] | None = None) -> Fetched:
        """GET of the proxy's own address, e.g. `/stats`."""
        return fetch(self.port, f"{self.url}{path}", via="own", headers=headers, timeout=timeout)

    @property
    def bundle(self) -> Path:
        """`/bundle.pem`, downloaded once: system roots and the proxy's CA."""
        path = self.folder / "bundle.pem"
        if not path.exists():
            answer = self.get("/bundle.pem")
            assert answer.status == 200, f"/bundle.pem: {answer.status} {answer.body[:300]!r}"
            path.write_bytes(answer.body)
        return path

    def access_log(self, *, at_least: int = 0, timeout: float = PATIENCE) -> list[dict[str, Any]]:
        """The access log's objects; waits until there are `at_least` so many, or without that until no more come.

        A line is written some hundredths of a second after its answer.
        """
        lines = eventually(self._access_log, lambda lines: len(lines) >= at_least, timeout=timeout)
        while not at_least:
            time.sleep(3 * FLUSH_SECONDS)
            so_far, lines = len(lines), self._access_log()
            if len(lines) == so_far:
                break
        return lines

    def _access_log(self) -> list[dict[str, Any]]:
        text = self.access_log_path.read_text() if self.access_log_path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def close(self) -> None:
        """Stop it if it runs, without asserting anything."""
        if self.alive and self.process is not None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
        self.clock.end()
        self._reservation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _memory(self, field: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise ProxyDied(f"no {field}: the process is gone\n{self.output}")


@cache
def _made_ca() -> str:
    """A configuration folder with a CA as mitmproxy makes it, which takes a tenth of a second of processor time."""
    folder = tempfile.mkdtemp(prefix="mitmproxy-")
    atexit.register(shutil.rmtree, folder)
    CertStore.create_store(
        Path(folder), "mitmproxy", 2048, "pypi-cache", "pypi-cache"
    )  # as certificates.name_new_ca makes it
    return folder


def worker_of(answer: Fetched) -> tuple[int, int]:
    """The number and the process id of the worker that gave an answer."""
    found = re.fullmatch(r"1\.1 pypi-cache-[0-9a-f]{12}-worker(\d+)-(\d+)", answer.headers["Via"])
    assert found, answer.headers["Via"]
    return int(found[1]), int(found[2])


def refused(proxy: Proxy) -> str:
    """Start what must not start; the one line that tells why (and a status of 1, and no traceback)."""
    proxy.start(wait=False)
    status = proxy.wait_for_exit()
    assert status == 1, f"exit {status}\n{proxy.output}"
    assert "Traceback" not in proxy.output
    lines = [line for line in proxy.output.splitlines() if "pypi_cache_" in line and "Loading script" not in line]
    assert len(lines) == 1, proxy.output
    assert " listens on " not in proxy.output, "it has been up"
    return lines[0]


def _values(value: str | int | bool | Sequence[str]) -> Iterable[str]:
    if isinstance(value, bool):
        return (str(value).lower(),)
    if isinstance(value, (str, int)):
        return (str(value),)
    return value
