"""Asks for a stored page again because a file that it links to failed: it may be fresh, and have outlived the file.

A release was uploaded again under the same URL, or removed; a signed link has expired. Until the page's own lifetime is over, every
install would fail in the same way. One renewal a page, however many of its files fail, and then none for RENEW_SECONDS unless that one
has helped: a mirror that lacks the files it lists must not be asked for the page with each of them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from pkgcache.engine.pages.known_files import KnownFiles
from pkgcache.engine.pages.stored_page import PageRequest
from pkgcache.engine.runtime.single_flight import SingleFlight
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.lru import ByteLru
from pkgcache.engine.upstream.errors import AllFailedError
from pkgcache.rules.routing.routes import ReleaseFile

RENEW_SECONDS = 10.0
"""How long a page that was asked for in vain is left alone."""

PAGES = 4096
"""Of so many pages it is known when they were asked for."""


class Renewal:
    """Renews the pages that may link to a file. `renew` asks for one of them again (raises AllFailedError)."""

    def __init__(self, known_files: KnownFiles, tasks: Tasks, renew: Callable[[PageRequest], Awaitable[None]]) -> None:
        self._known_files = known_files
        self._tasks = tasks
        self._renew = renew
        self._running: SingleFlight[StoreKey, None] = SingleFlight(tasks, expected=AllFailedError)
        self._asked: ByteLru[StoreKey, float] = ByteLru(PAGES)  # each weighs 1

    async def renew(self, route: ReleaseFile, since: float) -> None:
        """Renew the stored pages of a file that failed, but for those that came after `since` (seconds since the epoch)."""
        old = {page.key for page in await self._known_files.stored_pages(route) if page.notes.request_time < since}
        requests = [request for request in self._known_files.page_requests(route) if request.key in old]
        tasks = [task for request in requests if (task := self._task(request)) is not None]
        await asyncio.gather(*map(asyncio.shield, tasks), return_exceptions=True)

    def renew_later(self, route: ReleaseFile, since: float) -> None:
        """Renew them in the background."""
        self._tasks.start(self.renew(route, since), f"renewal of the page of {route.filename}")

    def _task(self, page_request: PageRequest) -> asyncio.Task[None] | None:
        key = page_request.key
        asked, now = self._asked.get(key), time.monotonic()
        if key not in self._running and now - (-math.inf if asked is None else asked) < RENEW_SECONDS:
            return None
        self._asked.put(key, now, 1)

        async def work() -> None:
            await self._renew(page_request)

        return self._running.join(key, work, f"renewal of the page of {page_request.project}")

    def helped(self, route: ReleaseFile) -> None:
        """The new page has cured the failure, so the next one is worth asking again at once."""
        for request in self._known_files.page_requests(route):
            self._asked.drop(request.key)
