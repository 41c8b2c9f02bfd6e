"""One refresh a page: who comes while it runs joins it, and who comes just after it has ended takes what it brought.

Of two pips that install the same at once, 11 of 210 pages were fetched twice: each had looked into the store before the other's refresh
had stored the page, and asked to join that refresh after it had ended.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.caching import Collaborators
from pkgcache.engine.pages import project_pages
from pkgcache.engine.pages.filtering import VariantFilter
from pkgcache.engine.pages.project_pages import Pages
from pkgcache.engine.pages.refresher import RECENT_SECONDS, PageRefresher
from pkgcache.engine.pages.stored_page import PageRequest, StoredPage, find_page
from pkgcache.engine.responses.messages import Request
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.errors import AllFailedError, Failure
from pkgcache.engine.upstream.places import ASKER, Asker, Kind
from pkgcache.rules.http.freshness import Policy
from pkgcache.rules.policy.admission import Admission
from pkgcache.rules.routing.routes import ProjectPage
from pkgcache.rules.simple.representations import Representation
from pkgcache.settings import make_settings
from tests.engine.pages.mirrors import FIRST, SECOND, Mirrors, Parts, Said, parts
from tests.support.index import JSON_TYPE, project_json
from tests.support.wheels import make_wheel

PAGE = project_json("six", [make_wheel("six")], f"{FIRST}/simple/six/")
PAGE_SAID = Said(body=PAGE, headers={"Content-Type": JSON_TYPE, "ETag": '"1"'})
ANSWERS = {"a page": Mirrors(first=PAGE_SAID), "a 404": Mirrors(first=Said(status=404), second=Said(status=404))}


@dataclass
class Scene:
    """The parts, and a refresher and Pages on them."""

    at: Parts
    refresher: PageRefresher
    pages: Pages

    @property
    def asked(self) -> int:
        """Requests for the page to the first upstream."""
        return self.at.mirrors.origins.count(FIRST)

    async def seen(self) -> StoredPage | None:
        return await find_page(self.at.store, self.at.page_request().key)


@asynccontextmanager
async def scene(folder: Path, mirrors: Mirrors) -> AsyncIterator[Scene]:
    mirrors.asked.clear()
    tasks = Tasks()
    async with parts(folder, mirrors) as at:
        client: Any = mirrors
        shared = Collaborators(
            store=at.store,
            client=client,
            metrics=Metrics(),
            tasks=tasks,
            policy=Policy(),
            settings=make_settings({"pypi_cache_dir": str(folder)}),
        )
        nothing: Any = None
        variant_filter = VariantFilter(at.variants, at.known_files, at.store, Admission(), offline=False)
        pages = Pages(shared, at.fetcher, at.variants, variant_filter, nothing)
        yield Scene(at, PageRefresher(shared, at.fetcher, nothing, lambda _: None), pages)
        await tasks.close()


@pytest.mark.parametrize("what", ANSWERS)
async def test_who_looked_before_it_ended(what: str, tmp_path: Path) -> None:
    async with scene(tmp_path, ANSWERS[what]) as on:
        page_request = on.at.page_request()
        looked = await on.seen()
        first = await on.refresher.refresh(page_request, looked).wait()
        late = on.refresher.refresh(page_request, looked)
        assert not late.collapsed, "there was none to join"
        brought = await late.wait()
        assert (first.collapsed, brought.collapsed, brought.status) == (False, True, first.status)
        assert brought.answer.notes == first.answer.notes
        assert on.asked == 1


@pytest.mark.parametrize("what", ANSWERS)
async def test_who_looked_afterwards(what: str, tmp_path: Path) -> None:
    """It has seen this very answer, and finds it stale: the upstream is asked."""
    async with scene(tmp_path, ANSWERS[what]) as on:
        page_request = on.at.page_request()
        await on.refresher.refresh(page_request, None).wait()
        again = await on.refresher.refresh(page_request, await on.seen()).wait()
        assert (again.collapsed, on.asked) == (False, 2)


async def test_who_saw_an_older_one(tmp_path: Path) -> None:
    async with scene(tmp_path, ANSWERS["a page"]) as on:
        page_request = on.at.page_request()
        await on.refresher.refresh(page_request, None).wait()
        page = await on.seen()
        assert page is not None
        older = replace(page, notes=replace(page.notes, response_time=page.notes.response_time - 1))
        assert (await on.refresher.refresh(page_request, older).wait()).collapsed
        assert on.asked == 1


async def test_one_that_cannot_be_read(tmp_path: Path) -> None:
    """It is stored still, or so it seems: no reason to take it once more."""
    async with scene(tmp_path, ANSWERS["a page"]) as on:
        page_request = on.at.page_request()
        await on.refresher.refresh(page_request, None).wait()
        brought = await on.refresher.refresh(page_request, None, gone=await on.seen()).wait()
        assert (brought.collapsed, brought.kept, on.asked) == (False, True, 2)


async def test_an_old_one_that_was_not_seen(tmp_path: Path) -> None:
    """The look failed (the store was locked): what is found now may be of any age, and is asked for again."""
    async with scene(tmp_path, ANSWERS["a page"]) as on:
        page_request = on.at.page_request()
        await on.refresher.refresh(page_request, None).wait()
        page = await on.seen()
        assert page is not None
        old = replace(page.notes, response_time=page.notes.response_time - RECENT_SECONDS - 1)
        await on.at.store.note(page.key, old.to_json())
        assert not (await on.refresher.refresh(page_request, None).wait()).collapsed
        assert on.asked == 2


async def test_two_clients_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one's look ends before the first one's refresh has stored the page, and it goes on after that has ended."""
    looks = 0
    both_looked = asyncio.Barrier(2)
    ended = asyncio.Event()

    async def look(store: Store, key: StoreKey) -> StoredPage | None:
        nonlocal looks
        looks += 1
        late = looks == 2
        found = await find_page(store, key)
        await both_looked.wait()
        if late:
            await ended.wait()
        return found

    monkeypatch.setattr(project_pages, "find_page", look)
    async with scene(tmp_path, ANSWERS["a page"]) as on:
        page_request: PageRequest = on.at.page_request()
        request = Request(
            method="GET",
            url=page_request.client_url,
            headers=CIMultiDictProxy(CIMultiDict({"Accept": Representation.JSON.content_type})),
        )

        def route() -> ProjectPage:
            url = page_request.client_url
            return ProjectPage(index=page_request.index, project="six", client_url=url, at_proxy_address=False)

        async def asked() -> str:
            cache = (await on.pages.answer(request, route())).cache
            ended.set()
            return str(cache)

        said = await asyncio.gather(asked(), asked())
        assert sorted(said) == [
            "pypi-cache; fwd=miss; fwd-status=200; collapsed",
            "pypi-cache; fwd=miss; fwd-status=200; stored",
        ]
        assert (on.asked, on.at.mirrors.origins.count(SECOND)) == (1, 0)


