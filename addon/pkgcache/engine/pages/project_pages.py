"""Index pages: from the store by RFC 9111, else from the first upstream that has them; links put right for whoever looks.

A page's key is (credential space, index, project, representation asked for), so JSON and HTML are never under one key. What is
stored is the upstream's body, its headers and its final URL; the views that clients get (links edited, plain and gzipped) are
derived from it once and stored beside it, so that a hit parses and compresses nothing. One refresh per page, however many ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import OrderedDict
from dataclasses import replace

from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.pages.fetcher import PageFetcher
from pkgcache.engine.pages.filtering import VariantFilter
from pkgcache.engine.pages.json_api import FileSources, JsonApi
from pkgcache.engine.pages.stored_page import PageGoneError, PageRequest, StoredPage
from pkgcache.engine.pages.variants import PageVariant, PageVariants
from pkgcache.engine.responses.failures import failed, still_fetching
from pkgcache.engine.responses.messages import CLIENT_SECONDS, Request, Response
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.rules.http.accept import accepts_encoding
from pkgcache.rules.http.cache_status import CacheStatus, Forwarded
from pkgcache.rules.http.dates import format_http_date
from pkgcache.rules.http.freshness import (
    Fresh,
    MustRevalidate,
    Policy,
    StaleReason,
    StaleUsable,
    decide,
    only_if_cached,
)
from pkgcache.rules.http.validation import not_modified
from pkgcache.rules.routing.routes import PUBLIC, ProjectPage, ReleaseFile
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.representations import NotAcceptable, Representation, accepts, negotiate, representation_of

logger = logging.getLogger(__name__)

STALE_SECONDS = 4.0
"""A client waits so long for a page to be renewed before it gets the stale one; the refresh goes on."""

HOT_SECONDS = 1.0
"""How long what the store said of a page is believed without asking it again: other processes may have changed it."""

HOT_PAGES = 4096
TRIES = 3
"""How often a page that went away while it was looked at is fetched: the first refresh may be one under way that found it unchanged."""

_PASSED_ON = ("X-PyPI-Last-Serial", "Last-Modified", "Cache-Control", "Expires", "Link")


class Pages:
    """Answers requests for index pages."""

    def __init__(
        self,
        policy: Policy,
        negative_ttl: float,
        store: Store,
        client: UpstreamClient,
        fetcher: PageFetcher,
        views: PageVariants,
        filtered: VariantFilter,
        metrics: Metrics,
        tasks: Tasks,
        *,
        needs_times: bool,
        sources: FileSources,
    ) -> None:
        self._policy = policy
        self._negative_policy = replace(policy, default_lifetime=negative_ttl, override=negative_ttl)
        self._store = store
        self._client = client
        self._fetcher = fetcher
        self._variants = views
        self._filtered = filtered
        self._needs_times = needs_times
        self._metrics = metrics
        self._tasks = tasks
        self._documents = JsonApi(store, client, fetcher, views, sources, self._current, offline=policy.offline)
        self._refreshing: dict[str, asyncio.Task[StoredPage]] = {}
        self._hot: OrderedDict[str, tuple[StoredPage, float]] = OrderedDict()

    async def answer(self, request: Request, route: ProjectPage) -> Response:
        """The reply to a GET or HEAD for a project page."""
        representation = Representation.JSON if route.document else negotiate(request.headers.get("Accept"))
        if isinstance(representation, NotAcceptable):
            return Response.text(
                406, "an index page is JSON or HTML: " + ", ".join(r.content_type for r in Representation)
            )
        ask = self._asked(route, representation)
        notes = await self._store.notes(ask.key)
        kept = StoredPage(key=ask.key, notes=notes) if notes else None
        self._remember(kept)
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                kept, cache = await self._decided(request, ask, kept)
        except AllFailedError as error:
            found = await self._of_another_kind(ask, error) if kept is None else None
            if found is None:
                return failed(f"the page of {route.project} on index {route.index.name}", error, request)
            ask, kept, cache = found
        except TimeoutError:
            return still_fetching(f"the page of {route.project}")
        return await self._served(request, ask, representation, kept, cache)

    def try_from_memory(self, request: Request, route: ProjectPage) -> Response | None:
        """The reply, if the page is in memory, fresh, and was seen in the store within the last second."""
        representation = Representation.JSON if route.document else negotiate(request.headers.get("Accept"))
        if isinstance(representation, NotAcceptable) or self._filtered.active:
            return None
        ask = self._asked(route, representation)
        kept, seen = self._hot.get(ask.key, (None, 0.0))
        now = time.time()
        if kept is None or now - seen > HOT_SECONDS or kept.notes["status"] != 200:
            return None
        served = _served_as(request, representation, kept)
        view = self._variants.in_memory(ask, kept, served.kind)
        decision = decide(kept.stored, request.headers, self._policy, now)
        if view is None or not isinstance(decision, Fresh):
            return None
        self._metrics.hit("page")
        return _reply(request, served, kept, CacheStatus(hit=True, ttl=math.floor(decision.ttl)), view)

    def _remember(self, kept: StoredPage | None) -> None:
        """Keep what the store has just said of a page; for a second it need not be asked again."""
        if kept is not None:
            self._hot[kept.key] = (StoredPage(key=kept.key, notes=kept.notes), time.time())
            self._hot.move_to_end(kept.key)
            if len(self._hot) > HOT_PAGES:
                self._hot.popitem(last=False)

    # By RFC 9111

    async def _current(self, ask: PageRequest) -> StoredPage:
        """A page as any client would get it now. Raises AllFailedError or TimeoutError."""
        notes = await self._store.notes(ask.key)
        kept = StoredPage(key=ask.key, notes=notes) if notes else None
        request = Request(method="GET", url=ask.client_url, headers=CIMultiDictProxy(CIMultiDict()))
        return (await self._decided(request, ask, kept))[0]

    async def _decided(
        self, request: Request, ask: PageRequest, kept: StoredPage | None
    ) -> tuple[StoredPage, CacheStatus]:
        """What to serve: the stored page, or what a refresh brings. Raises AllFailedError."""
        if kept is None:
            if only_if_cached(request.headers):  # RFC 9111 §5.2.1.7
                raise AllFailedError(
                    [
                        UpstreamError(
                            Failure.TIMEOUT, ask.project, "it is not in the store, and only-if-cached was asked"
                        )
                    ]
                )
            collapsed = ask.key in self._refreshing
            fetched = await self._refreshed(ask, None)
            (self._metrics.collapsed if collapsed else self._metrics.miss)("page")
            stored = self._store.usable and not fetched.notes.get("passing")
            return fetched, CacheStatus(
                fwd="miss", fwd_status=fetched.notes["status"], stored=stored and not collapsed, collapsed=collapsed
            )
        match decide(kept.stored, request.headers, self._policy_for(kept), time.time()):
            case Fresh(ttl=ttl):
                self._metrics.hit("page")
                return kept, CacheStatus(hit=True, ttl=math.floor(ttl))
            case StaleUsable(ttl=ttl, reason=reason, revalidate=revalidate):
                if revalidate:
                    self._refresh(ask, kept)
                self._metrics.stale("page")
                return kept, CacheStatus(hit=True, ttl=math.floor(ttl), detail=str(reason))
            case MustRevalidate(ttl=ttl, reason=reason, stale_if_error_ok=stale_ok, only_if_cached=only):
                return await self._revalidated(
                    ask,
                    kept,
                    CacheStatus(hit=True, ttl=math.floor(ttl), detail="stale-if-error"),
                    reason,
                    stale_ok=stale_ok,
                    only=only,
                )

    def _policy_for(self, kept: StoredPage) -> Policy:
        return self._policy if kept.notes["status"] == 200 else self._negative_policy

    async def _revalidated(
        self,
        ask: PageRequest,
        kept: StoredPage,
        stale: CacheStatus,
        reason: StaleReason,
        *,
        stale_ok: bool,
        only: bool,
    ) -> tuple[StoredPage, CacheStatus]:
        if only:
            raise AllFailedError(
                [
                    UpstreamError(
                        Failure.TIMEOUT, ask.key, "only-if-cached was asked, and the stored page is past its lifetime"
                    )
                ]
            )
        collapsed = ask.key in self._refreshing
        try:
            async with asyncio.timeout(STALE_SECONDS if stale_ok else None):
                fetched = await self._refreshed(ask, kept)
        except (AllFailedError, TimeoutError) as error:
            # RFC 5861 §4: errors are 500, 502, 503 and 504, and no answer; who is shut out is shut out
            shut_out = bool(ask.authorization) and isinstance(error, AllFailedError) and error.status in {401, 403}
            if shut_out or not stale_ok:
                raise
            self._metrics.stale("page")
            return kept, stale
        status = 304 if fetched.notes["of"] == kept.notes["of"] and fetched.body is None else fetched.notes["status"]
        (self._metrics.collapsed if collapsed else self._metrics.miss)("page")
        fwd: Forwarded = (
            "request"
            if reason in {StaleReason.REQUEST_NO_CACHE, StaleReason.REQUEST_MAX_AGE, StaleReason.REQUEST_MIN_FRESH}
            else "stale"
        )
        return fetched, CacheStatus(fwd=fwd, fwd_status=status, collapsed=collapsed)

    def _refresh(self, ask: PageRequest, kept: StoredPage | None) -> asyncio.Task[StoredPage]:
        """The one refresh of this page that is under way, begun if there is none."""
        if (task := self._refreshing.get(ask.key)) is None:
            fetch = self._documents.fetch if ask.document else self._fetcher.fetch
            task = self._tasks.start(fetch(ask, kept), f"refresh of {ask.key}", expected=AllFailedError)
            self._refreshing[ask.key] = task
            task.add_done_callback(lambda _: self._refreshed_now(ask.key))
        return task

    def _refreshed_now(self, key: str) -> None:
        del self._refreshing[key]
        self._hot.pop(key, None)

    async def _refreshed(self, ask: PageRequest, kept: StoredPage | None) -> StoredPage:
        return await asyncio.shield(self._refresh(ask, kept))

    # The answer

    async def _served(
        self,
        request: Request,
        ask: PageRequest,
        wanted: Representation,
        kept: StoredPage,
        cache: CacheStatus,
        *,
        tries: int = TRIES,
    ) -> Response:
        if kept.notes["status"] != 200:
            text = f"{ask.project} is not on index {ask.index.name} (as {kept.notes['upstream']} says)"
            return Response.text(kept.notes["status"], text, cache=cache)
        served = _served_as(request, wanted, kept)
        try:
            view = await self._variants.variant(ask, kept, served.kind)
        except PageGoneError:  # evicted just now, or damaged: there is another one to be had
            try:
                kept = await self._refreshed(ask, None)
            except AllFailedError as error:
                return failed(f"the page of {ask.project} on index {ask.index.name}", error, request)
            if tries:
                return await self._served(request, ask, wanted, kept, CacheStatus(fwd="miss"), tries=tries - 1)
            return still_fetching(f"the page of {ask.project}")
        except BrokenPage as error:  # it reads, but cannot be converted
            failure = UpstreamError(Failure.WRONG_PAGE, kept.notes["url"], f"no page for this client: {error}")
            return failed(f"the page of {ask.project} on index {ask.index.name}", AllFailedError([failure]), request)
        if self._filtered.active:
            view = await self._filtered.apply(ask, kept, view)
        return _reply(request, served, kept, cache, view)

    async def _of_another_kind(
        self, ask: PageRequest, error: AllFailedError
    ) -> tuple[PageRequest, StoredPage, CacheStatus] | None:
        """The page as other clients wanted it, to be converted, where no upstream gives it as this one does."""
        if ask.document or error.status in {401, 403}:
            return None
        for representation in Representation:
            other = replace(ask, representation=representation)
            notes = await self._store.notes(other.key)
            if notes is None or notes["status"] != 200:
                continue
            kept = StoredPage(key=other.key, notes=notes)
            match decide(kept.stored, CIMultiDict(), self._policy, time.time()):
                case Fresh(ttl=ttl):
                    detail = "another-kind"
                case StaleUsable(ttl=ttl) | MustRevalidate(ttl=ttl, stale_if_error_ok=True):
                    detail = "offline" if self._policy.offline else "stale-if-error"
                case _:
                    continue
            self._metrics.stale("page")
            return other, kept, CacheStatus(hit=True, ttl=math.floor(ttl), detail=detail)
        return None

    async def known(self, route: ReleaseFile, project: str) -> None:
        """See to it that what a file's index says of its project is known, if it can be had: the file was asked for by itself."""
        ask = PageRequest(
            index=route.index,
            project=project,
            representation=Representation.JSON,
            client_url=route.index.simple.with_path("/"),
            at_proxy_address=False,
            space=route.space,
            authorization=route.sources[0][1] if route.space != PUBLIC else "",
        )
        notes = await self._store.notes(ask.key)
        kept = StoredPage(key=ask.key, notes=notes) if notes else None
        if kept is None or not isinstance(
            decide(kept.stored, CIMultiDict(), self._policy_for(kept), time.time()), Fresh
        ):
            with contextlib.suppress(AllFailedError, TimeoutError):
                async with asyncio.timeout(CLIENT_SECONDS):
                    await self._refreshed(ask, kept)

    def _asked(self, route: ProjectPage, wanted: Representation) -> PageRequest:
        """What to look for: with a cooldown the JSON page in any case, since HTML does not tell upload times (PEP 700)."""
        return PageRequest(
            index=route.index,
            project=route.project,
            representation=Representation.JSON if self._needs_times else wanted,
            client_url=route.client_url,
            at_proxy_address=route.at_proxy_address,
            space=route.space,
            authorization=route.authorization,
            document=route.document,
        )


