"""What a proxy passes on, by RFC 9110 §7.6, each row with its section."""

import pytest

from pkgcache.rules.http.forwarding import (
    end_to_end,
    forwards_left,
    options_of,
    unfolded,
    with_plain_options,
    with_via,
)
from pkgcache.rules.http.request_head import Fields


def lines(text: str) -> Fields:
    """Fields from `Name: value` lines separated by `|`."""
    parts = [line.partition(":") for line in text.split("|") if line]
    return tuple((name.strip().encode(), value.strip().encode()) for name, _, value in parts)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("Accept: */*|X-A: 1", "Accept: */*|X-A: 1"),
        ("Connection: close|A: 1", "A: 1"),  # §7.6.1
        ("Connection: X-Mine, x-other|X-MINE: 1|X-Other: 2|A: 1", "A: 1"),
        ("Connection: a|Connection: b|A: 1|B: 2|C: 3", "C: 3"),  # §5.3: two lines are one list
        ("Connection: ,a ,, |A: 1|B: 2", "B: 2"),  # §5.6.1.2: empty elements
        ("Keep-Alive: timeout=5|A: 1", "A: 1"),  # though Connection does not name it
        ("Proxy-Connection: keep-alive|A: 1", "A: 1"),
        ("TE: trailers|Connection: TE|A: 1", "A: 1"),  # §10.1.4
        ("Trailer: X-Sum|A: 1", "A: 1"),  # trailers are dropped (§6.5.1)
        ("Upgrade: h2c|Connection: Upgrade|A: 1", "A: 1"),  # §7.8
        ("Proxy-Authorization: Basic eDp5|A: 1", "A: 1"),  # §11.7.2
        ("Proxy-Authentication-Info: x|A: 1", "A: 1"),  # §11.7.3
        ("Authorization: Basic eDp5|Cookie: a", "Authorization: Basic eDp5|Cookie: a"),  # §11.6.2
        ("Proxy-Authenticate: Basic", "Proxy-Authenticate: Basic"),  # §11.7.1: a parent's, with its 407
        (
            "Transfer-Encoding: chunked|Connection: Transfer-Encoding",
            "Transfer-Encoding: chunked",
        ),  # mitmproxy frames by it
        ("Content-Length: 5|Connection: content-length|Host: a|Connection: host", "Content-Length: 5|Host: a"),
    ],
)
def test_what_is_for_this_connection(before: str, after: str) -> None:
    assert end_to_end(lines(before)) == lines(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Upgrade: websocket|Connection: Upgrade|A: 1", "Upgrade: websocket|A: 1|Connection: upgrade"),  # §7.8
        ("Upgrade: a|Connection: keep-alive, Upgrade, x|X: 1", "Upgrade: a|Connection: upgrade"),
        ("Connection: Upgrade|A: 1", "A: 1"),  # nothing is offered
    ],
)
def test_another_protocol(before: str, after: str) -> None:
    assert end_to_end(lines(before), upgrades=True) == lines(after)


@pytest.mark.parametrize(
    ("before", "received", "after"),
    [
        ("A: 1", b"HTTP/1.1", "A: 1|Via: 1.1 us"),  # §7.6.3
        ("Via: 1.0 fred|A: 1", b"HTTP/1.1", "A: 1|Via: 1.0 fred, 1.1 us"),
        ("Via: 1.0 fred|via: 1.1 b (c)", b"HTTP/1.0", "Via: 1.0 fred, 1.1 b (c), 1.0 us"),
    ],
)
def test_via(before: str, received: bytes, after: str) -> None:
    assert with_via(lines(before), received, b"us") == lines(after)


@pytest.mark.parametrize(
    ("method", "value", "expected"),
    [
        (b"TRACE", "Max-Forwards: 0", 0),  # §7.6.2
        (b"OPTIONS", "max-forwards: 3", 3),
        (b"OPTIONS", "Max-Forwards: 007", 7),
        (b"OPTIONS", "Max-Forwards: 99999999999999999999", 999999999),
        (b"OPTIONS", "Max-Forwards: 5|Max-Forwards: 2", 2),
        (b"OPTIONS", "Max-Forwards: -1", None),
        (b"OPTIONS", "Max-Forwards: 1.5", None),
        (b"TRACE", "", None),
        (b"GET", "Max-Forwards: 0", None),  # "MAY ignore" it for other methods
        (b"POST", "Max-Forwards: 0", None),
    ],
)
def test_max_forwards(method: bytes, value: str, expected: int | None) -> None:
    assert forwards_left(method, lines(value)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Connection: Close", {b"close"}),  # §7.6.1: "case-insensitive"
        ("connection: CLOSE,\tKeep-Alive", {b"close", b"keep-alive"}),
        ("Connection: a|CONNECTION: B", {b"a", b"b"}),
        ("Connection: x-close", {b"x-close"}),
        ("X-Connection: close", set()),
        ("", set()),
    ],
)
def test_options(value: str, expected: set[bytes]) -> None:
    assert options_of(lines(value)) == expected


def test_options_in_lower_case() -> None:
    """mitmproxy hears `close` and not `Close`; values of other fields keep their case."""
    fields = lines("Host: A|Connection: Keep-ALIVE|X: Y|CONNECTION: Close")
    assert with_plain_options(fields) == lines("Host: A|Connection: keep-alive|X: Y|CONNECTION: close")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a\r\n b", b"a b"),  # RFC 9112 §5.2: "replace each received obs-fold with one or more SP"
        (b"a \n\tb", b"a b"),
        (b"a\rb", b"a b"),  # RFC 9110 §5.5
        (b"a\0b", b"a b"),
        (b"a\tb", b"a\tb"),
    ],
)
def test_an_upstreams_line_breaks(value: bytes, expected: bytes) -> None:
    assert unfolded(((b"A", value),)) == ((b"A", expected),)
