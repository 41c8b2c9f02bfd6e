"""A page's variants: made once, kept in memory and in the store, never served for another version of the page."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pkgcache.engine.pages.stored_page import PageGoneError, StoredPage, find_page
from pkgcache.engine.store.notes import VariantNotes
from pkgcache.rules.simple.page_model import Kind
from tests.engine.pages.mirrors import FIRST, Mirrors, Parts, Said, parts
from tests.support.index import JSON_TYPE, LinkForm, PageStyle, project_json
from tests.support.wheels import make_wheel

SIX = make_wheel("six")
PAGE = project_json("six", [SIX], f"{FIRST}/simple/six/")
NEWER = project_json("six", [SIX, make_wheel("six", "2.0")], f"{FIRST}/simple/six/")


def mirrors(body: bytes = PAGE) -> Mirrors:
    return Mirrors(first=Said(body=body, headers={"Content-Type": JSON_TYPE}))


async def stored(at: Parts) -> StoredPage:
    await at.fetcher.fetch(at.page_request(), None)
    page = await find_page(at.store, at.page_request().key)
    assert page is not None
    return page


@pytest.mark.parametrize("kind", ["json", "html"])
async def test_it_is_made_once(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it comes from memory, and from the store for whoever has it not in memory."""
    async with parts(tmp_path, mirrors()) as at:
        page = await stored(at)
        first = await at.variants.variant(at.page_request(), page, kind)
        assert gzip.decompress(first.gzipped) == first.plain
        monkeypatch.setattr(at.variants, "transform", forbidden)
        assert at.variants.in_memory(at.page_request(), page, kind) is first
        at.variants._variants.clear()
        assert await at.variants.variant(at.page_request(), page, kind) == first


async def forbidden(*_: Any, **__: Any) -> Any:
    raise AssertionError("it is made anew")


async def test_another_version_of_the_page_has_variants_of_its_own(tmp_path: Path) -> None:
    upstream = mirrors()
    async with parts(tmp_path, upstream) as at:
        old = await stored(at)
        before = await at.variants.variant(at.page_request(), old, "json")
        upstream.says[FIRST].body = NEWER
        new = await stored(at)
        assert new.notes.source_digest != old.notes.source_digest
        after = await at.variants.variant(at.page_request(), new, "json")
        assert len(json.loads(before.plain)["files"]) + 1 == len(json.loads(after.plain)["files"])
        at.variants._variants.clear()
        with pytest.raises(PageGoneError):  # the old page is not there any more
            await at.variants.variant(at.page_request(), old, "html")


DAMAGE = {
    "its bytes": lambda value, notes: (value[:9] + bytes([value[9] ^ 1]) + value[10:], notes),
    "its gzipped bytes": lambda value, notes: (value[:-9] + bytes([value[-9] ^ 1]) + value[-8:], notes),
    "its notes": lambda value, notes: (value, {**notes, "plain": "many"}),
    "no notes": lambda value, notes: (value, {}),
}


@pytest.mark.parametrize("what", DAMAGE)
async def test_a_damaged_variant_is_made_anew(what: str, tmp_path: Path) -> None:
    async with parts(tmp_path, mirrors()) as at:
        page = await stored(at)
        good = await at.variants.variant(at.page_request(), page, "json")
        await at.store.flush_pending()
        key = at.page_request().variant_key(page.notes, "json")
        found = await at.store.read(key)
        assert found is not None
        notes = VariantNotes.from_json(found[0]).to_json()
        await at.store.put(key, *DAMAGE[what](found[1], notes))
        await at.store.flush_pending()
        at.variants._variants.clear()
        assert await at.variants.variant(at.page_request(), page, "json") == good
        await at.store.flush_pending()
        healed = await at.store.read(key)
        assert healed is not None
        assert (healed[1], VariantNotes.from_json(healed[0]).to_json()) == (found[1], notes)


@pytest.mark.parametrize("what", ["its body", "its notes", "gone"])
async def test_a_damaged_page_is_gone(what: str, tmp_path: Path) -> None:
    async with parts(tmp_path, mirrors()) as at:
        page = await stored(at)
        if what == "its body":
            await at.store.put(page.key, b"no gzip", page.notes.to_json())
        elif what == "its notes":
            await at.store.put(page.key, b"-", {"status": "fine"})
        else:
            await at.store.drop(page.key)
        await at.store.flush_pending()
        with pytest.raises(PageGoneError):
            async with at.variants.plain(page):
                pass
        await at.store.flush_pending()
        assert await find_page(at.store, page.key) is None


@pytest.mark.parametrize(("memory", "remembered"), [(1 << 20, True), (100, False)])
async def test_memory_is_bounded(memory: int, remembered: bool, tmp_path: Path) -> None:
    async with parts(tmp_path, mirrors(), memory=memory) as at:
        page = await stored(at)
        assert (at.variants.in_memory(at.page_request(), page, "json") is not None) == remembered
        assert (await at.variants.variant(at.page_request(), page, "json")).plain


async def test_hosts_are_learned_from_links(tmp_path: Path) -> None:
    """Those that are opened already are not learned, and a JSON page's table comes with them."""
    page = project_json(
        "six", [SIX], f"{FIRST}/simple/six/", PageStyle(form=LinkForm.CANONICAL, files_origin="https://files.test:8443")
    )
    async with parts(tmp_path, mirrors(page)) as at:
        await stored(at)
        assert dict(at.hosts) == {("files.test", 8443): ("corp",)}
    async with parts(tmp_path / "b", mirrors(page), opened_hosts=frozenset({("files.test", 8443)})) as at:
        await stored(at)
        assert not dict(at.hosts)
