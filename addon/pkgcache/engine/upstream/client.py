"""Fetching from upstreams: one session with pooled connections. The only importer of aiohttp.

Redirects are followed here, hop by hop, so that every address is looked at: the proxy's own fetches refuse private addresses unless
the operator's words name the host (checked on the resolved address, not on the name). Bodies come as sent (`auto_decompress` off),
paths go out as spelt (`encoded=True`), and no `.netrc` is read (`trust_env` off; the parent proxy is chosen here).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import yarl
from multidict import CIMultiDictProxy

from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.guard import RefusedAddressError, _GuardedResolver
from pkgcache.engine.upstream.parent_proxy import ParentProxy
from pkgcache.engine.upstream.trust import upstream_ssl_context
from pkgcache.rules.policy.circuit_breaker import Breaker
from pkgcache.rules.routing.urls import Url, parse_url, resolve_reference

CONNECT_SECONDS = 5.0
READ_SECONDS = 8.0
"""No byte for this long, and the upstream is left: below pip's time-out (15 s), so that its client sees only a pause."""

LONE_SECONDS = (READ_SECONDS, 16.0, 32.0)
"""Where there is no other upstream to turn to: so long each new try waits for an answer to begin. The first may have been lost;
an index that renders its page anew, or a proxy that fetches the file first, needs the last."""

MAX_REDIRECTS = 8
POOL = 64
READ_BUFFER = 512 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """An upstream's answer whose body has yet to be read. `url` is the final one, after redirects."""

    url: Url
    status: int
    headers: CIMultiDictProxy[str]
    _content: aiohttp.StreamReader
    asked: Url
    _failed: Callable[[], None]
    _read_seconds: float

    async def chunk(self) -> bytes:
        """The next bytes of the body as they came, empty at its end. Raises UpstreamError."""
        try:
            async with asyncio.timeout(self._read_seconds):
                return await self._content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._failed()
            raise _failure(self.url, error) from error

    def refused(self) -> UpstreamError:
        """The failure that this answer's status is; a 401's challenge goes with it."""
        challenge = self.headers.get("WWW-Authenticate", "")
        if self.status in {404, 410}:
            failure, detail = Failure.NOT_FOUND, f"it does not have it ({self.status})"
        else:
            failure, detail = Failure.STATUS, f"it answered {self.status}"
        return UpstreamError(
            failure, self.url, detail, status=self.status, challenge=challenge, origin=self.asked.origin
        )

    async def body(self, limit: int) -> bytes:
        """The whole body, of at most `limit` bytes. Raises UpstreamError."""
        parts: list[bytes] = []
        size = 0
        while part := await self.chunk():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise UpstreamError(Failure.WRONG_LENGTH, self.url, f"the answer is longer than {limit} bytes")
        return b"".join(parts)


