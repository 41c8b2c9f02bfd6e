"""With `pypi_cache_offline`, and with an upstream that is down: what the store has is installed, and nothing else is promised.

Two proxies share one store here: one fills it, the other is offline. So each test fills what it needs, and what the offline one asks of
the upstream is counted by itself: nothing, ever.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support import names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.clients import PIP_ENV, PIP_INDEX, UV_ENV, Way, installed, uv_lock
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import ACCEPTS, House, links_of, slug
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import ReleaseFile, make_sdist, make_wheel

WAYS: Final = [PIP_ENV, UV_ENV, PIP_INDEX]


@dataclass(frozen=True, slots=True)
class Scene:
    """`online` fills the store that `offline` answers from; index `corp` has its files known by links alone."""

    upstream: Upstream
    online: House
    offline: House

    def fill(self, *releases: ReleaseFile, pages: bool = True) -> None:
        """Bring files, with their metadata, and their pages in each representation into the store."""
        for release in releases:
            answer = self.online.fetch(names.file_url(release))
            assert (answer.status, answer.sha256) == (200, release.sha256)
            if pages:
                assert all(self.online.page(release.project, kind).status == 200 for kind in ACCEPTS)
                if release.is_wheel:
                    assert self.online.fetch(names.file_url(release, ".metadata")).status == 200
        for release in releases:  # the offline one is another process: it has what is committed
            urls = [names.file_url(release), *([names.file_url(release, ".metadata")] if release.is_wheel else [])]
            for url in urls:
                eventually(lambda url=url: self.offline.fetch(url, method="HEAD").status == 200)
            for kind in ACCEPTS if pages else ():
                eventually(lambda kind=kind, name=release.project: self.offline.page(name, kind).status == 200)
        self.upstream.clear()


@pytest.fixture(scope="module")
def shared(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(ca))
        folder = tmp_path_factory.mktemp("offline")
        options = {
            "pypi_cache_index": [f"pypi={upstream.index_url}", f"corp={upstream.origin}/corp/simple/"],
            "pypi_cache_dir": str(folder / "store"),
        }
        online, offline = (
            stack.enter_context(Proxy(folder / name, options={**options, **more}, upstream_ca=ca.bundle))
            for name, more in (("online", {}), ("offline", {"pypi_cache_offline": True}))
        )
        yield Scene(upstream, House(upstream, online), House(upstream, offline))
        for proxy in (online, offline):
            assert not proxy.complaints, proxy.output


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    shared.upstream.clear()
    yield shared
    shared.upstream.unscript()
    shared.upstream.up()
    shared.upstream.mode = "both"
    shared.upstream.page_cache_control = "max-age=600, public"


# Pages


@pytest.mark.parametrize("kind", ACCEPTS)
@pytest.mark.parametrize("address", ["index", "own"])
def test_pages_list_what_is_there(kind: str, address: str, scene: Scene) -> None:
    """Of three versions the store has 1.0's wheel and 2.0's sdist: these versions are on the page, whole; `versions` (PEP 700) agrees.

    A lock names all files of a version, so 2.0's wheel is listed, too.
    """
    name = f"listed-{kind}-{address}"
    wheels = [make_wheel(name, version) for version in ("1.0", "2.0", "3.0")]
    sdist = make_sdist(name, "2.0")
    scene.upstream.add(*wheels, sdist)
    scene.fill(wheels[0], sdist)
    url = names.page_url(name) if address == "index" else f"/pypi/simple/{name}/"
    page = scene.offline.fetch(url, headers={"Accept": ACCEPTS[kind]})
    assert page.status == 200
    listed = [link.partition("#")[0].rpartition("/")[2] for link in links_of(page, url)]
    assert sorted(listed) == sorted([wheels[0].filename, wheels[1].filename, sdist.filename])
    if kind == "json":
        assert json.loads(page.body)["versions"] == ["1.0", "2.0"]
    assert page.headers["Last-Modified"] is None  # what is left out changes with the store
    whole = scene.online.fetch(url, headers={"Accept": ACCEPTS[kind]})
    assert len(links_of(whole, url)) == 4, "the stored page was changed"
    assert whole.headers["ETag"] != page.headers["ETag"]
    assert scene.upstream.count() == 0


def linux_wheel(project: str, version: str) -> ReleaseFile:
    return make_wheel(project, version, tag="py3-none-manylinux_2_17_x86_64")


TRACES: Final = ["the file", "metadata", "a range", "poetry's document", "the sdist", "nothing"]


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("address", ["index", "own"])
def test_a_version_stays_whole(trace: str, address: str, scene: Scene) -> None:
    """While anything of it is stored: then it was installed or locked through this proxy, and a lock names each of its files."""
    name = f"whole-{slug(trace)}-{address}"
    wheel, linux, sdist, newer = (
        make_wheel(name, "1.0"),
        linux_wheel(name, "1.0.0"),  # equal versions (PEP 440)
        make_sdist(name, "1.0"),
        make_wheel(name, "2.0"),
    )
    scene.upstream.add(wheel, linux, sdist, newer)
    url = names.page_url(name) if address == "index" else f"/pypi/simple/{name}/"
    for kind in ACCEPTS:
        whole = scene.online.page(name, kind)
        assert len(links_of(whole, url)) == 4
    match trace:
        case "the file":
            assert scene.online.fetch(names.file_url(linux)).status == 200
        case "metadata":
            assert scene.online.fetch(names.file_url(linux, ".metadata")).status == 200
        case "a range":
            assert scene.online.fetch(names.file_url(linux), headers={"Range": "bytes=-99"}).status == 206
        case "poetry's document":
            api = names.INDEX_URL.replace("/simple/", f"/pypi/{name}/1.0/json")
            assert scene.online.fetch(api, headers={"User-Agent": "poetry/2.2.1"}).status == 200
        case "the sdist":
            assert scene.online.fetch(names.file_url(sdist)).status == 200
    scene.upstream.clear()
    expected = set() if trace == "nothing" else {wheel.filename, linux.filename, sdist.filename}

    def listed(kind: str) -> set[str]:
        page = scene.offline.fetch(url, headers={"Accept": ACCEPTS[kind]})
        return {link.partition("#")[0].rpartition("/")[2] for link in links_of(page, url)}

    # A range is stored in the background.
    scene.upstream.wait_until(lambda: all(listed(kind) == expected for kind in ACCEPTS), timeout=30)
    assert scene.upstream.count() == 0


def test_a_page_whose_files_are_all_missing(scene: Scene) -> None:
    """An empty page, and not a 404: the index does have the project."""
    release = make_wheel("never-fetched")
    scene.upstream.add(release)
    assert scene.online.page("never-fetched").status == 200
    page = scene.offline.page("never-fetched")
    assert (page.status, json.loads(page.body)["files"]) == (200, [])


def test_a_file_that_comes_later_is_listed(scene: Scene) -> None:
    """Another process of the same store has brought it: within seconds the offline page has it."""
    one, two = make_wheel("comes-later", "1.0"), make_wheel("comes-later", "2.0")
    scene.upstream.add(one, two)
    scene.fill(one)
    assert len(links_of(scene.offline.page("comes-later"), "https://seen.example/")) == 1
    scene.fill(two, pages=False)
    eventually(lambda: len(links_of(scene.offline.page("comes-later"), "https://seen.example/")) == 2)


def test_pages_of_an_index_that_links_by_digest_alone(scene: Scene) -> None:
    """A file that is known by its page's hash (devpi, Nexus) is found in the store as well."""
    one, two = make_wheel("by-hash", "1.0"), make_wheel("by-hash", "2.0")
    scene.upstream.add(one, two)
    page_url = f"{scene.upstream.origin}/corp/simple/by-hash/"
    page = scene.online.fetch(page_url, headers={"Accept": ACCEPTS["json"]})
    assert len(links_of(page, page_url)) == 2
    file_url = f"{scene.upstream.origin}/corp/{one.quoted_path}"
    assert scene.online.fetch(file_url).sha256 == one.sha256
    eventually(lambda: scene.offline.fetch(file_url, method="HEAD").status == 200)
    scene.upstream.clear()
    for url in (page_url, "/corp/simple/by-hash/"):
        listed = links_of(scene.offline.fetch(url, headers={"Accept": ACCEPTS["json"]}), url)
        assert [link.partition("#")[0].rpartition("/")[2] for link in listed] == [one.filename]
    assert scene.offline.fetch(f"{scene.upstream.origin}/corp/{one.quoted_path}").sha256 == one.sha256
    assert scene.upstream.count() == 0


