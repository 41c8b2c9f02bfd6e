"""Asking through a proxy as an agent does: CONNECT and TLS for https, absolute form for http; connections are kept and used again."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from pkgcache.rules.routing.urls import basic_credentials
from pkgcache.units import redact

TIMEOUT = 120.0
"""The proxy answers within this, be it with a 503 that says: on its way."""

CHUNK = 1 << 18
MOST_OWN = 64 << 20


class ProxyError(Exception):
    """No answer, or none that makes sense: one line."""


class PastTheStoreError(ProxyError):
    """The proxy tunnels what was asked for, and keeps nothing of it."""


@dataclass(frozen=True, slots=True)
class ProxyAnswer:
    """A whole answer: what is not 200 has its text."""

    status: int
    headers: Mapping[str, str]
    text: str


class ProxyClient:
    """One proxy, by its URL (`http://user:password@host:port`). Methods may be called from any thread."""

    def __init__(self, url: str) -> None:
        """Raises ProxyError for what is no proxy's URL."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            if parts.scheme != "http" or not parts.hostname:
                raise ValueError
            self.host, self.port = parts.hostname, parts.port or 8080
        except ValueError:  # its words may hold a piece of a password
            raise ProxyError("no proxy's URL; expected http://HOST:PORT") from None
        self.url = f"http://{parts.netloc.rpartition('@')[0] + '@' if '@' in parts.netloc else ''}{_bracketed(self.host)}:{self.port}"
        self._login = basic_credentials(parts.netloc.rpartition("@")[0])
        self._context: ssl.SSLContext | None = None
        self._local = threading.local()
        self._all: set[HTTPConnection] = set()

    def own(self, path: str, *, timeout: float = 10) -> bytes:
        """A page of the proxy's own address. Raises ProxyError."""
        connection = HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Authorization": self._login} if self._login else {})
            response = connection.getresponse()
            body = response.read(MOST_OWN)
            _check_end(response)
        except (OSError, HTTPException) as error:
            raise ProxyError(f"{self.host}:{self.port} does not answer ({_described(error)})") from None
        finally:
            connection.close()
        if response.status != 200:
            raise ProxyError(
                f"{self.host}:{self.port}{path} answers {response.status}: {_first_line(body.decode(errors='replace'))}"
            )
        return body

    def health(self) -> dict[str, object]:
        """What `/healthz` says. Raises ProxyError, also where it is no pypi-cache."""
        try:
            found = json.loads(self.own("/healthz"))
            if isinstance(found, dict) and {"status", "version", "store", "trouble"} <= found.keys():
                return found
        except ValueError:
            pass
        raise ProxyError(f"what listens at {self.host}:{self.port} is no pypi-cache")

    def stats(self) -> Mapping[str, Any]:
        """What `/stats` says. Raises ProxyError."""
        try:
            found = json.loads(self.own("/stats"))
        except ValueError:
            found = None
        if not isinstance(found, dict) or "fills" not in found:
            raise ProxyError("its /stats are no pypi-cache's")
        return found

    def settled(self, seconds: float) -> Mapping[str, Any]:
        """What `/stats` says once no download is under way, or after so long: a client has its last byte before the store has the file.

        Raises ProxyError.
        """
        until = time.monotonic() + seconds
        while (found := self.stats())["fills"] and time.monotonic() < until:
            time.sleep(0.05)
        return found

    def trust(self, bundle: str) -> None:
        """Trust these roots (PEM): what `/bundle.pem` gives. Raises ProxyError."""
        try:
            self._context = ssl.create_default_context(cadata=bundle)
        except (ssl.SSLError, ValueError) as error:
            raise ProxyError(f"its /bundle.pem holds no certificates ({error})") from None

    def get(self, url: str, headers: Mapping[str, str], take: Callable[[bytes], object]) -> ProxyAnswer:
        """GET through the proxy; `take` gets a 200's body in pieces.

        Raises ProxyError, also for a body that is cut short, or that the proxy has only tunnelled.
        """
        parts = urlsplit(url)
        host, scheme = parts.hostname or "", parts.scheme
        port = parts.port or (443 if scheme == "https" else 80)
        target, sent = (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), dict(headers)
        if scheme == "http":
            target = f"http://{parts.netloc.rpartition('@')[2]}{target}"
            sent |= {"Proxy-Authorization": self._login} if self._login else {}
        response = None
        while response is None:
            connection, fresh = self._connection(scheme, host, port)
            try:
                connection.request("GET", target, headers=sent)
                response = connection.getresponse()
            except (OSError, HTTPException) as error:
                self._forget(scheme, host, port)
                if fresh:  # else the proxy has closed what was kept, as it may
                    raise ProxyError(f"{url}: {_described(error)}") from None
        try:
            return _read(response, take)
        except (OSError, HTTPException) as error:
            self._forget(scheme, host, port)
            raise ProxyError(f"{url}: it broke off ({_described(error)})") from None
        except PastTheStoreError as error:
            self._forget(scheme, host, port)
            raise ProxyError(f"{url}: {error}") from None
        except ProxyError:
            self._forget(scheme, host, port)  # `take` wants no more of it
            raise

    def abort(self) -> None:
        """Break off whatever is being read, in all threads."""
        for connection in list(self._all):
            if (used := connection.sock) is not None:
                with contextlib.suppress(OSError):
                    used.shutdown(socket.SHUT_RDWR)

    def _connection(self, scheme: str, host: str, port: int) -> tuple[HTTPConnection, bool]:
        """This thread's connection, and whether it is new."""
        kept: dict[tuple[str, str, int], HTTPConnection] = self._local.__dict__.setdefault("kept", {})
        key = (scheme, host, port) if scheme == "https" else ("http", "", 0)
        if (connection := kept.get(key)) is not None:
            return connection, False
        if scheme == "https":
            connection = HTTPSConnection(self.host, self.port, timeout=TIMEOUT, context=self._context)
            connection.set_tunnel(host, port, {"Proxy-Authorization": self._login} if self._login else {})
        else:
            connection = HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        kept[key] = connection
        self._all.add(connection)
        return connection, True

    def _forget(self, scheme: str, host: str, port: int) -> None:
        key = (scheme, host, port) if scheme == "https" else ("http", "", 0)
        connection = self._local.kept.pop(key)
        self._all.discard(connection)
        connection.close()


