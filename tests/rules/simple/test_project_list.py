"""The list of all projects: which links are edited, however the body is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.project_list import MAX_TAG, ProjectListChecker, ProjectListEditor

MIRROR = parse_url("https://mirror.test/pypi/simple/")


def edited(body: bytes, sizes: list[int] | None = None) -> bytes:
    editor, out, rest = ProjectListEditor(MIRROR), b"", body
    for size in sizes or []:
        out += editor.feed(rest[:size])
        rest = rest[size:]
    return out + editor.feed(rest) + editor.end()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param('<a href="/pypi/simple/six/">six</a>', '<a href="six/">six</a>', id="root-relative"),
        pytest.param('<a href="https://mirror.test/pypi/simple/six/">', '<a href="six/">', id="absolute"),
        pytest.param('<a href="//mirror.test/pypi/simple/six/">', '<a href="six/">', id="host-relative"),
        pytest.param("<A class=x HREF = '/pypi/simple/six'>", "<A class=x HREF = 'six'>", id="another spelling"),
        pytest.param("<a href=/pypi/simple/six/>", "<a href=six/>", id="no quotes"),
        pytest.param('<a\nhref="/pypi/simple/a.b-c_d/">', '<a\nhref="a.b-c_d/">', id="a line end, an odd name"),
        *(
            pytest.param(same, same, id=why)
            for same, why in (
                ('<a href="six/">six</a>', "it is so already"),
                ('<a href="./six/">', "from the folder"),
                ('<a href="/simple/six/">', "another folder of the mirror"),
                ('<a href="https://other.test/pypi/simple/six/">', "another host"),
                ('<a href="/pypi/simple/">', "the list itself"),
                ('<a href="/pypi/simple/../x/">', "out of the folder"),
                ('<a href="/pypi/simple/six/six-1.0.whl">', "a file"),
                ('<a href="/pypi/simple/six/?x">', "a query"),
                ('<a title="/pypi/simple/six/">', "another attribute"),
                ('<link href="/pypi/simple/six/">', "another element"),
                ("text /pypi/simple/six/ text", "text"),
            )
        ),
    ],
)
def test_links(before: str, after: str) -> None:
    assert edited(before.encode()) == after.encode()


@given(st.lists(st.integers(1, 40), max_size=30))
def test_however_it_is_cut(sizes: list[int]) -> None:
    lines = ["<!DOCTYPE html><html><body>", *(f'<a href="/pypi/simple/p{n}/">µ & p{n}</a><br/>\r\n' for n in range(9))]
    body = "".join(lines).encode() + b"<a hr"
    assert edited(body, sizes) == edited(body) == body.replace(b"/pypi/simple/", b"")
    assert edited(edited(body), sizes) == edited(body)


def test_a_bracket_without_an_end_is_not_kept_for_ever() -> None:
    editor = ProjectListEditor(MIRROR)
    out = editor.feed(b"<" + b"x" * (2 * MAX_TAG))
    assert len(out) > MAX_TAG


@pytest.mark.parametrize(
    ("body", "is_list"),
    [
        (b'<html><a href="six/">six</a>', True),
        (b'<html><a href="/pypi/simple/six/">six</a>', True),
        (b"<html><title>Simple index</title></html>", True),
        (b"<html><title>Welcome to the hotel</title><form>Room number</form></html>", False),
        (b'<html><a href="https://hotel.test/login">Log in</a></html>', False),
        (b"", False),
    ],
)
def test_what_is_a_list_in_html(body: bytes, is_list: bool) -> None:
    editor = ProjectListEditor(MIRROR)
    editor.feed(body)
    editor.end()
    assert editor.is_list is is_list


@pytest.mark.parametrize(
    ("body", "is_list"),
    [
        (b'{"meta": {"api-version": "1.1"}, "projects": [{"name": "six"}]}\n', True),
        (b'\xef\xbb\xbf {"projects":[]}', True),
        (b'{"meta": {}, "projects": [{"name": "six"}', False),
        (b'{"message": "hello"}', False),
        (b'["projects"]', False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_what_is_a_list_in_json(size: int, body: bytes, is_list: bool) -> None:
    checker = ProjectListChecker()
    assert b"".join(checker.feed(body[at : at + size]) for at in range(0, len(body), size)) + checker.end() == body
    assert checker.is_list is is_list
