"""Several upstreams for one index, and indexes whose files are somewhere else.

Mirrors are dead, lag, stall, lack JSON and redirect oddly; a page from any of them is the page that the index itself would have given.
Hosts that only the pages name are learned, up to a number, and a page vouches for its own index's URLs alone.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from pkgcache.engine.upstream.client import READ_SECONDS
from pkgcache.rules.policy.circuit_breaker import OPEN_SECONDS
from tests.support import names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.clients import PIP_ENV, UV_ENV, Way, installed
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import ACCEPTS, House, links_of, slug, without_fragments
from tests.support.index import HTML_TYPE, JSON_TYPE, LinkForm, PageStyle
from tests.support.limits import BREAKER_BY_CLOCK, script_with
from tests.support.peers import ParentProxy
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import fetch


@dataclass(frozen=True, slots=True)
class Scene:
    """Index `pypi` with two mirrors."""

    first: Upstream
    second: Upstream
    house: House

    def add(self, *releases: ReleaseFile) -> None:
        """Publish on both."""
        self.first.add(*releases)
        self.second.add(*releases)

    def rested(self) -> None:
        """An answer of the first one closes its circuit breaker, as its first success does."""
        self.first.unscript()
        self.first.up()
        self.first.clear()
        self.house.proxy.lapse(OPEN_SECONDS)
        self.house.fetch(f"{self.first.index_url}nothing-{time.monotonic_ns()}/")
        assert self.first.count()
        self.first.clear()
        self.second.clear()


@pytest.fixture(scope="module")
def shared(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        first, second = (stack.enter_context(Upstream(ca, prefix=prefix)) for prefix in ("/one", "/two/pypi"))
        options = {
            "pypi_cache_index": [f"pypi={first.index_url} {second.index_url}"],
            "pypi_cache_stale_while_revalidate": "0",
            "pypi_cache_negative_ttl": "1h",
        }
        folder = tmp_path_factory.mktemp("mirrors")
        script = script_with(folder, {**BREAKER_BY_CLOCK, "engine.upstream.client.READ_SECONDS": 1.0})
        proxy = stack.enter_context(Proxy(folder, options=options, upstream_ca=ca.bundle, script=script))
        yield Scene(first, second, House(first, proxy))
        assert not proxy.complaints, proxy.output


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    shared.rested()
    yield shared
    for upstream in (shared.first, shared.second):
        upstream.unscript()
        upstream.up()
        upstream.mode = "both"
        upstream.style = PageStyle()


FAILING: Final[Mapping[str, Behaviour | None]] = {
    "dead": None,
    "500": Behaviour(".", status=500),
    "429": Behaviour(".", status=429),
    "403": Behaviour(".", status=403),
    "drops": Behaviour(".", drop=True),
    "cuts": Behaviour(".", cut_after=0),
    "a captive portal": Behaviour(".", captive=True),
    "no page": Behaviour(".", body=b"{}"),
    "redirects to a dead host": Behaviour(".", redirect="https://localhost:1/simple/x/"),
    "redirects to itself": Behaviour(".", redirect_loop=True),
    "lags": Behaviour(".", status=404),
}


@pytest.mark.parametrize("kind", ACCEPTS)
@pytest.mark.parametrize("how", FAILING)
def test_the_next_mirror_has_it(how: str, kind: str, scene: Scene) -> None:
    """Its page, with the index's own links and no mirror's name, and the file behind the link."""
    release = make_wheel(f"next-{slug(how)}-{kind}")
    scene.add(release)
    behaviour = FAILING[how]
    if behaviour is None:
        scene.first.down()
    else:
        scene.first.script(behaviour)
    page = scene.house.page(release.project, kind)
    assert page.status == 200, page.body
    assert without_fragments(links_of(page, names.page_url(release.project))) == [names.file_url(release)]
    assert not re.search(rb"localhost|127\.0\.0\.1", page.body)
    answer = scene.house.fetch(names.file_url(release))
    assert (answer.status, answer.sha256) == (200, release.sha256)
    assert scene.second.count(path_contains=f"/two/pypi/simple/{release.project}/") == 1
    assert scene.second.count(path_contains=f"/two/pypi/{release.quoted_path}") == 1
    assert "hit" in str(scene.house.page(release.project, kind).headers["Cache-Status"])


def test_the_first_is_asked_first(scene: Scene) -> None:
    """And while it answers the second is never asked: their pages may differ, and are never merged."""
    release, newer = make_wheel("first-first", "1.0"), make_wheel("first-first", "2.0")
    scene.first.add(release)
    scene.second.add(release, newer)
    for kind in ACCEPTS:
        assert len(links_of(scene.house.page("first-first", kind), "https://seen.example/")) == 1
    assert scene.house.fetch(names.file_url(release)).sha256 == release.sha256
    assert scene.second.count() == 0
    # but a file that only the second has is had all the same (a lock file made elsewhere)
    assert scene.house.fetch(names.file_url(newer)).sha256 == newer.sha256


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (404, 404, 404),
        (410, 404, 404),
        (404, 500, 404),  # of those that answer all say so
        (500, 404, 404),
        (500, 500, 502),
        (500, None, 503),  # the one that cannot be reached may be back in a moment
        (None, None, 503),
        (403, 403, 502),  # of mirrors, which the client did not name: it has no password for them
        (403, 500, 502),
    ],
)
def test_what_all_of_them_say(first: int | None, second: int | None, expected: int, scene: Scene) -> None:
    """404 only where every upstream that answers says so; and remembered only where every one has answered."""
    name = f"said-{first}-{second}".lower()
    for upstream, status in ((scene.first, first), (scene.second, second)):
        if status is None:
            upstream.down()
        elif status != 404:
            upstream.script(Behaviour(f"/{name}/", status=status))
    answer = scene.house.page(name)
    also = {
        (410, 404): 410,
        (500, None): 502,
        (None, None): 504,
    }  # where an earlier row's probe has failed: test_failures
    assert answer.status in {expected, also.get((first, second), expected)}, answer.body
    if expected in {502, 503}:
        assert all(str(each.port).encode() in answer.body for each in (scene.first, scene.second))
    asked = scene.second.count(path_contains=name)
    scene.house.page(name)
    remembered = (first in {404, 410}) and second == 404
    assert (scene.second.count(path_contains=name) == asked) == (remembered or second is None)


def test_a_mirror_that_catches_up(scene: Scene) -> None:
    """What one lagged with is soon asked for again, and its own page is then the one that counts."""
    old, new = make_wheel("catches-up", "1.0"), make_wheel("catches-up", "2.0")
    assert scene.house.page("catches-up").status == 404
    scene.second.add(old)
    scene.house.proxy.lapse()
    assert len(links_of(scene.house.page("catches-up"), "https://seen.example/")) == 1
    scene.first.add(old, new)
    refreshed = scene.house.page("catches-up", Cache_Control="no-cache")
    assert len(links_of(refreshed, "https://seen.example/")) == 2


def test_validators_go_to_whom_they_came_from(scene: Scene) -> None:
    """One mirror's ETag means nothing at another one: a 304 from there would be a lie."""
    release = make_wheel("validated")
    scene.add(release)
    assert scene.house.page("validated").status == 200
    scene.first.down()
    assert scene.house.page("validated", Cache_Control="no-cache").status == 200
    (asked,) = scene.second.seen(path_contains="/validated/")
    assert not {"if-none-match", "if-modified-since"} & set(asked.headers)
    assert asked.status == 200


