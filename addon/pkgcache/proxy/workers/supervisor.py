"""The process that starts the workers, starts others where they die, and tells all of them to stop.

A worker is a fork of it: what has been imported is shared, and a successor listens a few tenths of a second after a death. The first
worker is started alone, so that what is wrong with an option or the store is said once. It has no event loop and no threads: a fork
would copy their locks, but not who would release them.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Final, NoReturn, Protocol

from mitmproxy.tools.main import mitmdump

from pkgcache.engine.runtime.seat import VARIABLE, Seat
from pkgcache.proxy.workers.listening import Address, Sockets, bind_again, bind_all, listen_on
from pkgcache.rules.policy.restarts import Ended, GiveUp, after

STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PASSED_ON: Final = (signal.SIGUSR1, signal.SIGUSR2)
"""By these mitmproxy prints what it is doing."""

KILL_SECONDS: Final = 1.0
"""A signal to stop that comes so long after the first one, or later, is somebody who does not want to wait: workers are killed then."""


@dataclass(slots=True)
class Worker:
    """A seat, and the process that has it at present."""

    number: int
    sockets: Sockets
    process: ForkProcess | None = None
    control: Connection | None = None
    listens_since: float | None = None
    failures: int = 0
    due: float = 0.0
    """When it is to be started, while there is no process."""


@dataclass(slots=True)
class Supervisor:
    """Runs `count` workers, each with mitmdump's arguments `words`. `run` returns the exit status.

    `greeting` is said once a worker listens.
    """

    words: Sequence[str]
    addresses: Sequence[Address]
    count: int
    folder: str
    greeting: str
    _workers: list[Worker] = field(default_factory=list)
    _signals: list[int] = field(default_factory=list)
    _ports: dict[Address, int] = field(default_factory=dict)
    _family: str = field(default_factory=lambda: f"pypi-cache-{secrets.token_hex(6)}")
    _stopping_since: float | None = None
    _any_listened: bool = False
    _status: int = 0

    def run(self) -> int:
        """Start the workers, and wait until they are told to stop. Raises OSError where the addresses cannot be bound."""
        found = bind_all(self.addresses, self.count)
        gc.freeze()  # a worker's collector would write to each object that it shares with the others, and so copy it
        self._ports = found[0].bound()
        self._workers = [Worker(number, sockets) for number, sockets in enumerate(found, 1)]
        with self._woken_by_signals() as woken:
            while self._stopping_since is None or self._living():
                self._start_due()
                wait([woken, *self._awaited()], self._pause())
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
                self._take_signals()
                self._take_messages()
                self._take_ends()
        return self._status

    # Starting

    def _start_due(self) -> None:
        if self._stopping_since is not None:
            return
        now = time.monotonic()
        for worker in self._wanted():
            if worker.process is None and worker.due <= now:
                self._start(worker)

    def _wanted(self) -> list[Worker]:
        """The first worker alone until it listens."""
        return self._workers if self._any_listened else self._workers[:1]

    def _start(self, worker: Worker) -> None:
        if not worker.sockets.bound():
            try:
                worker.sockets = bind_again(self._ports)
            except OSError as error:
                worker.failures += 1
                worker.due = time.monotonic() + 1
                say(f"worker {worker.number}: {error}")
                return
        seat = Seat(
            number=worker.number,
            count=self.count,
            family=self._family,
            folder=self.folder,
            is_first=not self._any_listened,
        )
        ours, its = multiprocessing.Pipe()
        others = [ours, *(each.control for each in self._workers if each.control is not None)]
        strangers = [each.sockets for each in self._workers if each is not worker]
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_work, args=(self.words, seat, worker.sockets, its, [*others, *strangers]))
        # A signal must not find the child with this process's handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, [*STOPS, *PASSED_ON])
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [*STOPS, *PASSED_ON])
        its.close()
        worker.process, worker.control, worker.listens_since = process, ours, None

    # What has happened

    def _awaited(self) -> Iterable[Connection | int]:
        for worker in self._workers:
            if worker.process is not None:
                yield worker.process.sentinel
            if worker.control is not None:
                yield worker.control

    def _pause(self) -> float | None:
        """How long to wait: until the next worker is due."""
        if self._stopping_since is not None:
            return None
        due = [worker.due for worker in self._wanted() if worker.process is None]
        return max(min(due) - time.monotonic(), 0) if due else None

    def _take_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number in STOPS:
                self._stop(number)
            else:
                self._send(number)

    def _take_messages(self) -> None:
        """Note which workers listen by now: that is all that they tell."""
        for worker in self._workers:
            with contextlib.suppress(EOFError, OSError):
                while worker.control is not None and worker.control.poll():
                    worker.control.recv_bytes()
                    worker.listens_since = time.monotonic()
                    if not self._any_listened:
                        self._any_listened = True
                        say(self.greeting)

    def _take_ends(self) -> None:
        for worker in self._workers:
            if worker.process is None or worker.process.is_alive():
                continue
            worker.process.join()
            how, pid, status = _ending(worker.process), worker.process.pid, worker.process.exitcode
            worker.process.close()
            if worker.control is not None:
                worker.control.close()
            worker.process = worker.control = None
            if self._stopping_since is None:
                self._replace(worker, f"worker {worker.number} ({pid}) {how}", status or 0)
        self._reap_strangers()

    def _reap_strangers(self) -> None:
        """Take note of the ends of processes that a killed worker has left behind: in a container this process has the number 1."""
        own = {worker.process.pid for worker in self._living() if worker.process is not None}
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in own:
                os.waitpid(ended.si_pid, 0)

    def _replace(self, worker: Worker, what: str, status: int) -> None:
        """Decide what becomes of a seat whose worker has ended unasked."""
        now = time.monotonic()
        listened = None if worker.listens_since is None else now - worker.listens_since
        others = any(each.process and each.listens_since for each in self._workers)
        decided = after(
            Ended(
                by_itself=status >= 0,
                listened=listened,
                failures=worker.failures,
                others_listen=others,
                any_ever_listened=self._any_listened,
            )
        )
        if isinstance(decided, GiveUp):
            say(f"{what} before it listened; there is no use in starting it again")
            self._status = status if status > 0 else 1
            self._stop()
            return
        say(f"{what}; {f'starting another in {decided.pause:g} s' if decided.pause else 'starting another'}")
        worker.failures, worker.due = decided.failures, now + decided.pause
        if not decided.keeps_sockets:
            worker.sockets.close()

    # Stopping

    def _living(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.process is not None]

    def _stop(self, number: int = signal.SIGTERM) -> None:
        """Take no new connections, and let the workers finish what is under way, or not at Ctrl-C; a second time: kill them."""
        now = time.monotonic()
        if self._stopping_since is None:
            self._stopping_since = now
            for worker in self._workers:
                worker.sockets.close()
            self._send(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
        elif now - self._stopping_since >= KILL_SECONDS:
            self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        for worker in self._living():
            if worker.process is not None and worker.process.pid is not None and worker.process.is_alive():
                os.kill(worker.process.pid, number)

    @contextlib.contextmanager
    def _woken_by_signals(self) -> Iterator[socket.socket]:
        """Note signals, and give a socket that can be read once there is one."""
        woken, waking = socket.socketpair()
        woken.setblocking(False)
        waking.setblocking(False)
        signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        for number in (*STOPS, *PASSED_ON):
            signal.signal(number, lambda number, _: self._signals.append(number))
        try:
            yield woken
        finally:
            signal.set_wakeup_fd(-1)


def _work(
    words: Sequence[str], seat: Seat, sockets: Sockets, control: Connection, others: Sequence[_Closes]
) -> NoReturn:
    """In the fork: be mitmdump, with this worker's sockets."""
    for each in others:
        each.close()  # else they would stay open after a sibling's, or the supervisor's, end
    signal.set_wakeup_fd(-1)
    for number in (*STOPS, *PASSED_ON):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [*STOPS, *PASSED_ON])
    os.environ[VARIABLE] = seat.to_text()
    listen_on(sockets, control)
    sys.exit(mitmdump(words))


class _Closes(Protocol):
    def close(self) -> None: ...


def _ending(process: ForkProcess) -> str:
    """Say how a process ended."""
    code = process.exitcode or 0
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def say(line: str) -> None:
    """Print a line of the supervisor's."""
    sys.stderr.write(f"pypi-cache serve: {line}\n")
    sys.stderr.flush()
