"""Index pages in the shared tier: the page as the store has it, and with it when it came, from whom, and its validators.

A page has no digest that a client could hold it against. So the tier is trusted with it as a mirror is: which page it is, that it is
whole, and that it comes from one of the index's own upstreams is checked. It counts by its own age: what another machine received half an
hour ago is half an hour old.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from pkgcache.engine.runtime.single_flight import SingleFlight
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.shared.bucket import Found
from pkgcache.engine.shared.object_names import shared_url
from pkgcache.engine.shared.page_objects import unpack
from pkgcache.engine.shared.unavailable import TierUnavailableError
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.lru import ByteLru
from pkgcache.engine.store.notes import PageNotes
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.errors import Failure, UpstreamError

MOST_PAGE: Final = 64 << 20
"""Bytes of a page's object: the largest of the default index has 5 MB, gzipped as it is stored."""

LOOK_SECONDS: Final = 2.0
"""A page that was not there is not looked for again so soon: a request that finds none comes here twice."""

MOST_LOOKS: Final = 4096

MOST_AHEAD: Final = 60.0
"""Seconds by which another machine's clock may be ahead. A page from further in the future would stay fresh for good."""


class Tier(Protocol):
    """What it needs of the tier."""

    def name_of(self, key: StoreKey) -> str | None:
        """Return the object of an entry."""

    def read(self, name: str) -> AbstractAsyncContextManager[Found | None]:
        """Read an object."""

    async def all_of(self, found: Found) -> bytes:
        """Return all bytes of one that is being read."""

    def given(self, name: str) -> None:
        """Hear that an object is read for the store."""

    def report(self, error: UpstreamError) -> None:
        """Hear of what is wrong with one."""


class SharedPages:
    """Brings pages of the tier into the store."""

    def __init__(self, tier: Tier, store: Store, tasks: Tasks) -> None:
        self._tier = tier
        self._store = store
        self._running: SingleFlight[StoreKey, bool] = SingleFlight(tasks)
        self._looked: ByteLru[StoreKey, float] = ByteLru(MOST_LOOKS)

    async def bring(self, key: StoreKey, upstreams: frozenset[str], after: float) -> bool:
        """Bring a page that an upstream of these names sent after a time; whether there is one."""
        name = self._tier.name_of(key)
        looked = self._looked.get(key)
        running = self._running.get(key)
        if name is None or (running is None and looked is not None and time.monotonic() - looked < LOOK_SECONDS):
            return False
        task = self._running.join(key, lambda: self._bring(key, name, upstreams, after), "a page of the shared tier")
        return await asyncio.shield(task)

    async def _bring(self, key: StoreKey, name: str, upstreams: frozenset[str], after: float) -> bool:
        self._looked.put(key, time.monotonic(), 1)
        try:
            content = await self._content(name)
            if content is None:
                return False
            notes, body = await asyncio.to_thread(unpack, key, content)
        except TierUnavailableError:
            return False
        except ValueError as error:
            self._tier.report(UpstreamError(Failure.WRONG_PAGE, shared_url(name), str(error)))
            return False
        page = PageNotes.from_json(notes)
        if page.upstream not in upstreams or not after < page.response_time < time.time() + MOST_AHEAD:
            return False
        self._looked.drop(key)
        self._tier.given(name)
        return await self._store.put(key, body, notes)

    async def _content(self, name: str) -> bytes | None:
        """All of an object. Raises TierUnavailableError."""
        async with self._tier.read(name) as found:
            if found is None or found.size > MOST_PAGE:
                return None
            return await self._tier.all_of(found)
