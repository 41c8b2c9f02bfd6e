"""What `differential` compares of two answers, and the reasons for which they may differ."""

from __future__ import annotations

import gzip
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

SECONDS: Final = 10
PATIENCE: Final = 1
"""Seconds to wait for an answer to a request that is sent in part, until it is half-closed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The first answer on a connection. Status 0: there was none. `framing`: whether the body is what the head promises."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)
    """Without the boundary of a multipart body and without its coding."""
    framing: str
    persists: bool = False
    """Whether the connection may be used again."""

    @property
    def length(self) -> str:
        """Of the representation, as far as the head says so."""
        return "" if "content-encoding" in self.headers else self.headers.get("content-length", "")


def receive(port: int, request: bytes, follower: bytes = b"") -> Answer:
    """Send a request on a connection of its own, read the first answer, and half-close: what comes then belongs to no answer.

    `follower`: a GET that is sent before the half-close where the connection persists. Its answer has to be a 200 then.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as sock, suppress(OSError):
        sock.sendall(request)
        received = _answered(sock, request)
        answer, is_whole = _read(request, received)
        if follower and is_whole and answer.persists and not _parts(request)[1]:
            sock.sendall(follower)
            next_answer, is_whole = _read(follower, _answered(sock, follower))
            if not is_whole or next_answer.status != 200:
                return replace(answer, framing=f"the next request on the connection: {next_answer}")
        sock.settimeout(SECONDS)
        sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(65536):
            received += piece
    return _read(request, received)[0]


def _answered(sock: socket.socket, request: bytes) -> bytes:
    """Read an answer, or what comes of it in time."""
    received = b""
    sock.settimeout(PATIENCE if _is_cut(*_parts(request)) else SECONDS)
    with suppress(TimeoutError):
        while not _read(request, received)[1] and (piece := sock.recv(65536)):
            received += piece
    return received


def _read(request: bytes, received: bytes) -> tuple[Answer, bool]:
    """The answer so far, and whether that is all of it."""
    while re.match(rb"HTTP/1\.1 1\d\d ", received):
        received = received.partition(b"\r\n\r\n")[2]
    head, end, rest = received.partition(b"\r\n\r\n")
    if not end:
        return Answer(0, {}, received, "none" if not received else f"no head: {received[:60]!r}"), False
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split(" ")[1])
    bodiless = request.lstrip(b"\r\n")[:5] == b"HEAD " or status in {204, 304}
    body, rest, framing = (b"", rest, "right") if bodiless else _framed(headers, rest)
    if rest and not rest.startswith(b"HTTP/1.1 "):
        framing = f"{len(rest)} bytes too many"
    if boundary := re.search("boundary=(.*)", headers.get("content-type", "")):
        body = body.replace(boundary[1].encode(), b"")
    if headers.get("content-encoding") == "gzip" and framing == "right" and body:
        body = gzip.decompress(body)
    persists = "close" not in headers.get("connection", "").lower()
    return Answer(status, headers, body, framing, persists), framing == "right"


def _framed(headers: dict[str, str], rest: bytes) -> tuple[bytes, bytes, str]:
    """The body, what is behind it, and whether it is whole."""
    if "transfer-encoding" not in headers:
        length = int(headers.get("content-length", -1))
        missing = length - len(rest)
        if length < 0:
            return rest, b"", "neither length nor chunks"
        return rest[:length], rest[length:], "right" if missing <= 0 else f"{missing} bytes are missing"
    body = b""
    while chunk := re.match(rb"([0-9a-f]+)\r\n", rest, re.IGNORECASE):
        size = int(chunk[1], 16)
        data, rest = rest[chunk.end() :][:size], rest[chunk.end() + size :]
        if len(data) < size or rest[:2] != b"\r\n":
            break
        body, rest = body + data, rest[2:]
        if not size:
            return body, rest, "right"
    return body, b"", "the last chunk is missing"


def reason_for(request: bytes, ours: Answer, theirs: Answer, wholes: Sequence[bytes]) -> str | None:
    """Why the two differ, or "the same"; None where there is no reason for it. `wholes`: all representations that there are."""
    if (ours.status >= 500 and ours.status != 505) or ours.framing not in {"right", "none"}:
        return None
    is_head = request.lstrip(b"\r\n").startswith(b"HEAD ")
    if ours.status in {200, 206} and not is_head and not any(_is_of(ours, whole) for whole in wholes):
        return None
    if ours.status == theirs.status and not _differ(ours, theirs):
        return "the same"
    head, body = _parts(request)
    return next((reason.text for reason in REASONS if reason.fits(head, body, ours=ours, theirs=theirs)), None)


def _parts(request: bytes) -> tuple[bytes, bytes]:
    """The head, without the empty line and needless escapes (RFC 3986 §2.3) in the target, and what is behind it."""
    head, *rest = re.split(rb"(?<=\n)\r?\n", request.lstrip(b"\r\n"), maxsplit=1)
    first, end, lines = head.partition(b"\n")
    method, blank, target = first.partition(b" ")
    target = re.sub(rb"(?<!%)(?<!%[0-9A-Fa-f])%[2-7][0-9A-Fa-f]", _unescaped, target)
    return method + blank + target + end + lines, b"".join(rest)


