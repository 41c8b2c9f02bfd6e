"""Chunked bodies: each row whole, byte by byte, and with the next request behind it."""

from collections.abc import Callable, Iterable
from typing import Final

import h11
import pytest
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.proxy.chunked_body import ChunkedBody
from pkgcache.proxy.connection_limits import MAX_CHUNK_LINE, MAX_TRAILERS

END: Final = b"0\r\n\r\n"

BODIES: Final = {
    "nothing": (END, b""),
    "one chunk": (b"3\r\nabc\r\n" + END, b"abc"),
    "two chunks": (b"3\r\nabc\r\n2\r\nde\r\n" + END, b"abcde"),
    "small and capital digits": (b"a\r\n0123456789\r\nA\r\n0123456789\r\n" + END, b"0123456789" * 2),
    "leading zeros": (b"0003\r\nabc\r\n0000\r\n\r\n", b"abc"),
    "a line end within the data": (b"4\r\n\r\n\r\n\r\n" + END, b"\r\n\r\n"),
    "an extension": (b"3;name=value\r\nabc\r\n0;last\r\n\r\n", b"abc"),
    "an extension with a quoted string": (b'3;name="; 5"\r\nabc\r\n' + END, b"abc"),
    "S3's signature": (b"3;chunk-signature=" + b"0" * 64 + b"\r\nabc\r\n" + END, b"abc"),
    "blanks after the size": (b"3 \t\r\nabc\r\n" + END, b"abc"),
    "a line at the limit": (b"3;".ljust(MAX_CHUNK_LINE, b"e") + b"\r\nabc\r\n" + END, b"abc"),
    "trailers": (b"3\r\nabc\r\n0\r\nA: b\r\nC: d\r\n\r\n", b"abc"),
    "a strange trailer": (b"0\r\n\x00\xff: \r\n\r\n", b""),
    "trailers at the limit": (b"0\r\n" + b"A: b".ljust(MAX_TRAILERS, b"b") + b"\r\n\r\n", b""),
}
WRONG: Final = {
    "no size": b"\r\nabc",
    "no digit": b"x\r\n",
    "a sign": b"+3\r\nabc\r\n",
    "a minus": b"-3\r\nabc\r\n",
    "a prefix": b"0x3\r\nabc\r\n",
    "a blank first": b" 3\r\nabc\r\n",
    "an underscore": b"1_0\r\n",
    "digits of another script": "٣\r\nabc\r\n".encode(),
    "two sizes": b"3 3\r\nabc\r\n",
    "17 digits": b"1" * 17 + b"\r\n",
    "a bare line feed after the size": b"3\nabc\r\n0\r\n\r\n",
    "a bare line feed in an extension": b"3;a\nb\r\nabc\r\n",
    "a bare return in an extension": b"3;a\rb\r\nabc\r\n",
    "a zero byte in an extension": b"3;a\0b\r\nabc\r\n",
    "data beyond the size": b"3\r\nabcd\r\n",
    "data with a bare line feed behind": b"3\r\nabc\n2\r\nde\r\n",
    "a line above the limit": b"3;".ljust(MAX_CHUNK_LINE + 1, b"e") + b"\r\nabc\r\n",
    "a line without an end": b"3;".ljust(MAX_CHUNK_LINE + 2, b"e"),
    "digits without an end": b"1" * (MAX_CHUNK_LINE + 2),
    "a trailer above the limit": b"0\r\n" + b"A: b".ljust(MAX_TRAILERS + 1, b"b") + b"\r\n",
    "a trailer without an end": b"0\r\n" + b"A" * (MAX_TRAILERS + 2),
    "many trailers": b"0\r\n" + b"A: b\r\n" * (MAX_TRAILERS // 4 + 1),
    "much blank after a size": b"3" + b" " * (MAX_CHUNK_LINE + 2),
}


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def bytewise(data: bytes) -> Iterable[bytes]:
    return (bytes((value,)) for value in data)


def decoded(pieces: Iterable[bytes], reader: ChunkedBody | ChunkedReader) -> tuple[bytes, bool, bytes]:
    """The data, whether its end was seen, and what is left for the next request. Asks as mitmproxy does."""
    buffer, data = ReceiveBuffer(), b""
    ended = False
    for piece in pieces:
        buffer += piece
        while not ended and (event := reader(buffer)) is not None:
            if isinstance(event, h11.EndOfMessage):
                ended = True
            else:
                data += event.data
    return data, ended, bytes(buffer)


@pytest.mark.parametrize("pieces", [whole, bytewise])
@pytest.mark.parametrize("name", BODIES)
def test_a_body(name: str, pieces: Callable[[bytes], Iterable[bytes]]) -> None:
    raw, data = BODIES[name]
    assert decoded(pieces(raw + b"GET /"), ChunkedBody()) == (data, True, b"GET /")


@pytest.mark.parametrize("pieces", [whole, bytewise])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_body(name: str, pieces: Callable[[bytes], Iterable[bytes]]) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        decoded(pieces(WRONG[name]), ChunkedBody())


@pytest.mark.parametrize("name", BODIES)
def test_an_unfinished_body(name: str) -> None:
    raw, _ = BODIES[name]
    reader = ChunkedBody()
    assert not decoded(whole(raw[:-1]), reader)[1]
    with pytest.raises(h11.RemoteProtocolError):
        reader.read_eof()


def test_many_small_chunks_are_one_event() -> None:
    buffer = ReceiveBuffer()
    buffer += b"1\r\na\r\n" * 1000
    event = ChunkedBody()(buffer)
    assert isinstance(event, h11.Data)
    assert event.data == b"a" * 1000


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(1, 30)))
def test_like_h11(chunks: list[bytes], cuts: list[int]) -> None:
    """RFC 9112 §7.1: whatever is sent in chunks, however it arrives, is what h11's reader makes of it."""
    raw = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + END
    pieces, at = [], 0
    for cut in [*cuts, len(raw)]:
        pieces.append(raw[at : at + cut])
        at += cut
    ours, theirs = decoded(pieces, ChunkedBody()), decoded(pieces, ChunkedReader())
    assert ours == theirs == (b"".join(chunks), True, b"")


@given(st.binary(max_size=60), st.integers(1, 10))
def test_any_bytes(raw: bytes, size: int) -> None:
    """No exception but the one that mitmproxy expects, and the same outcome however the bytes arrive."""

    def outcome(pieces: Iterable[bytes]) -> object:
        try:
            return decoded(pieces, ChunkedBody())
        except h11.RemoteProtocolError:
            return "refused"

    in_pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    first, second = outcome(whole(raw)), outcome(in_pieces)
    assert first == second
