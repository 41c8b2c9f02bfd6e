"""The store's entries, found by name a page at a time; and all of one project's, dropped."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from pkgcache.engine.store.catalogue import MOST_WAITING, PAGE, Found, Search, TooManySearchesError
from pkgcache.engine.store.keys import StoreKey, file_key, page_key, project_list_key, range_key, variant_key
from pkgcache.engine.store.store import Store
from tests.engine.store.stores import opened, run_async

SECRET: Final = "ab12cd34" * 4
SIX: Final = file_key("-", "sha256:ab12", "six-1.0-py3-none-any.whl")
KEYS: Final[dict[StoreKey, int]] = {
    SIX: 500,
    file_key("-", "https://files.test/json/six-2.0.tar.gz", "six-2.0.tar.gz"): 40_000,
    file_key("-", "sha256:dead", "Zope.Interface-5.0.tar.gz"): 300,
    file_key("-", "sha256:beef", "acme_secret-1.0-py3-none-any.whl"): 200,
    file_key(SECRET, "sha256:cafe", "hidden-1.0-py3-none-any.whl"): 100,
    page_key("-", "pypi", "six", "json"): 60,
    page_key("-", "pypi", "six/1.0/json", "json"): 50,
    page_key("-", "torch", "100%-pure", "html"): 40,
    page_key(SECRET, "pypi", "six", "json"): 30,
    range_key(SIX): 20,
    variant_key("v", "json", page_key("-", "pypi", "six", "json")): 10,
    project_list_key("pypi", "json"): 5,
    StoreKey("hosts"): 2,
}


async def filled(store: Store) -> None:
    for key, size in KEYS.items():
        assert await store.put(key, b"x" * size, {})
    await store.flush_pending()


def found(folder: Path, search: Search) -> Found:
    """What a search finds in a store with all of KEYS."""
    kept: list[Found] = []

    async def story() -> None:
        async with opened(folder) as store:
            await filled(store)
            kept.append(await store.catalogue.search(search))

    run_async(story)
    return kept[0]


@pytest.mark.parametrize(
    ("search", "sizes"),
    [
        (Search(order="size"), [40_000, 500, 300, 200, 60, 50, 40]),
        (Search(order="size", private=True), [40_000, 500, 300, 200, 100, 60, 50, 40, 30]),
        (Search(order="size", kind="file"), [40_000, 500, 300, 200]),
        (Search(order="size", kind="page"), [60, 50, 40]),
        (Search(order="name", text="six"), [60, 500, 40_000, 50]),
        (Search(order="size", text="SIX", kind="file"), [40_000, 500]),
        (Search(order="size", text="six-2"), [40_000]),
        (Search(order="size", text="zope-interface"), [300]),
        (Search(order="size", text="Zope_Interface"), [300]),
        (Search(order="size", text="acme.secret"), [200]),
        (Search(order="size", text="whl"), [500, 200]),
        # Of the name alone: no digest, URL, index, representation or space
        (Search(order="size", text="dead"), []),
        (Search(order="size", text="files.test"), []),
        (Search(order="size", text="pypi"), []),
        (Search(order="size", text="html"), []),
        (Search(order="size", text="ab12"), []),
        (Search(order="size", text="ab12", private=True), []),
        (Search(order="size", text="hidden"), []),
        (Search(order="size", text="hidden", private=True), [100]),
        # As it is written: no pattern of anybody's
        (Search(order="size", text="%"), [40]),
        (Search(order="size", text="100%"), [40]),
        (Search(order="size", text="*"), []),
        (Search(order="size", text="six%"), []),
        (Search(order="size", text="\\"), []),
        (Search(order="size", text="'; DROP TABLE Cache; --"), []),
        (Search(order="size", text="|"), []),
        (Search(order="size", text="_" * 160), []),
        (Search(order="size", hides=lambda project: project.startswith("acme")), [40_000, 500, 300, 60, 50, 40]),
        (Search(order="size", text="acme", hides=lambda project: project.startswith("acme")), []),
        (Search(order="size", page=2), []),
        (Search(order="size", page=100_000), []),
        (Search(order="size", page=2, hides=lambda _: False), []),
    ],
)  # fmt: skip
def test_a_search(tmp_path: Path, search: Search, sizes: list[int]) -> None:
    there = found(tmp_path, search)
    assert [row.size for row in there.rows] == sizes
    if search.page == 1:
        assert there.total == len(sizes)


@pytest.mark.parametrize("hides", [None, lambda project: project == "p-3"], ids=["all", "some"])
def test_pages(tmp_path: Path, hides: Callable[[str], bool] | None) -> None:
    """Each entry is on one page."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            for number in range(2 * PAGE + 3):
                await store.put(file_key("-", f"sha256:{number:x}", f"p_{number}-1.0-py3-none-any.whl"), b"x", {})
            await store.flush_pending()
            pages = [
                await store.catalogue.search(Search(order="stored", page=page, hides=hides)) for page in (1, 2, 3, 4)
            ]
            there = 2 * PAGE + (3 if hides is None else 2)
            assert [len(each.rows) for each in pages] == [PAGE, PAGE, there - 2 * PAGE, 0]
            assert {each.total for each in pages} == {there}
            assert len({row.key for each in pages for row in each.rows}) == there

    run_async(story)


@pytest.mark.parametrize(
    ("project", "left"),
    [
        ("six", 6),
        ("SIX", 6),
        ("zope.interface", 12),
        ("zope_interface", 12),
        ("acme", 13),  # the beginning of another's name
        ("secret", 13),
        ("hidden", 12),
        ("nosuch", 13),
    ],
)
def test_a_project_is_dropped_with_all_that_came_of_it(tmp_path: Path, project: str, left: int) -> None:
    """Files, ranges, pages and their variants, by whatever credentials; and nothing of anybody else's."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await filled(store)
            before = (await store.figures())["entries"]
            entries, size = await store.catalogue.drop_project(project)
            assert (await store.figures())["entries"] == before - entries == left
            assert (size > 0) == (entries > 0)
            assert (await store.get(SIX) is None) == (project.lower() == "six")

    run_async(story)


def test_searches_wait_for_one_another_up_to_a_limit(tmp_path: Path) -> None:
    """Each passes over the whole table, on one of the few threads that requests need too."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            searches: list[Any] = [store.catalogue.search(Search()) for _ in range(MOST_WAITING + 3)]
            results = await asyncio.gather(*searches, return_exceptions=True)
            assert sum(isinstance(each, TooManySearchesError) for each in results) == 3
            assert isinstance(await store.catalogue.search(Search()), Found)

    run_async(story)


def test_a_store_in_trouble_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file in the folder's place")

    async def story() -> None:
        async with opened(tmp_path / "store") as store:
            assert await store.catalogue.search(Search()) == Found(rows=[], total=0)
            assert await store.catalogue.drop_project("six") == (0, 0)

    run_async(story)
