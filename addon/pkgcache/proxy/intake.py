"""What the lane asks before it takes a request: is it ours, may it be answered, and what does the answer look like.

The checks that mitmproxy's addons would have made come first: `proxyauth` (407 for proxied requests, 401 at the proxy's own
address; the pages that an agent needs before it has anything stay open), and for a tunnel to a package host that Host agrees with
the CONNECT's target, since the target is the key.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from mitmproxy import http
from mitmproxy.addons.proxyauth import parse_http_basic_auth
from mitmproxy.net.http import status_codes
from mitmproxy.proxy.layers.http import HTTPMode
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses.messages import Request, Response
from pkgcache.proxy.exchange import Exchange
from pkgcache.proxy.request_checks import _named_by, _public_address, canonical_address, why_refused
from pkgcache.proxy.tunnels import parent_address
from pkgcache.rules.routing.routes import Address, Uncacheable
from pkgcache.rules.routing.urls import Url

if TYPE_CHECKING:
    from mitmproxy.addons.proxyauth import ProxyAuth
    from mitmproxy.connection import Client, Server
    from mitmproxy.proxy.context import Context

    from pkgcache.engine.service import Service
    from pkgcache.web.endpoints import ProxyPages

logger = logging.getLogger(__name__)


OPEN_PAGES = frozenset({"/healthz", "/ca.pem", "/bundle.pem", "/env.sh"})


_REALM = 'Basic realm="pypi-cache"'


class Intake:
    """The lane's view of the service. One for each service; it keeps the exchanges that are under way."""

    def __init__(
        self,
        service: Service,
        pages: ProxyPages,
        *,
        proxyauth: ProxyAuth | None,
        shows_flows: bool,
        log: Callable[[Exchange], None],
    ) -> None:
        self.service = service
        self.pages = pages
        self.shows_flows = shows_flows
        self._proxyauth = proxyauth
        self._log = log
        self._public = _public_address(service.settings.public_url)
        self._exchanges: dict[str, set[Exchange]] = {}
        self._vetted: weakref.WeakSet[Server] = weakref.WeakSet()

    # Hosts

    def is_package_host(self, address: Address) -> bool:
        """Whether TLS to this host is opened."""
        return self.service.is_package_host(address)

    def intercepts(self, address: Address) -> bool:
        """Whether a CONNECT to this host goes mitmproxy's own way (`pypi_cache_other_hosts=intercept`)."""
        return self.service.settings.other_hosts == "intercept" and not self.is_package_host(address)

    def own_address(self, address: Address, client: Client) -> bool:
        """Whether this is the proxy itself: the address that the client's socket has reached, or `pypi_cache_public_url`."""
        host, port = client.sockname[0], client.sockname[1]
        return address == self._public or (
            address[1] == port and address[0] in {host, "localhost" if host in {"127.0.0.1", "::1"} else host}
        )

    def vet(self, server: Server) -> None:
        """Take note that a connection's address has been looked at (a tunnel's)."""
        self._vetted.add(server)

    def vetted(self, server: Server) -> bool:
        """Whether a connection may be made without another look: a tunnel's, to an operator's host, or to the parent proxy."""
        if server in self._vetted or server.address is None:
            return True
        parent = self.service.client.parent
        address = (server.address[0], server.address[1])
        return self.service.router.is_configured_by_operator(address) or (
            parent is not None and parent_address(parent)[1] == address
        )

    # Requests

    def admit_request(self, context: Context, mode: HTTPMode, request: http.Request, *, ends: bool) -> Exchange | None:
        """An exchange if the lane takes this request (it may have its reply already), None for an ordinary flow."""
        own, address, scheme = self._destination(context, mode, request)
        if address is None or not (own or self.is_package_host(address) or self._denies(mode)):
            return None
        path, _, query = request.path.partition("?")
        headers = CIMultiDict((k.decode("latin-1"), v.decode("latin-1")) for k, v in request.headers.fields)
        refusal = self._authenticate(context.client, path, headers, own=own)
        if refusal is None and not own and not self.is_package_host(address):
            refusal = Response.text(
                403, f"{address[0]}:{address[1]} is no package host, and pypi_cache_other_hosts=deny"
            )
        if refusal is None:
            if request.method not in {"GET", "HEAD"} and not own:
                return None
            refusal = why_refused(mode, request, address, scheme, own=own, ends=ends)
        url = Url(scheme, *address, path or "/", query)
        exchange = self._exchange(context, request, url, headers, own=own, reply=refusal)
        if refusal or (own and self.pages.has(path)):
            return exchange
        exchange.route = self.service.route(exchange.request)
        if isinstance(exchange.route, Uncacheable) and not own:
            if not self.service.settings.offline:
                self._forget(exchange)
                return None
            exchange.response = Response.text(
                504, f"{url}: the store does not keep it, and the proxy is offline (pypi_cache_offline)"
            )
        return exchange

    def _denies(self, mode: HTTPMode) -> bool:
        return mode is not HTTPMode.transparent and self.service.settings.other_hosts == "deny"

    def _destination(self, context: Context, mode: HTTPMode, request: http.Request) -> tuple[bool, Address | None, str]:
        """(is it the proxy's own address, the address, the scheme): from the CONNECT's target, the absolute form, or the socket."""
        client = context.client
        scheme = "https" if client.tls_established else "http"
        if mode is HTTPMode.transparent:  # inside a CONNECT, or mitmproxy's reverse and transparent modes
            address = context.server.address
            return False, canonical_address((address[0], address[1])) if address else None, scheme
        if not request.host:  # origin-form on the outermost layer, whatever its Host says
            return True, self._public or _named_by(request, scheme) or (client.sockname[0], client.sockname[1]), scheme
        address = canonical_address((request.host, request.port))
        return self.own_address(address, client), address, request.scheme

    def _authenticate(
        self,
        client: Client,
        path: str,
        headers: CIMultiDict[str],
        *,
        own: bool,
    ) -> Response | None:
        """mitmproxy's `proxyauth`, which the lane goes past: None if there is nothing to say against the request."""
        auth = self._proxyauth
        if auth is None or auth.validator is None or client in auth.authenticated or (own and path in OPEN_PAGES):
            return None
        name = "Authorization" if own else "Proxy-Authorization"
        try:
            _, user, password = parse_http_basic_auth(headers.get(name, ""))
            valid = auth.validator(user, password)
        except ValueError:
            valid = False
        if valid:
            headers.pop(name, None)
            return None
        reply = Response.text(401 if own else 407, "this proxy wants a user name and a password")
        reply.headers["WWW-Authenticate" if own else "Proxy-Authenticate"] = _REALM
        return reply

    # Exchanges

    def _exchange(
        self,
        context: Context,
        source: http.Request,
        url: Url,
        headers: CIMultiDict[str],
        *,
        own: bool,
        reply: Response | None,
    ) -> Exchange:
        client = context.client
        request = Request(
            method=source.method,
            url=url,
            headers=CIMultiDictProxy(headers),
            at_proxy_address=own,
            client=str(client.peername[0]),
        )
        exchange = Exchange(
            request=request, route=None, source=source, client=client, finished=self._finished, response=reply
        )
        self._exchanges.setdefault(client.id, set()).add(exchange)
        return exchange

    def _forget(self, exchange: Exchange) -> None:
        exchanges = self._exchanges.get(exchange.client.id, set())
        exchanges.discard(exchange)
        if not exchanges:
            self._exchanges.pop(exchange.client.id, None)

    def _finished(self, exchange: Exchange) -> None:
        self._forget(exchange)
        self.service.metrics.sent(exchange.sent)
        self._log(exchange)

    def client_left(self, client: Client) -> None:
        """End what this client was waiting for."""
        for exchange in tuple(self._exchanges.get(client.id, ())):
            exchange.leave()

    # Answers

    def try_from_memory(self, exchange: Exchange) -> Response | None:
        """The reply, where it takes neither waiting nor a look at the disk."""
        if exchange.route is None:
            return None
        try:
            return self.service.try_from_memory(exchange.request, exchange.route)
        except Exception as error:  # noqa: BLE001  whatever it was, the ordinary way may do
            self.fault(f"answering {exchange.request.url} at once", error)
            return None

    def response(self, exchange: Exchange, reply: Response) -> http.Response:
        """The reply as mitmproxy sends it."""
        headers = reply.headers
        headers["Cache-Status"] = str(reply.cache)
        headers["Via"] = f"1.1 {self.service.instance}"
        headers.setdefault("Content-Length", "0") if not reply.body and reply.status not in {204, 304} else None
        if "Transfer-Encoding" in headers:
            headers.pop("Content-Length", None)
            if (
                exchange.source.http_version == "HTTP/1.0"
            ):  # RFC 9112 §6.1: no transfer coding for it; the end is the close
                del headers["Transfer-Encoding"]
                headers["Connection"] = "close"
        now = time.time()
        return http.Response(
            b"HTTP/1.1",
            reply.status,
            status_codes.RESPONSES.get(reply.status, "").encode(),
            http.Headers(
                [(k.encode("latin-1", "replace"), v.encode("latin-1", "replace")) for k, v in headers.items()]
            ),
            None,
            None,
            exchange.started,
            now,
        )

    def fault(self, doing: str, error: BaseException) -> None:
        """This proxy's own code failed: logged with its traceback, and counted."""
        self.service.metrics.fault()
        logger.error("%s failed: %s: %s", doing, type(error).__name__, error, exc_info=error)