def test_an_html_page_for_a_client_of_json(scene: Scene) -> None:
    """Only HTML is in the store: it is given as it is to who takes it, and converted for who does not."""
    one, two = make_wheel("html-only", "1.0"), make_wheel("html-only", "2.0")
    scene.upstream.add(one, two)
    scene.upstream.mode = "html"
    scene.fill(one)
    for accept in (*ACCEPTS.values(), f"{ACCEPTS['json']}, text/html;q=0.1"):
        page = scene.offline.fetch(names.page_url("html-only"), headers={"Accept": accept})
        assert len(links_of(page, "https://seen.example/")) == 1, accept


# Installs


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_resolver_chooses_what_is_there(way: Way, scene: Scene, tmp_path: Path) -> None:
    """The newest version of stem is in no store, and so is leaf's; the ones before can be installed, and are."""
    leaf, new_leaf = (make_wheel(f"leaf-{slug(way)}", version) for version in ("1.0", "2.0"))
    stem, new_stem = (
        make_wheel(f"stem-{slug(way)}", version, requires=[f"{leaf.project}>={version}"]) for version in ("1.0", "2.0")
    )
    scene.upstream.add(leaf, stem)
    for name, house in (("online", scene.online), ("offline", scene.offline)):
        home = tmp_path / f"{name}-home"
        home.mkdir()
        way.install(house.proxy, home, [stem.project], tmp_path / name).ok()
        assert installed(tmp_path / name) == {leaf.project: "1.0", stem.project: "1.0"}
        if name == "online":  # and now the pages that are in the store learn of newer versions
            scene.upstream.add(new_leaf, new_stem)
            for release in (leaf, stem):
                for kind in ACCEPTS:
                    assert scene.online.page(release.project, kind, Cache_Control="no-cache").status == 200
            scene.upstream.clear()
    assert scene.upstream.count() == 0


