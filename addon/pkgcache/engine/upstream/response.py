"""An upstream's answer, the cookies that it sets, and what aiohttp's errors mean."""

from __future__ import annotations

import asyncio
import io
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

import aiohttp
import yarl
from multidict import CIMultiDictProxy

from pkgcache.engine.upstream.breakers import Breakers
from pkgcache.engine.upstream.errors import Failure, UpstreamError, refused
from pkgcache.engine.upstream.guard import RefusedAddressError
from pkgcache.rules.policy.drip import Drip
from pkgcache.rules.routing.urls import Url

SMALL_BODY = 512 * 1024
"""Bytes of a body that are held without asking for a turn: pages of the default index have 50 kB as sent, and few have more than this."""

BODY_SECONDS = 120.0
"""A page, or part of one, that takes longer than this is given up: an upstream that drips would hold a place for days."""


type Hop = Callable[[Url, Sequence[float]], AbstractAsyncContextManager[aiohttp.ClientResponse]]
"""Makes one request to a URL, with these time-outs, and follows no redirect."""

type _Answers = AsyncIterator[tuple[Url, aiohttp.ClientResponse]]


class Content(Protocol):
    """What a body is read from: the part of aiohttp's StreamReader that is used here."""

    async def readany(self) -> bytes:
        """Return what has come, once there is something; nothing at the end."""

    def is_eof(self) -> bool:
        """Return whether all of it has come."""

    def _read_nowait(self, size: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """An upstream's answer whose body has yet to be read. `asked` is the URL of the request, `url` the one after redirects."""

    url: Url
    status: int
    headers: CIMultiDictProxy[str]
    asked: Url
    _content: Content
    _transport: asyncio.ReadTransport | None
    _record_failure: Callable[[], None]
    _read_seconds: float
    _drip: Drip = field(default_factory=Drip)

    async def chunk(self) -> bytes:
        """Return the next bytes of the body as they came; empty at its end. Raises UpstreamError."""
        if self._drip.pause and not self._content.is_eof():
            await self._let_gather(self._drip.pause)
        try:
            async with asyncio.timeout(self._read_seconds):
                piece = await self._content.readany()
        # RuntimeError: aiohttp has closed the connection because of what came behind the body's last chunk, and says no more.
        except (aiohttp.ClientError, OSError, TimeoutError, RuntimeError) as error:
            # What came before the connection broke counts, and aiohttp raises without giving it; the next call raises again.
            piece = self._content._read_nowait(-1)  # noqa: SLF001
            if not piece:
                self._record_failure()
                raise as_upstream_error(self.url, error) from error
        self._drip.came(len(piece))
        return piece

    async def _let_gather(self, seconds: float) -> None:
        """Leave in the socket what comes meanwhile: decrypting and parsing each piece by itself took three quarters of a drip's cost."""
        below = bottom(self._transport)
        if below is not None:
            below.pause_reading()
        try:
            await asyncio.sleep(seconds)
        finally:
            if below is not None:
                below.resume_reading()

    def refused(self) -> UpstreamError:
        """Return the error for an answer whose status is not the wanted one."""
        return refused(self.url, self.status, self.headers, self.asked.origin)

    async def body(self, limit: int, take_turn: Callable[[int], Awaitable[None]] | None = None) -> bytes:
        """Return the whole body, of at most `limit` bytes. Raises UpstreamError.

        `take_turn`: called with the bytes so far, while they are more than SMALL_BODY; what it waits is not the upstream's time.
        """
        whole = io.BytesIO()  # its value is no copy, as that of joined parts is
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS) as patience:
                while part := await self.chunk():
                    size += whole.write(part)
                    if size > limit:
                        raise UpstreamError(Failure.WRONG_LENGTH, self.url, f"the answer is longer than {limit} bytes")
                    if size > SMALL_BODY and take_turn is not None:
                        ends = patience.when()
                        patience.reschedule(None)
                        began = time.monotonic()
                        await take_turn(size)
                        patience.reschedule(ends and ends + time.monotonic() - began)
        except TimeoutError as error:
            self._record_failure()
            detail = f"only {size} bytes came in {BODY_SECONDS:g} s"
            raise UpstreamError(Failure.TIMEOUT, self.url, detail, origin=self.asked.origin) from error
        return whole.getvalue()


class Cookies:
    """The cookies that an upstream sets while one request is followed, for the rest of its way alone (RFC 6265).

    Some load balancers and log-ins of a single sign-on redirect to the same URL until the cookie that they have set comes with it.
    """

    def __init__(self) -> None:
        self._jar: aiohttp.CookieJar | None = None

    def keep(self, response: aiohttp.ClientResponse) -> None:
        """Take what a response sets."""
        if response.cookies:
            self._jar = self._jar or aiohttp.CookieJar(unsafe=True)  # hosts that are addresses have cookies too
            self._jar.update_cookies(response.cookies, response.url)

    def for_url(self, url: Url) -> dict[str, str]:
        """The Cookie field for a URL, if there are any for it."""
        found = self._jar.filter_cookies(yarl.URL(str(url), encoded=True)) if self._jar else {}
        return {"Cookie": "; ".join(f"{name}={each.coded_value}" for name, each in found.items())} if found else {}


@asynccontextmanager
async def first_answer(targets: Sequence[Url], hop: Hop, timeouts: Sequence[float], breakers: Breakers) -> _Answers:
    """The answer of the first of these upstreams that has what is asked for. Mostly there is but one.

    Where none has it, one that has answered is asked again, and its refusal stands: a 404 rather than another.
    """
    refused: Url | None = None
    for url in targets:
        if url is targets[-1] and refused is None:
            break
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(hop(url, timeouts[:1]))
            except UpstreamError:
                continue  # its breaker knows
            breakers.note(url.origin, response.status, response.headers)
            if response.status < HTTPStatus.BAD_REQUEST:
                yield url, response
                return
            if refused is None or response.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                refused = url
    url = refused or targets[-1]
    async with hop(url, timeouts) as response:
        yield url, response


def bottom(transport: Any) -> Any:
    """The transport that reads the socket: asyncio's TLS transport, when paused, still takes and copies each piece."""
    return getattr(getattr(transport, "_ssl_protocol", None), "_transport", transport)


def as_upstream_error(url: Url, error: Exception) -> UpstreamError:
    """Classify what aiohttp or the socket raised."""
    cause: BaseException | None = error  # aiohttp wraps what its resolver raises
    while cause is not None:
        if isinstance(cause, RefusedAddressError):
            return UpstreamError(Failure.REFUSED_ADDRESS, url, str(cause))
        cause = cause.__cause__ or cause.__context__
    text = str(error) or type(error).__name__
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return UpstreamError(Failure.TIMEOUT, url, f"no answer in time ({text})")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return UpstreamError(Failure.TLS, url, f"its certificate or TLS is not accepted: {text}")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientProxyConnectionError | ConnectionError):
        return UpstreamError(Failure.UNREACHABLE, url, f"cannot be reached: {text}")
    return UpstreamError(Failure.BROKEN, url, f"broke off, or sent no valid HTTP: {text}")
