"""Which requests are served from the cache, and which of them are under way.

`Intake.admit_request` makes the checks that mitmproxy's addons would have made, since the fast path answers before they are asked:
login, `pypi_cache_other_hosts=deny`, then method, body and Host. Then every request to a package host is routed, whatever its method
and headers (`rules.policy.gate`). What is neither answered nor refused becomes an ordinary mitmproxy flow; a request for a page or a
file only after `answer` has held it to the operator's rules.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses.failures import failed
from pkgcache.engine.responses.messages import MOST_AT_ONCE, Request, Response
from pkgcache.engine.service import Service
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.proxy.authentication import Authenticator
from pkgcache.proxy.exchange import Exchange, ExchangeWithBody, as_finished, plain_response
from pkgcache.proxy.known_heads import HeadKey, KnownHead, KnownHeads, is_small
from pkgcache.proxy.request_checks import (
    destination,
    destination_url,
    drop_upgrade,
    public_place,
    request_of,
    unavailable,
    why_refused,
    why_too_long,
)
from pkgcache.rules.policy.gate import Way, way_of
from pkgcache.rules.routing.package_hosts import Address
from pkgcache.rules.routing.routes import Route, Unclear
from pkgcache.web.endpoints import ProxyPages

logger = logging.getLogger(__name__)

FORBIDDEN = "Connection killed: "
"""How mitmproxy begins the error where the hook `server_connect` has forbidden the connection."""

READY_SECONDS = 5.0
"""How long a client that comes right after the start waits for the learned hosts, which are read in a few milliseconds."""


class Intake:
    """Decides about requests for one `Service`, and keeps the exchanges that are under way, by client.

    `exiting` tells whether the process has been told to stop.
    """

    def __init__(
        self,
        service: Service,
        pages: ProxyPages,
        authenticator: Authenticator,
        *,
        shows_flows: bool,
        log: Callable[[Exchange], None],
        exiting: Callable[[], bool],
    ) -> None:
        self.service = service
        self.router = service.router
        self.pages = pages
        self.public = public_place(service.settings.public_url)
        self.shows_flows = shows_flows
        self._closed = False
        self._exiting = exiting
        self.via = f"1.1 {service.instance}"
        self._authenticator = authenticator
        self._log = log
        self.exchanges: dict[str, set[Exchange]] = {}
        self._heads = KnownHeads(service.settings.known_heads, service.from_memory)
        self._heads_of = service.hosts.version  # the version of the learned hosts that the heads were routed by

    @property
    def closing(self) -> bool:
        """Whether whatever is new is refused: from the signal to stop on, or from a change of options on, until the process ends."""
        return self._closed or self._exiting()

    def close(self) -> None:
        """Refuse whatever is new from now on; an intake stays until the end of its clients' connections."""
        self._closed = True

    async def is_open(self) -> bool:
        """Wait until the service is ready. Returns whether a client may be let in."""
        return not self.closing and await self.service.wait_until_ready(READY_SECONDS) and not self.closing

    def intercepts(self, address: Address) -> bool:
        """Whether mitmproxy itself handles a CONNECT to this host (`pypi_cache_other_hosts=intercept`)."""
        return self.service.settings.other_hosts == "intercept" and not self.router.hosts.is_package_host(address)

    def admit_request(self, context: Context, mode: HTTPMode, request: http.Request, *, ends: bool) -> Exchange | None:
        """Return an `Exchange` if the request is answered or judged here, or None to let mitmproxy handle it as an ordinary flow.

        The exchange has its response already where the request is refused. `ends`: the request has no body.
        """
        target = destination(context, mode, request, self.public)
        if target is None:
            return None
        ours = target.at_proxy or self.router.hosts.is_package_host(target.address)
        denies = mode is not HTTPMode.transparent and self.service.settings.other_hosts == "deny"
        if not (ours or denies or self.closing):
            return None
        headers = CIMultiDict([(k.decode("latin-1"), v.decode("latin-1")) for k, v in request.headers.fields])
        asked = request_of(context.client, request, target, CIMultiDictProxy(headers), self.router.inner_path)
        route: Route | None = None
        way = Way.ANSWER
        refusal = self._why_barred(context.client, asked, headers, ours=ours)
        changes = request.method == "POST" and self.pages.takes_changes(asked)
        refusal = refusal or why_refused(mode, request, target, ends=ends, changes=changes) or why_too_long(asked)
        if refusal is None:
            route, way = self._route(asked)
            refusal = self._why_stopped(asked, route, way)
        if refusal is None and way is not Way.ANSWER:
            drop_upgrade(request)
            if way is Way.PASS:
                return None
        exchange = (ExchangeWithBody if changes else Exchange)(
            request=asked,
            route=route,
            passes=way is Way.JUDGE,
            source=request,
            client=context.client,
            finished=self._finished,
            response=refusal,
            user=self._authenticator.user_of(context.client),
        )
        self.exchanges.setdefault(context.client.id, set()).add(exchange)
        return exchange

    def _why_barred(self, client: Client, asked: Request, headers: CIMultiDict[str], *, ours: bool) -> Response | None:
        """Return the refusal of a request that may ask for nothing here, or None.

        The login comes first, so that nobody learns before it which hosts are package hosts. It takes its credentials out of `headers`.
        """
        if self.closing:
            return unavailable()
        at_proxy = asked.at_proxy_address
        refusal = self._authenticator.refusal(client, asked.url.path, headers, at_proxy=at_proxy)
        if refusal is None and not ours:
            return Response.text(403, f"{asked.url.authority} is no package host, and pypi_cache_other_hosts=deny")
        return refusal

    def _route(self, asked: Request) -> tuple[Route | None, Way]:
        """What the request means, and the way that it goes. No route: one of the proxy's own pages."""
        if not asked.at_proxy_address:
            route = self.service.route(asked)
            return route, way_of(route, method=asked.method, has_cookies="Cookie" in asked.headers)
        return (None if self.pages.has(asked.url.path) else self.service.route(asked)), Way.ANSWER

    def _why_stopped(self, asked: Request, route: Route | None, way: Way) -> Response | None:
        """Return the refusal of a request that may go nowhere, or None."""
        if isinstance(route, Unclear):
            return Response.text(404, f"{asked.url.origin}{asked.url.path}: {route.reason}", detail="unclear-path")
        return self._why_unreachable(asked) if way is Way.PASS else None

    def _why_unreachable(self, asked: Request) -> Response | None:
        """Return the answer to a request that would be passed on: offline, or to a host that has not answered for long; else None."""
        if self.service.settings.offline:
            why = "the store does not keep this, and the proxy is offline (pypi_cache_offline)"
            return Response.text(504, f"{asked.url}: {why}")
        try:
            self.service.client.breakers.begin(asked.url)
        except UpstreamError as error:
            return failed(str(asked.url), AllFailedError([error]), asked)
        return None

    def unreachable(self, request: http.Request, why: str) -> http.Response | None:
        """Return the answer where an ordinary flow cannot be connected to a package host: as for a page.

        None for another host, and for a connection that one of our rules forbids.
        """
        url = destination_url(request)
        if why.startswith(FORBIDDEN) or not self.router.hosts.is_package_host((url.host, url.port)):
            return None
        breakers = self.service.client.breakers
        breakers.failed(url.origin, why)
        error = UpstreamError(Failure.UNREACHABLE, url, why, origin=url.origin, dead=breakers.is_dead(url.origin))
        asked = Request(method=request.method, url=url, headers=CIMultiDictProxy(CIMultiDict()))
        response = failed(str(url), AllFailedError([error]), asked)
        return plain_response(response, with_body=request.method != "HEAD")

    async def answer(self, exchange: Exchange) -> Response | None:
        """Return the response to a request. None: it was only to be judged, and may be passed on."""
        if self.closing:
            return unavailable()
        if exchange.route is None:
            body = bytes(exchange.body) if isinstance(exchange, ExchangeWithBody) else b""
            return await self.pages.answer(exchange.request, body)
        if exchange.passes:
            return await self.service.gatekeeper.refusal(exchange.route) or self._why_unreachable(exchange.request)
        return await self.service.answer(exchange.request, exchange.route, exchange.wait_for_upstream)

    def passed_on(self, exchange: Exchange) -> None:
        """Forget an exchange whose request becomes an ordinary flow."""
        exchange.closed = True
        self._forget(exchange)

    def client_left(self, client: Client) -> None:
        """End the exchanges of a client that has disconnected, and with them the reads that they wait for."""
        for exchange in tuple(self.exchanges.get(client.id, ())):
            exchange.leave()

    def client_half_closed(self, client: Client) -> bool:
        """Note that a client has closed its sending side. Returns whether it counts as left: where its answer needs an upstream."""
        exchanges = tuple(self.exchanges.get(client.id, ()))
        left = [exchange for exchange in exchanges if exchange.half_close()]
        for exchange in left:
            exchange.leave()
        return bool(left) or not exchanges

    def _forget(self, exchange: Exchange) -> None:
        exchanges = self.exchanges[exchange.client.id]
        exchanges.discard(exchange)
        if not exchanges:
            del self.exchanges[exchange.client.id]

    def _finished(self, exchange: Exchange) -> None:
        self._forget(exchange)
        self._count_and_log(exchange)

    def _count_and_log(self, exchange: Exchange) -> None:
        over = as_finished(exchange)
        self.service.metrics.answered(over.status, over.cache.source, over.seconds, over.size)
        self.pages.activity.note(over, exchange.response)
        self._log(exchange)

    def try_from_memory(self, exchange: Exchange, head: HeadKey | None = None) -> Response | None:
        """Return the response where it needs neither waiting nor the disk, else None. Then the `head` of its request is remembered."""
        if exchange.route is None:
            return None
        asked = exchange.request
        answer = self._try(asked.url, self.service.from_memory, asked, exchange.route)
        response = None if answer is None else self._try(asked.url, answer)
        if answer and head and (response or is_small(exchange.route)) and self._is_settled(asked):
            self._heads.remember(head, KnownHead(asked, exchange.route, answer))
        return response

    def remember_connect(self, head: HeadKey | None, address: Address) -> None:
        """Remember the head of a CONNECT to a package host."""
        if head and not self.shows_flows and not self._authenticator.is_active:
            self._heads.remember_connect(head, address)

    def known_connect(self, head: HeadKey) -> Address | None:
        """Return where a CONNECT with a known head leads, if it may be answered as it was before."""
        barred = self.closing or self._authenticator.is_active
        address = None if barred else self._heads.address(head)
        return address if address and self.router.hosts.is_package_host(address) else None

    def _is_settled(self, request: Request) -> bool:
        """Whether this request may be answered by its head from now on. A learned host's uses are counted."""
        address = request.url.host, request.url.port
        configured = request.at_proxy_address or self.router.hosts.is_configured_by_operator(address)
        return configured and not self.shows_flows and not self._authenticator.is_active

    def _try[**P, T](self, what: object, work: Callable[P, T | None], *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return work(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  this is only a short cut: `Service.answer` may still succeed
            self.report_fault(f"answering {what} from memory", error)
            return None

    def known(self, key: HeadKey) -> KnownHead | None:
        """Return what a head means, where its request may be answered as it was before."""
        if (version := self.service.hosts.version) != self._heads_of:
            self._heads.clear()
            self._heads_of = version
        barred = self.closing or self._authenticator.is_active
        return None if barred else self._try("a known head", self._heads.get, key)

    def from_known_head(self, key: HeadKey, client: Client) -> Exchange | None:
        """Return an exchange with its response, where a request with this head can be answered as it was before; else None."""
        if (known := self.known(key)) is None:
            return None
        response = self._try(known.request.url, known.answer)
        if response is None or not isinstance(response.body, bytes) or len(response.body) > MOST_AT_ONCE:
            return None
        self.service.metrics.known_head()
        same = known.request.client == (address := str(client.peername[0]))
        return Exchange(
            request=known.request if same else replace(known.request, client=address),
            route=known.route,
            source=None,
            client=client,
            finished=self._count_and_log,
            response=response,
        )

    def report_fault(self, doing: str, error: BaseException) -> None:
        """Log and count a failure of this proxy's own code, with its traceback."""
        self.service.metrics.fault()
        logger.error("%s failed: %s: %s", doing, type(error).__name__, error, exc_info=error)
