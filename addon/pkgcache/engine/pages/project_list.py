"""The list of all projects (`/simple/`): kept as pages are, by RFC 9111, but as a file that is streamed, since it has 40 MB and more.

One fetch however many ask; clients follow it as it grows (engine/rootfill.py). What is stored has its links as they hold at every
address of the index (rules/rootlinks.py), so that one file serves all of them.

Leaves out: one representation made of the other, lists for a client's credentials, and what other processes are fetching just now.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from multidict import CIMultiDict

from pkgcache.engine.pages.fetcher import PageFetcher
from pkgcache.engine.pages.project_list_fill import ProjectListFill
from pkgcache.engine.responses.bodies import StoredBytes, StoredFile
from pkgcache.engine.responses.failures import failed, still_fetching
from pkgcache.engine.responses.file_response import FileRepresentation, file_response
from pkgcache.engine.responses.messages import CLIENT_SECONDS, Request, Response
from pkgcache.engine.responses.relay import RelayBody
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.tasks import Tasks, shielded
from pkgcache.engine.store.entries import Entry, Notes
from pkgcache.engine.store.growing import file_stem
from pkgcache.engine.store.keys import StoreKey, project_list_key
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.freshness import (
    Fresh,
    MustRevalidate,
    Policy,
    StaleReason,
    StaleUsable,
    Stored,
    decide,
    only_if_cached,
)
from pkgcache.rules.http.storability import NotStorable, storable, storable_headers
from pkgcache.rules.http.validation import freshened, updates, validators
from pkgcache.rules.routing.indexes import Index, Upstream
from pkgcache.rules.routing.routes import ProjectListPage
from pkgcache.rules.simple.representations import NotAcceptable, Representation, accepts, negotiate, upstream_accept

STALE_SECONDS = 4.0
"""A client waits so long for a list to be renewed before it gets the stale one; the refresh goes on."""


class ProjectLists:
    """Answers requests for lists of all projects."""

    def __init__(
        self, policy: Policy, store: Store, client: UpstreamClient, fetcher: PageFetcher, metrics: Metrics, tasks: Tasks
    ) -> None:
        self._policy = policy
        self._store = store
        self._client = client
        self._fetcher = fetcher
        self._metrics = metrics
        self._tasks = tasks
        self._fills: dict[str, ProjectListFill] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="root")

    def close(self) -> None:
        """Let go of the thread; the fills' tasks have ended before."""
        self._pool.shutdown(wait=True)

    async def answer(self, request: Request, route: ProjectListPage) -> Response:
        """The reply to a GET or HEAD for an index's list."""
        if not route.client_url.path.endswith("/"):  # its links are relative to the folder
            moved = Response.text(301, f"{route.client_url.path}/")
            moved.headers["Location"] = f"{route.client_url.path}/"
            return moved
        wanted = negotiate(request.headers.get("Accept"))
        if isinstance(wanted, NotAcceptable):
            return Response.text(406, "a list is JSON or HTML: " + ", ".join(r.content_type for r in Representation))
        key = project_list_key(route.index.name, wanted)
        under_way = self._fills.get(key)
        entry = await self._store.get(key)
        if entry is None and under_way is not None and under_way is not self._fills.get(key):
            entry = await self._store.get(key)  # it came while it was looked for
        if entry is not None and not accepts(request.headers.get("Accept"), Representation(entry.notes["kind"])):
            _close(entry)
            entry = None
        try:
            return await self._decided(request, route.index, wanted, key, entry)
        except AllFailedError as error:
            if any(each.failure is Failure.DISK for each in error.errors):
                return await self._passed_through(request, route.index)
            return failed(_what(route.index), error, request)
        except TimeoutError:
            return still_fetching(_what(route.index))

    async def _decided(
        self, request: Request, index: Index, wanted: Representation, key: StoreKey, entry: Entry | None
    ) -> Response:
        """By RFC 9111. Raises AllFailedError and TimeoutError."""
        if entry is None:
            if only_if_cached(request.headers):  # RFC 9111 §5.2.1.7
                return Response.text(504, f"{_what(index)} is not in the store, and only-if-cached was asked")
            return await self._fetched(request, index, wanted, key, None)
        match decide(_stored(entry.notes), request.headers, self._policy, time.time()):
            case Fresh(ttl=ttl):
                self._metrics.hit("root")
                return _from_store(request, entry, CacheStatus(hit=True, ttl=math.floor(ttl)))
            case StaleUsable(ttl=ttl, reason=reason, revalidate=revalidate):
                if revalidate:
                    self._fill(index, wanted, key, entry.notes)
                self._metrics.stale("root")
                return _from_store(request, entry, CacheStatus(hit=True, ttl=math.floor(ttl), detail=str(reason)))
            case MustRevalidate(only_if_cached=True):
                _close(entry)
                return Response.text(504, f"{_what(index)} is past its lifetime, and only-if-cached was asked")
            case MustRevalidate(ttl=ttl, stale_if_error_ok=stale_ok):
                try:
                    async with asyncio.timeout(STALE_SECONDS if stale_ok else None):
                        reply = await self._fetched(request, index, wanted, key, entry.notes)
                except (AllFailedError, TimeoutError):
                    if not stale_ok:
                        _close(entry)
                        raise
                    self._metrics.stale("root")
                    stale = CacheStatus(hit=True, ttl=math.floor(ttl), detail="stale-if-error")
                    return _from_store(request, entry, stale)
                _close(entry)
                return reply

    async def _fetched(
        self, request: Request, index: Index, wanted: Representation, key: StoreKey, notes: Notes | None
    ) -> Response:
        """The list as it comes, or the stored one once an upstream has said that it is unchanged."""
        joined = key in self._fills
        fill = self._fill(index, wanted, key, notes)
        fill.attach()
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                head = await asyncio.shield(fill.announced)
        except BaseException:
            fill.release()
            raise
        (self._metrics.collapsed if joined else self._metrics.miss)("root")
        fwd = "miss" if notes is None else "stale"
        if head is None:
            fill.release()
            if (entry := await self._store.get(key)) is None:
                gone = UpstreamError(Failure.BROKEN, key, "the stored list went away just now; ask again")
                raise AllFailedError([gone])
            return _from_store(request, entry, CacheStatus(fwd="stale", fwd_status=304, collapsed=joined))
        if not accepts(request.headers.get("Accept"), head.representation):
            fill.release()
            return Response.text(406, f"{_what(index)} is there as {head.representation.content_type} alone")
        found = FileRepresentation(
            total=None,
            etag=f'"{fill.file.path.stem}"',
            other_tags=(),
            headers=_headers(head.headers, head.representation),
            cache=CacheStatus(
                fwd="miss" if fwd == "miss" else "stale",
                fwd_status=200,
                stored=self._store.usable and not joined,
                collapsed=joined,
            ),
            upstream=head.upstream,
        )
        return file_response(request, found, fill)

    # The fetch

    def _fill(self, index: Index, wanted: Representation, key: StoreKey, notes: Notes | None) -> ProjectListFill:
        """The one fetch of this list that is under way, begun if there is none."""
        if (fill := self._fills.get(key)) is None:
            path = self._store.growing / f"{file_stem(key)}-{secrets.token_hex(4)}.part"
            fill = self._fills[key] = ProjectListFill(path, self._pool)
            self._tasks.start(self._run(fill, index, wanted, key, notes), f"fetch of {key}")
        return fill

    async def _run(
        self, fill: ProjectListFill, index: Index, wanted: Representation, key: StoreKey, notes: Notes | None
    ) -> None:
        errors: list[UpstreamError] = []
        try:
            if self._policy.offline:
                offline = "it is not in the store, and the proxy is offline (pypi_cache_offline)"
                errors.append(UpstreamError(Failure.OFFLINE, index.name, offline))
                return
            for upstream in self._fetcher.healthy_first(index):
                try:
                    await self._from_upstream(fill, upstream, wanted, key, notes)
                except UpstreamError as error:
                    self._metrics.upstream_failed(error)
                    errors.append(error)
                    if fill.begun:
                        return
                else:
                    errors.clear()
                    return
        except OSError as error:
            self._store.fails_to_grow(error)
            errors.append(UpstreamError(Failure.DISK, str(fill.file.path), f"cannot be written: {error}"))
        finally:
            if not fill.settled:
                stopped = UpstreamError(Failure.BROKEN, index.name, "the fetch was stopped")
                fill.fail(AllFailedError(errors or [stopped]))
            del self._fills[key]
            fill.end()

    async def _from_upstream(
        self, fill: ProjectListFill, upstream: Upstream, wanted: Representation, key: StoreKey, notes: Notes | None
    ) -> None:
        """One upstream's list, and into the store with it. Raises UpstreamError and OSError."""
        headers = {"Accept": upstream_accept(wanted), "Accept-Encoding": "gzip"}
        conditional = notes is not None and notes["upstream"] == upstream.name
        if notes is not None and conditional:
            headers |= validators(_stored(notes).headers)
        before = time.time()
        async with self._client.request("GET", upstream.simple, headers, upstream.authorization) as answer:
            if answer.status == 304 and notes is not None and updates(_stored(notes).headers, answer.headers):
                now = freshened(_stored(notes), answer.headers, before, time.time())
                times = {"request_time": now.request_time, "response_time": now.response_time}
                await self._store.note(key, {**notes, **times, "upstream_headers": list(now.headers.items())})
                fill.be_unchanged()
                return
            if answer.status != 200:
                raise answer.refused()
            await fill.take(answer, upstream.name)
            refusal = storable(request_headers=CIMultiDict(), status=200, response_headers=answer.headers)
        assert fill.head is not None
        fill.be_verified()
        if isinstance(refusal, NotStorable):
            return
        kept: Notes = {
            "kind": fill.head.representation.value,
            "url": fill.head.url,
            "upstream": upstream.name,
            "digest": f"sha256:{fill.digest}",
            "upstream_headers": list(storable_headers(fill.head.headers).items()),
            "request_time": before,
            "response_time": time.time(),
        }
        await shielded(self._store.adopt(key, fill.file.path, fill.written, kept))

    async def _passed_through(self, request: Request, index: Index) -> Response:
        """For this client alone, as it comes: while the disk takes nothing."""
        errors: list[UpstreamError] = []
        headers = {name: request.headers[name] for name in ("Accept", "Accept-Encoding") if name in request.headers}
        for upstream in self._fetcher.healthy_first(index):
            passage = RelayBody(self._client.request(request.method, upstream.simple, headers, upstream.authorization))
            try:
                answer = await passage.open()
                if answer.status != 200:
                    raise answer.refused()
            except UpstreamError as error:
                await passage.aclose()
                self._metrics.upstream_failed(error)
                errors.append(error)
                continue
            passed = storable_headers(answer.headers)
            if "Content-Length" not in passed and request.method == "GET":
                passed["Transfer-Encoding"] = "chunked"
            if request.method == "HEAD":
                await passage.aclose()
            body: Any = b"" if request.method == "HEAD" else passage
            cache = CacheStatus(fwd="bypass", fwd_status=200, detail="disk-failed")
            return Response(status=200, headers=passed, body=body, cache=cache, upstream=answer.url.origin)
        return failed(_what(index), AllFailedError(errors), request)


