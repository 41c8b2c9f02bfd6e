"""A proxy as its clients see it: its own pages (`/healthz`, `/stats`, `/bundle.pem`), and a client that asks everything through it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.parent_proxy import ParentProxy
from pkgcache.rules.routing.urls import basic_credentials
from pkgcache.units import redact

READ_SECONDS = 120.0
"""Longer than the proxy lets a client wait: before that it answers 503 with `Retry-After`, and goes on downloading."""

MAX_OWN_PAGE = 64 << 20


class ProxyError(Exception):
    """The proxy does not answer, or not as a pypi-cache does. The message is one line."""


class ProxyClient:
    """A client of one proxy, named by its URL (`http://user:password@host:port`). Raises ProxyError if that is no proxy's URL."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            if parts.scheme != "http" or not parts.hostname:
                raise ValueError
            self.host, self.port = parts.hostname, parts.port or 8080
        except ValueError:  # its message may repeat a piece of a password
            raise ProxyError("not a proxy's URL; expected http://HOST:PORT") from None
        userinfo = parts.netloc.rpartition("@")[0]
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"http://{userinfo}{'@' if userinfo else ''}{host}:{self.port}"
        self._authorization = basic_credentials(userinfo)
        self._trust: ssl.SSLContext | None = None

    def own(self, path: str, *, timeout: float = 10) -> bytes:
        """GET a page at the proxy's own address. Raises ProxyError."""
        connection = HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request(
                "GET", path, headers={"Authorization": self._authorization} if self._authorization else {}
            )
            response = connection.getresponse()
            body = response.read(MAX_OWN_PAGE)
            if response.length:  # http.client says nothing of a short body if it is given a limit
                raise HTTPException(f"{response.length:,} bytes are missing")
        except (OSError, HTTPException) as error:
            reason = first_line(str(error)) or type(error).__name__
            raise ProxyError(f"{self.host}:{self.port} does not answer ({reason})") from None
        finally:
            connection.close()
        if response.status != 200:
            text = first_line(body.decode(errors="replace"))
            raise ProxyError(f"{self.host}:{self.port}{path} answers {response.status}: {text}")
        return body

    def health(self) -> dict[str, object]:
        """Read `/healthz`. Raises ProxyError, also if what listens there is not a pypi-cache."""
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(self.own("/healthz"))
            if isinstance(found, dict) and {"status", "version", "store", "trouble"} <= found.keys():
                return found
        raise ProxyError(f"{self.host}:{self.port} is not a pypi-cache")

    def clock(self) -> float | None:
        """Return the proxy's time, or None where it does not tell."""
        with contextlib.suppress(ProxyError):
            told = self.health().get("time")
            return told if isinstance(told, float | int) else None
        return None

    def stats(self) -> Mapping[str, Any]:
        """Read `/stats`. Raises ProxyError."""
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(self.own("/stats"))
            if isinstance(found, dict) and "fills" in found:
                return found
        raise ProxyError(f"{self.host}:{self.port}/stats is not that of a pypi-cache")

    def stats_when_idle(self, seconds: float) -> Mapping[str, Any]:
        """Read `/stats` once nothing is fetched or written to a shared tier, or after so many seconds. Raises ProxyError.

        A client has its last byte before the file is in the store, so its own requests being done says too little.
        """
        until = time.monotonic() + seconds
        while True:
            found = self.stats()
            waiting = found.get("shared_tier", {}).get("waiting")
            if not (found["fills"] or waiting) or time.monotonic() > until:
                return found
            time.sleep(0.05)

    def trust(self, bundle: str) -> None:
        """Trust these roots (PEM) from now on, instead of the system's: `/bundle.pem` has them. Raises ProxyError."""
        try:
            self._trust = ssl.create_default_context(cadata=bundle)
        except (ssl.SSLError, ValueError) as error:
            raise ProxyError(f"{self.host}:{self.port}/bundle.pem holds no certificates ({error})") from None

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[UpstreamClient]:
        """Give a client that sends every request through this proxy, `NO_PROXY` or not, to addresses of any kind."""
        address, authorization = (self.host, self.port), self._authorization
        parent = ParentProxy(url=self.url, scheme="http", address=address, authorization=authorization)
        client = UpstreamClient(
            may_be_private=lambda _: (
                True
            ),  # the proxy itself may be on loopback; it refuses private upstreams by its own rules
            via="1.1 pypi-cache-warm",
            parent=parent,
            trust=self._trust,
            read_seconds=READ_SECONDS,
        )
        client.open()
        try:
            yield client
        finally:
            await client.close()


@dataclass(frozen=True, slots=True)
class EnvironmentProxy:
    """The proxy that an environment's HTTPS_PROXY names (`url`). `client` is None if it is not a pypi-cache; `error` then says why."""

    url: str
    client: ProxyClient | None
    error: str

    @property
    def is_here(self) -> bool:
        """Whether it is a pypi-cache on this machine: at an address that this machine can listen on."""
        if self.client is None:
            return False
        with contextlib.suppress(OSError):
            for family, kind, number, _, address in socket.getaddrinfo(self.client.host, 0, type=socket.SOCK_STREAM):
                with contextlib.suppress(OSError), socket.socket(family, kind, number) as probe:
                    probe.bind(address)
                    return True
        return False


def proxy_of_environment(environment: Mapping[str, str]) -> EnvironmentProxy | None:
    """Find the proxy that an agent in this environment would ask, and see whether it is a pypi-cache; None if there is none."""
    url = environment.get("HTTPS_PROXY") or environment.get("https_proxy") or ""
    if not url:
        return None
    try:
        client = ProxyClient(url)
        client.health()
    except ProxyError as error:
        return EnvironmentProxy(url, None, str(error))
    return EnvironmentProxy(url, client, "")


def shown_url(url: str) -> str:
    """A proxy's URL without its password, whether it has a scheme or not.

    >>> shown_url("user:secret@proxy.example:8080")
    'http://***@proxy.example:8080'
    """
    return redact(url if "://" in url else f"http://{url}")


def without_credentials(url: str) -> tuple[str, str]:
    """Split a URL into itself without user information, and the `Authorization` made of that (RFC 7617), or an empty text.

    >>> without_credentials("https://user:pass@index.example/simple")
    ('https://index.example/simple', 'Basic dXNlcjpwYXNz')
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # no URL; its reader finds that out
        return url, ""
    userinfo, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=host).geturl(), basic_credentials(userinfo)


def first_line(text: str) -> str:
    """The first line of a text that is not blank, or an empty text."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
