"""Relative links in full (`../`): every form of link leads a client to the file, whatever the page's and the request's spelling.

A mirror's page served at another host's address sends its clients to that host (nora#877). Each row is tried with plain sockets, as
pip joins links; rows that clients are known to trip over are tried with real clients too.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support import clients, names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.clients import PIP_ENV, UV_ENV, Way, installed
from tests.support.house import ACCEPTS, House, links_of, open_house, slug, tidied, without_fragments
from tests.support.index import HTML_TYPE, JSON_TYPE, LinkForm, PageStyle, project_json
from tests.support.wheels import ReleaseFile, make_sdist, make_wheel

DEVPI = "/root/pypi/+simple/"
FORMS = tuple(form for form in LinkForm if form is not LinkForm.DEVPI)


@pytest.fixture(scope="module")
def open_for_all(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(ca, tmp_path_factory.mktemp("links"), more_indexes=[f"devpi={DEVPI}"]) as house:
        yield house


@pytest.fixture
def house(open_for_all: House) -> Iterator[House]:
    with tidied(open_for_all) as house:
        yield house


def style_for(form: LinkForm, house: House) -> PageStyle:
    """CANONICAL names the default index's own file host; a base is the mirror's."""
    mirror = f"{house.upstream.origin}{house.upstream.prefix}"
    return PageStyle(form=form, files_origin=names.FILES_ORIGIN if form is LinkForm.CANONICAL else mirror)


# The default index, from a mirror


@pytest.mark.parametrize("kind", ACCEPTS)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_form_becomes_the_canonical_link(form: LinkForm, kind: str, house: House) -> None:
    release = make_wheel(f"{slug(form.name)}-{kind}", "1.0+local.1")
    house.upstream.style = style_for(form, house)
    house.upstream.add(release)
    page = house.page(release.project, kind)
    assert page.status == 200
    links = links_of(page, names.page_url(release.project))
    assert links == [names.file_url(release) + ("" if kind == "json" else f"#sha256={release.sha256}")]
    assert str(house.upstream.port) not in page.body.decode().replace(f'<base href="{house.upstream.origin}', "")
    assert house.fetch(*without_fragments(links)).sha256 == release.sha256
    assert house.file_requests(release) == 1


@pytest.mark.parametrize("kind", ["json", "html"])
def test_the_page_is_the_one_that_the_canonical_index_would_give(kind: str, house: House) -> None:
    """Only link bytes are edited: every other key, attribute, blank and order stays."""
    name = f"edited-{kind}"
    releases = (
        make_wheel(name),
        make_sdist(name, "2.0", requires_python=">=3.9,<4"),
        make_wheel(name, "3.0", yanked='"<&'),
    )
    house.upstream.add(*releases)
    page = house.page(name, kind)
    house.upstream.style = style_for(LinkForm.CANONICAL, house)
    canonical = house.direct(house.upstream.page_url(name), Accept=ACCEPTS[kind])
    assert page.body == canonical.body
    assert page.headers["ETag"] not in (None, canonical.headers["ETag"])  # edited: our own


@pytest.mark.parametrize("kind", ["json", "html"])
def test_a_page_that_needs_no_edit_passes_byte_for_byte(kind: str, house: House) -> None:
    name = f"untouched-{kind}"
    house.upstream.style = style_for(LinkForm.CANONICAL, house)
    house.upstream.add(make_wheel(name), make_sdist(name, "2.0"))
    upstream_page = house.direct(house.upstream.page_url(name), Accept=ACCEPTS[kind])
    for _ in ("cold", "stored"):
        page = house.page(name, kind)
        assert page.body == upstream_page.body
        for header in ("ETag", "Last-Modified", "Content-Type", "Cache-Control"):
            assert page.headers[header] == upstream_page.headers[header], header


def test_bytes_that_no_model_would_keep(house: House) -> None:
    """Re-serialising turned `%2B` into `%252B` and lost keys that nobody knew; odd spacing, order and unknown keys stay."""
    release = make_wheel("oddities", "1.0+x")
    house.upstream.add(release)
    body = (
        '{ "unknown" : {"url": "../../keep/this"},\n\t"files":[ {"yanked":false,"url" :  "../../'
        + release.quoted_path
        + '", "filename":"'
        + release.filename
        + '","hashes":{"sha256":"'
        + release.sha256
        + '"},"size":1e3,"x":[1.0,null,"\\u00e9é"]} ],"meta":{"api-version":"1.4"},"name":"oddities"}\n'
    )
    house.upstream.serve(f"{house.upstream.prefix}/simple/oddities/", body.encode(), JSON_TYPE)
    page = house.page("oddities")
    assert page.body.decode() == body.replace(f"../../{release.quoted_path}", names.file_url(release))


@pytest.mark.parametrize("kind", ["json", "html"])
def test_a_page_asked_for_without_its_slash(kind: str, house: House) -> None:
    """Links are then one level too high: pip got 404. Mirrors redirect such a request oddly, so they are asked with the slash."""
    release = make_wheel(f"bare-{kind}")
    house.upstream.add(release)
    seen = names.page_url(release.project).rstrip("/")
    page = house.fetch(seen, headers={"Accept": ACCEPTS[kind]})
    assert page.status == 200
    assert without_fragments(links_of(page, seen)) == [names.file_url(release)]
    own = f"/pypi/simple/{release.project}"
    page = house.fetch(own, headers={"Accept": ACCEPTS[kind]})
    (link,) = without_fragments(links_of(page, own))
    assert house.fetch(link).sha256 == release.sha256
    assert {each.path for each in house.upstream.seen(path_contains="/simple/")} == {
        f"{house.upstream.prefix}/simple/{release.project}/"
    }


@pytest.mark.parametrize("kind", ["json", "html"])
@pytest.mark.parametrize("moved", ["/elsewhere/simple/{}/", "/a/b/c/simple/{}/"])
def test_a_redirect_before_the_page(moved: str, kind: str, house: House) -> None:
    """The base is the final URL."""
    release = make_wheel(f"moved-{kind}-{moved.count('/')}")
    target = moved.format(release.project)
    house.upstream.add(release)
    house.upstream.script(
        Behaviour(rf"^/pypi/simple/{release.project}/", redirect="/hop/"), Behaviour(r"^/hop/$", redirect=target)
    )
    page = house.page(release.project, kind)
    assert without_fragments(links_of(page, names.page_url(release.project))) == [names.file_url(release)]
    assert house.fetch(names.file_url(release)).sha256 == release.sha256


def test_a_base_that_is_relative_or_on_another_host(house: House) -> None:
    """`<base href>` wins over the page's URL; pip and uv read a relative one in different ways, so none reaches them."""
    for number, base in enumerate(("/pypi/", "../../", "//localhost:{port}/pypi/", "https://files.example/")):
        release = make_wheel(f"based-{number}")
        house.upstream.add(release)
        body = (
            f'<!DOCTYPE html><html><head><base href="{base.format(port=house.upstream.port)}"></head><body>'
            f'<a href="{release.quoted_path}#sha256={release.sha256}">{release.filename}</a></body></html>'
        )
        house.upstream.serve(f"{house.upstream.prefix}/simple/{release.project}/", body.encode(), "text/html")
        page = house.page(release.project, "html")
        assert without_fragments(links_of(page, names.page_url(release.project))) == [names.file_url(release)], base
        assert house.fetch(names.file_url(release)).sha256 == release.sha256, base


