"""Links: the cases of "Relative links" in the facts, as targets and as decisions to edit."""

from dataclasses import replace
from urllib.parse import urljoin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pkgcache.rules.routing.paths import resolve_own_path
from pkgcache.rules.routing.urls import parse_url, resolve_reference
from pkgcache.rules.simple.links import PageContext, Resolver, Target, needs_edit, resolve_link
from tests.rules.simple.pages import FILES, RELEASE, SHA, WHEEL, context


def resolve(page: PageContext, href: str) -> Target | None:
    return resolve_link(page, page.upstream, href)


@pytest.mark.parametrize(
    "href",
    [
        pytest.param(f"{FILES}{WHEEL}{SHA}", id="canonical"),
        pytest.param(f"../..{WHEEL}{SHA}", id="relative"),
        pytest.param(f"/pypi{WHEEL}{SHA}", id="root-relative"),
        pytest.param(f"//mirror.test/pypi{WHEEL}{SHA}", id="host-relative"),
        pytest.param(f"https://mirror.test/pypi/simple/six/../..{WHEEL}{SHA}", id="absolute with dots"),
        pytest.param(f"%2e%2e/%2E.{WHEEL}{SHA}", id="encoded dots"),
        pytest.param(f"../../../../../..{WHEEL}{SHA}", id="clamped"),
        pytest.param(f"https://cdn.test:8443/any/prefix{WHEEL}{SHA}", id="another host"),
        pytest.param(f"../..{WHEEL.replace('aa/bb/ccc', 'AA/Bb/CcC')}{SHA}", id="upper-case digest"),
        pytest.param(f" \n../..{WHEEL}{SHA}\t", id="blanks around"),
    ],
)
def test_every_mirror_gives_the_canonical_link(href: str) -> None:
    target = resolve(context(), href)
    assert target is not None
    assert target.identity == FILES + WHEEL
    assert target.written == FILES + WHEEL + SHA
    own = resolve(context(own="/pypi"), href)
    assert own is not None
    assert own.written == f"/pypi{WHEEL}{SHA}"
    assert own.identity == FILES + WHEEL


@pytest.mark.parametrize(
    ("page", "href", "target"),
    [
        pytest.param(
            context(),
            f"../..{RELEASE}t-1%2Bcpu.whl",
            (
                f"https://mirror.test/pypi{RELEASE}t-1%2Bcpu.whl",
                f"{FILES}{RELEASE}t-1+cpu.whl",
                f"{FILES}{RELEASE}t-1%2Bcpu.whl",
            ),
            id="written as spelt, keyed in one spelling",
        ),
        pytest.param(
            context(),
            f"{FILES}{RELEASE}t-1+cpu.whl?x=1#egg=t",
            (
                f"{FILES}{RELEASE}t-1+cpu.whl?x=1",
                f"{FILES}{RELEASE}t-1+cpu.whl?x=1",
                f"{FILES}{RELEASE}t-1+cpu.whl?x=1#egg=t",
            ),
            id="query and fragment survive",
        ),
        pytest.param(
            context(),
            "..%2F..%2Fpackages/x.whl",
            ("https://mirror.test/pypi/simple/six/..%2F..%2Fpackages/x.whl",) * 3,
            id="%2F is no slash",
        ),
        pytest.param(
            context(upstream="https://h.test/root/dev/+simple/six/", files=""),
            f"../../+f/1a2/3b4c/six.whl{SHA}",
            (
                "https://h.test/root/dev/+f/1a2/3b4c/six.whl",
                "https://h.test/root/dev/+f/1a2/3b4c/six.whl",
                f"https://h.test/root/dev/+f/1a2/3b4c/six.whl{SHA}",
            ),
            id="devpi",
        ),
        pytest.param(
            context(files=""),
            f"../..{WHEEL}",
            (f"https://mirror.test/pypi{WHEEL}",) * 3,
            id="an index other than pypi keeps its host",
        ),
        pytest.param(
            context(files="", own="/corp"),
            f"../..{WHEEL}{SHA}",
            (
                f"https://mirror.test/pypi{WHEEL}",
                f"https://mirror.test/pypi{WHEEL}",
                f"/corp/files/https/mirror.test/pypi{WHEEL}{SHA}",
            ),
            id="own address, other index",
        ),
        pytest.param(
            context(own="/pypi"),
            "http://[::1]:8080/x%2B.whl?q",
            (
                "http://[::1]:8080/x%2B.whl?q",
                "http://[::1]:8080/x+.whl?q",
                "/pypi/files/http/%5B::1%5D:8080/x%2B.whl?q",
            ),
            id="own address, other layout",
        ),
    ],
)
def test_resolve_link(page: PageContext, href: str, target: tuple[str, str, str]) -> None:
    assert resolve(page, href) == Target(*target)


