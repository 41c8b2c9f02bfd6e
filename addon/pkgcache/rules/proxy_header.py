r"""The PROXY protocol's header, by which a balancer says whose connection it passes on: how far it goes, and what it says.

Versions 1 (a line of text) and 2 (binary) of HAProxy's specification, `doc/proxy-protocol.txt`; the sections named here are its own.
Leaves out: the TLVs behind the addresses, which are skipped (§2.2), the checksum among them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""§2.2: how version 2 begins."""

LONGEST_LINE: Final = 107
"""§2.1: bytes of a version 1 header with its CRLF, at most."""

LONGEST_BLOCK: Final = 4096
"""Bytes of a version 2 header, at most, as nginx has it. Its length field could say 64 kB; senders are to stay within 536 (§2)."""

_FIXED: Final = 16
"""§2.2: bytes of version 2 before the addresses."""

_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: .*)?|TCP([46]) ([0-9a-fA-F.:]{2,39}) ([0-9a-fA-F.:]{2,39}) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n",
    re.DOTALL,
)
_ADDRESS_BYTES: Final = {1: 4, 2: 16, 3: 108}
"""§2.2: bytes of one address, by family: AF_INET, AF_INET6, AF_UNIX."""

_STREAM: Final = 1

type Endpoint = tuple[str, int]


class ProxyHeaderError(ValueError):
    """What came is no PROXY header, or a malformed one. The message ends a sentence that begins with the sender's address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Both ends of the connection that a client has made to the balancer, as (address, port)."""

    source: Endpoint
    destination: Endpoint


def bytes_wanted(received: bytes) -> int:
    r"""Return how many bytes of the header are missing, or fewer, and never more; 0: it is complete. Raises ProxyHeaderError.

    What does not begin as a header does is refused at once.

    >>> bytes_wanted(b""), bytes_wanted(b"PROXY UNKNOWN\r"), bytes_wanted(b"PROXY UNKNOWN\r\n"), bytes_wanted(SIGNATURE)
    (12, 1, 0, 4)
    """
    known = len(SIGNATURE)
    if received[:known] == SIGNATURE[: len(received)]:
        if len(received) < _FIXED:
            return (known if len(received) < known else _FIXED) - len(received)
        length = _FIXED + int.from_bytes(received[14:16])
        if length > LONGEST_BLOCK:
            raise ProxyHeaderError(f"sent a PROXY header of {length} bytes; at most {LONGEST_BLOCK} are read")
        return length - len(received)
    if received[:6] != b"PROXY "[: len(received)]:
        raise ProxyHeaderError("sent no PROXY header, which pypi_cache_proxy_protocol requires of this address")
    if received.endswith(b"\r\n"):
        return 0
    if len(received) >= LONGEST_LINE:
        raise ProxyHeaderError(f"sent a PROXY line of more than {LONGEST_LINE} bytes")
    return max(1, known - len(received))


def parse_header(header: bytes) -> Endpoints | None:
    r"""Read a complete header; None where the connection's own ends hold (LOCAL, UNKNOWN). Raises ProxyHeaderError.

    >>> parse_header(b"PROXY TCP4 192.0.2.1 192.0.2.9 50000 8080\r\n")
    Endpoints(source=('192.0.2.1', 50000), destination=('192.0.2.9', 8080))
    """
    return _parse_block(header) if header.startswith(SIGNATURE) else _parse_line(header)


def begins_header(received: bytes | bytearray) -> bool:
    """Whether a PROXY header was begun where a request was expected. Blank lines, and so version 2's first four bytes, are left out."""
    rest = SIGNATURE[4:]
    return bool(_BEGINNING.match(received)) or (bool(received) and rest[: len(received)] == received[: len(rest)])


_BEGINNING: Final = re.compile(rb"PROXY (?:TCP[46] |UNKNOWN[ \r])")


def _parse_line(line: bytes) -> Endpoints | None:
    """§2.1. Any sequence that does not match exactly is refused."""
    match = _LINE.fullmatch(line)
    if match is None or line.index(b"\r\n") != len(line) - 2:
        raise ProxyHeaderError("sent a malformed PROXY line")
    family, source, destination, source_port, destination_port = match.groups()
    if family is None:
        return None
    kind = IPv4Address if family == b"4" else IPv6Address
    try:
        return Endpoints(
            source=_endpoint(kind(source.decode()), int(source_port)),
            destination=_endpoint(kind(destination.decode()), int(destination_port)),
        )
    except ValueError:
        raise ProxyHeaderError("sent a PROXY line with a malformed address or port") from None


def _parse_block(block: bytes) -> Endpoints | None:
    """§2.2. Families and protocols that are allowed and none of ours count as UNSPEC."""
    version, command = divmod(block[12], 16)
    if version != 2 or command > 1:
        raise ProxyHeaderError(f"sent a PROXY header with an unknown version or command (0x{block[12]:02x})")
    if command == 0:  # LOCAL: the block is discarded, with its family
        return None
    family, protocol = divmod(block[13], 16)
    if family > 3 or protocol > 2:
        raise ProxyHeaderError(f"sent a PROXY header with an unknown family or protocol (0x{block[13]:02x})")
    if not (family and protocol):
        return None
    size = _ADDRESS_BYTES[family]
    addresses = block[_FIXED:]
    if len(addresses) < 2 * size + (4 if family < 3 else 0):
        raise ProxyHeaderError("sent a PROXY header that is too short for its addresses")
    if family == 3 or protocol != _STREAM:
        return None
    kind = IPv4Address if family == 1 else IPv6Address
    ports = addresses[2 * size :]
    return Endpoints(
        source=_endpoint(kind(addresses[:size]), int.from_bytes(ports[:2])),
        destination=_endpoint(kind(addresses[size : 2 * size]), int.from_bytes(ports[2:4])),
    )


def _endpoint(ip: IPv4Address | IPv6Address, port: int) -> Endpoint:
    """An IPv4 address within IPv6 is the same client as the address alone."""
    if port > 65535:
        raise ValueError(port)
    return str(getattr(ip, "ipv4_mapped", None) or ip), port
