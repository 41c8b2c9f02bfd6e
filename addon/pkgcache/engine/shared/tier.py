"""The shared tier: what is read from it, when it is left alone, and what is to be written to it (`writes`).

Whoever asks waits for the first byte, and for each further piece, no longer than `pypi_cache_shared_wait`. One failure opens the circuit
breaker: nobody asks again until a probe in the background has had an answer. So an install waits once, and not at each file.

A wrong object is written anew once an upstream has given the right one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from pkgcache.engine.runtime.health import Health
from pkgcache.engine.runtime.shared_figures import SharedFigures
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.shared.bucket import LETTING_GO_SECONDS, Bucket, BucketError, Found, Wanted, is_outside
from pkgcache.engine.shared.leases import Leases
from pkgcache.engine.shared.object_names import (
    WAITING,
    key_of_object,
    named_by,
    object_name,
    project_prefix,
    shared_url,
)
from pkgcache.engine.shared.pages import SharedPages
from pkgcache.engine.shared.unavailable import TierUnavailableError
from pkgcache.engine.shared.writes import TierWrites
from pkgcache.engine.store.keys import StoreKey, parse_key
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.routing.urls import Url
from pkgcache.units import redact

logger = logging.getLogger(__name__)

READS: Final = 32
"""Objects that are read at a time; who would wait for a turn asks an upstream instead."""

PROBE_SECONDS: Final = (1.0, 2.0, 5.0, 15.0)
"""Before each probe of a tier that has failed; the last one again and again."""

PROBE_NAME: Final = "probe"

SHOWN_SECONDS: Final = 60.0
"""How long a wrong object is shown on /healthz, at least."""

MOST_REMEMBERED: Final = 10_000
"""Objects that are remembered as wrong, or as read for the store."""

READING, CONTENT = "shared tier", "shared tier, content"
"""The components on /healthz."""

_WRONG: Final = frozenset({Failure.WRONG_DIGEST, Failure.WRONG_LENGTH, Failure.WRONG_SPAN, Failure.WRONG_PAGE})


class SharedTier:
    """One process's view of the tier. `close` before the store is closed."""

    def __init__(
        self, bucket: Bucket, store: Store, figures: SharedFigures, *, wait: float, follow: float, private: bool
    ) -> None:
        """`wait`, `follow`: seconds; `private`: whether what was fetched with credentials goes there, too."""
        self.health = Health()
        self.wait = wait
        self.offline = False
        """Whether nobody else may be asked."""
        self._figures = figures
        figures.trouble(lambda: bool(self.health.problems))
        figures.on_failure = self.report
        self._bucket = bucket
        self._private = private
        self._reading = asyncio.Semaphore(READS)
        self._tasks = Tasks()
        self._given: dict[StoreKey, None] = {}  # what is read for the store
        self._wrong: dict[StoreKey, float] = {}  # and when that was seen
        self._probing: asyncio.Task[None] | None = None
        self.pages = SharedPages(self, store, self._tasks)
        self._leases = Leases(bucket, figures, patience=follow)
        self._writes = TierWrites(
            bucket,
            store,
            figures,
            self.health,
            is_wrong=self._wrong.__contains__,
            written=self._written,
            over=self._leases.release,
        )

    @property
    def waiting(self) -> int:
        """How much is being written, or waits for that."""
        return len(self._writes)

    def name_of(self, key: StoreKey) -> str | None:
        """The object of an entry; None where there is to be none."""
        if parse_key(key).private and not self._private:
            return None
        return object_name(key)

    def sources(self, key: StoreKey) -> Sequence[tuple[Url, str]]:
        """Where the file of a key is; and for downloads, where it will be once another machine has downloaded it."""
        name = self.name_of(key)
        if name is None:
            return ()
        now, later = (shared_url(name), ""), (shared_url(name, WAITING), "")
        return (now,) if name.endswith(".metadata") else (now, later)  # which are small: waiting takes longer

    async def comes(self, name: str) -> bool:
        """Wait for another machine that downloads a file just now: whether it is in the tier then. If not, this one downloads it."""
        if self._probing is not None or key_of_object(name) in self._wrong:
            return False
        came = await self._leases.wait_for(name)
        if not came and (task := asyncio.current_task()) is not None:  # that of the download, with its commit
            task.add_done_callback(lambda _: self._download_ended(name))
        return came

    def _download_ended(self, name: str) -> None:
        """Give up the lease of a download that has failed; one that has succeeded is written first (`stored` came before)."""
        if name not in self._writes:
            self._leases.release(name)

    # Reading

    @asynccontextmanager
    async def read(self, name: str, wanted: Wanted = None) -> AsyncIterator[Found | None]:
        """An object, or the `wanted` part of it; None: there is none. Raises TierUnavailableError."""
        self._see_that_it_answers()
        if self._reading.locked():
            self._figures.read("skipped")
            raise TierUnavailableError(Failure.BUSY, "the shared tier is asked for as much as it may be")
        async with self._reading:
            found = await self._within_wait(self._found(name, wanted))
            self._figures.read("miss" if found is None else "hit")
            yield found

    async def all_of(self, found: Found) -> bytes:
        """All bytes of an object that is being read. Raises TierUnavailableError."""
        parts: list[bytes] = []
        while part := await self._within_wait(_next(found.pieces)):
            parts.append(part)
        return b"".join(parts)

    async def size(self, name: str) -> int | None:
        """An object's size; None: there is none. Raises TierUnavailableError."""
        self._see_that_it_answers()
        return await self._within_wait(self._bucket.size(name))

    async def _found(self, name: str, wanted: Wanted) -> Found | None:
        """Open an object, or the `wanted` part of it, and wait for its first piece; None: there is none. Raises BucketError."""
        try:
            found = await self._bucket.get(name, wanted)
            return found and await _begun(found)
        except BucketError:  # a range past the end of the object is no failure of the tier's
            if wanted is None or not is_outside(wanted, await self._bucket.size(name)):
                raise
            return None

    async def present(self, space: str, project: str) -> frozenset[StoreKey]:
        """The keys of a project's files that the tier has; none where it does not say so in time."""
        prefix = project_prefix(space, project)

        async def listed() -> frozenset[StoreKey]:
            keys = [key_of_object(name) async for name, _ in self._bucket.names(prefix)]
            return frozenset(key for key in keys if key is not None and self.name_of(key))

        with contextlib.suppress(TierUnavailableError):
            self._see_that_it_answers()
            return await self._within_wait(listed())
        return frozenset()

    def _see_that_it_answers(self) -> None:
        if self._probing is not None:
            self._figures.read("skipped")
            raise TierUnavailableError(Failure.UNREACHABLE, "it has failed, and is left alone until it answers again")

    async def _within_wait[T](self, asked: Coroutine[Any, Any, T]) -> T:
        """What the tier answers. Raises TierUnavailableError."""
        try:
            async with asyncio.timeout(self.wait):
                return await asked
        except TimeoutError:
            why = f"no answer within {self.wait:g} s"
            self._failed(why)
            raise TierUnavailableError(Failure.TIMEOUT, why) from None
        except BucketError as error:
            self._failed(str(error))
            raise TierUnavailableError(Failure.UNREACHABLE, str(error)) from error

    def broke_off(self) -> None:
        """Count an object whose bytes stopped coming."""
        self._failed(f"it broke off, or sent nothing for {self.wait:g} s")

    def _failed(self, why: str) -> None:
        """Count a failure to read, and leave the tier alone until a probe has had an answer."""
        self._figures.read("failed")
        if self._probing is None:
            self.health.report(
                READING, f"the shared tier does not answer as it should ({why}); installs go on without it"
            )
            self._probing = self._tasks.start(self._probe(), "probe of the shared tier")

    async def _probe(self) -> None:
        for pause in itertools.chain(PROBE_SECONDS, itertools.repeat(PROBE_SECONDS[-1])):
            await asyncio.sleep(pause)
            with contextlib.suppress(BucketError, TimeoutError):
                async with asyncio.timeout(self.wait):
                    await self._bucket.size(PROBE_NAME)
                break
        self._probing = None
        self.health.clear(READING)

    # What was right, and what was wrong

    def given(self, name: str) -> None:
        """Note that an object is read for the store: it need not be written."""
        if (key := key_of_object(name)) is not None:
            self._given[key] = None
            if len(self._given) > MOST_REMEMBERED:
                del self._given[next(iter(self._given))]

    def report(self, error: UpstreamError) -> None:
        """Hear of what was found wrong with what the tier has sent; its other failures are known by now."""
        name = named_by(error.url)
        if error.failure not in _WRONG or name is None:
            return
        self._figures.read("wrong")
        if (
            CONTENT not in self.health.problems
        ):  # which everybody may read, and a private project's name is nobody else's
            logger.warning("%s of the shared tier is wrong: %s", name, redact(error.detail))
        self.health.report(
            CONTENT,
            "the shared tier has a wrong object (the log names it), which is fetched from an upstream and written anew",
        )
        if (key := key_of_object(name)) is not None and len(self._wrong) < MOST_REMEMBERED:
            self._given.pop(key, None)
            self._wrong[key] = time.monotonic()

    def stored(self, key: StoreKey) -> None:
        """Note that the store has taken a file or page: what is to be shared is written soon, unless it has come from here."""
        if (name := self.name_of(key)) is None:
            return
        if key in self._given:
            del self._given[key]
            self._content_is_right()
        else:
            self._writes.start(key, name)

    def _written(self, key: StoreKey) -> None:
        self._wrong.pop(key, None)
        self._content_is_right()

    def _content_is_right(self) -> None:
        """Clear the red line about wrong objects, if the last one that is not written anew is some time ago."""
        now = time.monotonic()
        if CONTENT in self.health.problems and all(now - seen > SHOWN_SECONDS for seen in self._wrong.values()):
            self._wrong.clear()
            self.health.clear(CONTENT)

    async def close(self) -> None:
        """Wait for what is being written, but not for ever; end everything else."""
        await self._tasks.close()
        await self._writes.close()
        await self._leases.close()
        await asyncio.sleep(LETTING_GO_SECONDS)


async def _next(pieces: AsyncIterator[bytes]) -> bytes:
    return await anext(pieces, b"")


async def _begun(found: Found) -> Found:
    """The same object, once its first piece is there."""
    pieces = found.pieces
    first = await anext(pieces, b"")

    async def again() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return Found(found.size, found.start, found.stop, again())
