"""Release files: which answer a request gets, and from where.

In this order: a fill under way, the store, METADATA out of a stored wheel, a range read before, and only then an upstream. A GET for
the whole file, or most of it, starts a fill; HEAD and small ranges are passed through for their client alone. Credentials are sent to
the origin only for what the public space does not have.

A file with a digest never changes. One that only its URL identifies is revalidated like a page (RFC 9111), by `CachedAnswers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace

from multidict import CIMultiDict

from pkgcache.engine.caching import Collaborators, OnlyIfCachedError
from pkgcache.engine.files.core_metadata import metadata_of_stored_wheel, wheel_of
from pkgcache.engine.files.disputes import Disputes
from pkgcache.engine.files.fill_registry import FillRegistry
from pkgcache.engine.files.identity import IMMUTABLE, IMMUTABLE_SECONDS, FileIdentity, FileResolver
from pkgcache.engine.files.passthrough import Passthrough
from pkgcache.engine.files.range_cache import RangeCache
from pkgcache.engine.files.revalidation import ReplacedError, Revalidation
from pkgcache.engine.fills.fill import Fill
from pkgcache.engine.fills.fill_request import FileHead
from pkgcache.engine.pages.known_files import KnownFiles
from pkgcache.engine.responses.bodies import Source, StoredBytes, StoredFile
from pkgcache.engine.responses.failures import UNDECIDED, failed, offline, only_stored, still_fetching
from pkgcache.engine.responses.file_response import FileRepresentation, file_response
from pkgcache.engine.responses.messages import CLIENT_SECONDS, Request, Response
from pkgcache.engine.store.entries import Entry
from pkgcache.engine.store.integrity import mismatch
from pkgcache.engine.store.notes import FileNotes
from pkgcache.engine.store.rehash import Rehasher
from pkgcache.engine.upstream.errors import WITHOUT_DISK, AllFailedError, Failure
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.freshness import only_if_cached, times_of
from pkgcache.rules.policy.fills import is_near, starts_fill
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.routes import ReleaseFile

REHASH_FIRST = 16 * 1024 * 1024
"""A stored file of up to this many bytes is re-hashed before it is served, where that is due; a larger one while it is served."""

REHASH_SECONDS = 5.0
"""A range of a larger file waits at most this long for the re-hash: the last bytes are not held back from it as from a whole file."""

_WRONG_BYTES = frozenset({Failure.WRONG_DIGEST, Failure.WRONG_LENGTH, Failure.WRONG_SPAN, Failure.BROKEN})
"""Failures of one attempt, which the next attempt may not have."""


class ReleaseFiles:
    """Answers requests for release files."""

    def __init__(self, shared: Collaborators, known_files: KnownFiles) -> None:
        self._store = shared.store
        self._metrics = shared.metrics
        self._offline = shared.settings.offline and not shared.settings.shared  # else the shared tier may have it
        self._rehasher = Rehasher(shared.store, shared.tasks)
        self._resolver = FileResolver(known_files, shared.in_tier)
        self._ranges = RangeCache(shared)
        self._passthrough = Passthrough(shared.client, shared.metrics, self._ranges)
        self.fills = FillRegistry(shared, self._rehasher)
        self._revalidation = Revalidation(shared, self.fills)
        self._disputes = Disputes(shared, self._resolver, self.fills)

    def close(self) -> None:
        """Clean up after the fills and end the threads. The fills' tasks must have ended."""
        self._rehasher.close()
        self.fills.close()

    async def answer(self, request: Request, route: ReleaseFile) -> Response:
        """The answer to a GET or HEAD for a release file."""
        file = await (self._disputes.settle(request, route) if route.also else self._resolver.resolve(route))
        response = await self._answer(request, route, file)
        if response.error is not None:
            response.failed_key = file.key
        return response

    async def _answer(self, request: Request, route: ReleaseFile, file: FileIdentity) -> Response:
        if (fill := self.fills.of(file)) is not None:
            return await self._from_fill(request, file, fill, joined=True)
        response = await self._from_store(request, file) or await self._from_stored_wheel(request, file)
        if response is None and route.public is not None:
            response = await self._from_public(request, replace(route.public, index=route.index, also=route.also))
        if response is not None:
            return response
        cached_range = await self._ranges.answer(request, file)
        if cached_range is not None and cached_range.fresh:
            return self._ranges.served(cached_range)
        if only_if_cached(request.headers):
            return only_stored(file.shown_name)
        if self._offline:
            return offline(file.shown_name)
        size = await self._resolver.size(file) if "Range" in request.headers else file.size
        fill = self.fills.of(file)  # another request may have started it while this one looked into the store
        if fill is None and (request.method == "HEAD" or not starts_fill(request.headers, size)):
            passed = self._passthrough.head if request.method == "HEAD" else self._range
            response = await passed(request, file)
            if response.cache.detail == UNDECIDED:  # all of it has to come before anything can be said
                again = self.fills.of(file)
                started = again or self.fills.start(file)
                return await self._from_fill(request, file, started, joined=again is not None, any_range=True)
            # A stale range is better than an error.
            return self._ranges.served(cached_range) if cached_range and response.status >= 500 else response
        if fill is None and self.fills.is_too_large(file):
            return await self._passthrough.uncached(request, file, file.fill_request, disk_failed=False)
        return await self._from_fill(request, file, fill or self.fills.start(file), joined=fill is not None)

    async def _from_public(self, request: Request, route: ReleaseFile) -> Response | None:
        """What was fetched without credentials and is here, or on its way: a client that sends some may have it as all others.

        RFC 9111 §3.5 restricts what may be stored of a request with `Authorization`, not what it may be answered with.
        """
        for file in await self._resolver.claims(route):
            fill = self.fills.of(file)
            if fill is not None and fill.announced:  # the upstream gives it to everybody
                return await self._from_fill(request, file, fill, joined=True)
            if response := await self._from_store(request, file) or await self._from_stored_wheel(request, file):
                return response
            cached_range = await self._ranges.answer(request, file)
            if cached_range is not None and cached_range.fresh:
                return self._ranges.served(cached_range)
        return None

    # From the store

    def try_from_memory(self, request: Request, route: ReleaseFile) -> Response | None:
        """The answer from a small file in memory, if the store was seen to have it within the last second."""
        file = None if route.also else self._resolver.from_memory(route)
        if file is None or file.digest is None or self.fills.of(file) is not None:
            return None
        entry = self._store.from_memory(file.key)
        if entry is None:
            return None
        with contextlib.suppress(ValueError):
            notes = FileNotes.from_json(entry.notes)
            return self._stored_response(request, file, notes, entry.size, StoredBytes(entry.value), None)
        return None

    async def _from_store(self, request: Request, file: FileIdentity) -> Response | None:
        """The answer from a stored file; None where there is none, it is damaged, or it must be fetched again."""
        entry = await self._store.get(file.key)
        if entry is None:
            return None
        with contextlib.ExitStack() as closing:
            if entry.file is not None:
                closing.callback(entry.file.close)
            if (notes := await self._notes(file, entry)) is None:
                return None
            cache: CacheStatus | None = None
            if file.digest is None:
                try:
                    notes, cache = await self._revalidation.current(request, file, notes)
                except OnlyIfCachedError:
                    return only_stored(file.shown_name, stale=True)
                except ReplacedError as replaced:
                    return await self._from_fill(request, file, replaced.fill, joined=replaced.joined)
                except AllFailedError:
                    return None  # a fill asks once more, and its failure is what the client hears of
            if (source := await self._rehashed(request, file, entry)) is None:
                return None
            closing.pop_all()  # the file is the source's now
            return self._stored_response(request, file, notes, entry.size, source, cache)

    async def _notes(self, file: FileIdentity, entry: Entry) -> FileNotes | None:
        """An entry's notes. Where they cannot be read the entry is dropped, to be fetched again."""
        try:
            return FileNotes.from_json(entry.notes)
        except ValueError as error:
            await self._store.drop_damaged(file.key, entry.mark, f"its notes cannot be read: {error}")
            return None

    async def _rehashed(self, request: Request, file: FileIdentity, entry: Entry) -> Source | None:
        """The bytes of a stored file, re-hashed where that is due; None if they are damaged."""
        if entry.file is None:  # the store has hashed it as it read it into memory
            return StoredBytes(entry.value)
        rehash = self._rehasher.check(file.key, entry)
        if rehash is not None and (entry.size <= REHASH_FIRST or "Range" in request.headers):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REHASH_SECONDS):
                    await rehash.wait()
        if rehash is not None and rehash.fault:
            return None
        return StoredFile(entry.file, entry.size, rehash)

    def _stored_response(
        self,
        request: Request,
        file: FileIdentity,
        notes: FileNotes,
        size: int,
        source: Source,
        cache: CacheStatus | None,
    ) -> Response:
        """The answer from `source`. `cache` says how a file without a digest may be served; one with a digest is always a hit."""
        times = times_of(notes.stored, time.time())
        if cache is None:
            cache = CacheStatus(hit=True, ttl=IMMUTABLE_SECONDS - int(times["Age"]))
            self._metrics.hit("file")
        headers = notes.headers.copy()
        headers.update(times)
        representation = FileRepresentation(
            total=size,
            etag=f'"{notes.digest}"',
            other_tags=(file.attempt_tag(notes.attempt),),
            headers=headers,
            cache=cache,
        )
        return file_response(request, representation, source)

    async def _from_stored_wheel(self, request: Request, file: FileIdentity) -> Response | None:
        """Core metadata out of a stored wheel, where it has the digest that the page gives it."""
        wheel, digest = wheel_of(file.route), file.digest
        if wheel is None or digest is None:
            return None
        metadata = await metadata_of_stored_wheel(self._store, (await self._resolver.resolve(wheel)).key)
        if metadata is None or mismatch(digest, [metadata]):
            return None
        self._metrics.hit("file")
        headers = CIMultiDict({"Content-Type": "application/octet-stream", "Content-Length": str(len(metadata))})
        headers.update({"ETag": f'"{digest}"', "Cache-Control": IMMUTABLE})
        body = b"" if request.method == "HEAD" else metadata
        return Response(status=200, headers=headers, body=body, cache=CacheStatus(hit=True, detail="from-the-wheel"))

    # From a fill

    async def _from_fill(
        self, request: Request, file: FileIdentity, fill: Fill, *, joined: bool, any_range: bool = False
    ) -> Response:
        """The answer from a growing file. A range far past its end is passed through, unless `any_range` is to be waited for."""
        fill.attach()
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                head = await fill.wait_announced()
        except BaseException as error:
            fill.release()
            if isinstance(error, AllFailedError):
                return await self._fill_failed(request, file, fill, error, joined=joined, any_range=any_range)
            if isinstance(error, TimeoutError):
                return still_fetching(file.shown_name)
            raise
        representation = self._of_fill(file, fill, head, joined=joined)
        selection = representation.select(request)
        if not any_range and not is_near(selection, fill.available):
            fill.release()
            return await self._range(request, file)
        (self._metrics.hit if fill.committed else self._metrics.collapsed if joined else self._metrics.miss)("file")
        return file_response(request, representation, fill, selection)

    async def _fill_failed(
        self, request: Request, file: FileIdentity, fill: Fill, error: AllFailedError, *, joined: bool, any_range: bool
    ) -> Response:
        if error.failures & WITHOUT_DISK:
            failed_disk = Failure.DISK in error.failures
            return await self._passthrough.uncached(request, file, fill.request, disk_failed=failed_disk)
        if joined and error.failures & _WRONG_BYTES:
            # It came while the attempt of another request was failing. It gets an attempt of its own.
            again = self.fills.of(file) or self.fills.start(file)
            return await self._from_fill(request, file, again, joined=False, any_range=any_range)
        return failed(file.shown_name, error, request)

    def _of_fill(self, file: FileIdentity, fill: Fill, head: FileHead, *, joined: bool) -> FileRepresentation:
        """What a growing file is served as.

        Until it is committed its entity tag names the attempt, so that no client puts bytes of two attempts together (If-Range). The
        tag stays valid afterwards, beside the one of the digest.
        """
        tags: tuple[str, ...] = (file.attempt_tag(fill.attempt),)
        if fill.committed:
            tags = (f'"{file.digest or Digest("sha256", fill.computed)}"', *tags)
            cache = CacheStatus(hit=True)
        else:
            cache = CacheStatus(
                fwd="miss",
                stored=self._store.takes(head.total) and file.may_be_stored(head) and not joined,
                collapsed=joined,
            )
        return FileRepresentation(
            total=head.total,
            etag=tags[0],
            other_tags=tags[1:],
            headers=file.headers(head),
            cache=cache,
            upstream=head.source.origin,
        )

    # Without a fill

    async def _range(self, request: Request, file: FileIdentity) -> Response:
        """A range for this client alone, or out of a fill where no upstream serves ranges: the whole file comes anyway."""
        if (response := await self._passthrough.range(request, file)) is not None:
            return response
        fill = self.fills.of(file)
        return await self._from_fill(
            request, file, fill or self.fills.start(file), joined=fill is not None, any_range=True
        )