@dataclass(frozen=True, slots=True)
class Agents:
    """The proxy that an environment's HTTPS_PROXY names: a `client` where that is a pypi-cache, else why it is none."""

    named: str
    client: ProxyClient | None
    said: str

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


def agents_proxy(environment: Mapping[str, str]) -> Agents | None:
    """Whose proxy an agent in this environment would ask; None: it asks nobody's."""
    named = environment.get("HTTPS_PROXY") or environment.get("https_proxy") or ""
    if not named:
        return None
    try:
        client = ProxyClient(named)
        client.health()
    except ProxyError as error:
        return Agents(named, None, str(error))
    return Agents(named, client, "")


def shown_url(url: str) -> str:
    """A proxy's URL without its password, whether it has a scheme or not.

    >>> shown_url("user:secret@proxy.example:8080")
    'http://***@proxy.example:8080'
    """
    return redact(url if "://" in url else f"http://{url}")


def without_credentials(url: str) -> tuple[str, str]:
    """A URL without its user and password, and the `Authorization` made of them (RFC 7617), or an empty text."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=host).geturl(), basic_credentials(user)


def _read(response: HTTPResponse, take: Callable[[bytes], object]) -> ProxyAnswer:
    text = ""
    if response.status == 200:
        if "pypi-cache" not in response.getheader("Cache-Status", ""):
            raise PastTheStoreError(
                "it comes past the store: the proxy knows no index and no file host there (pypi_cache_index)"
            )
        for chunk in _chunks(response):
            take(chunk)
        _check_end(response)
    else:
        text = _first_line(response.read(1 << 20).decode(errors="replace"))
    return ProxyAnswer(response.status, {name.lower(): value for name, value in response.getheaders()}, text)


def _check_end(response: HTTPResponse) -> None:
    """http.client gives a short body without a word where a length is asked for. Raises HTTPException."""
    if response.length:
        raise HTTPException(f"{response.length:,} bytes are missing")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read1(CHUNK):
        yield chunk


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _described(error: BaseException) -> str:
    return _first_line(str(error)) or type(error).__name__


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