# Requests


def spellings(release: ReleaseFile) -> dict[str, str]:
    """How clients that resolved a relative link by themselves ask for a file: all mean the same one."""
    index = names.INDEX_URL
    page = names.page_url(release.project)
    root = f"https://{names.INDEX_HOST}"
    path = release.quoted_path
    plus = release.path
    return {
        "canonical": names.file_url(release),
        "packages asked of the index host": f"{root}/{path}",
        "two levels up": f"{page}../../{path}",
        "with %2e": f"{page}%2e%2e/%2E%2e/{path}",
        "half encoded": f"{page}.%2e/%2E./{path}",
        "one level too few": f"{index}../{path}",
        "more than there are": f"{page}../../../../../../{path}",
        "single dots": f"{names.FILES_ORIGIN}/./packages/./{path.removeprefix('packages/')}",
        "dots at the file host": f"{names.FILES_ORIGIN}/a/b/../%2e%2e/{path}",
        "above the root": f"{names.FILES_ORIGIN}/../../{path}",
        "plus as it is": f"{names.FILES_ORIGIN}/{plus}",
        "lower-case escape": f"{names.FILES_ORIGIN}/{path.replace('%2B', '%2b')}",
        "letters escaped": f"{names.FILES_ORIGIN}/%70ackages/{path.removeprefix('packages/')}",
        "own": f"/pypi/{path}",
        "own, two levels up": f"/pypi/simple/{release.project}/../../{path}",
        "own, with %2e": f"/pypi/simple/{release.project}/%2E%2E/%2e%2e/{path}",
        "own, above the root": f"/../../pypi/{path}",
        "own, plus as it is": f"/pypi/{plus}",
    }


