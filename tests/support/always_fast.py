"""A script for mitmdump, beside the addon: whatever the way of known heads can take goes it at first sight.

In use a head is known once it was answered on the ordinary way, so most requests of a test go that way. With this script a head that
is not known is read at once by the same reader, routed and judged by the same functions of `Intake`, and remembered if
`KnownHeads.remember` admits it; then the fast way is asked once more. Nothing is counted, logged or sent meanwhile.
"""

from __future__ import annotations

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode, validate_request
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestHeaders
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.proxy.addresses import canonical_address
from pkgcache.proxy.exchange import Exchange
from pkgcache.proxy.http1_server import LimitedHttp1Server
from pkgcache.proxy.intake import Intake
from pkgcache.proxy.known_heads import HeadKey, KnownHead
from pkgcache.proxy.request_checks import destination, request_of, why_connect_refused, why_refused, why_too_long
from pkgcache.rules.policy.gate import Way
from pkgcache.rules.routing.package_hosts import Address

ordinary_head = Intake.from_known_head
ordinary_connect = Intake.known_connect


def load(_: Loader) -> None:
    """Let `Intake` learn what it does not know before it says no."""
    Intake.from_known_head = from_known_head  # type: ignore[assignment, method-assign]
    Intake.known_connect = known_connect  # type: ignore[assignment, method-assign]


def from_known_head(intake: Intake, key: HeadKey, client: Client) -> Exchange | None:
    """`Intake.from_known_head`, at first sight."""
    exchange = ordinary_head(intake, key, client)
    if exchange is None and learn_request(intake, key, client):
        exchange = ordinary_head(intake, key, client)
    return exchange


def known_connect(intake: Intake, key: HeadKey) -> Address | None:
    """`Intake.known_connect`, at first sight."""
    address = ordinary_connect(intake, key)
    if address is None and learn_connect(intake, key):
        address = ordinary_connect(intake, key)
    return address


def learn_request(intake: Intake, key: HeadKey, client: Client) -> bool:
    """Remember the head of a request that may be answered from memory. Returns whether it has come to that."""
    (host, port, mode, _), head = key
    request = None if _is_unable(intake) else read_alone(head, mode)
    if request is None or request.method == "CONNECT":
        return False
    context = Context(client, ctx.options)
    context.server.address = (host, port) if mode is HTTPMode.transparent and host else None
    target = destination(context, mode, request, intake.public)
    # The uses of a learned host are counted, so none is routed here; no head of theirs is remembered either.
    if target is None or not (target.at_proxy or intake.router.hosts.is_configured_by_operator(target.address)):
        return False
    headers = CIMultiDict([(k.decode("latin-1"), v.decode("latin-1")) for k, v in request.headers.fields])
    asked = request_of(client, request, target, CIMultiDictProxy(headers), intake.router.inner_path)
    barred = intake._why_barred(client, asked, headers, ours=True)
    if barred or why_refused(mode, request, target, ends=True) or why_too_long(asked):
        return False
    route, way = intake._route(asked)
    if route is None or way is not Way.ANSWER or intake._why_stopped(asked, route, way):
        return False
    answer = intake.service.from_memory(asked, route)
    if answer is None or not intake._is_settled(asked):
        return False
    intake._heads.remember(key, KnownHead(asked, route, answer))
    return True


def learn_connect(intake: Intake, key: HeadKey) -> bool:
    """Remember the head of a CONNECT to a package host. Returns whether it has come to that."""
    (*_, mode, _), head = key
    request = None if _is_unable(intake) or mode is HTTPMode.transparent else read_alone(head, mode)
    if request is None or request.method != "CONNECT" or why_connect_refused(request):
        return False
    address = canonical_address((request.host, request.port))
    if intake.intercepts(address) or not intake.router.hosts.is_package_host(address):
        return False
    intake.remember_connect(key, address)
    return True


def read_alone(head: bytes, mode: HTTPMode) -> http.Request | None:
    """Return the request of which these bytes are the head and the whole, as the ordinary way reads it; else None."""
    server = LimitedHttp1Server(Context(Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2)), ctx.options))
    said: list[commands.Command] = []
    for event in (events.Start(), events.DataReceived(server.conn, head)):
        said += server.handle_event(event)
    match said:
        case [ReceiveHttp(event=RequestHeaders(request=request, end_stream=True)), *_] if server.head == head:
            return None if validate_request(mode, request, ctx.options.validate_inbound_headers) else request
    return None


def _is_unable(intake: Intake) -> bool:
    return intake.closing or intake.shows_flows or intake._authenticator.is_active
