"""What may be installed at all: projects allowed and denied, private names, a cooldown for new files; as clients see it.

What the rules decide is tabled in tests/rules/test_admission.py. Here a resolver is seen to choose an older version, a lock file's
direct requests are seen to be refused, and the other index is seen not to be asked.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import pytest

from tests.support import clients, names
from tests.support.authority import Authority
from tests.support.clients import PIP_ENV, PIP_INDEX, UV_ENV, Way, installed
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import ACCEPTS, House, links_of, open_house, slug, tidied, versions_on
from tests.support.proxy import Proxy, refused
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import ReleaseFile, make_sdist, make_wheel

HOUR: Final = 3600.0


def ago(seconds: float) -> str:
    """An upload time (PEP 700)."""
    return datetime.fromtimestamp(time.time() - seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# Allowed and denied names


@pytest.fixture(scope="module")
def denying_house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    options = {"pypi_cache_deny": ["evil*", "Bad.Name", "exact"]}
    with open_house(ca, tmp_path_factory.mktemp("denying"), options=options) as house:
        yield house


@pytest.fixture
def denying(denying_house: House) -> Iterator[House]:
    with tidied(denying_house) as house:
        yield house


@pytest.fixture(scope="module")
def allowing_house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    options = {"pypi_cache_allow": ["good-*, numpy"], "pypi_cache_deny": ["good-for-nothing"]}
    with open_house(ca, tmp_path_factory.mktemp("allowing"), options=options) as house:
        yield house


@pytest.fixture
def allowing(allowing_house: House) -> Iterator[House]:
    with tidied(allowing_house) as house:
        yield house


DENIED: Final = {
    "evil": "pypi_cache_deny=evil*",
    "evil-twin": "pypi_cache_deny=evil*",
    "Evil.Twin": "pypi_cache_deny=evil*",
    "bad-name": "pypi_cache_deny=Bad.Name",
    "BAD__name": "pypi_cache_deny=Bad.Name",
    "exact": "pypi_cache_deny=exact",
}
"""A name as a client spells it → the rule that the refusal names, as the operator wrote it."""


@pytest.mark.parametrize(("spelt", "rule"), DENIED.items(), ids=DENIED)
def test_a_denied_page(spelt: str, rule: str, denying: House) -> None:
    """In every representation, at every address, and nobody upstream is asked."""
    denying.upstream.add(make_wheel(spelt))
    urls = (
        f"{names.INDEX_URL}{spelt}/",
        f"{names.INDEX_URL}{spelt}",
        f"/pypi/simple/{spelt}/",
        f"{denying.upstream.index_url}{spelt}/",
        names.INDEX_URL.replace("/simple/", f"/pypi/{spelt}/json"),
        names.INDEX_URL.replace("/simple/", f"/pypi/{spelt}/1.0/json"),
    )
    for url in urls:
        for accept in ACCEPTS.values():
            answer = denying.fetch(url, headers={"Accept": accept})
            assert answer.status == 403, url
            assert rule in answer.body.decode(), url
            assert answer.headers["Cache-Control"] == "no-store", url
    assert denying.upstream.count() == 0


@pytest.mark.parametrize("name", ["devil", "not-evil", "exactly", "inexact", "bad", "name"])
def test_a_name_that_no_rule_names(name: str, denying: House) -> None:
    release = make_wheel(name)
    denying.upstream.add(release)
    assert denying.page(name).status == 200
    assert denying.fetch(names.file_url(release)).sha256 == release.sha256


FILES_OF_EXACT: Final = [
    "exact-1.0-py3-none-any.whl",
    "Exact-1.0-1build-cp312-cp312-linux_x86_64.whl",
    "exact-1.0.tar.gz",
    "exact-1.0.zip",
    "exact-1.0.tar.bz2",
    "exact-1.0-py3.12.egg",
    "exact-1.0.win-amd64-py3.12.exe",
    "exact-1.0-beta.tar.gz",
]
"""Old ways to name a file, too: what a lock file or `pip install <URL>` asks for without any page."""


@pytest.mark.parametrize("suffix", ["", ".metadata"])
@pytest.mark.parametrize("filename", FILES_OF_EXACT)
def test_a_denied_file(filename: str, suffix: str, denying: House) -> None:
    """A lock file's direct requests are refused too, with the rule in the text, and nothing is asked upstream."""
    release = make_wheel("exact")
    canonical = names.file_url(release).rpartition("/")[0]
    path = "/" + release.path.rpartition("/")[0]
    for url in (
        f"{canonical}/{filename}{suffix}",
        f"/pypi{path}/{filename}{suffix}",
        f"{denying.upstream.origin}/pypi{path}/{filename}{suffix}",
    ):
        for method in ("GET", "HEAD"):
            answer = denying.fetch(url, method=method)
            assert answer.status == 403, (method, url)
            assert method == "HEAD" or "pypi_cache_deny=exact" in answer.body.decode()
    assert denying.fetch(f"{canonical}/{filename}{suffix}", headers={"Range": "bytes=0-9"}).status == 403
    assert denying.upstream.count() == 0


