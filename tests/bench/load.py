"""Small requests one after the other on a kept-alive connection, each timed."""

import time
from collections.abc import Callable, Iterable
from typing import Final

from tests.support.index import HTML_TYPE, JSON_TYPE, PLAIN_HTML_TYPE
from tests.support.wire import Wire

PIP_ACCEPT: Final = f"{JSON_TYPE}, {HTML_TYPE}; q=0.1, {PLAIN_HTML_TYPE}; q=0.01"

_BUFFER: Final = 128 * 1024


def waits(wire: Wire, url: str, enough: Callable[[int], bool], *, pause: float = 0.0) -> list[float]:
    """Seconds that each answer took, one after the other with a pause, until there are `enough`. Raises RuntimeError as above."""
    request = _request(wire, url)
    buffer = memoryview(bytearray(_BUFFER))
    found: list[float] = []
    while not enough(len(found)):
        began = time.perf_counter()
        _exchange(wire, request, buffer)
        found.append(time.perf_counter() - began)
        time.sleep(pause)
    return found


def each_wait(wire: Wire, urls: Iterable[str], *, pause: float = 0.0) -> list[tuple[float, float]]:
    """When each of these was asked for, one after the other with a pause, and the seconds that its answer took. Raises as above."""
    buffer = memoryview(bytearray(_BUFFER))
    found: list[tuple[float, float]] = []
    for url in urls:
        request = _request(wire, url)
        began = time.perf_counter()
        _exchange(wire, request, buffer)
        found.append((began, time.perf_counter() - began))
        time.sleep(pause)
    return found


def _request(wire: Wire, url: str) -> bytes:
    return f"GET {wire.target(url)} HTTP/1.1\r\nHost: {wire.authority}\r\nAccept: {PIP_ACCEPT}\r\n\r\n".encode()


def _exchange(wire: Wire, request: bytes, buffer: memoryview) -> None:
    """One request and its answer, which must have a Content-Length and a head that comes in one piece."""
    wire.sock.sendall(request)
    got = wire.sock.recv_into(buffer)
    head, separator, _ = bytes(buffer[:got]).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or not separator:
        raise RuntimeError(f"not an answer: {head[:200]!r}")
    at = head.lower().index(b"\r\ncontent-length:") + 17
    left = int(head[at:].split(b"\r\n", 1)[0]) + len(head) + 4 - got
    while left > 0:
        got = wire.sock.recv_into(buffer)
        if not got:
            raise RuntimeError("the connection was closed within an answer")
        left -= got
