"""The addon: mitmproxy's hooks, and its life from options to `done`.

mitmproxy reloads a script without reloading the modules it imports, so no state lives at module level: everything hangs from the
addon's instance, and `done` closes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from collections.abc import Set as AbstractSet

from mitmproxy import ctx, exceptions, http, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client
from mitmproxy.proxy import layer
from OpenSSL import SSL

from pkgcache.engine.responses.messages import CutShortError, Response
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.seat import said_by_one
from pkgcache.engine.service import Service
from pkgcache.engine.store.format import StoreFormatError
from pkgcache.proxy import certificates, mitmproxy_options, proxy_protocol, stopping
from pkgcache.proxy.access_log import AccessLog, open_access_log
from pkgcache.proxy.addresses import canonical_address
from pkgcache.proxy.agents_without_ca import AgentsWithoutCa
from pkgcache.proxy.authentication import Authenticator
from pkgcache.proxy.chunks import read_chunk
from pkgcache.proxy.client_connections import ClientConnections, accept_few_at_once
from pkgcache.proxy.exchange import Exchange, FastPathHook, HalfClose, TunnelPlan
from pkgcache.proxy.hook_table import HookTable
from pkgcache.proxy.host_tls import HostTls
from pkgcache.proxy.intake import Intake
from pkgcache.proxy.known_connection import carry_known
from pkgcache.proxy.layers import RefusingLayer, choose_layer
from pkgcache.proxy.log_lines import improve_lines, skip_add_log
from pkgcache.proxy.option_changes import CurrentOptions
from pkgcache.proxy.ordinary_flows import OrdinaryFlows, parent_proxy
from pkgcache.proxy.redaction import redact_flows, redact_logs
from pkgcache.proxy.request_checks import CLOSING, FAILED, is_proxy_address, unavailable
from pkgcache.proxy.retired import Retired
from pkgcache.proxy.tunnels import ITSELF, Tunnels
from pkgcache.settings import PREFIX, SettingError, make_settings
from pkgcache.web.activity import Activity
from pkgcache.web.endpoints import ProxyPages
from pkgcache.web.onboarding import greeting

logger = logging.getLogger(__name__)


class PypiCache:
    """mitmproxy's hooks. The fast path's own are those whose names begin with `pypi_cache_`.

    `service` and what belongs to it are None before the options are known, after a refused start, and after `done`.
    """

    def __init__(self) -> None:
        self._metrics, self._activity = Metrics(), Activity()  # they go on where options change
        self.service: Service | None = None
        self.intake: Intake | None = None
        self._connections = ClientConnections()
        self._log: AccessLog | None = None
        self._retired = Retired()
        self._trust = certificates.FlowTrust()
        self._host_tls = HostTls()
        self._hooks = HookTable(lambda: ctx.master.addons)
        self._refused = False
        self.flows = OrdinaryFlows(self._report)
        self._stopping = stopping.Stopping()
        self.addons = [self.flows, self._stopping, AgentsWithoutCa(), proxy_protocol.ProxyProtocol()]  # with hooks

    # Life

    def load(self, loader: Loader) -> None:
        """Check the options that were given, and add ours to mitmproxy's."""
        redact_logs()
        improve_lines(ctx.master.addons.get("termlog"))
        skip_add_log(ctx.master, lambda: self._hooks.listeners("add_log"))
        try:
            mitmproxy_options.check_settings(make_settings(mitmproxy_options.raw_values(ctx.options)))
        except SettingError as error:
            self._refused = True
            mitmproxy_options.forget_waiting(ctx.options)
            logger.error("%s", error)  # noqa: TRY400  one line, no traceback
        mitmproxy_options.add_options(loader)
        if not (self._refused or mitmproxy_options.only_prints()):
            certificates.name_new_ca(ctx.options, ctx.master.addons.get("tlsconfig"), certificates.process_started())

    def configure(self, updated: AbstractSet[str]) -> None:
        """Open the service before mitmproxy listens; later refuse a wrong change, and apply a right one at once."""
        self._host_tls.clear()
        if self._refused or mitmproxy_options.only_prints():
            return
        if self.service is None:
            self._open()
            return
        if not any(name.startswith(PREFIX) for name in updated):
            return
        try:
            settings = mitmproxy_options.current_settings(ctx.options)
            mitmproxy_options.check_settings(settings)
        except SettingError as error:
            raise exceptions.OptionsError(str(error)) from error
        if settings != self.service.settings and self.intake is not None and self._log is not None:
            self._retired.retire(self.intake, self._log)
            self.flows.close()
            self._open()

    def _open(self) -> None:
        """Open log, store and upstream session; from here on requests are answered."""
        try:
            settings = mitmproxy_options.current_settings(ctx.options)
            service = Service(settings, self._metrics)
            has_screen = ctx.master.addons.get("termlog") is None  # the console
            log = open_access_log(settings.access_log, service.health, has_screen=has_screen)
            service.client.parent = parent_proxy(ctx.options)
            service.open()
        except (SettingError, StoreFormatError, OSError) as error:
            self._refused = True
            logger.error("%s", error)  # noqa: TRY400  one line, no traceback
            return
        authenticator = Authenticator(ctx.master.addons.get("proxyauth"))
        own, seen, login = self._certificates(), self._activity, lambda: authenticator.is_active
        pages = ProxyPages(service, own.ca, own.bundle, seen, CurrentOptions(), requires_login=login)
        self.service, self._log = service, log
        parent, has_view = service.client.parent, ctx.master.addons.get("view") is not None
        tunnels = Tunnels(settings, service.router, parent, lambda: {port for _, port in self._listens()})
        self.flows.open(tunnels, parent, service.instance, service.client.breakers)
        self._connections.open(service.health)
        self.intake = Intake(
            service,
            pages,
            authenticator,
            shows_flows=settings.flows == "always" or (settings.flows == "auto" and has_view),
            log=log.write,
            exiting=self._stopping.has_begun,  # other scripts' `done` may come before ours, and take long
        )

    def running(self) -> None:
        """Log where the proxy listens, and the commands to paste into an agent's shell."""
        if self.intake is None:
            return
        accept_few_at_once(ctx.master.addons.get("proxyserver").servers)
        if (dumper := ctx.master.addons.get("dumper")) is not None:
            redact_flows(dumper, self._is_ours)
        ctx.options.update(http2=False)  # mitmproxy's HTTP/2 towards clients has unbounded send buffers
        for line in said_by_one(greeting(self.intake.service, self._listens())):
            logger.info("%s", line)

    def done(self) -> Awaitable[None]:
        """Close everything. mitmproxy awaits what this returns when it exits, and ignores it when it reloads the script."""
        service, log = self.service, self._log
        if self.intake is not None and ctx.master.should_exit.is_set():
            under_way = sum(map(len, self.intake.exchanges.values()))
            logger.info("pypi-cache stops; requests under way: %d", under_way)
        self.flows.close()
        self._connections.close()
        self.service = self._log = None
        if self.intake is not None:
            self.intake.close()  # it stays: without it mitmproxy would serve whoever comes, as if we were not there

        async def close() -> None:
            await self._retired.close()
            if service is not None:
                await service.close()
            if log is not None:
                log.close()

        return asyncio.ensure_future(close())

    # Layers

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        """Put the fast path where mitmproxy's NextLayer addon chooses HttpLayer; scripts are asked first, so it is called here."""
        try:
            choose_layer(nextlayer, self.intake)
        except Exception as error:  # noqa: BLE001  mitmproxy would log it, and then choose a layer without us
            self._report("choosing a layer", error)
            nextlayer.layer = RefusingLayer(nextlayer.context)

    def tls_start_client(self, data: tls.TlsData) -> None:
        """Give package hosts a TLS context of their own; scripts are asked before TlsConfig, which leaves such a connection alone."""
        address = data.context.server.address
        if self.intake is None or data.ssl_conn is not None or data.is_dtls or address is None:
            return
        if self.intake.router.hosts.is_package_host(canonical_address(address)):
            data.ssl_conn = self._new_tls(data)

    def _new_tls(self, data: tls.TlsData) -> SSL.Connection:
        return self._host_tls.connection(data, ctx.master.addons.get("tlsconfig"), ctx.options)

    def tls_start_server(self, data: tls.TlsData) -> None:
        """Let ordinary flows trust the roots that fills trust; scripts are asked before TlsConfig, so it is called here."""
        ctx.master.addons.get("tlsconfig").tls_start_server(data)
        if data.ssl_conn is not None:
            self._trust.extend(data.ssl_conn.get_context())

    # The fast path's own hooks

    async def pypi_cache_answer(self, exchange: Exchange) -> None:
        """Find the response. Whatever fails in here becomes a 500, never a client that hangs."""
        intake = self.intake
        exchange.answering = task = asyncio.current_task()
        try:
            exchange.response = await intake.answer(exchange) if intake is not None else unavailable()
        except asyncio.CancelledError:
            if not exchange.gone or task is None:
                raise
            task.uncancel()  # the client has left: mitmproxy waits for this hook all the same
        except Exception as error:  # noqa: BLE001  the hook boundary
            exchange.response = Response.text(500, FAILED)
            self._report(f"answering {exchange.request.method} {exchange.request.url}", error)
        finally:
            exchange.answering = None
        # The client left meanwhile, so the stream will not read this body; it may hold an open file or a place in a fill.
        if exchange.closed and exchange.response is not None and not isinstance(exchange.response.body, bytes):
            exchange.response.body.close()

    async def pypi_cache_chunk(self, exchange: Exchange) -> None:
        """Wait until the client can take more, then read on. mitmproxy buffers without limit, so this keeps memory flat."""
        try:
            await read_chunk(exchange, ctx.master.addons.get("proxyserver").connections.get(exchange.client.id))
        except CutShortError as error:
            exchange.cut = str(error)
        except Exception as error:  # noqa: BLE001  the hook boundary
            exchange.cut = FAILED
            self._report(f"reading for {exchange.request.url}", error)

    async def pypi_cache_drain(self, client: Client) -> None:
        """Wait until a client has taken its answers, before its next request is looked at."""
        await self._connections.drained(client)

    async def pypi_cache_half_close(self, half_close: HalfClose) -> None:
        """Decide whether a client that has closed its sending side is still to be answered."""
        half_close.has_left = self.intake is None or self.intake.client_half_closed(half_close.client)

    async def pypi_cache_tunnel(self, plan: TunnelPlan) -> None:
        """Find out where a tunnel may go."""
        try:
            tunnels = self.flows.tunnels
            if self.intake is None or tunnels is None:
                plan.error = CLOSING
            elif is_proxy_address(plan.address, plan.client, self.intake.public):
                plan.refusal = ITSELF
            else:
                await tunnels.plan(plan)
        except Exception as error:  # noqa: BLE001  the hook boundary
            self._report(f"planning a tunnel to {plan.address}", error)
            plan.refusal = FAILED

    async def client_connected(self, client: Client) -> None:
        """Let a client in once the service is ready, and while it is not closing."""
        try:
            if self.intake is not None and await self.intake.is_open():
                self._deliver_hooks(client)
                return
        except Exception as error:  # noqa: BLE001  mitmproxy would log it, and serve the client without us
            self._report("letting a client in", error)
        client.error = CLOSING

    def _deliver_hooks(self, client: Client) -> None:
        """Limit the connection, and deliver the fast path's hooks to this addon alone: mitmproxy's other forty took a third of a hit."""
        handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
        if handler is None:
            return
        self._connections.admit(handler, client)
        self._hooks.attach(handler, self, FastPathHook)
        if self.intake is not None:
            carry_known(handler, self.intake, self._hooks, self._new_tls)

    def client_disconnected(self, client: Client) -> None:
        """End what a client was waiting for. mitmproxy cancels no hook when its client leaves, so a read would wait on."""
        self._connections.left(client)
        if self.intake is not None:
            self.intake.client_left(client)
        self._retired.client_left(client)

    # Surroundings

    def _report(self, doing: str, error: Exception) -> None:
        """Log and count a failure of ours."""
        if self.intake is not None:
            self.intake.report_fault(doing, error)
        else:
            logger.error("%s failed", doing, exc_info=error)

    def _listens(self) -> list[tuple[str, int]]:
        """Return the hosts and ports that the proxy listens on."""
        return [(address[0], address[1]) for address in ctx.master.addons.get("proxyserver").listen_addrs()]

    def _is_ours(self, flow: http.HTTPFlow) -> bool:
        """Whether a flow is of a package host, or of none that could be told: its request was refused as it was read."""
        address = flow.request.host, flow.request.port
        return not flow.request.host or self.intake is None or self.intake.router.hosts.is_package_host(address)

    def _certificates(self) -> certificates.OwnCertificates:
        return certificates.OwnCertificates(ctx.options.confdir, ctx.master.addons.get("tlsconfig"))
