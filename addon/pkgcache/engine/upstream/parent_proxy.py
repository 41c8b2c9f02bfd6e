"""engine/upstream/parent_proxy.py."""

from __future__ import annotations

import os
from collections.abc import Collection
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import yarl


def parent_proxy(own: Collection[tuple[str, int]]) -> tuple[str | None, str]:
    """The parent proxy of the environment (`HTTPS_PROXY`, else `ALL_PROXY`), and a line if it had to be ignored.

    A parent that is this proxy itself (`own`: the addresses it listens on) would be a loop.
    """
    found = getproxies_environment()
    parent = found.get("https") or found.get("all")
    if not parent:
        return None, ""
    if "://" not in parent:
        parent = "http://" + parent
    parts = yarl.URL(parent)
    if parts.scheme not in {"http", "https"} or not parts.host:
        return (
            None,
            f"HTTPS_PROXY={parts.with_user(None)}: only http:// and https:// parent proxies can be used; ignored",
        )
    if (parts.host, parts.port) in own:
        return None, f"HTTPS_PROXY={parts.with_user(None)} is this proxy itself; ignored, upstreams are asked directly"
    return parent, ""


def bypasses_parent(host: str) -> bool:
    """Whether `NO_PROXY` names this host."""
    return bool(proxy_bypass_environment(host, _no_proxy()))


def _no_proxy() -> dict[str, str]:
    return {"no": os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""}
