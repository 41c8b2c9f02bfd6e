"""Bringing a file's bytes from its upstreams: each in turn, resumed where it broke off, and verified at the end.

A broken upstream is asked for the rest (`Range`, `If-Range`), then the next one, where a digest makes mixing safe. What turns out wrong
is thrown away, and whoever may have lied is not asked again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from multidict import CIMultiDict

from pkgcache.engine.fills.fill_request import IDENTITY, FileHead, check_response
from pkgcache.engine.fills.progress import FillProgress
from pkgcache.engine.upstream.client import UpstreamClient, UpstreamResponse
from pkgcache.engine.upstream.errors import AllFailedError, Failure, NoRoomError, UpstreamError
from pkgcache.rules.routing.digests import Digest, Hasher
from pkgcache.rules.routing.urls import Url

logger = logging.getLogger(__name__)

MAX_RESUMES = 50
PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each round over the upstreams; a second round only for a file that has begun to flow."""

REHASH_CHUNK = 1 << 20
_TRANSIENT = frozenset({Failure.UNREACHABLE, Failure.TIMEOUT, Failure.BROKEN, Failure.STATUS})


class Download:
    """The owner's work on a growing file. `grew` hears of each chunk of a file whose length is not known."""

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
        self._request = progress.request
        self._client = client
        self._pool = pool
        self._report = report
        self._reserve = reserve
        self._grew = grew
        self._hasher: Hasher = self._new_hasher()
        self._writing: tuple[asyncio.Future[None], int] | None = None
        self._validator = ""
        self._validator_of: Url | None = None
        self._givers: set[Url | None] = set()  # whose word and bytes these are; None: a dead owner's

    async def run(self) -> None:
        """Bring the file, or what a dead owner left of it to its end. Raises AllFailedError, NoRoomError, OSError."""
        await self._go_on()
        await self._from_sources()

    @property
    def computed(self) -> str:
        """The digest of what was written, by the algorithm of the wanted digest (sha256 where none was)."""
        return self._hasher.hexdigest()

    def _new_hasher(self) -> Hasher:
        return (self._request.digest or Digest("sha256", "0" * 64)).hasher()

    # Going on

    async def _go_on(self) -> None:
        """Begin, or go on with what a dead owner left: only a digest makes that safe."""
        state = await self._progress.in_thread(self._progress.file.read_published)
        size = self._progress.file.size
        if state is not None:
            self._progress.apply(state)
        if size and (state is None or not state.begun or self._request.digest is None):
            await self._progress.in_thread(self._progress.file.truncate)
            size = 0
            self._progress.begin_again(self._progress.generation + 1)
        self._progress.written = size
        self._givers = {None} if self._progress.head is not None else set()
        if size:
            await self._progress.in_thread(lambda: self._rehash(size))
        await self._progress.publish()
        self._progress.wake_readers()

    def _rehash(self, size: int) -> None:
        for offset in range(0, size, REHASH_CHUNK):
            self._hasher.update(os.pread(self._progress.file.fileno(), min(REHASH_CHUNK, size - offset), offset))

    # From the upstreams

    async def _from_sources(self) -> None:
        """Each source in turn, and again after a pause where that may help; raises AllFailedError when none is left."""
        errors: list[UpstreamError] = []
        bad: dict[Url | None, Failure] = {}
        for pause in PAUSES:
            if pause and not self._progress.written:
                break
            await asyncio.sleep(pause)
            if await self._round(errors, bad):
                return
        lacking = any(error.failure is Failure.NOT_FOUND for error in errors)
        if self._request.otherwise is None or not lacking or self._progress.written:
            raise AllFailedError(errors)
        try:
            await self._take_whole(await self._request.otherwise())
        except UpstreamError as error:
            self._report(error)
            raise AllFailedError([*errors, error]) from error

    async def _take_whole(self, content: bytes) -> None:
        """The file's bytes, found another way."""
        headers = CIMultiDict({"Content-Type": "application/octet-stream"})
        self._progress.head = FileHead(total=len(content), headers=headers, source=self._request.sources[0][0])
        await self._append(self._request.sources[0][0], content)
        await self._settle()
        self._check()

    async def _round(self, errors: list[UpstreamError], bad: dict[Url | None, Failure]) -> bool:
        """One round over the sources that are not `bad`; true when the file is whole and right.

        Where the bytes of several turn out wrong together, those that broke off are to blame first: the last is asked for all of it.
        Who was refused for another length than that of the wrong bytes may be right.
        """
        candidates = [source for source in self._client.healthy_first(self._request.sources) if source[0] not in bad]
        while candidates or await self._doubted(errors, bad):
            if not candidates:
                candidates = [
                    source for source in self._client.healthy_first(self._request.sources) if source[0] not in bad
                ]
                continue
            url, authorization = candidates.pop(0)
            error = await self._from_source(url, authorization)
            if error is None:
                return True
            errors.append(error)
            if error.failure is Failure.WRONG_DIGEST:
                for lying in self._givers - {url} or {url}:
                    bad[lying] = error.failure
                for refused in [each for each, why in bad.items() if why is Failure.WRONG_LENGTH]:
                    del bad[refused]
                await self._start_over(error)
                candidates = [
                    source for source in self._client.healthy_first(self._request.sources) if source[0] not in bad
                ]
            elif error.failure not in _TRANSIENT or (error.failure is Failure.STATUS and error.status < 500):
                bad[url] = error.failure
        return False

    async def _doubted(self, errors: list[UpstreamError], bad: dict[Url | None, Failure]) -> bool:
        """Where others are left out for another length than that of who began: whether they are to be believed from now on."""
        refused = {url for url, why in bad.items() if why is Failure.WRONG_LENGTH}
        believed = self._givers - refused
        if not refused or not believed or self._request.digest is None:
            return False
        bad.update(dict.fromkeys(believed, Failure.WRONG_DIGEST))
        for url in refused:
            del bad[url]
        await self._start_over(errors[-1])
        return True

    async def _from_source(self, url: Url, authorization: str) -> UpstreamError | None:
        """All that one source gives, resumed as long as it makes headway; None when the file is whole and right."""
        failed: UpstreamError | None = None
        stuck = 0
        for _ in range(MAX_RESUMES):
            if (
                self._progress.written
                and self._request.digest is None
                and not (self._validator and self._validator_of == url)
            ):
                return failed or UpstreamError(
                    Failure.BROKEN, url, "the file has no digest, so nothing can be gone on with"
                )
            before = self._progress.written
            try:
                if self._progress.written == 0 or self._progress.written != self._progress.total:
                    await self._pull(url, authorization)
                self._check()
            except UpstreamError as error:
                self._report(error)
                failed = error
                stuck = stuck + 1 if self._progress.written == before else 0
                stalled = error.failure is Failure.TIMEOUT and len(self._request.sources) > 1
                patience = 1 if error.failure is Failure.BROKEN else 0  # a break may swallow what had come before it
                if error.failure not in _TRANSIENT or stalled or stuck > patience:
                    return error
            else:
                return None
        return failed

    def _check(self) -> None:
        total, digest = self._progress.total, self._request.digest
        assert self._progress.head is not None
        source = self._progress.head.source
        if total is not None and self._progress.written != total:
            raise UpstreamError(Failure.BROKEN, source, f"it ended after {self._progress.written} of {total} bytes")
        if digest is not None and self.computed != digest.value:
            raise UpstreamError(
                Failure.WRONG_DIGEST,
                source,
                f"its {digest.algorithm} is {self.computed}, and should be {digest.value}",
            )

    async def _start_over(self, error: UpstreamError) -> None:
        """Throw the bytes away. Readers that have some of them are cut; the others wait for the next source's."""
        logger.warning("%s; all of it is thrown away", error)
        self._progress.begin_again(self._progress.generation + 1)
        self._hasher = self._new_hasher()
        self._validator = ""
        self._givers = set()
        await self._progress.in_thread(self._progress.file.truncate)
        await self._progress.publish()

    async def _pull(self, url: Url, authorization: str) -> None:
        """Read one source from where the file ends. Raises UpstreamError; what was written before stays."""
        headers = dict(IDENTITY)
        if self._progress.written:
            headers["Range"] = f"bytes={self._progress.written}-"
            if self._validator and self._validator_of == url:
                headers["If-Range"] = self._validator
        async with self._client.request(
            "GET", url, headers, authorization, sole_source=len(self._request.sources) == 1
        ) as answer:
            skip = await self._judge(url, answer)
            try:
                while chunk := await answer.chunk():
                    if skip >= len(chunk):
                        skip -= len(chunk)
                    else:
                        self._givers.add(url)
                        await self._append(answer.url, chunk[skip:] if skip else chunk)
                        skip = 0
            finally:
                await self._settle()

    async def _judge(self, url: Url, answer: UpstreamResponse) -> int:
        """Check a response; how many bytes of its body to skip, because they are written already. Raises UpstreamError."""
        expected = self._progress.total if self._progress.head is not None else self._request.size
        first, total = check_response(answer, self._progress.written, expected)
        if first != self._progress.written and self._request.digest is None:
            # Not only does it ignore ranges: `If-Range` may have failed, and then these are bytes of another file.
            raise UpstreamError(
                Failure.WRONG_SPAN, answer.url, "the file has changed, and it has no digest to go on with"
            )
        if self._progress.head is None:
            known = total if total is not None else self._request.size
            if known and not await self._reserve(self._progress.file.path, known):
                raise NoRoomError(f"its {known:,} bytes find no room on the disk beside what is to be left free")
            self._progress.head = FileHead(total=known, headers=CIMultiDict(answer.headers), source=answer.url)
            self._givers.add(url)
            await self._progress.publish()
            self._progress.announce_unless_held_back()
        self._validator, self._validator_of = _strong_validator(answer), url
        return self._progress.written - first

    async def _append(self, url: Url, chunk: bytes) -> None:
        """Begin to hash and write a chunk, once the one before is written: the next is read meanwhile."""
        await self._settle()
        if self._progress.total is not None and self._progress.written + len(chunk) > self._progress.total:
            raise UpstreamError(
                Failure.WRONG_LENGTH, url, f"more than the {self._progress.total} bytes that were announced"
            )
        writing = asyncio.get_running_loop().run_in_executor(self._pool, self._write, chunk)
        self._writing = (writing, len(chunk))
        writing.add_done_callback(self._wrote)

    def _wrote(self, writing: asyncio.Future[None]) -> None:
        """Readers may have what is written, once: `_settle` may come before the loop has called this."""
        if self._writing is None or self._writing[0] is not writing or writing.cancelled() or writing.exception():
            return
        self._progress.written += self._writing[1]
        self._writing = None
        self._progress.wake_readers()
        if self._progress.total is None:
            self._grew()

    async def _settle(self) -> None:
        """Wait for the write that is under way. Raises OSError."""
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
        self._progress.file.write(chunk, self._progress.written)


def _strong_validator(answer: UpstreamResponse) -> str:
    """What `If-Range` may carry (RFC 9110 §13.1.5): a strong entity tag."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else ""
