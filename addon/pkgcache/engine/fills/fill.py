"""One download of one file: owned by a task, never by a client, and followed by any number of readers.

The file grows under a temporary name in the store's folder. Readers follow it from any offset, the first byte at once; the last
HOLD_BACK bytes are kept from all of them until length and digest are right, so a wrong file is never complete at any client and
never stored (engine/growth.py). Across processes one of them owns the growing file and brings it (engine/download.py), and the others
follow it; when the owner dies, a follower goes on with what is there (engine/growing.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, override

from pkgcache.engine.fills.download import Download
from pkgcache.engine.fills.fill_request import FileHead, FillRequest
from pkgcache.engine.fills.progress import FillProgress
from pkgcache.engine.fills.uncached import UncachedDownload
from pkgcache.engine.responses.messages import CutShortError, DiskFailedError
from pkgcache.engine.runtime.tasks import shielded
from pkgcache.engine.store.entries import Entry
from pkgcache.engine.store.notes import FileNotes
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError, Failure, NoRoomError, UpstreamError
from pkgcache.rules.routing.urls import parse_url

logger = logging.getLogger(__name__)

FOLLOW_SECONDS = 0.03


class Fill(FillProgress):
    """A download under way. `run` is its task's work; readers come by `attach` and see it through `reach`."""

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
        """It has failed or is being stopped: no use for anyone who comes now."""
        return self.error is not None or (self.task is not None and self.task.cancelling() > 0)

    @property
    def computed(self) -> str:
        """The digest of what was written, by the algorithm of the wanted digest (sha256 where none was)."""
        return self._download.computed

    # Readers

    @override
    def release(self) -> None:
        """When the last reader has left, the fill goes on or stops as `pypi_cache_finish_abandoned` says."""
        super().release()
        if not self._ended:
            self._stop_if_abandoned()

    def _stop_if_abandoned(self) -> None:
        size = self.written if self.total is None else self.total
        if self._readers or self.task is None or self.verified or self.failing or size <= self._finish_abandoned:
            return
        logger.info("%s: all its clients have left; stopped (pypi_cache_finish_abandoned)", self.request.sources[0][0])
        self.task.cancel()

    @override
    def _cut_short(self, error: AllFailedError) -> CutShortError:
        if Failure.DISK in error.failures:
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
        """Bring the file or follow who brings it; the owner verifies and `commit`s it. Never raises but when cancelled.

        Cancelling does not keep a file from being committed that clients may have all of. `find` looks into the store once more, inside
        the flight: another process may have committed the file meanwhile.
        """
        try:
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
        except AllFailedError as error:
            await self._end_in_failure(error)
        except NoRoomError as error:
            logger.info("%s: %s; not kept", self.request.sources[0][0], error)
            await self._end_in_failure(AllFailedError([UpstreamError(Failure.DISK, str(self.file.path), str(error))]))
        except OSError as error:
            self._disk_failed(error)
            await self._end_in_failure(
                AllFailedError([UpstreamError(Failure.DISK, str(self.file.path), f"cannot be written: {error}")])
            )
        except asyncio.CancelledError:
            if self.verified:
                raise
            self.fail(AllFailedError([UpstreamError(Failure.BROKEN, str(self.file.path), "the download was stopped")]))
            self.file.release()  # a follower may go on; `clean_up` comes later
            self._stopped = True
            await asyncio.sleep(3 * FOLLOW_SECONDS)  # at the service's end it would come before any follower has looked
            raise
        finally:
            if not self.verified and self.error is None:  # an error in our own code: nobody may wait for ever
                self.fail(AllFailedError([UpstreamError(Failure.BROKEN, str(self.file.path), "pypi-cache failed")]))
            self.file.remove()  # the store has renamed it, or nobody may have it
            self.file.release()  # a follower that missed the last word looks for itself, and does not wait for `clean_up`

    def clean_up(self) -> None:
        """Once it is forgotten: remove its word, and what a stopped download left if no follower has gone on with it."""
        if not self._stopped or self.file.claim():
            self.file.remove()
            self.file.remove_state()
        self.end()

    async def _be_stored(self, entry: Entry, notes: FileNotes) -> None:
        """The store has the file after all: an open one, or the bytes of a small one."""
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
        """Other processes hear of it first: whoever is woken here may begin anew at once, and must find neither word nor file."""
        if self.file.owned:
            await self.publish("failed", error=str(error))
        self.fail(error)

    # Following another process

    async def _follow(self) -> bool:
        """Look at what the owner has; True when it is over. When the owner is gone this process is the owner, and it is not."""
        word = await self.in_thread(self.file.read_published)
        if word is not None:
            self.apply(word)
            if word.state == "verified":
                self.written = self.file.size
                self.be_verified()
                return True
            if word.state == "failed":
                raise AllFailedError([UpstreamError(Failure.BROKEN, word.source or str(self.file.path), word.error)])
        size = self.file.size
        if size != self.written:
            self.written = size
            self.wake_readers()
        if self.file.claim():
            return self._inherit()
        await asyncio.sleep(FOLLOW_SECONDS)
        return False

    def _inherit(self) -> bool:
        """The owner is gone: whether there is nothing to go on with. Its last word is heard first, by another round."""
        word = self.file.read_published()
        if word is not None and word.state != "growing":
            self.file.release()
            return False
        if not self.file.in_place:  # who left it took it away: begin again, those that have some of it are cut
            self.file.close()
            self.file.open()
            self.begin_again(self.generation + 1)
            return False
        logger.info(
            "%s: the process that fetched it is gone; going on with its %d bytes",
            self.request.sources[0][0],
            self.written,
        )
        return False
