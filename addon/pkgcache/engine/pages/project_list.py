"""Answers requests for the list of all projects (`/simple/`), which is cached as pages are, but as a file: it has 40 MB and more.

One fetch however many clients ask; they follow it as it grows (`project_list_fill`). The links of the stored list hold at every address
of its index (`rules/simple/project_list`), so one file serves all clients.

Left out: converting one representation to the other, lists for a client's credentials, and joining what other processes fetch.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import quote

from multidict import CIMultiDict

from pkgcache.engine.caching import CachedAnswers, Collaborators, OnlyIfCachedError, Refresh, Refreshed
from pkgcache.engine.pages.fetcher import OtherVersionError, PageFetcher
from pkgcache.engine.pages.list_response import StoredList, growing_list_response, stored_list_response
from pkgcache.engine.pages.project_list_fill import ProjectListFill
from pkgcache.engine.responses.failures import failed, offline, offline_error, only_stored, still_fetching
from pkgcache.engine.responses.messages import CLIENT_SECONDS, Request, Response
from pkgcache.engine.responses.relay import RelayBody
from pkgcache.engine.runtime.tasks import shielded
from pkgcache.engine.store.growing import file_stem
from pkgcache.engine.store.keys import StoreKey, project_list_key
from pkgcache.engine.store.notes import ListNotes
from pkgcache.engine.upstream.errors import AllFailedError, Failure, NoRoomError, UpstreamError
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.storability import NotStorable, storable, storable_headers
from pkgcache.rules.http.validation import freshened, updates, validators
from pkgcache.rules.routing.indexes import Index, Upstream
from pkgcache.rules.routing.paths import list_at, own_page_path
from pkgcache.rules.routing.routes import ProjectListPage
from pkgcache.rules.routing.urls import Url
from pkgcache.rules.simple.page_model import broken_by
from pkgcache.rules.simple.representations import NotAcceptable, Representation, accepts, negotiate, upstream_accept

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _ListRequest:
    """One index's list in one representation."""

    index: Index
    representation: Representation
    key: StoreKey

    @property
    def shown(self) -> str:
        return f"the project list of index {self.index.name}"


