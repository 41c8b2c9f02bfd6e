"""Release files: from the store, from a fill in progress, by starting a fill, or passed through where that is right.

Which file is meant is found out in engine/identity.py; one that nothing but its URL identifies is revalidated like a page. What goes
to one client alone, and is not kept, is in engine/straight.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from zipfile import BadZipFile

from multidict import CIMultiDict

from pkgcache.engine.files.fill_registry import LINGER_SECONDS
from pkgcache.engine.files.identity import IMMUTABLE, FileIdentity, FileResolver
from pkgcache.engine.files.passthrough import Passthrough
from pkgcache.engine.files.range_cache import RangeCache, RangeHit
from pkgcache.engine.fills.fill import Fill
from pkgcache.engine.fills.fill_request import FillRequest
from pkgcache.engine.pages.variants import PageVariants
from pkgcache.engine.responses.bodies import Source, StoredBytes, StoredFile
from pkgcache.engine.responses.failures import failed, still_fetching
from pkgcache.engine.responses.file_response import FileRepresentation, file_response, requested_ranges
from pkgcache.engine.responses.messages import CLIENT_SECONDS, Request, Response
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.entries import Entry, Notes, file_stem
from pkgcache.engine.store.rehash import Rehasher
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.engine.upstream.wheel_metadata import metadata_of_wheel, read_metadata
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.freshness import Fresh, MustRevalidate, Policy, StaleUsable, Stored, decide, only_if_cached
from pkgcache.rules.http.ranges import (
    satisfy,
)
from pkgcache.rules.http.storability import storable_headers
from pkgcache.rules.http.validation import freshened, validators
from pkgcache.rules.policy.fills import is_near, starts_fill
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.routes import ReleaseFile
from pkgcache.settings import Settings

logger = logging.getLogger(__name__)


CHECKED_FIRST = 16 * 1024 * 1024
"""A stored file of at most this size is re-hashed before it is answered with, where that is due; a larger one meanwhile."""

CHECK_SECONDS = 5.0
"""A range of a larger one waits at most so long for it."""


_PASSING = frozenset({Failure.WRONG_DIGEST, Failure.WRONG_LENGTH, Failure.WRONG_SPAN, Failure.BROKEN})


class Files:
    """Answers requests for release files. One fill per key, however many ask."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        store: Store,
        client: UpstreamClient,
        views: PageVariants,
        metrics: Metrics,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._store = store
        self._client = client
        self._metrics = metrics
        self._tasks = tasks
        self._rehasher = Rehasher(store, tasks)
        self._resolver = FileResolver(views)
        self._ranges = RangeCache(policy, store, metrics, tasks)
        self._passthrough = Passthrough(client, metrics, self._ranges)
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="fill")
        self.fills: dict[str, Fill] = {}
        self._over: list[Fill] = []

    def close(self) -> None:
        """Let go of the writing threads; the fills' tasks have ended before."""
        for fill in self._over:
            fill.clean_up()
        self._over.clear()
        self._rehasher.close()
        self._pool.shutdown(wait=True)

    async def answer(self, request: Request, route: ReleaseFile) -> Response:
        """The reply to a GET or HEAD for a release file."""
        file = await self._resolver.resolve(route)
        size = file.size
        part: RangeHit | None = None
        if (fill := self._fill_of(file)) is None:
            entry = await self._store.get(file.key)
            if entry is not None and (file.digest is not None or await self._still_good(request, file, entry)):
                reply = await self._from_store(request, file, entry)
                if reply is not None:
                    return reply
            if entry is not None and entry.file is not None:
                entry.file.close()
            if file.digest is not None and (metadata := await self._metadata_of_stored_wheel(file)) is not None:
                return self._from_wheel(request, file, metadata)
            part = await self._ranges.answer(request, file)
            if part is not None and part.fresh:
                return self._ranges.served(part)
            if only_if_cached(request.headers):  # RFC 9111 §5.2.1.7
                return Response.text(504, f"{route.filename} is not in the store, and only-if-cached was asked")
            if self._settings.offline:
                return Response.text(
                    504, f"{route.filename} is not in the store, and the proxy is offline (pypi_cache_offline)."
                )
            size = await self._resolver.size(file) if "Range" in request.headers else file.size
            fill = self._fill_of(file)
        if fill is None and (request.method == "HEAD" or not starts_fill(request.headers, size)):
            reply = await (
                self._passthrough.head(request, file) if request.method == "HEAD" else self._part(request, file)
            )
            return self._ranges.served(part) if part is not None and reply.status >= 500 else reply
        joined = fill is not None
        return await self._from_fill(request, file, fill or self._start_fill(file), joined=joined)

    # From the store

    def try_from_memory(self, request: Request, route: ReleaseFile) -> Response | None:
        """The reply, if the file is a small one that is in memory, and was seen in the store within the last second."""
        file = self._resolver.from_memory(route)
        if file is None or file.digest is None or file.key in self.fills:
            return None
        entry = self._store.from_memory(file.key)
        return None if entry is None else self._stored_reply(request, file, entry, StoredBytes(entry.value))

    async def _from_store(self, request: Request, file: FileIdentity, entry: Entry) -> Response | None:
        """The reply out of the store; None where the stored file was found damaged first."""
        if entry.file is None:
            return self._stored_reply(request, file, entry, StoredBytes(entry.value))
        check = self._rehasher.check(file.key, entry)
        if check is not None and (entry.size <= CHECKED_FIRST or "Range" in request.headers):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await check.wait()
        if check is not None and check.fault:
            return None
        return self._stored_reply(request, file, entry, StoredFile(entry.file, entry.size, check))

    def _stored_reply(self, request: Request, file: FileIdentity, entry: Entry, source: Source) -> Response:
        notes = entry.notes
        headers = CIMultiDict(notes["headers"])
        age = max(0, int(time.time() - notes["response_time"]))
        headers["Age"] = str(age)
        ttl = 365_000_000 - age if file.digest else None
        found = FileRepresentation(
            total=entry.size,
            etag=f'"{notes["digest"]}"',
            other_tags=(f'"{file.digest or file.route.filename}.{notes["attempt"]}"',),
            headers=headers,
            cache=CacheStatus(hit=True, ttl=ttl, detail="" if file.digest else notes.get("detail", "")),
        )
        self._metrics.hit("file")
        return file_response(request, found, source)

    async def _metadata_of_stored_wheel(self, file: FileIdentity) -> bytes | None:
        """A wheel's core metadata, where the store has the wheel and the page's digest says that it is right."""
        route, digest = file.route, file.digest
        if route.suffix != ".metadata" or not route.filename.endswith(".whl") or digest is None:
            return None
        release = replace(route.release, suffix="") if route.release else None
        identity = route.identity.with_path(route.identity.path.removesuffix(".metadata"), route.identity.query)
        wheel = await self._resolver.resolve(replace(route, suffix="", release=release, identity=identity))
        entry = await self._store.get(wheel.key)
        if entry is None:
            return None
        with entry.file or io.BytesIO(entry.value) as stored, contextlib.suppress(ValueError, OSError, BadZipFile):
            metadata = await asyncio.get_running_loop().run_in_executor(self._pool, read_metadata, stored)
            hasher = digest.hasher()
            hasher.update(metadata)
            return metadata if hasher.hexdigest() == digest.value else None
        return None

    def _from_wheel(self, request: Request, file: FileIdentity, metadata: bytes) -> Response:
        self._metrics.hit("file")
        headers = CIMultiDict(
            {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(len(metadata)),
                "ETag": f'"{file.digest}"',
                "Cache-Control": IMMUTABLE,
            }
        )
        body = b"" if request.method == "HEAD" else metadata
        return Response(status=200, headers=headers, body=body, cache=CacheStatus(hit=True, detail="from-the-wheel"))

    async def _still_good(self, request: Request, file: FileIdentity, entry: Entry) -> bool:
        """Whether an entry without a digest may be served (RFC 9111): fresh, found unchanged, or stale with nothing better."""
        notes = entry.notes
        stored = Stored(
            status=200,
            headers=CIMultiDict(notes["upstream_headers"]),
            request_time=notes["request_time"],
            response_time=notes["response_time"],
        )
        match decide(stored, request.headers, self._policy, time.time()):
            case Fresh() | StaleUsable(revalidate=False):
                return True
            case StaleUsable():  # so small and so rare that nobody revalidates them in the background
                return await self._revalidated(file, notes, stored, stale_ok=True)
            case MustRevalidate(stale_if_error_ok=stale_ok):
                return await self._revalidated(file, notes, stored, stale_ok=stale_ok)

    async def _revalidated(self, file: FileIdentity, notes: Notes, stored: Stored, *, stale_ok: bool) -> bool:
        url, authorization = file.route.sources[0]
        before = time.time()
        try:
            async with self._client.request("GET", url, validators(stored.headers), authorization) as answer:
                if answer.status == 304:
                    now = freshened(stored, answer.headers, before, time.time())
                    times = {"request_time": now.request_time, "response_time": now.response_time}
                    await self._store.note(file.key, {**notes, **times, "upstream_headers": list(now.headers.items())})
                    return True
                if answer.status >= 500:
                    raise answer.refused()
                return False
        except UpstreamError as error:
            self._metrics.upstream_failed(error)
            notes["detail"] = "stale-if-error"
            return stale_ok

    # From a fill

    def _fill_of(self, file: FileIdentity) -> Fill | None:
        fill = self.fills.get(file.key)
        return None if fill is None or fill.failing else fill

    async def _find(self, file: FileIdentity, since: float) -> Entry | None:
        """What another process has committed meanwhile; without a digest an older entry is the one that is to be replaced."""
        entry = await self._store.find(file.key)
        if entry is not None and file.digest is None and entry.notes["response_time"] < since:
            if entry.file is not None:
                entry.file.close()
            return None
        return entry

    def _start_fill(self, file: FileIdentity) -> Fill:
        wanted = file.fill_request
        if file.digest and file.route.suffix == ".metadata" and file.route.filename.endswith(".whl"):
            wanted = replace(wanted, otherwise=lambda: metadata_of_wheel(self._client, file.wheels))
        fill = Fill(
            wanted,
            self._store.growing / f"{file_stem(file.key)}.part",
            self._client,
            self._pool,
            report=self._metrics.upstream_failed,
            reserve=self._store.reserve,
            disk_failed=self._store.fails_to_grow,
            finish_abandoned=self._settings.finish_abandoned,
        )
        self.fills[file.key] = fill
        started = time.time()

        async def work() -> None:
            try:
                await fill.run(lambda: self._find(file, started), lambda done: self._commit(file, done, started))
            finally:
                self._store.release(fill.file.path)
                self._forget(file.key, fill)

        fill.task = self._tasks.start(work(), f"fill {file.route.filename}")
        return fill

    def _forget(self, key: str, fill: Fill) -> None:
        """A failed fill at once, so that the next request starts afresh; a good one a little later (a `get` may be under way)."""
        if fill.error is not None and self.fills.get(key) is fill:
            del self.fills[key]
        self._over.append(fill)
        self._tasks.later(LINGER_SECONDS, lambda: self._let_go(key, fill))

    def _let_go(self, key: str, fill: Fill) -> None:
        if self.fills.get(key) is fill:
            del self.fills[key]
        if fill in self._over:
            self._over.remove(fill)
            fill.clean_up()

    async def _commit(self, file: FileIdentity, fill: Fill, started: float) -> bool:
        head = fill.head
        assert head is not None
        digest = file.digest or Digest("sha256", fill.computed)
        notes = {
            "name": file.route.filename + file.route.suffix,
            "url": str(file.route.identity),
            "digest": str(digest),
            "attempt": fill.attempt,
            "headers": list(file.headers(head).items()),
            "upstream_headers": list(storable_headers(head.headers).items()),
            "request_time": started,
            "response_time": time.time(),
        }
        kept = await self._store.adopt(file.key, fill.file.path, fill.written, notes)
        if kept:
            self._rehasher.trust(file.key, fill.file.fileno())
            self._metrics.stored(fill.written)
        return kept

    async def _from_fill(
        self, request: Request, file: FileIdentity, fill: Fill, *, joined: bool, however_far: bool = False
    ) -> Response:
        """The reply out of a growing file; a range that it has yet to come near to is passed through, unless it must be waited for."""
        fill.attach()
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                head = await fill.wait_announced()
        except BaseException as error:
            fill.release()
            if isinstance(error, AllFailedError):
                if any(each.failure is Failure.DISK for each in error.errors):
                    return await self._without_disk(request, file, fill.request)
                if joined and any(each.failure in _PASSING for each in error.errors):
                    # It came as another's attempt was failing; the next attempt is its own.
                    fill = self._fill_of(file) or self._start_fill(file)
                    return await self._from_fill(request, file, fill, joined=False, however_far=however_far)
                return failed(file.shown_name, error, request)
            if isinstance(error, TimeoutError):
                return still_fetching(file.route.filename)
            raise
        total = head.total
        requested = requested_ranges(request, _fill_tags(file, fill), head.headers.get("Last-Modified"))
        if (
            not however_far
            and total is not None
            and requested is not None
            and not is_near(satisfy(requested, total), fill.available)
        ):
            fill.release()
            return await self._part(request, file)
        tags = _fill_tags(file, fill)
        found = FileRepresentation(
            total=total,
            etag=tags[0],
            other_tags=tags[1:],
            headers=file.headers(head),
            cache=CacheStatus(hit=True)
            if fill.committed
            else CacheStatus(fwd="miss", stored=self._store.takes(total) and not joined, collapsed=joined),
            upstream=head.source.origin,
        )
        (self._metrics.hit if fill.committed else self._metrics.collapsed if joined else self._metrics.miss)("file")
        return file_response(request, found, fill)

    # Without a fill

    async def _part(self, request: Request, file: FileIdentity) -> Response:
        """A range for this client alone; where no upstream does ranges the whole file, which is then worth storing."""
        if (reply := await self._passthrough.part(request, file)) is not None:
            return reply
        fill = self._fill_of(file)
        return await self._from_fill(
            request, file, fill or self._start_fill(file), joined=fill is not None, however_far=True
        )

    async def _without_disk(self, request: Request, file: FileIdentity, wanted: FillRequest) -> Response:
        """The file, or what is wanted of it, for this client alone: the disk does not take it."""
        if request.method == "HEAD":
            return await self._passthrough.head(request, file)
        if (
            not starts_fill(request.headers, file.size)
            and (reply := await self._passthrough.part(request, file)) is not None
        ):
            return reply
        return await self._passthrough.whole(request, file, wanted)


def _fill_tags(file: FileIdentity, fill: Fill) -> tuple[str, ...]:
    """Entity tags: until a file is committed they carry the attempt, so that no other attempt's bytes are ever mixed in."""
    tag = f"{file.digest or file.route.filename}.{fill.attempt}"
    if not fill.committed:
        return (f'"{tag}"',)
    return (f'"{file.digest or Digest("sha256", fill.computed)}"', f'"{tag}"')
