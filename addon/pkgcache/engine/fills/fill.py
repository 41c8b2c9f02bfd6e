"""One download of one file that any number of clients read while it grows: its life from the first look to the cleaning up.

A task owns the download, not a client, so it goes on when the client that began it leaves. The file grows under a temporary name in
the store's folder. Readers start at any offset and get the first byte at once; the last HOLD_BACK bytes are held back from all of them
until length and digest are right, so no client ever has a complete wrong file, and none is stored.

Of several processes one owns the part file and downloads (`download`); the others follow its growth (`part_file`). When the owner dies a
follower takes over and continues with the bytes that are there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, override

from pkgcache.engine.fills.download import Download
from pkgcache.engine.fills.fill_request import FileHead, FillRequest
from pkgcache.engine.fills.progress import FillProgress
from pkgcache.engine.fills.uncached import UncachedDownload
from pkgcache.engine.responses.messages import CutShortError, DiskFailedError
from pkgcache.engine.runtime.tasks import shielded
from pkgcache.engine.store.entries import Entry
from pkgcache.engine.store.notes import FileNotes
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import WITHOUT_DISK, AllFailedError, Failure, NoRoomError, UpstreamError
from pkgcache.engine.upstream.places import PLACE_SECONDS, Asker, Kind, as_asker
from pkgcache.rules.routing.urls import parse_url

logger = logging.getLogger(__name__)

FOLLOW_SECONDS = 0.03
"""How often a process looks at a file that another one downloads: files tell nobody that they have grown."""


class Fill(FillProgress):
    """A download under way. `run` is the work of its `task`."""

    def __init__(
        self,
        request: FillRequest,
        path: Path,
        client: UpstreamClient,
        pool: ThreadPoolExecutor,
        *,
        report: Callable[[UpstreamError], None],
        reserve: Callable[[Path, int], Awaitable[bool]],
        disk_failed: Callable[[OSError], None],
        finish_abandoned: int,
    ) -> None:
        super().__init__(request, path, pool)
        self._client = client
        self._report = report
        self._download = Download(self, client, pool, report=report, reserve=reserve, grew=self._stop_if_abandoned)
        self.task: asyncio.Task[None] | None = None
        self.committed = False
        self._stopped = False
        self._disk_failed = disk_failed
        self._finish_abandoned = finish_abandoned

    @property
    def failing(self) -> bool:
        """Whether it has failed or is being stopped, so that no new reader should join it."""
        return self.error is not None or (self.task is not None and self.task.cancelling() > 0)

    @property
    def result(self) -> Literal["stored", "served", "stopped", "failed"]:
        """How it has ended."""
        if self.error is None:
            return "stored" if self.committed else "served"
        return "stopped" if self._stopped else "failed"

    @property
    def computed(self) -> str:
        """The digest of the bytes written so far, by the algorithm of the file's digest; SHA-256 where it has none."""
        return self._download.computed

    # Readers

    @override
    def release(self) -> None:
        """Also stop the download with its last reader, if the file is larger than `pypi_cache_finish_abandoned`."""
        super().release()
        if not self._ended:
            self._stop_if_abandoned()

    def _stop_if_abandoned(self) -> None:
        size = self.written if self.total is None else self.total
        if self._readers or self.task is None or self.verified or self.failing or size <= self._finish_abandoned:
            return
        logger.info("%s: all its clients have left; stopped (pypi_cache_finish_abandoned)", self.request.sources[0][0])
        self.task.cancel()

    def _give_way(self) -> None:
        """Stop for another download that clients wait for. Nobody reads this one."""
        if self.task is not None and not self.verified:
            logger.info("%s: all its clients have left; stopped for another download", self.request.sources[0][0])
            self.task.cancel()

    @override
    def _cut_short(self, error: AllFailedError) -> CutShortError:
        if error.failures & WITHOUT_DISK:
            return DiskFailedError(str(error), self._without_disk)
        return super()._cut_short(error)

    def _without_disk(self, at: int, stop: int | None) -> UncachedDownload:
        """The rest of the file for one reader, once the disk has failed. Raises CutShortError where that cannot be verified."""
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

    # The work

    async def run(
        self,
        find: Callable[[], Awaitable[tuple[Entry, FileNotes] | None]],
        commit: Callable[[Fill], Coroutine[Any, Any, bool]],
    ) -> None:
        """Download and `commit` the file, or follow the process that does. Raises nothing but CancelledError.

        `find` looks into the store once more, after this process has become the owner: another one may have committed the file just
        before. A cancellation does not stop the commit of a verified file, since clients may have all of it.
        """
        # Where there is nobody else to ask the fill waits, and its clients come again.
        sole = len(self.request.sources) == 1
        as_asker(
            Asker(
                kind=Kind.FILES,
                patience=None if sole else PLACE_SECONDS,
                is_spare=lambda: self._readers == 0,
                give_way=self._give_way,
            )
        )
        try:
            await self._download_or_follow(find, commit)
        except AllFailedError as error:
            await self._end_in_failure(error)
        except NoRoomError as error:
            logger.info("%s: %s; not kept", self.request.sources[0][0], error)
            await self._end_in_failure(
                AllFailedError([UpstreamError(Failure.NO_ROOM, str(self.file.path), str(error))])
            )
        except OSError as error:
            self._disk_failed(error)
            await self._end_in_failure(
                AllFailedError([UpstreamError(Failure.DISK, str(self.file.path), f"cannot be written: {error}")])
            )
        except asyncio.CancelledError as stop:
            if self.verified:
                raise
            stop.__traceback__ = None  # its frames hold the response, and megabytes that were read ahead
            self.fail(AllFailedError([UpstreamError(Failure.BROKEN, str(self.file.path), "the download was stopped")]))
            self.file.release()  # so that a follower can take over
            self._stopped = True
            # At the service's end `clean_up` follows at once: give followers the time to see that the lock is free.
            await asyncio.sleep(10 * FOLLOW_SECONDS)
            raise
        finally:
            if not self.verified and self.error is None:  # a bug of ours; readers must not wait for ever
                self.fail(AllFailedError([UpstreamError(Failure.BROKEN, str(self.file.path), "pypi-cache failed")]))
            self.file.remove()  # unless the store has renamed it: it is wrong, or of no more use
            self.file.release()  # a follower that missed the last state takes over and looks into the store

    async def _download_or_follow(
        self,
        find: Callable[[], Awaitable[tuple[Entry, FileNotes] | None]],
        commit: Callable[[Fill], Coroutine[Any, Any, bool]],
    ) -> None:
        await self.in_thread(self.file.open)
        while not self.file.owned:
            if await self._follow():
                return
        if (found := await find()) is not None:
            await self._be_stored(*found)
            return
        await self._download.run()
        await self.publish("verified")
        self.be_verified()
        self.committed = await shielded(commit(self))

    def clean_up(self) -> None:
        """Remove the published state, and the part file of a stopped download, unless a follower has taken over."""
        if not self._stopped or self.file.claim():
            self.file.remove()
            self.file.remove_state()
        self.end()

    async def _be_stored(self, entry: Entry, notes: FileNotes) -> None:
        """Become the stored file: its open file, or the bytes of a small one."""
        if entry.file is None:
            await self.in_thread(lambda: self.file.write(entry.value, 0))
        else:
            with entry.file:
                self.file.become(entry.file.fileno())
        self.attempt = notes.attempt
        self.head = FileHead(total=entry.size, headers=notes.upstream_headers, source=parse_url(notes.url))
        self.written = entry.size
        self.committed = True
        self.be_verified()

    async def _end_in_failure(self, error: AllFailedError) -> None:
        """Fail, and tell other processes first: a client that is woken here may start a new fill at once, under the same file name."""
        if self.file.owned:
            await self.publish("failed", error=str(error))
        self.fail(error)

    # Following another process

    async def _follow(self) -> bool:
        """Take over what the owner has published and written; returns whether the fill is over.

        If the owner is gone this process becomes the owner. Raises AllFailedError if the owner has failed.
        """
        state = await self.in_thread(self.file.read_published)
        if state is not None:
            self.apply(state)
            if state.state == "verified":
                self.written = self.file.size
                self.be_verified()
                return True
            if state.state == "failed":
                raise AllFailedError([UpstreamError(Failure.BROKEN, state.source or str(self.file.path), state.error)])
        size = self.file.size
        if size != self.written:
            self.written = size
            self.wake_readers()
        if self.file.claim():
            self._take_over()
        else:
            await asyncio.sleep(FOLLOW_SECONDS)
        return False

    def _take_over(self) -> None:
        """Continue as the owner, whose lock this process has got."""
        state = self.file.read_published()
        if state is not None and state.state != "growing":
            # It published its end between our last look and its release of the lock: `_follow` takes that over first.
            self.file.release()
        elif not self.file.in_place:
            # It was stopped and has removed the file. Start again; readers that have some of its bytes are cut.
            self.file.close()
            self.file.open()
            self.begin_again(self.generation + 1)
        else:
            logger.info(
                "%s: the process that downloaded it is gone; continuing with its %d bytes",
                self.request.sources[0][0],
                self.written,
            )
