"""Which requests are served from the cache, and which of them are under way.

`Intake.admit_request` makes the checks that mitmproxy's addons would have made, since the fast path answers before they are asked:
login, `pypi_cache_other_hosts=deny`, then method, body and Host. What it does not admit becomes an ordinary mitmproxy flow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.service import Service
from pkgcache.proxy.authentication import Authenticator
from pkgcache.proxy.exchange import Exchange
from pkgcache.proxy.request_checks import destination, public_address, why_refused
from pkgcache.rules.routing.package_hosts import Address
from pkgcache.rules.routing.routes import Uncacheable
from pkgcache.rules.routing.urls import Url
from pkgcache.web.endpoints import ProxyPages

logger = logging.getLogger(__name__)


class Intake:
    """Decides about requests for one `Service`, and keeps the exchanges that are under way, by client."""

    def __init__(
        self,
        service: Service,
        pages: ProxyPages,
        authenticator: Authenticator,
        *,
        shows_flows: bool,
        log: Callable[[Exchange], None],
    ) -> None:
        self.service = service
        self.router = service.router
        self.pages = pages
        self.public_address = public_address(service.settings.public_url)
        self.shows_flows = shows_flows
        self.via = f"1.1 {service.instance}"
        self._authenticator = authenticator
        self._log = log
        self._exchanges: dict[str, set[Exchange]] = {}

    def intercepts(self, address: Address) -> bool:
        """Whether mitmproxy itself handles a CONNECT to this host (`pypi_cache_other_hosts=intercept`)."""
        return self.service.settings.other_hosts == "intercept" and not self.router.hosts.is_package_host(address)

    def admit_request(self, context: Context, mode: HTTPMode, request: http.Request, *, ends: bool) -> Exchange | None:
        """Return an `Exchange` if the request is answered here, or None to let mitmproxy handle it as an ordinary flow.

        The exchange has its response already where the request is refused. `ends`: the request has no body.
        """
        target = destination(context, mode, request, self.public_address)
        if target is None:
            return None
        ours = target.at_proxy or self.router.hosts.is_package_host(target.address)
        settings = self.service.settings
        if not ours and (mode is HTTPMode.transparent or settings.other_hosts != "deny"):
            return None
        path, _, query = request.path.partition("?")
        headers = CIMultiDict([(k.decode("latin-1"), v.decode("latin-1")) for k, v in request.headers.fields])
        # Login first: before it nobody learns which hosts are package hosts.
        refusal = self._authenticator.refusal(context.client, path, headers, at_proxy=target.at_proxy)
        host, port = target.address
        if refusal is None and not ours:
            refusal = Response.text(403, f"{host}:{port} is not a package host, and pypi_cache_other_hosts=deny")
        if refusal is None:
            if request.method not in {"GET", "HEAD"} and not target.at_proxy:
                return None  # an upload or a login: the origin's business
            refusal = why_refused(mode, request, target, ends=ends)
        asked = Request(
            method=request.method,
            url=Url(target.scheme, host, port, path or "/", query),
            headers=CIMultiDictProxy(headers),
            at_proxy_address=target.at_proxy,
            client=str(context.client.peername[0]),
        )
        route = None
        if refusal is None and not (target.at_proxy and self.pages.has(path)):
            route = self.service.route(asked)
            if isinstance(route, Uncacheable) and not target.at_proxy:
                if not settings.offline:
                    return None
                refusal = Response.text(
                    504, f"{asked.url}: the store does not keep this, and the proxy is offline (pypi_cache_offline)"
                )
        exchange = Exchange(
            request=asked,
            route=route,
            source=request,
            client=context.client,
            finished=self._finished,
            response=refusal,
        )
        self._exchanges.setdefault(context.client.id, set()).add(exchange)
        return exchange

    def client_left(self, client: Client) -> None:
        """End the exchanges of a client that has disconnected, and with them the reads that they wait for."""
        for exchange in tuple(self._exchanges.get(client.id, ())):
            exchange.leave()

    def _finished(self, exchange: Exchange) -> None:
        exchanges = self._exchanges[exchange.client.id]
        exchanges.discard(exchange)
        if not exchanges:
            del self._exchanges[exchange.client.id]
        self.service.metrics.sent(exchange.sent)
        self._log(exchange)

    def try_from_memory(self, exchange: Exchange) -> Response | None:
        """Return the response where it needs neither waiting nor the disk, else None."""
        if exchange.route is None:
            return None
        try:
            return self.service.try_from_memory(exchange.request, exchange.route)
        except Exception as error:  # noqa: BLE001  this is only a short cut: `Service.answer` may still succeed
            self.report_fault(f"answering {exchange.request.url} from memory", error)
            return None

    def report_fault(self, doing: str, error: BaseException) -> None:
        """Log and count a failure of this proxy's own code, with its traceback."""
        self.service.metrics.fault()
        logger.error("%s failed: %s: %s", doing, type(error).__name__, error, exc_info=error)
