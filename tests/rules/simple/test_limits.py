"""How much a page may hold and become: at each limit, and beyond it."""

import json

import pytest

from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple import json_api, json_page, limits
from pkgcache.rules.simple.conversion import html_to_json, json_to_html
from pkgcache.rules.simple.html_page import read_html
from pkgcache.rules.simple.html_tags import decode
from pkgcache.rules.simple.limits import MAX_LINK, MAX_LINKS
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.rewriting import rewrite

MIRROR = parse_url("https://mirror.test/simple/it/")


def context(own: str = "") -> PageContext:
    return PageContext(
        upstream=MIRROR,
        client_url=parse_url("https://index.test/simple/it/"),
        canonical_files="",
        own_prefix=own,
    )


def json_of(*urls: str, **more: object) -> bytes:
    return json.dumps({"files": [{"url": url, "filename": "it-1.zip"} for url in urls], **more}).encode()


# Numbers of things


def test_links_of_a_page_in_html() -> None:
    assert len(read_html(b"<a href=x>" * MAX_LINKS).links) == MAX_LINKS
    with pytest.raises(BrokenPage, match="more than 100,000 links"):
        read_html(b"<a href=x>" * (MAX_LINKS + 1))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        pytest.param('{"files": [' + "{}," * (MAX_LINKS - 1) + "{}]}", True, id="files"),
        pytest.param('{"files": [' + "{}," * MAX_LINKS + "{}]}", False, id="one file more"),
        pytest.param('{"files": [' + "[]," * MAX_LINKS + "1]}", False, id="whatever they are"),
        pytest.param('{"files": [1' + " ,1" * MAX_LINKS + "]}", False, id="odd blanks"),
        pytest.param('{"files": [], ' + '"a": 1, ' * (MAX_LINKS - 2) + '"b": 1}', True, id="members"),
        pytest.param('{"files": [], ' + '"a": 1, ' * MAX_LINKS + '"b": 1}', False, id="more members"),
    ],
)
def test_elements_of_a_page_in_json(text: str, good: bool) -> None:
    if good:
        json_page.read_json(text.encode())
        return
    with pytest.raises(BrokenPage, match="more than 100,000"):
        json_page.read_json(text.encode())


def test_files_of_a_document_are_counted_together() -> None:
    releases = ",".join(f'"{n}": [{",".join("1" * 1001)}]' for n in range(100))
    with pytest.raises(BrokenPage, match="more than 100,000 files"):
        json_api.read_document(f'{{"info": {{}}, "releases": {{{releases}}}}}'.encode())


# Lengths of things


@pytest.mark.parametrize("own", ["", "/corp"])
@pytest.mark.parametrize("kind", ["html", "json"])
@pytest.mark.parametrize(
    ("href", "kept"),
    [
        pytest.param("x" * (MAX_LINK - 200), True, id="long"),
        pytest.param("x" * MAX_LINK, False, id="long when it is absolute"),
        pytest.param("x" * (MAX_LINK + 1), False, id="too long"),
        pytest.param(f"https://mirror.test/{'x' * MAX_LINK}", False, id="too long, absolute"),
        pytest.param("\u00e4" * (MAX_LINK // 2), False, id="too long when it is encoded"),
        pytest.param("../" * MAX_LINK, False, id="dots"),
    ],
)
def test_a_link_that_no_request_can_be_made_for(href: str, kept: bool, kind: str, own: str) -> None:
    """It is left alone, and the others are not."""
    good = "sub/it-1.zip"
    body = json_of(href, good) if kind == "json" else f'<a href="{href}"></a><a href="{good}"></a>'.encode()
    made = rewrite(body, kind, context(own))  # type: ignore[arg-type]
    assert len(made.links) == 1 + kept
    assert made.links[-1][1].absolute.endswith(good)
    written = json.dumps(href)[1:-1] if kind == "json" else href
    assert kept or written.encode() in made.body


@pytest.mark.parametrize("length", [MAX_LINK, MAX_LINK + 1, 100_000])
def test_a_base(length: int) -> None:
    """100 kB of it, and 20,000 short links, became 2 GB."""
    body = f'<base href="/{"b" * (length - 1)}"><h1>Links</h1><a href="it-1.zip"></a>'.encode()
    if length <= MAX_LINK:
        rewrite(body, "html", context())
        html_to_json(body, "it", MIRROR)
        return
    for work in (lambda: rewrite(body, "html", context()), lambda: html_to_json(body, "it", MIRROR)):
        with pytest.raises(BrokenPage, match="base href"):
            work()


@pytest.mark.parametrize("own", ["", "/corp"])
def test_what_all_links_together_grow_to(own: str) -> None:
    body = f'<base href="/{"b" * 8000}/">'.encode() + b"<a href=it-1.zip>" * 5000
    for work in (lambda: rewrite(body, "html", context(own)), lambda: html_to_json(body, "it", MIRROR)):
        with pytest.raises(BrokenPage, match="many times the page"):
            work()
    usual = b"".join(b"<a href=it-%d.zip>" % number for number in range(20_000))
    assert len(rewrite(usual, "html", context(own)).links) == 20_000


def test_small_pages_may_grow_by_a_mebibyte() -> None:
    assert [limits.max_growth(size) for size in (0, 1, 1 << 17, 1 << 20, 1 << 22, 1 << 30)] == [
        *(1 << 20, 1 << 20, 1 << 20, 8 << 20, 32 << 20, 32 << 20)
    ]


def test_a_converted_page() -> None:
    """Each of 30,000 links to a name of 5,000 characters, given once by the base."""
    links = json_of(*(f"it-{number}.zip" for number in range(3000)))
    assert html_to_json(json_to_html(links, "it"), "it", MIRROR).count(b".zip") == 6000


# Numbers of characters


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("&#65;", "A"),
        ("&#65", "A"),
        ("&#65=", "A="),
        ("&#x41;", "A"),
        ("&#X41=", "A="),
        (f"&#{'0' * 5000}65;", "A"),
        (f"&#x{'0' * 50_000}41", "A"),
        (f"&#{'0' * 5000};", "\ufffd"),
        (f"&#{'9' * 5000};x", "\ufffdx"),
        (f"&#x{'f' * 5000}", "\ufffd"),
        (f"&#{'9' * 5000}=", "\ufffd="),
        ("&#1114111;", ""),
        ("&#1114112;", "\ufffd"),
        ("&#x10FFFF;", ""),
        ("&#x110000;", "\ufffd"),
        ("&#99999999;", "\ufffd"),
        ("&#0;", "\ufffd"),
        ("&#xd800;", "\ufffd"),
        ("&#57343;", "\ufffd"),
        ("&#-1;", "&#-1;"),
        ("&#;", "&#;"),
        ("&#x;", "&#x;"),
        ("&#x80;", "\u20ac"),
        ("&#13;&#10;", "\r\n"),
        ("&" + "a" * 5000 + ";", "&" + "a" * 5000 + ";"),
        ("&#\u0664\u0662;", "&#\u0664\u0662;"),
    ],
)
def test_character_references(text: str, found: str) -> None:
    """As `html.unescape` has it, but for what makes that fail: HTML standard §13.2.5.80."""
    assert decode(text.encode().decode("latin-1")) == found