def _unescaped(escape: re.Match[bytes]) -> bytes:
    character = bytes.fromhex(escape[0][1:].decode())
    return character if re.fullmatch(rb"[A-Za-z0-9._~-]", character) else escape[0]


def _is_of(answer: Answer, whole: bytes) -> bool:
    """Whether a body is a whole representation, or the range of it that the head names. Those of several ranges are compared alone."""
    if answer.status == 200:
        return answer.body == whole
    if answer.headers.get("content-type", "").startswith("multipart/byteranges"):
        return True
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("content-range", ""))
    return found is not None and int(found[3]) == len(whole) and answer.body == whole[int(found[1]) : int(found[2]) + 1]


def _differ(ours: Answer, theirs: Answer) -> bool:
    if ours.status not in {200, 206, 304, 416}:
        return False
    if ours.persists != theirs.persists or ours.headers.get("content-range") != theirs.headers.get("content-range"):
        return True
    lengths = ours.length and ours.length != theirs.length
    return ours.status in {200, 206} and (bool(lengths) or ours.body != theirs.body)


_ANY: Final = frozenset({0, 200, 206, 301, 304, 400, 403, 404, 405, 412, 416, 501, 505})
_SENT: Final = frozenset({200, 206, 304})
_FOUND: Final = _SENT | {412, 416}
"""What nginx says of a file that it has."""

_IS_GET: Final = rb"\A(?:GET|HEAD) "
_NO_TOKEN: Final = rb"(?:[^!#$%&'*+.^_`|~0-9A-Za-z:\r\n-]|\r(?!\n))"


@dataclass(frozen=True, slots=True)
class Reason:
    """A difference that is meant: the statuses of both, and patterns that are all found in the request's head, in any case."""

    text: str
    ours: frozenset[int]
    theirs: frozenset[int]
    patterns: tuple[bytes, ...]

    def fits(self, head: bytes, body: bytes, *, ours: Answer, theirs: Answer) -> bool:
        """Whether this is the reason for two answers."""
        if (
            ours.status not in self.ours
            or theirs.status not in self.theirs
            or (ours.status == 0 and not _is_cut(head, body))
        ):
            return False
        return all(re.search(pattern, head, re.DOTALL | re.IGNORECASE) for pattern in self.patterns)


def _is_cut(head: bytes, body: bytes) -> bool:
    """Whether more of the body has to come."""
    if re.search(rb"\ntransfer-encoding:[ \t]*chunked", head, re.IGNORECASE):
        return b"0\r\n" not in body
    length = re.search(rb"\ncontent-length:[ \t]*(\d+)", head, re.IGNORECASE)
    return length is not None and len(body) < int(length[1])


def _of(text: str, ours: set[int] | frozenset[int], theirs: set[int] | frozenset[int], *patterns: bytes) -> Reason:
    return Reason(text, frozenset(ours), frozenset(theirs), patterns)


