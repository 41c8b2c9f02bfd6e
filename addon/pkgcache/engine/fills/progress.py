"""How far a growing file is: the bytes written so far, whether clients may be told of it, and what its readers wait for.

`Progress` is of any file that grows, and knows no upstream. `FillProgress` is of a release file: its bytes may turn out wrong and be
thrown away, and other processes are told how far it is. Who brings the bytes is not decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import override

from multidict import CIMultiDict

from pkgcache.engine.fills.fill_request import FileHead, FillRequest
from pkgcache.engine.fills.part_file import FillState, PartFile, State
from pkgcache.engine.responses.bodies import FileSource, Reader
from pkgcache.engine.responses.messages import CutShortError
from pkgcache.engine.upstream.errors import AllFailedError
from pkgcache.engine.upstream.places import waiting_for_upstream
from pkgcache.rules.policy.hold_back import HOLD_BACK, readable
from pkgcache.rules.routing.urls import parse_url


class Progress[Head](FileSource):
    """A file that grows, its readers, and what they wait for. `Head` is what clients are told before the first byte.

    Every reader is registered with `attach` and leaves with `release`. The file is closed once both its writer (`end`) and the last
    reader are done with it.
    """

    def __init__(self, path: Path, pool: ThreadPoolExecutor) -> None:
        self.file = PartFile(path)
        self.head: Head | None = None
        self.written = 0
        self.verified = False
        self.error: AllFailedError | None = None
        self._generation = 0
        self._pool = pool
        self._announced: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._changed = asyncio.Event()
        self._readers = 0
        self._ended = False

    # For readers

    @property
    def total(self) -> int | None:
        """The file's length in bytes, None while it is not known."""
        return None

    @property
    @override
    def generation(self) -> int:
        return self._generation

    @property
    @override
    def available(self) -> int:
        return readable(self.written, self.total, verified=self.verified)

    @property
    def announced(self) -> bool:
        """Whether clients have been told of the file, or of its failure."""
        return self._announced.done()

    def attach(self) -> None:
        """Register a reader."""
        self._readers += 1

    @override
    def release(self) -> None:
        self._readers -= 1
        self._close_if_unused()

    @override
    def body(self, start: int, stop: int | None) -> Reader:
        return Reader(self, start, stop)

    @override
    def fileno(self) -> int:
        return self.file.fileno()

    async def wait_announced(self) -> Head:
        """Wait until clients may be told of the file, and return what they are told. Raises AllFailedError if it failed before."""
        while True:
            announced = self._announced
            if not announced.done():
                waiting_for_upstream()
            head = await asyncio.shield(announced)
            if announced is self._announced:  # else it has begun again since: that head is of bytes that were wrong
                return head

    async def wait_verified(self) -> bool:
        """Wait until the file is complete and correct; False where it has failed."""
        while not self.verified and self.error is None:
            waiting_for_upstream()
            await self._changed.wait()
        return self.verified

    @override
    async def wait_available(self, offset: int, generation: int) -> int:
        while True:
            if generation != self._generation:
                raise CutShortError("the bytes sent so far were wrong")
            if self.error is not None:
                raise self._cut_short(self.error)
            if self.available > offset or (self.verified and self.available == offset):
                return self.available
            await self._changed.wait()

    def _cut_short(self, error: AllFailedError) -> CutShortError:
        """The exception for readers of a file that failed."""
        return CutShortError(str(error))

    # For the writer

    def wake_readers(self) -> None:
        """Wake all readers that wait: there are more bytes, or there will be none."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def announce(self, head: Head) -> None:
        """Tell clients of the file; only the first call counts."""
        if not self._announced.done():
            self._announced.set_result(head)

    def be_verified(self) -> None:
        """Mark the file complete and correct: readers may have all of it. Needs a `head`."""
        assert self.head is not None
        self.verified = True
        self.announce(self.head)
        self.wake_readers()

    def fail(self, error: AllFailedError) -> None:
        """Mark the file failed: readers that wait are cut, or told of the error if nothing was announced yet."""
        self.error = error
        if not self._announced.done():
            self._announced.set_exception(error)
            self._announced.exception()  # nobody may be waiting: keep asyncio from logging "exception was never retrieved"
        self.wake_readers()

    def begin_again(self, generation: int) -> None:
        """Forget the bytes so far. Readers that have some of them are cut; those that have none wait for the new ones."""
        self._generation = generation
        self.written = 0
        self.head = None
        if self._announced.done():
            self._announced = asyncio.get_running_loop().create_future()
        self.wake_readers()

    def end(self) -> None:
        """Nothing more will be written: close the file, once its last reader has left."""
        self._ended = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._ended and self._readers == 0:
            self.file.close()

    async def in_thread[T](self, work: Callable[[], T]) -> T:
        """Run work that touches the disk off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


class FillProgress(Progress[FileHead]):
    """A release file that grows, in this process or in another one.

    `attempt` names its bytes in entity tags. It changes whenever they are thrown away, as `generation` does; no two downloads share one.
    """

    def __init__(self, request: FillRequest, path: Path, pool: ThreadPoolExecutor) -> None:
        super().__init__(path, pool)
        self.request = request
        self.attempt = secrets.token_hex(4)

    @property
    @override
    def total(self) -> int | None:
        return self.head.total if self.head else None

    @override
    def begin_again(self, generation: int) -> None:
        self.attempt = secrets.token_hex(4)
        super().begin_again(generation)

    @property
    def is_held_back(self) -> bool:
        """Whether the file is known to be so small that all of it is held back."""
        return self.total is not None and self.total <= HOLD_BACK

    def announce_unless_held_back(self) -> None:
        """Tell clients of the file, unless it is so small that all of it is held back.

        A held-back file is announced when it is verified: clients then never hear of a wrong one, not even its length.
        """
        if self.head is not None and not self.is_held_back:
            self.announce(self.head)

    # Between processes

    async def publish(self, state: State = "growing", error: str = "") -> None:
        """Tell other processes how the fill stands. A failing disk is ignored here: they notice it themselves."""
        head = self.head
        published = FillState(
            state=state,
            attempt=self.attempt,
            generation=self.generation,
            begun=head is not None,
            total=self.written if state == "verified" else self.total,
            source=str(head.source) if head else "",
            headers=[(name, value) for name, value in head.headers.items()] if head else [],
            error=error,
        )
        with contextlib.suppress(OSError):
            await self.in_thread(lambda: self.file.publish(published))

    def apply(self, state: FillState) -> None:
        """Take over what the owning process has published."""
        if state.generation != self.generation:
            self.begin_again(state.generation)
        self.attempt = state.attempt
        if state.begun and self.head is None:
            self.head = FileHead(total=state.total, headers=CIMultiDict(state.headers), source=parse_url(state.source))
            self.announce_unless_held_back()
