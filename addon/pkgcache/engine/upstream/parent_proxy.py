"""The parent proxy: the company's proxy, through which this one reaches the outside.

It is named by `--mode upstream:` or by the environment (`HTTPS_PROXY`, else `ALL_PROXY`); `NO_PROXY` lists the hosts that are reached
without it. The environment is read by `urllib.request`, so that names and exceptions mean the same as for pip and curl.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import yarl

from pkgcache.rules.routing.urls import basic_credentials
from pkgcache.units import redact


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentProxy:
    """A parent proxy and the hosts that bypass it.

    `url` is as configured, with its user information; `authorization` is a `Proxy-Authorization` value or empty. Neither may be
    shown: `str()` gives the URL without credentials.
    """

    url: str = field(repr=False)
    scheme: Literal["http", "https"]
    address: tuple[str, int]
    authorization: str = field(repr=False)
    no_proxy: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a parent proxy's URL; without a scheme it is http. NO_PROXY is taken from the environment.

        Raises ValueError, without repeating any credentials.

        >>> ParentProxy.parse("proxy.example:3128").address
        ('proxy.example', 3128)
        """
        url = url if "://" in url else f"http://{url}"
        try:
            parts = yarl.URL(url)
            host, port = parts.host, parts.port
        except ValueError:  # its text may repeat a password
            raise ValueError("not the URL of a proxy") from None
        scheme: Literal["http", "https"]
        if parts.scheme == "http":
            scheme = "http"
        elif parts.scheme == "https":
            scheme = "https"
        else:
            raise ValueError("only http:// and https:// parent proxies can be used")
        if not host or not port:
            raise ValueError("not the URL of a proxy")
        return cls(
            url=url,
            scheme=scheme,
            address=(host, port),
            authorization=basic_credentials(url.partition("://")[2].rpartition("@")[0]),
            no_proxy=os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "",
        )

    def applies_to(self, host: str) -> bool:
        """Whether a host is reached through this proxy, because `NO_PROXY` does not list it.

        `host` may have a port (`host:8443`), and then matches an entry with that port too.
        """
        return not proxy_bypass_environment(host, {"no": self.no_proxy})

    def __str__(self) -> str:
        return redact(self.url)


def parent_of_environment(own: Collection[tuple[str, int]]) -> tuple[ParentProxy | None, str]:
    """Return the parent proxy that the environment names, and a line where it had to be ignored.

    `own` are the addresses that this proxy listens on: an agent's `HTTPS_PROXY` in the proxy's own environment would be a loop.
    """
    found = getproxies_environment()
    url = found.get("https") or found.get("all")
    if not url:
        return None, ""
    shown = f"HTTPS_PROXY={redact(url if '://' in url else f'http://{url}')}"
    try:
        parent = ParentProxy.parse(url)
    except ValueError as error:
        return None, f"{shown}: {error}; ignored"
    if parent.address in own:
        return None, f"{shown} is this proxy itself; ignored, upstreams are asked directly"
    return parent, ""
