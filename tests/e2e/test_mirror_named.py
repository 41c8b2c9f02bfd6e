"""An agent that names the mirror itself, as in the nginx set-up, with the proxy only on the way (HTTPS_PROXY, HTTP_PROXY).

Its links stay on that mirror, since that is what it would see without the proxy; its files are the same files under every name.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import clients, names
from tests.support.authority import Authority
from tests.support.clients import installed
from tests.support.house import ACCEPTS, House, links_of, open_house, slug, tidied, without_fragments
from tests.support.index import HTML_TYPE, LinkForm, PageStyle
from tests.support.proxy import Proxy
from tests.support.wheels import make_sdist, make_wheel


@pytest.fixture(scope="module", params=["https", "http"])
def open_for_all(
    request: pytest.FixtureRequest, ca: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    with open_house(ca, tmp_path_factory.mktemp(request.param), tls=request.param == "https") as house:
        yield house


@pytest.fixture
def house(open_for_all: House) -> Iterator[House]:
    with tidied(open_for_all) as house:
        yield house


def settings(proxy: Proxy) -> dict[str, str]:
    """What an agent has set once for all hosts."""
    ca = {"PIP_CERT": str(proxy.bundle), "SSL_CERT_FILE": str(proxy.bundle)}
    return {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url, "http_proxy": proxy.url, **ca}


@pytest.mark.parametrize("how", ["pip.conf", "pip -i", "uv --index-url", "uv UV_DEFAULT_INDEX"])
def test_cold_then_with_the_mirror_down(how: str, house: House, tmp_path: Path) -> None:
    leaf = make_wheel(f"leaf-{slug(how)}")
    stem = make_wheel(f"stem-{slug(how)}", requires=[leaf.project])
    house.upstream.add(leaf, stem)
    url = house.upstream.index_url
    env = settings(house.proxy)
    args: list[str] = []
    match how:
        case "pip.conf":
            conf = tmp_path / "pip.conf"
            conf.write_text(f"[global]\nindex-url = {url}\ntrusted-host = localhost\n")
            env["PIP_CONFIG_FILE"] = str(conf)
        case "pip -i":
            args = ["-i", url.rstrip("/"), "--trusted-host", "localhost"]
        case "uv --index-url":
            args = ["--index-url", url]
        case _:
            env["UV_DEFAULT_INDEX"] = url.rstrip("/")
    install = clients.pip_install if how.startswith("pip") else clients.uv_install
    for name in ("cold", "warm"):
        home = tmp_path / f"{name}-home"
        home.mkdir()
        install(home, [stem.project], tmp_path / name, args=args, env=env).ok()
        assert installed(tmp_path / name) == {leaf.project: "1.0", stem.project: "1.0"}
        house.upstream.down()
    for release in (leaf, stem):
        assert house.file_requests(release) == 1
        assert house.upstream.count(path_contains=f"/simple/{release.project}/") == 1
    assert house.upstream.origin in str(house.proxy.access_log()), "the proxy was not on the way"


@pytest.mark.parametrize("kind", ACCEPTS)
@pytest.mark.parametrize("form", [LinkForm.RELATIVE, LinkForm.DOTTED, LinkForm.ROOT_RELATIVE], ids=lambda f: f.name)
def test_links_stay_on_the_mirror(form: LinkForm, kind: str, house: House) -> None:
    release = make_wheel(f"stays-{slug(form.name)}-{kind}", "1.0+local")
    house.upstream.style = PageStyle(form=form)
    house.upstream.add(release)
    for seen in (house.upstream.page_url(release.project), house.upstream.page_url(release.project).rstrip("/")):
        page = house.fetch(seen, headers={"Accept": ACCEPTS[kind]})
        assert page.status == 200
        (link,) = without_fragments(links_of(page, seen))
        assert link == house.upstream.file_url(release), seen
        assert names.FILES_HOST not in page.body.decode()
        assert house.fetch(link).sha256 == release.sha256
    assert house.page_requests(release.project) == 1


@pytest.mark.parametrize("kind", ["json", "html-v1"])
def test_a_relative_page_is_the_mirror_s_own(kind: str, house: House) -> None:
    """Nothing needs an edit here, so every byte and the validators are the mirror's."""
    name = f"verbatim-{kind}"
    house.upstream.add(make_wheel(name), make_sdist(name, "2.0"))
    seen = house.upstream.page_url(name)
    direct = house.direct(seen, Accept=ACCEPTS[kind])
    for _ in ("cold", "stored"):
        page = house.fetch(seen, headers={"Accept": ACCEPTS[kind]})
        assert page.body == direct.body
        for header in ("ETag", "Last-Modified", "Content-Type"):
            assert page.headers[header] == direct.headers[header], header
    house.upstream.clear()
    again = house.fetch(seen, headers={"Accept": ACCEPTS[kind], "If-None-Match": str(direct.headers["ETag"])})
    assert again.status == 304
    assert house.upstream.requests == []


def test_absolute_links_to_the_canonical_host_are_left(house: House) -> None:
    """A mirror that mirrors pages only: its agents go to the canonical file host, and so they do here."""
    release = make_wheel("pages-only")
    house.upstream.style = PageStyle(form=LinkForm.CANONICAL, files_origin=names.FILES_ORIGIN)
    house.upstream.add(release)
    seen = house.upstream.page_url("pages-only")
    page = house.fetch(seen, headers={"Accept": HTML_TYPE})
    (link,) = without_fragments(links_of(page, seen))
    assert link == names.file_url(release)
    assert house.fetch(link).sha256 == release.sha256


@pytest.mark.parametrize("order", ["mirror first", "canonical first", "own address first"])
def test_one_file_under_every_name(order: str, house: House) -> None:
    """Whoever asked first, and by which name: the others get a hit, with the mirror down."""
    release = make_wheel(f"shared-{slug(order)}", payload_size=150_000)
    house.upstream.add(release)
    urls = {
        "mirror": house.upstream.file_url(release),
        "canonical": names.file_url(release),
        "own": f"/pypi/{release.quoted_path}",
    }
    assert house.fetch(urls[order.partition(" ")[0]]).sha256 == release.sha256
    house.upstream.down()
    for name, url in urls.items():
        got = house.fetch(url)
        assert got.sha256 == release.sha256, name
    assert house.file_requests(release) == len(house.upstream.requests) == 1


@pytest.mark.parametrize("order", ["mirror first", "canonical first"])
def test_core_metadata_under_every_name(order: str, house: House) -> None:
    """`.metadata` shares the wheel's path and not its content: by the page's digest it is still one under every name."""
    release = make_wheel(f"described-{slug(order)}")
    house.upstream.add(release)
    pages = [names.page_url(release.project), house.upstream.page_url(release.project)]
    files = [names.file_url(release, ".metadata"), house.upstream.file_url(release, ".metadata")]
    for page in pages:
        assert house.fetch(page, headers={"Accept": ACCEPTS["json"]}).status == 200
    for url in files if order == "canonical first" else reversed(files):
        assert house.fetch(url).body == release.metadata
    assert house.upstream.count(path_contains=".metadata") == 1


def test_a_missing_project_and_a_missing_file(house: House) -> None:
    release = make_wheel("never-published")
    assert house.fetch(house.upstream.page_url("never-published")).status == 404
    assert house.fetch(house.upstream.file_url(release)).status == 404
