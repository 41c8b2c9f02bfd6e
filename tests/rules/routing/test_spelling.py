r"""rules/routing/spelling.py: `%40` is `@`, `%2f` is never `/`; and what a lenient server may read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.routing.spelling import MAX_DECODINGS, loose_readings, loose_segments, names_a_file, strict_path


@pytest.mark.parametrize(
    ("path", "strict", "loose"),
    [
        ("/a/b/", "/a/b/", ("a", "b")),
        ("/a//b///", "/a/b/", ("a", "b")),
        ("//", "/", ()),
        ("/a/%40/%2f", "/a/@/%2F", ("a", "@")),
        ("/a%2Fb", "/a%2Fb", ("a", "b")),
        ("/a%252Fb", "/a%252Fb", ("a", "b")),
        ("/A/../b", "/b", ("b",)),
        ("/a/%2e%2E/b", "/b", ("b",)),
        ("/a/..%2fb", "/a/..%2Fb", ("b",)),
        ("/a/..;x/B;y=1/", "/a/..;x/B;y=1/", ("b",)),
        ("/a%5c..%5Cb", "/a%5C..%5Cb", ("b",)),
        ("/a%20/b%00x/c%3fd/e%23f", "/a%20/b%00x/c%3Fd/e%23f", ("a", "b", "c", "e")),
        ("*", "*", ("*",)),
    ],
)
def test_two_readings(path: str, strict: str, loose: tuple[str, ...]) -> None:
    assert strict_path(path) == strict
    assert loose_segments(path) == loose


@pytest.mark.parametrize(
    "path",
    [
        "//host:80/a/b/",
        "/%2fhost/a/b",
        "/\\host/a/b",
        "//%5chost//a/./b",
        "//host/x/../a%2fb",
        # with dot segments to be removed first (RFC 3986 §5.2.4)
        "/.//host/a/b",
        "/x/..//host/a/b",
        "/%2e/%2fhost/a/b",
        "/./.\\\\host/a/b",
        "/.;x//host/a/b",
    ],
)
def test_a_path_that_may_begin_with_a_host(path: str) -> None:
    assert [reading[-2:] for reading in loose_readings(path)] == [("a", "b")] * 2
    assert loose_readings(path)[1] == ("a", "b")


def test_a_path_that_does_not() -> None:
    assert loose_readings("/host//a/b") == (("host", "a", "b"),)
    assert loose_readings("/%" + "25" * MAX_DECODINGS + "61") == ()


def test_how_often_a_path_is_decoded() -> None:
    assert loose_segments("/%" + "25" * (MAX_DECODINGS - 1) + "61") == ("a",)
    assert loose_segments("/%" + "25" * MAX_DECODINGS + "61") is None


@given(st.text("/.%2fF5cCeE;aA+@\\", max_size=40))
def test_strict_is_idempotent_and_as_loose_as_the_path(path: str) -> None:
    strict = strict_path(f"/{path}")
    assert strict_path(strict) == strict


@pytest.mark.parametrize("name", ["x-1.zip", "x-1.whl.metadata", "x.tar.gz.asc"])
def test_names_of_files(name: str) -> None:
    assert names_a_file(("a", name, "download"))
    assert not names_a_file(("a", "b"))
