"""The addon: thin hooks that translate between mitmproxy and the house. Everything hangs from its instance; `done` closes it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable
from collections.abc import Set as AbstractSet
from typing import Any

from mitmproxy import ctx, exceptions, http, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client
from mitmproxy.proxy import commands, layer, server_hooks
from mitmproxy.proxy.layers import ClientTLSLayer, HttpLayer, ServerTLSLayer
from mitmproxy.proxy.mode_specs import ProxyMode, UpstreamMode

from pkgcache.engine.responses.messages import CutShortError, Response
from pkgcache.engine.service import Service, check
from pkgcache.engine.store.format import StoreFormatError
from pkgcache.engine.upstream.parent_proxy import parent_proxy
from pkgcache.proxy import certificates, options, tunnels
from pkgcache.proxy.access_log import AccessLog
from pkgcache.proxy.connect import FastPathHook
from pkgcache.proxy.exchange import Exchange, TunnelPlan
from pkgcache.proxy.fast_path import FastPathLayer, FastPathTlsLayer
from pkgcache.proxy.intake import Intake
from pkgcache.proxy.request_checks import canonical_address
from pkgcache.settings import PREFIX, SettingError, make_settings
from pkgcache.web.endpoints import ProxyPages

logger = logging.getLogger(__name__)


class PypiCache:
    """mitmproxy's hooks; the lane's own are those whose names begin with `pypi_cache_`."""

    def __init__(self) -> None:
        self.service: Service | None = None
        self.intake: Intake | None = None
        self._log: AccessLog | None = None
        self._trust = certificates.FlowTrust()
        self._refused = False

    # Life

    def load(self, loader: Loader) -> None:
        """Check what was given, and add the options."""
        try:
            check(make_settings(options.raw_values(ctx.options)))
        except SettingError as error:
            self._refused = True
            for name in [name for name in ctx.options.deferred if name.startswith(PREFIX)]:
                del ctx.options.deferred[name]
            logger.error("%s", error)  # noqa: TRY400  one line, no traceback
        options.add_options(loader)

    def configure(self, updated: AbstractSet[str]) -> None:
        """Open the house before mitmproxy listens; later, refuse a wrong change, and let a good one take effect at once."""
        if self._refused or {"--options", "--commands"} & set(sys.argv):  # these only print, and open no store
            return
        if self.service is None:
            self._open()
            return
        if not any(name.startswith(PREFIX) for name in updated):
            return
        try:
            settings = options.current_settings(ctx.options)
            check(settings)
        except SettingError as error:
            raise exceptions.OptionsError(str(error)) from error
        if settings != self.service.settings:
            self.done()
            self._open()

    def _open(self) -> None:
        """Open store and session; from here on the lane answers."""
        try:
            settings = options.current_settings(ctx.options)
            log = _access_log(settings.access_log)
            service = Service(settings)
            service.client.parent = self._parent()
            service.open()
        except (SettingError, StoreFormatError, OSError) as error:
            self._refused = True
            logger.error("%s", error)  # noqa: TRY400  one line, no traceback
            return
        pages = ProxyPages(
            service, certificates.ca_file(ctx.options.confdir), lambda: certificates.bundle(ctx.options.confdir)
        )
        self.service, self._log = service, log
        self.intake = Intake(
            service,
            pages,
            proxyauth=ctx.master.addons.get("proxyauth"),
            shows_flows=self._shows_flows(settings.flows),
            log=log.write,
        )

    def running(self) -> None:
        """Say where it listens and what to paste on an agent."""
        if self.intake is None:
            return
        ctx.options.update(http2=False)  # mitmproxy's HTTP/2 towards clients has unbounded send buffers
        for line in self.intake.pages.greeting(self._listens()):
            logger.info("%s", line)

    def done(self) -> Awaitable[None]:
        """Close everything; mitmproxy awaits what this returns when it exits, and ignores it on a reload."""
        service, log = self.service, self._log
        self.service = self.intake = self._log = None

        async def close() -> None:
            if service is not None:
                await service.close()
            if log is not None:
                log.close()

        return asyncio.ensure_future(close())

    # Layers

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        """Put the lane where mitmproxy's own NextLayer addon chooses its HTTP layer (scripts are asked before that addon)."""
        if self.intake is None:
            return
        ctx.master.addons.get("nextlayer").next_layer(nextlayer)
        if nextlayer.layer is not None:
            nextlayer.layer = _with_fast_path(nextlayer.layer, self.intake)

    def tls_start_server(self, data: tls.TlsData) -> None:
        """Ordinary flows trust what fills trust (scripts are asked before mitmproxy's TlsConfig, so that one goes first here)."""
        ctx.master.addons.get("tlsconfig").tls_start_server(data)
        if data.ssl_conn is not None:
            self._trust.extend(data.ssl_conn.get_context())

    async def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        """An ordinary flow must not reach this machine or its link either, unless the operator's words name the host."""
        if self.intake is not None and not data.server.error and not self.intake.vetted(data.server):
            data.server.error = await tunnels.refusal_of(data.server, self.intake.service.settings) or None

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Ordinary flows of regular mode go by the parent proxy of the environment too."""
        if self.service is not None and not flow.server_conn.connected and flow.server_conn.via is None:
            flow.server_conn.via = tunnels.parent_of(flow.request.host, flow.client_conn, self.service.client.parent)
            if flow.server_conn.via and flow.request.scheme == "http":
                self._sign(flow)

    def http_connect_upstream(self, flow: http.HTTPFlow) -> None:
        """A CONNECT to the parent proxy."""
        self._sign(flow)

    def _sign(self, flow: http.HTTPFlow) -> None:
        """Credentials of the environment's parent proxy (mitmproxy's `upstream_auth` signs for `--mode upstream:`)."""
        credentials = tunnels.credentials_of(self.service.client.parent) if self.service is not None else ""
        if credentials:
            flow.request.headers["Proxy-Authorization"] = credentials

    # The lane's own hooks

    async def pypi_cache_answer(self, exchange: Exchange) -> None:
        """Find the reply. Whatever fails in here becomes a 500, never a client that hangs."""
        desk = self.intake
        try:
            if desk is None:
                exchange.response = Response.text(503, "the proxy is closing")
            elif exchange.route is None:
                exchange.response = await desk.pages.answer(exchange.request)
            else:
                exchange.response = await desk.service.answer(exchange.request, exchange.route)
        except Exception as error:  # noqa: BLE001  the hook boundary
            if desk is not None:
                desk.fault(f"answering {exchange.request.method} {exchange.request.url}", error)
            exchange.response = Response.text(500, "pypi-cache failed; its log says why")
        if exchange.closed and exchange.response is not None and not isinstance(exchange.response.body, bytes):
            exchange.response.body.close()

    async def pypi_cache_chunk(self, exchange: Exchange) -> None:
        """Wait until the client can take more (this keeps memory flat), then read on."""
        reply = exchange.response
        try:
            handler = ctx.master.addons.get("proxyserver").connections.get(exchange.client.id)
            if handler is not None:
                await handler.drain_writers()
            if not exchange.gone and reply is not None and not isinstance(reply.body, bytes):
                exchange.chunk = await reply.body.read()
        except CutShortError as error:
            exchange.cut = str(error)
        except Exception as error:  # noqa: BLE001  the hook boundary
            exchange.cut = "pypi-cache failed; its log says why"
            if self.intake is not None:
                self.intake.fault(f"reading for {exchange.request.url}", error)

    async def pypi_cache_tunnel(self, plan: TunnelPlan) -> None:
        """Find where a tunnel may go."""
        if self.intake is None:
            plan.error = "the proxy is closing"
            return
        if self.intake.own_address(plan.address, plan.client):
            plan.refusal = "that is this proxy itself"
            return
        await tunnels.plan_tunnel(plan, self.intake.service.settings, self.intake.service.client.parent)

    def client_connected(self, client: Client) -> None:
        """From here on the lane's hooks come straight to this addon, past mitmproxy's other forty: a third of a hit's time."""
        handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
        if handler is None:
            return
        offer_to_all = handler.handle_hook

        async def handle_hook(hook: commands.StartHook) -> None:
            if isinstance(hook, FastPathHook):
                with handler.timeout_watchdog.disarm():
                    await getattr(self, hook.name)(*hook.args())
            else:
                await offer_to_all(hook)

        handler.handle_hook = handle_hook

    def client_disconnected(self, client: Client) -> None:
        """mitmproxy cancels no hook when its client leaves: its pulls end here."""
        if self.intake is not None:
            self.intake.client_left(client)

    # Surroundings

    def _listens(self) -> list[tuple[str, int]]:
        """Where the proxy listens: host and port."""
        return [(address[0], address[1]) for address in ctx.master.addons.get("proxyserver").listen_addrs()]

    def _parent(self) -> str | None:
        """The parent proxy: of `--mode upstream:`, else of the environment."""
        for mode in map(ProxyMode.parse, ctx.options.mode):
            if isinstance(mode, UpstreamMode):
                user = f"{ctx.options.upstream_auth}@" if ctx.options.upstream_auth else ""
                return f"{mode.scheme}://{user}{mode.address[0]}:{mode.address[1]}"
        port = ctx.options.listen_port or 8080  # asked before mitmproxy listens
        own = {(host, port) for host in ("127.0.0.1", "::1", "localhost", ctx.options.listen_host or "127.0.0.1")}
        parent, trouble = parent_proxy(own)
        if trouble:
            logger.warning("%s", trouble)
        return parent

    def _shows_flows(self, wish: str) -> bool:
        return wish == "always" or (wish == "auto" and ctx.master.addons.get("view") is not None)


def _access_log(target: str) -> AccessLog:
    try:
        return AccessLog(target)
    except OSError as error:
        reason = f"expected a file that can be written ({error.strerror})"
        raise SettingError(f"pypi_cache_access_log={target!r}: {reason}") from error


def _with_fast_path(chosen: layer.Layer, desk: Intake) -> layer.Layer:
    """The chosen stack of layers, with a LaneLayer in the place of exactly HttpLayer (it may be below a TLS layer).

    For a package host TLS is opened towards the client alone: the store may have all that is asked for.
    """
    context = chosen.context
    if type(chosen) is HttpLayer:
        context.layers.remove(chosen)
        return FastPathLayer(context, chosen.mode, desk)
    child: Any = getattr(chosen, "child_layer", None)
    if type(chosen) is ServerTLSLayer and type(child) is ClientTLSLayer:
        if context.server.address and desk.is_package_host(canonical_address(context.server.address)):
            context.layers.remove(chosen)
            context.layers.remove(child)
            context.server.tls = False  # the layer has set it; an ordinary flow opens a connection of its own
            return FastPathTlsLayer(context)
    elif type(child) is HttpLayer:
        chosen.child_layer = _with_fast_path(child, desk)  # type: ignore[attr-defined]
    return chosen
