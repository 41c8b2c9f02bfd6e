"""The shared tier as fills, ranges and HEADs see it: one more source of a release file, which is asked first.

It counts as no upstream: a file's upstreams are as many as before, with the same patience, and what the tier does not have or does wrong
is no failure of theirs (`UpstreamError.of_shared_tier`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, override

from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.shared.bucket import BucketError, Found, Wanted
from pkgcache.engine.shared.object_names import WAITING, named_by
from pkgcache.engine.shared.tier import SharedTier
from pkgcache.engine.shared.unavailable import TierUnavailableError
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.places import waiting_for_upstream
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.http.ranges import Bounded, RangeRequest, Span, Suffix, parse_range
from pkgcache.rules.routing.urls import Url


class SharedTierClient(UpstreamClient):
    """The upstreams, and a shared tier before them. `offline`: no upstream is asked."""

    def __init__(self, tier: SharedTier, *, offline: bool, **more: Any) -> None:
        super().__init__(**more)
        self._tier = tier
        self._offline = offline

    @override
    async def close(self) -> None:
        await self._tier.close()  # which waits for what is being written
        await super().close()

    @override
    def healthy_first[T: tuple[Url, str]](self, sources: Sequence[T]) -> list[T]:
        return list(sources[:1]) if self._offline else super().healthy_first(sources)  # one says that nobody is asked

    @override
    @asynccontextmanager
    async def request(
        self, method: str, url: Url, headers: Mapping[str, str], authorization: str = "", *, sole_source: bool = False
    ) -> AsyncIterator[UpstreamResponse]:
        if (name := named_by(str(url))) is not None:
            waiting_for_upstream()
            async with self._from_tier(method, url, name, headers) as response:
                yield response
            return
        if self._offline:
            raise UpstreamError(Failure.OFFLINE, url, "the proxy is offline (pypi_cache_offline)")
        async with super().request(method, url, headers, authorization, sole_source=sole_source) as response:
            yield response

    @asynccontextmanager
    async def _from_tier(
        self, method: str, url: Url, name: str, headers: Mapping[str, str]
    ) -> AsyncIterator[UpstreamResponse]:
        if url.query == WAITING and not await self._tier.comes(name):
            raise UpstreamError(Failure.NOT_FOUND, url, "no other machine has downloaded it")
        wanted = _wanted(headers.get("Range"))
        if wanted is _SEVERAL:
            raise UpstreamError(Failure.NOT_FOUND, url, "not asked for several ranges at once")
        try:
            if method == "HEAD":
                size = await self._tier.size(name)
                found = None if size is None else Found(size, 0, size, _nothing())
                yield self._response(url, found, is_part=False)
                return
            async with self._tier.read(name, wanted) as found:
                if found is not None and wanted is None:
                    self._tier.given(name)
                yield self._response(url, found, is_part=wanted is not None)
        except TierUnavailableError as error:
            raise UpstreamError(error.failure, url, str(error)) from error

    def _response(self, url: Url, found: Found | None, *, is_part: bool) -> UpstreamResponse:
        headers = CIMultiDict[str]()
        if found is not None:
            headers["Content-Length"] = str(found.stop - found.start)
            if is_part:
                headers["Content-Range"] = Span(found.start, found.stop).content_range(found.size)
        return UpstreamResponse(
            url=url,
            status=404 if found is None else 206 if is_part else 200,
            headers=CIMultiDictProxy(headers),
            asked=url,
            _content=_Content(found.pieces if found else _nothing()),
            _transport=None,
            _record_failure=self._tier.broke_off,
            _read_seconds=self._tier.wait,
        )


class _Content:
    """The bytes of an object, as a response's body: the part of aiohttp's StreamReader that `UpstreamResponse` uses."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def readany(self) -> bytes:
        """The next bytes; none at the end. Raises OSError."""
        try:
            return await anext(self._pieces, b"")
        except BucketError as error:
            raise ConnectionResetError(str(error)) from error

    def is_eof(self) -> bool:
        """Whether all has come: that shows only with the last read."""
        return False

    def _read_nowait(self, _size: int) -> bytes:
        return b""  # nothing is read ahead


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


_SEVERAL: dict[str, int] = {}


def _wanted(header: str | None) -> Wanted:
    """What a Range field asks for, as obstore takes it; `_SEVERAL` for more than that."""
    match parse_range(header):
        case None:
            return None
        case RangeRequest(specs=(Bounded(first=first, last=None),), malformed=False):
            return {"offset": first}
        case RangeRequest(specs=(Bounded(first=first, last=int(last)),), malformed=False) if first <= last:
            return (first, last + 1)
        case RangeRequest(specs=(Suffix(length=length),), malformed=False) if length:
            return {"suffix": length}
    return _SEVERAL
