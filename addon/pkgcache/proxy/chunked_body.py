"""Decodes chunked request bodies (RFC 9112 §7.1), with limits on what is no data: size lines, their extensions, and trailers.

It stands in the place of h11's ChunkedReader, of which mitmproxy calls `reader(buffer)` and `read_eof`. That one has no limits, takes
quadratic time for some extensions, and makes an event of each chunk: 64 kB of chunks of one byte stopped the event loop for half a
second. Trailers are dropped, as §7.1.2 allows; mitmproxy would raise NotImplementedError. A line ends with CRLF and nothing else, as
what servers make of a bare LF differs, and requests can be smuggled by it.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NoReturn

import h11
from h11._receivebuffer import ReceiveBuffer

from pkgcache.proxy.connection_limits import MAX_CHUNK_LINE, MAX_TRAILERS

# §7.1: chunk-size [ chunk-ext ]. Blanks after the size are allowed, as some clients send them. 16 digits: more than any disk has.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n\0]*)?")


class _Awaited(Enum):
    SIZE = auto()
    END_OF_CHUNK = auto()
    TRAILERS = auto()
    NOTHING = auto()


_LONGEST_LINE = {_Awaited.SIZE: MAX_CHUNK_LINE, _Awaited.END_OF_CHUNK: 0, _Awaited.TRAILERS: MAX_TRAILERS}


class ChunkedBody:
    """One chunked body while it arrives."""

    def __init__(self) -> None:
        self._awaited = _Awaited.SIZE
        self._left = 0  # bytes of this chunk's data still to come, before what is awaited
        self._trailers = 0  # bytes of trailers so far

    def __call__(self, buffer: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        """Take what can be decoded out of `buffer`: data, the end, or None if more bytes are needed. Raises RemoteProtocolError."""
        received = buffer._data  # noqa: SLF001  its methods copy and shift all of it at each line
        pieces, position = self._decode(received)
        if position:
            buffer.maybe_extract_at_most(position)
        if pieces:
            return h11.Data(data=b"".join(pieces))
        return h11.EndOfMessage() if self._awaited is _Awaited.NOTHING else None

    def _decode(self, received: bytearray) -> tuple[list[bytearray], int]:
        """Return the data of all that is there, and how many bytes are done with. Chunks of one byte are why this loop is tight."""
        pieces: list[bytearray] = []
        position, size = 0, len(received)
        while position < size and self._awaited is not _Awaited.NOTHING:
            if self._left:
                piece = received[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left or received[position : position + 2] != b"\r\n":
                    continue
                position += 2
                self._awaited = _Awaited.SIZE
            limit = _LONGEST_LINE[self._awaited]
            end = received.find(b"\r\n", position, position + limit + 2)
            if end < 0:
                if size - position > limit + 1:
                    raise h11.RemoteProtocolError(
                        f"more than {limit} bytes where a chunk or its size line should have ended"
                    )
                break
            if self._awaited is _Awaited.SIZE:
                match = _SIZE_LINE.fullmatch(received, position, end)
                if match is None:
                    raise h11.RemoteProtocolError(f"not a chunk's size: {bytes(received[position : position + 40])!r}")
                self._left = int(match[1], 16)
                self._awaited = _Awaited.END_OF_CHUNK if self._left else _Awaited.TRAILERS
            elif self._awaited is _Awaited.END_OF_CHUNK:
                self._awaited = _Awaited.SIZE
            else:
                self._trailer(end - position)
            position = end + 2
        return pieces, position

    def _trailer(self, length: int) -> None:
        """Drop one line of trailers; an empty one ends the body."""
        self._trailers += length
        if not length:
            self._awaited = _Awaited.NOTHING
        elif self._trailers > MAX_TRAILERS:
            raise h11.RemoteProtocolError(f"the trailers have more than {MAX_TRAILERS} bytes")

    def read_eof(self) -> NoReturn:
        """Tell that the client has closed too early."""
        raise h11.RemoteProtocolError("the client closed the connection before the end of a chunked body")
