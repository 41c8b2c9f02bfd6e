"""A proxy that says what it is told, for tests of what the command makes of it."""

import contextlib
import socket
import threading
from itertools import takewhile


class Peer:
    """A proxy that says what it is told, connection by connection, and keeps what it was asked."""

    def __init__(self, *answers: bytes, answers_a_connection: int = 1) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._left = list(answers)
        self._each = answers_a_connection
        self.asked: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def _run(self) -> None:
        while self._left:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                for _ in range(self._each):
                    head = b"".join(takewhile(lambda line: line not in {b"\r\n", b""}, lines))
                    if not head:  # whoever asked has left
                        break
                    self.asked.append(head.decode())
                    with contextlib.suppress(OSError):  # who asked may have had enough
                        connection.sendall(self._left.pop(0))

    def close(self) -> None:
        self._server.close()


KEPT = "Cache-Status: pypi-cache; hit\r\n"


def http(body: bytes, *, status: str = "200 OK", length: int | None = None, more: str = KEPT) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{more}\r\n".encode() + body
