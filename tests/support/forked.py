"""Starts many proxies and pips quickly: `mitmdump` or `pip` in a fork of a process that has imported the packages it needs.

Importing mitmproxy and its packages takes a second of processor time, importing pip's half a second; the tests start hundreds of both.
A fork runs the same `mitmdump(arguments)` with the same environment, folder and output, in a process of its own.
The addon's modules are imported before the
fork too, but for the script that loads them: they keep no state of their own and read no environment. A test may move the clock of a
fork (clock.py).
"""

import atexit
import faulthandler
import functools
import gc
import importlib
import io
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from tests.support import clock

REPOSITORY: Final = Path(__file__).resolve().parents[2]
MITMDUMP: Final = Path(sys.executable).parent / "mitmdump"
OWN_CODE: Final = f"import sys; sys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / 'addon')!r}]"
"""Lets Python import this repository's code, wherever the package that is installed beside it leads: to another clone, perhaps."""

PRELOADED: Final = (
    "mitmproxy.tools.main",
    "mitmproxy.addons.dumper",
    "mitmproxy.addons.script",
    "aiohttp",
    "diskcache",
    "packaging.metadata",
    "packaging.utils",
    "pip._internal.models.index",
    "pip._internal.cli.main",
    "pip._internal.cli.progress_bars",
    "pip._internal.commands.install",
    "pip._internal.commands.download",
    "pip._internal.resolution.resolvelib.resolver",
    "pip._vendor.truststore",
    "prometheus_client",
    "OpenSSL.SSL",
    "logging.handlers",
    "concurrent.futures.thread",
    "pkgcache.proxy.addon",
    "pkgcache.proxy.serve",
    "pkgcache.proxy.workers.supervisor",
)
type Program = Literal["mitmdump", "pip", "serve"]
READ_AT_START: Final = ("PYTHON", "LD_", "MALLOC_", "OPENSSL_", "AIOHTTP_")
"""Variables that an interpreter or a library reads when it starts: a fork would not see them."""


class ForkedProcess:
    """A forked process, with those methods of `subprocess.Popen` that tests call."""

    def __init__(self, pid: int) -> None:
        """`pid`: a child of the process that forks."""
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def ended(self, returncode: int) -> None:
        """Note that it has ended."""
        self.returncode = returncode
        self._ended.set()

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; subprocess.TimeoutExpired if that takes longer than `timeout` seconds."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("mitmdump", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, sign: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, sign)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def may_fork(env: Mapping[str, str]) -> bool:
    """Whether a fork sees all of `env`: nothing in it is read only when a process starts."""
    return not any(name.startswith(READ_AT_START) for name in env)


def start_forked(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    output: Path,
    errors: Path | None = None,
    program: Program = "mitmdump",
) -> ForkedProcess:
    """Run a program with these arguments; its output, and its errors if they go elsewhere, are appended to files, its input is empty."""
    files = {"output": str(output), "errors": str(errors or output)}
    order = {"program": program, "arguments": list(arguments), "env": dict(env), "cwd": str(cwd), **files}
    return _forker().start(order)


def parent_of_forks() -> int:
    """The process id that is the parent's of all of them."""
    return _forker().pid


class _Forker:
    """The process that forks. One serves all tests of a process of the test run."""

    def __init__(self) -> None:
        code = f"{OWN_CODE}; from tests.support.forked import serve; serve()"
        env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        command = [sys.executable, "-c", code]
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self._process.kill)
        self.pid = self._process.pid
        self._one_start = threading.Lock()
        self._started: queue.SimpleQueue[ForkedProcess] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def start(self, order: Mapping[str, Any]) -> ForkedProcess:
        assert self._process.stdin is not None
        with self._one_start:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            return self._started.get(timeout=60)

    def _read(self) -> None:
        assert self._process.stdout is not None
        running: dict[int, ForkedProcess] = {}
        for line in self._process.stdout:
            said = json.loads(line)
            if "returncode" in said:
                running.pop(said["pid"]).ended(said["returncode"])
            else:
                running[said["pid"]] = process = ForkedProcess(said["pid"])
                self._started.put(process)


@cache
def _forker() -> _Forker:
    return _Forker()


def serve() -> None:
    """Fork once for each order, a line of JSON on standard input; starts and ends are told on standard output."""
    clock.install()
    for name in PRELOADED:
        importlib.import_module(name)
    _trust_keys()
    gc.collect()
    gc.freeze()  # a collection in a fork would touch, and so copy, all that is imported here: 0.2 s of processor time at its end
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the test run, which ends this process
    signal.signal(signal.SIGCHLD, _tell_ends)
    while line := sys.stdin.buffer.readline():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # no end is told before its start
        pid = os.fork()
        if pid == 0:
            _run(**json.loads(line))
        _tell({"pid": pid})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _trust_keys() -> None:
    """Do without the tests of a CA's key for being prime, which take 0.1 s at each start: the tests' own keys are sound."""
    from mitmproxy.certs import serialization  # noqa: PLC0415 - as in _run

    load = functools.partial(serialization.load_pem_private_key, unsafe_skip_rsa_key_validation=True)
    serialization.load_pem_private_key = load


def _tell(said: Mapping[str, int]) -> None:
    os.write(1, json.dumps(said).encode() + b"\n")


def _tell_ends(*_: object) -> None:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            _tell({"pid": found[0], "returncode": os.waitstatus_to_exitcode(found[1])})


def _run(program: Program, arguments: list[str], env: dict[str, str], cwd: str, output: str, errors: str) -> NoReturn:
    """In the fork: become what the program in a shell would be, and run it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, file in ((1, output), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), descriptor)
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.FileIO(0)), _unbuffered(1), _unbuffered(2)
    faulthandler.enable()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    tempfile.tempdir = None  # another environment may say another
    if path := env.get(clock.VARIABLE):
        clock.follow(path)
    else:
        clock.leave()
    sys.path[:] = [str(MITMDUMP.parent), *sys.path[2:]]
    sys.argv = [program, *arguments]
    from mitmproxy.tools.main import mitmdump  # noqa: PLC0415 - imported already; the test run itself does without
    from pip._internal.cli.main import main as pip  # noqa: PLC0415

    from pkgcache.proxy.serve import serve as serve_proxy  # noqa: PLC0415

    status: int | str | None = 1
    try:
        if program == "pip":
            status = pip(arguments)
        elif program == "serve":
            serve_proxy(arguments)
        else:
            mitmdump(arguments)
            status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
    finally:
        # All that an interpreter does at its end but for taking its modules apart, which takes half a second here
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        gc.collect()  # coroutines that nobody awaited complain here
        os._exit(status if isinstance(status, int) else bool(status))


def _unbuffered(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(descriptor, "w"), encoding="utf-8", write_through=True)