REASONS: Final = (
    _of(
        "no version is 400 (RFC 9112 §3); nginx takes it for HTTP/0.9, or for a version it does not know",
        {400},
        _ANY,
        rb"\A(?![^\r\n]* HTTP/\d\.\d[ \t]*\r?\n)",
    ),
    _of(
        "another version than HTTP/1 is 505 (RFC 9110 §15.6.6)",
        {505},
        {400},
        rb"\A[^\r\n]* HTTP/(?!1)\d\.\d[ \t]*\r?\n",
    ),
    _of(
        "a header line without a colon, or whose name is no token, is 400 (RFC 9112 §5.1); nginx ignores it",
        {400},
        _ANY,
        rb"\n(?:[^\r\n:]*" + _NO_TOKEN + rb"[^\r\n:]*:|[^\r\n:]+\r?(?:\n|\Z)|:)",
    ),
    _of(
        "lengths that contradict are 400, whatever the version",
        {400},
        {505},
        rb"\A[^\r\n]* HTTP/(?!1)\d\.\d",
        rb"\ncontent-length:.*\ncontent-length:",
    ),
    _of("a folded line is 400 (RFC 9112 §5.2)", {400}, _ANY, rb"\n[ \t]"),
    _of(
        "a control character in a value is 400 (RFC 9110 §5.5)",
        {400},
        _ANY,
        rb"\n[^\r\n:]+:[^\n]*(?:[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n])",
    ),
    _of(
        "a Host that names no host is 400 (RFC 9112 §3.2); nginx takes some",
        {400},
        _ANY,
        rb"\nhost:(?![ \t]*[A-Za-z0-9._-]+(?::\d*)?[ \t]*\r?\n)",
    ),
    _of(
        "bytes of the request line that have to be percent-encoded are 400",
        {400},
        _ANY,
        rb"\A[^\r\n]*[^\x20-\x7e\r\n\t]",
    ),
    _of(
        "a GET or HEAD with a body is 400; nginx drops it",
        {400},
        _ANY,
        _IS_GET,
        rb"\n(?:content-length:[ \t]*0*[1-9]|transfer-encoding:)",
    ),
    _of("a request whose body does not end is none; nginx does not wait for it", {0}, _ANY),
    _of("a page has no ranges (RFC 9110 §14.2)", {200}, {206, 416}, rb"\A\w+ [^ ]*/simple/fuzzed/", rb"\nrange:"),
    _of("a HEAD has no ranges (RFC 9110 §14.2)", {200}, {206, 416}, rb"\AHEAD ", rb"\nrange:"),
    _of(
        "the project list is there; nginx lists no folders",
        _SENT | {416},
        {403},
        _IS_GET,
        rb"\A[^\r\n]*/simple/[^ /]+/\.\./[ \t?]",
    ),
    _of("another method: the address takes none, whatever is there", {405}, {403, 404}, rb"\A(?!GET |HEAD )"),
    _of(
        "another method on a path with a wrong escape",
        {405},
        {400},
        rb"\A(?!GET |HEAD )[^\r\n]*%(?:00|(?![0-9a-f]{2}))",
    ),
    _of(
        "a method of other letters than capitals is a method (RFC 9110 §9.1); 400 to nginx",
        {405},
        {400},
        rb"\A(?-i:(?![A-Z_-]+ ))",
    ),
    _of(
        "dots above the root are left out (RFC 3986 §5.2.4); 400 to nginx",
        {404, 405},
        {400},
        rb"\A[^\r\n]*\.\./",
    ),
    _of("a wrong escape names nothing; 400 to nginx", {404}, {400}, _IS_GET, rb"\A[^\r\n]*%(?:00|(?![0-9a-f]{2}))"),
    _of("a fragment is no part of a target (RFC 9112 §3.2); nginx cuts it off", {404}, _FOUND, rb"\A[^\r\n]*#"),
    _of(
        "an escaped slash parts no segments (RFC 3986 §2.2); to nginx it does",
        {404},
        _FOUND | {301, 400, 403},
        rb"\A[^\r\n]*%2f",
    ),
    _of("only the list of projects is a folder; nginx lists none", {404}, {403}, _IS_GET, rb"\A[^\r\n]*/\.{0,2} "),
    _of("an empty segment is another path; a file system skips it", {404}, _FOUND, rb"\A\w+ (?:http://[^/]+)?/[^ ]*//"),
    _of(
        "If-Match and If-Unmodified-Since are for origins, a cache may ignore them (RFC 9110 §13.1.1, §13.1.4)",
        _SENT | {416},
        {412},
        rb"\nif-(?:unmodified-since|match):",
    ),
    _of(
        "If-None-Match wins over If-Modified-Since (RFC 9110 §13.2.2); nginx wants both",
        {304},
        {200, 206, 416},
        rb"\nif-none-match:",
        rb"\nif-modified-since:",
    ),
    _of(
        "a tag counts in a list that has something else in it; not to nginx",
        {304},
        {200, 206, 416},
        rb"\nif-none-match:(?!\s*(?:(?:W/)?\"[^\"]*\"|\*)\s*(?:,\s*(?:W/)?\"[^\"]*\"\s*)*\n)",
    ),
    _of(
        "nginx refuses a field that is there twice (RFC 9110 §5.3)",
        _SENT | {404, 405, 416},
        {400},
        rb"\n([^\r\n:]+:).*\n\1",
    ),
    _of(
        "a tab around a value, or in the request line, is a blank (RFC 9110 §5.6.3, RFC 9112 §3); 400 to nginx",
        _SENT | {404, 405, 416},
        {400},
        rb"\A[^\r\n]*\t|\n(?:host|content-length):(?:[ ]*\t|[^\r\n]*\t[ ]*\r?\n)",
    ),
    _of(
        "a tab before a value is a blank (RFC 9110 §5.6.3); nginx takes it for a part",
        _SENT | {416},
        _SENT | {416},
        rb"\n[^\r\n:]+:(?:[ ]*\t|[^\r\n]*\t[ ]*\r?\n)",
    ),
    _of(
        "close is heard in any list of options (RFC 9112 §9.6); nginx hears the last line",
        _SENT | {416},
        _SENT | {416},
        rb"\nconnection:[^\n]*\bclose\b.*\nconnection:",
    ),
    _of(
        "an If-Modified-Since that is no date does not count (RFC 9110 §13.1.3); nginx reads some",
        {200, 206, 416},
        {304},
        rb"\nif-modified-since:(?!\s*\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\s*\n)",
    ),
    _of(
        "an If-Range that is no validator does not match (RFC 9110 §13.1.5)",
        {200},
        {206},
        rb"\nif-range:(?![ \t]*(?:\"blake2b:[0-9a-f]+\"|\w{3}, [^\r\n]* GMT)[ \t]*\r?\n)",
    ),
)
