"""Versions that advisories name, as clients see it: refused or marked as yanked, on pages and when asked for directly.

Which versions a record is about is tabled in tests/rules/policy/test_osv.py, how records are read in tests/engine/advisories.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pkgcache.cli.app import run
from tests.support import clients, names
from tests.support.authority import Authority
from tests.support.clients import PIP_ENV, PIP_INDEX, UV_ENV, Way, installed
from tests.support.factories import MakeProxy
from tests.support.house import ACCEPTS, House, links_of, open_house, slug, tidied, versions_on
from tests.support.index import PageStyle
from tests.support.proxy import refused
from tests.support.waiting import eventually
from tests.support.wheels import ReleaseFile, make_sdist, make_wheel

MAL: Final = "MAL-2026-0001"
CVE: Final = "GHSA-aaaa-bbbb-cccc"
EVER: Final = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]


def osv(shown: str, project: str, *, aliases: tuple[str, ...] = (), **affected: Any) -> dict[str, Any]:
    """A record about one project."""
    package = {"ecosystem": "PyPI", "name": project}
    return {"id": shown, "aliases": list(aliases), "affected": [{"package": package, **affected}]}


WAYS: Final = (PIP_ENV, UV_ENV, PIP_INDEX)
PROJECTS: Final = [
    *[f"page-{kind}-{where}" for kind in ACCEPTS for where in ("index", "own", "mirror")],
    *[f"leaf-{slug(way)}" for way in WAYS],
    *["direct", "locked", "document", "html-only", "acme-core", "pinned", "marked"],
]
"""Of each of these, version 2.0 is malicious, and 1.5 vulnerable."""

RECORDS: Final = [
    *[osv(MAL, project, versions=["2.0"]) for project in PROJECTS],
    *[osv(CVE, project, ranges=[{"type": "ECOSYSTEM", "events": [{"introduced": "1.1"}, {"fixed": "2.0"}]}]) for project in PROJECTS],
    osv(MAL, "all.of_it", ranges=EVER),
    osv("GHSA-alias", "by-alias", aliases=(MAL,), versions=["2"]),
    {**osv(MAL, "withdrawn", ranges=EVER), "withdrawn": "2026-01-01T00:00:00Z"},
    {"id": MAL, "affected": [{"package": {"ecosystem": "npm", "name": "another"}, "ranges": EVER}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def advised_house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("advised")
    records = folder / "osv" / "2026"
    records.mkdir(parents=True)
    for number, each in enumerate(RECORDS):
        (records / f"{number}.json").write_text(json.dumps(each))
    (records / "broken.json").write_text("{")
    options = {"pypi_cache_advisories": str(folder / "osv"), "pypi_cache_private": ["acme-*=corp"]}
    with open_house(ca, folder, options=options, more_indexes=["corp=/corp/simple/"]) as house:
        yield house


@pytest.fixture
def advised(advised_house: House) -> Iterator[House]:
    with tidied(advised_house) as house:
        yield house


def three(project: str) -> tuple[ReleaseFile, ReleaseFile, ReleaseFile]:
    """Versions 1.0, 1.5 and 2.0."""
    return make_wheel(project, "1.0"), make_wheel(project, "1.5"), make_wheel(project, "2.0")


def yanked_on(body: bytes, kind: str) -> dict[str, str]:
    """The reasons on a page, by file name."""
    if kind == "json":
        return {file["filename"]: file["yanked"] for file in json.loads(body)["files"] if file.get("yanked")}
    lines = [line for line in body.decode().splitlines() if "data-yanked" in line]
    return {
        line.partition("</a>")[0].rpartition(">")[2]: line.partition('data-yanked="')[2].partition('"')[0]
        for line in lines
    }


@pytest.mark.parametrize("kind", ACCEPTS)
@pytest.mark.parametrize("where", ["index", "own", "mirror"])
def test_a_page(kind: str, where: str, advised: House) -> None:
    """PEP 503, 691 and 592: the malicious version is not there, the vulnerable one is yanked, all else is as it was."""
    project = f"page-{kind}-{where}"
    good, vulnerable, _ = files = three(project)
    advised.upstream.add(*files, make_sdist(project, "2.0"))
    url = {
        "index": names.page_url(project),
        "own": f"/pypi/simple/{project}/",
        "mirror": advised.upstream.page_url(project),
    }[where]
    for coding in ("identity", "gzip"):
        page = advised.fetch(url, headers={"Accept": ACCEPTS[kind], "Accept-Encoding": coding})
        assert page.status == 200
        assert page.headers["Last-Modified"] is None
        if coding == "identity":
            found = [link.partition("#")[0].rpartition("/")[2] for link in links_of(page, url)]
            assert found == [good.filename, vulnerable.filename]
            assert yanked_on(page.body, kind) == {vulnerable.filename: CVE}
            assert kind != "json" or json.loads(page.body)["versions"] == ["1.0", "1.5"]
    again = advised.fetch(url, headers={"Accept": ACCEPTS[kind], "If-None-Match": str(page.headers["ETag"])})
    assert again.status == 304


@pytest.mark.parametrize("project", ["another", "withdrawn", "unnamed"])
def test_a_page_that_no_advisory_is_about(project: str, advised: House) -> None:
    """Byte for byte as the upstream has it, with its own date."""
    advised.upstream.style = PageStyle(files_origin=names.FILES_ORIGIN)
    advised.upstream.add(*three(project))
    page = advised.page(project)
    assert versions_on(page) == {"1.0", "1.5", "2.0"}
    assert page.headers["Last-Modified"] is not None
    assert yanked_on(page.body, "json") == {}


def test_an_html_only_upstream(advised: House) -> None:
    advised.upstream.mode = "html"
    advised.upstream.add(*(files := three("html-only")))
    for kind in ACCEPTS:
        page = advised.page("html-only", kind)
        assert versions_on(page) == {"1.0", "1.5"}
        assert yanked_on(page.body, kind) == {files[1].filename: CVE}


def test_direct_requests(advised: House) -> None:
    """What a lock file asks for: the file, its metadata and ranges of it, at each address. Nobody upstream is asked."""
    good, vulnerable, bad = three("direct")
    sdist = make_sdist("direct", "2.0")
    advised.upstream.add(good, vulnerable, bad, sdist)
    urls = [
        *[names.file_url(bad, suffix) for suffix in ("", ".metadata", ".asc")],
        *[advised.upstream.file_url(bad), f"/pypi/{bad.quoted_path}", f"/pypi/{bad.quoted_path}.metadata"],
        *[
            names.file_url(sdist),
            names.file_url(bad).replace("direct-2.0", "Direct-2.0.0"),
            names.file_url(bad).replace("-2.0-", "-2.0-7-"),
        ],
    ]
    for url in urls:
        for method, headers in (
            ("GET", {}),
            ("HEAD", {}),
            ("GET", {"Range": "bytes=0-9"}),
            ("GET", {"Range": "bytes=-9"}),
        ):
            answer = advised.fetch(url, method=method, headers=headers)
            assert answer.status == 403, (method, url)
            assert answer.headers["Cache-Control"] == "no-store"
            assert method == "HEAD" or f"refused by advisory {MAL}" in answer.body.decode()
    assert advised.upstream.count() == 0
    for each in (good, vulnerable):
        assert advised.fetch(names.file_url(each)).sha256 == each.sha256
    lines = eventually(
        lambda: [each for each in advised.proxy.access_log() if "/direct-2.0" in each["url"].lower()],
        lambda found: len(found) == len(urls) * 4,
    )
    assert all(f'detail="advisory {MAL}"' in line["cache"] for line in lines)
    assert f"{bad.filename} is refused by advisory {MAL}" in advised.proxy.output


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_resolver_chooses_an_older_version(way: Way, advised: House, home: Path, tmp_path: Path) -> None:
    """Of the three neither the malicious one nor, while there is another, the one that is yanked."""
    project = f"leaf-{slug(way)}"
    stem = make_wheel(f"stem-{slug(way)}", requires=[project])
    *_, bad = files = three(project)
    advised.upstream.add(*files, stem)
    way.install(advised.proxy, home, [stem.project], tmp_path / "target").ok()
    assert installed(tmp_path / "target") == {project: "1.0", stem.project: "1.0"}
    way.install(advised.proxy, home, [f"{project}==2.0"], tmp_path / "none").failed()
    way.install(advised.proxy, home, [f"{project}==1.5"], tmp_path / "pinned").ok()  # PEP 592
    assert installed(tmp_path / "pinned") == {project: "1.5"}
    assert advised.upstream.count(path_contains=bad.filename) == 0


LOCK: Final = """version = 1
requires-python = ">=3.12"