@pytest.mark.parametrize("way", [PIP_ENV, UV_ENV], ids=str)
def test_metadata_of_a_wheel_that_is_there(way: Way, scene: Scene, home: Path, tmp_path: Path) -> None:
    """A lock-file install brings wheels and no `.metadata`; a resolver asks for it first, and it is in the stored wheel."""
    release = make_wheel(f"bare-{slug(way)}")
    scene.upstream.add(release)
    assert all(scene.online.page(release.project, kind).status == 200 for kind in ACCEPTS)
    scene.fill(release, pages=False)
    assert scene.offline.fetch(names.file_url(release, ".metadata")).body == release.metadata
    way.install(scene.offline.proxy, home, [release.project], tmp_path / "target").ok()
    assert installed(tmp_path / "target") == {release.project: "1.0"}
    assert scene.upstream.count() == 0


def test_a_lock_is_made_again(scene: Scene, tmp_path: Path) -> None:
    """A universal lock of uv, online and then offline, is the same to the byte.

    It names files for other platforms, which nobody has fetched, and a project for Windows alone; and the page has learned meanwhile of
    a newer version, of which nothing is stored.
    """
    scene.upstream.serves_metadata = True
    leaf = [make_wheel("uni-leaf", "1.0"), linux_wheel("uni-leaf", "1.0"), make_sdist("uni-leaf", "1.0")]
    windows = make_wheel("uni-windows", "3.1")
    old, stem = (
        make_wheel("uni-stem", "0.9"),
        make_wheel("uni-stem", "1.0", requires=["uni-leaf", "uni-windows; sys_platform == 'win32'"]),
    )
    scene.upstream.add(*leaf, windows, old, stem)
    locks = []
    for name, house in (("online", scene.online), ("offline", scene.offline)):
        home = tmp_path / name
        home.mkdir()
        result, lock = uv_lock(home, ["uni-stem"], env=UV_ENV.env(house.proxy))
        result.ok()
        locks.append(lock)
        if name == "online":
            scene.upstream.add(make_wheel("uni-leaf", "2.0"))
            assert scene.online.page("uni-leaf", Cache_Control="no-cache").status == 200
            scene.upstream.clear()
    assert locks[0] == locks[1]
    assert all(names.file_url(each) in locks[1] for each in (*leaf, windows, stem))
    assert scene.upstream.count() == 0


