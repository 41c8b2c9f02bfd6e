"""A state machine over fills: clients join, read and leave, upstreams give, break off and lie, processes stop, die and start again.

`ReleaseFiles` and `Store` are the real ones, two of each on one folder: two processes. The upstreams are played by the machine: bytes come
when it gives them. Whatever happens, no reader completes with wrong bytes and no two downloads run at once; at the end, with
upstreams that behave, everybody is served or cut, the stored file is the true one, and nothing is left in `growing`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.caching import Collaborators
from pkgcache.engine.files.release_files import ReleaseFiles
from pkgcache.engine.fills import download as download_module
from pkgcache.engine.fills import fill as fill_module
from pkgcache.engine.responses.messages import CutShortError, Request, Response
from pkgcache.engine.runtime.health import Health
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.recovery import clean_up
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.places import Places
from pkgcache.rules.http.freshness import Policy
from pkgcache.rules.policy.hold_back import HOLD_BACK
from pkgcache.rules.routing.digests import parse_release_path
from pkgcache.rules.routing.routes import ReleaseFile
from pkgcache.rules.routing.urls import Url, parse_url
from pkgcache.settings import make_settings

A, B = "https://a.example", "https://b.example"
END_SECONDS: Final = 30.0
"""None of the waits takes so long unless it is for ever, however slow the machine."""
SIZES: Final = (1, 1000, HOLD_BACK, HOLD_BACK + 1, 100_000, 300_000)
LIES: Final = ("404", "503", "unreachable", "ignores range", "wrong byte", "short", "other span", "html")


@dataclass(eq=False)
class Stream:
    """One answer under way, as fills and passages see it (upstream.Answer); its bytes come as the machine gives them."""

    url: Url
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    given: int = 0
    at: int = 0
    failure: Failure | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def chunk(self) -> bytes:
        """Of what was given, at most 40 kB."""
        while self.at == self.given < len(self.body) and self.failure is None:
            self.changed.clear()
            await self.changed.wait()
        if self.at < self.given:
            piece = self.body[self.at : min(self.given, self.at + 40_000)]
            self.at += len(piece)
            return piece
        if self.failure is not None:
            raise UpstreamError(self.failure, self.url, "scripted")
        return b""

    def give(self, count: int) -> None:
        self.given = min(len(self.body), self.given + count)
        self.changed.set()

    def fail(self, failure: Failure) -> None:
        self.failure = failure
        self.changed.set()

    def refused(self) -> UpstreamError:
        failure = Failure.NOT_FOUND if self.status == 404 else Failure.STATUS
        return UpstreamError(failure, self.url, f"it answered {self.status}", status=self.status)


class Mirrors:
    """Both upstreams, as UpstreamClient is to the engine."""

    def __init__(self, truth: bytes) -> None:
        self.truth = truth
        self.lies: dict[str, str] = {}
        self.streams: list[Stream] = []
        self.filling = self.most_filling = 0
        self.generous = False
        self.places = Places()

    def healthy_first[T: tuple[Url, str]](self, sources: Sequence[T]) -> list[T]:
        return list(sources)

    @asynccontextmanager
    async def request(
        self, method: str, url: Url, headers: Mapping[str, str], authorization: str = "", *, sole_source: bool = False
    ) -> AsyncIterator[Stream]:
        await asyncio.sleep(0)
        task = asyncio.current_task()
        fills = task is not None and task.get_name().startswith("fill ")
        stream = self._answer(url, headers)
        self.filling += fills
        self.most_filling = max(self.most_filling, self.filling)
        self.streams.append(stream)
        if self.generous:
            stream.give(len(stream.body))
        try:
            yield stream
        finally:
            self.filling -= fills
            self.streams.remove(stream)

    def _answer(self, url: Url, headers: Mapping[str, str]) -> Stream:
        lie = self.lies.get(url.origin, "")
        if lie == "unreachable":
            raise UpstreamError(Failure.UNREACHABLE, url, "scripted")
        answered = CIMultiDict({"Content-Type": "application/octet-stream", "ETag": f'"{url.host}"'})
        if lie in {"404", "503"}:
            return Stream(url, int(lie), CIMultiDictProxy(answered), b"")
        body = self.truth
        if lie == "wrong byte":
            at = len(body) // 3
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        elif lie == "short":
            body = body[: len(body) * 2 // 3]
        elif lie == "html":
            answered["Content-Type"] = "text/html"
        status, size = 200, len(body)
        if (wanted := headers.get("Range")) and lie != "ignores range":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(size, int(last) + 1) if last else size
            if start >= size:
                return Stream(url, 416, CIMultiDictProxy(answered), b"")
            if lie == "other span":
                start = max(0, start - 1)
            status, body = 206, body[start:stop]
            answered["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        answered["Content-Length"] = str(len(body))
        return Stream(url, status, CIMultiDictProxy(answered), body)


class NoPages:
    """Views where no page is stored."""

    async def facts_of(self, route: ReleaseFile) -> None:
        return None


class PatientTasks(Tasks):
    """What is to come later comes when the machine says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Callable[[], None]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.waiting.append(call)