@pytest.mark.parametrize("late", [False, True])
async def test_a_refresh_that_nobody_waits_for_gives_way(late: bool, tmp_path: Path) -> None:
    """Refreshes of pages whose clients had left held these clients' places until they ended.

    `late`: a request joins it after it was told to, and is told to come again; not cancelled, as if its own client had left.
    """
    asker: Asker | None = None
    asked = asyncio.Event()

    class Silent(Mirrors):
        @asynccontextmanager
        async def request(self, *_args: Any, **_more: Any) -> AsyncIterator[Any]:
            nonlocal asker
            asker = ASKER.get()
            asked.set()
            await asyncio.Event().wait()
            yield

    async with scene(tmp_path, Silent()) as on:
        page_request = on.at.page_request()
        clients = [asyncio.ensure_future(on.refresher.refresh(page_request, None).wait()) for _ in range(2)]
        await asked.wait()
        assert asker is not None
        assert (asker.kind, asker.claim.spare) == (Kind.PAGES, False)
        for number, client in enumerate(clients):
            assert not asker.claim.spare, f"{number} of them have left"
            client.cancel()
            await asyncio.wait([client])
        assert asker.claim.spare
        asker.give_way()
        if late:
            with pytest.raises(AllFailedError) as raised:
                await on.refresher.refresh(page_request, None).wait()
            assert raised.value.failures == {Failure.BUSY}
        while page_request.key in on.refresher._running:
            await asyncio.sleep(0)
        assert not on.refresher._readers