@pytest.mark.parametrize(
    "href",
    [
        "",
        " ",
        "#top",
        "?C=N;O=D",
        "mailto:a@b.test",
        "data:x",
        "ftp://h.test/x",
        "https:///x",
        "https://u:p@h.test/x",
        "javascript:void(0)",
    ],
)
def test_links_left_alone(href: str) -> None:
    assert resolve(context(), href) is None


def test_the_base_is_the_final_url_after_redirects() -> None:
    page = context(upstream="https://other.test/a/b/simple/six/", files="")
    target = resolve(page, "../../x.whl")
    assert target is not None
    assert target.absolute == "https://other.test/a/b/x.whl"


def test_the_base_element_wins() -> None:
    target = resolve_link(context(), parse_url("https://cdn.test/base/"), "x.whl")
    assert target is not None
    assert target.absolute == "https://cdn.test/base/x.whl"


SAME = context(upstream="https://index.example/simple/six/", files="https://index.example")
NO_SLASH = context(
    upstream="https://index.example/simple/six/", seen="https://index.example/simple/six", files="https://index.example"
)


@pytest.mark.parametrize(
    ("page", "href", "edited"),
    [
        pytest.param(context(), f"{FILES}{WHEEL}{SHA}", False, id="canonical already"),
        pytest.param(context(), f"HTTPS://Files.Example:443{WHEEL}{SHA}", False, id="canonical in other letters"),
        pytest.param(context(), f"../..{WHEEL}", True, id="a mirror's relative link"),
        pytest.param(context(), f"//files.example{WHEEL}", False, id="host-relative and right"),
        pytest.param(context(), f"{FILES}/x/..{WHEEL}", True, id="pip keeps dots of absolute links"),
        pytest.param(context(), f"{FILES}/%2e{WHEEL}", True, id="encoded dots of absolute links"),
        pytest.param(context(), f"{FILES}{WHEEL} ", True, id="pip would ask for the blank"),
        pytest.param(context(), f"https://files.example\\x{WHEEL}", False, id="no host at all: left alone"),
        pytest.param(SAME, f"../..{WHEEL}{SHA}", False, id="relative and right"),
        pytest.param(SAME, f"{WHEEL}{SHA}", False, id="root-relative and right"),
        pytest.param(SAME, f"../../..{WHEEL}", False, id="clamped by every client"),
        pytest.param(SAME, f"%2e%2e/..{WHEEL}", True, id="encoded dots"),
        pytest.param(SAME, f"..//..{WHEEL}", True, id="urljoin drops empty segments"),
        pytest.param(SAME, f"..\\..{WHEEL}", True, id="backslashes are slashes for some"),
        pytest.param(SAME, "../x y.whl", True, id="blanks"),
        pytest.param(NO_SLASH, f"../..{WHEEL}", False, id="no slash, but clamped at the root"),
        pytest.param(NO_SLASH, "../x.whl", True, id="no slash: one level too high"),
        pytest.param(NO_SLASH, "/simple/x.whl", False, id="no slash, root-relative"),
        pytest.param(context(own="/pypi"), f"{FILES}{WHEEL}", True, id="own address"),
        pytest.param(context(own="/pypi"), f"/pypi{WHEEL}", False, id="own address, edited before"),
    ],
)
def test_needs_edit(page: PageContext, href: str, edited: bool) -> None:
    target = resolve(page, href)
    assert (target is not None and needs_edit(page, page.client_url, href, target)) is edited


