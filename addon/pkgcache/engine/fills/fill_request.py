"""What a download is to bring, what the first good upstream said of it, and why it cannot be had: the words that fills are told in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from multidict import CIMultiDict

from pkgcache.engine.upstream.client import UpstreamResponse
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.urls import Url

IDENTITY = {"Accept": "*/*", "Accept-Encoding": "identity"}
"""What a release file is asked for with: its very bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRequest:
    """What a fill is to bring: the digest that it must have (None: unknown), its size if a page told, and where it may be had."""

    digest: Digest | None
    size: int | None
    sources: Sequence[tuple[Url, str]]
    otherwise: Callable[[], Awaitable[bytes]] | None = None
    """Another way to its bytes, where no source gives it and one says that it does not have it; may raise UpstreamError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHead:
    """What the first good upstream said of the file. `total` is None where it gave no length."""

    total: int | None
    headers: CIMultiDict[str]
    source: Url


def check_answer(answer: UpstreamResponse) -> int | None:
    """That an answer is a file's bytes, as they are: its announced length if it is whole. Raises UpstreamError."""
    status, headers = answer.status, answer.headers
    if status not in {200, 206}:
        raise answer.refused()
    coding = headers.get("Content-Encoding", "identity").lower()
    if coding != "identity":
        raise UpstreamError(Failure.WRONG_ENCODING, answer.url, f"sent as {coding}, which was not asked for")
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise UpstreamError(Failure.WRONG_TYPE, answer.url, "a web page instead of the file (a captive portal?)")
    length = headers.get("Content-Length", "")
    return int(length) if length.isdigit() and status == 200 else None
