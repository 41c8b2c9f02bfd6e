r"""The PROXY protocol's header, row by row of HAProxy's specification (`doc/proxy-protocol.txt`, whose sections are named)."""

from ipaddress import ip_address
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.proxy_header import (
    LONGEST_BLOCK,
    LONGEST_LINE,
    SIGNATURE,
    Endpoints,
    ProxyHeaderError,
    begins_header,
    bytes_wanted,
    parse_header,
)

FOLLOWING: Final = b"CONNECT index.test:443 HTTP/1.1\r\n\r\n"
FULL_V6: Final = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
V4_PORTS: Final = (56324).to_bytes(2) + (443).to_bytes(2)
V4_BLOCK: Final = bytes([192, 168, 0, 1, 192, 168, 0, 11]) + V4_PORTS
V6_BLOCK: Final = ip_address("2001:db8::1").packed + ip_address("2001:db8::b").packed + V4_PORTS


def block(first: int, second: int, rest: bytes = b"", length: int | None = None) -> bytes:
    """A version 2 header: its 13th and 14th byte, and what follows; `length`: what its length field says, where that is a lie."""
    return SIGNATURE + bytes([first, second]) + (len(rest) if length is None else length).to_bytes(2) + rest


def ends(source: tuple[str, int], destination: tuple[str, int]) -> Endpoints:
    return Endpoints(source=source, destination=destination)


V4: Final = ends(("192.168.0.1", 56324), ("192.168.0.11", 443))
V6: Final = ends(("2001:db8::1", 56324), ("2001:db8::b", 443))
TLV: Final = b"\x04\x00\x03abc"