class UpstreamClient:
    """The session.

    `operators` says whether the operator's settings name a (host, port), which may then have a private address; `via` goes into `Via`.
    `trust` replaces the system's roots. `read_seconds` is how long to wait for an answer to begin, and for each piece of its body.
    """

    def __init__(
        self,
        *,
        operators: Callable[[tuple[str, int]], bool],
        via: str,
        parent: ParentProxy | None = None,
        trust: ssl.SSLContext | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._operators = operators
        self._via = via
        self.parent = parent
        self._trust = trust
        self._read_seconds = read_seconds
        self._session: aiohttp.ClientSession | None = None
        self._breakers: dict[str, Breaker] = {}

    def open(self) -> None:
        """Make the session; needs a running event loop."""
        connector = aiohttp.TCPConnector(
            limit=POOL,
            ssl=self._trust or upstream_ssl_context(),
            resolver=_GuardedResolver(self._operators),
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

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def is_open(self, url: Url) -> bool:
        """Whether this upstream failed so often that it is left alone for a while."""
        breaker = self._breakers.get(url.origin)
        return breaker is not None and not breaker.allows(time.monotonic())

    def healthy_first[T: tuple[Url, str]](self, sources: Sequence[T]) -> list[T]:
        """The sources as they are to be asked: those that rest come last, since even they are better than nothing."""
        return sorted(sources, key=lambda source: self.is_open(source[0]))

    @asynccontextmanager
    async def request(
        self, method: str, url: Url, headers: Mapping[str, str], authorization: str = "", *, sole_source: bool = False
    ) -> AsyncIterator[UpstreamResponse]:
        """One request, redirects followed; `authorization` goes to `url`'s own origin only. Raises UpstreamError.

        `alone`: there is no other upstream to turn to, so the answer may take long to begin.
        """
        patience = LONE_SECONDS if sole_source else (self._read_seconds,)
        asked = url
        self._record(asked.origin, lambda breaker, now: breaker.half_open(now))
        for _ in range(MAX_REDIRECTS + 1):
            sent = {"User-Agent": "pypi-cache", "Via": self._via, **headers}
            if authorization and url.origin == asked.origin:
                sent["Authorization"] = authorization
            async with self._open(method, url, sent, asked, patience) as response:
                if response.status in _REDIRECTS and (location := response.headers.get("Location")):
                    url = _redirected(url, location)
                    continue
                if response.status >= 500:
                    self._failed(asked.origin)
                else:
                    self._breakers.pop(asked.origin, None)
                yield UpstreamResponse(
                    url,
                    response.status,
                    response.headers,
                    response.content,
                    asked,
                    lambda: self._failed(asked.origin),
                    self._read_seconds,
                )
                return
        raise UpstreamError(Failure.REDIRECTS, asked, f"more than {MAX_REDIRECTS} redirects, the last to {url}")

    @asynccontextmanager
    async def _open(
        self, method: str, url: Url, headers: Mapping[str, str], asked: Url, patience: Sequence[float]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One hop; its failures name what was asked, and where that has led."""
        assert self._session is not None
        try:
            self._check_literal(url)
            response = await self._answered(method, url, headers, patience)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._failed(asked.origin)
            failure = _failure(asked, error)
            if url != asked:
                failure = UpstreamError(failure.failure, asked, f"it redirects to {url}: {failure.detail}")
            raise failure from error
        try:
            yield response
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()  # a body that nobody wants is not read to its end

    async def _answered(
        self, method: str, url: Url, headers: Mapping[str, str], patience: Sequence[float]
    ) -> aiohttp.ClientResponse:
        """The response, once its head is there; tried anew each time that the patience for a try runs out."""
        assert self._session is not None
        for seconds in patience:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await self._session.request(
                        method,
                        yarl.URL(str(url), encoded=True),
                        headers=headers,
                        allow_redirects=False,
                        proxy=self._proxy_for(url),
                    )
        raise TimeoutError(f"none within {sum(patience):g} s")

    def _failed(self, origin: str) -> None:
        self._record(origin, lambda breaker, now: breaker.failed(now))

    def _record(self, origin: str, change: Callable[[Breaker, float], Breaker]) -> None:
        breaker = change(self._breakers.get(origin, Breaker()), time.monotonic())
        if breaker != Breaker():
            self._breakers[origin] = breaker

    def _check_literal(self, url: Url) -> None:
        try:
            address = ipaddress.ip_address(url.host)
        except ValueError:
            return  # a name: the resolver looks at what it resolves to
        if not address.is_global and not self._operators((url.host, url.port)):
            raise RefusedAddressError(f"{url.host} is a private address, and no index of the operator's is there")

    def _proxy_for(self, url: Url) -> str | None:
        parent = self.parent
        return parent.url if parent is not None and parent.applies_to(url.authority) else None


def _redirected(url: Url, location: str) -> Url:
    try:
        return parse_url(resolve_reference(url, location))
    except ValueError as error:
        raise UpstreamError(Failure.REDIRECTS, url, f"a redirect to {location!r}: {error}") from error


def _failure(url: Url, error: Exception) -> UpstreamError:
    """The reason value of what aiohttp or the socket raised."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RefusedAddressError):
            return UpstreamError(Failure.REFUSED_ADDRESS, url, str(cause))
        cause = cause.__cause__ or cause.__context__
    text = str(error) or type(error).__name__
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return UpstreamError(Failure.TIMEOUT, url, f"no answer in time ({text})")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return UpstreamError(Failure.TLS, url, f"its certificate or TLS cannot be accepted: {text}")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientProxyConnectionError | ConnectionError):
        return UpstreamError(Failure.UNREACHABLE, url, f"cannot be reached: {text}")
    return UpstreamError(Failure.BROKEN, url, f"broke off or made no sense: {text}")
