"""What stored pages say of one file: by its own index alone, of the page that is stored now, whatever memory has room for."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from pkgcache.engine.pages.stored_page import PageRequest
from pkgcache.engine.store import watch
from pkgcache.engine.store.entries import Entries
from pkgcache.rules.routing.routes import ReleaseFile as FileRoute
from pkgcache.rules.routing.urls import parse_url
from tests.engine.pages.mirrors import FIRST, Mirrors, Parts, Said, parts
from tests.support.index import JSON_TYPE, project_json
from tests.support.wheels import ReleaseFile, make_sdist, make_wheel

WHEEL, SDIST, OTHER = make_wheel("two-words"), make_sdist("two-words"), make_wheel("two-words", "2.0")


def mirrors(*releases: ReleaseFile) -> Mirrors:
    body = project_json("two-words", releases, f"{FIRST}/simple/two-words/")
    return Mirrors(first=Said(body=body, headers={"Content-Type": JSON_TYPE}))


def route(at: Parts, release: ReleaseFile, suffix: str = "") -> FileRoute:
    return FileRoute(
        index=at.index,
        identity=parse_url(f"{FIRST}/{release.quoted_path}{suffix}"),
        filename=release.filename,
        suffix=suffix,
        release=None,
        sources=(),
    )


def page_request(at: Parts) -> PageRequest:
    return at.page_request("two-words")


@pytest.mark.parametrize("memory", [1 << 20, 0], ids=["in memory", "no room"])
@pytest.mark.parametrize(("release", "suffix"), [(WHEEL, ""), (WHEEL, ".metadata"), (SDIST, "")])
async def test_what_the_page_says(
    release: ReleaseFile, suffix: str, memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "HOT_SECONDS", 3600.0)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 3600.0)
    async with parts(tmp_path, mirrors(WHEEL, SDIST), memory=memory) as at:
        await at.store.watch.look()
        assert await at.known_files.facts_of(route(at, release, suffix)) is None
        await at.fetcher.fetch(page_request(at), None)
        facts = await at.known_files.facts_of(route(at, release, suffix))
        assert facts is not None
        assert (facts.filename, facts.hashes["sha256"]) == (release.filename, release.sha256)
        assert (at.known_files.facts_in_memory(route(at, release, suffix)) is not None) == bool(memory)
        assert len(at.mirrors.asked) == 1, "nothing is fetched for it"


async def test_it_is_not_known_to_another_index_or_client(tmp_path: Path) -> None:
    """Another index may have a different file of that name, and a private page is for its own clients."""
    async with parts(tmp_path, mirrors(WHEEL)) as at:
        await at.fetcher.fetch(page_request(at), None)
        mine = route(at, WHEEL)
        for other in (replace(mine, space="somebody"), replace(mine, index=replace(at.index, name="other"))):
            assert await at.known_files.facts_of(other) is None
            assert at.known_files.facts_in_memory(other) is None


async def test_a_renewed_page_replaces_what_was_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by another process: once a look has seen that the page's entry changed, the table is compared with the stored page."""
    monkeypatch.setattr(watch, "HOT_SECONDS", 3600.0)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 3600.0)
    async with parts(tmp_path, mirrors(WHEEL)) as at, parts(tmp_path / "b", mirrors(WHEEL, OTHER)) as sibling:
        await at.fetcher.fetch(page_request(at), None)
        await sibling.fetcher.fetch(page_request(sibling), None)
        newer = await sibling.store.read(page_request(at).key)
        assert newer is not None
        await at.store.flush_pending()
        await at.store.watch.look()
        assert await at.known_files.facts_of(route(at, WHEEL)) is not None
        with contextlib.closing(Entries(tmp_path, max_size=1 << 30, min_free=0)) as other:
            other.open()
            other.put(page_request(at).key, newer[1], newer[0])
        assert at.known_files.facts_in_memory(route(at, WHEEL)) is not None
        assert await at.known_files.facts_of(route(at, OTHER)) is None
        await at.store.watch.look()
        assert at.known_files.facts_in_memory(route(at, WHEEL)) is None
        assert await at.known_files.facts_of(route(at, OTHER)) is not None


async def test_a_page_that_is_gone_leaves_what_was_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "HOT_SECONDS", -1.0)
    async with parts(tmp_path, mirrors(WHEEL)) as at:
        await at.fetcher.fetch(page_request(at), None)
        await at.store.drop(page_request(at).key)
        assert await at.known_files.facts_of(route(at, WHEEL)) is not None


async def test_a_table_of_one_version(tmp_path: Path) -> None:
    async with parts(tmp_path, mirrors(WHEEL)) as at:
        page = await at.fetcher.fetch(page_request(at), None)
        table = await at.known_files.table(page_request(at), page.notes.source_digest)
        assert table is not None
        assert [facts.filename for _, facts in table.items()] == [WHEEL.filename]
