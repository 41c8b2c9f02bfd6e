"""proxy/connect.py."""

from __future__ import annotations

from dataclasses import dataclass

from mitmproxy.proxy import commands

from pkgcache.proxy.exchange import TunnelPlan


class FastPathHook(commands.StartHook):
    """A hook of the lane's own: it concerns one addon alone, and need not be offered to all (addon.client_connected)."""

    name = ""


@dataclass
class PypiCacheTunnelHook(FastPathHook):
    """Find the addresses that a tunnel may be opened to."""

    plan: TunnelPlan
