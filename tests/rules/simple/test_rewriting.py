"""Rewriting: clients arrive where each link means, every other byte survives, and twice is once."""

import json
import time
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.simple.html_page import escape_html, read_html
from pkgcache.rules.simple.json_page import read_json
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import Kind, Rewritten, edit
from pkgcache.rules.simple.rewriting import rewrite
from tests.rules.simple.pages import (
    FILES,
    JSON_FILES,
    MAKERS,
    OWN,
    RELEASE,
    SHA,
    WELL_FORMED,
    WHEEL,
    PipLinks,
    context,
    html_page,
    json_page,
)


def client_links(body: bytes, kind: Kind, seen: str) -> list[str]:
    """Links as pip resolves them, before it quotes."""
    if kind == "json":
        return [urljoin(seen, file["url"]) for file in json.loads(body)["files"]]
    parser = PipLinks()
    parser.feed(body.decode())
    return [urljoin(parser.base or seen, href) for href in parser.hrefs]


@pytest.mark.parametrize("kind", ["html", "json"])
@pytest.mark.parametrize("seen", ["https://index.example/simple/six/", "https://index.example/simple/six"])
@pytest.mark.parametrize(
    "href",
    [
        pytest.param(f"../..{WHEEL}{SHA}", id="relative"),
        pytest.param(f"/pypi{WHEEL}{SHA}", id="root-relative"),
        pytest.param(f"https://mirror.test/pypi/simple/six/../..{WHEEL}{SHA}", id="absolute with dots"),
        pytest.param(f"%2e%2e/%2E%2E{WHEEL}{SHA}", id="encoded dots"),
        pytest.param(f"../../../../../..{WHEEL}{SHA}", id="more dots than segments"),
        pytest.param(f"//mirror.test{WHEEL}{SHA}", id="host-relative"),
        pytest.param(f"{FILES}{WHEEL}{SHA}", id="canonical"),
    ],
)
def test_a_mirror_page_gives_the_links_of_the_canonical_page(kind: Kind, seen: str, href: str) -> None:
    body = MAKERS[kind](href)
    rewritten = rewrite(body, kind, context(seen=seen))
    assert client_links(rewritten.body, kind, seen) == [FILES + WHEEL + SHA]
    assert rewritten.body == MAKERS[kind](FILES + WHEEL + SHA)
    assert rewritten.edited is (rewritten.body is not body)
    own = rewrite(body, kind, OWN)
    assert client_links(own.body, kind, str(OWN.client_url)) == [f"http://proxy.test:8080/pypi{WHEEL}{SHA}"]


@pytest.mark.parametrize("kind", ["html", "json"])
@pytest.mark.parametrize(
    ("page", "href", "arrives"),
    [
        pytest.param(
            context(seen="https://mirror.test/pypi/simple/six", files=""),
            "../x.whl",
            "https://mirror.test/pypi/simple/x.whl",
            id="no trailing slash",
        ),
        pytest.param(
            context(upstream="https://far.test/a/b/six/", files=""),
            "../../x.whl",
            "https://far.test/a/x.whl",
            id="redirect before the page",
        ),
        pytest.param(
            context(files=""), "..%2F..%2Fx.whl", "https://mirror.test/pypi/simple/six/..%2F..%2Fx.whl", id="%2F stays"
        ),
        pytest.param(
            context(files="", own="/corp"),
            "../x.whl#egg=x",
            "https://index.example/corp/files/https/mirror.test/pypi/simple/x.whl#egg=x",
            id="own address",
        ),
    ],
)
def test_other_relative_links(kind: Kind, page: PageContext, href: str, arrives: str) -> None:
    assert client_links(rewrite(MAKERS[kind](href), kind, page).body, kind, str(page.client_url)) == [arrives]


@pytest.mark.parametrize("kind", ["html", "json"])
def test_a_page_without_need_is_the_identical_object(kind: Kind) -> None:
    body = MAKERS[kind](FILES + WHEEL + SHA, "mailto:a@b.test", f"{FILES}/other.whl")
    rewritten = rewrite(body, kind, context())
    assert rewritten.body is body
    assert not rewritten.edited
    assert [target.written for _, target in rewritten.links] == [FILES + WHEEL + SHA, f"{FILES}/other.whl"]


