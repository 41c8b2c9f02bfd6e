"""`/pypi/<name>/json` and `/pypi/<name>/<version>/json`: the older JSON API beside `simple/`, which poetry and mirror tools ask.

The document comes from the mirror and passes as it is, byte for byte but for its links; it is kept and renewed as pages are. Where no
mirror has it, it is made of the page and a wheel's core metadata.
"""

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from tests.support import names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import ACCEPTS, House, cache_status_of, open_house, slug, tidied
from tests.support.index import JSON_TYPE
from tests.support.wheels import ReleaseFile, make_sdist, make_wheel
from tests.support.wire import fetch_many


@pytest.fixture(scope="module")
def open_for_all(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    options = {"pypi_cache_stale_while_revalidate": "0", "pypi_cache_negative_ttl": "1h"}
    with open_house(ca, tmp_path_factory.mktemp("api"), options=options) as house:
        yield house


@pytest.fixture
def house(open_for_all: House) -> Iterator[House]:
    with tidied(open_for_all) as house:
        yield house


def api_url(project: str, version: str = "") -> str:
    """A document at the default index."""
    return names.INDEX_URL.replace(
        "/simple/", f"/pypi/{project}/{version}/json" if version else f"/pypi/{project}/json"
    )


def document(release: ReleaseFile, **more: Any) -> bytes:
    """What the index says of a release, as it writes it."""
    info = {"name": release.project, "version": release.version, "requires_dist": None, "summary": "µ", **more}
    file = {"filename": release.filename, "url": names.file_url(release), "digests": {"sha256": release.sha256}}
    model = {"info": info, "last_serial": 7, "urls": [file], "vulnerabilities": []}
    return (json.dumps(model, indent=1, ensure_ascii=False) + "\n").encode()


def publish(house: House, release: ReleaseFile, cache_control: str = "max-age=600", **more: Any) -> bytes:
    """Put both documents on the mirror, beside its `simple/`; what they say."""
    body = document(release, **more)
    for path in (f"/pypi/{release.project}/json", f"/pypi/{release.project}/{release.version}/json"):
        house.upstream.serve(path, body, "application/json", Cache_Control=cache_control)
    return body


@pytest.mark.parametrize("version", ["", "1.0"], ids=["project", "release"])
@pytest.mark.parametrize("accept", ["application/json", "*/*", "", JSON_TYPE, "text/html"])
def test_a_document_is_the_mirrors(accept: str, version: str, house: House) -> None:
    """Once from the mirror, whatever the Accept says (a browser's too), and then from the store."""
    release = make_wheel(f"plain-{slug(accept or 'none') or 'any'}-{slug(version)}x")
    body = publish(house, release)
    url = api_url(release.project, version)
    direct = house.direct(house.upstream.origin + url.removeprefix(names.INDEX_URL.removesuffix("/simple/")))
    house.upstream.clear()
    first, second = (house.fetch(url, headers={"Accept": accept}) for _ in range(2))
    assert first.status == second.status == 200
    assert first.body == second.body == body
    assert cache_status_of(first) == "pypi-cache; fwd=miss; fwd-status=200; stored"
    assert re.fullmatch(r"pypi-cache; hit; ttl=\d+", cache_status_of(second))
    for header in ("Content-Type", "ETag", "Last-Modified", "Cache-Control"):
        assert second.headers[header] == direct.headers[header], header
    head = house.fetch(url, method="HEAD", headers={"Accept": accept})
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(body)), b"")
    assert [each.path for each in house.upstream.requests] == [
        url.removeprefix(names.INDEX_URL.removesuffix("/simple/"))
    ]


@pytest.mark.parametrize("spelt", ["Foo.Bar", "foo_bar", "FOO-bar"])
@pytest.mark.parametrize("ending", ["json", "json/"])
def test_names_are_normalised(spelt: str, ending: str, house: House) -> None:
    """However it is spelt, the mirror is asked for one name, once."""
    body = publish(house, make_wheel("Foo.Bar"))
    answer = house.fetch(names.INDEX_URL.replace("/simple/", f"/pypi/{spelt}/{ending}"))
    assert (answer.status, answer.body) == (200, body)
    assert {each.path for each in house.upstream.requests} <= {"/pypi/foo-bar/json"}
    assert house.upstream.count() <= 1


