"""JSON and HTML, by what the client takes and by what the upstream has: negotiation (PEP 691), and each made out of the other.

What a converted page says is tabled in tests/rules/test_convert.py, what `Accept` means in tests/rules/test_media.py. Here both are
seen at a proxy, with an upstream that has one of them only.
"""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from tests.support import clients, names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.clients import PIP_ENV, PIP_INDEX, UV_ENV, Way, installed
from tests.support.factories import MakeUpstream
from tests.support.house import ACCEPTS, House, links_of, open_house, slug, tidied, without_fragments
from tests.support.index import HTML_TYPE, JSON_TYPE, PLAIN_HTML_TYPE, LinkForm, PageStyle, href
from tests.support.waiting import eventually
from tests.support.wheels import make_sdist, make_wheel

type Mode = Literal["both", "html", "json"]
MODES: Final[tuple[Mode, ...]] = ("both", "html", "json")
PIP: Final = f"{JSON_TYPE}, {HTML_TYPE}; q=0.1, text/html; q=0.01"
UV: Final = f"{JSON_TYPE}, {HTML_TYPE};q=0.2, text/html;q=0.01"
POETRY: Final = f"{JSON_TYPE}, */*;q=0.1"
LATEST_JSON: Final = "application/vnd.pypi.simple.latest+json"
LATEST_HTML: Final = "application/vnd.pypi.simple.latest+html"