@pytest.mark.parametrize(
    ("base", "href", "page", "arrives", "base_after"),
    [
        pytest.param(
            "https://mirror.test/pypi/x/",
            f"..{WHEEL}",
            context(),
            FILES + WHEEL,
            "https://mirror.test/pypi/x/",
            id="absolute, pypi",
        ),
        pytest.param(
            "https://cdn.test/x/",
            "y.whl",
            context(files=""),
            "https://cdn.test/x/y.whl",
            "https://cdn.test/x/",
            id="absolute, nothing to do",
        ),
        pytest.param(
            "../..",
            "y.whl",
            context(files=""),
            "https://mirror.test/pypi/y.whl",
            "https://index.example/simple/six/",
            id="relative: pip and uv disagree",
        ),
        pytest.param(
            "",
            "y.whl",
            context(files=""),
            "https://mirror.test/pypi/simple/six/y.whl",
            "https://index.example/simple/six/",
            id="empty",
        ),
        pytest.param(
            "mailto:x",
            "y.whl",
            context(files=""),
            "https://mirror.test/pypi/simple/six/y.whl",
            "https://index.example/simple/six/",
            id="no http",
        ),
        pytest.param(
            "https://mirror.test/pypi/",
            WHEEL,
            OWN,
            f"http://proxy.test:8080/pypi{WHEEL}",
            str(OWN.client_url),
            id="own address",
        ),
    ],
)
def test_base_element(base: str, href: str, page: PageContext, arrives: str, base_after: str) -> None:
    body = html_page(href, head=f'<BASE target=x href="{base}"><base href="https://second.test/">')
    rewritten = rewrite(body, "html", page)
    assert client_links(rewritten.body, "html", str(page.client_url)) == [arrives]
    assert read_html(rewritten.body).base_href == base_after
    if page is not OWN:
        assert rewrite(rewritten.body, "html", page).body is rewritten.body


HREFS = st.lists(
    st.sampled_from(
        [
            "../",
            "./",
            "/",
            "%2e%2e/",
            "x.whl",
            "%2B",
            "+",
            "#sha256=0",
            "?q=1&r=2",
            "é",
            " ",
            "'",
            '"',
            "<",
            "https://h.test/",
            "//h.test/",
            "mailto:",
            WHEEL[1:],
        ]
    )
).map("".join)


CONTEXTS = st.builds(
    context,
    upstream=st.sampled_from(["https://mirror.test/pypi/simple/six/", "https://index.example/simple/six/"]),
    seen=st.sampled_from(["https://index.example/simple/six/", "https://index.example/simple/six"]),
    files=st.sampled_from(["", FILES]),
)


@st.composite
def html_bodies(draw: st.DrawFn) -> bytes:
    pieces = [draw(st.sampled_from(["", "\ufeff", "<base href='https://b.test/x/'>", "<base href=../>"]))]
    for href in draw(st.lists(HREFS, max_size=5)):
        quote = draw(st.sampled_from(['"', "'", ""]))
        value = escape_html(href) if draw(st.booleans()) or not quote else href.replace('"', "").replace("'", "")
        pieces += draw(WELL_FORMED), f"<a  href ={quote}{value}{quote}\r\n>"
    return "".join(pieces).encode()


@st.composite
def json_bodies(draw: st.DrawFn) -> bytes:
    files = [{**draw(JSON_FILES), "url": href} for href in draw(st.lists(HREFS, max_size=5))]
    return json.dumps(
        {"files": files}, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    ).encode()


def masked(body: bytes, kind: Kind) -> bytes:
    page = read_html(body) if kind == "html" else read_json(body)
    spans = [(link.start, link.end) for link in page.links] + ([page.base_span] if page.base_span else [])
    return edit(page, [(*span, "@") for span in spans])


def check_rewriting(body: bytes, kind: Kind, page: PageContext) -> None:
    once = rewrite(body, kind, page)
    assert rewrite(once.body, kind, page).body == once.body, "rewriting twice equals once"
    assert masked(once.body, kind) == masked(body, kind), "every byte that is no link survives"
    assert once.edited is (once.body is not body)


@given(html_bodies(), CONTEXTS)
def test_rewriting_html(body: bytes, page: PageContext) -> None:
    check_rewriting(body, "html", page)


@given(json_bodies(), CONTEXTS)
def test_rewriting_json(body: bytes, page: PageContext) -> None:
    check_rewriting(body, "json", page)


@given(
    st.lists(st.sampled_from([f"../..{WHEEL}", f"{FILES}{WHEEL}{SHA}", f"/x{WHEEL}", "mailto:x", "#top"])),
    st.sampled_from(["html", "json"]),
)
def test_rewriting_for_the_own_address(hrefs: list[str], kind: Kind) -> None:
    check_rewriting(MAKERS[kind](*hrefs), kind, OWN)


def test_a_large_page_is_read_in_time() -> None:
    """8,000 files, 3 MB: about 100 ms on the machine that this was written on; the limit leaves room for slow ones."""
    body = json_page(*(f"../..{RELEASE}six-{number}{'x' * 150}.whl" for number in range(8000)))
    start = time.thread_time()
    rewritten: Rewritten = rewrite(body, "json", context())
    assert time.thread_time() - start < 5
    assert len(rewritten.links) == 8000
