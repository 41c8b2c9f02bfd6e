"""Response splitting behind a front end that keeps its connections: what one client asks for, and what the next one gets.

Where a HEAD is answered with a body, the front end takes that for the answer to whoever comes next on the connection. The body was an
error's text with the client's own words in it, line ends and all, so the next client got a page of the attacker's.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from typing import Final
from urllib.parse import quote

INJECTED: Final = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 8\r\n\r\ninjected"
_NAME: Final = quote(f"x\r\n{INJECTED}-1.0.tar.gz", safe="")

HARM: Final = (
    f"HEAD /pypi/files/https/localhost:1/{_NAME} HTTP/1.1",
    f"HEAD /pypi/packages/00/11/{'2' * 60}/{_NAME} HTTP/1.1",
    f"HEAD /pypi/simple/{_NAME}/ HTTP/1.1",
    f"HEAD /{_NAME} HTTP/1.1",
    "HEAD /pypi/simple/denied/ HTTP/1.1",
    "HEAD /pypi/simple/missing/ HTTP/1.1",
    "HEAD /dead/simple/x/ HTTP/1.1",
    f"HEAD /{'a' * 3000} HTTP/1.1",
    f"HEAD /dead/files/http/127.0.0.1:9/{_NAME} HTTP/1.1",
)


def rounds(port: int, count: int) -> Iterator[str]:
    """Ask for harm and then, as another client, for a page, so many times; yields what was wrong, '' where nothing was."""
    for _, line in zip(range(count), cycle(HARM), strict=False):
        harmed = ask(port, line)
        if not harmed.startswith(b"HTTP/1.1 ") or harmed.partition(b"\r\n\r\n")[2]:
            yield f"{line[:60]}: {harmed[:200]!r}"
            continue
        got = ask(port, "GET /healthz HTTP/1.1")
        right = got.startswith(b"HTTP/1.1 200 ") and b'"uptime_seconds"' in got and b"injected" not in got
        yield "" if right else f"{line[:60]}, then GET /healthz: {got[:200]!r}"


def ask(port: int, line: str) -> bytes:
    """All that comes back on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(f"{line}\r\nHost: a.test\r\nConnection: close\r\n\r\n".encode())
        received = b""
        with suppress(OSError):  # a reset, or nothing for ten seconds
            while piece := sock.recv(65536):
                received += piece
        return received