def test_a_mirror_that_fails_is_left_alone_for_a_while(scene: Scene) -> None:
    """After two failures in a row nobody waits for it again; when it is the last hope it is asked all the same."""
    scene.first.script(Behaviour(".", status=503))
    for number in range(6):
        scene.second.add(make_wheel(f"breaker-{number}"))
        assert scene.house.page(f"breaker-{number}").status == 200
    assert scene.first.count() == 2
    scene.first.unscript()
    release = make_wheel("last-hope")
    scene.first.add(release)
    assert scene.house.page("last-hope").status == 200
    assert scene.first.count(path_contains="last-hope") == 1
    scene.first.add(make_wheel("closed-again"))
    assert scene.house.page("closed-again").status == 200  # its success has closed the breaker
    assert scene.second.count(path_contains="closed-again") == 0


def test_a_404_is_no_failure(scene: Scene) -> None:
    """A mirror that lags goes on being asked first."""
    for number in range(5):
        scene.second.add(make_wheel(f"lagging-{number}"))
        assert scene.house.page(f"lagging-{number}").status == 200
    assert scene.first.count() == 5


def test_a_mirror_that_stalls(scene: Scene) -> None:
    """pip gives up after 15 s: by then the second one has been asked."""
    assert READ_SECONDS < 15
    scene.add(make_wheel("stalls"))
    scene.first.script(Behaviour("/stalls/", stall_after=20))
    page = scene.house.page("stalls")
    assert page.status == 200