@pytest.mark.parametrize("spelt", ["1.0+local.1", "1.0%2Blocal.1", "1!2.0", "1%212.0"])
def test_versions_are_spelt_in_two_ways(spelt: str, house: House) -> None:
    """pip quotes `+` and `!`, others do not: one release, whichever the mirror is sent."""
    version = spelt.replace("%2B", "+").replace("%21", "!")
    release = make_wheel("odd-version", version)
    body = publish(house, release)
    answer = house.fetch(api_url("odd-version", spelt))
    assert (answer.status, answer.body) == (200, body)


def test_a_document_and_a_page_are_two_things(house: House) -> None:
    """Also for the project that is called json."""
    for name in ("json", "pypi", "two-things"):
        release = make_wheel(name)
        house.upstream.add(release)
        body = publish(house, release)
        page = house.page(name)
        assert json.loads(page.body)["files"][0]["url"] == names.file_url(release)
        assert house.fetch(api_url(name)).body == body
        assert house.fetch(api_url(name, "1.0")).body == body
        assert house.page(name).body == page.body
        assert house.page(name, "html").status == 200


@pytest.mark.parametrize("coding", ["gzip", "identity"])
@pytest.mark.parametrize("upstream_gzips", [True, False])
def test_gzip_and_identity(upstream_gzips: bool, coding: str, house: House) -> None:
    release = make_wheel(f"coded-{coding}-{upstream_gzips}".lower())
    body = publish(house, release)
    if upstream_gzips:
        house.upstream.script(Behaviour("/json", gzip=True))
    answer = house.fetch(api_url(release.project), headers={"Accept-Encoding": coding})
    assert answer.headers["Content-Encoding"] == (coding if coding == "gzip" else None)
    assert (gzip.decompress(answer.body) if coding == "gzip" else answer.body) == body


# Freshness


def test_a_client_that_has_it(house: House) -> None:
    release = make_wheel("has-it")
    publish(house, release)
    first = house.fetch(api_url("has-it"))
    for headers in (
        {"If-None-Match": str(first.headers["ETag"])},
        {"If-Modified-Since": str(first.headers["Last-Modified"])},
    ):
        again = house.fetch(api_url("has-it"), headers=headers)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert house.fetch(api_url("has-it"), headers={"If-None-Match": '"other"'}).status == 200
    assert house.upstream.count() == 1


def test_it_is_renewed_after_its_lifetime(house: House) -> None:
    """With the mirror's own validators; unchanged it is a 304 there, and changed it is the new one here."""
    release = make_wheel("renewed")
    old = publish(house, release, "max-age=3600")
    assert house.fetch(api_url("renewed")).body == old
    house.proxy.lapse()
    same = house.fetch(api_url("renewed"))
    assert (same.body, cache_status_of(same)) == (old, "pypi-cache; fwd=stale; fwd-status=304")
    new = publish(house, release, "max-age=3600", summary="another")
    house.proxy.lapse()
    assert house.fetch(api_url("renewed")).body == new
    assert [each.status for each in house.upstream.requests] == [200, 304, 200]