def test_a_lock_is_made_of_what_is_there(scene: Scene, home: Path) -> None:
    one, two = make_wheel("to-lock", "1.0"), make_wheel("to-lock", "2.0")
    scene.upstream.add(one, two)
    scene.fill(one)
    result, lock = uv_lock(home, ["to-lock"], env=UV_ENV.env(scene.offline.proxy))
    result.ok()
    assert names.file_url(one) in lock
    assert two.filename not in lock
    assert scene.upstream.count() == 0


# What is not there


def test_what_is_not_there_is_a_504_that_says_so(scene: Scene) -> None:
    """Never a 404: uv would go on to another index. And nothing is asked upstream, whatever a client asks for."""
    release = make_wheel("not-there")
    scene.upstream.add(release)
    index = names.INDEX_URL
    for url in (
        names.page_url("not-there"),
        "/pypi/simple/not-there/",
        f"{scene.upstream.origin}/corp/simple/not-there/",
        names.file_url(release),
        names.file_url(release, ".metadata"),
        f"/pypi/{release.quoted_path}",
        index.replace("/simple/", "/pypi/not-there/json"),
        index.replace("/simple/", "/pypi/not-there/1.0/json"),
        index,
        "/pypi/simple/",
        index.replace("/simple/", "/account/login/"),
    ):
        for method in ("GET", "HEAD"):
            for accept in ACCEPTS.values():
                answer = scene.offline.fetch(url, method=method, headers={"Accept": accept})
                assert answer.status == 504, (url, method, answer.body)
                assert method == "HEAD" or b"offline" in answer.body, (url, answer.body)
                assert answer.headers["Cache-Control"] == "no-store", url
    assert scene.offline.fetch(names.file_url(release), headers={"Range": "bytes=0-9"}).status == 504
    credentials = {"Authorization": "Basic dXNlcjpwdw=="}
    for url in (
        f"{scene.upstream.origin}/corp/simple/not-there/",
        f"{scene.upstream.origin}/corp/{release.quoted_path}",
    ):
        assert scene.offline.fetch(url, headers=credentials).status == 504
    assert scene.upstream.count() == 0


@pytest.mark.parametrize("cache_control", ["no-cache", "max-age=0", "max-age=0, must-revalidate", "min-fresh=1000"])
def test_a_refresh_changes_nothing(cache_control: str, scene: Scene) -> None:
    """uv --refresh, pip --refresh-package: there is nobody to ask (RFC 9111 §4.2.4: "unless it is disconnected")."""
    release = make_wheel(f"refreshed-{slug(cache_control)}")
    scene.upstream.add(release)
    scene.fill(release)
    assert scene.offline.page(release.project, Cache_Control=cache_control).status == 200
    again = scene.offline.fetch(names.file_url(release), headers={"Cache-Control": cache_control})
    assert again.sha256 == release.sha256
    assert scene.upstream.count() == 0