class Process:
    """The files and the store of one process."""

    def __init__(self, folder: Path, mirrors: Mirrors, finish_abandoned: str) -> None:
        chosen = make_settings({"pypi_cache_dir": str(folder), "pypi_cache_finish_abandoned": finish_abandoned})
        self.store = Store(folder, max_size=1 << 30, min_free=0, inactive=0, health=Health())
        self.store.open()
        self.tasks = PatientTasks()
        views: Any = NoPages()
        client: Any = mirrors
        shared = Collaborators(
            store=self.store,
            client=client,
            metrics=Metrics(),
            tasks=self.tasks,
            policy=Policy(),
            settings=chosen,
        )
        self.files = ReleaseFiles(shared, views)

    async def die(self) -> None:
        """As by SIGKILL: locks go, and nothing is tidied."""
        fills = list(self.files.fills.fills.values())
        for each in fills:
            each._stopped = True
        await self.tasks.close()
        for each in [*fills, *self.files.fills._lingering]:
            each.file.close()
        self.files.fills._pool.shutdown()
        await self.store.close()

    async def stop(self) -> None:
        """As Service.close does it."""
        await self.tasks.close()
        await self.store.close()
        self.files.close()

    def wait_over(self) -> None:
        """What was to come later."""
        waiting, self.tasks.waiting = self.tasks.waiting, []
        for call in waiting:
            call()


@dataclass(eq=False)
class Client:
    """One client: what it was promised and what it got."""

    process: Process
    offset: int
    permits: asyncio.Semaphore
    task: asyncio.Task[None] | None = None
    reply: Response | None = None
    got: bytearray = field(default_factory=bytearray)
    cut: bool = False

    @property
    def believes(self) -> bool:
        """Whether it has all that it was promised."""
        promised = self.reply is not None and self.reply.status in {200, 206} and self.reply.headers["Content-Length"]
        return bool(promised) and len(self.got) == int(promised)

    @property
    def served_from(self) -> int:
        """Its first byte's place in the file."""
        found = self.reply.headers.get("Content-Range", "") if self.reply else ""
        return int(found.removeprefix("bytes ").partition("-")[0]) if found else 0


