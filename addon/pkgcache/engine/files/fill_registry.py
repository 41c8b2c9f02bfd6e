"""The fills under way: at most one per file, however many clients ask for it, and what is stored once it is complete.

Not a `SingleFlight`: readers join a fill while it grows instead of waiting for its result, and it outlives its end by LINGER_SECONDS.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pkgcache.engine.caching import Collaborators
from pkgcache.engine.files.identity import FileIdentity
from pkgcache.engine.fills.fill import Fill
from pkgcache.engine.fills.fill_request import OpenResponse
from pkgcache.engine.store.entries import Entry
from pkgcache.engine.store.growing import file_stem
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.lru import ByteLru
from pkgcache.engine.store.notes import FileNotes
from pkgcache.engine.store.rehash import Rehasher
from pkgcache.engine.upstream.errors import AllFailedError
from pkgcache.engine.upstream.wheel_metadata import metadata_of_wheel
from pkgcache.rules.http.storability import storable_headers
from pkgcache.rules.routing.digests import Digest

logger = logging.getLogger(__name__)

LINGER_SECONDS = 1.0
"""A complete fill still serves requests this long.

One that looked for the file in the store just before the commit finds the fill, instead of neither.
"""

WRITING_THREADS = 8

TOO_LARGE_FILES, TOO_LARGE_SECONDS = 256, 60.0
"""So many files that the store cannot take are remembered for so long: they would only grow to the limit again, and be thrown away."""


class FillRegistry:
    """Starts fills, finds them again, and stores what they bring. `close` after their tasks have ended.

    `on_failure` is called for a file that no upstream gave, with the time at which its fill began (seconds since the epoch).
    """

    def __init__(self, shared: Collaborators, rehasher: Rehasher) -> None:
        self._shared = shared
        self._rehasher = rehasher
        self._pool = ThreadPoolExecutor(WRITING_THREADS, thread_name_prefix="fill")
        self.on_failure: Callable[[FileIdentity, AllFailedError, float], None] = lambda _file, _error, _began: None
        self.fills: dict[StoreKey, Fill] = {}
        self._lingering: list[Fill] = []
        self._too_large: ByteLru[StoreKey, float] = ByteLru(TOO_LARGE_FILES)  # each weighs 1

    def close(self) -> None:
        """Remove what stopped fills have left, and end the threads."""
        for fill in self._lingering:
            fill.clean_up()
        self._lingering.clear()
        self._pool.shutdown(wait=True)

    def __len__(self) -> int:
        return len(self.fills)

    def of(self, file: FileIdentity) -> Fill | None:
        """The fill of a file that a request may join: none that has failed or is being stopped.

        A complete one without a digest is what RFC 9111 says that it is: the store's, or no other request's at all (`no-store`).
        """
        fill = self.fills.get(file.key)
        if fill is None or fill.failing:
            return None
        if file.digest is None and fill.verified and fill.head is not None:
            return None if fill.committed or not file.may_be_stored(fill.head) else fill
        return fill

    def start(self, file: FileIdentity, begun: OpenResponse | None = None) -> Fill:
        """Start the download of a file in the background; it takes the place of a failed one. `begun`: its answer is there already."""
        shared, route = self._shared, file.route
        request = replace(file.fill_request, begun=begun)
        if file.digest and route.suffix == ".metadata" and route.filename.endswith(".whl"):
            request = replace(request, otherwise=lambda: metadata_of_wheel(shared.client, file.wheels))
        fill = Fill(
            request,
            shared.store.growing / f"{file_stem(file.key)}.part",
            shared.client,
            self._pool,
            report=shared.metrics.upstream_failed,
            reserve=lambda path, size: self._reserve(file, path, size),
            disk_failed=shared.store.fails_to_grow,
            finish_abandoned=shared.settings.finish_abandoned,
        )
        self.fills[file.key] = fill
        started = time.time()

        async def work() -> None:
            try:
                await fill.run(lambda: self._find(file, started), lambda done: self._commit(file, done, started))
                if fill.error is not None:
                    self.on_failure(file, fill.error, started)
            finally:
                if begun is not None:  # where the file was found elsewhere
                    await begun.closing.aclose()
                shared.store.room.release(fill.file.path)
                shared.metrics.downloaded(fill.result)
                self._forget(file.key, fill)

        fill.task = shared.tasks.start(work(), f"fill {route.filename}")
        return fill

    async def _reserve(self, file: FileIdentity, path: Path, size: int) -> bool:
        """Whether a file may grow to `size` bytes. One that is larger than the whole store may be is not tried again for a while."""
        limit = self._shared.settings.max_size
        if size > limit and not self.is_too_large(file):
            what = "%s: %d bytes are more than pypi_cache_max_size (%d); served, not kept"
            logger.warning(what, file.shown_name, size, limit)
            self._too_large.put(file.key, time.monotonic(), 1)
        return size <= limit and await self._shared.store.room.reserve(path, size)

    def is_too_large(self, file: FileIdentity) -> bool:
        """Whether a file was found to be larger than the whole store may be, just now."""
        since = self._too_large.get(file.key)
        return since is not None and time.monotonic() - since < TOO_LARGE_SECONDS

    def _forget(self, key: StoreKey, fill: Fill) -> None:
        """Forget a failed fill at once, so that the next request starts afresh, and a complete one after LINGER_SECONDS."""
        if fill.error is not None:
            self._remove(key, fill)
        self._lingering.append(fill)
        self._shared.tasks.later(LINGER_SECONDS, lambda: self._let_go(key, fill))

    def _let_go(self, key: StoreKey, fill: Fill) -> None:
        self._remove(key, fill)
        if fill in self._lingering:  # else the service has been closed meanwhile
            self._lingering.remove(fill)
            fill.clean_up()

    def _remove(self, key: StoreKey, fill: Fill) -> None:
        if self.fills.get(key) is fill:  # another may have taken its place
            del self.fills[key]

    async def _find(self, file: FileIdentity, since: float) -> tuple[Entry, FileNotes] | None:
        """The entry that another process has committed meanwhile.

        Without a digest one from before `since` is what this fill is to replace, as is one whose notes cannot be read.
        """
        entry = await self._shared.store.find(file.key)
        if entry is None:
            return None
        with contextlib.suppress(ValueError):
            notes = FileNotes.from_json(entry.notes)
            if file.digest is not None or notes.response_time >= since:
                return entry, notes
        if entry.file is not None:
            entry.file.close()
        return None

    async def _commit(self, file: FileIdentity, fill: Fill, started: float) -> bool:
        """Store a complete file; whether the store has taken it."""
        head = fill.head
        assert head is not None
        if not file.may_be_stored(head):
            await self._shared.store.drop(file.key)  # what was stored before is of the past
            return False
        notes = FileNotes(
            name=file.shown_name,
            url=str(file.route.identity),
            digest=str(file.digest or Digest("sha256", fill.computed)),
            attempt=fill.attempt,
            headers=file.headers(head),
            upstream_headers=storable_headers(head.headers),
            request_time=started,
            response_time=time.time(),
        )
        stored = await self._shared.store.adopt(file.key, fill.file.path, fill.written, notes.to_json())
        if stored:
            self._rehasher.trust(file.key, fill.file.fileno())
            self._shared.metrics.stored(fill.written)
        return stored
