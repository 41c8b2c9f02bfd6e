"""One download of one file: owned by a task, never by a client, and followed by any number of readers.

The file grows under a temporary name in the store's folder. Readers follow it from any offset, the first byte at once; the last
HOLD_BACK bytes are kept from all of them until length and digest are right, so a wrong file is never complete at any client and
never stored. A broken upstream is resumed there (`Range`, `If-Range`), then on the next one, where a digest makes mixing safe.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from multidict import CIMultiDict

from pkgcache.engine.messages import CutShortError
from pkgcache.engine.upstream import Answer, Failure, UpstreamClient, UpstreamError
from pkgcache.rules.digests import Digest, Hasher
from pkgcache.rules.ranges import parse_content_range
from pkgcache.rules.urls import Url

logger = logging.getLogger(__name__)

HOLD_BACK = 64 * 1024
MAX_RESUMES = 20

_IDENTITY = {"Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a fill is to bring: the digest that it must have (None: unknown), its size if a page told, and where it may be had."""

    digest: Digest | None
    size: int | None
    sources: Sequence[tuple[Url, str]]


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
        finish_abandoned: int,
    ) -> None:
        self.wanted = wanted
        self.path = path
        self.attempt = secrets.token_hex(4)
        self.generation = 0
        self.written = 0
        self.head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self.done = False
        self.error: FillError | None = None
        self.readers = 0
        self._client = client
        self._pool = pool
        self._report = report
        self._finish_abandoned = finish_abandoned
        self._changed = asyncio.Event()
        self._verified = False
        self._file: IO[bytes] | None = None
        self._hasher: Hasher | None = None
        self._validator = ""
        self._validator_of: Url | None = None
        self.task: asyncio.Task[None] | None = None

    # For readers

    @property
    def total(self) -> int | None:
        """The file's length, as far as it is known."""
        return self.head.result().total if self.head.done() and not self.head.exception() else None

    @property
    def available(self) -> int:
        """The end of what readers may have now."""
        if self._verified:
            return self.written
        total = self.total
        return max(
            0,
            (self.written if total is None else min(self.written, total - HOLD_BACK))
            - (HOLD_BACK if total is None else 0),
        )

    def attach(self) -> None:
        """One reader more."""
        self.readers += 1

    def detach(self) -> None:
        """One reader less; when the last has left, the fill goes on or stops as `pypi_cache_finish_abandoned` says."""
        self.readers -= 1
        if (
            self.readers == 0
            and not self._verified
            and (self.total or self.written) > self._finish_abandoned
            and self.task
        ):
            logger.info("%s: all its clients have left; stopped (pypi_cache_finish_abandoned)", self.path.name)
            self.task.cancel()
        if self.readers == 0 and self.done:
            self.close_file()

    def fileno(self) -> int:
        """See readers.Source."""
        assert self._file is not None
        return self._file.fileno()

    async def reach(self, offset: int, generation: int) -> tuple[int, int]:
        """See readers.Source."""
        while True:
            if generation not in {-1, self.generation}:
                raise CutShortError("the bytes sent so far were wrong")
            if self.error is not None:
                raise CutShortError(str(self.error))
            if self.available > offset or (self._verified and self.available == offset):
                return self.available, self.generation
            await self._changed.wait()

    async def wait_head(self) -> Head:
        """What the first good upstream says of the file. Raises FillError where there is none."""
        return await asyncio.shield(self.head)

    def _progress(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # The download

    async def run(self, commit: Callable[[Fill], Awaitable[None]]) -> None:
        """Bring the file, verify it, let readers have the rest, then `commit` it. Never raises but when cancelled."""
        try:
            self._open_file()
            await self._from_sources()
            self._verified = True
            self._progress()
            await commit(self)
        except FillError as error:
            self._fail(error)
        except OSError as error:
            self._fail(FillError([UpstreamError(Failure.BROKEN, str(self.path), f"cannot be written: {error}")]))
        except asyncio.CancelledError:
            self._fail(FillError([UpstreamError(Failure.BROKEN, str(self.path), "the download was stopped")]))
            raise
        finally:
            self.done = True
            self.path.unlink(missing_ok=True)  # the store has renamed it, or nobody may have it
            if self.readers == 0:
                self.close_file()

    def _fail(self, error: FillError) -> None:
        self.error = error
        if not self.head.done():
            self.head.set_exception(error)
            self.head.exception()  # seen: nobody may be waiting
        self._progress()

    def _open_file(self) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._hasher = self._new_hasher()

    def close_file(self) -> None:
        """Let go of the descriptor once nobody reads by it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _new_hasher(self) -> Hasher:
        return (self.wanted.digest or Digest("sha256", "0" * 64)).hasher()

    @property
    def computed(self) -> str:
        """The digest of what was written, by the algorithm of the wanted digest (sha256 where none was)."""
        assert self._hasher is not None
        return self._hasher.hexdigest()

    async def _from_sources(self) -> None:
        """Each source in turn, resumed there as long as it makes headway; raises FillError when none is left."""
        errors: list[UpstreamError] = []
        for url, authorization in self._client.in_order(self.wanted.sources):
            for _ in range(MAX_RESUMES):
                before = self.written
                try:
                    await self._pull(url, authorization)
                    self._check()
                except UpstreamError as error:
                    errors.append(error)
                    self._report(error)
                    if error.failure is Failure.WRONG_DIGEST:
                        await self._start_over(errors)
                        break
                    if self.written == before:
                        break
                    if self.wanted.digest is None and not self._validator:
                        raise FillError(errors) from None  # neither a digest nor a validator: no byte may be mixed
                else:
                    return
            if self.written and self.wanted.digest is None:
                break
        raise FillError(errors)

    def _check(self) -> None:
        total, digest = self.total, self.wanted.digest
        source = self.head.result().source
        if total is not None and self.written != total:
            raise UpstreamError(Failure.WRONG_LENGTH, source, f"{self.written} bytes came, and {total} were announced")
        if digest is not None and self.computed != digest.value:
            raise UpstreamError(
                Failure.WRONG_DIGEST, source, f"its {digest.algorithm} is {self.computed}, and should be {digest.value}"
            )

    async def _start_over(self, errors: list[UpstreamError]) -> None:
        """Throw the bytes away. Readers that have some of them are cut; the others wait for the next source's."""
        assert self._file is not None
        self._file.truncate(0)
        self.written = 0
        self.generation += 1
        self.attempt = secrets.token_hex(4)
        self._hasher = self._new_hasher()
        self._validator = ""
        logger.warning("%s", errors[-1])
        self._progress()

    async def _pull(self, url: Url, authorization: str) -> None:
        """Read one source from where the file ends. Raises UpstreamError; what was written before stays."""
        headers = dict(_IDENTITY)
        if self.written:
            headers["Range"] = f"bytes={self.written}-"
            if self._validator and self._validator_of == url:
                headers["If-Range"] = self._validator
        async with self._client.ask("GET", url, headers, authorization) as answer:
            skip = self._judge(url, answer)
            while chunk := await answer.chunk():
                if skip:
                    chunk, skip = chunk[skip:], max(0, skip - len(chunk))
                if chunk:
                    await self._append(answer.url, chunk)

    def _judge(self, url: Url, answer: Answer) -> int:
        """Whether these are the bytes asked for: how many to skip before the first new one. Raises UpstreamError."""
        total = check_answer(answer)
        start = 0
        if answer.status == 206:
            span = parse_content_range(answer.headers.get("Content-Range", ""))
            if span is None or span.start != self.written:
                raise UpstreamError(
                    Failure.WRONG_SPAN,
                    answer.url,
                    f"asked from byte {self.written}, got {answer.headers.get('Content-Range')!r}",
                )
            start, total = span.start, span.total
        elif self.written and self.wanted.digest is None:
            raise UpstreamError(
                Failure.WRONG_SPAN, answer.url, "the file has changed, and it has no digest to go on with"
            )
        expected = self.total if self.head.done() else self.wanted.size
        if expected is not None and total is not None and total != expected:
            raise UpstreamError(
                Failure.WRONG_LENGTH, answer.url, f"{total} bytes are announced, and the file has {expected}"
            )
        if not self.head.done():
            self.head.set_result(
                Head(
                    total=total if total is not None else self.wanted.size,
                    headers=CIMultiDict(answer.headers),
                    source=answer.url,
                )
            )
        self._validator, self._validator_of = _strong_validator(answer), url
        return self.written - start

    async def _append(self, url: Url, chunk: bytes) -> None:
        total = self.total
        if total is not None and self.written + len(chunk) > total:
            raise UpstreamError(Failure.WRONG_LENGTH, url, f"more than the {total} bytes that were announced")
        await asyncio.get_running_loop().run_in_executor(self._pool, self._write, chunk)
        self.written += len(chunk)
        self._progress()

    def _write(self, chunk: bytes) -> None:
        assert self._file is not None
        assert self._hasher is not None
        self._hasher.update(chunk)
        offset, view = self.written, memoryview(chunk)
        while view:
            count = os.pwrite(self._file.fileno(), view, offset)
            offset, view = offset + count, view[count:]


def check_answer(answer: Answer) -> int | None:
    """That an answer is a file's bytes, as they are: its announced length if it is whole. Raises UpstreamError."""
    status, headers = answer.status, answer.headers
    if status in {404, 410}:
        raise UpstreamError(Failure.NOT_FOUND, answer.url, f"it does not have the file ({status})", status=status)
    if status not in {200, 206}:
        raise UpstreamError(Failure.STATUS, answer.url, f"it answered {status}", status=status)
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UpstreamError(
            Failure.WRONG_ENCODING, answer.url, f"sent as {headers['Content-Encoding']}, which was not asked for"
        )
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise UpstreamError(Failure.WRONG_TYPE, answer.url, "a web page instead of the file (a captive portal?)")
    length = headers.get("Content-Length", "")
    return int(length) if length.isdigit() and status == 200 else None


def _strong_validator(answer: Answer) -> str:
    """What `If-Range` may carry (RFC 9110 §13.1.5): a strong entity tag."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else ""
