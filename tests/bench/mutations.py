"""Requests for `differential`: well-formed ones, and what is done to them.

`@ETAG@` and `@DATE@` stand for a server's own validators, `@SELF@` for its address.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

FIELDS: Final = (
    b"Range: bytes=0-9",
    b"Range: bytes=-9",
    b"Range: bytes=9-",
    b"Range: bytes=0-0,-1",
    b"Range: bytes=0-9,20-29,5-7",
    b"Range: bytes=99999999-",
    b"Range: bytes=9-0",
    b"Range: bytes=a-b",
    b"Range: lines=0-9",
    b"If-None-Match: @ETAG@",
    b"If-None-Match: W/@ETAG@",
    b'If-None-Match: "other", @ETAG@',
    b'If-None-Match: "other"',
    b"If-None-Match: *",
    b"If-Match: @ETAG@",
    b'If-Match: "other"',
    b"If-Modified-Since: @DATE@",
    b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
    b"If-Modified-Since: no date",
    b"If-Unmodified-Since: @DATE@",
    b"If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
    b"If-Range: @ETAG@",
    b"If-Range: @DATE@",
    b'If-Range: "other"',
    b"Connection: close",
    b"Connection: keep-alive, Close",
    b"Accept: */*",
    b"Accept-Encoding: identity",
    b"Accept-Encoding: gzip",
    b"Accept-Encoding: GZIP;q=0.001, *;q=0",
    b"Accept-Encoding: gzip;q=0",
    b"Accept-Encoding:",
    b"Connection: keep-alive",
    b"Connection: range, host",
    b"Keep-Alive: timeout=5",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Expect: 100-continue",
    b"Cookie: a=b; c=d",
    b"X-Forwarded-For: 10.0.0.1",
    b"TE: trailers",
    b"Upgrade: h2c",
    b"Via: 1.0 fred",
)
METHODS: Final = (b"GET",) * 12 + (b"HEAD",) * 6 + (b"POST", b"PUT", b"get", b"FOO")
BODIES: Final = (b"", b"", b"", b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nA: b\r\n\r\n")
VERSIONS: Final = (
    (b"HTTP/1.1",) * 30 + (b"HTTP/1.0",) * 6 + (b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/11", b"")
)
TAILS: Final = (b"",) * 8 + (
    b"?",
    b"?x=1",
    b"#frag",
    b"/",
    b"%00",
    b"%2e%2e/",
    b"//",
    b";x",
    b"%zz",
    b"x",
    b"/.",
    b"/../",
    b"?%zz",
    b"%3fx",
)
BYTES: Final = (
    b"\0",
    b"\r",
    b"\n",
    b"\t",
    b" ",
    b":",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x0b",
    b"%",
    b"\\",
    b'"',
    b",",
    b"=",
)

type Lines = list[bytes]


def _drop(chosen: random.Random, lines: Lines) -> None:
    del lines[chosen.randrange(len(lines))]


def _double(chosen: random.Random, lines: Lines) -> None:
    place = chosen.randrange(len(lines))
    lines.insert(place, lines[place])


def _shuffle(chosen: random.Random, lines: Lines) -> None:
    rest = lines[1:]
    chosen.shuffle(rest)
    lines[1:] = rest


def _fold(chosen: random.Random, lines: Lines) -> None:
    lines.insert(chosen.randrange(len(lines)) + 1, chosen.choice((b" ", b"\t")) + b"folded")


def _capitals(chosen: random.Random, lines: Lines) -> None:
    place = chosen.randrange(len(lines))
    lines[place] = chosen.choice((bytes.upper, bytes.lower, bytes.swapcase))(lines[place])


def _escape(chosen: random.Random, lines: Lines) -> None:
    line = lines[0]
    at = chosen.randrange(max(1, len(line)))
    escape = chosen.choice((b"%%%02x", b"%%%02X", b"%%25%02x")) % ord(line[at : at + 1] or b"/")
    lines[0] = line[:at] + escape + line[at + 1 :]


def _dots(chosen: random.Random, lines: Lines) -> None:
    before, slash, behind = lines[0].rpartition(b"/" if chosen.randrange(2) else b"/pypi/")
    lines[0] = before + slash + chosen.choice((b"./", b"../", b"x/../", b"%2e/", b".%2E/", b"x/%2e./")) + behind


def _insert(chosen: random.Random, lines: Lines) -> None:
    place = chosen.randrange(len(lines))
    line = lines[place]
    at = chosen.randrange(len(line) + 1)
    lines[place] = line[:at] + chosen.choice(BYTES) + line[at:]


def _cut(chosen: random.Random, lines: Lines) -> None:
    place = chosen.randrange(len(lines))
    lines[place] = lines[place][: chosen.randrange(len(lines[place]) + 1)]


def _blanks(chosen: random.Random, lines: Lines) -> None:
    place = chosen.randrange(len(lines))
    lines[place] = lines[place].replace(b":", chosen.choice((b" :", b":", b":  ", b":\t")), 1) + chosen.choice(
        (b"", b" ", b"\t")
    )


def _empty_line_first(_: random.Random, lines: Lines) -> None:
    lines.insert(0, b"")


def _another_host(chosen: random.Random, lines: Lines) -> None:
    hosts = (
        b"Host:",
        b"Host: a b",
        b"Host: a/b",
        b"Host: [::1]",
        b"Host: a.test:80",
        b"Host: a.test:x",
        b"Host: A.TEST.",
        b"Host: u@a",
    )
    lines[1] = chosen.choice(hosts)


MUTATIONS: Final[tuple[Callable[[random.Random, Lines], None], ...]] = (
    _drop,
    _double,
    _shuffle,
    _fold,
    _escape,
    _dots,
    _capitals,
    _insert,
    _insert,
    _cut,
    _blanks,
    _empty_line_first,
    _another_host,
)


def mutated(chosen: random.Random, target: str) -> bytes:
    """A request for the target: some fields, and none to three mutations."""
    path = target.encode() + chosen.choice(TAILS)
    if not chosen.randrange(12):
        path = b"http://@SELF@" + path
    lines = [b" ".join((chosen.choice(METHODS), path, chosen.choice(VERSIONS))).rstrip(), b"Host: a.test"]
    lines += chosen.sample(FIELDS, chosen.choice((0, 1, 1, 2, 3)))
    for mutation in chosen.choices(MUTATIONS, k=chosen.choice((0, 1, 1, 1, 2, 3))):
        if len(lines) > 1:
            mutation(chosen, lines)
    end = b"\n" if not chosen.randrange(20) else b"\r\n"
    return end.join([*lines, b"", b""]) + chosen.choice(BODIES)
