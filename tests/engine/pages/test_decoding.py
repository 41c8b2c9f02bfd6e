"""What content codings are taken off, piece by piece, and how much of a bomb is ever there."""

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.engine.pages.decoding import MAX_MEMBERS, PIECE, ContentDecoder, decoded
from pkgcache.engine.upstream.errors import UpstreamError
from pkgcache.rules.routing.urls import parse_url

URL = parse_url("https://mirror.test/simple/six/")
PAGE = b"<a href=six-1.0.zip>" * 20
LIMIT = 1 << 20
ZIPPED = gzip.compress(PAGE)


@pytest.mark.parametrize(
    ("coding", "body", "plain", "one"),
    [
        ("", PAGE, PAGE, False),
        ("identity", PAGE, PAGE, False),
        (" GZip ", ZIPPED, PAGE, True),
        ("x-gzip", ZIPPED, PAGE, True),
        ("deflate", zlib.compress(PAGE), PAGE, False),
        ("gzip", zlib.compress(PAGE), PAGE, False),
        ("gzip", ZIPPED + ZIPPED, PAGE + PAGE, False),
        ("gzip", b"".join(gzip.compress(PAGE[at : at + 1]) for at in range(len(PAGE))), PAGE, False),
        ("gzip", ZIPPED + bytes(100), PAGE, False),  # padded to a block
        ("gzip", ZIPPED + bytes(100) + ZIPPED + bytes(PIECE), PAGE + PAGE, False),
        ("deflate", zlib.compress(PAGE) + bytes(9), PAGE, False),
        ("gzip", gzip.compress(b""), b"", True),
        # what names no coding: pip and uv take the bytes as they are
        ("none", PAGE, PAGE, False),
        ("UTF-8", PAGE, PAGE, False),
        ("aws-chunked", PAGE, PAGE, False),
        ("aws-chunked,gzip", ZIPPED, PAGE, True),
        ("identity, gzip", ZIPPED, PAGE, True),
        ("gzip,", ZIPPED, PAGE, True),
        (",", PAGE, PAGE, False),
        ("gzip", gzip.compress(bytes(LIMIT)), bytes(LIMIT), True),
        ("gzip", gzip.compress(b"") * MAX_MEMBERS, b"", False),
    ],
)
def test_what_is_taken(coding: str, body: bytes, plain: bytes, one: bool) -> None:
    assert decoded(body, coding, URL, LIMIT) == (plain, one)


@pytest.mark.parametrize(
    ("coding", "body", "why"),
    [
        ("", bytes(LIMIT + 1), "longer than 1,048,576"),
        ("gzip", gzip.compress(bytes(LIMIT + 1)), "longer than 1,048,576"),
        ("gzip", gzip.compress(bytes(LIMIT)) + gzip.compress(b"1"), "longer than 1,048,576"),
        ("deflate", zlib.compress(bytes(20 * LIMIT)), "longer than 1,048,576"),
        ("gzip", gzip.compress(b"") * (MAX_MEMBERS + 1), "gzip members"),
        ("gzip", ZIPPED[:-9], "cut short"),
        ("gzip", ZIPPED[:-1], "cut short"),
        ("gzip", ZIPPED + ZIPPED[:-3], "cut short"),
        ("gzip", b"", "cut short"),
        ("gzip", PAGE, "not compressed as it says"),
        ("gzip", ZIPPED[:-8] + bytes(8), "not compressed as it says"),
        ("gzip", ZIPPED + b"\x1f" + bytes(9), "not compressed as it says"),
        ("deflate", b"\x78\x9c\xff", "not compressed as it says"),
        ("br", PAGE, "'br', which was not asked for"),
        ("zstd", PAGE, "not asked for"),
        ("compress", PAGE, "not asked for"),
        ("gzip, gzip", ZIPPED, "not asked for"),
        ("deflate, gzip", ZIPPED, "not asked for"),
        ("utf-8, br", PAGE, "'br', which was not asked for"),
        # the rest of the page may be in what follows: pip has installed an older version for that
        ("gzip", ZIPPED + b"x", "something follows"),
        ("gzip", ZIPPED + bytes(50) + b"x", "something follows"),
        ("gzip", ZIPPED + PAGE, "something follows"),
        ("gzip", ZIPPED + ZIPPED + b"<a>", "something follows"),
        ("gzip", ZIPPED + zlib.compress(PAGE), "something follows"),
        ("deflate", zlib.compress(PAGE) + ZIPPED, "something follows"),
        ("deflate", zlib.compress(PAGE)[:-1], "cut short"),
        ("x" * 10_000, PAGE, "x', which"),
    ],
)
def test_what_is_refused(coding: str, body: bytes, why: str) -> None:
    with pytest.raises(UpstreamError, match=why) as raised:
        decoded(body, coding, URL, LIMIT)
    assert len(str(raised.value)) < 300


@given(st.binary(max_size=2000), st.lists(st.integers(1, 300), min_size=1), st.sampled_from(["", "gzip", "deflate"]))
def test_however_it_comes(plain: bytes, sizes: list[int], coding: str) -> None:
    body = {"": plain, "gzip": gzip.compress(plain) * 2, "deflate": zlib.compress(plain)}[coding]
    decoder, out, rest = ContentDecoder(coding, URL), b"", body
    for size in [*sizes, len(body)]:
        out += b"".join(decoder.feed(rest[:size]))
        rest = rest[size:]
    assert out == plain * (2 if coding == "gzip" else 1)
    assert decoder.whole


def test_no_piece_of_a_bomb_is_large() -> None:
    pieces = ContentDecoder("gzip", URL).feed(gzip.compress(bytes(20 * PIECE)))
    assert {len(next(pieces)) for _ in range(19)} == {PIECE}


@given(st.sampled_from(["gzip", "deflate"]), st.binary(max_size=200))
def test_any_bytes(coding: str, body: bytes) -> None:
    """Nothing is raised but the one error."""
    for data in (body, ZIPPED[: len(body)] + body, ZIPPED + body):
        with contextlib.suppress(UpstreamError):
            decoded(data, coding, URL, LIMIT)