def _served_as(request: Request, wanted: Representation, kept: StoredPage) -> Representation:
    """Under which name a stored page is served: as it is where the client takes that, else converted to what it wants."""
    stored = Representation(kept.notes["kind"])
    if stored.kind == wanted.kind:
        return wanted  # PEP 691: text/html and v1+html are one format under two names
    return stored if accepts(request.headers.get("Accept"), stored) else wanted


def _reply(
    request: Request, representation: Representation, kept: StoredPage, cache: CacheStatus, view: PageVariant
) -> Response:
    stored = kept.stored
    use_gzip = accepts_encoding(request.headers.get("Accept-Encoding"), "gzip")
    headers = CIMultiDict({name: stored.headers[name] for name in _PASSED_ON if name in stored.headers})
    if view.filtered:
        headers.pop("Last-Modified", None)  # what is left out changes with the time and with the store
    sent_as = stored.headers.get("Content-Type", "")
    fits = representation_of(sent_as) in {representation, None}  # None: a document of the JSON API
    headers["Content-Type"] = sent_as if fits else representation.content_type
    etag = view.etag if view.edited else stored.headers.get("ETag", view.etag)
    headers["ETag"] = f"W/{etag.removeprefix('W/')}" if use_gzip else etag
    headers["Vary"] = "Accept, Accept-Encoding"
    headers["Date"] = format_http_date(time.time())
    headers["Age"] = str(max(0, int(time.time() - stored.response_time)))
    if cache.hit and cache.detail not in {"", StaleReason.STALE_WHILE_REVALIDATE}:
        headers["Cache-Control"] = "no-store"  # clients are not to keep staleness
        headers.pop("Expires", None)
    if not_modified(request.headers, headers["ETag"], headers.get("Last-Modified")):
        return Response(status=304, headers=headers, cache=cache, upstream=kept.notes["upstream"])
    body = view.gzipped if use_gzip else view.plain
    if use_gzip:
        headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(body))
    return Response(
        status=200,
        headers=headers,
        body=b"" if request.method == "HEAD" else body,
        cache=cache,
        upstream="" if cache.hit else kept.notes["upstream"],
    )
