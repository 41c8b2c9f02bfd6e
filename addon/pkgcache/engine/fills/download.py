"""Downloading a file from its upstreams: each in turn, resumed where a connection broke, and verified at the end.

An upstream that broke off is asked for the rest (`Range`, `If-Range`), then the next one is. Bytes of two upstreams are put together
only where a digest can tell whether that went well. If it did not, all of them are thrown away, and those that may have sent the wrong
ones are not asked again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from multidict import CIMultiDict

from pkgcache.engine.fills.doubtful import MAX_SPOOLED, Doubt, Judged, judge
from pkgcache.engine.fills.fill_request import IDENTITY, FileHead, check_response
from pkgcache.engine.fills.growth import Growth
from pkgcache.engine.fills.progress import FillProgress
from pkgcache.engine.fills.sources import TRANSIENT, Again, Sources
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.routing.digests import Digest, Hasher
from pkgcache.rules.routing.urls import Url

MAX_RESUMES = 50
"""One upstream is asked again at most this often: some close each connection after a few MB."""

PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each round over the upstreams. After the first only a file that has bytes already gets another round: nobody has
been told of the others yet, and their clients ask again by themselves."""

MOST_PAUSE = 6.0
"""Seconds that a download waits at most where an upstream says `Retry-After`: its clients wait for 15 s without a byte."""

REHASH_CHUNK = 1 << 20


