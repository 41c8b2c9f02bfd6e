"""Refreshes of index pages and documents: one a page, however many clients ask.

A refresh asks the upstreams (`fetcher`), or makes a document (`json_api`). It goes on when its clients have left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from pkgcache.engine.caching import Collaborators, Refresh, Refreshed
from pkgcache.engine.pages.fetcher import PageFetcher
from pkgcache.engine.pages.json_api import JsonApi
from pkgcache.engine.pages.stored_page import PageRequest, StoredPage, find_page
from pkgcache.engine.runtime.single_flight import SingleFlight
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.upstream.errors import AllFailedError
from pkgcache.engine.upstream.places import waiting_for_upstream

RECENT_SECONDS = 60.0
"""A page that a request did not find, and that is stored now, came so recently: from another request, or another process."""


class PageRefresher:
    """Begins refreshes, and lets requests join them. `refreshed` is called with the page's key after each."""

    def __init__(
        self, shared: Collaborators, fetcher: PageFetcher, json_api: JsonApi, refreshed: Callable[[StoreKey], None]
    ) -> None:
        self._store = shared.store
        self._fetcher = fetcher
        self._json_api = json_api
        self._refreshed = refreshed
        self._running: SingleFlight[StoreKey, Refreshed[StoredPage]] = SingleFlight(
            shared.tasks, expected=AllFailedError
        )

    def refresh(
        self, page_request: PageRequest, stored: StoredPage | None, gone: StoredPage | None = None
    ) -> Refresh[StoredPage]:
        """The one refresh of this page that is under way, begun if there is none. `gone`: the stored page that cannot be read."""
        key = page_request.key
        collapsed = key in self._running
        work = partial(self._refresh, page_request, stored, gone or stored)
        task = self._running.join(key, work, f"refresh of {page_request.project}")
        if not collapsed:
            task.add_done_callback(lambda _: self._refreshed(key))

        async def wait() -> Refreshed[StoredPage]:
            waiting_for_upstream()
            return await asyncio.shield(task)

        return Refresh(wait=wait, collapsed=collapsed)

    async def _refresh(
        self, page_request: PageRequest, stored: StoredPage | None, seen: StoredPage | None
    ) -> Refreshed[StoredPage]:
        """Fetch or make a page, unless a newer one than was `seen` is stored by now. Raises AllFailedError.

        Between a request's look into the store and its refresh, another refresh may have begun and ended, which it could not join.
        """
        found = await find_page(self._store, page_request.key)
        before = time.time() - RECENT_SECONDS if seen is None else seen.notes.response_time
        if found is not None and found.notes.response_time > before and not page_request.reload:
            return Refreshed(answer=found, status=found.notes.status, collapsed=True)
        if page_request.made:
            page = await self._json_api.make(page_request)
        else:
            page = await self._fetcher.fetch(page_request, stored)
        unchanged = stored is not None and page.body is None
        status = 304 if unchanged else page.notes.status
        kept = not unchanged and self._store.usable and not page.notes.transient
        return Refreshed(answer=page, status=status, kept=kept)
