"""Files marked as yanked (PEP 592): only that of a page changes, in JSON, HTML and documents of the older JSON API."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.simple.html_page import read_html
from pkgcache.rules.simple.json_page import read_json
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.yanking import mark_yanked, mark_yanked_in_document

A: Final = "six-1.0-py3-none-any.whl"
B: Final = "six-2.0-py3-none-any.whl"
WHY: Final = {A: "GHSA-1"}


def json_page(*files: str) -> bytes:
    return ('{"meta": {"api-version": "1.4"}, "files": [' + ", ".join(files) + '], "yanked": "not this"}').encode()


U: Final = f'"filename": "{A}", "url": "u"'
JSON: Final = [
    # a file's object → what it becomes
    (f"{{{U}}}", f'{{"yanked": "GHSA-1", {U}}}'),
    (f'{{ {U}, "yanked": false }}', f'{{ {U}, "yanked": "GHSA-1" }}'),
    (f'{{"yanked":true,{U}}}', f'{{"yanked":"GHSA-1",{U}}}'),
    (f'{{"yanked": "bad", {U}}}', f'{{"yanked": "GHSA-1; bad", {U}}}'),
    (f'{{"yanked": "", {U}}}', f'{{"yanked": "GHSA-1", {U}}}'),
    (f'{{"yanked": null, {U}}}', f'{{"yanked": "GHSA-1", {U}}}'),
    (f'{{"yanked": {{"a": [1]}}, {U}}}', f'{{"yanked": "GHSA-1", {U}}}'),
    (f'{{"yanked": 0, {U}, "yanked": 1}}', f'{{"yanked": "GHSA-1", {U}, "yanked": "GHSA-1"}}'),
    (f'{{"x": {{"yanked": false}}, {U}}}', f'{{"yanked": "GHSA-1", "x": {{"yanked": false}}, {U}}}'),
    (f'{{{U.replace("-", "\\u002d")}, "é": 1}}', f'{{"yanked": "GHSA-1", {U.replace("-", "\\u002d")}, "é": 1}}'),
    (f'{{"filename": "{B}", "url": "u", "yanked": false}}',) * 2,
    (f'{{"filename": "{A}"}}',) * 2,  # no file: it cannot be fetched
    ('{"filename": 7, "url": "u"}',) * 2,
    ("7", "7"),
    ("{}", "{}"),
]


@pytest.mark.parametrize(("before", "after"), JSON)
def test_json(before: str, after: str) -> None:
    other = f'{{"filename": "{B}", "url": "v"}}'
    page = json_page(other, before, other)
    marked = mark_yanked(page, "json", WHY)
    assert marked == json_page(other, after, other)
    assert (marked is page) == (before == after)


HTML: Final = [
    (f'<a href="{A}">x</a>', f'<a href="{A}" data-yanked="GHSA-1">x</a>'),
    (f'<A HREF="../{A}#sha256=0a">x</A>', f'<A HREF="../{A}#sha256=0a" data-yanked="GHSA-1">x</A>'),
    (f'<a href="{A}" data-yanked>x</a>', f'<a href="{A}" data-yanked="GHSA-1">x</a>'),
    (f'<a href="{A}" data-yanked="">x</a>', f'<a href="{A}" data-yanked="GHSA-1">x</a>'),
    (f"<a data-yanked='bad' href='{A}'>x</a>", f"<a data-yanked=\"GHSA-1;&#32;bad\" href='{A}'>x</a>"),
    (f"<a data-yanked=bad href={A}>x</a>", f'<a data-yanked="GHSA-1;&#32;bad" href={A}>x</a>'),
    (f'<a DATA-YANKED=1 href={A} data-yanked="2">x</a>', f'<a data-yanked="GHSA-1;&#32;2" href={A} data-yanked="GHSA-1;&#32;2">x</a>'),
    (f'<a data-yanked="&quot;&lt;" href={A}>x</a>', f'<a data-yanked="GHSA-1;&#32;&quot;&lt;" href={A}>x</a>'),
    (f"<a/href={A}>x</a>", f'<a/href={A} data-yanked="GHSA-1">x</a>'),
    (f"<a\nhref={A} >x", f'<a\nhref={A} data-yanked="GHSA-1" >x'),
    (f'<a href="{B}">{A}</a>', f'<a href="{B}">{A}</a>'),
    (f'<a href="other" href="{A}">x</a>', f'<a href="other" href="{A}" data-yanked="GHSA-1">x</a>'),  # as pip: the last counts
    (f'<a href="{A}" href="other">x</a>', f'<a href="{A}" href="other">x</a>'),
    (f'<!-- <a href="{A}"> -->', f'<!-- <a href="{A}"> -->'),
    (f"<a>{A}</a>", f"<a>{A}</a>"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), HTML)
def test_html(before: str, after: str) -> None:
    page = f'<!DOCTYPE html>\xe9<a href="{B}">y</a>{before}\n<a href="{B}" data-yanked="z">y</a>'
    marked = mark_yanked(page.encode("latin-1"), "html", WHY)
    assert marked.decode("latin-1") == page.replace(before, after)


def document(urls: Any, releases: Any, **info: Any) -> bytes:
    return json.dumps({"info": {"name": "six", "version": "1.0", **info}, "urls": urls, "releases": releases}).encode()


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"filename": name, "url": f"u/{name}", **more}


@pytest.mark.parametrize("before", [{}, {"yanked": False, "yanked_reason": None}])
def test_a_document(before: dict[str, Any]) -> None:
    """poetry goes by what `info` says of the release that the document is about, the files of which are in `urls`."""
    page = document([entry(A, **before)], {"1.0": [entry(A, **before)], "2.0": [entry(B, **before)]}, **before)
    made = json.loads(mark_yanked_in_document(page, WHY))
    yanked = {"yanked": True, "yanked_reason": "GHSA-1"}
    assert made["info"] == {"name": "six", "version": "1.0", **yanked}
    assert made["urls"] == [entry(A, **yanked)]
    assert made["releases"] == {"1.0": [entry(A, **yanked)], "2.0": [entry(B, **before)]}


def test_a_document_of_another_release() -> None:
    page = document([entry(B)], {"1.0": [entry(A, yanked=True, yanked_reason="bad")], "2.0": [entry(B)]})
    made = json.loads(mark_yanked_in_document(page, WHY))
    assert made["info"] == {"name": "six", "version": "1.0"}
    assert made["releases"]["1.0"] == [entry(A, yanked=True, yanked_reason="GHSA-1; bad")]
    assert mark_yanked_in_document(page, {"another.whl": "X"}) is page


@pytest.mark.parametrize("info", [None, [], {}, "x", {"yanked_reason": 7}])
def test_an_odd_document(info: Any) -> None:
    page = json.dumps({"info": info, "urls": [entry(A)]}).encode()
    made = json.loads(mark_yanked_in_document(page, WHY))
    assert made["urls"] == [entry(A, yanked=True, yanked_reason="GHSA-1")]
    assert made["info"] == ({"yanked_reason": "GHSA-1", "yanked": True} if isinstance(info, dict) and info else info)


@pytest.mark.parametrize("body", [b"", b"{", b"7", b'{"files": 7}', b"\xff"])
def test_broken(body: bytes) -> None:
    with pytest.raises(BrokenPage):
        mark_yanked(body, "json", WHY)
    with pytest.raises(BrokenPage):
        mark_yanked_in_document(body, WHY)


@given(st.text(), st.text(), st.booleans())
def test_any_reason_is_read_as_it_was_written(reason: str, before: str, is_yanked: bool) -> None:
    old = {"yanked": before} if is_yanked else {}
    page = json_page(json.dumps(entry(A, **old)))
    expected = (f"{reason}; {before}" if is_yanked and before else reason) if reason else (old and (before or False))
    assert read_json(mark_yanked(page, "json", {A: reason})).links[0].yanked == (expected or False)
    if reason.isprintable() and reason:
        (link,) = read_html(mark_yanked(f"<a href={A}>x</a>".encode(), "html", {A: reason})).links
        assert link.yanked == reason
