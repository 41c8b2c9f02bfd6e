"""One download of one file: owned by a task, never by a client, and followed by any number of readers.

The file grows under a temporary name in the store's folder. Readers follow it from any offset, the first byte at once; the last
HOLD_BACK bytes are kept from all of them until length and digest are right, so a wrong file is never complete at any client and
never stored. A broken upstream is resumed there (`Range`, `If-Range`), then on the next one, where a digest makes mixing safe.

Across processes one of them owns the growing file and the others follow it; when the owner dies, a follower goes on with what is
there (engine/growing.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from multidict import CIMultiDict

from pkgcache.engine.entries import Entry
from pkgcache.engine.growing import GrowingFile, State, Word
from pkgcache.engine.messages import CutShortError, DiskFailedError
from pkgcache.engine.readers import HOLD_BACK, Reader
from pkgcache.engine.unstored import Unstored
from pkgcache.engine.upstream import Answer, Failure, UpstreamClient, UpstreamError
from pkgcache.rules.digests import Digest, Hasher
from pkgcache.rules.ranges import parse_content_range
from pkgcache.rules.urls import Url, parse_url

logger = logging.getLogger(__name__)

MAX_RESUMES = 50
PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each round over the upstreams; a second round only for a file that has begun to flow."""

FOLLOW_SECONDS = 0.03
REHASH_CHUNK = 1 << 20
_IDENTITY = {"Accept": "*/*", "Accept-Encoding": "identity"}
_TRANSIENT = frozenset({Failure.UNREACHABLE, Failure.TIMEOUT, Failure.BROKEN, Failure.STATUS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a fill is to bring: the digest that it must have (None: unknown), its size if a page told, and where it may be had."""

    digest: Digest | None
    size: int | None
    sources: Sequence[tuple[Url, str]]
    otherwise: Callable[[], Awaitable[bytes]] | None = None
    """Another way to its bytes, where no source gives it and one says that it does not have it; may raise UpstreamError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the first good upstream said of the file. `total` is None where it gave no length."""

    total: int | None
    headers: CIMultiDict[str]
    source: Url


class FillError(Exception):
    """No upstream gave the file: what each said, in order."""

    def __init__(self, errors: Sequence[UpstreamError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(str(error) for error in errors) or "there is no upstream to ask")


class NoRoomError(OSError):
    """The disk is too small for a file, beside what it is to leave free: nothing is wrong with it."""


class Fill:
    """A download under way. `run` is its task's work; readers come by `attach` and see it through `reach`."""

    def __init__(
        self,
        wanted: Wanted,
        path: Path,
        client: UpstreamClient,
        pool: ThreadPoolExecutor,
        *,
        report: Callable[[UpstreamError], None],
        reserve: Callable[[Path, int], Awaitable[bool]],
        disk_failed: Callable[[OSError], None],
        finish_abandoned: int,
    ) -> None:
        self.wanted = wanted
        self.attempt = secrets.token_hex(4)
        self.generation = 0
        self.written = 0
        self.head: Head | None = None
        self._announced: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self.error: FillError | None = None
        self.task: asyncio.Task[None] | None = None
        self.file = GrowingFile(path)
        self._readers = 0
        self.committed = False
        self._stopped = False
        self._forgotten = False
        self._verified = False
        self._changed = asyncio.Event()
        self._client = client
        self._pool = pool
        self._report = report
        self._reserve = reserve
        self._disk_failed = disk_failed
        self._finish_abandoned = finish_abandoned
        self._hasher: Hasher = self._new_hasher()
        self._writing: tuple[asyncio.Future[None], int] | None = None
        self._validator = ""
        self._validator_of: Url | None = None
        self._givers: set[Url | None] = set()  # whose word and bytes these are; None: a dead owner's

    # For readers

    @property
    def total(self) -> int | None:
        """The file's length, as far as it is known."""
        return self.head.total if self.head else None

    @property
    def available(self) -> int:
        """The end of what readers may have now."""
        if self._verified:
            return self.written
        total = self.total
        return max(0, self.written - HOLD_BACK if total is None else min(self.written, total - HOLD_BACK))

    @property
    def failing(self) -> bool:
        """It has failed or is being stopped: no use for anyone who comes now."""
        return self.error is not None or (self.task is not None and self.task.cancelling() > 0)

    async def wait_announced(self) -> Head:
        """What the upstream says of the file, once clients may be told. Raises FillError where no upstream has it.

        A file that is held back whole is announced when it is verified: clients then hear of no wrong one, not even its length.
        """
        while True:
            head = await asyncio.shield(self._announced)
            if head is self.head:
                return head

    def attach(self) -> None:
        """One reader more."""
        self._readers += 1

    def detach(self) -> None:
        """One reader less; when the last has left, the fill goes on or stops as `pypi_cache_finish_abandoned` says."""
        self._readers -= 1
        if self._readers:
            return
        if self._forgotten:
            self.file.close()
        else:
            self._stop_if_abandoned()

    def _stop_if_abandoned(self) -> None:
        size = self.written if self.total is None else self.total
        if self._readers or self.task is None or self._verified or self.failing or size <= self._finish_abandoned:
            return
        logger.info("%s: all its clients have left; stopped (pypi_cache_finish_abandoned)", self.wanted.sources[0][0])
        self.task.cancel()

    def body(self, start: int, stop: int | None) -> Reader:
        """See readers.Source."""
        return Reader(self, start, stop)

    def fileno(self) -> int:
        """See readers.FileSource."""
        return self.file.fileno()

    async def reach(self, offset: int, generation: int) -> int:
        """See readers.FileSource."""
        while True:
            if generation != self.generation:
                raise CutShortError("what was sent so far was wrong")
            if self.error is not None:
                if any(error.failure is Failure.DISK for error in self.error.errors):
                    raise DiskFailedError(str(self.error), self._without_disk)
                raise CutShortError(str(self.error))
            if self.available > offset or (self._verified and self.available == offset):
                return self.available
            await self._changed.wait()

    def _without_disk(self, at: int, stop: int | None) -> Unstored:
        """The rest of it, for one reader, once the disk has failed. Raises CutShortError for what cannot be verified."""
        if stop not in {None, self.total} or (at and self.wanted.digest is None):
            raise CutShortError("the disk failed, and a part of the file cannot be verified without it")
        return Unstored(
            self._client,
            self.wanted,
            report=self._report,
            total=self.total,
            at=at,
            descriptor=self.file.fileno(),
        )

    def _progress(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # The work

    async def run(
        self,
        find: Callable[[], Awaitable[Entry | None]],
        commit: Callable[[Fill], Awaitable[bool]],
    ) -> None:
        """Bring the file or follow who brings it; the owner verifies and `commit`s it. Never raises but when cancelled.

        `find` looks into the store once more, inside the flight: another process may have committed the file meanwhile.
        """
        try:
            await self._threaded(self.file.open)
            while not self.file.owned:
                if await self._follow():
                    return
            if (entry := await find()) is not None and entry.file is not None:
                self._be_stored(entry)
                return
            await self._go_on()
            await self._from_sources()
            await self._say("verified")
            self._be_verified()
            self.committed = await commit(self)
        except FillError as error:
            await self._fail(error)
        except NoRoomError as error:
            logger.info("%s: %s; not kept", self.wanted.sources[0][0], error)
            await self._fail(FillError([UpstreamError(Failure.DISK, str(self.file.path), str(error))]))
        except OSError as error:
            self._disk_failed(error)
            await self._fail(
                FillError([UpstreamError(Failure.DISK, str(self.file.path), f"cannot be written: {error}")])
            )
        except asyncio.CancelledError:
            self._break(FillError([UpstreamError(Failure.BROKEN, str(self.file.path), "the download was stopped")]))
            self.file.release()  # a follower may go on; `clean_up` comes later
            self._stopped = True
            await asyncio.sleep(3 * FOLLOW_SECONDS)  # at the service's end it would come before any follower has looked
            raise
        finally:
            if not self._verified and self.error is None:  # an error in our own code: nobody may wait for ever
                self._break(FillError([UpstreamError(Failure.BROKEN, str(self.file.path), "pypi-cache failed")]))
            self.file.remove()  # the store has renamed it, or nobody may have it

    def clean_up(self) -> None:
        """Once it is forgotten: remove its word, and what a stopped download left if no follower has gone on with it."""
        self._forgotten = True
        if not self._stopped or self.file.claim():
            self.file.remove()
            self.file.forget_word()
        if self._readers == 0:
            self.file.close()

    def _be_stored(self, entry: Entry) -> None:
        """The store has the file after all."""
        assert entry.file is not None
        with entry.file:
            self.file.become(entry.file.fileno())
        self.attempt = entry.notes["attempt"]
        headers = CIMultiDict(entry.notes["upstream_headers"])
        self.head = Head(total=entry.size, headers=headers, source=parse_url(entry.notes["url"]))
        self.written = entry.size
        self.committed = True
        self._be_verified()

    async def _fail(self, error: FillError) -> None:
        self._break(error)
        if self.file.owned:
            await self._say("failed", error=str(error))

    def _break(self, error: FillError) -> None:
        self.error = error
        if not self._announced.done():
            self._announced.set_exception(error)
            self._announced.exception()  # seen: nobody may be waiting
        self._progress()

    def _be_verified(self) -> None:
        self._verified = True
        self._announce()
        self._progress()

    def _announce(self) -> None:
        """Tell clients of the file, unless it is held back whole and has yet to be verified."""
        head = self.head
        if (
            head is not None
            and not self._announced.done()
            and (self._verified or head.total is None or head.total > HOLD_BACK)
        ):
            self._announced.set_result(head)

    def _word(self, state: State, error: str = "") -> Word:
        head = self.head
        return Word(
            state=state,
            attempt=self.attempt,
            generation=self.generation,
            begun=head is not None,
            total=head.total if head else None,
            source=str(head.source) if head else "",
            headers=[(name, value) for name, value in head.headers.items()] if head else [],
            error=error,
        )

    async def _say(self, state: State = "growing", error: str = "") -> None:
        """Tell other processes; on a disk that has failed they will find out by themselves."""
        with contextlib.suppress(OSError):
            await self._threaded(lambda: self.file.say(self._word(state, error)))

    async def _threaded[T](self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    # Following another process

    async def _follow(self) -> bool:
        """Look at what the owner has; True when it is over. When the owner is gone this process is the owner, and it is not."""
        word = await self._threaded(self.file.hear)
        if word is not None:
            self._take(word)
            if word.state == "verified":
                self.written = self.file.size
                self._be_verified()
                return True
            if word.state == "failed":
                raise FillError([UpstreamError(Failure.BROKEN, word.source or str(self.file.path), word.error)])
        size = self.file.size
        if size != self.written:
            self.written = size
            self._progress()
        if self.file.claim():
            return self._inherit()
        await asyncio.sleep(FOLLOW_SECONDS)
        return False

    def _inherit(self) -> bool:
        """The owner is gone: whether there is nothing to go on with. Its last word is heard first, by another round."""
        word = self.file.hear()
        if word is not None and word.state != "growing":
            self.file.release()
            return False
        if not self.file.in_place:  # who left it took it away: begin again, those that have some of it are cut
            self.file.close()
            self.file.open()
            self.written = 0
            self.generation += 1
            self._unannounce()
            self._progress()
            return False
        logger.info(
            "%s: the process that fetched it is gone; going on with its %d bytes",
            self.wanted.sources[0][0],
            self.written,
        )
        return False

    def _take(self, word: Word) -> None:
        """What the owner says holds here too."""
        self.attempt = word.attempt
        if word.generation != self.generation:
            self.generation = word.generation
            self.written = 0
            self._unannounce()
            self._progress()
        if word.begun and self.head is None:
            self.head = Head(total=word.total, headers=CIMultiDict(word.headers), source=parse_url(word.source))
            self._announce()

    def _unannounce(self) -> None:
        """What clients were told was wrong: they are cut, and those to come wait for the next word."""
        self.head = None
        if self._announced.done():
            self._announced = asyncio.get_running_loop().create_future()

    async def _go_on(self) -> None:
        """Begin, or go on with what a dead owner left: only a digest makes that safe."""
        word = await self._threaded(self.file.hear)
        size = self.file.size
        if word is not None:
            self._take(word)
        if size and (word is None or not word.begun or self.wanted.digest is None):
            await self._threaded(self.file.truncate)
            size, self.generation = 0, self.generation + 1
        self.written = size
        self._givers = {None} if self.head is not None else set()
        if size:
            await self._threaded(lambda: self._rehash(size))
        await self._say()
        self._progress()

    def _rehash(self, size: int) -> None:
        for offset in range(0, size, REHASH_CHUNK):
            self._hasher.update(os.pread(self.file.fileno(), min(REHASH_CHUNK, size - offset), offset))

    def _new_hasher(self) -> Hasher:
        return (self.wanted.digest or Digest("sha256", "0" * 64)).hasher()

    @property
    def computed(self) -> str:
        """The digest of what was written, by the algorithm of the wanted digest (sha256 where none was)."""
        return self._hasher.hexdigest()

    # From the upstreams

    async def _from_sources(self) -> None:
        """Each source in turn, and again after a pause where that may help; raises FillError when none is left."""
        errors: list[UpstreamError] = []
        bad: dict[Url | None, Failure] = {}
        for pause in PAUSES:
            if pause and not self.written:
                break
            await asyncio.sleep(pause)
            if await self._round(errors, bad):
                return
        lacking = any(error.failure is Failure.NOT_FOUND for error in errors)
        if self.wanted.otherwise is None or not lacking or self.written:
            raise FillError(errors)
        try:
            await self._take_whole(await self.wanted.otherwise())
        except UpstreamError as error:
            self._report(error)
            raise FillError([*errors, error]) from error

    async def _take_whole(self, content: bytes) -> None:
        """The file's bytes, found another way."""
        headers = CIMultiDict({"Content-Type": "application/octet-stream"})
        self.head = Head(total=len(content), headers=headers, source=self.wanted.sources[0][0])
        await self._append(self.wanted.sources[0][0], content)
        await self._settle()
        self._check()

    async def _round(self, errors: list[UpstreamError], bad: dict[Url | None, Failure]) -> bool:
        """One round over the sources that are not `bad`; true when the file is whole and right.

        Where the bytes of several turn out wrong together, those that broke off are to blame first: the last is asked for all of it.
        Who was refused for another length than that of the wrong bytes may be right.
        """
        candidates = [source for source in self._client.in_order(self.wanted.sources) if source[0] not in bad]
        while candidates or await self._doubted(errors, bad):
            if not candidates:
                candidates = [source for source in self._client.in_order(self.wanted.sources) if source[0] not in bad]
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
                candidates = [source for source in self._client.in_order(self.wanted.sources) if source[0] not in bad]
            elif error.failure not in _TRANSIENT or (error.failure is Failure.STATUS and error.status < 500):
                bad[url] = error.failure
        return False

    async def _doubted(self, errors: list[UpstreamError], bad: dict[Url | None, Failure]) -> bool:
        """Where others are left out for another length than that of who began: whether they are to be believed from now on."""
        refused = {url for url, why in bad.items() if why is Failure.WRONG_LENGTH}
        believed = self._givers - refused
        if not refused or not believed or self.wanted.digest is None:
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
            if self.written and self.wanted.digest is None and not (self._validator and self._validator_of == url):
                return failed or UpstreamError(
                    Failure.BROKEN, url, "the file has no digest, so nothing can be gone on with"
                )
            before = self.written
            try:
                if self.written == 0 or self.written != self.total:
                    await self._pull(url, authorization)
                self._check()
            except UpstreamError as error:
                self._report(error)
                failed = error
                stuck = stuck + 1 if self.written == before else 0
                stalled = error.failure is Failure.TIMEOUT and len(self.wanted.sources) > 1
                patience = 1 if error.failure is Failure.BROKEN else 0  # a break may swallow what had come before it
                if error.failure not in _TRANSIENT or stalled or stuck > patience:
                    return error
            else:
                return None
        return failed

    def _check(self) -> None:
        total, digest = self.total, self.wanted.digest
        assert self.head is not None
        source = self.head.source
        if total is not None and self.written != total:
            raise UpstreamError(Failure.BROKEN, source, f"it ended after {self.written} of {total} bytes")
        if digest is not None and self.computed != digest.value:
            raise UpstreamError(
                Failure.WRONG_DIGEST,
                source,
                f"its {digest.algorithm} is {self.computed}, and should be {digest.value}",
            )

    async def _start_over(self, error: UpstreamError) -> None:
        """Throw the bytes away. Readers that have some of them are cut; the others wait for the next source's."""
        logger.warning("%s; all of it is thrown away", error)
        self.written = 0
        self.generation += 1
        self.attempt = secrets.token_hex(4)
        self._hasher = self._new_hasher()
        self._validator = ""
        self._givers = set()
        self._unannounce()
        await self._threaded(self.file.truncate)
        await self._say()
        self._progress()

    async def _pull(self, url: Url, authorization: str) -> None:
        """Read one source from where the file ends. Raises UpstreamError; what was written before stays."""
        headers = dict(_IDENTITY)
        if self.written:
            headers["Range"] = f"bytes={self.written}-"
            if self._validator and self._validator_of == url:
                headers["If-Range"] = self._validator
        async with self._client.ask("GET", url, headers, authorization, alone=len(self.wanted.sources) == 1) as answer:
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

    async def _judge(self, url: Url, answer: Answer) -> int:
        """Whether these are the bytes asked for: how many to skip before the first new one. Raises UpstreamError."""
        total = check_answer(answer)
        start = 0
        if answer.status == 206:
            span = parse_content_range(answer.headers.get("Content-Range"))
            if span is None or span.start != self.written:
                got = answer.headers.get("Content-Range", "no Content-Range")
                raise UpstreamError(Failure.WRONG_SPAN, answer.url, f"asked from byte {self.written} on, got {got!r}")
            start, total = span.start, span.total
        elif self.written and self.wanted.digest is None:
            raise UpstreamError(
                Failure.WRONG_SPAN, answer.url, "the file has changed, and it has no digest to go on with"
            )
        expected = self.total if self.head is not None else self.wanted.size
        if expected is not None and total is not None and total != expected:
            raise UpstreamError(
                Failure.WRONG_LENGTH, answer.url, f"{total} bytes are announced, and the file has {expected}"
            )
        if self.head is None:
            known = total if total is not None else self.wanted.size
            if known and not await self._reserve(self.file.path, known):
                raise NoRoomError(f"its {known:,} bytes find no room on the disk beside what is to be left free")
            self.head = Head(total=known, headers=CIMultiDict(answer.headers), source=answer.url)
            self._givers.add(url)
            await self._say()
            self._announce()
        self._validator, self._validator_of = _strong_validator(answer), url
        return self.written - start

    async def _append(self, url: Url, chunk: bytes) -> None:
        """Begin to hash and write a chunk, once the one before is written: the next is read meanwhile."""
        await self._settle()
        if self.total is not None and self.written + len(chunk) > self.total:
            raise UpstreamError(Failure.WRONG_LENGTH, url, f"more than the {self.total} bytes that were announced")
        writing = asyncio.get_running_loop().run_in_executor(self._pool, self._write, chunk)
        self._writing = (writing, len(chunk))
        writing.add_done_callback(self._wrote)

    def _wrote(self, writing: asyncio.Future[None]) -> None:
        """Readers may have what is written, once: `_settle` may come before the loop has called this."""
        if self._writing is None or self._writing[0] is not writing or writing.cancelled() or writing.exception():
            return
        self.written += self._writing[1]
        self._writing = None
        self._progress()
        if self.total is None:
            self._stop_if_abandoned()

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
        self.file.write(chunk, self.written)


def check_answer(answer: Answer) -> int | None:
    """That an answer is a file's bytes, as they are: its announced length if it is whole. Raises UpstreamError."""
    status, headers = answer.status, answer.headers
    if status not in {200, 206}:
        raise answer.refused()
    coding = headers.get("Content-Encoding", "identity").lower()
    if coding != "identity":
        raise UpstreamError(Failure.WRONG_ENCODING, answer.url, f"sent as {coding}, which was not asked for")
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise UpstreamError(Failure.WRONG_TYPE, answer.url, "a web page instead of the file (a captive portal?)")
    length = headers.get("Content-Length", "")
    return int(length) if length.isdigit() and status == 200 else None


def _strong_validator(answer: Answer) -> str:
    """What `If-Range` may carry (RFC 9110 §13.1.5): a strong entity tag."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else ""