HREFS = st.lists(
    st.sampled_from(
        [
            "..",
            ".",
            "/",
            "/",
            "%2e",
            "%2F",
            "x.whl",
            "+",
            "%2B",
            "#f",
            "?q",
            "\\",
            " ",
            "é",
            ":",
            "https://h.test",
            "//h.test",
            "https:",
            WHEEL,
        ]
    )
).map("".join)
PAGES = st.builds(
    context,
    upstream=st.sampled_from(["https://mirror.test/pypi/simple/six/", "https://index.example/simple/six/"]),
    seen=st.sampled_from(["https://index.example/simple/six/", "https://index.example/simple/six"]),
    files=st.sampled_from(["", FILES, "https://index.example"]),
)


# What a page of thousands of files has: links that differ behind their prefix alone.
PLAIN = st.tuples(
    st.sampled_from(
        [
            *(
                "",
                "/",
                "../",
                "../../",
                "../../../../../",
                "./",
                "a/../",
                "//h.test/",
                "https://h.test/",
                "https:x/",
                "C:/",
            ),
            *("https://mirror.test/pypi/", "https://mirror.test:443/", "https://h.test/../", "/pypi/", "+f/", "a//b/"),
            *(
                f"{FILES}/",
                f"{FILES}/x/",
                f"{FILES}//",
                "https://index.example/",
                "https://index.example/simple/six/../",
            ),
            *("http://mirror.test/", "https:/", "https://", "..", "?/", "#/", "packages/aa/bb/"),
        ]
    ),
    st.sampled_from(
        [
            WHEEL[1:],
            WHEEL[1:].upper(),
            "x.whl",
            "+f/aa/x-1.0+cpu.whl",
            ".x",
            "a/./b",
            "a/../b.whl",
            "x:y",
            f"{'c' * 60}/x",
        ]
    ),
    st.sampled_from(["", SHA, "#", "#a%20b", "?q", "?q#f"]),
).map("".join)


@given(PAGES, HREFS | st.text(max_size=30))
@example(context(files=""), "0?")
def test_what_is_not_edited_arrives(page: PageContext, href: str) -> None:
    target = resolve(page, href)
    if target is None:
        return
    if not needs_edit(page, page.client_url, href, target):
        arrived = urljoin(str(page.client_url), href)
        # An empty query, which urljoin leaves out, is none.
        got, wanted = resolve_reference(page.client_url, arrived), target.written
        assert (parse_url(got), got.partition("#")[2]) == (parse_url(wanted), wanted.partition("#")[2])
        assert "/../" not in arrived.partition("?")[0].partition("#")[0]
    assert not needs_edit(page, page.client_url, target.written, target)


@given(PAGES, HREFS)
def test_a_written_link_means_the_same_when_read_again(page: PageContext, href: str) -> None:
    if (target := resolve(page, href)) is None:
        return
    again = resolve(page, target.written)
    assert again is not None
    assert (again.written, again.identity) == (target.written, target.identity)


@given(PAGES, st.sampled_from(["", "/pypi"]), st.lists(HREFS | PLAIN, max_size=6))
def test_links_by_their_prefix_are_the_links_themselves(page: PageContext, own: str, hrefs: list[str]) -> None:
    """The quick way is right, whatever its prefixes have taught it, also about bases other than the page."""
    page = replace(page, own_prefix=own)
    for base in (page.upstream, page.client_url, parse_url("https://base.test/packages/aa/")):
        quick = Resolver(page, base, page.client_url)
        for href in (*hrefs, *hrefs):
            target = resolve_link(page, base, href)
            slow = target and (target, needs_edit(page, page.client_url, href, target))
            assert quick.resolve(href) == slow


@given(HREFS)
def test_own_paths_lead_back(href: str) -> None:
    page = context(files="", own="/corp")
    if (target := resolve(page, href)) is None:
        return
    path, _, query = target.written.partition("#")[0].partition("?")
    assert resolve_own_path("/corp", path, query) == parse_url(target.absolute)
