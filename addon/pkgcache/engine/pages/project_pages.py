"""Answers requests for one project's index page, or for its document of the older JSON API.

The page comes from the store while RFC 9111 allows it (`engine/caching`), else from the first upstream that has it (`refresher`). Where no
upstream gives a page in the representation asked for, the stored one in another representation is converted; where none has a document,
poetry gets one that is made here. Left out: the list of all projects (`project_list`), what a page is made into for a client
(`variants`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.caching import CachedAnswers, Collaborators, OnlyIfCachedError
from pkgcache.engine.pages.fetcher import PageFetcher
from pkgcache.engine.pages.filtering import VariantFilter
from pkgcache.engine.pages.json_api import FileSources, JsonApi, was_made
from pkgcache.engine.pages.lookup import PageLookup, PageLookups
from pkgcache.engine.pages.page_response import page_response, served_representation
from pkgcache.engine.pages.refresher import PageRefresher
from pkgcache.engine.pages.stored_page import (
    PageAnswer,
    PageGoneError,
    PageRequest,
    StoredPage,
    find_page,
    is_for,
    upstreams_of,
)
from pkgcache.engine.pages.variants import PageVariants
from pkgcache.engine.responses.failures import failed, only_stored, still_fetching
from pkgcache.engine.responses.messages import CLIENT_SECONDS, Request, Response
from pkgcache.engine.store.watch import WatchedMemory
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.freshness import Fresh, Policy, decide
from pkgcache.rules.routing.routes import PUBLIC, ProjectPage, ReleaseFile
from pkgcache.rules.simple.json_api_build import is_made_for
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.representations import NotAcceptable, Representation

HOT_PAGES = 4096
"""Of so many pages the notes are held in memory while no process changes them in the store."""

TRIES = 3
"""How often a page that went away between two looks at it is fetched: the first refresh may be one that found it unchanged."""


class Pages:
    """Answers requests for project pages."""

    def __init__(
        self,
        shared: Collaborators,
        fetcher: PageFetcher,
        variants: PageVariants,
        variant_filter: VariantFilter,
        sources: FileSources,
    ) -> None:
        self._store = shared.store
        self._bring_page = shared.bring_page
        self._policy = shared.policy
        negative = shared.settings.negative_ttl
        self._negative_policy = replace(shared.policy, default_lifetime=negative, override=negative)
        self._variants = variants
        self._filter = variant_filter
        self._answers = CachedAnswers("page", shared.policy, shared.metrics)
        self._lookups = PageLookups(needs_upload_times=shared.settings.cooldown > 0)
        self._hot: WatchedMemory[StoredPage] = shared.store.watch.memory(HOT_PAGES)  # each weighs 1
        json_api = JsonApi(variants, fetcher.keep, sources, self._current_page, offline=shared.policy.offline)
        self._refresher = PageRefresher(shared, fetcher, json_api, self._hot.drop)

    # What is asked for

    def from_memory(self, request: Request, route: ProjectPage) -> Callable[[], Response | None] | None:
        """What answers this request, if the page is in memory, fresh, and still what the store has."""
        lookup = self._lookups.of(request, route)
        if isinstance(lookup, NotAcceptable) or self._filter.active:
            return None
        return partial(self._from_memory, request, lookup)

    def _from_memory(self, request: Request, lookup: PageLookup) -> Response | None:
        page_request, representation = lookup.page_request, lookup.representation
        page = self._hot.get(page_request.key)
        if page is not None and not is_for(page, lookup.family):
            page_request = replace(page_request, family=lookup.family)
            page = self._hot.get(page_request.key)
        if page is None or not page.found:
            return None
        served = served_representation(request, representation, page)
        variant = self._variants.in_memory(page_request, page, served.kind)
        if variant is None:
            return None
        now = time.time()
        known = (served, lookup.gzip)
        last = variant.answers.get(known) if lookup.is_plain else None
        if last is not None and last.page is page and (again := last.at(now)):
            if again is not last:
                variant.answers[known] = again
            self._answers.count_hit()
            return again.response
        if (fresh := self._answers.if_fresh(page, request.headers)) is None:
            return None
        response = page_response(request, served, page, CacheStatus.of_hit(fresh.ttl), variant, use_gzip=lookup.gzip)
        if lookup.is_plain:
            variant.answers[known] = PageAnswer(page, now, fresh, response)
        return response

    async def answer(self, request: Request, route: ProjectPage) -> Response:
        """The answer to a GET or HEAD for a project page."""
        lookup = self._lookups.of(request, route)
        if isinstance(lookup, NotAcceptable):
            kinds = ", ".join(each.content_type for each in Representation)
            return Response.text(406, f"an index page is JSON or HTML: {kinds}")
        page_request = lookup.page_request
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                page_request, page, cache = await self._find_for(request, page_request, lookup.family)
        except OnlyIfCachedError as error:
            return only_stored(page_request.shown, stale=error.stale)
        except AllFailedError as error:
            return failed(page_request.shown, error, request)
        except TimeoutError:
            return still_fetching(page_request.shown)
        response = await self._serve(request, page_request, lookup, page, cache)
        if page_request.document and (page_request.made or not page.found):  # RFC 9110 §12.5.5: what others get differs
            response.headers["Vary"] = ", ".join(filter(None, [response.headers.get("Vary"), "User-Agent"]))
        return response

    async def _find_for(
        self, request: Request, page_request: PageRequest, family: str
    ) -> tuple[PageRequest, StoredPage, CacheStatus]:
        """As `_find`, for one of the families of clients where the upstream tells them apart (`Vary: User-Agent`)."""
        stored = await self._stored(page_request)
        if stored is None or is_for(stored, family):
            found = await self._find(request, page_request, stored)
            if is_for(found[1], family):
                return found
            stored = found[1]  # this request has joined another client's
        own_request = replace(page_request, family=family)
        try:
            return await self._find(request, own_request, await self._stored(own_request))
        except AllFailedError as error:
            cache = self._answers.after_failure(stored, "another-client") if stored.found else None
            if cache is None or error.status in {401, 403}:
                raise
            return page_request, stored, cache

    async def load(self, request: Request, route: ProjectPage) -> None:
        """Read a stored page into memory, for `from_memory`."""
        if not isinstance(lookup := self._lookups.of(request, route), NotAcceptable):
            await self._stored(lookup.page_request, bring=False)

    async def _stored(self, page_request: PageRequest, *, bring: bool = True) -> StoredPage | None:
        """The stored page, which memory has from then on. `bring`: from the shared tier, where the store has none."""
        began = self._hot.moment
        stored = None if page_request.query else await find_page(self._store, page_request.key)
        missing = bring and stored is None and not page_request.query
        if missing and await self._bring_page(page_request.key, upstreams_of(page_request), 0.0):
            stored = await find_page(self._store, page_request.key)
        if stored is None or (page_request.document and was_made(stored)):
            return None
        self._hot.put(stored.key, stored, 1, began)
        return stored

    async def _find(
        self, request: Request, page_request: PageRequest, stored: StoredPage | None
    ) -> tuple[PageRequest, StoredPage, CacheStatus]:
        """The page, or what takes its place, with the request that it is stored for; what the cache did.

        Raises AllFailedError, TimeoutError and OnlyIfCachedError.
        """
        try:
            page, cache = await self._decide(request, page_request, stored)
        except AllFailedError as error:
            if stored is not None and stored.found:
                raise
            with contextlib.suppress(AllFailedError):  # the upstream's failure is what the client hears of
                if made := await self._make(request, page_request):
                    return made
            other = await self._in_another_representation(page_request, error) if stored is None else None
            if other is None:
                raise
            return other
        made = None if page.found else await self._make(request, page_request)
        return made or (page_request, page, cache)

    async def _make(
        self, request: Request, page_request: PageRequest
    ) -> tuple[PageRequest, StoredPage, CacheStatus] | None:
        """The document that is made where no upstream has one; None if this client gets none. Raises AllFailedError and TimeoutError."""
        if not page_request.document or not is_made_for(request.headers.get("User-Agent", "")):
            return None
        page_request = replace(page_request, made=True)
        stored = await find_page(self._store, page_request.key)
        page, cache = await self._decide(request, page_request, stored)
        return (page_request, page, cache) if page.found else None

    # From the store, or refreshed

    def _decide(
        self, request: Request, page_request: PageRequest, stored: StoredPage | None
    ) -> Awaitable[tuple[StoredPage, CacheStatus]]:
        """By RFC 9111. Raises AllFailedError, TimeoutError and OnlyIfCachedError."""
        return self._answers.answer(
            stored,
            request.headers,
            lambda: self._refresher.refresh(page_request, stored, asked=request.headers),
            policy=self._policy_for(stored),
            private=bool(page_request.authorization),
        )

    def _policy_for(self, stored: StoredPage | None) -> Policy:
        return self._policy if stored is None or stored.found else self._negative_policy

    async def _current_page(self, page_request: PageRequest) -> StoredPage:
        """A page as any client would get it now. Raises AllFailedError or TimeoutError."""
        request = Request(method="GET", url=page_request.client_url, headers=CIMultiDictProxy(CIMultiDict()))
        stored = await find_page(self._store, page_request.key)
        return (await self._decide(request, page_request, stored))[0]

    # The answer

    async def _serve(
        self,
        request: Request,
        page_request: PageRequest,
        lookup: PageLookup,
        page: StoredPage,
        cache: CacheStatus,
    ) -> Response:
        for _ in range(TRIES + 1):
            if not page.found:
                says = (
                    f"{page_request.project} is not on index {page_request.index.name} (as {page.notes.upstream} says)"
                )
                return Response.text(page.notes.status, says, cache=cache)
            served = served_representation(request, lookup.representation, page)
            try:
                variant = await self._variants.variant(page_request, page, served.kind)
                if self._filter.active:
                    variant = await self._filter.apply(page_request, page, variant)
            except PageGoneError:  # evicted just now, or damaged: there is another one to be had
                try:
                    page = (await self._refresher.refresh(page_request, None, gone=page).wait()).answer
                except AllFailedError as error:
                    return failed(page_request.shown, error, request)
                cache = CacheStatus(fwd="miss")
                continue
            except BrokenPage as error:  # it reads, but cannot be converted
                failure = UpstreamError(Failure.WRONG_PAGE, page.notes.url, f"no page for this client: {error}")
                return failed(page_request.shown, AllFailedError([failure]), request)
            return page_response(request, served, page, cache, variant, use_gzip=lookup.gzip)
        return still_fetching(page_request.shown)

    async def _in_another_representation(
        self, page_request: PageRequest, error: AllFailedError
    ) -> tuple[PageRequest, StoredPage, CacheStatus] | None:
        """The page as it was stored for clients of another kind, to be converted; None where there is none to be served.

        Not where the upstreams refuse the client: what is stored must not get around that.
        """
        if page_request.document or error.status in {401, 403}:
            return None
        for representation in Representation:
            other = replace(page_request, representation=representation)
            page = await find_page(self._store, other.key)
            if page is None or not page.found:
                continue
            if cache := self._answers.after_failure(page, "another-kind"):
                return other, page, cache
        return None

    async def renew(self, page_request: PageRequest) -> None:
        """Ask for a page again, whatever is stored. Raises AllFailedError."""
        await self._refresher.refresh(replace(page_request, reload=True), None).wait()

    async def make_known(self, route: ReleaseFile, project: str) -> None:
        """Fetch the page of a file that was asked for by itself, unless a fresh one is stored: its upload time must be known."""
        page_request = PageRequest(
            index=route.index,
            project=project,
            representation=Representation.JSON,
            client_url=route.index.simple.with_path("/"),
            at_proxy_address=False,
            space=route.space,
            authorization=route.sources[0][1] if route.space != PUBLIC else "",
        )
        stored = await find_page(self._store, page_request.key)
        policy = self._policy_for(stored)
        if stored is None or not isinstance(decide(stored.stored, CIMultiDict(), policy, time.time()), Fresh):
            with contextlib.suppress(AllFailedError, TimeoutError):
                async with asyncio.timeout(CLIENT_SECONDS):
                    await self._refresher.refresh(page_request, stored).wait()
