"""Request lines and Host headers by RFC 9112, each row with its section."""

import pytest

from pkgcache.rules.http.request_head import Fields, is_clean, is_for_whole_server, is_host, why_bad, with_path

HOST: Fields = ((b"Host", b"a.test"),)


@pytest.mark.parametrize(
    ("method", "target", "version", "fields", "status"),
    [
        (b"GET", b"/", b"HTTP/1.1", HOST, None),  # RFC 9112 §3.2
        (b"GET", b"/", b"HTTP/1.1", ((b"hOST", b"A.test:80"),), None),  # RFC 9110 §5.1: names have no case
        (b"GET", b"/", b"HTTP/1.1", (), 400),  # RFC 9112 §3.2
        (b"HEAD", b"/", b"HTTP/1.1", ((b"Accept", b"*/*"),), 400),
        (b"POST", b"/", b"HTTP/1.1", ((b"X-Host", b"a.test"),), 400),
        (b"GET", b"/", b"HTTP/1.0", (), None),  # it had no Host
        (b"GET", b"/", b"HTTP/1.0", ((b"Host", b"a b"),), 400),
        (b"GET", b"/", b"HTTP/1.0", HOST + HOST, 400),
        (b"GET", b"/", b"HTTP/1.2", (), 400),  # RFC 9110 §2.5: taken as 1.1
        (b"GET", b"/", b"HTTP/1.1", HOST + HOST, 400),  # RFC 9112 §3.2, though they are equal
        (b"GET", b"/", b"HTTP/1.1", (*HOST, (b"host", b"b.test")), 400),
        (b"GET", b"/", b"HTTP/1.1", ((b"Host", b""),), 400),  # RFC 9110 §4.2.1: an http URL has a host
        (b"CONNECT", b"", b"HTTP/1.1", (), None),  # small clients leave it out: the target says it all
        (b"CONNECT", b"", b"HTTP/1.1", HOST + HOST, 400),
        (b"CONNECT", b"", b"HTTP/1.1", ((b"Host", b"a/b"),), 400),
        (b"GET", b"*", b"HTTP/1.1", HOST, 400),  # RFC 9112 §3.2.4
        (b"HEAD", b"*", b"HTTP/1.1", HOST, 400),
        (b"POST", b"*", b"HTTP/1.1", HOST, 400),
        (b"OPTIONS", b"*", b"HTTP/1.1", HOST, None),
        (b"M-SEARCH", b"/", b"HTTP/1.1", HOST, None),  # RFC 9110 §9.1: any token
        (b"get", b"/", b"HTTP/1.1", HOST, 400),  # §9.1: methods have a case
        (b"Head", b"/", b"HTTP/1.1", HOST, 400),
        (b"Connect", b"/", b"HTTP/1.1", HOST, 400),
        (b"patch", b"/", b"HTTP/1.1", HOST, None),  # another one than PATCH: the origin's business
        (b"GE(T", b"/", b"HTTP/1.1", HOST, 400),
        (b'G"T', b"/", b"HTTP/1.1", HOST, 400),
        (b"G\xc3\xa9T", b"/", b"HTTP/1.1", HOST, 400),
        (b"GET", b"/", b"HTTP/2.0", HOST, 505),  # RFC 9110 §15.6.6
        (b"GET", b"/", b"HTTP/0.9", HOST, 505),
        (b"PRI", b"*", b"HTTP/2.0", (), 505),  # RFC 9113 §3.4
    ],
)
def test_a_head(method: bytes, target: bytes, version: bytes, fields: Fields, status: int | None) -> None:
    found = why_bad(method, target, version, fields)
    assert (found[0] if found else None) == status


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"A: b", True),
        (b"A:", True),
        (b"A: b\tc \xff", True),  # RFC 9110 §5.5: obs-text, and a tab
        (b"A:\tb\t", True),  # §5.6.3
        (b"A: b\rc", False),  # §5.5
        (b"A:\r b", False),  # at an edge, where parsers strip it
        (b"A: b\r", False),
        (b"A: b\0c", False),
        (b"A: b\x7fc", False),
        (b"A\x0b: b", False),
        (b" c", False),  # RFC 9112 §5.2: folded
        (b"\tc", False),
        (b" ", False),
    ],
)
def test_a_header_line(line: bytes, expected: bool) -> None:
    assert is_clean([b"Host: a.test", line, b"X: y"]) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a.test", True),  # RFC 3986 §3.2.2
        (b"A.TEST.", True),
        (b"a_b.test", True),  # names of containers
        (b"_srv.test:1", True),
        (b"xn--bcher-kva.test", True),
        (b"10.0.0.5:65535", True),
        (b"[2001:db8::1]", True),
        (b"[::1]:8080", True),
        (b"a.test:", True),  # RFC 3986 §3.2.3: an empty port
        (b"a.test:65536", False),
        (b"a.test:999999", False),
        (b"a.test:8o", False),
        (b"a.test:-1", False),
        (b":80", False),
        (b"", False),
        (b"a b", False),
        (b"a.test b.test", False),
        (b"a.test, b.test", False),
        (b"me@a.test", False),  # RFC 9110 §4.2.4
        (b"http://a.test", False),
        (b"a.test/", False),
        (b"a.test?x", False),
        (b"a.test#x", False),
        (b"a\\b", False),
        (b"[::1", False),
        (b"::1", False),
        (b"[fe80::1%25eth0]", False),
        (b"$(id).test", False),  # it is written into /env.sh
        (b"a;b", False),
        (b"a%2eb", False),
        (b"\xff\xfe", False),
        (b"a\0b", False),
    ],
)
def test_a_host(value: bytes, expected: bool) -> None:
    assert is_host(value) is expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET http://a.test?x HTTP/1.1", b"GET http://a.test/?x HTTP/1.1"),  # RFC 9110 §4.2.3
        (b"GET HTTPS://a.test:1?x=/y?z HTTP/1.1", b"GET HTTPS://a.test:1/?x=/y?z HTTP/1.1"),
        (b"GET http://[::1]? HTTP/1.1", b"GET http://[::1]/? HTTP/1.1"),
        (b"GET http://a.test/?x HTTP/1.1", b"GET http://a.test/?x HTTP/1.1"),
        (b"GET http://a.test HTTP/1.1", b"GET http://a.test HTTP/1.1"),
        (b"GET /?u=http://a.test?x HTTP/1.1", b"GET /?u=http://a.test?x HTTP/1.1"),
        (b"GET /a?b://c?d HTTP/1.1", b"GET /a?b://c?d HTTP/1.1"),
        (b"CONNECT a.test:443 HTTP/1.1", b"CONNECT a.test:443 HTTP/1.1"),
    ],
)
def test_a_url_without_a_path(line: bytes, expected: bytes) -> None:
    assert with_path(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"OPTIONS http://a.test:8001 HTTP/1.1", True),  # RFC 9112 §3.2.4
        (b"OPTIONS http://a.test/ HTTP/1.1", False),
        (b"OPTIONS http://a.test?x HTTP/1.1", False),
        (b"OPTIONS * HTTP/1.1", False),  # it says so itself
        (b"GET http://a.test HTTP/1.1", False),
    ],
)
def test_the_options_of_a_server(line: bytes, expected: bool) -> None:
    assert is_for_whole_server(line) is expected
