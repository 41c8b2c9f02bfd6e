"""What `differential` compares of two answers, and the reasons for which they may differ."""

from __future__ import annotations

import hashlib
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """The first answer on a connection. Status 0: there was none. `framing`: whether the body is what the head promises."""

    status: int
    headers: dict[str, str]
    body: str
    """A digest, without the boundary of a multipart body."""
    size: int
    framing: str
    head_only: bool = False


def receive(port: int, request: bytes) -> Answer:
    """Send a request on a connection of its own, half-close it, and read the first answer."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as sock, suppress(OSError):
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(65536):
            received += piece
    while re.match(rb"HTTP/1\.1 1\d\d ", received):
        received = received.partition(b"\r\n\r\n")[2]
    head, end, rest = received.partition(b"\r\n\r\n")
    if not end:
        return Answer(0, {}, "", len(received), "none" if not received else f"no head: {received[:60]!r}")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split(" ")[1])
    bodiless = request.lstrip(b"\r\n")[:5] == b"HEAD " or status in {204, 304}
    length = 0 if bodiless else int(headers.get("content-length", len(rest)))
    framing = "right"
    if len(rest) < length:
        framing = f"{length - len(rest)} bytes are missing"
    elif rest[length:] and not rest[length:].startswith(b"HTTP/1.1 "):
        framing = f"{len(rest) - length} bytes too many"
    body = rest[:length]
    if boundary := re.search("boundary=(.*)", headers.get("content-type", "")):
        body = body.replace(boundary[1].encode(), b"")
    return Answer(status, headers, hashlib.sha256(body).hexdigest()[:12], len(body), framing, bodiless)


def reason_for(request: bytes, ours: Answer, theirs: Answer) -> str | None:
    """Why the two differ, or "the same"; None where there is no reason for it."""
    if (ours.status >= 500 and ours.status != 505) or ours.framing not in {"right", "none"}:
        return None
    if ours.status == theirs.status and not _differ(ours, theirs):
        return "the same"
    return next((reason.text for reason in REASONS if reason.fits(request, ours, theirs)), None)


def _differ(ours: Answer, theirs: Answer) -> bool:
    ranges = ours.headers.get("content-range") != theirs.headers.get("content-range")
    return (ours.status in {200, 206} and (ranges or ours.body != theirs.body)) or (ours.status == 416 and ranges)


_ANY: Final[frozenset[int]] = frozenset()
_SENT: Final = frozenset({200, 206, 304})


@dataclass(frozen=True, slots=True)
class Reason:
    """A difference that is meant. `theirs` empty: whatever nginx answers. `pattern` is searched in the request, in any case."""

    text: str
    ours: frozenset[int]
    theirs: frozenset[int]
    pattern: bytes

    def fits(self, request: bytes, ours: Answer, theirs: Answer) -> bool:
        """Whether this is the reason for two answers."""
        known = ours.status in self.ours and (not self.theirs or theirs.status in self.theirs)
        return known and re.search(self.pattern, request, re.DOTALL | re.IGNORECASE) is not None


def _of(text: str, ours: set[int] | frozenset[int], theirs: set[int] | frozenset[int], pattern: bytes = b"") -> Reason:
    return Reason(text, frozenset(ours), frozenset(theirs), pattern)


REASONS: Final = (
    _of(
        "a version that is none is 400, another than HTTP/1 is 505 (RFC 9110 §15.6.6)",
        {400, 505},
        _ANY,
        rb"\A\s*(?![^\r\n]* HTTP/1\.\d[ \t]*\r?\n)",
    ),
    _of(
        "a header line without a colon, or whose name is no token, is 400 (RFC 9112 §5.1); nginx ignores it",
        {400},
        _ANY,
        rb"\n(?:[^\r\n:]*[^!#$%&'*+.^_`|~0-9A-Za-z:\r\n-][^\r\n:]*:|[^\r\n:]+\r?\n|:)",
    ),
    _of("a folded line is 400 (RFC 9112 §5.2)", {400}, _ANY, rb"\n[ \t]"),
    _of(
        "a control character in a value is 400 (RFC 9110 §5.5)",
        {400},
        _ANY,
        rb":[^\n]*(?:[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n])",
    ),
    _of(
        "a Host that names no host is 400 (RFC 9112 §3.2); nginx takes some",
        {400},
        _ANY,
        rb"\nhost[ \t]*:(?![ \t]*[A-Za-z0-9._-]+(?::\d*)?[ \t]*\r?\n)",
    ),
    _of(
        "bytes of the request line that have to be percent-encoded are 400",
        {400},
        _ANY,
        rb"\A\s*[^\r\n]*[^\x20-\x7e\r\n\t]",
    ),
    _of(
        "a GET or HEAD with a body is 400, and an incomplete one is no request; nginx drops it",
        {400, 0},
        _ANY,
        rb"\n(?:content-length[ \t]*:[ \t]*0*[1-9]|transfer-encoding[ \t]*:)",
    ),
    _of("a page has no ranges, and a HEAD has none (RFC 9110 §14.2)", {200}, {206, 416}, rb"\A\s*HEAD|/simple/"),
    _of(
        "the project list is there; nginx lists no folders",
        {200, 206, 304, 405, 416},
        {403},
        rb"%2e%2e",
    ),
    _of("what is not there is asked of the upstream, and the client counts as left", {0}, {404, 400, 403, 301}, b""),
    _of("an upload: the address takes none; nginx looks for the file first", {405}, {400, 403, 404, 416}, b""),
    _of(
        "a path that is respelt, or has a fragment, is another one; nginx decodes and cuts it",
        {404, 400, 200, 206, 304},
        {200, 206, 301, 304, 400, 404, 412, 416},
        rb"\A\s*[^\r\n]*(?:#|//|%|;|\\|[^/]/ )",
    ),
    _of(
        "If-Match and If-Unmodified-Since are for origins, a cache may ignore them (RFC 9110 §13.1.1, §13.1.4)",
        _SENT | {416},
        {412},
        rb"if-(?:unmodified-since|match)",
    ),
    _of(
        "If-None-Match wins over If-Modified-Since (RFC 9110 §13.2.2); nginx wants both",
        {304},
        {200, 206, 416},
        rb"if-none-match",
    ),
    _of(
        "nginx refuses a field that is there twice (RFC 9110 §5.3)", _SENT | {404, 416}, {400}, rb"\n([^\r\n:]+:).*\n\1"
    ),
    _of("a tab is a blank (RFC 9110 §5.6.3); not to nginx", _SENT | {404, 416}, {200, 206, 400}, rb"\t"),
    _of("an If-Range that is no validator does not match (RFC 9110 §13.1.5)", {200}, {206}, rb"if-range"),
)
