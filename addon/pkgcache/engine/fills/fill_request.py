"""A request to download one file, and the check whether an upstream's response holds its bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from multidict import CIMultiDict

from pkgcache.engine.fills.doubtful import doubt_about
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.http.ranges import parse_content_range
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.urls import Url

IDENTITY = {"Accept": "*/*", "Accept-Encoding": "identity"}
"""Request headers for a release file. A digest is of the file's own bytes, so no content coding may be put on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRequest:
    """A request to download one file: the digest that it must have, its size in bytes (None: unknown), and its URLs.

    Each of `sources` is a URL with its `Authorization`. `otherwise` gives the file's bytes in another way, for when no source has it and
    one says 404; it may raise UpstreamError.
    """

    digest: Digest | None
    size: int | None
    sources: Sequence[tuple[Url, str]]
    otherwise: Callable[[], Awaitable[bytes]] | None = None


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
