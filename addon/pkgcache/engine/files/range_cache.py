"""Small ranges of release files that are not stored whole, kept for the next client that reads them.

A resolver reads a wheel's metadata out of its end, often without ever downloading the wheel (uv, pip's fast-deps, poetry). The next
agent that does the same is answered from here, HEAD included, even while no upstream answers.

A file's digest says nothing about a part of it, so these bytes cannot be verified. They are therefore fresh for only as long as a page
without a lifetime of its own, and a file is never put together from them.

Left out: requests for several ranges, ranges that span two cached ones, and files without a digest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from multidict import CIMultiDict

from pkgcache.engine.caching import Collaborators
from pkgcache.engine.files.identity import FileIdentity
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.store.keys import range_key
from pkgcache.engine.store.notes import RangeNotes
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.dates import format_http_date
from pkgcache.rules.http.freshness import resident_time
from pkgcache.rules.http.ranges import Partial, Span, parse_range, satisfy
from pkgcache.rules.http.validation import strong_tag

RANGE_BYTES = 2 * 1024 * 1024
"""The longest range that is kept: about the directory of a wheel with ten thousand members."""

FILE_BYTES = 4 * 1024 * 1024
"""The most that is kept of one file; beyond it the oldest ranges are dropped."""


class CachedRange(NamedTuple):
    """A span of a file, with its bytes and when they came, in seconds since the epoch."""

    span: Span
    came: float
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeHit:
    """An answer from cached ranges. One that is not `fresh` is only for when no upstream answers."""

    response: Response
    fresh: bool


class RangeCache:
    """Keeps ranges and answers from them. All ranges of a file are one entry of the store."""

    def __init__(self, shared: Collaborators) -> None:
        self._policy = shared.policy
        self._store = shared.store
        self._metrics = shared.metrics
        self._tasks = shared.tasks
        self._adding = asyncio.Lock()

    async def answer(self, request: Request, file: FileIdentity) -> RangeHit | None:
        """The answer to a HEAD or a range; None if no cached range has all of it, or only one that is too old."""
        if file.digest is None or (request.method == "GET" and "Range" not in request.headers):
            return None
        found = await self._read(file)
        if found is None:
            return None
        notes, ranges = found
        headers = notes.headers
        if request.method == "HEAD":
            came, status, body = max(each.came for each in ranges), 200, b""
            headers["Content-Length"] = str(notes.total)
        else:
            # A client that resumes has bytes of a download; no tag of ours says that these belong to them (RFC 9110 §13.1.5).
            requested = None if "If-Range" in request.headers else parse_range(request.headers["Range"])
            selection = satisfy(requested, notes.total)
            if not isinstance(selection, Partial):
                return None
            span = selection.span
            cached = next((each for each in ranges if _contains(each.span, span)), None)
            if cached is None:
                return None
            start = span.start - cached.span.start
            came, status, body = cached.came, 206, cached.data[start : start + span.length]
            headers["Content-Range"] = span.content_range(notes.total)
            headers["Content-Length"] = str(len(body))
        return self._hit(file, Response(status=status, headers=headers, body=body), came)

    def _hit(self, file: FileIdentity, response: Response, came: float) -> RangeHit | None:
        """The response with its age, or None if it is too old even for when no upstream answers."""
        now = time.time()
        age = int(resident_time(came, now))
        lifetime = self._policy.default_lifetime if self._policy.override is None else self._policy.override
        ttl = int(lifetime) - age
        if ttl + self._policy.stale_if_error <= 0 and not self._policy.offline:
            return None
        response.headers.update({"Age": str(age), "Date": format_http_date(came)})
        response.headers.update({"ETag": file.transient_tag, "Accept-Ranges": "bytes"})
        if ttl <= 0:
            response.headers["Cache-Control"] = "no-store"
        detail = "" if ttl > 0 else "offline" if self._policy.offline else "stale-if-error"
        response.cache = CacheStatus(hit=True, ttl=ttl, detail=detail)
        return RangeHit(response=response, fresh=ttl > 0 or self._policy.offline)

    def served(self, hit: RangeHit) -> Response:
        """The response of a hit that is sent; counted."""
        stale = hit.response.cache.ttl is not None and hit.response.cache.ttl <= 0
        (self._metrics.stale if stale else self._metrics.hit)("range")
        return hit.response

    def keep(self, file: FileIdentity, headers: Mapping[str, str], span: Span, total: int, data: bytes) -> None:
        """Keep a range of a file of `total` bytes, in the background. `headers` are those of the whole file's answer."""
        added = CachedRange(span, time.time(), data)
        self._tasks.start(
            self._add(file, CIMultiDict(headers), added, total), f"range of {file.shown_name}", finishes=True
        )

    async def _add(self, file: FileIdentity, headers: CIMultiDict[str], added: CachedRange, total: int) -> None:
        async with self._adding:  # two that read the same entry would each write it back without the other's range
            found = await self._read(file)
            others = found[1] if found is not None and found[0].total == total else []
            ranges, room = [added], FILE_BYTES - len(added.data)
            for other in sorted(others, key=lambda other: other.came, reverse=True):
                if not _contains(added.span, other.span) and len(other.data) <= room:
                    ranges.append(other)
                    room -= len(other.data)
            value = b"".join(each.data for each in ranges)
            notes = RangeNotes(
                name=file.shown_name,
                total=total,
                headers=headers,
                parts=tuple((each.span.start, each.span.stop, each.came) for each in ranges),
                value_tag=strong_tag(value),
            )
            await self._store.put(range_key(file.key), value, notes.to_json())

    async def _read(self, file: FileIdentity) -> tuple[RangeNotes, list[CachedRange]] | None:
        """The cached ranges of a file, newest first. A damaged entry is dropped."""
        key = range_key(file.key)
        found = await self._store.read(key)
        if found is None:
            return None
        value = found[1]
        try:
            notes = RangeNotes.from_json(found[0])
            if strong_tag(value) != notes.value_tag:
                raise ValueError("its bytes are others than were stored")
            if not notes.parts or sum(stop - start for start, stop, _ in notes.parts) != len(value):
                raise ValueError("its bytes are not those of its ranges")
        except ValueError as error:
            await self._store.drop_damaged(key, None, str(error))
            return None
        ranges: list[CachedRange] = []
        at = 0
        for start, stop, came in notes.parts:
            ranges.append(CachedRange(Span(start, stop), came, value[at : at + stop - start]))
            at += stop - start
        return notes, ranges


def _contains(outer: Span, inner: Span) -> bool:
    return outer.start <= inner.start and inner.stop <= outer.stop