class Download:
    """One download into a part file that this process owns.

    `report` is told of each failure, `reserve` asks for room, and `grew` is called after each chunk of a file of unknown length.
    """

    def __init__(
        self,
        progress: FillProgress,
        client: UpstreamClient,
        pool: ThreadPoolExecutor,
        *,
        report: Callable[[UpstreamError], None],
        reserve: Callable[[Path, int], Awaitable[bool]],
        grew: Callable[[], None],
    ) -> None:
        self._progress = progress
        self._part = progress.file
        self._request = progress.request
        self._client = client
        self._pool = pool
        self._report = report
        self._growth = Growth(progress.file.path, reserve)
        self._grew = grew
        self._hasher: Hasher = self._new_hasher()
        self._writing: tuple[asyncio.Future[None], int] | None = None
        self._tags: dict[Url, str] = {}  # each source's strong entity tag, for If-Range
        self._contributors: set[Url | None] = set()  # who sent the bytes and the length; None: a process that died
        self._sources = Sources(self._request, client)
        self._doubt: tuple[Doubt, FileHead] | None = None  # about the bytes that come, which no client has heard of

    async def run(self) -> None:
        """Download the file, or the rest of one that a process began and died. Raises AllFailedError, NoRoomError and OSError."""
        await self._prepare()
        await self._from_sources()

    @property
    def computed(self) -> str:
        """The digest of the bytes written so far, by the algorithm of the file's digest; SHA-256 where it has none."""
        return self._hasher.hexdigest()

    def _new_hasher(self) -> Hasher:
        return (self._request.digest or Digest("sha256", "0" * 64)).hasher()

    async def _prepare(self) -> None:
        """Start with an empty file, or with the bytes of an owner that died, where a digest can tell whether they are right."""
        if self._part.is_new:  # nobody has told others anything, and there is nothing to tell yet
            return
        state = await self._progress.in_thread(self._part.read_published)
        size = self._part.size
        if state is not None:
            self._progress.apply(state)
        if size and (state is None or not state.begun or self._request.digest is None):
            await self._progress.in_thread(self._part.truncate)
            size = 0
            self._progress.begin_again(self._progress.generation + 1)
        self._progress.written = size
        self._contributors = {None} if self._progress.head is not None else set()
        if size:
            await self._progress.in_thread(lambda: self._rehash(size))
        await self._progress.publish()
        self._progress.wake_readers()

    def _rehash(self, size: int) -> None:
        for offset in range(0, size, REHASH_CHUNK):
            self._hasher.update(os.pread(self._part.fileno(), min(REHASH_CHUNK, size - offset), offset))

    # From the upstreams

    async def _from_sources(self) -> None:
        """Ask each source in turn, and again after a pause where that may help. Raises AllFailedError."""
        errors: list[UpstreamError] = []
        for pause in PAUSES:
            if pause and not self._progress.written:
                break
            asked = [each.retry_after for each in errors if each.overloaded and each.retry_after is not None]
            await asyncio.sleep(max(pause, min([*asked, MOST_PAUSE])) if asked else pause)
            if await self._try_sources(errors):
                return
        missing = any(error.failure is Failure.NOT_FOUND for error in errors)
        if self._request.otherwise is None or not missing or self._progress.written:
            raise AllFailedError(errors)
        try:
            await self._take_whole(await self._request.otherwise())
        except UpstreamError as error:
            self._report(error)
            raise AllFailedError([*errors, error]) from error

    async def _take_whole(self, content: bytes) -> None:
        """Take the bytes that were found in another way (`FillRequest.otherwise`)."""
        headers = CIMultiDict({"Content-Type": "application/octet-stream"})
        self._progress.head = FileHead(total=len(content), headers=headers, source=self._request.sources[0][0])
        await self._append(self._request.sources[0][0], content)
        await self._finish_writing()
        self._check()

    async def _try_sources(self, errors: list[UpstreamError]) -> bool:
        """Ask each source that is left once; returns whether the file is complete and correct.

        Where bytes of several sources do not have the digest, the last one is asked for the whole file first: the others broke off
        before.
        """
        candidates = self._sources.left()
        while candidates or await self._reconsider():
            candidates = candidates or self._sources.left()
            url, authorization = candidates.pop(0)
            error = await self._from_source(url, authorization)
            if error is None:
                return True
            errors.append(error)
            if error.failure is Failure.WRONG_DIGEST:
                self._sources.sent_wrong_bytes(self._contributors - {url} or {url})
                await self._start_over()
                candidates = self._sources.left()
            else:
                self._sources.refuse(url, error)
        return False

    async def _reconsider(self) -> bool:
        """When no source is left: whether some of them get another chance."""
        again = self._sources.reconsider(self._contributors, began=self._progress.written > 0)
        if again is Again.START_OVER:
            await self._start_over()
        return again is not Again.NO

    async def _from_source(self, url: Url, authorization: str) -> UpstreamError | None:
        """Take what one source sends, and resume while that brings new bytes. None: the file is complete and correct."""
        failed: UpstreamError | None = None
        stuck = 0
        for _ in range(MAX_RESUMES):
            if self._progress.written and self._request.digest is None and url not in self._tags:
                return failed or UpstreamError(Failure.BROKEN, url, "it has no digest, so it cannot be resumed")
            before = self._progress.written
            try:
                if self._progress.written == 0 or self._progress.written != self._progress.total:
                    await self._pull(url, authorization)
                await self._judge()
                self._check()
            except UpstreamError as error:
                self._report(error)
                failed = error.to_keep()
                if self._doubt is not None:  # what has come of it is no beginning for anybody else
                    self._doubt = None
                    await self._start_over()
                    return error
                stuck = stuck + 1 if self._progress.written == before else 0
                stalled = error.failure is Failure.TIMEOUT and len(self._request.sources) > 1
                # A connection that breaks can lose bytes which had come already: one break without new bytes is forgiven.
                forgiven = 1 if error.failure is Failure.BROKEN else 0
                if error.failure not in TRANSIENT or stalled or stuck > forgiven:
                    return error
            else:
                return None
        return failed

    async def _judge(self) -> None:
        """Where the bytes that have come are doubtful: find out which are the file's. Raises UpstreamError."""
        if self._doubt is None:
            return
        doubt, head = self._doubt
        raw = Judged(self._progress.written, self._hasher)
        if head.total not in {None, raw.size}:
            raise UpstreamError(Failure.BROKEN, doubt.url, f"it ended after {raw.size} of {head.total} bytes")
        filename, digest = self._request.sources[0][0].path.rpartition("/")[2], self._request.digest
        found = await self._progress.in_thread(lambda: judge(self._part.fileno(), raw, doubt, digest, filename))
        self._doubt = None
        self._hasher, self._progress.written = found.hasher, found.size
        await self._growth.cover(found.size, found.size)
        self._progress.head = replace(head, total=found.size)
        await self._progress.publish()

    def _check(self) -> None:
        """Check length and digest of the written file. Raises UpstreamError."""
        total, digest = self._progress.total, self._request.digest
        assert self._progress.head is not None
        source = self._progress.head.source
        if total is not None and self._progress.written != total:
            raise UpstreamError(Failure.BROKEN, source, f"it ended after {self._progress.written} of {total} bytes")
        if digest is not None and (fault := digest.mismatch(self.computed)):
            raise UpstreamError(Failure.WRONG_DIGEST, source, fault)

    async def _start_over(self) -> None:
        """Throw the bytes away, here and in the processes that follow. Why has been reported."""
        self._progress.begin_again(self._progress.generation + 1)
        self._hasher = self._new_hasher()
        self._tags.clear()
        self._contributors = set()
        await self._progress.in_thread(self._part.truncate)
        await self._progress.publish()

    async def _pull(self, url: Url, authorization: str) -> None:
        """Read one source from the end of the file on. Raises UpstreamError; the bytes written before that stay."""
        headers = dict(IDENTITY)
        if self._progress.written:
            headers["Range"] = f"bytes={self._progress.written}-"
            if url in self._tags:
                headers["If-Range"] = self._tags[url]
        async with self._request.response(self._client, url, headers, authorization) as response:
            skip = await self._accept(url, response)
            try:
                while chunk := await response.chunk():
                    if skip >= len(chunk):
                        skip -= len(chunk)
                    else:
                        self._contributors.add(url)
                        await self._append(response.url, chunk[skip:] if skip else chunk)
                        skip = 0
                    await self._client.places.pace_spare()
            finally:
                await self._finish_writing()

    async def _accept(self, url: Url, response: UpstreamResponse) -> int:
        """Check a response, and announce the file if it is the first good one.

        Returns how many bytes of the body to skip: from an upstream that ignores ranges those that are written already. Raises
        UpstreamError and NoRoomError.
        """
        doubt = None if self._progress.written else self._sources.doubt(url, response)
        expected = self._progress.total if self._progress.head is not None else None if doubt else self._sources.size
        first, total = check_response(response, self._progress.written, expected, doubtful=doubt is not None)
        if doubt is not None:
            if (total or 0) > MAX_SPOOLED:
                raise UpstreamError(
                    Failure.WRONG_LENGTH, response.url, f"{doubt.detail}, and longer than {MAX_SPOOLED:,} bytes"
                )
            self._progress.head = None
            self._doubt = doubt, FileHead(total=total, headers=CIMultiDict(response.headers), source=response.url)
            return 0
        if first != self._progress.written and self._request.digest is None:
            # RFC 9110 §13.1.5: with If-Range, 200 means that the file is another one by now.
            raise UpstreamError(Failure.WRONG_SPAN, response.url, "the file has changed, and it has no digest")
        if self._progress.head is None:
            # Clients are told only the upstream's own length: the page's may be wrong, and would cut their connection.
            known = total if total is not None else self._sources.size
            if known:  # what cannot fit is not even begun
                await self._growth.cover(0, known)
            self._progress.head = FileHead(total=total, headers=CIMultiDict(response.headers), source=response.url)
            self._contributors.add(url)
            self._progress.announce_unless_held_back()
            if not self._progress.is_held_back:  # else nobody may read it before its end, of which all are told
                await self._progress.publish()  # before the first byte is written; clients need not wait for it
        # RFC 9110 §13.1.5: If-Range takes a strong entity tag.
        tag = response.headers.get("ETag", "")
        if tag.startswith('"'):
            self._tags[url] = tag
        return self._progress.written - first

    async def _append(self, url: Url, chunk: bytes) -> None:
        """Start to hash and write a chunk in a thread, once the chunk before is written. The next one is read meanwhile."""
        await self._finish_writing()
        if self._progress.total is not None and self._progress.written + len(chunk) > self._progress.total:
            raise UpstreamError(Failure.WRONG_LENGTH, url, f"more than the {self._progress.total} bytes announced")
        if self._doubt is not None and self._progress.written + len(chunk) > MAX_SPOOLED:
            raise UpstreamError(Failure.WRONG_LENGTH, url, f"longer than {MAX_SPOOLED:,} bytes")
        await self._growth.cover(self._progress.written + len(chunk), self._progress.total)
        writing = asyncio.get_running_loop().run_in_executor(self._pool, self._write, chunk)
        self._writing = (writing, len(chunk))
        writing.add_done_callback(self._wrote)

    def _wrote(self, writing: asyncio.Future[None]) -> None:
        """Let readers have a written chunk. The loop calls it, and so does `_finish_writing`: the first call counts."""
        if self._writing is None or self._writing[0] is not writing or writing.cancelled() or writing.exception():
            return
        self._progress.written += self._writing[1]
        self._writing = None
        self._progress.wake_readers()
        if self._progress.total is None:
            self._grew()

    async def _finish_writing(self) -> None:
        """Wait for the write that is under way, if there is one. Raises OSError."""
        if self._writing is None:
            return
        writing = self._writing[0]
        try:
            await writing
            self._wrote(writing)
        finally:
            self._writing = None

    def _write(self, chunk: bytes) -> None:
        self._hasher.update(chunk)
        self._part.write(chunk, self._progress.written)