def test_every_spelling_of_a_request_is_one_file(house: House) -> None:
    """pip re-quotes paths and uv does not, pip keeps the dots of absolute links: many spellings, one download."""
    release = make_wheel("spelt", "1.0+cpu", payload_size=200_000)
    house.upstream.add(release)
    failed = {}
    for how, url in spellings(release).items():
        got = house.fetch(url)
        if (got.status, got.sha256) != (200, release.sha256):
            failed[how] = (got.status, got.body[:120])
    assert not failed
    assert house.file_requests(release) == 1
    assert len(house.upstream.requests) == 1


@pytest.mark.parametrize("how", ["with %2e", "more than there are", "own, two levels up"])
def test_a_cold_request_is_normalised_before_it_goes_upstream(how: str, house: House) -> None:
    release = make_wheel(f"cold-{slug(how)}")
    house.upstream.add(release)
    assert house.fetch(spellings(release)[how]).sha256 == release.sha256
    (asked,) = house.upstream.requests
    assert asked.path == f"{house.upstream.prefix}/{release.quoted_path}"


def test_pages_with_dots_in_their_path(house: House) -> None:
    house.upstream.add(make_wheel("dotted-page"))
    for url in (
        f"{names.INDEX_URL}other/../dotted-page/",
        f"{names.INDEX_URL}other/%2e%2e/dotted-page/",
        f"https://{names.INDEX_HOST}/../simple/./dotted-page/",
        "/pypi/simple/other/../dotted-page/",
        "/x/../pypi/simple/%2e/dotted-page/",
    ):
        page = house.fetch(url, headers={"Accept": JSON_TYPE})
        assert page.status == 200, url
        assert json.loads(page.body)["name"] == "dotted-page", url
    assert house.page_requests("dotted-page") == len(house.upstream.requests) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/pypi/simple/x/..%2F..%2Fpackages/{0}",  # an encoded slash is no separator
        "/pypi/packages/..%2f..%2f{0}",
        "/pypi/../packages/{0}",  # climbs out of the index
        "/packages/{0}",
        "/pypi/packages/../../../etc/passwd",
        "/pypi/files/https/{host}/../../../../../etc/passwd",
        "/pypi/files/https/localhost:1/{0}",  # no file host of any index here
        "/pypi/files/http/127.0.0.1:{proxy}/healthz",
        "/pypi/files/file//etc/passwd",
        "/pypi/packages/\\..\\..\\etc\\passwd",
    ],
)
def test_nothing_above_the_root(path: str, house: House) -> None:
    """Dots lead nowhere that the path without them would not lead to; nothing of this is asked of the upstream."""
    release = make_wheel("above")
    if not house.upstream.count():
        house.upstream.add(release)
    tail = release.quoted_path.removeprefix("packages/")
    url = path.format(tail, host=f"localhost:{house.upstream.port}", proxy=house.proxy.port)
    answer = house.fetch(url)
    assert answer.status in (400, 404), answer.body[:300]
    assert b"root:" not in answer.body
    assert answer.sha256 != release.sha256
    assert house.upstream.requests == []


