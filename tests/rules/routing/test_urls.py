"""URLs, by the tables of RFC 3986 and by the cases that clients brought up (facts: "Relative links")."""

import base64
import re
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pkgcache.rules.routing.urls import (
    Url,
    basic_credentials,
    normalise_path,
    parse_authority,
    parse_url,
    quote_segment,
    remove_dot_segments,
    resolve_reference,
)

PATHS = st.lists(
    st.sampled_from(
        ["/", "..", ".", "a", "%2e", "%2E", "%2F", "%2f", "%25", "+", "%2B", "%", "é", " ", ":", "%zz", "%41", "b.whl"]
    )
).map(lambda parts: "/" + "".join(parts))
ANY_PATH = PATHS | st.text(max_size=40).map(lambda text: "/" + text)
REFERENCES = st.text(max_size=40) | PATHS | PATHS.map(lambda path: path[1:])


@pytest.mark.parametrize(
    ("text", "written", "parts"),
    [
        pytest.param("https://h.test", "https://h.test/", ("https", "h.test", 443, "/", ""), id="empty path"),
        pytest.param(
            "HTTP://H.Test.:80/A?b", "http://h.test/A?b", ("http", "h.test", 80, "/A", "b"), id="case, dot, port"
        ),
        pytest.param("https://h:8443/a#f", "https://h:8443/a", ("https", "h", 8443, "/a", ""), id="port, fragment"),
        pytest.param("https://h.test:/", "https://h.test/", ("https", "h.test", 443, "/", ""), id="empty port §3.2.3"),
        pytest.param("http://[0:0::1]:81?q", "http://[::1]:81/?q", ("http", "::1", 81, "/", "q"), id="IPv6"),
        pytest.param(
            "https://h.test/a/../%2e?",
            "https://h.test/a/../%2e",
            ("https", "h.test", 443, "/a/../%2e", ""),
            id="as spelt",
        ),
    ],
)
def test_parse_url(text: str, written: str, parts: tuple[str, str, int, str, str]) -> None:
    url = parse_url(text)
    assert str(url) == written
    assert url == Url(*parts)
    assert parse_url(written) == url


def test_parts_of_a_url() -> None:
    url = parse_url("https://[::1]:8443/a?b=c")
    assert (url.origin, url.authority, url.target) == ("https://[::1]:8443", "[::1]:8443", "/a?b=c")
    assert str(url.with_path("/x")) == "https://[::1]:8443/x"
    assert str(url.with_path("/x", "y")) == "https://[::1]:8443/x?y"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an absolute"),
        ("/a", "not an absolute"),
        ("ftp://h.test/", "not an absolute"),
        ("https:/h.test/", "not an absolute"),
        ("https:///a", "no host"),
        ("https://.:80/", "no host"),
        ("https://h..test/", "not a host name"),
        ("https://h%41.test/", "not a host name"),
        ("https://h\\x/", "not a host name"),
        ("https://user:secret@h.test/", "user information"),
        ("ftp://user:secret@h.test/", "not an absolute"),
        ("http:/user:secret@h.test/", "not an absolute"),
        ("unix:user:secret@h.test", "not an absolute"),
        ("//user:secret@[::1", "not an absolute"),
        (f"ftp://{'u' * 100}:secret@h.test/", "not an absolute"),
        ("https://h.test:0/", "port"),
        ("https://h.test:65536/", "port"),
        ("https://h.test:99999999999/", "port"),
        ("https://h.test:8x/", "not a host"),
        ("https://h.test:٣/", "character"),
        ("https://[::1/", "not a host"),
        ("https://[fe80::1%25eth0]/", "not an IPv6 address"),
        ("https://h.test/a b", "character"),
        ("https://h.test/a\n", "character"),
        ("https://h.test/\x7f", "character"),
        ("https://münchen.test/", "character"),
    ],
)
def test_refused_urls(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_url(text)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("Host.Test.:8443", ("host.test", 8443)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", 443)),
        ("127.0.0.1", ("127.0.0.1", 443)),
        ("under_score", ("under_score", 443)),
    ],
)
def test_parse_authority(text: str, parsed: tuple[str, int]) -> None:
    assert parse_authority(text, 443) == parsed


@pytest.mark.parametrize("text", ["", ":80", "a:b:c", "::1", "[::1]80", "u@h", "a/b", "a b", "h\r\nx: y", "[]"])
def test_refused_authorities(text: str) -> None:
    with pytest.raises(ValueError, match=r"host|IPv6"):
        parse_authority(text, 443)


