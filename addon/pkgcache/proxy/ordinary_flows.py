"""mitmproxy's hooks for what is not answered here: ordinary flows, which other hosts get, and a package host's uploads and API.

They may connect where tunnels may, go through the same parent proxy, trust the roots that fills trust, and stream. A hook that fails
closes: mitmproxy would log the error and go on without what the hook decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from urllib.parse import quote

from mitmproxy import ctx, http
from mitmproxy.connection import Server
from mitmproxy.options import Options
from mitmproxy.proxy import server_hooks
from mitmproxy.proxy.mode_specs import ProxyMode, UpstreamMode

from pkgcache.engine.upstream.breakers import Breakers
from pkgcache.engine.upstream.parent_proxy import ParentProxy, parent_of_environment
from pkgcache.proxy.dial import PinnedDials
from pkgcache.proxy.forwarded import forward_request, forward_response
from pkgcache.proxy.request_checks import CLOSING, FAILED, destination_url
from pkgcache.proxy.streaming import Streaming
from pkgcache.proxy.tunnels import Tunnels

logger = logging.getLogger(__name__)


class OrdinaryFlows:
    """An addon within the addon. Until `open`, and after `close`, nothing is connected to. `report` logs a failure of ours."""

    def __init__(self, report: Callable[[str, Exception], None]) -> None:
        self.tunnels: Tunnels | None = None
        self._parent: ParentProxy | None = None
        self._breakers: Breakers | None = None
        self._dials: PinnedDials | None = None
        self._report = report
        self._name = ""

    def open(self, tunnels: Tunnels, parent: ParentProxy | None, name: str, breakers: Breakers) -> None:
        """Let connections be made, as `tunnels` says, through `parent` if there is one.

        `name` is this proxy's in `Via`. `breakers` hear who answers.
        """
        self.tunnels, self._parent, self._name, self._breakers = tunnels, parent, name, breakers
        self._dials = PinnedDials(asyncio.get_running_loop())

    def close(self) -> None:
        """Refuse all connections, and give the event loop's dial back."""
        self.tunnels = None
        if self._dials is not None:
            self._dials.close()

    async def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Keep ordinary flows, too, from this machine and its link, unless the operator configured the host."""
        if data.server.error:
            return
        try:
            data.server.error = await self._why_not_connect(data.server)
        except Exception as error:  # noqa: BLE001  mitmproxy would log it, and connect
            self._report(f"checking a connection to {data.server.address}", error)
            data.server.error = FAILED

    async def _why_not_connect(self, server: Server) -> str | None:
        if self.tunnels is None:
            return CLOSING
        if (checked := await self.tunnels.checked(server)) is None:
            return None
        PinnedDials.pin(checked.addresses)
        return checked.refusal or checked.error or None

    def server_connected(self, _: server_hooks.ServerConnectionHookData) -> None:
        """The dial is over."""
        PinnedDials.unpin()

    def server_connect_error(self, _: server_hooks.ServerConnectionHookData) -> None:
        """The dial has failed, or was refused."""
        PinnedDials.unpin()

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Make of a request what the next hop gets, maybe the environment's parent proxy, and let its body stream.

        mitmproxy's ProxyAuth has been asked before: it takes the login out, or has set a response.
        """
        try:
            if flow.response is None:
                flow.response = forward_request(flow.request, self._name)
            Streaming(ctx.options, ctx.master.addons.lookup).request(flow)
            if self.tunnels is not None and not flow.server_conn.connected and flow.server_conn.via is None:
                flow.server_conn.via = self.tunnels.parent_of(flow.request.host, flow.client_conn)
        except Exception as error:  # noqa: BLE001  mitmproxy would log it, and go to the origin past the parent
            self._report(f"choosing the parent proxy for {flow.request.host}", error)
            flow.kill()

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Make of an upstream's response what the client gets, and let its body stream."""
        if self._breakers is not None and flow.response is not None and flow.response.status_code < 500:
            self._breakers.answered(destination_url(flow.request).origin)
        if flow.response is not None:
            forward_response(flow.response, self._name)
        Streaming(ctx.options, ctx.master.addons.lookup).response(flow)

    def http_connect_upstream(self, flow: http.HTTPFlow) -> None:
        """Log in to the parent proxy with the CONNECT that mitmproxy sends it, for plain http too: what is within goes to the origin.

        mitmproxy's `upstream_auth` signs for `--mode upstream:` only.
        """
        if self._parent is not None and self._parent.authorization:
            flow.request.headers["Proxy-Authorization"] = self._parent.authorization


def parent_proxy(options: Options) -> ParentProxy | None:
    """Return the parent proxy of `--mode upstream:`, else that of the environment."""
    for mode in map(ProxyMode.parse, options.mode):
        if isinstance(mode, UpstreamMode):
            host, port = mode.address
            user = quote(options.upstream_auth, safe=":") + "@" if options.upstream_auth else ""
            return ParentProxy.parse(f"{mode.scheme}://{user}{f'[{host}]' if ':' in host else host}:{port}")
    port = options.listen_port or 8080  # this runs before mitmproxy listens
    own = {(host, port) for host in ("127.0.0.1", "::1", "localhost", options.listen_host or "127.0.0.1")}
    parent, ignored = parent_of_environment(own)
    if ignored:
        logger.warning("%s", ignored)
    return parent
