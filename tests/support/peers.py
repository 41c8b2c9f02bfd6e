"""Small servers that are no mirrors: any TCP protocol by a function, and a parent proxy that notes what it is asked."""

import select
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.wire import split_authority

type Handler = Callable[[socket.socket], None]
PIECE: Final = 64 * 1024


class Peer:
    """A TCP server on a port of its own: `handler` talks to each client, in a thread of its own. A context manager."""

    def __init__(self, handler: Handler, *, context: ssl.SSLContext | None = None) -> None:
        """With `context` it speaks TLS."""
        self.accepted = 0
        """Connections so far: a refused tunnel leaves this at 0."""
        self._handler = handler
        self._context = context
        self._open: set[socket.socket] = set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=f"peer-{self.port}", daemon=True)
        self._thread.start()

    @property
    def authority(self) -> str:
        """`localhost:PORT`."""
        return f"localhost:{self.port}"

    def close(self) -> None:
        """Stop listening and cut every connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for client in tuple(self._open):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        client.settimeout(30)
        self._open.add(client)
        try:
            with suppress(OSError):
                if self._context is not None:
                    self._open.discard(client)
                    client = self._context.wrap_socket(client, server_side=True)
                    self._open.add(client)
                self._handler(client)
        finally:
            self._open.discard(client)
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def echo(client: socket.socket) -> None:
    """Send back whatever comes, until its end."""
    while piece := client.recv(PIECE):
        client.sendall(piece)


def greets(greeting: bytes) -> Handler:
    """A server that speaks first, as SSH, SMTP and MySQL do, and then echoes."""

    def handler(client: socket.socket) -> None:
        client.sendall(greeting)
        echo(client)

    return handler


def web(body: bytes = b"hello from elsewhere\n") -> Handler:
    """One answer to any HTTP request, then close."""

    def handler(client: socket.socket) -> None:
        if read_head(client):
            head = (
                f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
            )
            client.sendall(head.encode() + b"\r\n" + body)

    return handler


def read_head(client: socket.socket) -> bytes:
    """The bytes of one HTTP head, with its empty line; whatever came where the client ends before."""
    head = b""
    while not head.endswith(b"\r\n\r\n") and (byte := client.recv(1)):
        head += byte
    return head


class ParentProxy(Peer):
    """A company's proxy: CONNECT and absolute-form plain HTTP. `targets` are the request lines' targets, in order."""

    def __init__(
        self,
        *,
        names: dict[str, int] | None = None,
        refuses: frozenset[str] = frozenset(),
        outside: bool = False,
    ) -> None:
        """`names`: hosts that only it knows, and the local port behind each. `refuses`: authorities that get a 403.

        `outside`: any other host is dialled as it is called; else it is on this machine, whatever its name.
        """
        self.targets: list[str] = []
        self.heads: list[bytes] = []
        self._names = names or {}
        self._refuses = refuses
        self._outside = outside
        super().__init__(self._relay)

    def clear(self) -> None:
        """Forget what was asked so far."""
        self.targets.clear()
        self.heads.clear()

    def _relay(self, client: socket.socket) -> None:
        head = read_head(client)
        if not head:
            return
        method, target, _ = head.decode("latin-1").split(" ", 2)
        self.targets.append(target)
        self.heads.append(head)
        authority = target if method == "CONNECT" else target.partition("://")[2].partition("/")[0]
        if authority in self._refuses:
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        host, port = split_authority(authority, 80)
        try:
            local = host in self._names or not self._outside
            server = socket.create_connection(("127.0.0.1" if local else host, self._names.get(host, port)), timeout=10)
        except OSError:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with server:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                server.sendall(head)
            _both_ways(client, server)


def _both_ways(one: socket.socket, other: socket.socket) -> None:
    ends = {one: other, other: one}
    while ends:
        readable, _, _ = select.select(list(ends), [], [], 30)
        if not readable:
            return
        for source in readable:
            sink = one if source is other else other
            piece = source.recv(PIECE)
            if piece:
                sink.sendall(piece)
            else:
                del ends[source]
                with suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)


def resolving(folder: Path, names: Mapping[str, str | Sequence[str]]) -> dict[str, str]:
    """Environment that gives a Python process a resolver which knows these names: name → addresses, separated by blanks.

    A sequence is what each look-up is answered with in turn, its last entry for good. Each look-up is a line `name addresses` in the
    file `asked` in the folder. The process reads a `sitecustomize.py` at its start; `/etc/hosts` would need root, and would be everybody's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    answers = {name: [answer] if isinstance(answer, str) else list(answer) for name, answer in names.items()}
    (folder / "sitecustomize.py").write_text(_RESOLVER.format(names=answers, log=str(folder / "asked")))
    return {"PYTHONPATH": str(folder)}


def looked_up(folder: Path, name: str) -> int:
    """How often a process with the environment of `resolving(folder, …)` has looked a name up."""
    log = folder / "asked"
    return sum(line.split()[0] == name for line in log.read_text().splitlines()) if log.exists() else 0


_RESOLVER: Final = """\
import socket

NAMES = {names!r}
asked = socket.getaddrinfo

def getaddrinfo(host, *rest, **more):
    answers = NAMES.get(host)
    if answers is None:
        return asked(host, *rest, **more)
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    with open({log!r}, "a") as log:
        print(host, answer, file=log)
    return [found for address in answer.split() for found in asked(address, *rest, **more)]

socket.getaddrinfo = getaddrinfo
"""
