"""What clients read of release files that are not there: small ranges, kept for whoever reads them again.

A resolver reads a wheel's metadata out of its end, often without ever downloading the wheel (uv, pip's fast-deps, poetry). A new agent
that does the same is answered from here, its HEAD too, and so it is when no upstream is there. A digest is of the whole file, so these
bytes cannot be verified: they are fresh for as long as a page without a lifetime of its own, stale after that, and never become a file.

Leaves out: several ranges at once, a range that two parts make up, and files that no digest is known of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from multidict import CIMultiDict

from pkgcache.engine.files.identity import FileIdentity
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.entries import Notes
from pkgcache.engine.store.keys import range_key
from pkgcache.engine.store.store import Store
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.dates import format_http_date
from pkgcache.rules.http.freshness import Policy
from pkgcache.rules.http.ranges import Partial, Span, parse_range, satisfy
from pkgcache.rules.http.validation import strong_tag

PART_BYTES = 2 * 1024 * 1024
"""A longer range is not kept: the directory of a wheel of ten thousand files has about so many."""

FILE_BYTES = 4 * 1024 * 1024
"""So much is kept of one file; the oldest parts go."""


class CachedRange(NamedTuple):
    """A span of a file, and when it came, in seconds since the epoch."""

    span: Span
    came: float
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeHit:
    """An answer out of kept parts. `fresh`: no upstream need be asked."""

    reply: Response
    fresh: bool


class RangeCache:
    """Keeps parts, and answers with them. One entry of the store a file."""

    def __init__(self, policy: Policy, store: Store, metrics: Metrics, tasks: Tasks) -> None:
        self._policy = policy
        self._store = store
        self._metrics = metrics
        self._tasks = tasks
        self._writing = asyncio.Lock()

    async def answer(self, request: Request, file: FileIdentity) -> RangeHit | None:
        """What answers a HEAD or a range; None where nothing does, or only what is too old."""
        if file.digest is None or (request.method == "GET" and "Range" not in request.headers):
            return None
        found = await self._store.read(range_key(file.key))
        if found is None:
            return None
        notes, value = found
        if strong_tag(value) != notes["of"]:
            await self._store.drop_damaged(range_key(file.key), None, "its bytes are others than were stored")
            return None
        parts, total = _read(notes, value), notes["total"]
        headers = CIMultiDict(notes["headers"])
        if request.method == "HEAD":
            came, status, body = max(part.came for part in parts), 200, b""
            headers["Content-Length"] = str(total)
        else:
            asked = satisfy(None if "If-Range" in request.headers else parse_range(request.headers["Range"]), total)
            part = next((part for part in parts if isinstance(asked, Partial) and _holds(part.span, asked.span)), None)
            if part is None or not isinstance(asked, Partial):
                return None
            start = asked.span.start - part.span.start
            came, status, body = part.came, 206, part.data[start : start + asked.span.length]
            headers["Content-Range"] = asked.span.content_range(total)
            headers["Content-Length"] = str(len(body))
        return self._kept(file, Response(status=status, headers=headers, body=body), came)

    def _kept(self, file: FileIdentity, reply: Response, came: float) -> RangeHit | None:
        now = time.time()
        age = max(0, int(now - came))
        lifetime = self._policy.default_lifetime if self._policy.override is None else self._policy.override
        ttl = int(lifetime) - age
        if ttl + self._policy.stale_if_error <= 0 and not self._policy.offline:
            return None
        reply.headers.update({"Age": str(age), "Date": format_http_date(now)})
        reply.headers.update({"ETag": file.transient_tag, "Accept-Ranges": "bytes"})
        if ttl <= 0:
            reply.headers["Cache-Control"] = "no-store"
        detail = "" if ttl > 0 else "offline" if self._policy.offline else "stale-if-error"
        reply.cache = CacheStatus(hit=True, ttl=ttl, detail=detail)
        return RangeHit(reply=reply, fresh=ttl > 0 or self._policy.offline)

    def served(self, kept: RangeHit) -> Response:
        """The reply, counted."""
        stale = kept.reply.cache.ttl is not None and kept.reply.cache.ttl <= 0
        (self._metrics.stale if stale else self._metrics.hit)("range")
        return kept.reply

    def keep(self, file: FileIdentity, headers: Mapping[str, str], span: Span, total: int, data: bytes) -> None:
        """Keep a part that has come, behind the client's back. `headers` are the file's own."""
        part = CachedRange(span, time.time(), data)
        self._tasks.start(self._add(file, dict(headers), part, total), f"part of {file.route.filename}", finishes=True)

    async def _add(self, file: FileIdentity, headers: Mapping[str, str], part: CachedRange, total: int) -> None:
        async with self._writing:
            found = await self._store.read(range_key(file.key))
            others = _read(*found) if found is not None and found[0]["total"] == total else []
            parts, room = [part], FILE_BYTES - len(part.data)
            for other in sorted(others, key=lambda other: other.came, reverse=True):
                if not _holds(part.span, other.span) and len(other.data) <= room:
                    parts.append(other)
                    room -= len(other.data)
            notes: Notes = {
                "name": file.route.filename + file.route.suffix,
                "total": total,
                "headers": list(headers.items()),
                "parts": [(each.span.start, each.span.stop, each.came) for each in parts],
            }
            value = b"".join(each.data for each in parts)
            await self._store.put(range_key(file.key), value, {**notes, "of": strong_tag(value)})


def _read(notes: Notes, value: bytes) -> list[CachedRange]:
    """The parts of an entry, the newest first."""
    parts: list[CachedRange] = []
    at = 0
    for start, stop, came in notes["parts"]:
        parts.append(CachedRange(Span(start, stop), came, value[at : at + stop - start]))
        at += stop - start
    return parts


def _holds(one: Span, other: Span) -> bool:
    return one.start <= other.start and other.stop <= one.stop
