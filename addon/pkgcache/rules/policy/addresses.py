"""rules/policy/addresses.py."""

from __future__ import annotations

import ipaddress

from pkgcache.settings import Settings


def refusal_line(host: str, port: int) -> str:
    """Why a tunnel to this machine is refused, and what would allow it."""
    return f"{host}:{port} is on the proxy's own machine or link; --set pypi_cache_local_hosts={host}:{port} would allow it"


def is_local_allowed(host: str, port: int, settings: Settings) -> bool:
    """Whether the operator's `pypi_cache_local_hosts` names it."""
    shown = f"[{host}]" if ":" in host else host
    return shown in settings.local_hosts or f"{shown}:{port}" in settings.local_hosts


def is_local(address: str) -> bool:
    """Whether an address is this machine's loopback, link-local, unspecified or multicast, also inside IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast
