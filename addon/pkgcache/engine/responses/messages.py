"""The engine's `Request` and `Response`, and `Body`, the interface of every body that streams.

Stored files, growing files, byte ranges of either and an upstream's relayed bytes are all read in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.upstream.errors import AllFailedError
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.routing.urls import Url
from pkgcache.units import printable_lines, redact

CHUNK = 256 * 1024
"""The most bytes handed to a client at a time. Memory for bodies is at most this times the number of clients."""

MOST_AT_ONCE = 4 * CHUNK
"""Bytes of a body in memory that are handed to a client in one piece. Most pages are far smaller."""

CLIENT_SECONDS = 12.0
"""The longest that a client waits for the beginning of an answer. Then it gets a 503 with Retry-After, and joins in when it asks again.

pip gives up after 15 seconds without a byte.
"""

type Chunk = bytes | bytearray


class CutShortError(Exception):
    """A body cannot be completed. The client's connection must be cut, so that it does not take the answer for complete."""


class DiskFailedError(CutShortError):
    """The disk failed. `rest(start, stop)` gives the other bytes without it, or raises CutShortError where it cannot."""

    def __init__(self, why: str, rest: Callable[[int, int | None], Body]) -> None:
        super().__init__(why)
        self.rest = rest


class Body(Protocol):
    """A stream of bytes to one client."""

    @property
    def exhausted(self) -> bool:
        """Whether all of it has been read. False where only an empty `read` tells."""

    def read_now(self) -> Chunk:
        """The next bytes if they are there without waiting, else empty. It raises nothing: `read` tells what is wrong."""

    async def read(self) -> Chunk:
        """Wait for the next bytes, at most CHUNK; empty at the end. Raises CutShortError."""

    def close(self) -> None:
        """Release what the body holds. A `read` under way raises CutShortError. May be called twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request; only a GET or HEAD is answered from the cache.

    `at_proxy_address`: it went to the proxy's own address, so only the path of `url` counts.
    """

    method: str
    url: Url
    headers: CIMultiDictProxy[str]
    at_proxy_address: bool = False
    client: str = ""

    def accepting(self, content_type: str) -> Request:
        """The request with this `Accept` in place of its own, as a page's `?format=` asks (PEP 691: it "SHOULD take precedence")."""
        headers = CIMultiDict(self.headers)
        headers["Accept"] = content_type
        return replace(self, headers=CIMultiDictProxy(headers))


@dataclass(slots=True, kw_only=True)
class Response:
    """An answer. `headers` have the body's length where it is known; those for a HEAD are the same as for a GET."""

    status: int
    headers: CIMultiDict[str]
    body: bytes | Body = b""
    cache: CacheStatus = field(default_factory=CacheStatus)
    upstream: str = ""
    sent_head: bytes = b""
    """Its head as it was sent before, where it is an answer that several requests get."""
    error: AllFailedError | None = None
    failed_key: str = ""
    """Why it is only a text that says what went wrong, where that was the upstreams' doing; and of a file its key in the store."""

    def aged(self, age: str, cache: CacheStatus) -> Response:
        """The same answer at another `Age`, which it has."""
        fields = {"Age": age, "Cache-Status": str(cache)}
        headers, head = self.headers.copy(), self.sent_head
        for name, value in fields.items():
            head = head.replace(f"\r\n{name}: {headers.get(name)}\r\n".encode(), f"\r\n{name}: {value}\r\n".encode(), 1)
            headers[name] = value
        return replace(self, headers=headers, cache=cache, sent_head=head)

    @classmethod
    def text(
        cls,
        status: int,
        text: str,
        *,
        detail: str = "",
        cache: CacheStatus | None = None,
        more: CIMultiDict[str] | None = None,
    ) -> Response:
        """Plain text for people, which no cache may store. `more`: further headers, such as a 401's challenges."""
        # It may repeat what a client or an upstream has written.
        shown = printable_lines(redact(text)) if status >= 400 else text
        body = (shown.rstrip("\n") + "\n").encode(errors="backslashreplace")
        headers = CIMultiDict(
            {
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": str(len(body)),
                "Cache-Control": "no-store",
            }
        )
        headers.extend(more or {})
        return cls(status=status, headers=headers, body=body, cache=cache or CacheStatus(detail=detail))
