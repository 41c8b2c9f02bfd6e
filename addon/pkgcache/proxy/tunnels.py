"""Where a connection that is not the fast path's may go: CONNECT tunnels, and mitmproxy's ordinary flows.

Any host is allowed but the proxy's own machine, its link-local neighbours and the proxy itself. A name is resolved once, its addresses
are checked, and exactly those are dialled (`dial`): a name that is resolved a second time could answer differently (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass

from mitmproxy.connection import Client, Server
from mitmproxy.net.server_spec import ServerSpec
from mitmproxy.proxy.mode_specs import UpstreamMode

from pkgcache.engine.upstream.guard import is_own_address
from pkgcache.engine.upstream.parent_proxy import ParentProxy
from pkgcache.proxy.addresses import canonical_address
from pkgcache.proxy.exchange import TunnelPlan
from pkgcache.rules.policy.addresses import is_local, is_local_allowed, refusal_line
from pkgcache.rules.routing.package_hosts import Address
from pkgcache.rules.routing.router import Router
from pkgcache.settings import Settings

ITSELF = "that is this proxy itself"


@dataclass(frozen=True, slots=True)
class Checked:
    """The addresses of a host that may be dialled; without any, `refusal` (a rule of ours) or `error` (no such name) says why."""

    addresses: tuple[Address, ...] = ()
    refusal: str = ""
    error: str = ""


class Tunnels:
    """Decides where tunnels and ordinary flows may connect.

    `parent` is the parent proxy of mitmproxy's mode or the environment. `own_ports` gives the ports that the proxy listens on.
    """

    def __init__(
        self,
        settings: Settings,
        router: Router,
        parent: ParentProxy | None,
        own_ports: Callable[[], Collection[int]],
    ) -> None:
        self._settings = settings
        self._router = router
        self._parent = parent
        self._own_ports = own_ports
        self._planned: weakref.WeakSet[Server] = weakref.WeakSet()

    async def plan(self, plan: TunnelPlan) -> None:
        """Fill in where a tunnel may go, or why it may not; a refusal names the option that would allow it."""
        host, port = plan.address
        if self._settings.other_hosts == "deny":
            plan.refusal = f"{host}:{port} is not a package host, and pypi_cache_other_hosts=deny"
            return
        plan.parent = self.parent_of(host, plan.client)
        if plan.parent is not None:
            return
        checked = await self._check(host, port, may_be_local=is_local_allowed(host, port, self._settings))
        plan.refusal, plan.error = checked.refusal, checked.error
        plan.servers = [Server(address=address, transport_protocol="tcp") for address in checked.addresses]
        self._planned.update(plan.servers)

    def parent_of(self, host: str, client: Client) -> ServerSpec | None:
        """Return the parent proxy to connect through, or None to connect directly.

        NO_PROXY does not apply to `--mode upstream:`, since mitmproxy has no exceptions to that mode either.
        """
        if isinstance(client.proxy_mode, UpstreamMode):
            return (client.proxy_mode.scheme, client.proxy_mode.address)
        if self._parent is None or not self._parent.applies_to(host):
            return None
        return (self._parent.scheme, self._parent.address)

    async def checked(self, server: Server) -> Checked | None:
        """Return the addresses that mitmproxy may dial for one of its connections; None: there is nothing to check.

        That is so for what `plan` has checked, for the parent proxy, and for what the parent proxy connects to.
        """
        if server in self._planned or server.via or not server.address:
            return None
        host, port = canonical_address((server.address[0], server.address[1]))
        if self._parent is not None and self._parent.address == (host, port):
            return None
        # The operator's own hosts may well be on this machine.
        may_be_local = self._router.hosts.is_configured_by_operator((host, port)) or is_local_allowed(
            host, port, self._settings
        )
        return await self._check(host, port, may_be_local=may_be_local)

    async def _check(self, host: str, port: int, *, may_be_local: bool) -> Checked:
        """Resolve a name and leave out the addresses that may not be dialled. The proxy itself never may be: that is a loop."""
        found, error = await resolve(host, port)
        local = {address for address in found if is_local(address[0], is_own_address)}
        is_loop = bool(local) and port in self._own_ports()
        if is_loop or not may_be_local:
            found = [address for address in found if address not in local]
        if local and not found:
            return Checked(refusal=ITSELF if is_loop else refusal_line(host, port))
        return Checked(addresses=tuple(found), error=error)


async def resolve(host: str, port: int) -> tuple[list[Address], str]:
    """Return a host's addresses in the system's order of preference, or none and a line that says why."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that IDNA cannot encode
        return [], f"{host} cannot be resolved: {error}"
    return list(dict.fromkeys((str(item[4][0]), port) for item in found)), ""
