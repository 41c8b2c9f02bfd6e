"""Revalidation of release files that have no digest, so that only their URL identifies them: whether a stored one may be served still.

Such files are rare (an index whose pages give no hashes). `CachedAnswers` decides by RFC 9111; this module asks the upstream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from multidict import CIMultiDict

from pkgcache.engine.caching import CachedAnswers, Collaborators, Refresh, Refreshed
from pkgcache.engine.files.fill_registry import FillRegistry
from pkgcache.engine.files.identity import FileIdentity
from pkgcache.engine.fills.fill import Fill
from pkgcache.engine.fills.fill_request import IDENTITY, FileHead, OpenResponse
from pkgcache.engine.responses.messages import Request
from pkgcache.engine.runtime.single_flight import SingleFlight
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.notes import FileNotes
from pkgcache.engine.upstream.errors import AllFailedError, UpstreamError
from pkgcache.engine.upstream.places import waiting_for_upstream
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.validation import freshened, updates, validators


class ReplacedError(Exception):
    """The upstream has other bytes by now than the store. `fill` fetches them; `joined`: another request found that out."""

    def __init__(self, fill: Fill, *, joined: bool) -> None:
        super().__init__()
        self.fill = fill
        self.joined = joined


class Revalidation:
    """Finds out whether stored files may be served."""

    def __init__(self, shared: Collaborators, fills: FillRegistry) -> None:
        self._shared = shared
        self._fills = fills
        self._cached = CachedAnswers("file", shared.policy, shared.metrics)
        self._running: SingleFlight[StoreKey, FileNotes | Fill] = SingleFlight(shared.tasks, expected=AllFailedError)

    async def current(self, request: Request, file: FileIdentity, notes: FileNotes) -> tuple[FileNotes, CacheStatus]:
        """The notes of a stored file that may be served now, and what the cache did for it.

        Raises OnlyIfCachedError, ReplacedError, and AllFailedError where it is too stale to be served unasked.
        """
        return await self._cached.answer(notes, request.headers, lambda: self._refresh(file, notes))

    def _refresh(self, file: FileIdentity, notes: FileNotes) -> Refresh[FileNotes]:
        collapsed = file.key in self._running
        task = self._running.join(file.key, lambda: self._revalidate(file, notes), f"revalidation of {file.shown_name}")

        async def wait() -> Refreshed[FileNotes]:
            waiting_for_upstream()
            outcome = await asyncio.shield(task)
            if isinstance(outcome, Fill):
                raise ReplacedError(outcome, joined=collapsed)
            return Refreshed(answer=outcome, status=304, kept=True)

        return Refresh(wait=wait, collapsed=collapsed)

    async def _revalidate(self, file: FileIdentity, notes: FileNotes) -> FileNotes | Fill:
        """The new notes of a file that is unchanged, or the fill that replaces it. Raises AllFailedError."""
        conditions = validators(notes.upstream_headers)
        # RFC 9111 §4.3.4: a 304 that is about another version says nothing of this one, so it is asked for without validators.
        for conditional in (True, False) if conditions else (False,):
            try:
                outcome = await self._ask(file, notes, conditions if conditional else {})
            except UpstreamError as error:
                self._shared.metrics.upstream_failed(error)
                raise AllFailedError([error]) from error
            if outcome is not None:
                return outcome
        # It is gone, it seems: what the upstream says to a plain request is the client's answer.
        return self._fills.of(file) or self._fills.start(file)

    async def _ask(
        self, file: FileIdentity, notes: FileNotes, conditions: Mapping[str, str]
    ) -> FileNotes | Fill | None:
        """Ask the upstream once; None where its answer is of no use. Raises UpstreamError."""
        url, authorization = file.route.sources[0]
        before = time.time()
        async with AsyncExitStack() as stack:
            asking = self._shared.client.request("GET", url, {**IDENTITY, **conditions}, authorization)
            response = await stack.enter_async_context(asking)
            if response.status >= 500:
                raise response.refused()
            if response.status == 304 and conditions and updates(notes.upstream_headers, response.headers):
                return await self._freshened(file, notes, response, before)
            if response.status in {200, 203} and self._fills.of(file) is None:
                # It goes on as a fill, which several clients can read.
                return self._fills.start(file, OpenResponse(url=url, response=response, closing=stack.pop_all()))
        return None

    async def _freshened(
        self, file: FileIdentity, notes: FileNotes, response: UpstreamResponse, before: float
    ) -> FileNotes:
        """The notes as a 304 renews them (RFC 9111 §4.3.4), and with them what clients are told."""
        now = freshened(notes.stored, response.headers, before, time.time())
        headers = CIMultiDict(now.headers)
        fresh = replace(
            notes,
            headers=file.headers(FileHead(total=None, headers=headers, source=response.url)),
            upstream_headers=headers,
            request_time=now.request_time,
            response_time=now.response_time,
        )
        await self._shared.store.note(file.key, fresh.to_json())
        return fresh