@pytest.mark.parametrize("way", [PIP_ENV, UV_ENV], ids=str)
def test_a_mirror_without_json(way: Way, scene: Scene, home: Path, tmp_path: Path) -> None:
    """Its HTML is the page, converted for who takes JSON alone; the second one, which has JSON, is not asked for it."""
    release = make_wheel(f"no-json-{slug(way)}")
    scene.add(release)
    scene.first.mode = "html"
    pages = {kind: scene.house.page(release.project, kind) for kind in ACCEPTS}
    assert pages["json"].headers["Content-Type"] == JSON_TYPE
    assert pages["html-v1"].headers["Content-Type"] == HTML_TYPE
    for page in pages.values():
        assert without_fragments(links_of(page, "https://seen.example/")) == [names.file_url(release)]
    way.install(scene.house.proxy, home, [release.project], tmp_path / "target").ok()
    assert installed(tmp_path / "target") == {release.project: "1.0"}
    assert scene.second.count() == 0


@pytest.mark.parametrize("spelt", ["Odd.Slash", "odd-slash", "odd-slash/"])
def test_a_mirror_that_redirects_without_the_slash(spelt: str, scene: Scene) -> None:
    """Some send a page asked for without its slash to a host that is dead: it is always asked for with it."""
    release = make_wheel("odd-slash")
    if not scene.first.count(path_contains="odd"):
        scene.add(release)
    scene.first.script(Behaviour(r"/simple/[^/]+$", redirect="https://localhost:1/simple/odd-slash"))
    for kind, accept in ACCEPTS.items():
        page = scene.house.fetch(names.INDEX_URL + spelt, headers={"Accept": accept, "Cache-Control": "no-cache"})
        assert page.status == 200, kind
        links = without_fragments(links_of(page, names.INDEX_URL + spelt))
        assert {
            link.replace(f"{names.INDEX_URL.removesuffix('/simple/')}/pypi", names.FILES_ORIGIN) for link in links
        } == {names.file_url(release)}
    assert scene.second.count() == 0


def test_a_mirror_that_moved(scene: Scene) -> None:
    """A redirect is followed, and the page's relative links are relative to where it ended."""
    release = make_wheel("moved")
    scene.second.add(release)
    scene.first.script(Behaviour("/one/simple/moved/", redirect=scene.second.page_url("moved")))
    page = scene.house.page("moved")
    assert without_fragments(links_of(page, names.page_url("moved"))) == [names.file_url(release)]


@pytest.mark.parametrize("form", [LinkForm.RELATIVE, LinkForm.ROOT_RELATIVE, LinkForm.DOTTED, LinkForm.BASE_HREF])
@pytest.mark.parametrize("kind", ["json", "html"])
def test_the_same_page_from_either(kind: str, form: LinkForm, scene: Scene) -> None:
    """Whatever its links look like there, and however deep the mirror's folder is."""
    name = f"either-{kind}-{slug(form.name)}"
    scene.add(make_wheel(name))
    for upstream in (scene.first, scene.second):
        upstream.style = PageStyle(form=form, files_origin=f"{upstream.origin}{upstream.prefix}")
    from_first = without_fragments(links_of(scene.house.page(name, kind), names.page_url(name)))
    scene.first.down()
    again = scene.house.page(name, kind, Cache_Control="no-cache")
    assert scene.second.count(path_contains=name) == 1
    assert without_fragments(links_of(again, names.page_url(name))) == from_first == [names.file_url(make_wheel(name))]


# Files on other hosts


WHEELS_HOST: Final = "wheels.test"


@dataclass(frozen=True, slots=True)
class Learned:
    """Index `torch` on a host of its own, with files on `wheels.test`, reached through a parent proxy that knows the name."""

    index: Upstream
    files: Upstream
    parent: ParentProxy
    proxy: Proxy

    @property
    def house(self) -> House:
        return House(self.index, self.proxy)

    def publish(
        self, project: str, *hosts: str, release: ReleaseFile | None = None, digest: str = "", index: str = "whl"
    ) -> str:
        """A page that links to a file on each host; the first one's URL. `index`: `torch`, whose path is `whl`, or `other`."""
        release = release or make_wheel(project)
        self.files.serve(f"/whl/{release.filename}", release.content)
        urls = [f"https://{host}/whl/{release.filename}" for host in hosts]
        model = {
            "meta": {"api-version": "1.0"},
            "name": project,
            "files": [
                {"filename": release.filename, "url": url, "hashes": {"sha256": digest or release.sha256}}
                for url in urls
            ],
        }
        self.index.serve(f"/{index}/simple/{project}/", json.dumps(model).encode(), JSON_TYPE)
        return urls[0]

    def page(self, project: str, index: str = "whl") -> int:
        """Ask for a page of `torch`, or of `other`."""
        url = f"{self.index.origin}/{index}/simple/{project}/"
        return self.house.fetch(url, headers={"Accept": JSON_TYPE}).status