@pytest.mark.parametrize(
    ("path", "removed"),
    [
        pytest.param("/a/b/c/./../../g", "/a/g", id="RFC 3986 §5.2.4"),
        pytest.param("mid/content=5/../6", "mid/6", id="RFC 3986 §5.2.4, no slash"),
        ("/simple/six/../../packages/x.whl", "/packages/x.whl"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2e/b", "/a/b"),
        pytest.param("/a/..%2F..%2Fb", "/a/..%2F..%2Fb", id="%2F is no slash"),
        pytest.param("/../../a", "/a", id="clamped at the root"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/a/b/..", "/a/"),
        ("/a/b/", "/a/b/"),
        pytest.param("/a//b/../c", "/a//c", id="empty segments are segments"),
        ("/a//../b", "/a/b"),
        ("//..//", "//"),
        ("/...", "/..."),
        ("/a/.b/..c", "/a/.b/..c"),
        ("/%2e%2e%2e", "/%2e%2e%2e"),
        ("/%252e%252e/a", "/%252e%252e/a"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_remove_dot_segments(path: str, removed: str) -> None:
    assert remove_dot_segments(path) == removed


def rfc_3986_5_2_4(path: str) -> str:
    """Remove dot segments letter by letter, as the RFC's loop has it."""
    output = ""
    while path:
        if path.startswith("/./") or path == "/.":
            path = "/" + path[3:]
        elif path.startswith("/../") or path == "/..":
            path, output = "/" + path[4:], output[: max(output.rfind("/"), 0)]
        else:
            end = path.find("/", 1)
            segment = path if end < 0 else path[:end]
            path, output = path[len(segment) :], output + segment
    return output


@given(st.lists(st.sampled_from(["/", "/", "..", ".", "a", "..."])).map(lambda parts: "/" + "".join(parts)))
def test_remove_dot_segments_does_what_the_rfc_loop_does(path: str) -> None:
    assert remove_dot_segments(path) == rfc_3986_5_2_4(path)


DOTS = re.compile(r"/(\.|%2e){1,2}(/|\Z)", re.IGNORECASE)


@given(ANY_PATH)
@example("/a/%2e%2E/%2e")
def test_no_dot_segment_is_left_and_removing_twice_is_removing_once(path: str) -> None:
    removed = remove_dot_segments(path)
    assert DOTS.search(removed) is None
    assert removed.startswith("/")
    assert remove_dot_segments(removed) == removed


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        pytest.param("/torch-2.0%2Bcpu.whl", "/torch-2.0+cpu.whl", id="pip's spelling"),
        ("/torch-2.0%2bcpu.whl", "/torch-2.0+cpu.whl"),
        pytest.param("/torch-2.0+cpu.whl", "/torch-2.0+cpu.whl", id="uv's spelling"),
        ("/a%21%7E%61%3a%40", "/a!~a:@"),
        pytest.param("/a%2fb%2F", "/a%2Fb%2F", id="%2F is never decoded"),
        pytest.param("/a%2541", "/a%2541", id="%25 is never decoded"),
        ("/%00%0a%20", "/%00%0A%20"),
        ("/é |", "/%C3%A9%20%7C"),
        ("/%c3%a9", "/%C3%A9"),
        pytest.param("/100%/%zz", "/100%25/%25zz", id="stray % sign"),
        ("/%%34%31", "/%2541"),
        ("/a/%2e%2e/%2e%2e/b", "/b"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("", "/"),
    ],
)
def test_normalise_path(path: str, normal: str) -> None:
    assert normalise_path(path) == normal


@given(ANY_PATH)
def test_a_normal_path_is_normal(path: str) -> None:
    normal = normalise_path(path)
    assert normalise_path(normal) == normal
    assert re.fullmatch(r"/([A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})*", normal)
    assert DOTS.search(normal) is None
    assert normal.count("%2F") == remove_dot_segments(path).upper().count("%2F")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=30).filter(lambda name: name not in {".", ".."}))
def test_pip_and_uv_spell_one_path(name: str) -> None:
    written = quote_segment(name)
    assert unquote(written) == name
    assert normalise_path("/" + quote(name, safe="")) == normalise_path("/" + written) == "/" + written


RFC_BASE = parse_url("http://a/b/c/d;p?q")
# RFC 3986 §5.4.1 and §5.4.2, and beside them what differs here: an empty path is `/`.
RFC_EXAMPLES = [
    ("g:h", "g:h"),
    ("g", "http://a/b/c/g"),
    ("./g", "http://a/b/c/g"),
    ("g/", "http://a/b/c/g/"),
    ("/g", "http://a/g"),
    ("//g", "http://g/"),
    ("?y", "http://a/b/c/d;p?y"),
    ("g?y", "http://a/b/c/g?y"),
    ("#s", "http://a/b/c/d;p?q#s"),
    ("g#s", "http://a/b/c/g#s"),
    ("g?y#s", "http://a/b/c/g?y#s"),
    (";x", "http://a/b/c/;x"),
    ("g;x", "http://a/b/c/g;x"),
    ("g;x?y#s", "http://a/b/c/g;x?y#s"),
    ("", "http://a/b/c/d;p?q"),
    (".", "http://a/b/c/"),
    ("./", "http://a/b/c/"),
    ("..", "http://a/b/"),
    ("../", "http://a/b/"),
    ("../g", "http://a/b/g"),
    ("../..", "http://a/"),
    ("../../", "http://a/"),
    ("../../g", "http://a/g"),
    ("../../../g", "http://a/g"),
    ("../../../../g", "http://a/g"),
    ("/./g", "http://a/g"),
    ("/../g", "http://a/g"),
    ("g.", "http://a/b/c/g."),
    (".g", "http://a/b/c/.g"),
    ("g..", "http://a/b/c/g.."),
    ("..g", "http://a/b/c/..g"),
    ("./../g", "http://a/b/g"),
    ("./g/.", "http://a/b/c/g/"),
    ("g/./h", "http://a/b/c/g/h"),
    ("g/../h", "http://a/b/c/h"),
    ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
    ("g;x=1/../y", "http://a/b/c/y"),
    ("g?y/./x", "http://a/b/c/g?y/./x"),
    ("g?y/../x", "http://a/b/c/g?y/../x"),
    ("g#s/./x", "http://a/b/c/g#s/./x"),
    ("g#s/../x", "http://a/b/c/g#s/../x"),
    ("http:g", "http://a/b/c/g"),
]


@pytest.mark.parametrize(("reference", "absolute"), RFC_EXAMPLES)
def test_the_examples_of_rfc_3986_5_4(reference: str, absolute: str) -> None:
    assert resolve_reference(RFC_BASE, reference) == absolute


PAGE = parse_url("https://mirror.test/pypi/simple/six/")


@pytest.mark.parametrize(
    ("reference", "absolute"),
    [
        ("../../packages/x.whl#sha256=0", "https://mirror.test/pypi/packages/x.whl#sha256=0"),
        ("%2e%2e/.%2E/x.whl", "https://mirror.test/pypi/x.whl"),
        ("..%2F..%2Fx.whl", "https://mirror.test/pypi/simple/six/..%2F..%2Fx.whl"),
        ("https://H.test:443/a/../x.whl?q#f", "https://h.test/x.whl?q#f"),
        ("//h.test/x", "https://h.test/x"),
        (" \t\n../x\r\n\0", "https://mirror.test/pypi/simple/x"),
        ("a\n\tb", "https://mirror.test/pypi/simple/six/ab"),
        ("a b\\é", "https://mirror.test/pypi/simple/six/a%20b%5C%C3%A9"),
        ("+f/1/x.whl", "https://mirror.test/pypi/simple/six/+f/1/x.whl"),
        ("+f:x", "https://mirror.test/pypi/simple/six/+f:x"),
        ("mailto:a@b.test", "mailto:a@b.test"),
        (" data:x y", " data:x y"),
        ("ftp://h.test/a/../b", "ftp://h.test/a/../b"),
    ],
)
def test_references_of_pages(reference: str, absolute: str) -> None:
    assert resolve_reference(PAGE, reference) == absolute


@pytest.mark.parametrize("reference", ["https:///x", "///x", "http:x", "//h:port/x", "https://u:p@h.test/x", "//[::1"])
def test_references_without_sense(reference: str) -> None:
    with pytest.raises(ValueError, match=r"host|user|IPv6"):
        resolve_reference(PAGE, reference)


@given(REFERENCES)
def test_a_resolved_reference_resolves_to_itself(reference: str) -> None:
    try:
        absolute = resolve_reference(PAGE, reference)
    except ValueError:
        return
    if absolute.startswith(("http:", "https:")):
        assert resolve_reference(PAGE, absolute) == absolute
        assert DOTS.search(parse_url(absolute).path) is None


@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [
        ("user:secret", b"user:secret"),
        ("user:p%40ss%3Aword", b"user:p@ss:word"),
        ("user:a:b", b"user:a:b"),  # RFC 7617 §2: the first colon ends the user-id
        ("us%C3%A9r:x", "usér:x".encode()),
        ("user:", b"user:"),
        ("token", b"token:"),
        (":secret", b":secret"),
    ],
)
def test_basic_credentials(userinfo: str, credentials: bytes) -> None:
    scheme, _, value = basic_credentials(userinfo).partition(" ")
    assert (scheme, base64.b64decode(value)) == ("Basic", credentials)


def test_no_basic_credentials() -> None:
    assert basic_credentials("") == ""
