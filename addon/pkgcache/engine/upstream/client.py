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
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import aiohttp
import yarl
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.upstream.bounded_reading import bound_reading
from pkgcache.engine.upstream.breakers import Breakers
from pkgcache.engine.upstream.errors import Failure, UpstreamError, redirected
from pkgcache.engine.upstream.guard import GuardedResolver, MayBePrivate, check_literal
from pkgcache.engine.upstream.lenient_heads import MAX_FIELDS, MAX_HEAD, LenientConnector
from pkgcache.engine.upstream.parent_proxy import ParentProxy
from pkgcache.engine.upstream.places import ASKER, Places, waiting_for_upstream
from pkgcache.engine.upstream.response import Cookies, UpstreamResponse, as_upstream_error, first_answer
from pkgcache.engine.upstream.trust import upstream_ssl_context
from pkgcache.rules.http.user_agent import sent_agent
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

MAX_REDIRECTS = 8

READ_BUFFER = 512 * 1024
"""aiohttp pauses reading at twice this; with its default of 64 KiB the socket stops and starts within each chunk."""

type JudgeRedirect = Callable[[Url, Url, Url], Awaitable[Verdict]]


async def _follow(_asked: Url, _previous: Url, target: Url) -> Verdict:
    return Followed(target)


_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class UpstreamClient:
    """The session.

    `via` is this proxy's entry in the Via header, by which a loop is found. `trust` replaces the roots of `trust.py`. `read_seconds` is
    how long to wait for an answer to begin, and for each piece of its body. `limits`: of the places at each upstream. `judge` decides
    about a redirect by three URLs: the one that was asked first, the one that answered, and the one that it leads to. `mirrors`: origins,
    each with the `Authorization` that the operator has given for it, for `is_shut_out`.
    """

    def __init__(
        self,
        *,
        may_be_private: MayBePrivate,
        via: str,
        parent: ParentProxy | None = None,
        trust: ssl.SSLContext | None = None,
        read_seconds: float | None = None,
        limits: PlaceLimits | None = None,
        judge: JudgeRedirect = _follow,
        mirrors: Collection[tuple[str, str]] = frozenset(),
    ) -> None:
        self.parent = parent
        self.places = Places(limits)
        self._may_be_private = may_be_private
        self._via = via
        self._trust = trust
        self._read_seconds = READ_SECONDS if read_seconds is None else read_seconds
        self._judge = judge
        self._session: aiohttp.ClientSession | None = None
        self.breakers = Breakers()
        self._mirrors = mirrors
        self._unauthorized: set[tuple[str, str]] = set()  # of the mirrors

    def open(self) -> None:
        """Make the session; needs a running event loop. Raises OSError where the trusted roots cannot be read."""
        connector = LenientConnector(
            limit=0,
            ssl=self._trust or upstream_ssl_context(),
            resolver=GuardedResolver(self._may_dial_private),
            keepalive_timeout=30,
            ttl_dns_cache=60,
        )
        bound_reading(connector)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            read_bufsize=READ_BUFFER,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding"),
            max_line_size=MAX_HEAD,
            max_field_size=MAX_HEAD,
            max_headers=MAX_FIELDS,
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
        return self.breakers.is_open(url)

    def is_shut_out(self, url: Url, authorization: str) -> bool:
        """Whether a mirror has last answered 401, with what the operator has given for it. No client can cure that."""
        return (url.origin, authorization) in self._unauthorized

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
        began = self.breakers.begin(url)
        waiting_for_upstream()
        timeouts = (
            SOLE_SOURCE_SECONDS if sole_source and not self.breakers.is_dead(url.origin) else (self._read_seconds,)
        )
        async with (
            self.places.held(url, ASKER.get()),
            self._followed(method, url, headers, authorization, timeouts, began) as found,
        ):
            yield found

    @asynccontextmanager
    async def _followed(
        self,
        method: str,
        asked: Url,
        headers: Mapping[str, str],
        authorization: str,
        timeouts: Sequence[float],
        began: float,
    ) -> AsyncIterator[UpstreamResponse]:
        """Make one request, and follow its redirects hop by hop."""
        origin = asked.origin
        credentials = {origin: authorization}
        cookies = Cookies()
        targets = [asked]

        def hop(target: Url, timeouts: Sequence[float]) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
            agent = sent_agent(ASKER.get().product)
            sent = {"User-Agent": agent, "Via": self._via, **headers, **cookies.for_url(target)}
            if credentials.get(target.origin):
                sent["Authorization"] = credentials[target.origin]
            blamed = origin if len(targets) == 1 else target.origin
            return self._hop(method, target, sent, asked, timeouts, began, blamed)

        for _ in range(MAX_REDIRECTS + 1):
            async with first_answer(targets, hop, timeouts, self.breakers) as (url, response):
                cookies.keep(response)
                if response.status in _REDIRECTS and (location := response.headers.get("Location")):
                    verdict = await self._judge(asked, url, target := redirected(url, location))
                    if isinstance(verdict, Barred):
                        raise UpstreamError(Failure.REDIRECTS, asked, f"it redirects to {target}, {verdict.reason}")
                    if not isinstance(verdict, Followed):
                        yield self._absent(asked)
                        return
                    sources = self.healthy_first([(verdict.url, verdict.authorization), *verdict.others])
                    targets = [source for source, _ in sources]
                    credentials = {source.origin: given for source, given in sources if given} | credentials
                    continue
                self.breakers.note(origin, response.status, response.headers)
                if (mirror := (origin, authorization)) in self._mirrors:
                    (self._unauthorized.add if response.status == 401 else self._unauthorized.discard)(mirror)
                yield UpstreamResponse(
                    url=url,
                    status=response.status,
                    headers=response.headers,
                    asked=asked,
                    _content=response.content,
                    _transport=response.connection.transport if response.connection else None,
                    _record_failure=partial(self.breakers.failed, origin, "it broke off", heard=True),
                    _read_seconds=self._read_seconds,
                )
                return
        raise UpstreamError(Failure.REDIRECTS, asked, f"more than {MAX_REDIRECTS} redirects, the last to {targets[0]}")

    def _absent(self, asked: Url) -> UpstreamResponse:
        """A 404 of our own making, where the upstream may not lead to what has the name."""
        none, empty = CIMultiDictProxy(CIMultiDict[str]()), aiohttp.streams.EMPTY_PAYLOAD
        return UpstreamResponse(asked, 404, none, asked, empty, None, lambda: None, self._read_seconds)

    @asynccontextmanager
    async def _hop(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        asked: Url,
        timeouts: Sequence[float],
        began: float,
        blamed: str,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make one request without following a redirect. Its error names the URL that was asked, and where that has led.

        `blamed` is the origin whose breaker counts a failure.
        """
        try:
            check_literal(url, self._may_be_private)
            response = await self._response_head(method, url, headers, timeouts)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            failure = as_upstream_error(asked, error)
            if url != asked:
                failure = UpstreamError(failure.failure, asked, f"it redirects to {url}: {failure.detail}")
            if failure.failure is not Failure.REFUSED_ADDRESS:
                heard = (url != asked and blamed == asked.origin) or _has_answered(error)
                self.breakers.failed(blamed, failure.detail, asked=began, heard=heard)
                failure.dead = self.breakers.is_dead(asked.origin)
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


def _has_answered(error: Exception) -> bool:
    """Whether the upstream has sent something, if no valid head: that may be so for one page alone. A parent proxy's refusal is not its."""
    return isinstance(error, aiohttp.ClientResponseError) and error.request_info.method != "CONNECT"