GOOD: Final[dict[str, tuple[bytes, Endpoints | None]]] = {
    "§2.1, its example": (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", V4),
    "§2.1 longest over IPv4": (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        ends(("255.255.255.255", 65535), ("255.255.255.255", 65535)),
    ),
    "§2.1 port 0": (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ends(("0.0.0.0", 0), ("0.0.0.0", 0))),
    "§2.1 IPv6": (b"PROXY TCP6 2001:db8::1 2001:db8::b 56324 443\r\n", V6),
    "§2.1 IPv6 in upper case and full": (
        b"PROXY TCP6 2001:0DB8:0:0:0:0:0:1 2001:DB8:0000::b 56324 443\r\n",
        V6,
    ),
    "§2.1 longest over IPv6": (
        f"PROXY TCP6 {FULL_V6} {FULL_V6} 65535 65535\r\n".encode(),
        ends((FULL_V6, 65535), (FULL_V6, 65535)),
    ),
    "§2.1 IPv4 within IPv6, as HAProxy sends for a mixed pair": (
        b"PROXY TCP6 ::ffff:192.168.0.1 ::ffff:192.168.0.11 56324 443\r\n",
        V4,
    ),
    "§2.1 UNKNOWN, short": (b"PROXY UNKNOWN\r\n", None),
    "§2.1 UNKNOWN, longest: the rest is ignored": (f"PROXY UNKNOWN {FULL_V6} {FULL_V6} 65535 65535\r\n".encode(), None),
    "§2.1 UNKNOWN with anything before the CRLF": (b"PROXY UNKNOWN \xff \x00 \n x\r\n", None),
    "§2.2 TCP over IPv4": (block(0x21, 0x11, V4_BLOCK), V4),
    "§2.2 TCP over IPv6": (block(0x21, 0x21, V6_BLOCK), V6),
    "§2.2 IPv4 within IPv6": (
        block(0x21, 0x21, bytes(10) + b"\xff\xff\xc0\xa8\0\1" + bytes(10) + b"\xff\xff\xc0\xa8\0\x0b" + V4_PORTS),
        V4,
    ),
    "§2.2 LOCAL": (block(0x20, 0x00), None),
    "§2.2 LOCAL with an address block, which is skipped": (block(0x20, 0x11, V4_BLOCK), None),
    "§2.2 LOCAL with a family that is ignored": (block(0x20, 0xFF, b"any"), None),
    "§2.2 UNSPEC": (block(0x21, 0x00), None),
    "§2.2 UNSPEC with bytes, which are skipped": (block(0x21, 0x00, b"any"), None),
    "§2.2 AF_INET without a protocol": (block(0x21, 0x10, V4_BLOCK), None),
    "§2.2 AF_UNSPEC with STREAM": (block(0x21, 0x01, V4_BLOCK), None),
    "§2.2 UDP over IPv4 counts as UNSPEC": (block(0x21, 0x12, V4_BLOCK), None),
    "§2.2 UDP over IPv6 counts as UNSPEC": (block(0x21, 0x22, V6_BLOCK), None),
    "§2.2 UNIX stream counts as UNSPEC": (block(0x21, 0x31, bytes(216)), None),
    "§2.2 UNIX datagram counts as UNSPEC": (block(0x21, 0x32, bytes(216)), None),
    "§2.2.4 a TLV after the addresses": (block(0x21, 0x11, V4_BLOCK + TLV), V4),
    "§2.2.1–7 TLVs of known, custom and future types": (
        block(0x21, 0x21, V6_BLOCK + b"".join(bytes([kind]) + b"\0\1x" for kind in (1, 2, 3, 5, 0x20, 0x30, 0xE0, 0xFF))),
        V6,
    ),
    "§2.2 bytes that are no TLV are skipped too": (block(0x21, 0x11, V4_BLOCK + b"\x04\xff\xff"), V4),
    "our limit, just reached": (block(0x21, 0x11, V4_BLOCK + bytes(LONGEST_BLOCK - 28)), V4),
}  # fmt: skip


@pytest.mark.parametrize(("header", "expected"), GOOD.values(), ids=list(GOOD))
def test_a_good_header(header: bytes, expected: Endpoints | None) -> None:
    """It is read in pieces of every size, and never a byte past its end."""
    assert parse_header(header) == expected
    assert read(header + FOLLOWING, 65536) == header
    assert read(header + FOLLOWING, 1) == header
    assert read(header + FOLLOWING, 7) == header


def read(sent: bytes, most: int) -> bytes:
    """What is read of a connection that brings at most so many bytes at once."""
    received = b""
    while wanted := bytes_wanted(received):
        more = sent[len(received) : len(received) + min(wanted, most)]
        assert more, f"{wanted} more bytes are wanted after {received!r}"
        received += more
    return received


BAD: Final[dict[str, bytes]] = {
    "§2.1 leading zero in an address": b"PROXY TCP4 192.168.00.1 192.168.0.11 56324 443\r\n",
    "§2.1 number above 255": b"PROXY TCP4 192.168.0.256 192.168.0.11 56324 443\r\n",
    "§2.1 three numbers": b"PROXY TCP4 192.168.1 192.168.0.11 56324 443\r\n",
    "§2.1 leading zero in a port": b"PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n",
    "§2.1 port above 65535": b"PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
    "§2.1 port of 00": b"PROXY TCP4 192.168.0.1 192.168.0.11 00 443\r\n",
    "§2.1 signed port": b"PROXY TCP4 192.168.0.1 192.168.0.11 +1 443\r\n",
    "§2.1 no port": b"PROXY TCP4 192.168.0.1 192.168.0.11 443\r\n",
    "§2.1 a further word": b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 x\r\n",
    "§2.1 two blanks": b"PROXY  TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    "§2.1 a tab": b"PROXY TCP4\t192.168.0.1 192.168.0.11 56324 443\r\n",
    "§2.1 blank at the end": b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n",
    "§2.1 addresses of the other family": b"PROXY TCP4 2001:db8::1 2001:db8::b 56324 443\r\n",
    "§2.1 families mixed": b"PROXY TCP6 2001:db8::1 192.168.0.11 56324 443\r\n",
    "§2.1 TCP6 with IPv4 addresses": b"PROXY TCP6 192.168.0.1 192.168.0.11 56324 443\r\n",
    "§2.1 two double colons": b"PROXY TCP6 2001::db8::1 2001:db8::b 56324 443\r\n",
    "§2.1 five digits": b"PROXY TCP6 2001:0db80::1 2001:db8::b 56324 443\r\n",
    "§2.1 a zone": b"PROXY TCP6 fe80::1%1 2001:db8::b 56324 443\r\n",
    "§2.1 brackets": b"PROXY TCP6 [2001:db8::1] 2001:db8::b 56324 443\r\n",
    "§2.1 a name": b"PROXY TCP4 client.test 192.168.0.11 56324 443\r\n",
    "§2.1 lower case": b"proxy TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    "§2.1 lower case protocol": b"PROXY tcp4 192.168.0.1 192.168.0.11 56324 443\r\n",
    "§2.1 UDP": b"PROXY UDP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    "§2.1 UNKNOWN with a letter more": b"PROXY UNKNOWNS\r\n",
    "§2.1 a lone LF": b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n" + FOLLOWING,
    "§2.1 a lone CR": b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r" + FOLLOWING,
    "§2.1 a byte before": b" PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    "§2.1 no CRLF in 107 bytes": b"PROXY UNKNOWN ".ljust(LONGEST_LINE, b"x") + b"\r\n",
    "§2.1 empty": b"PROXY \r\n\r\n\r\n\r\n",
    "§2.2 a version that is not 2": block(0x11, 0x11, V4_BLOCK),
    "§2.2 version 3": block(0x31, 0x11, V4_BLOCK),
    "§2.2 an unassigned command": block(0x22, 0x11, V4_BLOCK),
    "§2.2 an unspecified family": block(0x21, 0x41, V4_BLOCK),
    "§2.2 an unspecified protocol": block(0x21, 0x13, V4_BLOCK),
    "§2.2 both": block(0x21, 0xFF, V4_BLOCK),
    "§2.2 IPv4 addresses cut short": block(0x21, 0x11, V4_BLOCK[:-1]),
    "§2.2 no addresses": block(0x21, 0x11),
    "§2.2 IPv6 addresses cut short": block(0x21, 0x21, V6_BLOCK[:-1]),
    "§2.2 UNIX addresses cut short": block(0x21, 0x31, bytes(215)),
    "§2.2 UDP addresses cut short": block(0x21, 0x12, V4_BLOCK[:-1]),
    "§2.2 the signature's last byte": block(0x21, 0x11, V4_BLOCK).replace(b"QUIT\n", b"QUIT\r"),
    "our limit, passed": block(0x21, 0x11, length=LONGEST_BLOCK - 15),
    "§2 up to 64 kB": block(0x21, 0x11, length=65535),
    "§2 a request": FOLLOWING,
    "§2 TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "§2 a request by the method PROXY": b"PROXY http://index.test/ HTTP/1.1\r\n\r\n",
    "§2.2 blank lines and a request": b"\r\n\r\n" + FOLLOWING,
}


@pytest.mark.parametrize("header", BAD.values(), ids=list(BAD))
def test_a_bad_header(header: bytes) -> None:
    """§2.1: any sequence that does not match exactly ends the connection, whole or byte by byte."""
    for most in (65536, 1):
        with pytest.raises(ProxyHeaderError):
            parse_header(read(header + FOLLOWING, most))


def test_no_header_is_refused_at_its_first_wrong_byte() -> None:
    """Else a client that waits for its answer would be waited for."""
    for begun in (b"G", b"\x16", b"PROXX", b"\r\n\r\n\0\r\nR"):
        assert bytes_wanted(begun[:-1])
        with pytest.raises(ProxyHeaderError):
            bytes_wanted(begun)


def test_a_line_that_never_ends() -> None:
    """§2.1: 107 bytes are read of it, and no more."""
    assert bytes_wanted(b"PROXY ".ljust(LONGEST_LINE - 1, b"x")) == 1
    with pytest.raises(ProxyHeaderError):
        bytes_wanted(b"PROXY ".ljust(LONGEST_LINE, b"x"))
    assert bytes_wanted(b"PROXY UNKNOWN ".ljust(LONGEST_LINE - 2, b"x") + b"\r\n") == 0


@given(st.binary(max_size=200))
def test_any_bytes(tail: bytes) -> None:
    """Whatever comes is an answer or a ProxyHeaderError, and never more than one limit or the other."""
    for start in (b"", b"PROXY TCP4 ", b"PROXY TCP6 ", SIGNATURE + b"\x21\x11\x00", SIGNATURE):
        try:
            header = read(start + tail + bytes(LONGEST_BLOCK), 65536)
            parse_header(header)
        except ProxyHeaderError:
            continue
        assert len(header) <= LONGEST_BLOCK


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"PROXY TCP4 ", True),
        (b"PROXY TCP6 2001:db8::1 2001:db8::b 1 2\r\n", True),
        (b"PROXY UNKNOWN\r\n", True),
        (b"PROXY UNKNOWN x\r\n", True),
        (b"\0", True),  # version 2 after the blank lines that it begins with
        (SIGNATURE[4:], True),
        (SIGNATURE[4:] + b"\x21\x11", True),
        (b"", False),
        (b"PROXY", False),
        (b"PROXY http://index.test/ HTTP/1.1\r\n", False),
        (b"PROXY TCP5 ", False),
        (b"GET / HTTP/1.1\r\n", False),
        (b"\0GET", False),
        (b"QUIT\n", False),
    ],
)
def test_a_header_where_none_belongs(received: bytes, expected: bool) -> None:
    assert begins_header(received) is expected
