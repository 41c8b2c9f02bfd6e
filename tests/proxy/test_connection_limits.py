"""The measure of request heads: just below and just above each limit, however the bytes arrive."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.proxy import connection_limits as limits
from pkgcache.proxy.connection_limits import MAX_FIELDS, MAX_HEAD, MAX_LINE, Excess, HeadMeter, refusal

LINE: Final = b"GET / HTTP/1.1\r\n"
WIDE: Final = b"W: " + b"w" * 4091 + b"\r\n"

HEADS: Final[dict[str, tuple[bytes, Excess | None]]] = {
    "nothing": (b"", None),
    "a short head": (LINE + b"Host: a.test\r\n\r\n", None),
    "what follows a head is not measured": (LINE + b"\r\n" + b"b" * MAX_HEAD, None),
    "nor is it after bare line feeds": (b"GET / HTTP/1.1\n\n" + b"b" * MAX_HEAD, None),
    "nor after mixed line ends": (b"GET / HTTP/1.1\n\r\n" + b"b" * MAX_HEAD, None),
    "a line at the limit": (b"G" * (MAX_LINE - 1) + b"\r\n\r\n", None),
    "a line above": (b"G" * (MAX_LINE + 1), limits.LINE_TOO_LONG),
    "a line above, with its end": (b"G" * (MAX_LINE + 1) + b"\n\n", limits.LINE_TOO_LONG),
    "a field at the limit": (LINE + b"A" * (MAX_LINE - 1) + b"\r\n\r\n", None),
    "a field above": (LINE + b"A" * (MAX_LINE + 1), limits.FIELD_TOO_LONG),
    "a folded field above": (LINE + b"A: b\r\n" + b" ".ljust(MAX_LINE + 1), limits.FIELD_TOO_LONG),
    "returns alone end no line": (LINE + b"A: b\r" * MAX_LINE, limits.FIELD_TOO_LONG),
    "a line of one blank is not the end": (LINE + b" \n" + b"A" * (MAX_LINE + 1), limits.FIELD_TOO_LONG),
    "a line of one tab is not the end": (LINE + b"\t\n" + b"A" * (MAX_LINE + 1), limits.FIELD_TOO_LONG),
    "a line of a letter is not the end": (LINE + b"a\n" + b"A" * (MAX_LINE + 1), limits.FIELD_TOO_LONG),
    "two returns are not the end": (LINE + b"\r\r\n" + b"A" * (MAX_LINE + 1), limits.FIELD_TOO_LONG),
    "fields at the limit": (LINE + b"a:\n" * MAX_FIELDS + b"\n", None),
    "fields above": (LINE + b"a:\n" * (MAX_FIELDS + 1), limits.TOO_MANY_FIELDS),
    "folds above": (LINE + b"a:\n" + b" b\n" * MAX_FIELDS, limits.TOO_MANY_FIELDS),
    "a head above": (LINE + WIDE * (MAX_HEAD // len(WIDE) + 1), limits.HEAD_TOO_LONG),
    "a head above in wide lines": (LINE + (b"A" * MAX_LINE + b"\n") * 9, limits.HEAD_TOO_LONG),
}


@pytest.mark.parametrize("size", [10**6, 700, 1])
@pytest.mark.parametrize("name", HEADS)
def test_a_head(name: str, size: int) -> None:
    data, expected = HEADS[name]
    meter, received = HeadMeter(), bytearray()
    seen = None
    for at in range(0, len(data), size):
        received += data[at : at + size]
        seen = seen or meter.excess(received)
    assert seen == expected


@given(
    st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b" ", b"a" * 3000, b"a:\n" * 90]), max_size=60),
    st.integers(1, 5000),
)
def test_pieces_do_not_matter(parts: list[bytes], size: int) -> None:
    """Whether a head is refused does not depend on how it arrives."""
    data = b"".join(parts)
    meter, seen = HeadMeter(), None
    for end in range(size, len(data) + size, size):
        seen = seen or meter.excess(data[:end])
    assert (seen is None) == (HeadMeter().excess(data) is None)


@pytest.mark.parametrize("excess", [value for value in vars(limits).values() if isinstance(value, Excess)])
def test_a_refusal(excess: Excess) -> None:
    head, _, body = refusal(excess).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % excess.status)
    assert b"Content-Length: %d" % len(body) in head
    assert body.decode() == excess.text + "\n"
