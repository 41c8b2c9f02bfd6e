"""Mends the head of an upstream's response, so that a strict parser reads what a lenient one would have read.

pip, uv and curl accept each of these; aiohttp's parsers refuse them, and a refused head looks like a broken upstream:

| what was sent | what is read |
|---|---|
| several equal `Content-Length`s, in lines or in a list | one (RFC 9110 §8.6) |
| `Content-Length` beside `Transfer-Encoding: …chunked` | chunked (RFC 9112 §6.3), and the connection is not used again |
| `Transfer-Encoding: identity`, of RFC 2616 | none |
| an empty `Content-Length` | none: the body ends with the connection |
| a blank before a field's colon | without it (RFC 9112 §5.1) |
| a field whose name is no token | no such field |

Leaves out: `Content-Length`s that differ, which nobody should guess about (RFC 9112 §6.3), and lines that have no colon.
"""

import re
from typing import Final

_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_INTERIM: Final = re.compile(rb"HTTP/[0-9.]+ 1(?!01)[0-9]{2}\b")
_LENGTH, _TRANSFER = b"content-length", b"transfer-encoding"


def end_of_head(received: bytes | bytearray, looked_at: int = 0) -> int:
    r"""Where a head ends in what was received, behind its empty line; 0 where more must come.

    `looked_at`: so many bytes were looked through before, without finding it.

    >>> end_of_head(b"HTTP/1.1 200 OK\r\n\r\nbody")
    19
    """
    found = _HEAD_END.search(received, max(0, looked_at - len(b"\r\n\r")))
    return found.end() if found else 0


def is_interim(head: bytes) -> bool:
    """Whether another head follows this one (RFC 9110 §15.2); 101 is final."""
    return _INTERIM.match(head) is not None


def mended_head(head: bytes) -> bytes:
    r"""The head as a strict parser takes it; the very object where there is nothing to mend.

    >>> mended_head(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n")
    b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n'
    """
    status, *lines = head.rstrip(b"\r\n").split(b"\n")
    fields = [mended for line in lines if (mended := _mended_field(line.removesuffix(b"\r"))) is not None]
    lengths = [value.strip(b" \t") for value in _values(fields, _LENGTH)]
    transfer = b",".join(_values(fields, _TRANSFER)).strip(b" \t").lower()
    if transfer == b"identity":
        fields, transfer = _without(fields, _TRANSFER), b""
    if transfer.endswith(b"chunked") and lengths:
        fields = [*_without(fields, _LENGTH, b"connection"), b"Connection: close"]
    different = {length.strip(b" \t") for value in lengths for length in value.split(b",")}
    if not transfer and len(different) == 1 and lengths != [only := different.pop()]:
        fields = [*_without(fields, _LENGTH), b"Content-Length: " + only]
    if lengths == [b""]:
        fields = _without(fields, _LENGTH)
    if fields == [line.removesuffix(b"\r") for line in lines]:
        return head
    return b"\r\n".join([status.removesuffix(b"\r"), *fields, b"", b""])


def _mended_field(line: bytes) -> bytes | None:
    """A field with a name that is a token; None where it has none. A folded line and one without a colon stay as they are."""
    name, colon, value = line.partition(b":")
    if not colon or line[:1] in {b" ", b"\t"}:
        return line
    name = name.rstrip(b" \t")
    return name + colon + value if _TOKEN.fullmatch(name) else None


def _values(fields: list[bytes], wanted: bytes) -> list[bytes]:
    parted = [field.partition(b":") for field in fields]
    return [value for name, _, value in parted if name.lower() == wanted]


def _without(fields: list[bytes], *names: bytes) -> list[bytes]:
    return [field for field in fields if field.partition(b":")[0].lower() not in names]
