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

from pkgcache.engine.entries import Entry, Notes, file_stem
from pkgcache.engine.fill import Fill
from pkgcache.engine.identity import IMMUTABLE, Identified, Identities
from pkgcache.engine.messages import CLIENT_SECONDS, Reply, Request, ask_again
from pkgcache.engine.metrics import Metrics
from pkgcache.engine.parts import Kept, Parts
from pkgcache.engine.readers import Source, StoredBytes, StoredFile
from pkgcache.engine.replies import Found, file_reply, requested_ranges
from pkgcache.engine.soundness import Soundness
from pkgcache.engine.store import Store
from pkgcache.engine.straight import Straight, failed_file
from pkgcache.engine.tasks import Tasks
from pkgcache.engine.upstream import Failure, UpstreamClient, UpstreamError
from pkgcache.engine.views import Views
from pkgcache.engine.wanted import FillError, Wanted
from pkgcache.engine.wheelmeta import metadata_of_wheel, read_metadata
from pkgcache.rules.cachestatus import CacheStatus
from pkgcache.rules.digests import Digest
from pkgcache.rules.freshness import Fresh, MustRevalidate, Policy, StaleUsable, Stored, decide, only_if_cached
from pkgcache.rules.ranges import (
    Bounded,
    Multi,
    Partial,
    Requested,
    Suffix,
    Unsatisfiable,
    Whole,
    parse_range,
    satisfy,
)
from pkgcache.rules.routes import ReleaseFile
from pkgcache.rules.storing import storable_headers
from pkgcache.rules.validation import freshened, validators
from pkgcache.settings import Settings

logger = logging.getLogger(__name__)

FILL_SHARE = 0.5
"""A range of at least this share of a cold file starts a fill; a smaller one is passed through."""

NEAR_BYTES = 8 * 1024 * 1024
"""A range of a growing file is served from it when it starts no further than this past its end."""

CHECKED_FIRST = 16 * 1024 * 1024
"""A stored file of at most this size is re-hashed before it is answered with, where that is due; a larger one meanwhile."""

CHECK_SECONDS = 5.0
"""A range of a larger one waits at most so long for it."""

LINGER_SECONDS = 1.0
_PASSING = frozenset({Failure.WRONG_DIGEST, Failure.WRONG_LENGTH, Failure.WRONG_SPAN, Failure.BROKEN})