class ProjectLists:
    """Answers requests for lists of all projects."""

    def __init__(self, shared: Collaborators, fetcher: PageFetcher) -> None:
        self._store = shared.store
        self._client = shared.client
        self._metrics = shared.metrics
        self._tasks = shared.tasks
        self._offline = shared.policy.offline
        self._fetcher = fetcher
        self._answers = CachedAnswers("root", shared.policy, shared.metrics)
        # Not a `SingleFlight`: clients join a fill while it grows, and do not wait for its end.
        self._fills: dict[StoreKey, ProjectListFill] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="project-lists")

    def close(self) -> None:
        """End the thread; the tasks of the fills have ended before."""
        self._pool.shutdown(wait=True)

    async def answer(self, request: Request, route: ProjectListPage) -> Response:
        """The answer to a GET or HEAD for an index's list."""
        if not route.client_url.path.endswith("/"):  # its links are relative to the folder
            return _moved(route)
        representation = negotiate(request.headers.get("Accept"))
        if isinstance(representation, NotAcceptable):
            return Response.text(406, "a list is JSON or HTML: " + ", ".join(r.content_type for r in Representation))
        list_request = _ListRequest(route.index, representation, project_list_key(route.index.name, representation))
        if route.query.passed:
            query = route.query.passed
            return (
                offline(list_request.shown) if self._offline else await self._pass_through(request, list_request, query)
            )
        fill = self._fills.get(list_request.key)
        stored = await self._find(request, list_request)
        if stored is None and fill is not None and fill is not self._fills.get(list_request.key):
            stored = await self._find(request, list_request)  # it was stored while it was looked for
        served = None
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                served, cache = await self._answers.answer(
                    stored, request.headers, lambda: self._refresh(request, list_request, stored)
                )
        except OnlyIfCachedError as error:
            return only_stored(list_request.shown, stale=error.stale)
        except AllFailedError as error:
            if any(each.failure is Failure.DISK for each in error.errors):
                return await self._pass_through(request, list_request)
            return failed(list_request.shown, error, request)
        except TimeoutError:
            return still_fetching(list_request.shown)
        finally:
            if stored is not None and stored is not served:
                stored.close()
        if isinstance(served, ProjectListFill):
            return growing_list_response(request, list_request.shown, served, cache)
        return stored_list_response(request, served, cache)

    async def _find(self, request: Request, list_request: _ListRequest) -> StoredList | None:
        """The stored list, if there is one and the client takes what its upstream sent."""
        entry = await self._store.get(list_request.key)
        if entry is None:
            return None
        try:
            stored = StoredList(entry, ListNotes.from_json(entry.notes))
        except ValueError as error:
            if entry.file is not None:
                entry.file.close()
            await self._store.drop_damaged(list_request.key, entry.mark, f"its notes are no list's: {error}")
            return None
        if accepts(request.headers.get("Accept"), stored.notes.representation):
            return stored
        stored.close()
        return None

    # The refresh

    def _refresh(
        self, request: Request, list_request: _ListRequest, stored: StoredList | None
    ) -> Refresh[StoredList | ProjectListFill]:
        """The one fetch of this list that is under way, begun if there is none."""
        collapsed = list_request.key in self._fills
        fill = self._fills.get(list_request.key) or self._begin(list_request, stored.notes if stored else None)

        async def wait() -> Refreshed[StoredList | ProjectListFill]:
            """Until clients may be told of the list, or an upstream says that the stored one is unchanged."""
            fill.attach()
            try:
                head = await fill.wait_announced()
            except BaseException:
                fill.release()
                raise
            if head is not None:
                return Refreshed(answer=fill, status=200, kept=self._store.usable)
            fill.release()
            if (found := await self._find(request, list_request)) is None:
                gone = UpstreamError(
                    Failure.BROKEN, list_request.index.name, "the stored list went away just now; retry"
                )
                raise AllFailedError([gone])
            return Refreshed(answer=found, status=304)

        return Refresh(wait=wait, collapsed=collapsed)

    def _begin(self, list_request: _ListRequest, stored: ListNotes | None) -> ProjectListFill:
        path = self._store.growing / f"{file_stem(list_request.key)}-{secrets.token_hex(4)}.part"
        fill = self._fills[list_request.key] = ProjectListFill(path, self._pool, self._store.room.reserve)
        self._tasks.start(self._run(fill, list_request, stored), f"fetch of {list_request.shown}")
        return fill

    async def _run(self, fill: ProjectListFill, list_request: _ListRequest, stored: ListNotes | None) -> None:
        """Fetch from each upstream in turn, until one has the list, or clients have some of it: no other's can go on from there."""
        errors: list[UpstreamError] = []
        try:
            if self._offline:
                fill.fail(offline_error(list_request.index.name))
                return
            for upstream in self._fetcher.healthy_first(list_request.index):
                try:
                    try:
                        await self._from_upstream(fill, upstream, list_request, stored)
                    except OtherVersionError:
                        await self._from_upstream(fill, upstream, list_request, None)
                except UpstreamError as error:
                    failure = error.to_keep()
                except OSError:
                    raise
                except Exception as error:  # whatever an upstream sends, it is that upstream that failed
                    logger.debug("a list raised %r", error, exc_info=error)
                    failure = UpstreamError(Failure.WRONG_PAGE, upstream.simple, str(broken_by(error)))
                else:
                    return
                self._metrics.upstream_failed(failure)
                errors.append(failure)
                if fill.announced:
                    return
        except NoRoomError as error:
            errors.append(UpstreamError(Failure.DISK, str(fill.file.path), str(error)))
        except OSError as error:
            self._store.fails_to_grow(error)
            errors.append(UpstreamError(Failure.DISK, str(fill.file.path), f"cannot be written: {error}"))
        finally:
            if not fill.settled:
                stopped = UpstreamError(Failure.BROKEN, list_request.index.name, "the fetch was stopped")
                fill.fail(AllFailedError(errors or [stopped]))
            # Before `end`: whoever asks from now on must not join a fill whose file is about to be closed.
            del self._fills[list_request.key]
            self._store.room.release(fill.file.path)
            fill.end()

    async def _from_upstream(
        self, fill: ProjectListFill, upstream: Upstream, list_request: _ListRequest, stored: ListNotes | None
    ) -> None:
        """Fetch one upstream's list and store it. Raises UpstreamError and OSError."""
        headers = {"Accept": upstream_accept(list_request.representation), "Accept-Encoding": "gzip"}
        same = stored if stored is not None and stored.upstream == upstream.name else None
        if same is not None:
            headers |= validators(same.upstream_headers)
        before = time.time()
        async with self._client.request("GET", list_at(upstream), headers, upstream.authorization) as response:
            if response.status == 304 and same is not None:
                if not updates(same.upstream_headers, response.headers):
                    raise OtherVersionError
                now = freshened(same.stored, response.headers, before, time.time())
                renewed = replace(
                    same,
                    upstream_headers=CIMultiDict(now.headers),
                    request_time=now.request_time,
                    response_time=now.response_time,
                )
                await self._store.note(list_request.key, renewed.to_json())
                fill.be_unchanged()
                return
            if response.status != 200:
                raise _refused(response)
            head = await fill.download(response, upstream.name)
            refusal = storable(request_headers=CIMultiDict(), status=200, response_headers=response.headers)
        fill.be_verified()
        if isinstance(refusal, NotStorable):
            return
        notes = ListNotes(
            representation=head.representation,
            url=head.url,
            upstream=upstream.name,
            digest=f"sha256:{fill.digest}",
            upstream_headers=storable_headers(head.headers),
            request_time=before,
            response_time=time.time(),
        )
        await shielded(self._store.adopt(list_request.key, fill.file.path, fill.written, notes.to_json()))

    async def _pass_through(self, request: Request, list_request: _ListRequest, query: str = "") -> Response:
        """The list for this client alone, as the upstream sends it: the disk takes nothing, or the client asks for more than a list."""
        errors: list[UpstreamError] = []
        headers = {name: request.headers[name] for name in ("Accept", "Accept-Encoding") if name in request.headers}
        for upstream in self._fetcher.healthy_first(list_request.index):
            body = RelayBody(
                partial(self._send, request.method, upstream, list_at(upstream, query), headers), immutable=False
            )
            try:
                response = await body.open()
                if response.status != 200:
                    raise _refused(response)
            except UpstreamError as error:
                await body.aclose()
                self._metrics.upstream_failed(error)
                errors.append(error.to_keep())
                continue
            passed = storable_headers(response.headers)
            if "Content-Length" not in passed and request.method == "GET":
                passed["Transfer-Encoding"] = "chunked"
            if request.method == "HEAD":
                await body.aclose()
            return Response(
                status=200,
                headers=passed,
                body=b"" if request.method == "HEAD" else body,
                cache=CacheStatus(fwd="bypass", fwd_status=200, detail="query" if query else "disk-failed"),
                upstream=response.url.origin,
            )
        return failed(list_request.shown, AllFailedError(errors), request)

    def _send(
        self, method: str, upstream: Upstream, url: Url, headers: dict[str, str], rest: dict[str, str]
    ) -> AbstractAsyncContextManager[UpstreamResponse]:
        return self._client.request(method, url, headers | rest, upstream.authorization)


def _refused(response: UpstreamResponse) -> UpstreamError:
    """The failure of an upstream that does not give its list. A 404 too is a failure: an index has a list, so the answer is a 502."""
    error = response.refused()
    error.failure = Failure.STATUS
    return error


def _moved(route: ProjectListPage) -> Response:
    """Redirect to the list as it is configured, never as the client spelt it: `//evil.example/../simple` would lead to that host."""
    where = own_page_path(route.index) if route.at_proxy_address else str(route.index.simple)
    where += f"?{quote(route.client_url.query, safe="%&=+/:;@!$'()*,?~")}" if route.client_url.query else ""
    return Response.text(301, where, more=CIMultiDict({"Location": where}))