@pytest.fixture(scope="module")
def open_for_all(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(ca, tmp_path_factory.mktemp("representations")) as house:
        yield house


@pytest.fixture
def house(open_for_all: House) -> Iterator[House]:
    with tidied(open_for_all) as house:
        yield house


# Negotiation

EITHER: Final = {JSON_TYPE, HTML_TYPE, "text/html"}
TAKEN: Final[dict[str | None, tuple[str, set[str]]]] = {
    JSON_TYPE: (JSON_TYPE, {JSON_TYPE}),
    HTML_TYPE: (HTML_TYPE, {HTML_TYPE}),
    "text/html": ("text/html", {"text/html"}),
    LATEST_JSON: (JSON_TYPE, {JSON_TYPE}),  # PEP 691: answered with the actual version's type
    LATEST_HTML: (HTML_TYPE, {HTML_TYPE}),
    PIP: (JSON_TYPE, EITHER),
    UV: (JSON_TYPE, EITHER),
    POETRY: (JSON_TYPE, EITHER),
    f"{JSON_TYPE};q=0.1, text/html": ("text/html", {JSON_TYPE, "text/html"}),
    f"{JSON_TYPE};q=0, */*": ("text/html", {HTML_TYPE, "text/html"}),
    "text/*": ("text/html", {"text/html", HTML_TYPE}),
    "*/*": ("text/html", EITHER),
    "": ("text/html", EITHER),  # PEP 691: no Accept is a client that knows nothing but PEP 503
    "text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8": ("text/html", EITHER),  # a browser
    "nonsense": ("text/html", EITHER),  # names nothing at all, and so refuses nothing
    "image/png, text/html;q=0.001": ("text/html", {"text/html"}),
}
"""Accept → what is sent if the upstream has both, and what may be sent if it has one."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("accept", TAKEN, ids=slug)
def test_a_client_gets_what_it_takes(accept: str, mode: Mode, house: House) -> None:
    """The type that it asked for, and a body of that type with the same files, whichever the upstream has."""
    best, allowed = TAKEN[accept]
    name = f"taken-{mode}"
    release = make_wheel(name)
    if not house.upstream.count(path_contains=name):
        house.upstream.add(release)
    house.upstream.mode = mode
    for url in (names.page_url(name), f"/pypi/simple/{name}/"):
        page = house.fetch(url, headers={"Accept": accept})
        assert page.status == 200
        sent = str(page.headers["Content-Type"]).partition(";")[0]
        assert sent in ({best} if mode == "both" else allowed)
        assert page.body.startswith(b"{") == (sent == JSON_TYPE)
        assert set(without_fragments(links_of(page, url))) == {
            names.file_url(release) if url.startswith("https") else f"/pypi/{release.quoted_path}"
        }
        assert {each.strip() for each in str(page.headers["Vary"]).split(",")} == {"Accept", "Accept-Encoding"}
        for tag in (str(page.headers["ETag"]), "*"):
            same = house.fetch(url, headers={"Accept": accept, "If-None-Match": tag})
            assert (same.status, same.headers["Vary"], same.body) == (304, page.headers["Vary"], b"")
        head = house.fetch(url, method="HEAD", headers={"Accept": accept})
        for header in ("Content-Type", "Content-Length", "ETag", "Vary"):
            assert head.headers[header] == page.headers[header], header


@pytest.mark.parametrize(
    "accept",
    [
        "image/png",
        "application/json",
        "application/vnd.pypi.simple.v2+json",
        "text/html;q=0",
        f"{JSON_TYPE};q=0, {HTML_TYPE};q=0, text/html;q=0, */*",
    ],
)
def test_nothing_that_a_page_can_be(accept: str, house: House) -> None:
    """406 and not a page that the client cannot read; it names what there is, and nobody is asked."""
    house.upstream.add(make_wheel("unacceptable"))
    for url in (names.page_url("unacceptable"), "/pypi/simple/unacceptable/"):
        answer = house.fetch(url, headers={"Accept": accept})
        assert answer.status == 406
        assert all(each in answer.body.decode() for each in (JSON_TYPE, HTML_TYPE, "text/html"))
        assert answer.headers["Cache-Control"] == "no-store"
    assert house.upstream.count() == 0


@pytest.mark.parametrize("mode", MODES)
def test_one_upstream_request_a_representation(mode: Mode, house: House) -> None:
    """Conversion fetches nothing more, and a converted page that was asked for once is a hit."""
    house.upstream.add(make_wheel(f"once-{mode}"))
    house.upstream.mode = mode
    for _ in range(3):
        for kind in ACCEPTS:
            assert house.page(f"once-{mode}", kind).status == 200
    assert house.page_requests(f"once-{mode}") <= len(ACCEPTS)
    assert "hit" in str(house.page(f"once-{mode}", "json").headers["Cache-Status"])


@pytest.mark.parametrize("spelt", ["Foo.Bar", "foo_bar", "FOO-BAR", "foo.-_bar", "foo-bar"])
@pytest.mark.parametrize("mode", MODES)
def test_names_are_normalised(mode: Mode, spelt: str, house: House) -> None:
    """PEP 503: `Foo.Bar` is answered, or redirected to, as foo-bar; with the slash and without it, and from one stored page."""
    release = make_wheel("Foo.Bar")
    if not house.upstream.count():
        house.upstream.add(release)
    house.upstream.mode = mode
    for kind, accept in ACCEPTS.items():
        usual = house.page("foo-bar", kind)
        for url in (f"{names.INDEX_URL}{spelt}/", f"{names.INDEX_URL}{spelt}", f"/pypi/simple/{spelt}/"):
            page = house.fetch(url, headers={"Accept": accept})
            assert page.status == 200, url
            seen = url if url.startswith("http") else names.page_url("foo-bar")
            assert set(without_fragments(links_of(page, seen))) <= {
                names.file_url(release),
                f"{names.INDEX_URL.removesuffix('/simple/')}/pypi/{release.quoted_path}",
            }
            if page.headers["Content-Type"] == JSON_TYPE:
                assert json.loads(page.body)["name"] == "foo-bar"
        assert usual.status == 200
    assert house.page_requests("foo-bar") <= len(ACCEPTS)
    assert house.upstream.count() == house.page_requests("foo-bar")


# What a page says survives

RICH: Final = make_wheel("rich-page", "1.0")
RICH_FILE: Final[dict[str, Any]] = {
    "filename": RICH.filename,
    "url": f"../../{RICH.quoted_path}",
    "hashes": {"sha256": RICH.sha256, "blake2b_256": RICH.blake2b},
    "requires-python": ">=3.8,<4",
    "core-metadata": {"sha256": RICH.metadata_sha256},  # PEP 714
    "data-dist-info-metadata": {"sha256": RICH.metadata_sha256},  # PEP 658
    "yanked": 'the "bad" one: <ä>',  # PEP 592
    "gpg-sig": False,
    "size": RICH.size,  # PEP 700
    "upload-time": RICH.upload_time,
    "provenance": "https://provenance.example/rich",  # PEP 740
    "x-unknown": {"kept": [1, None, 2.50]},
}
RICH_PAGE: Final[dict[str, Any]] = {
    "meta": {
        "api-version": "1.3",
        "_last-serial": 7,
        "tracks": ["https://index.example/simple/rich-page/"],  # PEP 708
        "unknown": "µ",
    },
    "alternate-locations": ["https://other.example/simple/rich-page/"],
    "project-status": {"status": "archived", "reason": "old & tired"},  # PEP 792
    "name": "rich-page",
    "versions": ["1.0", "0.9"],
    "files": [RICH_FILE],
    "unknown": True,
}
RICH_HTML: Final = f"""\
<!DOCTYPE html>
<html><head>
  <meta name="pypi:repository-version" content="1.3">
  <meta name='pypi:project-status' content=archived><meta name="pypi:project-status-reason" content="old &amp; tired">
  <meta name="pypi:tracks" content="https://index.example/simple/rich-page/">
  <meta name="pypi:alternate-locations" content="https://other.example/simple/rich-page/">
  <!-- <a href="../../nowhere">left alone</a> -->
</head><body class=x>
<A  data-x-unknown="kept"   HREF="../../{RICH.quoted_path}#sha256={RICH.sha256}" data-requires-python="&gt;=3.8,&lt;4"
   data-core-metadata="sha256={RICH.metadata_sha256}" data-dist-info-metadata="sha256={RICH.metadata_sha256}"
   data-yanked="the &quot;bad&quot; one: &lt;&auml;&gt;" data-gpg-sig="false"
   data-provenance="https://provenance.example/rich" >{RICH.filename}</A  ><br/>
</body></html><!--SERIAL 7-->
"""


def test_an_edited_page_keeps_every_other_byte(house: House) -> None:
    """Unknown keys and attributes, spelling, order and blanks: only link bytes are edited."""
    text = json.dumps(RICH_PAGE, indent=1, ensure_ascii=False)
    for name, body, content_type, accept in (
        ("rich-page", text, JSON_TYPE, JSON_TYPE),
        ("rich-html", RICH_HTML, HTML_TYPE, HTML_TYPE),
        ("rich-text", RICH_HTML, PLAIN_HTML_TYPE, "text/html"),
    ):
        house.upstream.serve(f"/pypi/simple/{name}/", body.encode(), content_type)
        page = house.fetch(names.page_url(name), headers={"Accept": accept})
        assert page.headers["Content-Type"] == content_type
        assert page.body.decode() == body.replace(f"../../{RICH.quoted_path}", names.file_url(RICH))
        own = house.fetch(f"/pypi/simple/{name}/", headers={"Accept": accept})
        assert own.body.decode() == body.replace(f"../../{RICH.quoted_path}", f"/pypi/{RICH.quoted_path}")


@pytest.mark.parametrize("kind", ["html", "html-v1"])
def test_html_made_of_json(kind: str, house: House) -> None:
    """All that HTML has words for; the PEPs' own names."""
    house.upstream.serve("/pypi/simple/rich-json/", json.dumps(RICH_PAGE).encode(), JSON_TYPE)
    page = house.page("rich-json", kind)
    assert page.status == 200
    text = page.body.decode()
    found = re.search(r"<a ([^>]*)>([^<]*)</a>", text)
    assert found, text
    attributes = {name: html.unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', found[1])}
    metadata = f"sha256={RICH.metadata_sha256}"
    assert attributes == {
        "href": f"{names.file_url(RICH)}#sha256={RICH.sha256}",
        "data-requires-python": ">=3.8,<4",
        "data-core-metadata": metadata,
        "data-dist-info-metadata": metadata,
        "data-yanked": RICH_FILE["yanked"],
        "data-gpg-sig": "false",
        "data-provenance": RICH_FILE["provenance"],
    }
    assert found[2] == RICH.filename
    metas = {
        (name, html.unescape(value))
        for name, value in re.findall(r'<meta name="pypi:([\w-]+)" content="([^"]*)"', text)
    }
    assert metas == {
        ("repository-version", "1.3"),
        ("project-status", "archived"),
        ("project-status-reason", "old & tired"),
        ("tracks", "https://index.example/simple/rich-page/"),
        ("alternate-locations", "https://other.example/simple/rich-page/"),
    }


@pytest.mark.parametrize("content_type", [HTML_TYPE, PLAIN_HTML_TYPE, "text/html"])
def test_json_made_of_html(content_type: str, house: House) -> None:
    """All that HTML has said, and nothing invented: no size, no upload time, no `versions` (PEP 700), so version 1.0."""
    name = f"rich-{slug(content_type)}"
    house.upstream.serve(f"/pypi/simple/{name}/", RICH_HTML.encode(), content_type)
    page = house.page(name)
    assert (page.status, page.headers["Content-Type"]) == (200, JSON_TYPE)
    metadata = {"sha256": RICH.metadata_sha256}
    assert json.loads(page.body) == {
        "meta": {"api-version": "1.0", "tracks": RICH_PAGE["meta"]["tracks"]},
        "name": name,
        "alternate-locations": RICH_PAGE["alternate-locations"],
        "project-status": RICH_PAGE["project-status"],
        "files": [
            {
                "filename": RICH.filename,
                "url": names.file_url(RICH),
                "hashes": {"sha256": RICH.sha256},
                "requires-python": ">=3.8,<4",
                "core-metadata": metadata,
                "dist-info-metadata": metadata,
                "yanked": RICH_FILE["yanked"],
                "gpg-sig": False,
                "provenance": RICH_FILE["provenance"],
            }
        ],
    }


@pytest.mark.parametrize("form", LinkForm, ids=lambda form: form.name)
@pytest.mark.parametrize("mode", ["html", "json"])
def test_links_of_a_converted_page(mode: Mode, form: LinkForm, house: House) -> None:
    """In every form in which mirrors write them: a converted page leads where the other one does."""
    name = f"linked-{mode}-{form.name}".lower().replace("_", "-")
    wheel, sdist = make_wheel(name, "1.0+local.1"), make_sdist(name)
    house.upstream.add(wheel, sdist)
    house.upstream.mode = mode
    house.upstream.style = PageStyle(form=form, files_origin=f"{house.upstream.origin}/pypi")
    for at in (names.page_url(name), f"/pypi/simple/{name}/", house.upstream.page_url(name)):
        seen = at if at.startswith("http") else f"{house.proxy.url}{at}"
        links = [
            without_fragments(links_of(house.fetch(at, headers={"Accept": accept}), seen))
            for accept in ACCEPTS.values()
        ]
        assert links[0] == links[1] == links[2]
        assert len(links[0]) == 2
    if form is not LinkForm.DEVPI:
        expected = [names.file_url(wheel), names.file_url(sdist)]
        assert without_fragments(links_of(house.page(name), names.page_url(name))) == expected


@pytest.mark.parametrize("version", ["2.0", "3", "x"])
def test_a_page_that_cannot_be_converted(version: str, house: House) -> None:
    """PEP 629: of another major version nobody knows what it means. A client that reads it gets it; the others are told, with a 502."""
    name = f"version-{slug(version)}"
    body = RICH_HTML.replace('content="1.3"', f'content="{version}"').encode()
    house.upstream.serve(f"/pypi/simple/{name}/", body, PLAIN_HTML_TYPE)
    answer = house.page(name, "json")
    assert answer.status == 502, answer.body
    assert "repository-version" in answer.body.decode()
    assert house.page(name, "html").status in {200, 502}
    newer = json.dumps(RICH_PAGE | {"meta": {"api-version": version}}).encode()
    house.upstream.serve(f"/pypi/simple/{name}-json/", newer, JSON_TYPE)
    assert house.page(f"{name}-json", "html").status == 502


# Real clients


@pytest.mark.parametrize("mode", ["html", "json"])
@pytest.mark.parametrize("way", [PIP_ENV, UV_ENV, PIP_INDEX], ids=str)
def test_an_upstream_that_has_one_only(way: Way, mode: Mode, house: House, home: Path, tmp_path: Path) -> None:
    leaf = make_wheel(f"leaf-{mode}-{slug(way)}")
    stem = make_sdist(f"stem-{mode}-{slug(way)}", requires=[leaf.project])
    house.upstream.add(leaf, stem)
    house.upstream.mode = mode
    way.install(house.proxy, home, [stem.project], tmp_path / "target").ok()
    assert installed(tmp_path / "target") == {leaf.project: "1.0", stem.project: "1.0"}


@pytest.mark.parametrize("mode", ["html", "json"])
@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_converted_page_installs(
    tool: str, mode: Mode, house: House, make_upstream: MakeUpstream, home: Path, tmp_path: Path
) -> None:
    """pip and uv take either, so a converted page is put before them: the page as a JSON-only (HTML-only) client has it.

    The newest version is yanked and the next one needs a Python of the future; the files come through the proxy.
    """
    name = f"converted-{tool}-{mode}"
    releases = [
        make_wheel(name, "1.0"),
        make_wheel(name, "2.0", requires_python=">=99"),
        make_wheel(name, "3.0", yanked="no good"),
    ]
    house.upstream.add(*releases)
    house.upstream.mode = mode
    page = house.page(name, "json" if mode == "html" else "html")
    assert (page.headers["Content-Type"] == JSON_TYPE) == (mode == "html")
    direct = make_upstream(tls=False)
    direct.serve(f"/pypi/simple/{name}/", page.body, str(page.headers["Content-Type"]))
    bundle = str(house.proxy.bundle)
    env = {"HTTPS_PROXY": house.proxy.url, "NO_PROXY": "localhost", "PIP_CERT": bundle, "SSL_CERT_FILE": bundle}
    install = clients.pip_install if tool == "pip" else clients.uv_install
    install(home, [name], tmp_path / "target", args=["--index-url", direct.index_url], env=env).ok()
    assert installed(tmp_path / "target") == {name: "1.0"}
    assert direct.count() == 1
    assert house.file_requests(releases[0]) == 1
    assert house.upstream.count(path_contains="-2.0-") == house.upstream.count(path_contains="-3.0-") == 0


def test_the_link_of_a_converted_page_is_verified(house: House) -> None:
    """What a page says of its files counts, in whichever form it came: an upstream's HTML holds a file to its hash."""
    release = make_wheel("vouched-for", payload_size=100_000)
    house.upstream.add(release)
    house.upstream.mode = "html"
    house.upstream.style = PageStyle(form=LinkForm.DEVPI)
    page = house.page("vouched-for")
    (link,) = without_fragments(links_of(page, names.page_url("vouched-for")))
    assert link.startswith(house.upstream.origin)
    assert href(release, "", house.upstream.style).rpartition("../")[2] in link
    assert house.fetch(link).sha256 == release.sha256
    # Until it is committed its tag is the attempt's, and then the digest
    eventually(lambda: house.fetch(link).headers["ETag"] == f'"sha256:{release.sha256}"')


@pytest.mark.parametrize("kind", ["html", "html-v1"])
def test_an_upstream_that_refuses_html(kind: str, house: House) -> None:
    """It answers 406 where JSON is not named (D3): then JSON is asked for, and converted; the one that has both is not told of JSON."""
    release = make_wheel(f"refused-{kind}")
    house.upstream.add(release)
    house.upstream.mode = "json"
    house.upstream.script(Behaviour(f"/refused-{kind}/", status=406, times=1))
    page = house.page(release.project, kind)
    assert (page.status, str(page.headers["Content-Type"]).partition(";")[0]) == (200, ACCEPTS[kind])
    assert without_fragments(links_of(page, names.page_url(release.project))) == [names.file_url(release)]
    first, second = (each.headers["accept"] for each in house.upstream.seen(path_contains=f"/refused-{kind}/"))
    assert (JSON_TYPE in first, second.startswith(JSON_TYPE)) == (False, True)
    assert house.page(release.project, kind).body == page.body
    assert house.page_requests(release.project) == 2