@pytest.mark.parametrize("way", [PIP_ENV, UV_ENV, PIP_INDEX], ids=str)
def test_a_dependency_that_is_denied(way: Way, denying: House, home: Path, tmp_path: Path) -> None:
    """The client fails, and says with 403 that it was not the index which lacks it."""
    leaf = make_wheel(f"evil-{slug(way)}")
    stem = make_wheel(f"stem-{slug(way)}", requires=[leaf.project])
    denying.upstream.add(leaf, stem)
    result = way.install(denying.proxy, home, [stem.project], tmp_path / "target").failed()
    assert leaf.project in f"{result.stdout}{result.stderr}"
    assert denying.upstream.count(path_contains=leaf.project) == 0


@pytest.mark.parametrize(
    ("name", "status", "rule"),
    [
        ("good-one", 200, ""),
        ("Good_Two", 200, ""),
        ("numpy", 200, ""),
        ("good", 403, "pypi_cache_allow"),
        ("numpy-financial", 403, "pypi_cache_allow"),
        ("other", 403, "pypi_cache_allow"),
        ("good-for-nothing", 403, "pypi_cache_deny=good-for-nothing"),  # deny wins
    ],
)
def test_only_what_is_allowed(name: str, status: int, rule: str, allowing: House) -> None:
    release = make_wheel(name)
    allowing.upstream.add(release)
    for answer in (allowing.page(name), allowing.page(name, "html"), allowing.fetch(names.file_url(release))):
        assert answer.status == status
        assert rule in answer.body.decode("latin-1")
    assert (allowing.upstream.count() == 0) == (status == 403)