def _what(index: Index) -> str:
    return f"the project list of index {index.name}"


def _stored(notes: Notes) -> Stored:
    return Stored(
        status=200,
        headers=CIMultiDict(notes["upstream_headers"]),
        request_time=notes["request_time"],
        response_time=notes["response_time"],
    )


def _close(entry: Entry) -> None:
    if entry.file is not None:
        entry.file.close()


def _headers(upstream_headers: CIMultiDict[str], representation: Representation) -> CIMultiDict[str]:
    """The headers of an answer but for its length and tag. The upstream's own tag is of other bytes."""
    passed = ("Last-Modified", "Cache-Control", "Expires", "X-PyPI-Last-Serial")
    headers = CIMultiDict({name: upstream_headers[name] for name in passed if name in upstream_headers})
    headers["Content-Type"] = upstream_headers.get("Content-Type", representation.content_type)
    headers["Vary"] = "Accept"
    return headers


def _from_store(request: Request, entry: Entry, cache: CacheStatus) -> Response:
    notes = entry.notes
    headers = _headers(CIMultiDict(notes["upstream_headers"]), Representation(notes["kind"]))
    headers["Age"] = str(max(0, int(time.time() - notes["response_time"])))
    if cache.hit and cache.detail not in {"", StaleReason.STALE_WHILE_REVALIDATE}:
        headers["Cache-Control"] = "no-store"  # clients are not to keep staleness
        headers.pop("Expires", None)
    found = FileRepresentation(
        total=entry.size,
        etag=f'"{notes["digest"]}"',
        other_tags=(),
        headers=headers,
        cache=cache,
        upstream="" if cache.hit else notes["upstream"],
    )
    source = StoredBytes(entry.value) if entry.file is None else StoredFile(entry.file, entry.size)
    return file_response(request, found, source)
