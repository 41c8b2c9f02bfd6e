"""Refreshes of index pages and documents: one a page, however many clients ask.

A refresh asks the upstreams (`fetcher`), or makes a document (`json_api`). It goes on when its clients have left, but gives its place at
an upstream to a request that somebody waits for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from multidict import CIMultiDict

from pkgcache.engine.caching import Collaborators, Refresh, Refreshed
from pkgcache.engine.pages.fetcher import PageFetcher
from pkgcache.engine.pages.json_api import JsonApi
from pkgcache.engine.pages.stored_page import PageRequest, StoredPage, find_page, upstreams_of
from pkgcache.engine.runtime.single_flight import SingleFlight
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.engine.upstream.places import Kind, asking, waiting_for_upstream
from pkgcache.rules.http.cache_control import Headers
from pkgcache.rules.http.freshness import Fresh, decide

_NO_HEADERS: Final[Headers] = CIMultiDict()

RECENT_SECONDS = 60.0
"""A page that a request did not find, and that is stored now, came so recently: from another request, or another process."""


class _Readers:
    """How many requests wait for a refresh, and whether it was stopped because none did."""

    def __init__(self) -> None:
        self.count = 0
        self.gave_way = False


class PageRefresher:
    """Begins refreshes, and lets requests join them. `refreshed` is called with the page's key after each."""

    def __init__(
        self, shared: Collaborators, fetcher: PageFetcher, json_api: JsonApi, refreshed: Callable[[StoreKey], None]
    ) -> None:
        self._store = shared.store
        self._policy = shared.policy
        self._bring_page = shared.bring_page
        self._fetcher = fetcher
        self._json_api = json_api
        self._refreshed = refreshed
        self._running: SingleFlight[StoreKey, Refreshed[StoredPage]] = SingleFlight(
            shared.tasks, expected=AllFailedError
        )
        self._readers: dict[StoreKey, _Readers] = {}

    def refresh(
        self,
        page_request: PageRequest,
        stored: StoredPage | None,
        gone: StoredPage | None = None,
        asked: Headers = _NO_HEADERS,
    ) -> Refresh[StoredPage]:
        """The one refresh of this page that is under way, begun if there is none.

        `gone`: the stored page that cannot be read. `asked`: the headers of the request that begins it.
        """
        key = page_request.key
        collapsed = key in self._running
        readers = self._readers.get(key) if collapsed else None
        if readers is None:
            readers = self._readers[key] = _Readers()
        work = partial(
            self._while_wanted,
            readers,
            page_request.shown,
            partial(self._refresh, page_request, stored, gone or stored, asked),
        )
        task = self._running.join(key, work, f"refresh of {page_request.project}")
        if not collapsed:
            task.add_done_callback(lambda _: self._ended(key, readers))

        async def wait() -> Refreshed[StoredPage]:
            waiting_for_upstream()
            readers.count += 1
            try:
                return await asyncio.shield(task)
            finally:
                readers.count -= 1

        return Refresh(wait=wait, collapsed=collapsed)

    def _ended(self, key: StoreKey, readers: _Readers) -> None:
        if self._readers.get(key) is readers:  # the next one may have begun
            del self._readers[key]
        self._refreshed(key)

    async def _while_wanted[T](self, readers: _Readers, shown: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work of a refresh, which may be stopped while it has no readers. Raises AllFailedError."""
        task = asyncio.current_task()
        assert task is not None

        def give_way() -> None:
            readers.gave_way = True
            task.cancel()

        try:
            with asking(Kind.PAGES, is_spare=lambda: readers.count == 0, give_way=give_way):
                return await work()
        except asyncio.CancelledError:
            if not readers.gave_way:
                raise
            # A request may have come since, and hears of it: a cancellation would be taken for its own.
            raise AllFailedError([UpstreamError(Failure.BUSY, shown, "its place went to another request")]) from None

    async def _refresh(
        self, page_request: PageRequest, stored: StoredPage | None, seen: StoredPage | None, asked: Headers
    ) -> Refreshed[StoredPage]:
        """Fetch or make a page, unless a newer one than was `seen` is stored by now. Raises AllFailedError.

        Between a request's look into the store and its refresh, another refresh may have begun and ended, which it could not join.
        """
        found = await find_page(self._store, page_request.key)
        before = time.time() - RECENT_SECONDS if seen is None else seen.notes.response_time
        if found is not None and found.notes.response_time > before and not page_request.reload:
            return Refreshed(answer=found, status=found.notes.status, collapsed=True)
        if brought := await self._from_another_machine(page_request, before, asked):
            return Refreshed(answer=brought, status=brought.notes.status, collapsed=True)
        if page_request.made:
            page = await self._json_api.make(page_request)
        else:
            page = await self._fetcher.fetch(page_request, stored)
        unchanged = stored is not None and page.body is None
        status = 304 if unchanged else page.notes.status
        kept = not unchanged and self._store.usable and not page.notes.transient
        return Refreshed(answer=page, status=status, kept=kept)

    async def _from_another_machine(self, page_request: PageRequest, after: float, asked: Headers) -> StoredPage | None:
        """The page as another machine has refreshed it after a time, and fresh for who asked; stored then. None without a shared tier."""
        if page_request.reload or page_request.query or page_request.made:
            return None
        if not await self._bring_page(page_request.key, upstreams_of(page_request), after):
            return None
        page = await find_page(self._store, page_request.key)
        fresh = page and isinstance(decide(page.stored, asked, self._policy, time.time()), Fresh)
        return page if fresh else None