@pytest.mark.parametrize("first", ["%2B", "+"])
def test_two_spellings_are_one_download(first: str, house: House) -> None:
    """torch's local versions: pip asks with `%2B`, uv with `+` or as the page has it; a cache had each file twice."""
    release = make_wheel(f"torched-{'plus' if first == '+' else 'escaped'}", "2.0+cu121", payload_size=150_000)
    house.upstream.add(release)
    urls = [f"{names.FILES_ORIGIN}/{path}" for path in (release.quoted_path, release.path)]
    for url in urls if first == "%2B" else reversed(urls):
        assert house.fetch(url).sha256 == release.sha256
    assert house.file_requests(release) == 1


# Representations


def test_json_and_html_never_mix(house: House) -> None:
    """One key for both made pip read JSON as HTML (ray#65593)."""
    release = make_wheel("alternating")
    house.upstream.add(release)
    expected = {"json": JSON_TYPE, "html": "text/html", "html-v1": HTML_TYPE}
    for kind in ("json", "html", "json", "html-v1", "html", "json", "html-v1"):
        for url in (names.page_url("alternating"), "/pypi/simple/alternating/"):
            page = house.fetch(url, headers={"Accept": ACCEPTS[kind]})
            assert (page.headers["Content-Type"] or "").partition(";")[0] == expected[kind], (kind, url)
            assert page.body.startswith(b"{" if kind == "json" else b"<!DOCTYPE html>"), (kind, url)
            assert "Accept" in (page.headers["Vary"] or "")
    assert house.page_requests("alternating") == 3


# At the proxy's own address


@pytest.mark.parametrize("kind", ACCEPTS)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_own_pages_have_links_that_download(form: LinkForm, kind: str, house: House) -> None:
    release = make_wheel(f"own-{slug(form.name)}-{kind}", "1.0+x")
    house.upstream.style = style_for(form, house)
    house.upstream.add(release)
    seen = f"/pypi/simple/{release.project}/"
    page = house.fetch(seen, headers={"Accept": ACCEPTS[kind]})
    raw = (
        json.loads(page.body)["files"][0]["url"]
        if kind == "json"
        else re.findall(r'<a href="([^"#]*)', page.body.decode())[0]
    )
    assert raw == f"/pypi/{release.quoted_path}"
    (link,) = without_fragments(links_of(page, f"{house.proxy.url}{seen}"))
    path = link.removeprefix(house.proxy.url)
    assert path == f"/pypi/{release.quoted_path}"
    assert house.fetch(path).sha256 == release.sha256
    metadata = house.fetch(f"{path}.metadata")
    assert metadata.body == release.metadata
    assert house.file_requests(release) == 1


@pytest.mark.parametrize("form", [LinkForm.RELATIVE, LinkForm.BASE_HREF], ids=lambda form: form.name)
def test_own_pages_behind_another_name(form: LinkForm, house: House) -> None:
    """A port mapping, a load balancer or a plain DNS name: links lead back to where the client came in, not to the proxy's socket."""
    release = make_wheel(f"mapped-{slug(form.name)}")
    house.upstream.style = style_for(form, house)
    house.upstream.add(release)
    seen = f"/pypi/simple/{release.project}/"
    for host in ("build-cache.example:3128", "[2001:db8::1]:8080", "other.test"):
        page = house.fetch(seen, headers={"Accept": "text/html", "Host": host})
        (link,) = without_fragments(links_of(page, f"http://{host}{seen}"))
        assert link == f"http://{host}/pypi/{release.quoted_path}"


# devpi: an index of its own, links by SHA-256


@pytest.fixture
def devpi(house: House) -> House:
    house.upstream.style = PageStyle(form=LinkForm.DEVPI)
    return house


