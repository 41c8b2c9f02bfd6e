"""Fetching from upstreams: one aiohttp session, with places and a circuit breaker for each upstream.

What differs from aiohttp's defaults, and why:

- Redirects are followed here, hop by hop, so that each target is checked (`guard`) and credentials stay with the origin that was asked.
- Bodies come as sent (`auto_decompress` off): they are stored and hashed so.
- Paths go out as spelt (`encoded=True`): a mirror may know `%2B` and not `+`.
- `.netrc` is not read (`trust_env` off), so the parent proxy is chosen here too.
- aiohttp's own limit of connections is off: it is one for all hosts, and waiting for it would look like an upstream that does not answer
  (`places`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import yarl
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.upstream.errors import Failure, UpstreamError, redirected
from pkgcache.engine.upstream.guard import GuardedResolver, MayBePrivate, RefusedAddressError, check_literal
from pkgcache.engine.upstream.parent_proxy import ParentProxy
from pkgcache.engine.upstream.places import ASKER, Places
from pkgcache.engine.upstream.trust import upstream_ssl_context
from pkgcache.rules.policy.circuit_breaker import Breaker
from pkgcache.rules.policy.places import PlaceLimits
from pkgcache.rules.policy.redirects import Barred, Followed, Verdict
from pkgcache.rules.routing.urls import Url

CONNECT_SECONDS = 5.0
READ_SECONDS = 8.0
"""An upstream that sends no byte for this long is given up: below pip's time-out (15 s), so that its client sees only a pause."""

SOLE_SOURCE_SECONDS = (READ_SECONDS, 16.0, 32.0)
"""How long each try waits for an answer to begin where there is no other upstream.

The first request may have been lost; an index that renders its page anew, or a proxy that fetches the whole file first, needs the last.
"""

BODY_SECONDS = 120.0
"""A page, or part of one, that takes longer than this is given up: an upstream that drips would hold a place for days."""

MAX_REDIRECTS = 8

READ_BUFFER = 512 * 1024
"""aiohttp pauses reading at twice this; with its default of 64 KiB the socket stops and starts within each chunk."""

