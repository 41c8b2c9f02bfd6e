"""Removing files from pages: tables of what goes and what stays; properties against `json` and the pages' own reader."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pkgcache.rules.simple.html_page import read_html
from pkgcache.rules.simple.html_tags import tags
from pkgcache.rules.simple.json_page import read_json
from pkgcache.rules.simple.page_model import BrokenPage, Kind, Page, PageLink
from pkgcache.rules.simple.removal import Filtered, remove_files

READERS: dict[Kind, Callable[[bytes], Page]] = {"html": read_html, "json": read_json}


def without(body: str, kind: Kind, *hrefs: str) -> str:
    """The page without the links that are spelt so."""
    return remove_files(body.encode(), kind, lambda link: link.href in hrefs).body.decode()


def never(_: PageLink) -> bool:
    return False


def always(_: PageLink) -> bool:
    return True


# JSON


def file(url: str, **more: Any) -> str:
    return json.dumps({"filename": url, "url": url, **more})


A, B, C = '{"url": "a"}', '{"hashes": {"url": "a"}, "url":"b" }', '{"url": "c", "x": [{}, "]"]}'


@pytest.mark.parametrize(
    ("files", "gone", "left"),
    [
        pytest.param(f"[{A},{B},{C}]", "a", f"[{B},{C}]", id="the first"),
        pytest.param(f"[{A},{B},{C}]", "b", f"[{A},{C}]", id="one between"),
        pytest.param(f"[{A},{B},{C}]", "c", f"[{A},{B}]", id="the last"),
        pytest.param(f"[{A},{B},{C}]", "ab", f"[{C}]", id="two at the beginning"),
        pytest.param(f"[{A},{B},{C}]", "bc", f"[{A}]", id="two at the end"),
        pytest.param(f"[{A},{B},{C}]", "ac", f"[{B}]", id="both ends"),
        pytest.param(f"[{A},{B},{C}]", "abc", "[]", id="all"),
        pytest.param(f"[ {A} ,\n {B} ,\n {C} ]", "b", f"[ {A} ,\n {C} ]", id="white space of what stays"),
        pytest.param(f"[ {A} ,\n {B} ,\n {C}\n ]", "c", f"[ {A} ,\n {B}\n ]", id="white space at the end"),
        pytest.param(f"[ {A} ,\n {B} ,\n {C}\n ]", "abc", "[ \n ]", id="white space where all went"),
        pytest.param(f"[1,{A},null,{B}]", "ab", "[1,null]", id="what is no file stays"),
        pytest.param(f"[{A},{A}]", "a", "[]", id="the same twice"),
        pytest.param(f'[{A},{{"url": ""}}]', "a", '[{"url": ""}]', id="a file without URL stays"),
    ],
)
def test_files_of_json(files: str, gone: str, left: str) -> None:
    for page in ('{{"meta": {{}}, "files":{0}, "z": 1}}', '\ufeff{{"files" : {0}}}\n', '{{"fil\\u0065s":{0}}}'):
        assert without(page.format(files), "json", *gone) == page.format(left)


def test_of_duplicate_members_the_last_counts() -> None:
    page = '{{"versions": ["1"], "files": [{0}], "files": [{1}], "versions": [{2}]}}'
    one, two = file("x-1.tar.gz"), file("x-2.tar.gz")
    assert without(page.format(one, f"{one}, {two}", '"1", "2"'), "json", "x-1.tar.gz") == page.format(one, two, '"2"')


@pytest.mark.parametrize(
    ("versions", "gone", "kept", "left"),
    [
        pytest.param('["1.0", "2.0"]', ["x-2.0.tar.gz"], ["x-1.0.tar.gz"], '["1.0"]', id="PEP 700 its only file"),
        pytest.param(
            '["1.0", "2.0"]',
            ["x-2.0.tar.gz", "x-2.0-py3-none-any.whl"],
            ["x-1.0.tar.gz"],
            '["1.0"]',
            id="PEP 700 all its files",
        ),
        pytest.param(
            '["1.0", "2.0"]',
            ["x-2.0.tar.gz"],
            ["x-2.0-py3-none-any.whl"],
            '["1.0", "2.0"]',
            id="PEP 700 another file of it stays",
        ),
        pytest.param('["0.9", "1.0"]', ["x-1.0.tar.gz"], [], '["0.9"]', id="PEP 700 a version without files stays"),
        pytest.param('["1.0.0"]', ["x-1.0.tar.gz"], [], "[]", id="PEP 440 the same version in other words"),
        pytest.param('["1.0.0"]', ["x-1.0.tar.gz"], ["x-1-py3-none-any.whl"], '["1.0.0"]', id="PEP 440 and kept"),
        pytest.param('["1.0", "1.0.0", "2"]', ["x-1.tar.gz"], [], '["2"]', id="all entries that mean it"),
        pytest.param('["1.0+cpu"]', ["x-1.0+cpu-cp313-cp313-linux_x86_64.whl"], [], "[]", id="a local version"),
        pytest.param('["1.0", "1.0.post1"]', ["x-1.0.post1.zip"], [], '["1.0"]', id="a zip"),
        pytest.param('["1.0"]', ["x-1.0-1-py3-none-any.whl"], [], "[]", id="a wheel with a build number"),
        pytest.param('["2004d"]', ["x-2004d.tar.gz"], [], '["2004d"]', id="a version that cannot be read stays"),
        pytest.param('["1.0"]', ["x-1.0.win32.exe"], [], '["1.0"]', id="so does a file name's that cannot"),
        pytest.param(
            '["1.0", "2.0"]',
            ["x-1.0.tar.gz", "x-2.0.tar.gz"],
            ["x-1.0-py2.7.egg"],
            '["1.0"]',
            id="and the version that an unreadable name has in it",
        ),
        pytest.param('[ "1.0" ,\n "2.0" ]', ["x-1.0.tar.gz"], [], '[ "2.0" ]', id="white space"),
        pytest.param('[1, null, "1.0"]', ["x-1.0.tar.gz"], [], "[1, null]", id="what is no version stays"),
        pytest.param('"1.0"', ["x-1.0.tar.gz"], [], '"1.0"', id="no array"),
        pytest.param("[]", ["x-1.0.tar.gz"], [], "[]", id="none"),
    ],
)
def test_versions(versions: str, gone: list[str], kept: list[str], left: str) -> None:
    before, after = (", ".join(map(file, names)) for names in ([*gone, *kept], kept))
    for page in ('{{"files": [{0}], "versions": {1}}}', '{{"versions":{1},"files":[{0}]}}'):
        assert without(page.format(before, versions), "json", *gone) == page.format(after, left)


def test_a_file_without_a_url_still_has_its_version() -> None:
    page = '{{"versions": ["1.0"], "files": [{0}{{"filename": "x-1.0.tar.gz"}}]}}'
    assert without(page.format(file("x-1.0.zip") + ", "), "json", "x-1.0.zip") == page.format("")


def test_a_broken_page() -> None:
    with pytest.raises(BrokenPage):
        remove_files(b"<html>", "json", never)


# HTML


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("<p>\n  <a href=x>x</a><br />\n  <a>", "<p>\n  <a>", id="as PyPI lays it out"),
        pytest.param("<p>\n<a href=x>x</a><br>\n<a>", "<p>\n<a>", id="no indent"),
        pytest.param("<p>\n<a href=x>x</a><BR/>\r\n<a>", "<p>\n<a>", id="other line ends, other spelling"),
        pytest.param("<p>\n<a href=x>x</a> <br>\n<a>", "<p>\n<a>", id="a blank before the break"),
        pytest.param("<p>\n<a href=x>x</a>\n <br>\n<a>", "<p>\n<a>", id="a line break before the break"),
        pytest.param("<p>\n<a href=x>x</a>\n<a>", "<p>\n<a>", id="a line of its own"),
        pytest.param("<p><a href=x>x</a><br>\n<a>", "<p>\n<a>", id="behind something: the line stays"),
        pytest.param(
            "<p>\n <a href=x>x</a><br><a>y</a>\n", "<p>\n <a>y</a>\n", id="before something: so does the indent"
        ),
        pytest.param("<p>\n<a href=x>x</a> 12 kB\n<a>", "<p>\n 12 kB\n<a>", id="text stays"),
        pytest.param("<li><a href=x>x</a></li>\n", "<li></li>\n", id="list items stay"),
        pytest.param("<a href=x>x</a><br>\n<a href=x>x</a><br>\ny", "y", id="two lines"),
        pytest.param("<a href=x>x</a><br><a href=x>x</a><br>\ny", "y", id="two in a line"),
        pytest.param("<p><a href=x>x</a><a href=x>x</a>\ny", "<p>\ny", id="two behind something"),
        pytest.param("y\n<a href=x>x</a>", "y\n", id="the last line"),
        pytest.param("<a href=x>x</a>", "", id="the only one"),
        pytest.param("-<A\n HREF='x' >x</A\n>-", "--", id="spelling"),
        pytest.param("-<a title='<a href=y' href=x>x</a>-", "--", id="another tag inside an attribute"),
        pytest.param("-<a href=x title='</a>'>x</a>-", "--", id="its end inside an attribute"),
        pytest.param("-<a href=x>x<!-- </a> --></a>-", "--", id="its end inside a comment"),
        pytest.param("-<a href=x><b>x</b><br></a>-", "--", id="elements inside"),
        pytest.param("-<a href=x><script>'</a>'</script></a>-", "--", id="raw text inside"),
        pytest.param("-<a href=x>x</abbr>y</a>-", "--", id="another element's end"),
        pytest.param("<!--<a href=x>x</a>-->-<a href=x>x</a>", "<!--<a href=x>x</a>-->-", id="comments stay"),
        pytest.param("<p>\n<a href=x>x<br>\n<a href=y>y<br>\n", "<p>\n<a href=y>y<br>\n", id="no end"),
        pytest.param("<a href=y>y<br>\n<a href=x>x\n</p>", "<a href=y>y<br>\n</p>", id="no end, the last one"),
        pytest.param(
            "<li><a href=x>x</li><li><a href=y>y</a>", "<li></li><li><a href=y>y</a>", id="the next one's end"
        ),
        pytest.param("<a href=x>x", "", id="the page ends"),
        pytest.param("<a href=x>x<!-- <a href=y>", "<!-- <a href=y>", id="a comment without an end"),
        pytest.param("<<a href=x>x</a>a href=z>", "< a href=z>", id="no new tag comes about"),
        pytest.param("-<a>x</a><a name=x>x</a>-", "-<a>x</a><a name=x>x</a>-", id="anchors without href"),
        pytest.param("é<a href=x>é</a>é", "éé", id="UTF-8"),
    ],
)
def test_anchors(before: str, after: str) -> None:
    assert without(before, "html", "x") == after


def test_tags_are_those_outside_of_raw_text() -> None:
    found = [tag[0] for tag in tags("a<b c><!-- <d> --><title><e></title></b><br/><plaintext><f>")]
    assert found == ["<b c>", "<!-- <d> -->", "<title>", "</title>", "</b>", "<br/>", "<plaintext>"]


# Properties


NAMES = st.builds(
    "{0}-{1}{2}".format,
    st.sampled_from(["six", "six_x"]),
    st.sampled_from(["1", "1.0", "2.0", "2.0.1", "3a1", "2004d"]),
    st.sampled_from([".tar.gz", ".zip", "-py3-none-any.whl", "-1-py3-none-any.whl", ".egg", ""]),
)
JSON_FILES = st.fixed_dictionaries(
    {"filename": NAMES, "url": NAMES},
    optional={"hashes": st.just({"url": "x"}), "x": st.sampled_from(["]", '"', "}", ["\\", {}], "é"])},
)


@st.composite
def json_bodies(draw: st.DrawFn) -> bytes:
    page: dict[str, Any] = {
        "files": draw(st.lists(JSON_FILES | st.none() | st.just({"url": ""}), max_size=8)),
        "meta": {"api-version": "1.1"},
        "x": draw(st.sampled_from([None, {"files": [{"url": "x"}]}, "files"])),
    }
    if draw(st.booleans()):
        page["versions"] = draw(st.lists(st.sampled_from(["1.0", "2", "2.0.1", "3a1", "2004d", "4"]), max_size=6))
    ordered = {key: page[key] for key in draw(st.permutations(sorted(page)))}
    return json.dumps(
        ordered,
        indent=draw(st.sampled_from([None, 1, "\t"])),
        separators=draw(st.sampled_from([(",", ":"), (" ,  ", " : ")])),
        ensure_ascii=draw(st.booleans()),
    ).encode()


PIECES = st.sampled_from(
    [
        "<a href=x-1.zip>x</a>",
        "<a href='y-2.zip'>y</a>",
        '<A HREF="z/" title="<a href=q>">z</A >',
        "<a href=u-1.zip>",
        "<a>",
        "</a>",
        "<br>",
        "<br />",
        "\n",
        "\r\n",
        " ",
        "    ",
        "<",
        "a href=w>",
        "/a>",
        "!--",
        "-->",
        "<!-- <a href=v> -->",
        "<script><a href=v></script>",
        "<title>",
        "</title>",
        "text",
        "<li>",
        "</li>",
        "é",
        "&lt;",
        "<b x='>'>",
        "<base href='/b/'>",
    ]
)
HTML_BODIES = st.lists(PIECES, max_size=25).map(lambda pieces: "".join(pieces).encode())
BODIES = st.tuples(st.just("html"), HTML_BODIES) | st.tuples(st.just("json"), json_bodies())


@given(BODIES)
def test_dropping_nothing_is_identity(page: tuple[Kind, bytes]) -> None:
    kind, body = page
    filtered = remove_files(body, kind, never)
    assert filtered.body is body
    assert (filtered.dropped, filtered.kept) == (0, len(READERS[kind](body).links))


@given(BODIES)
def test_dropping_everything_leaves_a_page(page: tuple[Kind, bytes]) -> None:
    kind, body = page
    filtered = remove_files(body, kind, always)
    assert READERS[kind](filtered.body).links == ()
    assert (filtered.dropped, filtered.kept) == (len(READERS[kind](body).links), 0)


def said(link: PageLink) -> tuple[object, ...]:
    return link.href, link.hashes, link.core_metadata, link.size, link.upload_time, link.yanked


@example(page=("html", b"<<a href=x-1.zip>x</a><a href='y-2.zip'>y</a>a href=w>"), choices=[True, True])
@given(BODIES, st.lists(st.booleans(), min_size=25, max_size=25))
def test_what_stays_is_what_was_to_stay(page: tuple[Kind, bytes], choices: list[bool]) -> None:
    kind, body = page
    before = READERS[kind](body)
    answers = dict(zip([link.start for link in before.links], choices, strict=False))
    filtered = remove_files(body, kind, lambda link: answers[link.start])
    after = READERS[kind](filtered.body)
    assert [said(link) for link in after.links] == [said(link) for link in before.links if not answers[link.start]]
    assert (after.base_href, filtered.kept) == (before.base_href, len(after.links))
    assert is_subsequence(after.text.replace("< ", "<"), before.text.replace("< ", "<")), "nothing is put in"
    kept = {link.href for link in after.links}
    again = remove_files(filtered.body, kind, lambda link: link.href not in kept)
    assert again.body is filtered.body, "filtering twice equals once"


def is_subsequence(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(character in rest for character in part)


@given(json_bodies(), st.sets(st.integers(0, 7)))
def test_json_is_the_same_as_edited_as_a_model(body: bytes, dropped: set[int]) -> None:
    page = json.loads(body)
    numbers = iter(range(100))
    filtered: Filtered = remove_files(body, "json", lambda _: next(numbers) in dropped)
    numbers = iter(range(100))
    page["files"] = [each for each in page["files"] if not each or not each["url"] or next(numbers) not in dropped]
    result = json.loads(filtered.body)
    if "versions" in page:
        assert [version for version in page["versions"] if version in result["versions"]] == result["versions"]
        names = "\n".join(each.get("filename", "") for each in result["files"] if each)
        assert {"4", "2004d"} & set(page["versions"]) <= set(result["versions"]), "no file, no reading: they stay"
        # A whole version: the `-2.` of six-2.0.1 says nothing of version 2.
        left = {v for v in page["versions"] if re.search(rf"-{v}(-|\.tar|\.zip|\.egg|$)", names, re.MULTILINE)}
        assert left <= set(result["versions"])
    page.pop("versions", None)
    result.pop("versions", None)
    assert result == page


# Time


def big_json(count: int) -> bytes:
    names = [
        f"big-1.{n // 16}-cp3{n % 16}-cp3{n % 16}-manylinux_2_17_x86_64.manylinux2014_x86_64.whl" for n in range(count)
    ]
    files = [
        {
            "filename": name,
            "hashes": {"sha256": "ab" * 32},
            "url": f"https://files.example/packages/aa/bb/{'c' * 60}/{name}",
            "requires-python": ">=3.8",
            "size": 123456,
            "upload-time": "2024-01-01T00:00:00.123456Z",
            "core-metadata": {"sha256": "cd" * 32},
            "data-dist-info-metadata": {"sha256": "cd" * 32},
            "yanked": False,
        }
        for name in names
    ]
    versions = [f"1.{n}" for n in range(count // 16)]
    return json.dumps({"meta": {"api-version": "1.4"}, "name": "big", "versions": versions, "files": files}).encode()


def big_html(count: int) -> bytes:
    anchor = (
        '    <a href="https://files.example/packages/aa/bb/{0}/big-1.{1}.tar.gz#sha256={2}" data-x="{3}">x</a><br />\n'
    )
    return "".join(anchor.format("c" * 60, number, "ab" * 32, "y" * 300) for number in range(count)).encode()


@pytest.mark.parametrize("body", [big_json(8000), big_html(8000), big_html(8000).replace(b"\n", b"")], ids=len)
def test_a_large_page_is_filtered_in_time(body: bytes) -> None:
    """8,000 files, 4 to 5 MB, half of them dropped: 120 to 150 ms; the limit leaves room for slow machines."""
    numbers = iter(range(8000))
    start = time.process_time()
    filtered = remove_files(body, "json" if body[:1] == b"{" else "html", lambda _: next(numbers) % 2 == 0)
    assert time.process_time() - start < 5
    assert filtered.kept == filtered.dropped == 4000


@pytest.mark.parametrize(
    "piece",
    [b"<a href=x>", b"<a href=x> ", b"<a href=x></a>\n \n", b"<a href=x><", b"<a href=x></a><br", b"<a href=x></"],
)
def test_soup_takes_linear_time(piece: bytes) -> None:
    body = piece * (200_000 // len(piece)) + b" " * 200_000
    start = time.process_time()
    remove_files(body, "html", always)
    assert time.process_time() - start < 3, piece
