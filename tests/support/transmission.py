"""Sending an answer, with whatever a behaviour does to its bytes, its timing and its connection."""

import asyncio
import fcntl
import socket
import struct
import termios
import time
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from tests.support.answers import Answer
from tests.support.behaviour import Behaviour
from tests.support.clock import furthest
from tests.support.pace import Bucket

PIECE: Final = 512 * 1024
TICK: Final = 0.005


class Hangup(Exception):  # noqa: N818 - an event, not an error
    """The connection ends here: as scripted (`meant`), or because the client left."""

    def __init__(self, *, meant: bool) -> None:
        super().__init__(meant)
        self.meant = meant


async def transmit(
    answer: Answer,
    is_head: bool,
    behaviour: Behaviour,
    shared: Bucket | None,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    sent: Callable[[int], None],
) -> None:
    """Send the answer; `sent` is told of each body piece. Hangup where the connection is not to be used again."""
    if behaviour.gate is not None and behaviour.stall_after is None:
        await _wait_for_gate(behaviour, reader, writer)
    if behaviour.delay:
        await _idle(behaviour.delay, reader, writer)
    if behaviour.drop:
        await _hang_up(writer, reset=behaviour.reset)
    if behaviour.raw is not None:
        writer.write(behaviour.raw)
        sent(len(behaviour.raw))
        await _hang_up(writer, reset=False)

    length = answer.stop - answer.start
    bodyless = is_head or answer.status in (204, 304)
    writer.write(_head(answer, length, behaviour, bodyless=bodyless))
    if bodyless:
        await writer.drain()
        return
    limit = length - behaviour.truncate
    if behaviour.cut_after is not None:
        limit = min(limit, behaviour.cut_after)
    stall = behaviour.stall_after
    buckets = [shared] if shared is not None else []
    if behaviour.pace is not None:
        buckets.append(Bucket(behaviour.pace))
    done = 0
    async for piece in _pieces(answer, max(0, limit), stall, buckets):
        if stall is not None and done == stall:
            await _stall(behaviour, reader, writer)
        if piece:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)) if behaviour.framing == "chunked" else piece)
            await writer.drain()
            done += len(piece)
            sent(len(piece))
    if done < length or behaviour.cut_after == length:
        await _hang_up(writer, reset=behaviour.reset)
    if behaviour.framing == "chunked":
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    lies = behaviour.content_length not in (None, length)
    if behaviour.framing == "close" or lies:
        await _hang_up(writer, reset=False)


def _head(answer: Answer, length: int, behaviour: Behaviour, *, bodyless: bool) -> bytes:
    headers = {"Date": formatdate(furthest(), usegmt=True), "Server": "scripted"} | answer.headers
    if behaviour.content_length is not None:
        headers.setdefault("Content-Length", str(behaviour.content_length))
    elif answer.status not in (204, 304):
        match behaviour.framing:
            case "length":
                headers.setdefault("Content-Length", str(length))
            case "chunked":
                headers.setdefault("Transfer-Encoding", "chunked")
            case "close" if not bodyless:
                headers.setdefault("Connection", "close")
            case "close":
                pass
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Scripted"
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _pieces(
    answer: Answer, limit: int, stall: int | None, buckets: list[Bucket]
) -> AsyncIterator[bytes | memoryview]:
    """The first `limit` body bytes, with a border at `stall` (an empty piece where that is the body's end), in time."""
    size = min([PIECE, *(bucket.piece for bucket in buckets)])
    borders = sorted({limit, stall} if stall is not None and stall <= limit else {limit})
    with answer.content.reading() as read:
        offset = 0
        for border in borders:
            while offset < border:
                piece = read(answer.start + offset, min(size, border - offset))
                for bucket in buckets:
                    await bucket.take(len(piece))
                yield piece
                offset += len(piece)
    if stall == limit:
        yield b""


async def _stall(behaviour: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if behaviour.gate is not None:
        await _wait_for_gate(behaviour, reader, writer)
    else:
        await _idle(behaviour.stall_for, reader, writer)


async def _wait_for_gate(behaviour: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while behaviour.gate is not None and not behaviour.gate.is_set():
        await _tick(TICK, reader, writer)


async def _idle(seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        await _tick(min(left, TICK), reader, writer)


async def _tick(seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait a little, and notice when the client has left."""
    if reader.at_eof() or writer.transport.is_closing():
        raise Hangup(meant=False)
    await asyncio.sleep(seconds)


async def _hang_up(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """End the connection; by RST only once the client's kernel has all that was written, or some would be lost."""
    if reset:
        plain = writer.get_extra_info("socket")
        deadline = time.monotonic() + 5
        while _unsent(writer, plain) and time.monotonic() < deadline:
            await asyncio.sleep(TICK)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    raise Hangup(meant=True)


def _unsent(writer: asyncio.StreamWriter, plain: socket.socket) -> int:
    """Bytes on their way: in the TLS layer, in the transport below it, and in the kernel, not yet acknowledged."""
    below = getattr(getattr(writer.transport, "_ssl_protocol", None), "_transport", None)
    buffered = writer.transport.get_write_buffer_size() + (below.get_write_buffer_size() if below else 0)
    in_kernel: int = struct.unpack("i", fcntl.ioctl(plain.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return buffered + in_kernel