class FillMachine(RuleBasedStateMachine):
    """One file, two processes, two upstreams."""

    @initialize(size=st.sampled_from(SIZES), finish_abandoned=st.sampled_from(["0", "200k", "2g"]))
    def begin(self, size: int, finish_abandoned: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="fill-machine-"))
        self.truth = random.Random(size).randbytes(size)
        self.finish_abandoned = finish_abandoned
        self.mirrors = Mirrors(self.truth)
        self.clients: list[Client] = []
        self.troubled = self.killed = False
        digest = blake2b(self.truth, digest_size=32).hexdigest()
        path = f"/packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/played-1.0-py3-none-any.whl"
        index: Any = None
        self.route = ReleaseFile(
            index=index,
            identity=parse_url(f"https://files.example{path}"),
            filename="played-1.0-py3-none-any.whl",
            suffix="",
            release=parse_release_path(path),
            sources=((parse_url(A + path), ""), (parse_url(B + path), "")),
        )
        self.processes = [self.run(self.started()) for _ in range(2)]

    async def started(self) -> Process:
        return Process(self.folder, self.mirrors, self.finish_abandoned)

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Some work, and a moment for all else."""

        async def all_of_it() -> T:
            result = await work
            await asyncio.sleep(0.002)
            return result

        return self.loop.run_until_complete(asyncio.wait_for(all_of_it(), 4 * END_SECONDS))

    # Clients

    @rule(which=st.integers(0, 1), share=st.sampled_from([0.0, 0.0, 0.1, 0.5, 0.99]), eager=st.booleans())
    def join(self, which: int, share: float, eager: bool) -> None:
        process = self.processes[which]
        offset = int(share * len(self.truth)) if process.files.fills else 0  # a range of a cold file is passed through
        client = Client(process, offset, asyncio.Semaphore(1_000_000 if eager else 0))
        headers = CIMultiDict({"Range": f"bytes={offset}-"} if offset else {})
        request = Request(method="GET", url=self.route.identity, headers=CIMultiDictProxy(headers))

        async def work() -> None:
            client.reply = await process.files.answer(request, self.route)
            body = client.reply.body
            if isinstance(body, bytes):  # a refusal, or a small file that is in memory
                client.got += body if client.reply.status in {200, 206} else b""
                return
            try:
                while True:
                    await client.permits.acquire()
                    chunk = await body.read()
                    if not chunk:
                        return
                    client.got += chunk
            except CutShortError:
                client.cut = True
            finally:
                body.close()

        async def start() -> None:
            client.task = asyncio.create_task(work(), name="client")

        self.clients.append(client)
        self.run(start())

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 99), chunks=st.integers(1, 3))
    def read(self, which: int, chunks: int) -> None:
        client = self.clients[which % len(self.clients)]
        for _ in range(chunks):
            client.permits.release()
        self.run(asyncio.sleep(0))

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 99))
    def leave(self, which: int) -> None:
        """As on the fast path: the body is closed, and a wait for the reply goes on for nobody."""
        client = self.clients[which % len(self.clients)]

        async def left() -> None:
            if client.reply is not None and not isinstance(client.reply.body, bytes):
                client.reply.body.close()
                client.permits.release()

        client.cut = True
        self.run(left())

    # Upstreams

    @rule(count=st.sampled_from([1, 1000, 40_000, 100_000, 1_000_000]))
    def give(self, count: int) -> None:
        for stream in self.mirrors.streams:
            stream.give(count)
        self.run(asyncio.sleep(0.002))

    @rule(failure=st.sampled_from([Failure.BROKEN, Failure.TIMEOUT, Failure.UNREACHABLE]))
    def break_off(self, failure: Failure) -> None:
        self.troubled = True
        for stream in self.mirrors.streams:
            stream.fail(failure)
        self.run(asyncio.sleep(0.002))

    @rule(origin=st.sampled_from([A, B]), lie=st.sampled_from(LIES))
    def lie(self, origin: str, lie: str) -> None:
        self.mirrors.lies[origin] = lie
        self.troubled = True

    @rule(origin=st.sampled_from([A, B]))
    def be_honest(self, origin: str) -> None:
        self.mirrors.lies.pop(origin, None)

    # Processes and time

    @rule(which=st.integers(0, 1), kill=st.booleans())
    def restart(self, which: int, kill: bool) -> None:
        process = self.processes[which]

        async def again() -> Process:
            for client in self.clients:
                if client.process is process and client.task is not None:
                    client.cut = True
                    client.task.cancel()
            self.killed |= kill
            await (process.die() if kill else process.stop())
            return await self.started()

        self.processes[which] = self.run(again())

    @rule(which=st.integers(0, 1))
    def some_time_later(self, which: int) -> None:
        async def later() -> None:
            self.processes[which].wait_over()

        self.run(later())

    @rule()
    def a_pause(self) -> None:
        self.run(asyncio.sleep(0.03))

    # What holds always

    @invariant()
    def nobody_completes_with_wrong_bytes(self) -> None:
        for client in getattr(self, "clients", ()):
            if client.believes:
                start = client.served_from
                assert bytes(client.got) == self.truth[start : start + len(client.got)]
                assert start == client.offset or client.reply.status == 200  # type: ignore[union-attr]

    @invariant()
    def one_download_at_a_time(self) -> None:
        if hasattr(self, "mirrors"):
            assert self.mirrors.most_filling <= 1

    def teardown(self) -> None:
        """Upstreams behave and everybody reads on: all are served or cut, the file is there and right, nothing is left."""
        if not hasattr(self, "loop"):
            return
        try:
            self.run(self.finish())
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.folder)

    async def fetched(self, process: Process, request: Request) -> bytes | None:
        """A whole file; None where it was cut."""
        reply = await process.files.answer(request, self.route)
        assert reply.status == 200
        if isinstance(reply.body, bytes):  # a small file that is in memory
            return reply.body
        got = b""
        try:
            while chunk := await reply.body.read():
                got += chunk
        except CutShortError:
            return None
        finally:
            reply.body.close()
        return got

    def stored_files(self) -> list[Path]:
        """The value files of release files; ranges that were passed through are kept beside them."""
        entries = Entries(self.folder, max_size=1 << 30, min_free=0)
        entries.open(make=False)
        try:
            return [entries.folder / str(row.filename) for row in entries.rows() if row.key.startswith("file|")]
        finally:
            entries.close()

    def next_start(self) -> None:
        """What a process does first."""
        entries = Entries(self.folder, max_size=1 << 30, min_free=0)
        entries.open(make=False)
        clean_up(entries)
        entries.close()

    async def finish(self) -> None:
        self.mirrors.lies.clear()
        self.mirrors.generous = True
        for stream in self.mirrors.streams:
            stream.give(1 << 30)
        for client in self.clients:
            client.permits._value = 1_000_000
            client.permits.release()
        tasks = [client.task for client in self.clients if client.task is not None]
        _, waiting = await asyncio.wait(tasks, timeout=END_SECONDS) if tasks else (set(), set())
        assert not waiting, "a client waits for ever"
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            assert task.cancelled() or task.exception() is None, task.exception()
        for client in self.clients:
            assert client.cut or client.believes or (client.reply is not None and client.reply.status >= 400)
            assert self.troubled or client.reply is None or client.reply.status < 400 or client.cut, (
                "a good upstream, and an error"
            )
        deadline = time.monotonic() + END_SECONDS
        for process in self.processes:
            while process.tasks._running:
                assert time.monotonic() < deadline, "a fill goes on for ever"
                await asyncio.sleep(0.005)
        request = Request(method="GET", url=self.route.identity, headers=CIMultiDictProxy(CIMultiDict()))
        for process in self.processes:
            got = await self.fetched(process, request)
            if got is None:  # what a liar had left there was wrong; never twice
                got = await self.fetched(process, request)
            assert got == self.truth
        deadline = time.monotonic() + END_SECONDS
        for process in self.processes:
            while process.tasks._running:
                assert time.monotonic() < deadline, "a fill goes on for ever"
                await asyncio.sleep(0.005)
            process.wait_over()
        left = {path.suffix for path in (self.folder / "growing").iterdir()}
        if self.killed and left == {".json"}:
            # What a killed process had published stays if its sibling had just begun a file of that name when it started again. The
            # sibling does not touch it, since a follower of the killed one may have yet to read it: the next start removes it.
            self.next_start()
            left = {path.suffix for path in (self.folder / "growing").iterdir()}
        assert not left
        stored = self.stored_files()
        assert len(stored) == 1
        assert stored[0].read_bytes() == self.truth
        for process in self.processes:
            await process.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pauses of milliseconds, and no log."""
    monkeypatch.setattr(download_module, "PAUSES", (0.0, 0.005, 0.01))
    monkeypatch.setattr(fill_module, "FOLLOW_SECONDS", 0.004)
    logging.getLogger("pkgcache").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("pkgcache").setLevel(logging.NOTSET)


TestFills = FillMachine.TestCase
TestFills.settings = settings(stateful_step_count=30, suppress_health_check=list(HealthCheck))