@pytest.mark.parametrize("cache_control", ["max-age=3600", "max-age=3600, must-revalidate", "max-age=3600, no-cache"])
def test_a_stale_page(cache_control: str, scene: Scene) -> None:
    """However old, it is what there is; clients are told not to keep it."""
    release = make_wheel(f"stale-{slug(cache_control)}")
    scene.upstream.add(release)
    scene.upstream.page_cache_control = cache_control
    scene.fill(release)
    scene.offline.proxy.lapse()
    for kind in ACCEPTS:
        page = scene.offline.page(release.project, kind)
        assert (page.status, page.headers["Cache-Control"]) == (200, "no-store")
        assert "detail=offline" in str(page.headers["Cache-Status"])
        assert page.headers["Expires"] is None
        assert len(links_of(page, "https://seen.example/")) == 1
    assert scene.upstream.count() == 0


def test_a_stored_404(scene: Scene) -> None:
    """What every upstream has said is an answer; when it is too old to be believed nobody knows, and that is a 504."""
    assert scene.online.page("nowhere-at-all").status == 404
    assert scene.offline.page("nowhere-at-all").status in {404, 504}


# Down, and not told of it


@pytest.mark.parametrize("how", ["down", "500"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_outage(way: Way, how: str, scene: Scene, tmp_path: Path) -> None:
    """A new agent installs what another one has installed before, without anybody having told the proxy of the outage."""
    leaf = make_wheel(f"steady-leaf-{slug(way)}-{how}")
    stem = make_wheel(f"steady-stem-{slug(way)}-{how}", requires=[leaf.project])
    scene.upstream.add(leaf, stem)
    scene.upstream.page_cache_control = "max-age=3600"
    for name in ("before", "during"):
        home = tmp_path / f"{name}-home"
        home.mkdir()
        way.install(scene.online.proxy, home, [stem.project], tmp_path / name).ok()
        assert installed(tmp_path / name) == {leaf.project: "1.0", stem.project: "1.0"}
        if how == "down":
            scene.upstream.down()
        else:
            scene.upstream.script(Behaviour(".", status=500))
        scene.online.proxy.lapse()
    missing = make_wheel(f"steady-missing-{slug(way)}-{how}")
    for url in (names.page_url(missing.project), names.file_url(missing)):
        answer = scene.online.fetch(url)
        assert answer.status == (503 if how == "down" else 502)
        assert str(scene.upstream.port).encode() in answer.body


def test_an_outage_lists_all_that_the_index_lists(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """Not offline: the outage may be over by the time the file is asked for. A page past its lifetime is marked as stale."""
    one, two = make_wheel("whole-list", "1.0"), make_wheel("whole-list", "2.0")
    upstream = make_upstream(one, two)
    options = {"pypi_cache_index_ttl": "1h", "pypi_cache_stale_while_revalidate": "0"}
    house = House(upstream, make_proxy(upstream, options=options))
    assert house.fetch(names.file_url(one)).status == house.page("whole-list").status == 200
    upstream.down()
    house.proxy.lapse()
    page = house.page("whole-list")
    assert (page.status, len(links_of(page, "https://seen.example/"))) == (200, 2)
    assert page.headers["Cache-Control"] == "no-store"
    assert "detail=stale-if-error" in str(page.headers["Cache-Status"])
    assert house.fetch(names.file_url(one)).sha256 == one.sha256
    assert house.fetch(names.file_url(two)).status == 503


def test_offline_and_back(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """One proxy, stopped and started with the option and without: nothing of the time offline stays behind."""
    one, two = make_wheel("to-and-fro", "1.0"), make_wheel("to-and-fro", "2.0")
    upstream = make_upstream(one, two)
    house = House(upstream, make_proxy(upstream))
    whole = house.page("to-and-fro")
    assert house.fetch(names.file_url(one)).status == 200
    upstream.clear()
    house.proxy.options["pypi_cache_offline"] = True
    house.proxy.restart()
    assert len(links_of(house.page("to-and-fro"), "https://seen.example/")) == 1
    assert house.page("something-else").status == 504
    assert upstream.count() == 0
    house.proxy.options["pypi_cache_offline"] = False
    house.proxy.restart()
    assert house.page("to-and-fro").body == whole.body
    assert house.page("something-else").status == 404
