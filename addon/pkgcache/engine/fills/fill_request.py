"""A request to download one file, and the check whether an upstream's response holds its bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from multidict import CIMultiDict

from pkgcache.engine.fills.doubtful import doubt_about
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.http.ranges import parse_content_range
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.urls import Url

IDENTITY = {"Accept": "*/*", "Accept-Encoding": "identity"}
"""Request headers for a release file. A digest is of the file's own bytes, so no content coding may be put on them."""


@dataclass(slots=True, kw_only=True)
class OpenResponse:
    """An answer with the whole file, whose head a revalidation has read. `closing` lets go of its connection; it is `taken` once."""

    url: Url
    response: UpstreamResponse
    closing: AsyncExitStack
    taken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRequest:
    """A request to download one file: the digest that it must have, its size in bytes (None: unknown), and its URLs.

    Each of `sources` is a URL with its `Authorization`. `otherwise` gives the file's bytes in another way, for when no source has it and
    one says 404; it may raise UpstreamError. `begun` is an answer of the first source that is there already. `shared`: where a shared
    tier may have it, which is asked first.
    """

    digest: Digest | None
    size: int | None
    sources: Sequence[tuple[Url, str]]
    otherwise: Callable[[], Awaitable[bytes]] | None = None
    begun: OpenResponse | None = None
    shared: Sequence[tuple[Url, str]] = ()

    @asynccontextmanager
    async def response(
        self, client: UpstreamClient, url: Url, headers: Mapping[str, str], authorization: str
    ) -> AsyncIterator[UpstreamResponse]:
        """Ask one of the sources for the file or, with `Range`, its rest; or take the answer that is there. Raises UpstreamError."""
        if (begun := self.begun) and begun.url == url and not begun.taken and "Range" not in headers:
            begun.taken = True
            async with begun.closing:
                yield begun.response
            return
        sole = len(self.sources) == 1
        async with client.request("GET", url, headers, authorization, sole_source=sole) as response:
            yield response


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHead:
    """What the first good response said of the file: its length in bytes (None: not given), its headers, and where it came from."""

    total: int | None
    headers: CIMultiDict[str]
    source: Url


def check_content(response: UpstreamResponse, *, doubtful: bool = False) -> None:
    """Check that a response's body is a file's own bytes, or some of them; or may be (`doubtful`). Raises UpstreamError."""
    if response.status not in {200, 203, 206}:
        raise response.refused()
    if not doubtful and (doubt := doubt_about(response)) is not None:
        raise doubt.error


def check_response(
    response: UpstreamResponse, start: int, size: int | None, *, doubtful: bool = False
) -> tuple[int, int | None]:
    """Check a response to a request for everything from byte `start` on, of a file of `size` bytes (None: unknown).

    Returns the offset of the body's first byte, which is 0 where the upstream ignores ranges, and the file's length as far as the
    response tells it. Raises UpstreamError.
    """
    check_content(response, doubtful=doubtful)
    if response.status == 206:
        content_range = response.headers.get("Content-Range", "")
        span = parse_content_range(content_range)
        if span is None or span.start != start:
            got = repr(content_range) if content_range else "no Content-Range"
            raise UpstreamError(Failure.WRONG_SPAN, response.url, f"asked from byte {start} on, got {got}")
        first, total = span.start, span.total
    else:
        length = response.headers.get("Content-Length", "")
        first, total = 0, int(length) if length.isdigit() else None
    if size is not None and total is not None and total != size:
        raise UpstreamError(Failure.WRONG_LENGTH, response.url, f"{total} bytes are announced, and the file has {size}")
    return first, total
