"""Where a tunnel may go: any host but this machine, its link-local neighbours and the proxy itself.

The check is made on the resolved addresses, and those are what is connected to, so that a name cannot change its mind in between.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from urllib.parse import unquote

from mitmproxy.connection import Client, Server
from mitmproxy.net.server_spec import ServerSpec, parse
from mitmproxy.proxy.mode_specs import UpstreamMode

from pkgcache.engine.upstream.parent_proxy import bypasses_parent
from pkgcache.proxy.exchange import TunnelPlan
from pkgcache.rules.policy.addresses import is_local, is_local_allowed, refusal_line
from pkgcache.settings import Settings


async def plan_tunnel(plan: TunnelPlan, settings: Settings, parent: str | None) -> None:
    """Fill in where the tunnel may go; a refusal says what would allow it."""
    host, port = plan.address
    if settings.other_hosts == "deny":
        plan.refusal = f"{host}:{port} is no package host, and pypi_cache_other_hosts=deny"
        return
    plan.parent = parent_of(host, plan.client, parent)
    if plan.parent is not None:
        return
    plan.addresses, plan.error = await resolve(host, port)
    if plan.addresses and not is_local_allowed(host, port, settings):
        remote = [address for address in plan.addresses if not is_local(address[0])]
        if not remote:
            plan.refusal = refusal_line(host, port)
        plan.addresses = remote


async def resolve(host: str, port: int) -> tuple[list[tuple[str, int]], str]:
    """The host's addresses in the system's order, or a line that says why there are none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return [], f"{host} cannot be resolved: {error}"
    return list(dict.fromkeys((str(item[4][0]), port) for item in found)), ""


def parent_of(host: str, client: Client, parent: str | None) -> ServerSpec | None:
    """The parent proxy of `--mode upstream:`, else of the environment (mitmproxy's `upstream_auth` has its credentials)."""
    if isinstance(client.proxy_mode, UpstreamMode):
        return (client.proxy_mode.scheme, client.proxy_mode.address)
    return None if parent is None or bypasses_parent(host) else parent_address(parent)


def parent_address(parent: str) -> ServerSpec:
    """A parent proxy's URL as mitmproxy has it: scheme and address."""
    scheme, _, rest = parent.partition("://")
    return parse(f"{scheme}://{rest.rpartition('@')[2].rstrip('/')}", "http")


def credentials_of(parent: str | None) -> str:
    """Basic credentials (RFC 7617) of a parent proxy's URL, or an empty text."""
    user = (parent or "").partition("://")[2].rpartition("@")[0]
    return "Basic " + base64.b64encode(unquote(user).encode()).decode() if user else ""


async def refusal_of(server: Server, settings: Settings) -> str:
    """Why an ordinary flow may not connect there; empty if it may."""
    if server.via or not server.address:
        return ""
    host, port = server.address[0], server.address[1]
    if is_local_allowed(host, port, settings):
        return ""
    found, _ = await resolve(host, port)
    return refusal_line(host, port) if any(is_local(address) for address, _ in found) else ""