def test_a_file_that_was_stored_before_it_was_denied(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """A rule that comes later counts for what the store has."""
    release = make_wheel("once-fine")
    house = House(make_upstream(release), make_proxy(start=False))
    house.proxy.options["pypi_cache_index"] = [f"pypi={house.upstream.index_url}"]
    house.proxy.start()
    assert house.fetch(names.file_url(release)).status == house.page("once-fine").status == 200
    house.proxy.options["pypi_cache_deny"] = ["once-*"]
    house.proxy.restart()
    assert house.fetch(names.file_url(release)).status == house.page("once-fine").status == 403


# A cooldown for new files


COOLING: Final = {
    "pypi_cache_cooldown": "1h",
    "pypi_cache_cooldown_except": ["Free.*"],
    "pypi_cache_stale_while_revalidate": "0",
}


@pytest.fixture(scope="module")
def cooling_house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(ca, tmp_path_factory.mktemp("cooling"), options=COOLING) as house:
        yield house


@pytest.fixture
def cooling(cooling_house: House) -> Iterator[House]:
    with tidied(cooling_house) as house:
        yield house


def old_and_young(project: str) -> tuple[ReleaseFile, ReleaseFile]:
    """Version 1.0 of two hours ago, 2.0 of five minutes ago."""
    return (
        make_wheel(project, "1.0", upload_time=ago(2 * HOUR)),
        make_wheel(project, "2.0", upload_time=ago(300)),
    )


@pytest.mark.parametrize("kind", ACCEPTS)
@pytest.mark.parametrize("address", ["index", "own"])
def test_young_files_are_on_no_page(kind: str, address: str, cooling: House) -> None:
    """Also in HTML, which tells no upload time: the JSON page is asked for in any case."""
    name = f"cool-{kind}-{address}"
    old, young = old_and_young(name)
    cooling.upstream.add(old, young, make_sdist(name, "1.0", upload_time=ago(60)))
    url = names.page_url(name) if address == "index" else f"/pypi/simple/{name}/"
    for coding in ("identity", "gzip"):
        page = cooling.fetch(url, headers={"Accept": ACCEPTS[kind], "Accept-Encoding": coding})
        assert page.status == 200
        if coding == "identity":
            assert [link.partition("#")[0].rpartition("/")[2] for link in links_of(page, url)] == [old.filename]
        # What is left out changes with the time: no date may say that the page is the same
        assert page.headers["Last-Modified"] is None
    again = cooling.fetch(url, headers={"Accept": ACCEPTS[kind]})
    kept = cooling.fetch(url, headers={"Accept": ACCEPTS[kind], "If-None-Match": str(again.headers["ETag"])})
    assert kept.status == 304
    if kind == "json":
        assert json.loads(again.body)["versions"] == ["1.0"]
    assert cooling.page_requests(name) == 1


def test_a_project_without_a_cooldown(cooling: House) -> None:
    """On its page, at once; and directly, where no page need be fetched to know its age."""
    old, young = old_and_young("free-to-all")
    cooling.upstream.add(old, young)
    assert cooling.fetch(names.file_url(young)).sha256 == young.sha256
    assert cooling.page_requests("free-to-all") == 0
    assert versions_on(cooling.page("free-to-all")) == {"1.0", "2.0"}


@pytest.mark.parametrize("way", [PIP_ENV, UV_ENV, PIP_INDEX], ids=str)
def test_a_resolver_chooses_the_older_version(way: Way, cooling: House, home: Path, tmp_path: Path) -> None:
    leaf, young_leaf = old_and_young(f"leaf-{slug(way)}")
    stem = make_wheel(f"stem-{slug(way)}", requires=[leaf.project], upload_time=ago(3 * HOUR))
    cooling.upstream.add(leaf, young_leaf, stem)
    way.install(cooling.proxy, home, [stem.project], tmp_path / "target").ok()
    assert installed(tmp_path / "target") == {leaf.project: "1.0", stem.project: "1.0"}
    assert cooling.upstream.count(path_contains=young_leaf.filename) == 0


@pytest.mark.parametrize("page_first", [True, False], ids=["page known", "page unknown"])
def test_a_lock_file_that_names_a_young_file(page_first: bool, cooling: House) -> None:
    """Refused by itself too, with the rule and until when; the old one passes though no client ever asked for the page."""
    name = f"locked-{page_first}".lower()
    old, young = old_and_young(name)
    cooling.upstream.add(old, young)
    if page_first:
        cooling.page(name)
    until = datetime.fromisoformat(young.upload_time).timestamp() + HOUR
    shown = {datetime.fromtimestamp(until + more, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for more in (0, 1)}
    own = f"/pypi/{young.quoted_path}"
    for url in (names.file_url(young), names.file_url(young, ".metadata"), cooling.upstream.file_url(young), own):
        answer = cooling.fetch(url)
        assert answer.status == 403, url
        text = answer.body.decode()
        assert "pypi_cache_cooldown=1h" in text
        assert any(each in text for each in shown), text
        assert answer.headers["Cache-Control"] == "no-store"
    assert cooling.fetch(names.file_url(young), method="HEAD").status == 403
    assert cooling.fetch(names.file_url(young), headers={"Range": "bytes=0-9"}).status == 403
    assert cooling.upstream.count(path_contains=young.filename) == 0
    assert cooling.fetch(names.file_url(old)).sha256 == old.sha256
    assert cooling.fetch(names.file_url(old, ".metadata")).body == old.metadata
    assert cooling.page_requests(name) <= 2  # once at the index, once under the mirror's own name


def test_a_file_that_is_younger_than_its_stored_page(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """A page stored last week knows nothing of a file that is old enough by now: it is asked for again before anything is refused."""
    name = "newer-than-page"
    first, second = (make_wheel(name, each, upload_time=ago(2 * HOUR)) for each in ("1.0", "2.0"))
    upstream = make_upstream(first)
    house = House(upstream, make_proxy(upstream, options=COOLING))
    assert versions_on(house.page(name)) == {"1.0"}
    upstream.add(second)
    house.proxy.lapse()
    assert house.fetch(names.file_url(second)).sha256 == second.sha256


def test_an_upload_time_that_nobody_tells(cooling: House, home: Path, tmp_path: Path) -> None:
    """An upstream that has only HTML tells none: its files count as young, on pages and by themselves."""
    release = make_wheel("timeless")
    cooling.upstream.add(release)
    cooling.upstream.mode = "html"
    for kind in ACCEPTS:
        page = cooling.page("timeless", kind)
        assert (page.status, links_of(page, names.page_url("timeless"))) == (200, [])
    answer = cooling.fetch(names.file_url(release))
    assert answer.status == 403
    assert "does not say when it was uploaded" in answer.body.decode()
    for way in (PIP_ENV, UV_ENV):
        way.install(cooling.proxy, home, ["timeless"], tmp_path / "target").failed()
    assert cooling.file_requests(release) == 0


@pytest.mark.parametrize("status", [404, 500])
def test_a_file_whose_page_cannot_be_had(status: int, cooling: House) -> None:
    """Nothing is known of its age, and so it is young; nothing of it is fetched."""
    release = make_wheel(f"pageless-{status}")
    if status == 500:
        cooling.upstream.add(release)
        cooling.upstream.serve(f"/pypi/simple/{release.project}/", b"sorry", "text/plain")
    answer = cooling.fetch(names.file_url(release))
    assert answer.status == 403
    assert "pypi_cache_cooldown=1h" in answer.body.decode()
    assert cooling.file_requests(release) == 0


def test_the_cooldown_ends(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """By itself, with nothing asked upstream: the stored page knows when."""
    name = "ripening"
    release = make_wheel(name, upload_time=ago(HOUR / 2))
    upstream = make_upstream(release)
    house = House(upstream, make_proxy(upstream, options={**COOLING, "pypi_cache_index_ttl": "2h"}))
    assert versions_on(house.page(name)) == set()
    assert house.fetch(names.file_url(release)).status == 403
    house.proxy.lapse(HOUR)
    assert house.fetch(names.file_url(release)).sha256 == release.sha256
    eventually(lambda: versions_on(house.page(name)) == {"1.0"})
    assert house.page_requests(name) == 1


@pytest.mark.parametrize("kind", ["json", "html"])
def test_a_page_that_was_stored_before_the_cooldown(
    kind: str, make_proxy: MakeProxy, make_upstream: MakeUpstream
) -> None:
    """The option counts for what the store has; an HTML page in it tells no time, and does not make its files ageless."""
    old, young = old_and_young("stored-before")
    upstream = make_upstream(old, young)
    house = House(upstream, make_proxy(upstream))
    assert versions_on(house.page("stored-before", kind)) == {"1.0", "2.0"}
    assert house.fetch(names.file_url(young)).status == 200
    house.proxy.options["pypi_cache_cooldown"] = "1h"
    house.proxy.restart()
    assert house.fetch(names.file_url(young)).status == 403
    assert house.fetch(names.file_url(old)).sha256 == old.sha256
    for each in ACCEPTS:
        assert versions_on(house.page("stored-before", each)) == {"1.0"}


# A project's status


@pytest.fixture(scope="module")
def marking_house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    options = {"pypi_cache_deny_status": "quarantined deprecated"}
    with open_house(ca, tmp_path_factory.mktemp("marking"), options=options) as house:
        yield house


@pytest.fixture
def marking(marking_house: House) -> Iterator[House]:
    with tidied(marking_house) as house:
        yield house


STATUSES: Final = {"quarantined": True, "Deprecated": True, "archived": False, "active": False, "": False}


@pytest.mark.parametrize(("status", "denied"), STATUSES.items(), ids=[each or "none" for each in STATUSES])
@pytest.mark.parametrize("stored", ["json", "html"])
def test_a_status_that_is_denied(status: str, denied: bool, stored: Literal["json", "html"], marking: House) -> None:
    """PEP 792: the page has no files, as an index's own page of a project in quarantine; a lock's file is refused. The status stays."""
    release = make_wheel(f"marked-{status.lower() or 'no'}-{stored}", "1.0")
    marking.upstream.add(release)
    page = json.loads(marking.direct(marking.upstream.page_url(release.project), Accept=ACCEPTS["json"]).body)
    if stored == "json":
        body = json.dumps(page | ({"project-status": {"status": status, "reason": "x"}} if status else {})).encode()
    else:
        meta = f'<meta name="pypi:project-status" content="{status}">' if status else ""
        body = f'<!DOCTYPE html><head>{meta}</head><a href="{page["files"][0]["url"]}">{release.filename}</a>'.encode()
    path = f"/pypi/simple/{release.project}/"
    marking.upstream.serve(path, body, content_type=ACCEPTS["json" if stored == "json" else "html-v1"])
    for suffix in ("", ".metadata"):  # first, while no page is known
        answer = marking.fetch(names.file_url(release, suffix))
        assert answer.status == (403 if denied else 200)
        assert not denied or f"pypi_cache_deny_status={status.lower()}" in answer.body.decode()
    for kind in ACCEPTS:
        seen = marking.page(release.project, kind)
        assert seen.status == 200
        assert len(links_of(seen, names.page_url(release.project))) == (0 if denied else 1)
        assert status in seen.body.decode()


# Private names (dependency confusion)


@dataclass(frozen=True, slots=True)
class TwoIndexes:
    """`pypi` at one upstream and `corp` at another; `acme-*` is corp's alone."""

    public: Upstream
    corp: Upstream
    house: House
    proxy: Proxy


@pytest.fixture(scope="module")
def private_scene(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoIndexes]:
    with ExitStack() as stack:
        public, corp = stack.enter_context(Upstream(ca)), stack.enter_context(Upstream(ca, prefix="/corp"))
        options = {
            "pypi_cache_index": [f"pypi={public.index_url}", f"Corp={corp.index_url}"],
            "pypi_cache_private": ["acme-*=Corp, Secret.Tool=corp", "*-shared=corp *-shared=pypi"],
        }
        proxy = stack.enter_context(Proxy(tmp_path_factory.mktemp("private"), options=options, upstream_ca=ca.bundle))
        yield TwoIndexes(public, corp, House(public, proxy), proxy)
        assert not proxy.complaints, proxy.output


@pytest.fixture
def scene(private_scene: TwoIndexes) -> TwoIndexes:
    private_scene.public.clear()
    private_scene.corp.clear()
    return private_scene


@pytest.mark.parametrize("name", ["acme-tools", "Acme.Things", "secret_tool"])
def test_a_private_name_is_asked_of_its_own_index_alone(name: str, scene: TwoIndexes) -> None:
    """404 at any other one, so that uv goes on to the next index; and whoever has registered it there never learns of it."""
    impostor, own = make_wheel(name, "99.0"), make_wheel(name, "1.0")
    scene.public.add(impostor)
    scene.corp.add(own)
    url = names.page_url(name)
    for elsewhere in (
        url,
        f"{names.INDEX_URL}{name}",
        f"/pypi/simple/{name}/",
        scene.public.page_url(name),
        names.INDEX_URL.replace("/simple/", f"/pypi/{name}/json"),
        names.file_url(impostor),
        names.file_url(impostor, ".metadata"),
        scene.public.file_url(impostor),
        f"/pypi/{impostor.quoted_path}",
    ):
        answer = scene.house.fetch(elsewhere, headers={"Accept": ACCEPTS["json"]})
        assert answer.status == 404, elsewhere
        assert "pypi_cache_private=" in answer.body.decode()
        assert answer.headers["Cache-Control"] == "no-store"
    assert scene.public.count() == 0
    for at_home in (scene.corp.page_url(name), f"/corp/simple/{name}/"):
        assert versions_on(scene.house.fetch(at_home, headers={"Accept": ACCEPTS["json"]})) == {"1.0"}
    assert scene.house.fetch(scene.corp.file_url(own)).sha256 == own.sha256
    assert scene.public.count() == 0


@pytest.mark.parametrize("name", ["acme", "tools-acme", "ordinary"])
def test_other_names_are_free(name: str, scene: TwoIndexes) -> None:
    scene.public.add(make_wheel(name))
    assert scene.house.page(name).status == 200
    assert scene.house.fetch(scene.corp.page_url(name)).status == 404
    assert (scene.public.count(), scene.corp.count()) == (1, 1)


def test_a_name_of_two_indexes(scene: TwoIndexes) -> None:
    scene.public.add(make_wheel("well-shared"))
    scene.corp.add(make_wheel("well-shared"))
    assert scene.house.page("well-shared").status == 200
    assert scene.house.fetch(scene.corp.page_url("well-shared")).status == 200


@pytest.mark.parametrize("how", ["pip --extra-index-url", "uv --index", "uv unsafe-best-match"])
def test_dependency_confusion(how: str, scene: TwoIndexes, home: Path, tmp_path: Path) -> None:
    """pip takes the highest version of all indexes, so an impostor's 99.0 would win; through the proxy it is never seen."""
    name = f"acme-{slug(how)}"
    scene.public.add(make_wheel(name, "99.0"))
    scene.corp.add(make_wheel(name, "1.0"))
    bundle = str(scene.proxy.bundle)
    env = {"HTTPS_PROXY": scene.proxy.url, "PIP_CERT": bundle, "SSL_CERT_FILE": bundle}
    if how.startswith("pip"):
        args = ["--extra-index-url", scene.corp.index_url]
        clients.pip_install(home, [name], tmp_path / "target", args=args, env=env).ok()
    else:
        args = ["--extra-index-url" if "unsafe" in how else "--index", scene.corp.index_url]
        args += ["--index-strategy", "unsafe-best-match"] if "unsafe" in how else []
        clients.uv_install(home, [name], tmp_path / "target", args=args, env=env).ok()
    assert installed(tmp_path / "target") == {name: "1.0"}
    assert scene.public.count(path_contains=name) == 0


# Wrong values


WRONG: Final = {
    "a glob that is a path": ("pypi_cache_deny", "evil/*", "acme-*"),
    "a range that goes downwards": ("pypi_cache_allow", "[z-a]*", "[a-z]"),
    "no index": ("pypi_cache_private", "acme-*", "GLOB=INDEX"),
    "an index that is not there": ("pypi_cache_private", "acme-*=nowhere", "corp, pypi"),
    "a time before": ("pypi_cache_cooldown", "-7d", "10m"),
    "a unit that is none": ("pypi_cache_cooldown", "7y", "10m"),
}
"""What → option, value, and what the line has to say of the right one."""


@pytest.mark.parametrize(("option", "value", "hint"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_refuses_to_start(option: str, value: str, hint: str, make_proxy: MakeProxy) -> None:
    """A rule that is not understood must not be a rule that is not there."""
    options = {"pypi_cache_index": ["corp=https://corp.example/simple/"], option: value}
    line = refused(make_proxy(start=False, options=options))
    assert option in line
    assert value in line
    assert hint in line