[[package]]
name = "project"
version = "0"
source = {{ virtual = "." }}
dependencies = [{{ name = "locked" }}]

[[package]]
name = "locked"
version = "{version}"
source = {{ registry = "{index}" }}
wheels = [{{ url = "{url}", hash = "sha256:{sha256}" }}]
"""


def test_a_lock_file(advised: House, home: Path) -> None:
    """Made before the advisory was: uv asks for the locked URL itself. The locked vulnerable version installs as before."""
    _, vulnerable, bad = files = three("locked")
    advised.upstream.add(*files)
    project = home / "project"
    project.mkdir(parents=True)
    text = '[project]\nname = "project"\nversion = "0"\nrequires-python = ">=3.12"\ndependencies = ["locked"]\n'
    (project / "pyproject.toml").write_text(text)
    for each, works in ((bad, False), (vulnerable, True)):
        index, url = names.INDEX_URL.rstrip("/"), names.file_url(each)
        (project / "uv.lock").write_text(LOCK.format(version=each.version, index=index, url=url, sha256=each.sha256))
        words = ("sync", "--frozen", "--no-install-project", "--python", sys.executable)
        result = clients.uv(home, *words, env=UV_ENV.env(advised.proxy), cwd=project)
        assert (result.returncode == 0) is works, result
        assert works or "403" in result.stderr
    requirement = [f"locked @ {names.file_url(bad)}#sha256={bad.sha256}"]
    clients.pip_install(home, requirement, home / "target", env=PIP_ENV.env(advised.proxy)).failed()


def test_documents_of_the_json_api(advised: House) -> None:
    """A malicious version's own is refused; in that of the project its files are missing. poetry reads `info.yanked`."""
    good, vulnerable, bad = three("document")

    def document(files: list[ReleaseFile], version: str) -> bytes:
        entries = {
            each.version: [{"filename": each.filename, "url": names.file_url(each), "yanked": False}] for each in files
        }
        return json.dumps(
            {"info": {"version": version, "yanked": False}, "releases": entries, "urls": entries[version]}
        ).encode()

    all_three = [good, vulnerable, bad]
    more = {"content_type": "application/json"}
    advised.upstream.serve("/pypi/document/json", document(all_three, "2.0"), **more)
    for each in all_three:
        advised.upstream.serve(f"/pypi/document/{each.version}/json", document([each], each.version), **more)
    api = names.INDEX_URL.replace("/simple/", "/pypi/document")
    whole = json.loads(advised.fetch(f"{api}/json").body)
    assert whole["urls"] == []
    assert [version for version, files in whole["releases"].items() if files] == ["1.0", "1.5"]
    assert whole["releases"]["1.5"][0]["yanked_reason"] == CVE
    for version in ("2.0", "2", "2.0.0", "v2.0"):
        answer = advised.fetch(f"{api}/{version}/json")
        assert answer.status == 403, version
        assert MAL in answer.body.decode()
    yanked = json.loads(advised.fetch(f"{api}/1.5/json").body)
    assert yanked["info"] == {"version": "1.5", "yanked": True, "yanked_reason": CVE}
    assert yanked["urls"][0]["yanked"] is True
    assert json.loads(advised.fetch(f"{api}/1.0/json").body)["info"] == {"version": "1.0", "yanked": False}


