"""A raw HTTP client for tests: plain sockets, so that nothing is normalised, retried or hidden.

`fetch` is one request on one connection; `Wire` keeps a connection for several; `fetch_many` is a herd.
"""

import hashlib
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

type Via = Literal["connect", "absolute", "own", "direct"]
PIECE: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer, or as much of it as came."""

    status: int
    headers: Message
    """Names in any case: `headers["ETag"]` is a string or None; `get_all` for repeated ones."""
    body: bytes
    """Empty with `keep=False`."""
    size: int
    sha256: str
    """Of the body as received, also with `keep=False`."""
    complete: bool
    """The framing's promise was kept. False too where `read_limit` ended it."""
    error: str
    """What ended it, if it is not complete."""
    first_byte: float
    """Seconds from the request to the answer's head."""
    seconds: float
    """Seconds from the request to the body's end."""
    refused_connect: bool = False
    """The proxy answered CONNECT itself, and this is that answer."""


class Wire:
    """One connection to where a URL's requests go: through the proxy, to the proxy itself, or straight there."""

    def __init__(
        self,
        proxy_port: int,
        url: str,
        *,
        ca: Path | str | None = None,
        via: Via = "connect",
        timeout: float = 30,
        connect_headers: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
        server_name: str = "",
    ) -> None:
        """`connect`: CONNECT and TLS; `absolute`: the whole URL as target; `own`: the proxy as server; `direct`: none.

        With an http URL, `connect` tunnels plain http. `receive_buffer` (bytes) makes a client that reads slowly real. `server_name` is
        what TLS asks for and checks, where that is not the URL's host.
        """
        self.via = via
        self.scheme, _, rest = url.partition("://")
        self.authority = rest.partition("/")[0]
        if via == "own":
            self.authority = f"127.0.0.1:{proxy_port}"
        host, port = split_authority(self.authority, 443 if self.scheme == "https" else 80)
        self.refusal: Fetched | None = None
        self.sock: socket.socket = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        try:
            self.sock.connect((host, port) if via == "direct" else ("127.0.0.1", proxy_port))
            if via == "connect":
                self.refusal = self._connect(f"{host}:{port}", connect_headers or {})
            if self.refusal is None and self.scheme == "https" and via in ("connect", "direct"):
                context = client_context(None if ca is None else str(ca))
                self.sock = context.wrap_socket(self.sock, server_hostname=server_name or host)
        except BaseException:
            self.sock.close()
            raise

    def target(self, url: str) -> str:
        """What the request line says for a URL, every byte of its path as it is, without its fragment."""
        url = url.partition("#")[0]
        if self.via == "absolute":
            return url
        return "/" + url.partition("://")[2].partition("/")[2] if "://" in url else url

    def send(
        self, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        """Send a request and do not wait for its answer. A header given as '' is not sent at all."""
        lines = {"Host": self.authority, "User-Agent": "wire", "Accept-Encoding": "identity"}
        if body:
            lines["Content-Length"] = str(len(body))
        for name, value in (headers or {}).items():
            lines = {known: old for known, old in lines.items() if known.lower() != name.lower()}
            if value:
                lines[name] = value
        head = f"{method} {self.target(url)} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items())
        self.sock.sendall(head.encode("latin-1") + b"\r\n" + body)

    def receive(self, *, method: str = "GET", read_limit: int | None = None, keep: bool = True) -> Fetched:
        """Read the next answer, at most `read_limit` bytes of its body."""
        return _receive(self.sock, method, read_limit, keep)

    def request(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        read_limit: int | None = None,
        keep: bool = True,
    ) -> Fetched:
        """One exchange."""
        if self.refusal is not None:
            return self.refusal
        self.send(url, method=method, headers=headers, body=body)
        return self.receive(method=method, read_limit=read_limit, keep=keep)

    def close(self) -> None:
        """Close, as a client does that has had enough."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self, authority: str, headers: Mapping[str, str]) -> Fetched | None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{lines}\r\n".encode())
        # Byte by byte: what follows the head belongs to the tunnel
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.sock.recv(1)
            if not byte:
                raise ConnectionError(f"CONNECT {authority}: closed after {head!r}")
            head += byte
        status = int(head.split(b" ", 2)[1])
        if status == 200:
            return None
        headers_read = http.client.parse_headers(io.BytesIO(head.split(b"\r\n", 1)[1]))
        length = int(headers_read["Content-Length"] or 0)
        body = b""
        while len(body) < length and (piece := self.sock.recv(length - len(body))):
            body += piece
        return Fetched(
            status=status,
            headers=headers_read,
            body=body,
            size=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            complete=len(body) == length,
            error="",
            first_byte=0.0,
            seconds=0.0,
            refused_connect=True,
        )


def fetch(
    proxy_port: int,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    ca: Path | str | None = None,
    method: str = "GET",
    body: bytes = b"",
    via: Via = "connect",
    read_limit: int | None = None,
    keep: bool = True,
    timeout: float = 30,
) -> Fetched:
    """One request on a connection of its own. `timeout` is for each read. For `via`, see `Wire`."""
    with Wire(proxy_port, url, ca=ca, via=via, timeout=timeout) as wire:
        return wire.request(url, method=method, headers=headers, body=body, read_limit=read_limit, keep=keep)


def fetch_many(
    count: int,
    proxy_port: int,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    ca: Path | str | None = None,
    via: Via = "connect",
    keep: bool = True,
    timeout: float = 60,
) -> list[Fetched]:
    """The same request by so many clients at once: all connect first, and ask together."""
    barrier = threading.Barrier(count)

    def one(_: int) -> Fetched:
        with Wire(proxy_port, url, ca=ca, via=via, timeout=timeout) as wire:
            barrier.wait(timeout)
            return wire.request(url, headers=headers, keep=keep)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def split_authority(authority: str, default_port: int) -> tuple[str, int]:
    """Host and port; IPv6 in brackets loses them."""
    host, colon, port = authority.rpartition(":")
    if not colon or port.endswith("]"):
        return authority.strip("[]"), default_port
    return host.strip("[]"), int(port)


@lru_cache(maxsize=64)
def client_context(ca: str | None) -> ssl.SSLContext:
    """A client's context that trusts `ca` alone, or the system's roots."""
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _receive(sock: socket.socket, method: str, read_limit: int | None, keep: bool) -> Fetched:
    started = time.monotonic()
    response = http.client.HTTPResponse(sock, method=method)
    try:
        response.begin()
        first_byte = time.monotonic() - started
        pieces: list[bytes] = []
        expected = response.length
        digest, size, error = hashlib.sha256(), 0, ""
        try:
            while wanted := min(PIECE, *(limit - size for limit in (expected, read_limit) if limit is not None), PIECE):
                piece = response.read1(wanted)
                if not piece:
                    break
                size += len(piece)
                digest.update(piece)
                if keep:
                    pieces.append(piece)
        except (OSError, http.client.HTTPException) as trouble:
            error = repr(trouble)
        left = None if expected is None else expected - size
        if not error and left:
            error = f"IncompleteRead: {left} more expected"
        if not error and read_limit is not None and size >= read_limit and left is None and not response.isclosed():
            error = "read_limit"
        return Fetched(
            status=response.status,
            headers=response.headers,
            body=b"".join(pieces),
            size=size,
            sha256=digest.hexdigest(),
            complete=not error,
            error=error,
            first_byte=first_byte,
            seconds=time.monotonic() - started,
        )
    finally:
        response.close()
