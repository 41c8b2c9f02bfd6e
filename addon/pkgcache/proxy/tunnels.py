"""Where a connection that is not the fast path's may go: CONNECT tunnels, and mitmproxy's ordinary flows.

Any host is allowed but the proxy's own machine, its link-local neighbours and the proxy itself. Tunnels are checked by the resolved
addresses, and exactly those are dialled: a name that is resolved a second time could answer differently (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
import weakref

from mitmproxy.connection import Client, Server
from mitmproxy.net.server_spec import ServerSpec
from mitmproxy.proxy.mode_specs import UpstreamMode

from pkgcache.engine.upstream.parent_proxy import ParentProxy
from pkgcache.proxy.exchange import TunnelPlan
from pkgcache.rules.policy.addresses import is_local, is_local_allowed, refusal_line
from pkgcache.rules.routing.package_hosts import Address
from pkgcache.rules.routing.routes import Router
from pkgcache.settings import Settings


class Tunnels:
    """Decides where tunnels and ordinary flows may connect. `parent` is the parent proxy of mitmproxy's mode or the environment."""

    def __init__(self, settings: Settings, router: Router, parent: ParentProxy | None) -> None:
        self._settings = settings
        self._router = router
        self._parent = parent
        self._checked: weakref.WeakSet[Server] = weakref.WeakSet()

    async def plan(self, plan: TunnelPlan) -> None:
        """Fill in where a tunnel may go, or why it may not; a refusal names the option that would allow it."""
        host, port = plan.address
        if self._settings.other_hosts == "deny":
            plan.refusal = f"{host}:{port} is not a package host, and pypi_cache_other_hosts=deny"
            return
        plan.parent = self.parent_of(host, plan.client)
        if plan.parent is not None:
            return
        addresses, plan.error = await resolve(host, port)
        if not is_local_allowed(host, port, self._settings):
            remote = [address for address in addresses if not is_local(address[0])]
            if addresses and not remote:
                plan.refusal = refusal_line(host, port)
            addresses = remote
        plan.servers = [Server(address=address, transport_protocol="tcp") for address in addresses]
        self._checked.update(plan.servers)

    def parent_of(self, host: str, client: Client) -> ServerSpec | None:
        """Return the parent proxy to connect through, or None to connect directly.

        NO_PROXY does not apply to `--mode upstream:`, since mitmproxy has no exceptions to that mode either.
        """
        if isinstance(client.proxy_mode, UpstreamMode):
            return (client.proxy_mode.scheme, client.proxy_mode.address)
        if self._parent is None or not self._parent.applies_to(host):
            return None
        return (self._parent.scheme, self._parent.address)

    async def refusal_of(self, server: Server) -> str:
        """Return why mitmproxy may not open a connection, or an empty text if it may.

        Allowed without a look at the resolved addresses: what `plan` has checked, hosts that the operator configured, and the
        parent proxy; these may well be in a private network.
        """
        if server in self._checked or server.via or not server.address:
            return ""
        host, port = server.address[0], server.address[1]
        if self._router.hosts.is_configured_by_operator((host, port)) or is_local_allowed(host, port, self._settings):
            return ""
        if self._parent is not None and self._parent.address == (host, port):
            return ""
        addresses, _ = await resolve(host, port)
        return refusal_line(host, port) if any(is_local(address) for address, _ in addresses) else ""


async def resolve(host: str, port: int) -> tuple[list[Address], str]:
    """Return a host's addresses in the system's order of preference, or none and a line that says why."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that IDNA cannot encode
        return [], f"{host} cannot be resolved: {error}"
    return list(dict.fromkeys((str(item[4][0]), port) for item in found)), ""