WRONG: Final = {
    "down": None,
    "500": Behaviour("/json", status=500),
    "dropped": Behaviour("/json", drop=True),
    "cut short": Behaviour("/json", cut_after=40),
    "a captive portal": Behaviour("/json", captive=True),
    "HTML by another name": Behaviour("/json", body=b"<html></html>", headers={"Content-Type": "application/json"}),
    "a list": Behaviour("/json", body=b'["info"]', headers={"Content-Type": "application/json"}),
    "no document": Behaviour("/json", body=b'{"message": "hello"}', headers={"Content-Type": "application/json"}),
    "half of one": Behaviour("/json", body=b'{"info": {"name"', headers={"Content-Type": "application/json"}),
    "no type": Behaviour("/json", headers={"Content-Type": None}),
    "a page": Behaviour("/json", headers={"Content-Type": JSON_TYPE}),
    "a loop": Behaviour("/json", redirect_loop=True),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_no_document(how: str, house: House) -> None:
    """Refused with a 502 (503 where it is down) and not kept; where an earlier one is stored that is given, marked as stale."""
    release = make_wheel(f"wrong-{slug(how)}")
    old = publish(house, release, "max-age=3600")
    assert house.fetch(api_url(release.project, "1.0")).body == old
    new = publish(house, release, "max-age=3600", summary="another")
    if (behaviour := WRONG[how]) is None:
        house.upstream.down()
    else:
        house.upstream.script(behaviour)
    house.proxy.lapse()
    cold = house.fetch(api_url(release.project))
    assert (cold.status, cold.headers["Cache-Control"]) == (503 if how == "down" else 502, "no-store")
    assert str(house.upstream.port).encode() in cold.body
    stale = house.fetch(api_url(release.project, "1.0"))
    assert (stale.status, stale.body) == (200, old)
    assert "detail=stale-if-error" in cache_status_of(stale)
    assert stale.headers["Cache-Control"] == "no-store"
    house.upstream.unscript()
    house.upstream.up()
    assert house.fetch(api_url(release.project)).body == house.fetch(api_url(release.project, "1.0")).body == new


def test_a_404_passes(house: House) -> None:
    """And is remembered for a moment, as a page's is."""
    assert [house.fetch(api_url("not-yet")).status for _ in range(3)] == [404] * 3
    assert [each.path for each in house.upstream.requests] == ["/pypi/not-yet/json"]
    body = publish(house, make_wheel("not-yet"))
    house.proxy.lapse()
    assert house.fetch(api_url("not-yet")).body == body


def test_a_herd(house: House) -> None:
    body = publish(house, make_wheel("herd"))
    house.upstream.script(Behaviour("/herd/json", delay=0.7))
    answers = fetch_many(20, house.proxy.port, api_url("herd"), ca=house.proxy.ca)
    assert {(each.status, each.body) for each in answers} == {(200, body)}
    assert house.upstream.count() == 1


def test_the_next_mirror_has_it(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """Many mirrors have no JSON API: 404 there, and the next one is asked; each in its own folder, beside its `simple/`."""
    first, second = make_upstream(prefix="/one"), make_upstream(prefix="/two/pypi")
    proxy = make_proxy(first, second)
    release = make_wheel("elsewhere")
    second.serve("/two/pypi/elsewhere/1.0/json", document(release), "application/json")
    answer = House(first, proxy).fetch(api_url("elsewhere", "1.0"))
    assert (answer.status, answer.body) == (200, document(release))
    assert [each.path for each in first.requests] == ["/one/pypi/elsewhere/1.0/json"]
    assert first.count(path_contains="/simple/") == second.count(path_contains="/simple/") == 0
    assert House(first, proxy).fetch(api_url("nowhere")).status == 404


def test_it_outlives_a_restart_offline(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    house = House(upstream, make_proxy(upstream))
    body = publish(house, make_wheel("lasting"))
    assert house.fetch(api_url("lasting")).body == body
    house.proxy.options["pypi_cache_offline"] = True
    house.proxy.restart()
    kept = json.loads(house.fetch(api_url("lasting")).body)
    assert kept == json.loads(body) | {"urls": []}, "its file is not in the store"
    assert house.fetch(api_url("lasting", "1.0")).status == 504
    assert upstream.count() == 1


# As poetry does it


def test_as_poetry_does_it(house: House, tmp_path: Path) -> None:
    """The page as JSON for the versions, the release's document for its requirements and digests, the metadata, and the file.

    Then once more as another agent, with the mirror down.
    """
    release = make_wheel("poetic", requires=["leaf>=1"])
    house.upstream.add(release)
    publish(house, release, requires_dist=["leaf>=1"])
    agent = {"User-Agent": "poetry/2.2", "Accept-Encoding": "gzip, deflate", "Cache-Control": "max-age=0"}
    for _ in range(2):
        page = house.fetch(
            names.page_url("poetic"),
            headers={**agent, "Accept": f"{JSON_TYPE}, */*;q=0.1", "Accept-Encoding": "identity"},
        )
        assert json.loads(page.body)["versions"] == ["1.0"]
        answer = house.fetch(api_url("poetic", "1.0"), headers={**agent, "Accept": "application/json"})
        said = json.loads(gzip.decompress(answer.body))
        assert said["info"]["requires_dist"] == ["leaf>=1"]
        (file,) = said["urls"]
        assert house.fetch(f"{file['url']}.metadata").body == release.metadata
        fetched = house.fetch(file["url"])
        assert fetched.sha256 == file["digests"]["sha256"]
        house.upstream.down()
    assert house.upstream.count() == 4


def test_other_paths_are_not_taken_for_it(house: House) -> None:
    """Only these two: anything else on the mirror is its own affair, and goes there untouched."""
    house.upstream.serve("/pypi/thing/1.0/json/more", b"more", "text/plain")
    house.upstream.serve("/pypi/thing/1.0/2.0/json", b"deeper", "text/plain")
    house.upstream.serve("/pypi/-thing/json", b"no name", "text/plain")
    for path, body in (
        ("thing/1.0/json/more", b"more"),
        ("thing/1.0/2.0/json", b"deeper"),
        ("-thing/json", b"no name"),
    ):
        answer = house.fetch(f"{house.upstream.origin}/pypi/{path}", headers={"Accept": ACCEPTS["json"]})
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["Cache-Status"] is None


# Links


@pytest.mark.parametrize(
    "link",
    [
        "../../packages/{path}",
        "../../packages/packages/{path}",
        "/pypi/packages/{path}",
        "{origin}/pypi/packages/{path}",
        "{canonical}/packages/{path}",
    ],
)
@pytest.mark.parametrize("version", ["", "1.0"], ids=["project", "release"])
def test_links_are_put_right(version: str, link: str, house: House) -> None:
    """Each leads to the file at its usual host, and every other byte is the mirror's; as it is where it is so already."""
    release = make_wheel(f"linked-{slug(link)}-{slug(version)}x")
    house.upstream.add(release)
    path = release.quoted_path.removeprefix("packages/")
    url = link.format(path=path, origin=house.upstream.origin, canonical=names.FILES_ORIGIN)
    said = document(release).decode().replace(names.file_url(release), url)
    other = said.rstrip().removesuffix("}") + f', "releases": {{"1.0": [{{"url": "{url}", "n":1.50}}]}}}}'
    for body in (said, other):
        asked = api_url(release.project, version)
        house.upstream.serve(
            asked.removeprefix(names.INDEX_URL.removesuffix("/simple/")), body.encode(), "application/json"
        )
        answer = house.fetch(asked, headers={"Cache-Control": "no-cache"})
        assert answer.body.decode() == body.replace(f'"{url}"', f'"{names.file_url(release)}"')
    assert house.fetch(names.file_url(release)).sha256 == release.sha256


def test_links_of_another_spelling(house: House) -> None:
    """Escapes, white space and duplicates: the member that counts is edited, with no other byte."""
    release = make_wheel("spelt")
    relative = f"../../{release.quoted_path}"
    body = json.dumps(
        {"info": {"url": relative}, "urls": [{"x": {"url": relative}, "url": relative.replace("/", "\\/")}]}
    )
    body = body.replace("\\\\/", "\\/").replace('"urls"', '"ur\\u006cs"')
    house.upstream.serve("/pypi/spelt/json", body.encode(), "application/json")
    found = json.loads(house.fetch(api_url("spelt")).body)
    assert found["urls"][0]["url"] == names.file_url(release)
    assert found["urls"][0]["x"] == found["info"] == {"url": relative}


# Made where no mirror has it


WHEELS: Final = (
    make_wheel("made", "1.0", requires=["leaf>=1", "extra-leaf; extra == 'more'"], requires_python=">=3.9"),
    make_wheel("made", "2.0", requires=["leaf>=2"], yanked="broken"),
    make_sdist("made", "1.0"),
)


def expected_file(release: ReleaseFile) -> dict[str, Any]:
    """A file as the default index has it in a document, as far as clients read it."""
    return {
        "filename": release.filename,
        "url": names.file_url(release),
        "digests": {"sha256": release.sha256},
        "size": release.size,
        "upload_time_iso_8601": release.upload_time,
        "yanked": release.yanked is not False,
        "yanked_reason": release.yanked or None,
        "packagetype": "bdist_wheel" if release.is_wheel else "sdist",
        "requires_python": release.requires_python or None,
        "python_version": "py3" if release.is_wheel else "source",
    }


POETRY: Final = {"Accept": "application/json", "User-Agent": "poetry/2.2.1 CPython/3.13.0 Linux/6.1"}


def made(house: House, version: str = "", project: str = "made") -> dict[str, Any]:
    answer = house.fetch(api_url(project, version), headers=POETRY)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json"), answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_a_release_is_made(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """All that poetry reads, of a mirror with relative links and nothing but `simple/`; once, and then from the store."""
    upstream = make_upstream(*WHEELS)
    house = House(upstream, make_proxy(upstream))
    found = made(house, "1.0")
    assert {
        name: found["info"][name] for name in ("name", "version", "requires_dist", "requires_python", "yanked")
    } == {
        "name": "made",
        "version": "1.0",
        "requires_dist": ["leaf>=1", "extra-leaf; extra == 'more'"],
        "requires_python": ">=3.9",
        "yanked": False,
    }
    assert isinstance(found["info"]["summary"], str)
    wanted = [expected_file(WHEELS[0]), expected_file(WHEELS[2])]
    assert [{name: file[name] for name in wanted[0]} for file in found["urls"]] == wanted
    asked = upstream.count()
    assert made(house, "1.0") == found
    again = made(house, "1.0.0")
    assert (again["urls"], again["info"]) == (found["urls"], found["info"]), "another spelling of the version"
    assert upstream.count() == asked + 1, "no more than its own document is asked for"
    assert sum(each.path.endswith(".whl") for each in upstream.requests) == 0, "its metadata is there by itself"


def test_a_project_is_made(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """With all releases, about the latest that is not yanked."""
    upstream = make_upstream(*WHEELS)
    house = House(upstream, make_proxy(upstream))
    found = made(house)
    assert (found["info"]["version"], list(found["releases"])) == ("1.0", ["1.0", "2.0"])
    assert [file["filename"] for file in found["releases"]["2.0"]] == [WHEELS[1].filename]
    assert found["releases"]["2.0"][0]["yanked_reason"] == "broken"
    assert found["urls"] == found["releases"]["1.0"]
    for url in (api_url("made", "3.0"), api_url("made", "no-version"), api_url("nobody-knows")):
        assert house.fetch(url, headers=POETRY).status == 404


@pytest.mark.parametrize("mode", ["html", "json"])
@pytest.mark.parametrize("told", [True, False])
def test_metadata_out_of_the_wheel(
    told: bool, mode: Literal["html", "json"], make_proxy: MakeProxy, make_upstream: MakeUpstream
) -> None:
    """A mirror without PEP 658, whether its page tells of it or not: a few ranges of the wheel say the same."""
    upstream = make_upstream(*WHEELS)
    upstream.mode, upstream.serves_metadata = mode, False
    upstream.style = replace(upstream.style, core_metadata=told)
    house = House(upstream, make_proxy(upstream))
    found = made(house, "1.0")
    assert found["info"]["requires_dist"] == ["leaf>=1", "extra-leaf; extra == 'more'"]
    assert [file["size"] for file in found["urls"]] == (
        [None] * 2 if mode == "html" else [WHEELS[0].size, WHEELS[2].size]
    )


def test_a_release_without_wheels(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """`requires_dist` is null, at which poetry looks into the sdist itself."""
    sdist = make_sdist("only-source", "1.0")
    upstream = make_upstream(sdist)
    house = House(upstream, make_proxy(upstream))
    found = made(house, "1.0", "only-source")
    assert (found["info"]["requires_dist"], [file["filename"] for file in found["urls"]]) == (None, [sdist.filename])


def test_metadata_that_cannot_be_had_for_now(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """Then nothing is made up: a lock would keep it."""
    upstream = make_upstream(*WHEELS)
    house = House(upstream, make_proxy(upstream))
    upstream.script(Behaviour(".whl", status=500))
    assert house.fetch(api_url("made", "1.0"), headers=POETRY).status == 502
    upstream.unscript()
    assert made(house, "1.0")["info"]["requires_dist"]


def test_a_made_document_is_as_fresh_as_its_page(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    upstream = make_upstream(WHEELS[0])
    options = {"pypi_cache_index_ttl": "1h", "pypi_cache_stale_while_revalidate": "0"}
    house = House(upstream, make_proxy(upstream, options=options))
    assert len(made(house, "1.0")["urls"]) == 1
    upstream.add(WHEELS[2])
    house.proxy.lapse()
    assert len(made(house, "1.0")["urls"]) == 2
    house.proxy.lapse()
    upstream.down()
    assert len(made(house, "1.0")["urls"]) == 2


def test_offline_a_document_is_made_of_what_is_there(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """And lists the versions that something is stored of, as pages do."""
    upstream = make_upstream(*WHEELS)
    house = House(upstream, make_proxy(upstream))
    house.page("made")
    house.fetch(names.file_url(WHEELS[0]))
    house.proxy.options["pypi_cache_offline"] = True
    house.proxy.restart()
    found = made(house, "1.0")
    assert found["info"]["requires_dist"] == ["leaf>=1", "extra-leaf; extra == 'more'"]
    assert [file["filename"] for file in found["urls"]] == [WHEELS[0].filename, WHEELS[2].filename]
    everything = made(house)
    assert {version: len(files) for version, files in everything["releases"].items()} == {"1.0": 2, "2.0": 0}


# For poetry alone


OTHERS: Final = {
    "pip-audit": "python-requests/2.32.5",
    "pip": 'pip/26.2 {"ci":null,"installer":{"name":"pip","version":"26.2"}}',
    "uv": "uv/0.13.9 {}",
    "pdm": "unearth/0.18.0",
    "pipenv": "pipenv/2026.0.3",
    "bandersnatch": "bandersnatch/6.6.0 (cpython 3.13.0-final0, Linux x86_64)",
    "a name that ends in it": "not-poetry/2.0",
    "a word without a version": "poetry",
    "in a comment": "audit/1.0 (poetry/2.0)",
    "empty": "",
}
FOR_POETRY: Final = {
    "today's": POETRY["User-Agent"],
    "poetry 1": "poetry/1.8.5 CPython/3.9.18 Linux/6.1",
    "behind another": "python-requests/2.32.5 poetry/2.2.1",
}


def test_a_made_document_is_for_poetry_alone(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """pip-audit said "no known vulnerabilities" of a document that knew of none: it gets the mirror's 404, and skips the package.

    Both answers are kept beside each other: through a restart, with the mirror dead, and offline.
    """
    upstream = make_upstream(*WHEELS)
    house = House(upstream, make_proxy(upstream))
    urls = [api_url("made", "1.0"), api_url("made")]

    def check(status: int = 404) -> None:
        for url in urls:
            for agent in OTHERS.values():
                for method in ("GET", "HEAD"):
                    answer = house.fetch(url, method=method, headers={"User-Agent": agent})
                    assert (answer.status, answer.headers["Vary"] or "") == (
                        status,
                        "User-Agent" if status == 404 else "",
                    )
            for agent in FOR_POETRY.values():
                answer = house.fetch(url, headers={**POETRY, "User-Agent": agent})
                assert (answer.status, answer.headers["Vary"]) == (200, "Accept, Accept-Encoding, User-Agent"), agent
                assert "vulnerabilities" not in json.loads(answer.body), "it says no more than is known"
                head = house.fetch(url, method="HEAD", headers={**POETRY, "User-Agent": agent})
                same = {**POETRY, "User-Agent": agent, "If-None-Match": str(answer.headers["ETag"])}
                unchanged = house.fetch(url, headers=same)
                for other, expected in ((head, 200), (unchanged, 304)):
                    assert (other.status, other.body) == (expected, b"")
                    assert other.headers["Vary"] == answer.headers["Vary"]

    check()
    house.proxy.restart()
    check()
    upstream.down()
    check()  # the mirror's 404 is remembered, and poetry's document is fresh
    house.proxy.options["pypi_cache_offline"] = True
    house.proxy.restart()
    check()
    for agent in (*OTHERS.values(), *FOR_POETRY.values()):  # at the proxy's own address there is no such API
        assert house.fetch("/pypi/pypi/made/1.0/json", headers={"User-Agent": agent}).status == 404


def test_a_made_document_where_no_upstream_answers(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """poetry's is made of what is stored; nobody else is told that there is none, for who knows."""
    upstream = make_upstream(*WHEELS)
    house = House(upstream, make_proxy(upstream))
    house.page("made")
    house.fetch(names.file_url(WHEELS[0], ".metadata"))
    upstream.down()
    for agent in OTHERS.values():
        assert house.fetch(api_url("made", "1.0"), headers={"User-Agent": agent}).status == 503
    assert len(made(house, "1.0")["urls"]) == 2
    house.proxy.options["pypi_cache_offline"] = True
    house.proxy.restart()
    for agent in OTHERS.values():
        assert house.fetch(api_url("made", "1.0"), headers={"User-Agent": agent}).status == 504
    assert len(made(house, "1.0")["urls"]) == 2


def test_the_mirrors_own_document_is_everybodys(house: House) -> None:
    """With what it says of vulnerabilities; also where poetry had a made one before."""
    release = make_wheel("audited")
    house.upstream.add(release)
    assert house.fetch(api_url("audited", "1.0"), headers=POETRY).status == 200
    said = publish(house, release, vulnerable=True)
    for agent in (*OTHERS.values(), *FOR_POETRY.values()):
        answer = house.fetch(api_url("audited", "1.0"), headers={"User-Agent": agent, "Cache-Control": "no-cache"})
        assert (answer.status, answer.body, answer.headers["Vary"]) == (200, said, "Accept, Accept-Encoding")


@pytest.mark.parametrize("api", [True, False])
def test_the_cooldown_hides_files_in_documents(api: bool, make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """In the mirror's and in those that are made; what `info` says stays."""
    now = datetime.now(UTC)
    old = make_wheel("aged", "1.0", upload_time=(now - timedelta(days=30)).isoformat())
    new = make_sdist("aged", "1.0", upload_time=(now - timedelta(hours=1)).isoformat())
    upstream = make_upstream(old, new)
    house = House(upstream, make_proxy(upstream, options={"pypi_cache_cooldown": "7d"}))
    if api:
        said = json.loads(document(old))
        file = said["urls"][0]
        said["urls"] = [
            {**file, "filename": each.filename, "url": names.file_url(each), "upload_time_iso_8601": each.upload_time}
            for each in (old, new)
        ]
        said["releases"] = {"1.0": said["urls"], "0.9": said["urls"][1:]}
        upstream.serve("/pypi/aged/json", json.dumps(said).encode(), "application/json")
    found = made(house, "", "aged")
    assert [each["filename"] for each in found["urls"]] == [old.filename]
    assert [[each["filename"] for each in files] for files in found["releases"].values()][:1] == [[old.filename]]
    assert found["info"]["version"] == "1.0"


def test_a_large_page_in_the_process_of_its_own(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """A page of over 128 KiB is worked on there: the page, a release out of it, the project, and what is left of it."""
    releases = [make_wheel("vast", f"1.{number}") for number in range(400)]
    upstream = make_upstream(*releases)
    house = House(upstream, make_proxy(upstream))
    page = house.page("vast")
    assert len(page.body) > 128 * 1024
    assert [file["url"] for file in json.loads(page.body)["files"]] == [names.file_url(each) for each in releases]
    assert made(house, "1.7", "vast")["urls"][0]["filename"] == releases[7].filename
    assert len(made(house, "", "vast")["releases"]) == 400
    tasks = Path(f"/proc/{house.proxy.pid}/task")
    children = [child for path in tasks.glob("*/children") for child in path.read_text().split()]
    assert children, "there is such a process"
    house.proxy.options["pypi_cache_offline"] = True
    house.proxy.restart()
    assert not any(Path("/proc", child).exists() for child in children), "it ends with the proxy"
    left = [file["filename"] for file in json.loads(house.page("vast").body)["files"]]
    assert left == [releases[7].filename, releases[399].filename], "of these the metadata was read"
