"""Release files: from the store, from a fill in progress, by starting a fill, or passed through where that is right.

A file's key is (credential space, digest, filename): from the PyPI-layout path, else from the strongest digest of its index's page,
else its URL, and then it is revalidated like a page. Core metadata (PEP 658/714) is verified by the digest in `core-metadata`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from zipfile import BadZipFile

from multidict import CIMultiDict

from pkgcache.engine.entries import Entry, Notes, file_stem
from pkgcache.engine.fill import Fill
from pkgcache.engine.messages import CLIENT_SECONDS, Reply, Request, ask_again
from pkgcache.engine.metrics import Metrics
from pkgcache.engine.passage import Passage
from pkgcache.engine.readers import Source, StoredBytes, StoredFile
from pkgcache.engine.replies import Found, file_reply, requested_ranges, unsatisfiable
from pkgcache.engine.soundness import Soundness
from pkgcache.engine.store import Store
from pkgcache.engine.tasks import Tasks
from pkgcache.engine.unstored import Unstored
from pkgcache.engine.upstream import Answer, Failure, UpstreamClient, UpstreamError
from pkgcache.engine.views import Views, file_key
from pkgcache.engine.wanted import FillError, Head, Wanted, check_answer
from pkgcache.engine.wheelmeta import metadata_of_wheel, read_metadata
from pkgcache.rules.cachestatus import CacheStatus
from pkgcache.rules.digests import Digest, strongest
from pkgcache.rules.freshness import Fresh, MustRevalidate, Policy, StaleUsable, Stored, decide, only_if_cached
from pkgcache.rules.ranges import (
    Bounded,
    Multi,
    Partial,
    Requested,
    Suffix,
    Unsatisfiable,
    Whole,
    answers,
    parse_content_range,
    parse_range,
    satisfy,
)
from pkgcache.rules.routes import ReleaseFile
from pkgcache.rules.storing import storable_headers
from pkgcache.rules.urls import Url
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
IMMUTABLE = "max-age=365000000, immutable, public"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """A release file with its key and what is known of its content."""

    route: ReleaseFile
    key: str
    digest: Digest | None
    size: int | None

    @property
    def wanted(self) -> Wanted:
        """What a fill has to bring."""
        return Wanted(digest=self.digest, size=self.size, sources=self.route.sources)

    @property
    def wheels(self) -> list[tuple[Url, str]]:
        """Where the wheel is whose metadata this is."""
        return [(url.with_path(url.path.removesuffix(".metadata")), auth) for url, auth in self.route.sources]


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
        self._views = views
        self._metrics = metrics
        self._tasks = tasks
        self._soundness = Soundness(store, tasks)
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
        file = await self._identify(route)
        size = file.size
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
            if only_if_cached(request.headers):  # RFC 9111 §5.2.1.7
                return Reply.text(504, f"{route.filename} is not in the store, and only-if-cached was asked")
            if self._settings.offline:
                return Reply.text(
                    504, f"{route.filename} is not in the store, and the proxy is offline (pypi_cache_offline)."
                )
            size = await self._size(request, file)
            fill = self._fill_of(file)
        if fill is None and request.method == "HEAD":
            return await self._head_upstream(file)
        if fill is None and not _wants_fill(request, size):
            return await self._passed_through(request, file)
        joined = fill is not None
        return await self._from_fill(request, file, fill or self._start_fill(file), joined=joined)

    # Identity

    def _identify_now(self, route: ReleaseFile) -> Identified | None:
        """As `_identify`, where that takes no look at a page, or the page's links are in memory."""
        if route.release is not None and not route.suffix:
            return _identified(route, route.release.digest, None)
        if route.suffix == ".metadata" and (link := self._views.link_in_memory(route)):
            return (
                None
                if isinstance(link.core_metadata, bool)
                else _identified(route, strongest(link.core_metadata), None)
            )
        return None

    async def _identify(self, route: ReleaseFile) -> Identified:
        digest: Digest | None = None
        size: int | None = None
        if route.release is not None and not route.suffix:
            digest = route.release.digest
        elif link := await self._views.link_of(route):
            if not route.suffix:
                digest, size = strongest(link.hashes), link.size
            elif route.suffix == ".metadata" and not isinstance(link.core_metadata, bool):
                digest = strongest(link.core_metadata)
        return _identified(route, digest, size)

    async def _size(self, request: Request, file: Identified) -> int | None:
        """How large a cold file is as far as a page tells, where a range makes that matter."""
        if file.size is None and not file.route.suffix and "Range" in request.headers:
            link = await self._views.link_of(file.route)
            return link.size if link else None
        return file.size

    # From the store

    def answer_at_once(self, request: Request, route: ReleaseFile) -> Reply | None:
        """The reply, if the file is a small one that is in memory, and was seen in the store within the last second."""
        file = self._identify_now(route)
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
        wheel = await self._identify(replace(route, suffix="", release=release, identity=identity))
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
            "headers": list(_file_headers(file, head).items()),
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
                    return await self._unstored(request, file, fill.wanted)
                if joined and any(each.failure in _PASSING for each in error.errors):
                    # It came as another's attempt was failing; the next attempt is its own.
                    fill = self._fill_of(file) or self._start_fill(file)
                    return await self._from_fill(request, file, fill, joined=False, however_far=however_far)
                return self._failed(file, error)
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
            return await self._passed_through(request, file)
        tags = _fill_tags(file, fill)
        found = Found(
            total=total,
            etag=tags[0],
            other_tags=tags[1:],
            headers=_file_headers(file, head),
            cache=CacheStatus(hit=True)
            if fill.committed
            else CacheStatus(fwd="miss", stored=self._store.usable and not joined, collapsed=joined),
            upstream=head.source.origin,
        )
        (self._metrics.hit if fill.committed else self._metrics.collapsed if joined else self._metrics.miss)("file")
        return file_reply(request, found, fill)

    # Without a fill

    async def _unstored(self, request: Request, file: Identified, wanted: Wanted) -> Reply:
        """The file for this client alone, where the disk does not take it."""
        if request.method == "GET" and not _wants_fill(request, file.size):
            return await self._passed_through(request, file)
        body = Unstored(self._client, wanted, report=self._metrics.upstream_failed)
        try:
            url, upstream_headers = await body.open()
        except UpstreamError as error:
            return self._failed(file, FillError([error]))
        headers = _file_headers(file, Head(total=body.total, headers=upstream_headers, source=url))
        headers["ETag"] = _passing_tag(file)
        if body.total is None:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(body.total)
        self._metrics.miss("file")
        cache = CacheStatus(fwd="miss", fwd_status=200, detail="disk-failed")
        return Reply(status=200, headers=headers, body=body, cache=cache, upstream=url.origin)

    async def _head_upstream(self, file: Identified) -> Reply:
        errors: list[UpstreamError] = []
        for url, authorization in self._client.in_order(file.route.sources):
            try:
                async with self._client.ask("HEAD", url, {"Accept-Encoding": "identity"}, authorization) as answer:
                    total = check_answer(answer)
                    head = Head(total=total, headers=CIMultiDict(answer.headers), source=answer.url)
                    headers = _file_headers(file, head)
                    if total is not None:
                        headers["Content-Length"] = str(total)
                    headers["ETag"] = _passing_tag(file)
                    headers["Accept-Ranges"] = "bytes"
                    self._metrics.miss("file")
                    return Reply(
                        status=200, headers=headers, cache=CacheStatus(fwd="miss", fwd_status=200), upstream=url.origin
                    )
            except UpstreamError as error:
                self._metrics.upstream_failed(error)
                errors.append(error)
        return self._failed(file, FillError(errors))

    async def _passed_through(self, request: Request, file: Identified) -> Reply:
        """A range for this client alone: not stored, not verified, so its ETag is of an attempt that is never committed."""
        errors: list[UpstreamError] = []
        for url, authorization in self._client.in_order(file.route.sources):
            sent = {"Accept": "*/*", "Accept-Encoding": "identity", "Range": request.headers["Range"]}
            passage = Passage(self._client.ask("GET", url, sent, authorization, alone=len(file.route.sources) == 1))
            try:
                answer = await passage.open()
                if answer.status == 416:
                    await passage.aclose()
                    content_range = answer.headers.get("Content-Range", "bytes */*")
                    return unsatisfiable(content_range, CacheStatus(fwd="partial", fwd_status=416))
                check_answer(answer)
                _check_span(request, answer)
            except UpstreamError as error:
                await passage.aclose()
                self._metrics.upstream_failed(error)
                errors.append(error)
                continue
            if answer.status == 200:  # it does not do ranges: then the whole file is worth storing
                await passage.aclose()
                fill = self._fill_of(file)
                return await self._from_fill(
                    request, file, fill or self._start_fill(file), joined=fill is not None, however_far=True
                )
            headers = _file_headers(file, Head(total=None, headers=CIMultiDict(answer.headers), source=answer.url))
            for name in ("Content-Range", "Content-Length", "Content-Type"):
                if name in answer.headers:
                    headers[name] = answer.headers[name]
            headers["ETag"] = _passing_tag(file)
            headers["Accept-Ranges"] = "bytes"
            self._metrics.miss("range")
            return Reply(
                status=206,
                headers=headers,
                body=passage,
                cache=CacheStatus(fwd="partial", fwd_status=206),
                upstream=url.origin,
            )
        return self._failed(file, FillError(errors))

    def _failed(self, file: Identified, error: FillError) -> Reply:
        """404 only where every upstream that answered says so; else 502, or 504 where none answered in time."""
        lines = [
            f"{file.route.filename}{file.route.suffix} cannot be had from any upstream:",
            *(f"  {e}" for e in error.errors),
        ]
        failures = {e.failure for e in error.errors}
        if failures and failures <= {Failure.NOT_FOUND}:
            return Reply.text(404, "\n".join(lines), cache=CacheStatus(fwd="miss", fwd_status=404))
        if len(error.errors) == 1 and (status := error.errors[0].status) in {401, 403, 451}:
            cache = CacheStatus(fwd="miss", fwd_status=status)
            return Reply.text(status, "\n".join(lines), cache=cache, challenge=error.errors[0].challenge)
        status = 504 if failures and failures <= {Failure.TIMEOUT, Failure.NOT_FOUND} else 502
        return Reply.text(status, "\n".join(lines), cache=CacheStatus(fwd="miss", detail="upstreams-failed"))