@pytest.mark.parametrize("way", [PIP_ENV, UV_ENV], ids=str)
def test_devpi_by_its_own_address(way: Way, devpi: House, tmp_path: Path) -> None:
    """`../../+f/…`: the client names devpi itself, the proxy is only on the way; cold, then from the store."""
    leaf = make_wheel(f"leaf-{slug(way)}")
    stem = make_wheel(f"stem-{slug(way)}", requires=[leaf.project])
    devpi.upstream.add(leaf, stem)
    args = ["--index-url", f"{devpi.upstream.origin}{DEVPI}"]
    for name in ("cold", "warm"):
        home = tmp_path / f"{name}-home"
        home.mkdir()
        way.install(devpi.proxy, home, [stem.project], tmp_path / name, args=args).ok()
        assert installed(tmp_path / name) == {leaf.project: "1.0", stem.project: "1.0"}
        devpi.upstream.down()
    assert (devpi.file_requests(leaf), devpi.file_requests(stem)) == (1, 1)
    assert all(unquote(seen.path).startswith("/root/pypi/+") for seen in devpi.upstream.requests), "pip asks for %2B"


@pytest.mark.parametrize("way", ["pip", "uv"])
def test_devpi_at_the_proxy(way: str, devpi: House, tmp_path: Path) -> None:
    release = make_wheel(f"own-devpi-{way}")
    devpi.upstream.add(release)
    args = ["--index-url", f"{devpi.proxy.url}/devpi/simple/"]
    install = clients.pip_install if way == "pip" else clients.uv_install
    for name in ("cold", "warm"):
        home = tmp_path / f"{name}-home"
        home.mkdir()
        install(home, [release.project], tmp_path / name, args=args).ok()
        assert installed(tmp_path / name) == {release.project: "1.0"}
        devpi.upstream.down()
    assert devpi.file_requests(release) == 1


@pytest.mark.parametrize("kind", ["json", "html"])
def test_devpi_links_stay_on_devpi(kind: str, devpi: House) -> None:
    """Canonicalising is for the default index only; another index's links become what they mean, and no more."""
    release = make_wheel(f"devpi-{kind}")
    devpi.upstream.add(release)
    file_path = f"/root/pypi/+f/{release.sha256[:3]}/{release.sha256[3:16]}/{release.filename}"
    seen = f"{devpi.upstream.origin}{DEVPI}{release.project}/"
    for spelt in (seen, seen.rstrip("/")):
        page = devpi.fetch(spelt, headers={"Accept": ACCEPTS[kind]})
        assert page.status == 200, spelt
        assert without_fragments(links_of(page, spelt)) == [f"{devpi.upstream.origin}{file_path}"], spelt
    assert devpi.fetch(f"{devpi.upstream.origin}{file_path}").sha256 == release.sha256
    own = f"/devpi/simple/{release.project}/"
    page = devpi.fetch(own, headers={"Accept": ACCEPTS[kind]})
    (link,) = without_fragments(links_of(page, own))
    assert link.startswith("/devpi/files/https/localhost")
    assert devpi.fetch(link).sha256 == release.sha256
    assert devpi.file_requests(release) == 1
    assert devpi.page_requests(release.project) == 0  # it is `+simple` there
    assert devpi.upstream.count(path_contains=f"/+simple/{release.project}/") == 1


@pytest.mark.parametrize("kind", ["json", "html"])
def test_devpi_that_redirects_its_page(kind: str, devpi: House) -> None:
    """Here nothing but the final URL tells where a file is."""
    release = make_wheel(f"devpi-moved-{kind}")
    devpi.upstream.add(release)
    devpi.upstream.script(
        Behaviour(rf"^{re.escape(DEVPI)}{release.project}/", redirect=f"/team/dev/+simple/{release.project}/")
    )
    seen = f"{devpi.upstream.origin}{DEVPI}{release.project}/"
    page = devpi.fetch(seen, headers={"Accept": ACCEPTS[kind]})
    (link,) = without_fragments(links_of(page, seen))
    assert link.startswith(f"{devpi.upstream.origin}/team/dev/+f/")
    assert devpi.fetch(link).sha256 == release.sha256


def test_a_devpi_page_in_full(devpi: House) -> None:
    """A relative link that arrives where it should is left alone, so the page is devpi's own, byte for byte."""
    release = make_wheel("devpi-whole")
    devpi.upstream.add(release)
    seen = f"{devpi.upstream.origin}{DEVPI}devpi-whole/"
    page = devpi.fetch(seen, headers={"Accept": JSON_TYPE})
    assert page.body == project_json("devpi-whole", [release], seen, PageStyle(form=LinkForm.DEVPI))
