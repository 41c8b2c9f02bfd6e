"""A file on a host that several indexes link to: whose word on its digest stands.

Each index speaks for the files that it links to, and one may be wrong or mean harm. Where their digests contradict one another, what is
stored under any of them is served, and else each digest is tried in turn: the file that comes has one of them, or none. The client is
kept waiting until then, so that it never gets the beginning of a file that another index's digest disproves.
"""

from __future__ import annotations

import asyncio
import contextlib

from pkgcache.engine.caching import Collaborators
from pkgcache.engine.files.fill_registry import FillRegistry
from pkgcache.engine.files.identity import FileIdentity, FileResolver
from pkgcache.engine.responses.messages import CLIENT_SECONDS, Request
from pkgcache.rules.http.freshness import only_if_cached
from pkgcache.rules.policy.fills import starts_fill
from pkgcache.rules.routing.routes import ReleaseFile

MOST_TRIED = 4
"""Digests that are tried for one request: each is a download of the whole file."""


class Disputes:
    """Decides between the claims of several indexes."""

    def __init__(self, shared: Collaborators, resolver: FileResolver, fills: FillRegistry) -> None:
        self._store = shared.store
        self._offline = shared.settings.offline
        self._resolver = resolver
        self._fills = fills

    async def settle(self, request: Request, route: ReleaseFile) -> FileIdentity:
        """Return which file a route of several indexes means; the first index's claim where that cannot be found out."""
        files = await self._resolver.claims(route)
        if len(files) == 1:
            return files[0]
        for file in files:
            if await self._is_stored(file):
                return file
        tries = request.method == "GET" and not self._offline and not only_if_cached(request.headers)
        if not tries or not starts_fill(request.headers, None):
            return files[0]
        tried = files[0]
        with contextlib.suppress(TimeoutError):  # the client cannot wait for longer; it gets what is being tried
            async with asyncio.timeout(CLIENT_SECONDS):
                for tried in files[:MOST_TRIED]:
                    if await self._is_proved(tried):
                        break
        return tried

    async def _is_proved(self, file: FileIdentity) -> bool:
        """Whether a download of the file has the claimed digest."""
        fill = self._fills.of(file) or self._fills.start(file)
        fill.attach()
        try:
            return await fill.wait_verified()
        finally:
            fill.release()

    async def _is_stored(self, file: FileIdentity) -> bool:
        entry = await self._store.find(file.key)
        if entry is not None and entry.file is not None:
            entry.file.close()
        return entry is not None