@pytest.fixture
def learned(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> Iterator[Learned]:
    index = make_upstream()
    files = make_upstream(names=[WHEELS_HOST, "*.wheels.test"])
    known = {WHEELS_HOST: files.port} | {f"{number}.wheels.test": files.port for number in range(20)}
    with ParentProxy(names=known) as parent:
        options = {
            "pypi_cache_index": [
                f"pypi={index.index_url}",
                f"torch={index.origin}/whl/simple/",
                f"other={index.origin}/other/simple/",
            ]
        }
        proxy = make_proxy(
            options=options, env={"HTTPS_PROXY": f"http://127.0.0.1:{parent.port}", "NO_PROXY": "localhost"}
        )
        yield Learned(index, files, parent, proxy)


def opened(proxy: Proxy, host: str) -> bool:
    """Whether TLS to a host is opened: its certificate is then of the proxy's CA."""
    try:
        fetch(proxy.port, f"https://{host}/whl/nothing-1.0-py3-none-any.whl", ca=proxy.ca)
    except OSError:
        return False
    return True


def test_a_host_is_learned(learned: Learned) -> None:
    """From the page on, and after a restart too: the file is stored, verified by its page's hash, and served when all is down."""
    release = make_wheel("torched", payload_size=200_000)
    url = learned.publish("torched", WHEELS_HOST, release=release)
    assert not opened(learned.proxy, WHEELS_HOST)
    assert learned.page("torched") == 200
    assert opened(learned.proxy, WHEELS_HOST)
    learned.files.script(Behaviour(r"torched.*whl$", wrong_byte_at=150_000, times=1))
    wrong = learned.house.fetch(url)
    assert not (wrong.status == 200 and wrong.complete)
    assert learned.house.fetch(url).sha256 == release.sha256
    asked = learned.files.count(path_contains=release.filename)
    learned.proxy.restart()
    assert opened(learned.proxy, WHEELS_HOST)
    learned.files.down()
    learned.index.down()
    answer = learned.house.fetch(url)
    assert (answer.status, answer.sha256) == (200, release.sha256)
    assert answer.headers["ETag"] == f'"sha256:{release.sha256}"'
    assert learned.files.count(path_contains=release.filename) == asked
    own = learned.house.fetch(f"/torch/files/https/{WHEELS_HOST}/whl/{release.filename}")
    assert own.sha256 == release.sha256


def test_a_poisoned_page_opens_no_more_than_four_hosts(learned: Learned) -> None:
    """And says so in the log; other pages keep their places, and other hosts stay tunnels, which are never decrypted."""
    learned.publish("poisoned", *(f"{number}.wheels.test" for number in range(20)))
    assert learned.page("poisoned") == 200
    assert sum(opened(learned.proxy, f"{number}.wheels.test") for number in range(20)) == 4
    assert "0.wheels.test" not in learned.proxy.output.partition("not opened")[2]
    assert "index torch, project poisoned: " in learned.proxy.output
    learned.publish("poisoned-more", WHEELS_HOST)
    assert learned.page("poisoned-more") == 200
    assert opened(learned.proxy, WHEELS_HOST)


LINKS_ELSEWHERE: Final = (
    '<a rel="homepage" href="https://0.wheels.test/project">home</a>',
    '<a rel="download" href="https://1.wheels.test/archive/v1.0.tar.gz">source</a>',
    '<a href="https://2.wheels.test/">elsewhere-1.0-py3-none-any.whl</a>',
    '<a href="https://3.wheels.test/another-1.0-py3-none-any.whl">another project</a>',
    '<a href="https://4.wheels.test/elsewhere.git#egg=elsewhere-1.0.tar.gz">egg</a>',
    '<a href="https://5.wheels.test/?file=elsewhere-1.0.tar.gz">query</a>',
    '<a href="https://6.wheels.test/elsewhere-1.0.whl/info">a folder</a>',
    '<link href="https://7.wheels.test/elsewhere-1.0.whl">',
    '<img src="https://8.wheels.test/elsewhere-1.0.whl">',
    '<a href="https://9.wheels.test/elsewhere">project</a>',
    '<a href="https://10.wheels.test/elsewhere-1.0.txt">notes</a>',
)


@pytest.mark.parametrize("kind", ["html", "json"])
def test_only_release_files_make_a_host_known(kind: str, learned: Learned) -> None:
    """A page links to homepages, too: from then on a git host's TLS was opened."""
    real = '<a href="https://wheels.test/whl/elsewhere-1.0-py3-none-any.whl">elsewhere-1.0-py3-none-any.whl</a>'
    body, content_type = "".join(["<!DOCTYPE html><html><body>", *LINKS_ELSEWHERE, real]).encode(), "text/html"
    if kind == "json":
        urls = [found for link in (*LINKS_ELSEWHERE, real) if (found := re.search(r'href="([^"]*)"', link))]
        files = [{"filename": "elsewhere-1.0-py3-none-any.whl", "url": url[1], "hashes": {}} for url in urls]
        del files[7:9]  # `<link>` and `<img>`, which are no links to files
        model = {"meta": {"api-version": "1.0"}, "name": "elsewhere", "files": files}
        body, content_type = json.dumps(model).encode(), JSON_TYPE
    learned.index.serve("/whl/simple/elsewhere/", body, content_type)
    answer = learned.house.fetch(f"{learned.index.origin}/whl/simple/elsewhere/", headers={"Accept": content_type})
    assert answer.status == 200
    assert [number for number in range(20) if opened(learned.proxy, f"{number}.wheels.test")] == []
    assert opened(learned.proxy, WHEELS_HOST)


@pytest.mark.parametrize("size", [1000, 300_000])
@pytest.mark.parametrize("first", ["wrong", "right"])
def test_a_host_of_two_indexes(first: str, size: int, learned: Learned) -> None:
    """One of them has a wrong digest for a file there, whichever linked to it first: the other one's file is served all the same.

    It was a 502 where the wrong one came first: the host, and with it the file, belonged to that index alone.
    """
    release = make_wheel("shared", payload_size=size)
    wrong, right = ("whl", "other") if first == "wrong" else ("other", "whl")
    learned.publish("shared", WHEELS_HOST, release=release, index=wrong, digest="0" * 64)
    learned.publish("shared", WHEELS_HOST, release=release, index=right)
    assert (learned.page("shared", "whl"), learned.page("shared", "other")) == (200, 200)
    url = f"https://{WHEELS_HOST}/whl/{release.filename}"
    for _ in range(3):
        answer = learned.house.fetch(url)
        assert (answer.status, answer.complete, answer.sha256) == (200, True, release.sha256)
    assert "hit" in (answer.headers["Cache-Status"] or "")
    assert answer.headers["ETag"] == f'"sha256:{release.sha256}"'
    name = {"whl": "torch", "other": "other"}[right]
    assert learned.house.fetch(f"/{name}/files/https/{WHEELS_HOST}/whl/{release.filename}").sha256 == release.sha256
    learned.proxy.restart()
    assert learned.house.fetch(url).sha256 == release.sha256


def test_a_page_of_another_index_vouches_for_nothing(learned: Learned) -> None:
    """`pypi` lists torch's file under a hash of its own choosing: torch's page alone says what its file must be.

    Otherwise whoever writes a page on one index could have any file of another one refused, or replaced.
    """
    release, impostor = make_wheel("vouched", "1.0"), make_wheel("vouched", "1.0", seed=666)
    url = learned.publish("vouched", WHEELS_HOST, release=release)
    assert learned.page("vouched") == 200
    page = {
        "meta": {"api-version": "1.0"},
        "name": "vouched",
        "files": [{"filename": release.filename, "url": url, "hashes": {"sha256": impostor.sha256}}],
    }
    learned.index.serve("/pypi/simple/vouched/", json.dumps(page).encode(), JSON_TYPE)
    assert learned.house.page("vouched").status == 200
    assert learned.house.fetch(url).sha256 == release.sha256
    learned.files.serve(f"/whl/{release.filename}", impostor.content)
    assert learned.house.fetch(url).sha256 == release.sha256


def test_a_page_cannot_vouch_for_pypis_files(learned: Learned) -> None:
    """torch lists a file under pypi's own URL with a wrong hash: its path says what it must be, and that stands."""
    release = make_wheel("canonical")
    learned.index.add(release)
    page = {
        "meta": {"api-version": "1.0"},
        "name": "canonical",
        "files": [
            {
                "filename": release.filename,
                "url": names.file_url(release),
                "hashes": {"sha256": hashlib.sha256(b"another").hexdigest()},
            }
        ],
    }
    learned.index.serve("/whl/simple/canonical/", json.dumps(page).encode(), JSON_TYPE)
    assert learned.page("canonical") == 200
    answer = learned.house.fetch(names.file_url(release))
    assert (answer.status, answer.sha256) == (200, release.sha256)
    etag = learned.house.fetch(names.file_url(release), method="HEAD").headers["ETag"]
    assert str(etag).startswith(f'"blake2b:{release.blake2b}'), "with its attempt until it is committed"