def _identified(route: ReleaseFile, digest: Digest | None, size: int | None) -> Identified:
    return Identified(
        route=route,
        key=file_key(route.space, str(digest or route.identity), route.filename + route.suffix),
        digest=digest,
        size=size,
    )


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


def _check_span(request: Request, answer: Answer) -> None:
    """That a 206 holds the span that was asked for, and announces its length. Raises UpstreamError."""
    requested = parse_range(request.headers.get("Range"))
    if answer.status != 206 or requested is None:
        return
    found = parse_content_range(answer.headers.get("Content-Range"))
    if not answers(requested, found):
        got = answer.headers.get("Content-Range", "no Content-Range")
        raise UpstreamError(Failure.WRONG_SPAN, answer.url, f"asked for {request.headers['Range']!r}, got {got!r}")
    length = answer.headers.get("Content-Length")
    if found and length and int(length) != found.stop - found.start:
        raise UpstreamError(
            Failure.WRONG_LENGTH, answer.url, f"{length} bytes are announced for {found.stop - found.start}"
        )


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


def _passing_tag(file: Identified) -> str:
    return f'"{file.digest or file.route.filename}.{secrets.token_hex(4)}"'


def _file_headers(file: Identified, head: Head) -> CIMultiDict[str]:
    """The headers of a file's answer but for its length and range."""
    kept = (
        ("Content-Type", "Last-Modified")
        if file.digest
        else ("Content-Type", "Last-Modified", "Cache-Control", "Expires")
    )
    headers = CIMultiDict({name: head.headers[name] for name in kept if name in head.headers})
    headers.setdefault("Content-Type", "application/octet-stream")
    if headers["Content-Type"].startswith("multipart/"):
        headers["Content-Type"] = "application/octet-stream"
    if file.digest:
        headers["Cache-Control"] = IMMUTABLE
    return headers