class Files:
    """Answers requests for release files. One fill per key, however many ask."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        store: Store,
        client: UpstreamClient,
        views: Views,
        metrics: Metrics,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._store = store
        self._client = client
        self._metrics = metrics
        self._tasks = tasks
        self._soundness = Soundness(store, tasks)
        self._identities = Identities(views)
        self._parts = Parts(policy, store, metrics, tasks)
        self._straight = Straight(client, metrics, self._parts)
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="fill")
        self.fills: dict[str, Fill] = {}
        self._over: list[Fill] = []

    def close(self) -> None:
        """Let go of the writing threads; the fills' tasks have ended before."""
        for fill in self._over:
            fill.clean_up()
        self._over.clear()
        self._soundness.close()
        self._pool.shutdown(wait=True)

    async def answer(self, request: Request, route: ReleaseFile) -> Reply:
        """The reply to a GET or HEAD for a release file."""
        file = await self._identities.of(route)
        size = file.size
        part: Kept | None = None
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
            part = await self._parts.answer(request, file)
            if part is not None and part.fresh:
                return self._parts.served(part)
            if only_if_cached(request.headers):  # RFC 9111 §5.2.1.7
                return Reply.text(504, f"{route.filename} is not in the store, and only-if-cached was asked")
            if self._settings.offline:
                return Reply.text(
                    504, f"{route.filename} is not in the store, and the proxy is offline (pypi_cache_offline)."
                )
            size = await self._identities.size(file) if "Range" in request.headers else file.size
            fill = self._fill_of(file)
        if fill is None and (request.method == "HEAD" or not _wants_fill(request, size)):
            reply = await (self._straight.head(file) if request.method == "HEAD" else self._part(request, file))
            return self._parts.served(part) if part is not None and reply.status >= 500 else reply
        joined = fill is not None
        return await self._from_fill(request, file, fill or self._start_fill(file), joined=joined)

    # From the store

    def answer_at_once(self, request: Request, route: ReleaseFile) -> Reply | None:
        """The reply, if the file is a small one that is in memory, and was seen in the store within the last second."""
        file = self._identities.at_once(route)
        if file is None or file.digest is None or file.key in self.fills:
            return None
        entry = self._store.at_once(file.key)
        return None if entry is None else self._stored_reply(request, file, entry, StoredBytes(entry.value))

    async def _from_store(self, request: Request, file: Identified, entry: Entry) -> Reply | None:
        """The reply out of the store; None where the stored file was found damaged first."""
        if entry.file is None:
            return self._stored_reply(request, file, entry, StoredBytes(entry.value))
        check = self._soundness.check(file.key, entry)
        if check is not None and (entry.size <= CHECKED_FIRST or "Range" in request.headers):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await check.wait()
        if check is not None and check.fault:
            return None
        return self._stored_reply(request, file, entry, StoredFile(entry.file, entry.size, check))

    def _stored_reply(self, request: Request, file: Identified, entry: Entry, source: Source) -> Reply:
        notes = entry.notes
        headers = CIMultiDict(notes["headers"])
        age = max(0, int(time.time() - notes["response_time"]))
        headers["Age"] = str(age)
        ttl = 365_000_000 - age if file.digest else None
        found = Found(
            total=entry.size,
            etag=f'"{notes["digest"]}"',
            other_tags=(f'"{file.digest or file.route.filename}.{notes["attempt"]}"',),
            headers=headers,
            cache=CacheStatus(hit=True, ttl=ttl, detail="" if file.digest else notes.get("detail", "")),
        )
        self._metrics.hit("file")
        return file_reply(request, found, source)

    async def _metadata_of_stored_wheel(self, file: Identified) -> bytes | None:
        """A wheel's core metadata, where the store has the wheel and the page's digest says that it is right."""
        route, digest = file.route, file.digest
        if route.suffix != ".metadata" or not route.filename.endswith(".whl") or digest is None:
            return None
        release = replace(route.release, suffix="") if route.release else None
        identity = route.identity.with_path(route.identity.path.removesuffix(".metadata"), route.identity.query)
        wheel = await self._identities.of(replace(route, suffix="", release=release, identity=identity))
        entry = await self._store.get(wheel.key)
        if entry is None:
            return None
        with entry.file or io.BytesIO(entry.value) as stored, contextlib.suppress(ValueError, OSError, BadZipFile):
            metadata = await asyncio.get_running_loop().run_in_executor(self._pool, read_metadata, stored)
            hasher = digest.hasher()
            hasher.update(metadata)
            return metadata if hasher.hexdigest() == digest.value else None
        return None

    def _from_wheel(self, request: Request, file: Identified, metadata: bytes) -> Reply:
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
        return Reply(status=200, headers=headers, body=body, cache=CacheStatus(hit=True, detail="from-the-wheel"))

    async def _still_good(self, request: Request, file: Identified, entry: Entry) -> bool:
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

    async def _revalidated(self, file: Identified, notes: Notes, stored: Stored, *, stale_ok: bool) -> bool:
        url, authorization = file.route.sources[0]
        before = time.time()
        try:
            async with self._client.ask("GET", url, validators(stored.headers), authorization) as answer:
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

    def _fill_of(self, file: Identified) -> Fill | None:
        fill = self.fills.get(file.key)
        return None if fill is None or fill.failing else fill

    async def _find(self, file: Identified, since: float) -> Entry | None:
        """What another process has committed meanwhile; without a digest an older entry is the one that is to be replaced."""
        entry = await self._store.find(file.key)
        if entry is not None and file.digest is None and entry.notes["response_time"] < since:
            if entry.file is not None:
                entry.file.close()
            return None
        return entry

    def _start_fill(self, file: Identified) -> Fill:
        wanted = file.wanted
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

    async def _commit(self, file: Identified, fill: Fill, started: float) -> bool:
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
            self._soundness.trust(file.key, fill.file.fileno())
            self._metrics.stored(fill.written)
        return kept

    async def _from_fill(
        self, request: Request, file: Identified, fill: Fill, *, joined: bool, however_far: bool = False
    ) -> Reply:
        """The reply out of a growing file; a range that it has yet to come near to is passed through, unless it must be waited for."""
        fill.attach()
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                head = await fill.wait_announced()
        except BaseException as error:
            fill.detach()
            if isinstance(error, FillError):
                if any(each.failure is Failure.DISK for each in error.errors):
                    return await self._without_disk(request, file, fill.wanted)
                if joined and any(each.failure in _PASSING for each in error.errors):
                    # It came as another's attempt was failing; the next attempt is its own.
                    fill = self._fill_of(file) or self._start_fill(file)
                    return await self._from_fill(request, file, fill, joined=False, however_far=however_far)
                return failed_file(file, error)
            if isinstance(error, TimeoutError):
                return ask_again(file.route.filename)
            raise
        total = head.total
        requested = requested_ranges(request, _fill_tags(file, fill), head.headers.get("Last-Modified"))
        if (
            not however_far
            and total is not None
            and requested is not None
            and not _near(satisfy(requested, total), fill)
        ):
            fill.detach()
            return await self._part(request, file)
        tags = _fill_tags(file, fill)
        found = Found(
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
        return file_reply(request, found, fill)

    # Without a fill

    async def _part(self, request: Request, file: Identified) -> Reply:
        """A range for this client alone; where no upstream does ranges the whole file, which is then worth storing."""
        if (reply := await self._straight.part(request, file)) is not None:
            return reply
        fill = self._fill_of(file)
        return await self._from_fill(
            request, file, fill or self._start_fill(file), joined=fill is not None, however_far=True
        )

    async def _without_disk(self, request: Request, file: Identified, wanted: Wanted) -> Reply:
        """The file, or what is wanted of it, for this client alone: the disk does not take it."""
        if request.method == "HEAD":
            return await self._straight.head(file)
        if not _wants_fill(request, file.size) and (reply := await self._straight.part(request, file)) is not None:
            return reply
        return await self._straight.whole(file, wanted)


def _wants_fill(request: Request, size: int | None) -> bool:
    """Whether a request for a cold file starts a fill: one from byte 0 to an unknown or far end, or for at least half of the file."""
    requested = parse_range(request.headers.get("Range"))
    if requested is None or "If-Range" in request.headers:
        return True  # whoever resumes wants the rest; its validator decides what it gets
    match requested:
        case Requested(specs=(Bounded(first=0, last=None),), malformed=False):
            return True
        case Requested(specs=(Bounded(first=first, last=last),), malformed=False) if size:
            return (size if last is None else min(last + 1, size)) - first >= size * FILL_SHARE
        case Requested(specs=(Suffix(length=length),), malformed=False) if size:
            return length >= size * FILL_SHARE
    return False


def _near(answer: Whole | Partial | Multi | Unsatisfiable, fill: Fill) -> bool:
    """Whether a growing file will soon have what is asked for."""
    match answer:
        case Whole() | Unsatisfiable():
            return True
        case Partial(span=span):
            return span.start <= fill.available + NEAR_BYTES
        case Multi(spans=spans):
            return all(span.stop <= fill.available for span in spans)


def _fill_tags(file: Identified, fill: Fill) -> tuple[str, ...]:
    """Entity tags: until a file is committed they carry the attempt, so that no other attempt's bytes are ever mixed in."""
    tag = f"{file.digest or file.route.filename}.{fill.attempt}"
    if not fill.committed:
        return (f'"{tag}"',)
    return (f'"{file.digest or Digest("sha256", fill.computed)}"', f'"{tag}"')
