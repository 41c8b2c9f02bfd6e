"""A growing file as this process sees it: how far it is, whether clients may be told of it, and what its readers wait for.

Who brings the bytes is engine/download.py, or another process; engine/fill.py decides which, and when it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from multidict import CIMultiDict

from pkgcache.engine.fills.fill_request import FileHead, FillRequest
from pkgcache.engine.fills.part_file import FillState, PartFile, State
from pkgcache.engine.fills.uncached import UncachedDownload
from pkgcache.engine.responses.bodies import Reader
from pkgcache.engine.responses.messages import CutShortError, DiskFailedError
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.rules.policy.fills import HOLD_BACK
from pkgcache.rules.routing.urls import parse_url


class FillProgress:
    """What a fill knows of its file. `generation` and `attempt` change when the `written` bytes turn out wrong and are thrown away."""

    def __init__(
        self,
        wanted: FillRequest,
        path: Path,
        client: UpstreamClient,
        pool: ThreadPoolExecutor,
        report: Callable[[UpstreamError], None],
    ) -> None:
        self.request = wanted
        self.file = PartFile(path)
        self.attempt = secrets.token_hex(4)
        self.generation = 0
        self.written = 0
        self.head: FileHead | None = None
        self.error: AllFailedError | None = None
        self.verified = False
        self._client = client
        self._pool = pool
        self._report = report
        self._announced: asyncio.Future[FileHead] = asyncio.get_running_loop().create_future()
        self._changed = asyncio.Event()

    # For readers

    @property
    def total(self) -> int | None:
        """The file's length, as far as it is known."""
        return self.head.total if self.head else None

    @property
    def available(self) -> int:
        """The end of what readers may have now."""
        if self.verified:
            return self.written
        total = self.total
        return max(0, self.written - HOLD_BACK if total is None else min(self.written, total - HOLD_BACK))

    async def wait_announced(self) -> FileHead:
        """What the upstream says of the file, once clients may be told. Raises AllFailedError where no upstream has it.

        A file that is held back whole is announced when it is verified: clients then hear of no wrong one, not even its length.
        """
        while True:
            head = await asyncio.shield(self._announced)
            if head is self.head:
                return head

    def release(self) -> None:
        """See readers.FileSource."""

    def body(self, start: int, stop: int | None) -> Reader:
        """See readers.Source."""
        return Reader(self, start, stop)

    def fileno(self) -> int:
        """See readers.FileSource."""
        return self.file.fileno()

    async def wait_available(self, offset: int, generation: int) -> int:
        """See readers.FileSource."""
        while True:
            if generation != self.generation:
                raise CutShortError("what was sent so far was wrong")
            if self.error is not None:
                if any(error.failure is Failure.DISK for error in self.error.errors):
                    raise DiskFailedError(str(self.error), self._without_disk)
                raise CutShortError(str(self.error))
            if self.available > offset or (self.verified and self.available == offset):
                return self.available
            await self._changed.wait()

    def _without_disk(self, at: int, stop: int | None) -> UncachedDownload:
        """The rest of it, for one reader, once the disk has failed. Raises CutShortError for what cannot be verified."""
        if stop not in {None, self.total} or (at and self.request.digest is None):
            raise CutShortError("the disk failed, and a part of the file cannot be verified without it")
        return UncachedDownload(
            self._client,
            self.request,
            report=self._report,
            total=self.total,
            at=at,
            descriptor=self.file.fileno(),
        )

    # For whoever brings it

    def wake_readers(self) -> None:
        """There is more of it, or it is over: wake whoever waits."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def announce(self) -> None:
        """Tell clients of the file, unless it is held back whole and has yet to be verified."""
        head = self.head
        if (
            head is not None
            and not self._announced.done()
            and (self.verified or head.total is None or head.total > HOLD_BACK)
        ):
            self._announced.set_result(head)

    def be_verified(self) -> None:
        """All of it is there, and right."""
        self.verified = True
        self.announce()
        self.wake_readers()

    def fail(self, error: AllFailedError) -> None:
        """There will be no more of it."""
        self.error = error
        if not self._announced.done():
            self._announced.set_exception(error)
            self._announced.exception()  # seen: nobody may be waiting
        self.wake_readers()

    def begin_again(self, generation: int) -> None:
        """The bytes so far were wrong. Readers that have some of them are cut; the others wait for the next ones."""
        self.generation = generation
        self.written = 0
        self.head = None
        if self._announced.done():
            self._announced = asyncio.get_running_loop().create_future()
        self.wake_readers()

    # Between processes

    async def publish(self, state: State = "growing", error: str = "") -> None:
        """Tell other processes; on a disk that has failed they will find out by themselves."""
        head = self.head
        word = FillState(
            state=state,
            attempt=self.attempt,
            generation=self.generation,
            begun=head is not None,
            total=head.total if head else None,
            source=str(head.source) if head else "",
            headers=[(name, value) for name, value in head.headers.items()] if head else [],
            error=error,
        )
        with contextlib.suppress(OSError):
            await self.in_thread(lambda: self.file.publish(word))

    def apply(self, word: FillState) -> None:
        """What the owner says holds here too."""
        self.attempt = word.attempt
        if word.generation != self.generation:
            self.begin_again(word.generation)
        if word.begun and self.head is None:
            self.head = FileHead(total=word.total, headers=CIMultiDict(word.headers), source=parse_url(word.source))
            self.announce()

    async def in_thread[T](self, work: Callable[[], T]) -> T:
        """Run what touches the disk off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