@pytest.mark.parametrize("spelt", ["all-of-it", "All.Of_It"])
def test_a_project_of_which_every_version_is_malicious(spelt: str, advised: House) -> None:
    """Its page is refused too, so that the client hears why, and nothing is fetched. Another project of that beginning is not."""
    bad, other = make_wheel("all-of-it", "7"), make_wheel("all", "1.0")
    advised.upstream.add(bad, other)
    for url in (names.page_url(spelt), f"/pypi/simple/{spelt}/", names.file_url(bad)):
        answer = advised.fetch(url)
        assert answer.status == 403
        assert MAL in answer.body.decode()
    assert advised.upstream.count() == 0
    assert versions_on(advised.page("all")) == {"1.0"}


def test_why_names_what_is_marked_as_yanked(advised: House) -> None:
    """uv took an older version, and neither it nor the proxy said why."""
    files = three("marked")
    advised.upstream.add(*files)
    said = advised.fetch("/why/marked").body.decode()
    line = f"{files[1].filename} is marked as yanked by advisory {CVE} (pypi_cache_advisories_yank)"
    assert f"\n  {line}\n" in said
    assert f"pypi: {line}\n" in advised.fetch(f"/why/{files[1].filename}").body.decode()


def test_malicious_by_an_alias(advised: House) -> None:
    bad = make_wheel("by-alias", "2.0")
    advised.upstream.add(bad, make_wheel("by-alias", "1.0"))
    assert versions_on(advised.page("by-alias")) == {"1.0"}
    assert "GHSA-alias" in advised.fetch(names.file_url(bad)).body.decode()


