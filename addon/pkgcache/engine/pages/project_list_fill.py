"""One list of all projects on its way in: 40 MB and more, so it grows in a file, a piece at a time, and any number of readers follow.

The last HOLD_BACK bytes are kept from all of them until the whole is found to be a list, so that no log-in form of a captive portal
and no list that broke off is ever complete at a client, or stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from multidict import CIMultiDict

from pkgcache.engine.fills.part_file import PartFile
from pkgcache.engine.responses.bodies import Reader
from pkgcache.engine.responses.messages import CutShortError
from pkgcache.engine.upstream.client import UpstreamResponse
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.policy.fills import HOLD_BACK
from pkgcache.rules.simple.project_list import RootChecker, RootEditor
from pkgcache.rules.simple.representations import Representation, representation_of

PIECE = 128 * 1024
"""Bytes that are decoded, edited and written at a time."""

MAX_ROOT = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RootHead:
    """What the upstream said of the list."""

    representation: Representation
    headers: CIMultiDict[str]
    upstream: str
    url: str


class ProjectListFill:
    """A list that grows. Readers come by `attach` and follow it as a readers.FileSource."""

    generation = 0

    def __init__(self, path: Path, pool: ThreadPoolExecutor) -> None:
        self.file = PartFile(path)
        self.written = 0
        self.head: RootHead | None = None
        self.announced: asyncio.Future[RootHead | None] = asyncio.get_running_loop().create_future()
        self._pool = pool
        self._hasher = hashlib.sha256()
        self._changed = asyncio.Event()
        self._verified = False
        self._error: Exception | None = None
        self._readers = 0
        self._over = False

    # For readers

    @property
    def begun(self) -> bool:
        """Whether clients have been told of it: no other upstream's list can take its place."""
        return self.announced.done()

    @property
    def settled(self) -> bool:
        """Whether it is known what becomes of it: whole, unchanged, or failed."""
        unchanged = self.announced.done() and self._error is None and self.announced.result() is None
        return self._verified or self._error is not None or unchanged

    @property
    def digest(self) -> str:
        """The SHA-256 of what was written."""
        return self._hasher.hexdigest()

    def attach(self) -> None:
        """One reader more."""
        self._readers += 1

    def release(self) -> None:
        """See readers.FileSource."""
        self._readers -= 1
        self._close_if_over()

    def body(self, start: int, stop: int | None) -> Reader:
        """See readers.FileSource."""
        return Reader(self, start, stop)

    def fileno(self) -> int:
        """See readers.FileSource."""
        return self.file.fileno()

    @property
    def available(self) -> int:
        """See readers.FileSource."""
        return self.written if self._verified else max(0, self.written - HOLD_BACK)

    async def wait_available(self, offset: int, generation: int) -> int:  # noqa: ARG002  there is but one
        """See readers.FileSource."""
        while True:
            if self._error is not None:
                raise CutShortError(str(self._error))
            if self.available > offset or self._verified:
                return self.available
            await self._changed.wait()

    # For its owner

    async def take(self, answer: UpstreamResponse, upstream: str) -> None:
        """Read an answer to its end, and see that it is a list. Raises UpstreamError and OSError."""
        representation = representation_of(answer.headers.get("Content-Type"))
        if representation is None:
            what = answer.headers.get("Content-Type", "something without a type")
            raise UpstreamError(Failure.WRONG_TYPE, answer.url, f"no list of projects, but {what!r}")
        self.head = RootHead(
            representation=representation, headers=CIMultiDict(answer.headers), upstream=upstream, url=str(answer.url)
        )
        editor = RootEditor(answer.url) if representation.kind == "html" else RootChecker()
        pieces = _Pieces(answer)
        await self._threaded(self._begin)
        while chunk := await answer.chunk():
            await self._threaded(partial(self._write, answer, map(editor.feed, pieces.of(chunk))))
            if self.written > HOLD_BACK:
                self._announce(self.head)
            self._progress()
        await self._threaded(partial(self._write, answer, [editor.end()]))
        if not pieces.whole:
            raise UpstreamError(Failure.WRONG_LENGTH, answer.url, "its compressed list is cut short")
        if not editor.is_list:
            raise UpstreamError(Failure.WRONG_PAGE, answer.url, "no list of projects")

    def be_verified(self) -> None:
        """It is whole and right."""
        self._verified = True
        self._announce(self.head)
        self._progress()

    def be_unchanged(self) -> None:
        """What is stored is still right: there is nothing to read here."""
        self._announce(None)

    def fail(self, error: Exception) -> None:
        """There will be no more of it."""
        self._error = error
        if not self.announced.done():
            self.announced.set_exception(error)
            self.announced.exception()  # seen: nobody may be waiting
        self._progress()

    def end(self) -> None:
        """Its owner is done with it; it is closed when its last reader is."""
        self.file.remove()
        self._over = True
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._over and self._readers == 0:
            self.file.close()

    def _begin(self) -> None:
        if self.file.owned:
            self.file.truncate()
        else:
            self.file.open()
        self.written = 0
        self._hasher = hashlib.sha256()

    def _write(self, answer: UpstreamResponse, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._hasher.update(piece)
            self.file.write(piece, self.written)
            self.written += len(piece)
            if self.written > MAX_ROOT:
                raise UpstreamError(Failure.WRONG_LENGTH, answer.url, f"the list is longer than {MAX_ROOT:,} bytes")

    async def _threaded[T](self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _announce(self, head: RootHead | None) -> None:
        if not self.announced.done():
            self.announced.set_result(head)

    def _progress(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class _Pieces:
    """A body without its content coding (RFC 9110 §8.4), in pieces of bounded size. Raises UpstreamError."""

    def __init__(self, answer: UpstreamResponse) -> None:
        self._url = answer.url
        coding = answer.headers.get("Content-Encoding", "identity").lower()
        if coding not in {"identity", "", "gzip", "x-gzip", "deflate"}:
            raise UpstreamError(Failure.WRONG_ENCODING, answer.url, f"sent as {coding}, which was not asked for")
        plain = coding in {"identity", ""}
        self._decoder = None if plain else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, as far as the coding tells."""
        return self._decoder is None or self._decoder.eof

    def of(self, chunk: bytes) -> Iterator[bytes]:
        """What a chunk holds."""
        if self._decoder is None:
            yield from (chunk[at : at + PIECE] for at in range(0, len(chunk), PIECE))
            return
        try:
            while chunk and not self._decoder.eof:
                yield self._decoder.decompress(chunk, PIECE)
                chunk = self._decoder.unconsumed_tail
        except zlib.error as error:
            raise UpstreamError(
                Failure.WRONG_ENCODING, self._url, f"it is not compressed as it says: {error}"
            ) from error