type JudgeRedirect = Callable[[Url, Url, Url], Verdict]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """An upstream's answer whose body has yet to be read. `asked` is the URL of the request, `url` the one after redirects."""

    url: Url
    status: int
    headers: CIMultiDictProxy[str]
    asked: Url
    _content: aiohttp.StreamReader
    _record_failure: Callable[[], None]
    _read_seconds: float

    async def chunk(self) -> bytes:
        """Return the next bytes of the body as they came; empty at its end. Raises UpstreamError."""
        try:
            async with asyncio.timeout(self._read_seconds):
                return await self._content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._record_failure()
            raise _as_upstream_error(self.url, error) from error

    def refused(self) -> UpstreamError:
        """Return the error for an answer whose status is not the wanted one; it carries a 401's challenge (RFC 9110 §11.6.1)."""
        challenge = self.headers.get("WWW-Authenticate", "")
        if self.status in {404, 410}:
            failure, detail = Failure.NOT_FOUND, f"it does not have it ({self.status})"
        else:
            failure, detail = Failure.STATUS, f"it answered {self.status}"
        return UpstreamError(
            failure, self.url, detail, status=self.status, challenge=challenge, origin=self.asked.origin
        )

    async def body(self, limit: int) -> bytes:
        """Return the whole body, of at most `limit` bytes. Raises UpstreamError."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while part := await self.chunk():
                    parts.append(part)
                    size += len(part)
                    if size > limit:
                        raise UpstreamError(Failure.WRONG_LENGTH, self.url, f"the answer is longer than {limit} bytes")
        except TimeoutError as error:
            self._record_failure()
            detail = f"only {size} bytes came in {BODY_SECONDS:g} s"
            raise UpstreamError(Failure.TIMEOUT, self.url, detail, origin=self.asked.origin) from error
        return b"".join(parts)


class UpstreamClient:
    """The session.

    `via` is this proxy's entry in the Via header, by which a loop is found. `trust` replaces the roots of `trust.py`. `read_seconds` is
    how long to wait for an answer to begin, and for each piece of its body. `limits`: of the places at each upstream. `judge` decides
    about a redirect by three URLs: the one that was asked first, the one that answered, and the one that it leads to.
    """

    def __init__(
        self,
        *,
        may_be_private: MayBePrivate,
        via: str,
        parent: ParentProxy | None = None,
        trust: ssl.SSLContext | None = None,
        read_seconds: float = READ_SECONDS,
        limits: PlaceLimits | None = None,
        judge: JudgeRedirect = lambda _asked, _previous, target: Followed(target),
    ) -> None:
        self.parent = parent
        self.places = Places(limits)
        self._may_be_private = may_be_private
        self._via = via
        self._trust = trust
        self._read_seconds = read_seconds
        self._judge = judge
        self._session: aiohttp.ClientSession | None = None
        self._breakers: dict[str, Breaker] = {}  # by origin; without an entry: closed

    def open(self) -> None:
        """Make the session; needs a running event loop. Raises OSError where the trusted roots cannot be read."""
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._trust or upstream_ssl_context(),
            resolver=GuardedResolver(self._may_dial_private),
            keepalive_timeout=30,
            ttl_dns_cache=60,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            read_bufsize=READ_BUFFER,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding"),
        )

    def _may_dial_private(self, address: tuple[str, int]) -> bool:
        """Whether a name may lead to a private address: the parent proxy's does, too."""
        return (self.parent is not None and self.parent.address == address) or self._may_be_private(address)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def is_open(self, url: Url) -> bool:
        """Whether the circuit breaker of this upstream is open: it failed repeatedly, and is left alone for a while."""
        breaker = self._breakers.get(url.origin) if self._breakers else None
        return breaker is not None and not breaker.allows(time.monotonic())

    def healthy_first[T: tuple[Url, str]](self, sources: Sequence[T]) -> list[T]:
        """Return the sources in the order to ask them: as given, but those with an open breaker last, not left out."""
        return sorted(sources, key=lambda source: self.is_open(source[0]))

    @asynccontextmanager
    async def request(
        self, method: str, url: Url, headers: Mapping[str, str], authorization: str = "", *, sole_source: bool = False
    ) -> AsyncIterator[UpstreamResponse]:
        """Wait for a place, make one request and follow its redirects. Raises UpstreamError.

        `authorization` is sent to `url`'s own origin only. `sole_source`: there is no other upstream to turn to, so the answer may take
        long to begin (`SOLE_SOURCE_SECONDS`).
        """
        timeouts = SOLE_SOURCE_SECONDS if sole_source else (self._read_seconds,)
        async with (
            self.places.held(url, ASKER.get()),
            self._followed(method, url, headers, authorization, timeouts) as found,
        ):
            yield found

    @asynccontextmanager
    async def _followed(
        self, method: str, url: Url, headers: Mapping[str, str], authorization: str, timeouts: Sequence[float]
    ) -> AsyncIterator[UpstreamResponse]:
        """Make one request, and follow its redirects hop by hop."""
        asked, origin = url, url.origin
        if origin in self._breakers:
            self._record(origin, Breaker.half_open)
        credentials = {origin: authorization}
        for _ in range(MAX_REDIRECTS + 1):
            sent = {"User-Agent": "pypi-cache", "Via": self._via, **headers}
            if credentials.get(url.origin):
                sent["Authorization"] = credentials[url.origin]
            async with self._hop(method, url, sent, asked, timeouts) as response:
                if response.status in _REDIRECTS and (location := response.headers.get("Location")):
                    verdict = self._judge(asked, url, target := redirected(url, location))
                    if isinstance(verdict, Barred):
                        raise UpstreamError(Failure.REDIRECTS, asked, f"it redirects to {target}, {verdict.reason}")
                    if not isinstance(verdict, Followed):
                        yield self._absent(asked)
                        return
                    url = verdict.url
                    if verdict.authorization:
                        credentials.setdefault(url.origin, verdict.authorization)
                    continue
                if response.status >= 500:
                    self._record_failure(origin)
                else:
                    self._breakers.pop(origin, None)
                yield UpstreamResponse(
                    url=url,
                    status=response.status,
                    headers=response.headers,
                    asked=asked,
                    _content=response.content,
                    _record_failure=lambda: self._record_failure(origin),
                    _read_seconds=self._read_seconds,
                )
                return
        raise UpstreamError(Failure.REDIRECTS, asked, f"more than {MAX_REDIRECTS} redirects, the last to {url}")

    def _absent(self, asked: Url) -> UpstreamResponse:
        """A 404 of our own making, where the upstream may not lead to what has the name."""
        none, empty = CIMultiDictProxy(CIMultiDict[str]()), aiohttp.streams.EMPTY_PAYLOAD
        return UpstreamResponse(asked, 404, none, asked, empty, lambda: None, self._read_seconds)

    @asynccontextmanager
    async def _hop(
        self, method: str, url: Url, headers: Mapping[str, str], asked: Url, timeouts: Sequence[float]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make one request without following a redirect. Its error names the URL that was asked, and where that has led."""
        try:
            check_literal(url, self._may_be_private)
            response = await self._response_head(method, url, headers, timeouts)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._record_failure(asked.origin)
            failure = _as_upstream_error(asked, error)
            if url != asked:
                failure = UpstreamError(failure.failure, asked, f"it redirects to {url}: {failure.detail}")
            raise failure from error
        try:
            yield response
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()  # to keep the connection, the rest of the body would have to be read

    async def _response_head(
        self, method: str, url: Url, headers: Mapping[str, str], timeouts: Sequence[float]
    ) -> aiohttp.ClientResponse:
        """Return the response once its head is there; after each time-out the request is made anew."""
        assert self._session is not None
        proxy = self.parent.url if self.parent is not None and self.parent.applies_to(url.authority) else None
        for seconds in timeouts:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await self._session.request(
                        method,
                        yarl.URL(str(url), encoded=True),
                        headers=headers,
                        allow_redirects=False,
                        proxy=proxy,
                    )
        raise TimeoutError(f"none within {sum(timeouts):g} s")

    def _record_failure(self, origin: str) -> None:
        self._record(origin, Breaker.failed)

    def _record(self, origin: str, change: Callable[[Breaker, float], Breaker]) -> None:
        breaker = change(self._breakers.get(origin, Breaker()), time.monotonic())
        if breaker != Breaker():
            self._breakers[origin] = breaker


def _as_upstream_error(url: Url, error: Exception) -> UpstreamError:
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
