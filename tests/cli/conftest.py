"""The command as a process, and stores to run it on."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Final, Self
from unittest import mock

import pytest

from pkgcache.cli.app import run
from pkgcache.cli.warming import requirements, temporary_proxy
from pkgcache.engine.store.entries import Entries
from tests.support.authority import Authority
from tests.support.clients import bare_env
from tests.support.forked import READ_AT_START, ForkedProcess, parent_of_forks, start_forked

ADDON: Final = Path(__file__).resolve().parents[2] / "addon"
START: Final = """\
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from pkgcache.cli.__main__ import main
main()
"""
"""A shell starts what runs in the background with SIGINT ignored, and so may the whole test run have been started."""

COMMAND: Final = (sys.executable, "-c", START)
TIMEOUT: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a run of the command ended."""

    words: tuple[str, ...]
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed for machines."""
        return json.loads(self.out)

    def ended(self, status: int) -> Self:
        """Itself; AssertionError with all that it said where its exit code is another, or where it told a traceback."""
        assert self.status == status, f"exit {self.status}\n{self}"
        assert "Traceback" not in self.err, str(self)
        return self

    def __str__(self) -> str:
        return f"$ pypi-cache {' '.join(self.words)}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


@dataclass(frozen=True, slots=True)
class Command:
    """`pypi-cache` in a clean environment, with a configuration folder of its own."""

    home: Path
    environment: Mapping[str, str]

    @property
    def words(self) -> tuple[str, ...]:
        """What starts it."""
        return COMMAND

    def start(self, *words: str | Path, **more: Any) -> subprocess.Popen[str]:
        """Begin a run."""
        return subprocess.Popen(
            [*COMMAND, *map(str, words)],
            env={**self.environment, **more.pop("env", {})},
            cwd=self.home,
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
        )

    def __call__(self, *words: str | Path, env: Mapping[str, str] | None = None) -> Ran:
        """A whole run, in this process: all but `main` itself, without the seconds that it and the proxy of `warm` take to begin."""
        out, err = io.StringIO(), io.StringIO()
        environment = {**self.environment, **(env or {})}
        with (
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.object(temporary_proxy, "subprocess", FORKING),
            mock.patch.object(requirements, "subprocess", FORKING_PIP),
            contextlib.chdir(self.home),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            status = run([str(word) for word in words])
        return Ran(words=tuple(map(str, words)), status=status, out=out.getvalue(), err=err.getvalue())

    def process(self, *words: str | Path, **more: Any) -> Ran:
        """A whole run, as a process."""
        return self.end(self.start(*words, **more), words)

    def slow_to_open(self, name: str, folder: Path) -> Self:
        """A command whose processes wait as they open a file of this name. `folder` is for the code that does it."""
        slow = f"event == 'open' and args[0] == {name!r} and time.sleep({TIMEOUT})"
        code = f"import sys, time\nsys.addaudithook(lambda event, args: {slow})\n"
        (folder / "sitecustomize.py").write_text(code)
        return replace(self, environment={**self.environment, "PYTHONPATH": f"{ADDON}{os.pathsep}{folder}"})

    def interrupted(self, ready: Callable[[int], bool], *words: str | Path, by: signal.Signals = signal.SIGINT) -> Ran:
        """A run that gets a signal as soon as `ready` says so of its process id; AssertionError where it ends before.

        What it does then must wait for the test (a pipe, a slow upstream), or a loaded machine is late with the signal.
        """
        process = self.start(*words)
        deadline = time.monotonic() + TIMEOUT
        while not ready(process.pid):
            assert process.poll() is None, f"it has ended before:\n{process.communicate()}"
            assert time.monotonic() < deadline, "it never came so far"
            time.sleep(0.01)
        process.send_signal(by)
        return self.end(process, words)

    def end(self, process: subprocess.Popen[str], words: Sequence[str | Path]) -> Ran:
        out, err = process.communicate(timeout=TIMEOUT)
        return Ran(words=tuple(map(str, words)), status=process.returncode, out=out, err=err)


def _forked(words: Sequence[str], *, env: Mapping[str, str], stdout: IO[bytes], **_of_popen: object) -> ForkedProcess:
    """A temporary proxy, as a fork: its parent is then another process than this."""
    kept = {name: value for name, value in env.items() if not name.startswith(READ_AT_START)}
    kept["PYPI_CACHE_PARENT"] = str(parent_of_forks())
    return start_forked(words[3:], env=kept, cwd=Path.cwd(), output=Path(stdout.name))


FORKING: Final = SimpleNamespace(
    Popen=_forked,
    DEVNULL=subprocess.DEVNULL,
    STDOUT=subprocess.STDOUT,
    TimeoutExpired=subprocess.TimeoutExpired,
)
"""Of the module subprocess, what a temporary proxy is started with."""


@contextmanager
def _forked_pip(command: Sequence[str], *, env: Mapping[str, str], stderr: IO[bytes], **more: Any) -> Iterator[Any]:
    """The pip of this environment, as a fork that has ended; for any other program a process."""
    if list(command[1:3]) != ["-m", "pip"]:
        with subprocess.Popen(command, env=env, stderr=stderr, **more) as process:
            yield process
        return
    kept = {name: value for name, value in env.items() if not name.startswith(READ_AT_START)}
    errors = Path(stderr.name)
    output = errors.with_name("output")
    fork = start_forked(command[3:], env=kept, cwd=Path.cwd(), output=output, errors=errors, program="pip")
    status = fork.wait(TIMEOUT)
    with output.open() as lines:
        yield SimpleNamespace(stdout=lines, wait=lambda: status, returncode=status)


FORKING_PIP: Final = SimpleNamespace(Popen=_forked_pip, DEVNULL=subprocess.DEVNULL, PIPE=subprocess.PIPE)
"""Of the module subprocess, what `warm` runs pip with."""


def has_open(process: int, path: Path) -> bool:
    """Whether a process holds a file open."""
    with contextlib.suppress(OSError):
        return any(each.is_symlink() and each.readlink() == path for each in Path(f"/proc/{process}/fd").iterdir())
    return False


@pytest.fixture
def command(tmp_path: Path, ca: Authority) -> Command:
    home = tmp_path / "operator"
    home.mkdir()
    return Command(home, bare_env(home) | {"PYTHONPATH": str(ADDON), "SSL_CERT_FILE": str(ca.bundle)})


@contextmanager
def opened_store(folder: Path) -> Iterator[Entries]:
    """A store of a test's own, made if it is not there."""
    entries = Entries(folder, max_size=10 << 30, min_free=0)
    entries.open()
    try:
        yield entries
    finally:
        entries.close()