def test_a_private_name_is_another_project(advised: House) -> None:
    """What somebody has uploaded to the public index under a company's name is not the company's own."""
    files = three("acme-core")
    advised.upstream.add(*files)
    page = advised.fetch(f"{advised.upstream.origin}/corp/simple/acme-core/", headers={"Accept": ACCEPTS["json"]})
    assert versions_on(page) == {"1.0", "1.5", "2.0"}
    assert yanked_on(page.body, "json") == {}


def test_what_is_told_of_them(advised: House) -> None:
    health = json.loads(advised.fetch("/healthz").body)
    assert health["status"] == "trouble"
    assert [line for line in health["trouble"].values() if "cannot be read: 1, the first is " in line]
    told = health["advisories"]
    assert 0 <= told.pop("age_seconds") < 3600
    assert told == {"records": 3, "malicious": 2, "projects": len(PROJECTS) + 2, "unreadable": 1}
    assert json.loads(advised.fetch("/stats").body)["advisories"]["records"] == 3
    metrics = advised.fetch("/metrics").body.decode()
    assert "\npypi_cache_advisories 3.0\n" in metrics
    assert "\npypi_cache_advisories_age_seconds " in metrics
    assert '\npypi_cache_refusals_total{reason="advisory"} ' in metrics


def test_offline_and_after_a_restart(advised: House, capsys: pytest.CaptureFixture[str]) -> None:
    """The versions that are stored, but for the malicious one, which came before its advisory: `audit` says who has it."""
    proxy = advised.proxy
    source = Path(str(proxy.options["pypi_cache_advisories"]))
    *_, bad = files = three("came-before")
    advised.upstream.add(*files)
    advised.page("came-before")
    for each in files:
        assert advised.fetch(names.file_url(each)).sha256 == each.sha256
    (source / "new.json").write_text(json.dumps(osv(MAL, "came_before", versions=["2.0"])))
    proxy.options["pypi_cache_offline"] = "true"
    try:
        proxy.restart()
        assert versions_on(advised.page("came-before")) == {"1.0", "1.5"}
        assert advised.fetch(names.file_url(bad)).status == 403
        words = ["--set", f"pypi_cache_advisories={source}", "--set", f"pypi_cache_access_log={proxy.access_log_path}"]
        assert run(["audit", "--dir", str(proxy.store), *words, "came-before"]) == 1
        first, who = capsys.readouterr().out.splitlines()
        assert first.startswith(f"{bad.filename}  malicious  {MAL}  ")
        assert who.startswith("    127.0.0.1  1 time, last ")
    finally:
        del proxy.options["pypi_cache_offline"]
        proxy.restart()


def test_a_path_that_is_not_there_refuses_to_start(make_proxy: MakeProxy, tmp_path: Path) -> None:
    """A rule that is not understood must not be a rule that is not there."""
    missing = str(tmp_path / "nowhere.zip")
    line = refused(make_proxy(start=False, options={"pypi_cache_advisories": missing}))
    assert "pypi_cache_advisories" in line
    assert missing in line
