"""A page's variants: made once, kept in memory and in the store, never served for another version of the page."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pkgcache.engine.pages.stored_page import PageGoneError, StoredPage, find_page
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.notes import VariantNotes
from pkgcache.rules.simple.page_model import BrokenPage, Kind
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


@pytest.mark.parametrize("where", ["nowhere", "in the store"])
@pytest.mark.parametrize("leaving", [0, 1, 11])
async def test_many_clients_have_it_made_once(
    where: str, leaving: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve clients that asked for a page of 6 MB in JSON had its HTML converted twelve times, and the last one waited for 50 s.

    The first of them, which begins it, may leave.
    """
    async with parts(tmp_path, mirrors()) as at:
        page = await stored(at)
        if where == "in the store":
            await at.variants.variant(at.page_request(), page, "html")
            at.variants._variants.clear()
        made, read, going = [], [], asyncio.Event()
        transform, read_store = at.variants.transform, at.store.read

        async def counted(*args: Any, **more: Any) -> Any:
            made.append(args)
            return await transform(*args, **more)

        async def counted_read(key: StoreKey) -> Any:
            read.append(key)
            await going.wait()
            return await read_store(key)

        monkeypatch.setattr(at.variants, "transform", counted)
        monkeypatch.setattr(at.store, "read", counted_read)
        clients = [asyncio.create_task(at.variants.variant(at.page_request(), page, "html")) for _ in range(12)]
        await asyncio.sleep(0.01)
        for client in clients[:leaving]:
            client.cancel()
        going.set()
        found = await asyncio.gather(*clients, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in found[:leaving])
        assert all(each is found[-1] for each in found[leaving:])
        assert len(made) == (where == "nowhere")
        assert len(read) == len(set(read)), "nothing is read twice"


@pytest.mark.parametrize("wrong", [BrokenPage("odd"), PageGoneError("gone"), OSError("the disk")], ids=str)
async def test_what_is_wrong_reaches_all_who_wait(
    wrong: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the next one tries anew. What may happen with any page is not logged as a failure of the proxy's."""
    async with parts(tmp_path, mirrors()) as at:
        page = await stored(at)

        async def fail(*_: Any, **__: Any) -> Any:
            await asyncio.sleep(0)
            raise wrong

        with monkeypatch.context() as patched:
            patched.setattr(at.variants, "transform", fail)
            clients = [at.variants.variant(at.page_request(), page, "html") for _ in range(3)]
            assert await asyncio.gather(*clients, return_exceptions=True) == [wrong] * 3
        await asyncio.sleep(0)
        assert ("variant of six failed" in caplog.text) == isinstance(wrong, OSError)
        assert (await at.variants.variant(at.page_request(), page, "html")).kind == "html"


async def test_other_variants_are_made_beside_it(tmp_path: Path) -> None:
    """Of another kind, or of another version of the page."""
    upstream = mirrors()
    async with parts(tmp_path, upstream) as at:
        old = await stored(at)
        upstream.says[FIRST].body = NEWER
        old_request, new = at.page_request(), await stored(at)
        found = await asyncio.gather(
            at.variants.variant(old_request, new, "json"),
            at.variants.variant(old_request, new, "html"),
            at.variants.variant(old_request, old, "html"),
            return_exceptions=True,
        )
        assert [each.kind for each in found if not isinstance(each, BaseException)] == ["json", "html"]
        assert isinstance(found[2], PageGoneError), "never the newer one in its place"


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
