"""Heads that pip, uv and curl read and strict parsers do not, as they are mended; and those that nobody should guess about."""

import pytest

from pkgcache.rules.http.response_heads import end_of_head, is_interim, mended_head

STATUS = b"HTTP/1.1 200 OK\r\n"


def head(*lines: str) -> bytes:
    return STATUS + "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


@pytest.mark.parametrize(
    ("lines", "mended"),
    [
        # RFC 9110 §8.6: "a recipient … MAY … replace the duplicated field values with a single valid Content-Length"
        (["Content-Length: 2", "Content-Length: 2"], ["Content-Length: 2"]),
        (["Content-Length: 2", "X: y", "content-length:2 "], ["X: y", "Content-Length: 2"]),
        (["Content-Length: 2, 2"], ["Content-Length: 2"]),
        (["Content-Length: 2,2,2", "Content-Length: 2"], ["Content-Length: 2"]),
        # RFC 9112 §6.3: "the Transfer-Encoding overrides the Content-Length"; the connection is not used again
        (["Content-Length: 9", "Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked", "Connection: close"]),
        (["Transfer-Encoding: Chunked", "Content-Length: 9"], ["Transfer-Encoding: Chunked", "Connection: close"]),
        (
            ["Transfer-Encoding: gzip, chunked", "Content-Length: 9", "Connection: keep-alive"],
            ["Transfer-Encoding: gzip, chunked", "Connection: close"],
        ),
        (
            ["Content-Length: 1", "Content-Length: 2", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: chunked", "Connection: close"],
        ),
        # RFC 2616 §3.6 had `identity`, which RFC 7230 took away
        (["Transfer-Encoding: identity", "Content-Length: 2"], ["Content-Length: 2"]),
        (["Transfer-Encoding: Identity"], []),
        # Python's http.client, and so pip, takes it for none
        (["Content-Length:"], []),
        (["Content-Length: ", "X: y"], ["X: y"]),
        # RFC 9112 §5.1: "A proxy MUST remove any such whitespace from a response message before forwarding"
        (["Server : x"], ["Server: x"]),
        (["Content-Length\t : 2"], ["Content-Length: 2"]),
        (["Transfer-Encoding : chunked", "Content-Length: 2"], ["Transfer-Encoding: chunked", "Connection: close"]),
        # no token (RFC 9110 §5.1): such a field means nothing to anybody
        (["Content Type: x", "X: y"], ["X: y"]),
        (["X: y", ": nameless", "(x): y"], ["X: y"]),
    ],
    ids=str,
)
def test_mended(lines: list[str], mended: list[str]) -> None:
    assert mended_head(head(*lines)) == head(*mended)
    assert mended_head(head(*mended)) == head(*mended)


@pytest.mark.parametrize(
    "unchanged",
    [
        head(),
        head("Content-Length: 2", "Connection: keep-alive"),
        head("Transfer-Encoding: chunked"),
        head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        head("Content-Length: 2", "Content-Length: 3"),  # RFC 9112 §6.3: "an unrecoverable error"
        head("Content-Length: 2, 3"),
        head("Content-Length: +2"),
        head("Transfer-Encoding: gzip", "Content-Length: 2"),  # not chunked at last: nobody knows where it ends
        head("X: a", " folded"),
        head("X: \xe9", "Set-Cookie: a=b; c", "Set-Cookie: d=e"),
        STATUS.replace(b"\r", b"") + b"Content-Length: 2\n\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nno colon\r\n\r\n",
    ],
)
def test_left_alone(unchanged: bytes) -> None:
    assert mended_head(unchanged) is unchanged


def test_mended_with_bare_line_ends() -> None:
    assert mended_head(b"HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 2\n\n") == head("Content-Length: 2")


@pytest.mark.parametrize("whole", [head("A: b"), STATUS.replace(b"\r", b"") + b"A: b\n\n", STATUS + b"A: b\r\n\n"])
def test_where_a_head_ends(whole: bytes) -> None:
    """However it comes: at once, with its body behind it, or byte by byte."""
    assert end_of_head(whole) == end_of_head(whole + b"body\r\n\r\n") == len(whole)
    for size in range(len(whole)):
        assert end_of_head(whole[:size]) == 0
        assert end_of_head(whole, size) == len(whole)


@pytest.mark.parametrize(
    ("status", "interim"), [("100 Continue", True), ("103 Early Hints", True), ("101 Switching", False), ("200 OK", False), ("404", False)]
)  # fmt: skip
def test_interim(status: str, interim: bool) -> None:
    assert is_interim(f"HTTP/1.1 {status}\r\n\r\n".encode()) is interim
