"""How much one client connection may make this proxy keep or wait for, before anybody has logged in.

mitmproxy has no limits of its own here: it collects a request's head, a TLS ClientHello or a chunk's size line until it is complete,
however long that takes, and what a client sends while its answer is being made is kept in memory. Each limit has its reason
beside it; http1_server.py, chunked_body.py and client_reader.py enforce them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from pkgcache.rules.http.dates import format_http_date

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request's head: as Squid has it (`request_header_max_size`). pip's and uv's have less than 1 kB."""

MAX_LINE: Final = 8 * 1024
"""Bytes of a request line or a header line: nginx's `large_client_header_buffers`."""

MAX_FIELDS: Final = 256
"""Header lines of a request. Each lookup passes over all of them, so 16,000 short ones would stall the event loop; Apache allows 100."""

SHORT_HEAD: Final = 2 * MAX_FIELDS
"""Bytes within which no head can pass a limit: it need not be measured."""

MAX_CHUNK_LINE: Final = 1024
"""Bytes of a chunk's size line with its extensions. S3's signatures, the longest in use, have about 90."""

MAX_TRAILERS: Final = 8 * 1024
"""Bytes of the trailers of a chunked body, which are dropped."""

HEAD_SECONDS: Final = 20.0
"""From a head's first byte to its last, and from a TLS handshake's first byte to its end: Apache's `RequestReadTimeout`. A client
sends its head in one packet; so long a time is for one that is lost five times."""

BODY_SECONDS: Final = 60.0
"""Between two pieces of a request's body: nginx's `client_body_timeout`."""

MAX_HANDSHAKE: Final = 16 * 1024
"""Bytes of a TLS handshake. A ClientHello has less than 2 kB, with a client's certificates it is 8 kB."""

MAX_HELD: Final = 64 * 1024
"""Bytes of one client that no layer has taken yet. With so many a client that waits for its answer is read from no further."""

LINGER_SECONDS: Final = 2.0
"""How long a refused client's further bytes are read and dropped, so that it finds the refusal: a close with unread bytes is a reset."""


@dataclass(frozen=True, slots=True)
class Excess:
    """What is too much, and the status that says so."""

    status: HTTPStatus
    text: str


LINE_TOO_LONG: Final = Excess(HTTPStatus.REQUEST_URI_TOO_LONG, f"the request line is longer than {MAX_LINE // 1024} kB")
FIELD_TOO_LONG: Final = Excess(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a header line is longer than {MAX_LINE // 1024} kB"
)
HEAD_TOO_LONG: Final = Excess(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the request's head is longer than {MAX_HEAD // 1024} kB"
)
TOO_MANY_FIELDS: Final = Excess(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the request has more than {MAX_FIELDS} header lines"
)
BAD_LINE: Final = Excess(
    HTTPStatus.BAD_REQUEST, "the request line begins with a blank, or has bytes that have to be percent-encoded"
)
BAD_FIELD: Final = Excess(HTTPStatus.BAD_REQUEST, "a header line has a control character, or is folded")
FOREIGN_HEADER: Final = Excess(
    HTTPStatus.BAD_REQUEST, "sent a PROXY header; only the addresses of pypi_cache_proxy_protocol may, and once"
)
HEAD_TOO_SLOW: Final = Excess(HTTPStatus.REQUEST_TIMEOUT, "the request's head was not complete in time")
BODY_TOO_SLOW: Final = Excess(HTTPStatus.REQUEST_TIMEOUT, "the request's body did not come in time")


class HeadMeter:
    r"""Measures one request head while it arrives, so that each byte is looked at once.

    >>> HeadMeter().excess(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    >>> HeadMeter().excess(b"GET /" + b"x" * MAX_LINE).status.value
    414
    """

    __slots__ = ("_line", "_lines", "_looked_at")

    def __init__(self) -> None:
        self._line = 0  # where the line begins that is being looked at
        self._lines = 0  # complete lines so far
        self._looked_at = 0

    def excess(self, received: bytes | bytearray) -> Excess | None:
        """Return what is too much in the head that `received` begins with, complete or not. Further calls pass the same bytes and more."""
        while True:
            end = received.find(b"\n", self._looked_at)
            length = (len(received) if end < 0 else end) - self._line
            if length > MAX_LINE:
                return FIELD_TOO_LONG if self._lines else LINE_TOO_LONG
            if max(end, self._line) > MAX_HEAD or (end < 0 and len(received) > MAX_HEAD):
                return HEAD_TOO_LONG
            if end < 0:
                self._looked_at = len(received)
                return None
            if self._lines and length <= 1 and received[self._line : end] in (b"", b"\r"):
                return None  # the blank line that ends it
            self._lines += 1
            if self._lines > MAX_FIELDS + 1:
                return TOO_MANY_FIELDS
            self._line = self._looked_at = end + 1


def refusal(excess: Excess, *, to_head: bool = False) -> bytes:
    """Make the response that refuses a connection's bytes. `to_head`: they are a HEAD request, whose answer has no body."""
    body = f"{excess.text}\n".encode(errors="backslashreplace")
    return (
        f"HTTP/1.1 {excess.status.value} {excess.status.phrase}\r\n"
        f"Date: {format_http_date(time.time())}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + (b"" if to_head else body)
