"""The sockets of all workers: several for each address, one for each worker (`SO_REUSEPORT`).

The kernel spreads new connections over the sockets of an address. The supervisor keeps all of them open. So when a worker dies, what
waits to be accepted at its socket stays there, for its successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from mitmproxy.addons import errorcheck
from mitmproxy.options import Options
from mitmproxy.proxy import mode_servers
from mitmproxy.proxy.mode_specs import ProxyMode

type Address = tuple[str, int]
"""A host and a port as mitmproxy's options have them: no host means all of the machine's addresses."""


def why_impossible() -> str | None:
    """Why several processes cannot share a port on this system, None where they can."""
    if not hasattr(socket, "SO_REUSEPORT"):
        return "this system lacks SO_REUSEPORT"
    if sys.platform != "linux":
        return "this system's SO_REUSEPORT does not spread connections, as Linux's does"
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        return f"this system lacks SO_REUSEPORT ({error.strerror})"
    return None


def addresses(options: Options) -> list[Address]:
    """Return where mitmproxy listens with these options. Raises ValueError for a mode that is not on TCP."""
    found = []
    for mode in map(ProxyMode.parse, options.mode):
        port = mode.listen_port(options.listen_port)
        if mode.transport_protocol != "tcp" or port is None:
            raise ValueError(f"--workers: mode {mode.full_spec!r} does not listen on TCP")
        found.append((mode.listen_host(options.listen_host), port))
    return found


class Sockets:
    """One worker's sockets, by address; of one address there are two where it has both IPv4 and IPv6."""

    def __init__(self, found: dict[Address, list[socket.socket]]) -> None:
        self._found = found

    def take(self, address: Address) -> list[socket.socket]:
        """Return the sockets of an address, once: who takes them closes them."""
        return self._found.pop(address, [])

    def bound(self) -> dict[Address, int]:
        """Return the port that each address has come to: another one than it says where that is 0."""
        return {address: sockets[0].getsockname()[1] for address, sockets in self._found.items()}

    def close(self) -> None:
        """Close them here. They stay open where they were handed on to."""
        for each in (each for sockets in self._found.values() for each in sockets):
            each.close()
        self._found = {}


def bind_all(wanted: Iterable[Address], count: int) -> list[Sockets]:
    """Bind each address `count` times. Raises OSError, as where somebody else listens there."""
    found: list[dict[Address, list[socket.socket]]] = [{} for _ in range(count)]
    with contextlib.ExitStack() as undo:
        for host, port in wanted:
            for number, sockets in enumerate(_bound(host, port, count)):
                undo.callback(Sockets({(host, port): sockets}).close)
                found[number][host, port] = sockets
        undo.pop_all()
    return [Sockets(each) for each in found]


def bind_again(wanted: dict[Address, int]) -> Sockets:
    """Bind what one worker had, at the ports that its siblings have."""
    return Sockets({address: _bound(address[0], port, 1, alone=False)[0] for address, port in wanted.items()})


def _bound(host: str, port: int, count: int, *, alone: bool = True) -> list[list[socket.socket]]:
    """Return `count` times a socket for each of the host's addresses. `alone`: nobody else may listen there yet."""
    found: list[list[socket.socket]] = [[] for _ in range(count)]
    infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        for family, address in dict.fromkeys((info[0], info[4]) for info in infos):
            if not _has(family, address):
                continue
            if alone:
                _check_free(family, (address[0], port, *address[2:]))
            for sockets in found:
                sockets.append(_socket(family, (address[0], port, *address[2:]), reuse_port=True))
                port = sockets[-1].getsockname()[1]  # where any was asked for, the others take the same
    except OSError as error:
        for each in (each for sockets in found for each in sockets):
            each.close()
        raise OSError(error.errno, f"cannot listen on {host or '*'}:{port}: {error.strerror}") from error
    return found


def _has(family: int, address: tuple[Any, ...]) -> bool:
    """Whether the machine has this family of addresses at all: the name of all addresses means IPv6 too where that is switched off."""
    try:
        _socket(family, (address[0], 0, *address[2:]), reuse_port=False).close()
    except OSError as error:
        return family != socket.AF_INET6 or error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
    return True


def _check_free(family: int, address: tuple[Any, ...]) -> None:
    """Raise OSError where somebody listens there. With SO_REUSEPORT alone another proxy of this user would share its port unnoticed."""
    with _socket(family, address, reuse_port=False) as probe:
        probe.listen(1)


def _socket(family: int, address: tuple[Any, ...], *, reuse_port: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as asyncio: IPv4 has a socket of its own
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def listen_on(sockets: Sockets, control: Connection) -> None:
    """Let mitmproxy listen on these sockets, in this process, wherever it would bind their addresses.

    `control` leads to the supervisor. It is told once the start is over, since mitmproxy looks for errors again when it listens; and
    once it is gone this process ends, as if it had been told to stop.
    """
    bind_itself = mode_servers.AsyncioServerInstance.listen
    finish_itself: Callable[[Any], None] = errorcheck.ErrorCheck.finish

    async def listen(instance: Any, host: str, port: int) -> Sequence[Any]:
        taken = sockets.take((host, port))
        if not taken:
            return await bind_itself(instance, host, port)
        servers = [await asyncio.start_server(instance.handle_stream, sock=each) for each in taken]
        asyncio.get_running_loop().add_reader(control.fileno(), _end, control)
        return servers

    def finish(check: Any) -> None:
        finish_itself(check)
        control.send_bytes(b"listening")

    errorcheck.ErrorCheck.finish = finish  # type: ignore[method-assign]
    mode_servers.AsyncioServerInstance.listen = listen  # type: ignore[method-assign,assignment]


def _end(control: Connection) -> None:
    asyncio.get_running_loop().remove_reader(control.fileno())
    os.kill(os.getpid(), signal.SIGTERM)
