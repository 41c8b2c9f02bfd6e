"""HTML pages: which links there are, where, and what each says, compared with `html.parser` as pip uses it."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.simple.html_page import read_html
from pkgcache.rules.simple.page_model import edit
from tests.rules.simple.pages import H256, WELL_FORMED, PipLinks


@pytest.mark.parametrize(
    ("text", "hrefs"),
    [
        pytest.param("<base href href=x><a href=y>", ["y"], id="a base without value"),
        ('<a href="x">', ["x"]),
        ("<A HREF='x'>", ["x"]),
        ("<a href=x>", ["x"]),
        ("<a href=x/>", ["x/"]),
        ("<a\r\n\thref\n=\n'x'\n>", ["x"]),
        ("<a/href=x>", ["x"]),
        ('<a data-x="1"href="x">', ["x"]),
        ("<a download href=x checked>", ["x"]),
        ('<a title=">" href="x">', ["x"]),
        ('<a title="<a href=y>" href="x">', ["x"]),
        pytest.param('<a href="x" href="y">', ["y"], id="pip takes the last"),
        pytest.param('<a href="x" href>', [], id="the last has no value"),
        ('<a href="">', []),
        ("<a href=>", []),
        ("<a>", []),
        ("<abbr href=x>", []),
        ('<a data-href="x">', []),
        ('<a href="?a=1&amp;b=2&#38;c">', ["?a=1&b=2&c"]),
        pytest.param('<a href="x?a&copy=1&lt;&amp">', ["x?a&copy=1<&"], id="references by §13.2.5.73"),
        ('<a href="é">', ["é"]),
        ("<!-- <a href=x> --><a href=y>", ["y"]),
        ("<!-- -- > <a href=x> --!><a href=y>", ["y"]),
        ("<!--><a href=y>", ["y"]),
        ("<![CDATA[<a href=x>]]><a href=y>", ["y"]),
        ("<!doctype html><a href=y>", ["y"]),
        ("<?php <a href=x?><a href=y>", ["y"]),
        ("<script>'<a href=x>'</script ><a href=y>", ["y"]),
        ("<STYLE><a href=x></Style><a href=y>", ["y"]),
        ("<title><a href=x></title><a href=y>", ["y"]),
        ("<textarea><a href=x></textareas></textarea><a href=y>", ["y"]),
        ("<script/><a href=y>", ["y"]),
        ("1 < 2 <a href=y>", ["y"]),
        ("</a href=x></><a href=y>", ["y"]),
        pytest.param("<a href=y><!-- <a href=x>", ["y"], id="a comment without end"),
        pytest.param('<a href=y><a href="x>', ["y"], id="a quote without end"),
        pytest.param("<a href=y><script><a href=x>", ["y"], id="a script without end"),
        pytest.param("<a href=y><a href=x", ["y"], id="a tag without end"),
        ("", []),
    ],
)
def test_read_html(text: str, hrefs: list[str]) -> None:
    body = text.encode()
    page = read_html(body)
    assert [link.href for link in page.links] == hrefs
    assert page.text.encode(page.encoding) == body


def one_anchor(text: str) -> Any:
    (link,) = read_html(text.encode()).links
    return link


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("<a href='a/b-1.whl#sha256=0'>other</a>", "filename", "b-1.whl"),
        ("<a href='a/b%2B1.whl?x=/y'>", "filename", "b+1.whl"),
        ("<a href='a/'> b-1.whl\n</a>", "filename", "b-1.whl"),
        ("<a href='a/'>tail", "filename", "tail"),
        (f"<a href='a#sha256={H256}&amp;egg=x'>", "hashes", {"sha256": H256}),
        ("<a href='a#md5=1'>", "hashes", {"md5": "1"}),
        ("<a href='a#egg=x&subdirectory=y'>", "hashes", {}),
        ("<a href=a>", "core_metadata", False),
        ("<a href=a data-core-metadata='true'>", "core_metadata", True),
        (f"<a href=a data-dist-info-metadata='sha256={H256}'>", "core_metadata", {"sha256": H256}),
        pytest.param(
            "<a href=a data-core-metadata='sha256=1' data-dist-info-metadata='true'>",
            "core_metadata",
            {"sha256": "1"},
            id="PEP 714",
        ),
        ("<a href=a>", "yanked", False),
        ("<a href=a data-yanked>", "yanked", True),
        ("<a href=a data-yanked=''>", "yanked", True),
        ("<a href=a data-yanked='a &amp; b'>", "yanked", "a & b"),
    ],
)
def test_what_an_anchor_says(text: str, field: str, value: object) -> None:
    assert getattr(one_anchor(text), field) == value


SOUP = st.lists(
    st.sampled_from(
        [
            "<a ",
            "<A\n",
            "<b ",
            "<base ",
            "<base",
            "<p>",
            "</a>",
            "</p >",
            "href",
            " href=",
            " HREF = ",
            "'x y'",
            '"x&amp;y"',
            "x",
            "/y",
            " ",
            "\r\n",
            ">",
            ">",
            "/>",
            "<!-- ",
            " -->",
            "<script>",
            "</script>",
            "<style>",
            "</style>",
            "<!doctype x>",
            "<?x>",
            "text",
            "&lt;",
            "&",
            "data-x=",
            "é",
            " checked ",
            "'>'",
            '"<a href=q>"',
            '="#z" ',
        ]
    ),
    max_size=40,
).map("".join)


def pip_reads(text: str) -> tuple[list[str], str]:
    parser = PipLinks()
    parser.feed(text)
    return parser.hrefs, parser.base or ""


@given(WELL_FORMED)
def test_agreement_with_html_parser(text: str) -> None:
    page = read_html(text.encode())
    assert ([link.href for link in page.links], page.base_href) == pip_reads(text)
    for link in page.links:
        assert page.text[link.start - 1] in " \t\n\r=\"'"


@given(SOUP | st.binary(max_size=60).map(lambda body: body.decode("latin-1")))
def test_soup_is_read_and_survives(text: str) -> None:
    body = text.encode()
    page = read_html(body)
    assert edit(page, []) == body
    spans = [(link.start, link.end) for link in page.links]
    assert spans == sorted(spans)


def test_soup_of_opening_brackets_takes_linear_time() -> None:
    for piece in (
        b"<a ",
        b"<!--",
        b'<a href="',
        b"<a href='x' ",
        b"<![CDATA[",
        b"<script>",
        b"<a href=",
        b"</",
        b"<!---",
        b"<a =",
        b"-->",
    ):
        body = piece * (400_000 // len(piece))
        start = time.thread_time()
        read_html(body)
        assert time.thread_time() - start < 2, piece
