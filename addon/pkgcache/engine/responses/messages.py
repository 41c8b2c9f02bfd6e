"""What goes into the service and what comes out: `Request`, `Response`, and the one body type that streams.

A body is bytes, or a `Body`: a finished file, a growing one, a byte range of either, or an upstream's bytes on their way through
are all read the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.routing.urls import Url

CHUNK = 256 * 1024
"""Bytes handed to a client at a time: memory is bounded by this times the clients."""

CLIENT_SECONDS = 12.0
"""So long a client waits for the beginning of an answer (pip gives up after 15 s); then it is told to ask again, and joins in."""

type Chunk = bytes | bytearray


class CutShortError(Exception):
    """A body cannot be completed: the client's connection is to be cut, so that it sees an incomplete answer."""


class DiskFailedError(CutShortError):
    """What is read cannot be had from the disk any more; `rest(at, stop)` may give it another way (raises CutShortError)."""

    def __init__(self, why: str, rest: Callable[[int, int | None], Body]) -> None:
        super().__init__(why)
        self.rest = rest


class Body(Protocol):
    """A stream of bytes to one client."""

    @property
    def exhausted(self) -> bool:
        """Whether all of it has been read."""

    def read_now(self) -> Chunk:
        """As `read`, but without waiting: empty where that would need it, or where something is wrong (`read` tells)."""

    async def read(self) -> Chunk:
        """The next bytes, at most CHUNK; empty at the end. Raises CutShortError."""

    def close(self) -> None:
        """Let go of it; a `read` under way raises CutShortError. May be called twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A GET or HEAD. `own`: it was asked at the proxy's own address, and only the path of `url` counts."""

    method: str
    url: Url
    headers: CIMultiDictProxy[str]
    at_proxy_address: bool = False
    client: str = ""


@dataclass(slots=True, kw_only=True)
class Response:
    """An answer. `length` is the body's when it streams and its length is known; a HEAD's reply has the headers of the GET."""

    status: int
    headers: CIMultiDict[str]
    body: bytes | Body = b""
    cache: CacheStatus = field(default_factory=CacheStatus)
    upstream: str = ""

    @classmethod
    def text(
        cls, status: int, text: str, *, detail: str = "", cache: CacheStatus | None = None, challenge: str = ""
    ) -> Response:
        """Plain text for a person, one line or several; never to be stored by anyone. `challenge`: a 401's."""
        body = (text.rstrip("\n") + "\n").encode()
        headers = CIMultiDict(
            {
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": str(len(body)),
                "Cache-Control": "no-store",
            }
        )
        if challenge:
            headers["WWW-Authenticate"] = challenge
        return cls(status=status, headers=headers, body=body, cache=cache or CacheStatus(detail=detail))
