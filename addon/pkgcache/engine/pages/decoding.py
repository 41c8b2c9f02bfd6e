"""Takes off the content coding (RFC 9110 §8.4) that a page or a list came in: in pieces, so that a bomb takes no memory.

Upstreams are asked for gzip, and some send deflate. Several gzip members are one text (RFC 1952 §2.2), with zeros between or behind
them where a server pads its blocks. Anything else behind the last member is an error: it may be the rest of the page, and a shorter
page would hide versions. Leaves out: br and zstd, which are not asked for and so refused.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.http.content_coding import content_coding
from pkgcache.rules.routing.urls import Url

PIECE = 16 * 1024
"""The most bytes of a piece, as it comes and decompressed: a list's worst one is worked on for a millisecond."""

MAX_MEMBERS = 4096
"""Of a body. `bgzip` makes one of each 64 KiB; smaller ones take longer to begin than to decompress."""

_GZIP_MARK = b"\x1f"


class ContentDecoder:
    """One body, fed as it comes. `coding` is its Content-Encoding. Raises UpstreamError."""

    def __init__(self, coding: str, url: Url) -> None:
        coding = content_coding(coding)
        if coding not in {"", "gzip", "deflate"}:
            raise UpstreamError(Failure.WRONG_ENCODING, url, f"sent as {coding!r}, which was not asked for")
        self._url = url
        self._plain = not coding
        self._decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by its header
        self._members = 1
        self._is_gzip = False
        self._padded = False

    @property
    def is_identity(self) -> bool:
        """Whether the body comes as it is."""
        return self._plain

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, as far as the coding tells."""
        return self._plain or self._decoder.eof

    @property
    def is_one_member(self) -> bool:
        """Whether the body is gzip that any client can decompress: many stop after the first member."""
        return self._is_gzip and not self._padded and self.whole

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The next bytes decompressed, at most PIECE at a time."""
        for at in range(0, len(chunk), PIECE):
            piece = chunk[at : at + PIECE]
            if self._plain:
                yield piece
                continue
            try:
                yield from self._decompressed(piece)
            except zlib.error as error:
                raise UpstreamError(
                    Failure.WRONG_ENCODING, self._url, f"it is not compressed as it says: {error}"
                ) from error

    def _decompressed(self, piece: bytes) -> Iterator[bytes]:
        self._is_gzip = self._is_gzip or piece.startswith(_GZIP_MARK)
        while piece:
            if self._decoder.eof:
                self._padded = True  # by whatever follows: only zeros, or another member
                if not (piece := piece.lstrip(b"\0")):
                    return
                if not self._is_gzip or not piece.startswith(_GZIP_MARK):
                    raise UpstreamError(Failure.WRONG_ENCODING, self._url, "something follows what it sent compressed")
                self._members += 1
                if self._members > MAX_MEMBERS:
                    raise UpstreamError(
                        Failure.WRONG_ENCODING, self._url, f"it is more than {MAX_MEMBERS:,} gzip members"
                    )
                self._decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            if plain := self._decoder.decompress(piece, PIECE):
                yield plain
            piece = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail


def decoded(body: bytes, coding: str, url: Url, limit: int) -> tuple[bytes, bool]:
    """A whole body of at most `limit` bytes decompressed, and whether it is `is_one_member`. Raises UpstreamError."""
    decoder = ContentDecoder(coding, url)
    if decoder.is_identity and len(body) <= limit:
        return body, False
    plain = io.BytesIO()  # its value is no copy, as that of a bytearray is
    for piece in decoder.feed(body):
        plain.write(piece)
        if plain.tell() > limit:
            raise UpstreamError(Failure.WRONG_LENGTH, url, f"it is longer than {limit:,} bytes when decompressed")
    if not decoder.whole:
        raise UpstreamError(Failure.WRONG_LENGTH, url, "what it sent compressed is cut short")
    return plain.getvalue(), decoder.is_one_member
