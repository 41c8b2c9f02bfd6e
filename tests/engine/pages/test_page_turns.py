"""Turns of pages that are large: how many bodies of an origin, and pages of all, are held at a time; and from where on a body is large."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.pages import page_turns
from pkgcache.engine.pages.page_turns import MOST_HELD, PageTurns
from pkgcache.engine.pages.worker import LARGE
from pkgcache.engine.upstream import response as upstream_response
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.response import SMALL_BODY, UpstreamResponse
from pkgcache.rules.routing.urls import Url, parse_url
from pkgcache.rules.simple.limits import HEAVY_PAGE, MAX_MEMORY, MAX_PAGE, MOST_LARGE

FIRST, SECOND = parse_url("https://first.test/simple/"), parse_url("https://second.test/simple/")
type Turn = Callable[[PageTurns, Url], Any]


def test_the_budget_of_all_pages() -> None:
    """Of 300 MB, the rest is for clients and for what lies free on the heap."""
    assert MAX_MEMORY < 240_000_000


def body(*sizes: int) -> Turn:
    """Hold a body that has come to these sizes."""

    @asynccontextmanager
    async def turn(turns: PageTurns, url: Url) -> AsyncIterator[None]:
        async with turns.body(url) as take_turn:
            for size in sizes:
                await take_turn(size)
            yield

    return turn


def work(size: int) -> Turn:
    """Work on a page of this size."""
    return lambda turns, url: turns.work(size, url)


@pytest.mark.parametrize(
    ("turn", "most", "of_all"),
    [
        pytest.param(body(SMALL_BODY), 20, 40, id="small bodies"),
        pytest.param(body(SMALL_BODY + 1), MOST_HELD, 2 * MOST_HELD, id="large bodies"),
        pytest.param(body(HEAVY_PAGE), MOST_HELD, 2 * MOST_HELD, id="bodies that are just not heavy"),
        pytest.param(body(SMALL_BODY + 1, HEAVY_PAGE, HEAVY_PAGE + 1, MAX_PAGE), 1, 2, id="bodies that grow heavy"),
        pytest.param(body(MAX_PAGE), 1, 2, id="heavy bodies at once"),
        pytest.param(work(LARGE), 20, 40, id="small pages"),
        pytest.param(work(LARGE + 1), MOST_LARGE, MOST_LARGE, id="large pages"),
        pytest.param(work(HEAVY_PAGE), MOST_LARGE, MOST_LARGE, id="just not heavy"),
        pytest.param(work(HEAVY_PAGE + 1), 1, 1, id="just heavy"),
        pytest.param(work(2 * MAX_PAGE), 1, 1, id="a document that was made"),
    ],
)
async def test_how_many_are_held_at_a_time(turn: Turn, most: int, of_all: int) -> None:
    """Those beyond wait; other origins wait for pages that are worked on alone; small ones never. All come to their turn."""
    turns, held, most_seen, go_on = PageTurns(), 0, 0, asyncio.Event()

    async def hold(url: Url) -> None:
        nonlocal held, most_seen
        async with turn(turns, url):
            held += 1
            most_seen = max(most_seen, held)
            await go_on.wait()
            held -= 1

    async def begin(url: Url) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(hold(url)) for _ in range(20)]
        for _ in range(3):
            await asyncio.to_thread(int)  # as the thread that gives back memory is waited for
            for _ in range(100):
                await asyncio.sleep(0)
        return tasks

    tasks = await begin(FIRST)
    assert held == most
    tasks += await begin(SECOND)
    assert held == of_all
    async with body(SMALL_BODY)(turns, FIRST), work(LARGE)(turns, FIRST):
        go_on.set()
    await asyncio.gather(*tasks)
    assert most_seen == of_all


@pytest.mark.parametrize("leave", ["cancelled", "failed"])
@pytest.mark.parametrize("turn", [body(MAX_PAGE), work(LARGE + 1), work(MAX_PAGE)])
async def test_a_turn_ends_however_its_page_ends(leave: str, turn: Turn) -> None:
    turns = PageTurns()

    async def hold() -> None:
        async with turn(turns, FIRST):
            if leave == "failed":
                raise OSError
            await asyncio.Event().wait()

    for _ in range(5 * MOST_HELD):
        task = asyncio.create_task(hold())
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(10), turn(turns, FIRST):
        pass


@pytest.mark.parametrize("turn", [body(SMALL_BODY + 1), body(MAX_PAGE), work(LARGE + 1), work(MAX_PAGE)])
async def test_who_waits_too_long_is_told_to_come_again(turn: Turn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_turns, "TURN_SECONDS", 0.0)
    turns = PageTurns()
    for each in (turns._large, turns._heavy):
        while not each.locked():
            await each.acquire()
    monkeypatch.setattr(page_turns, "MOST_HELD", 0)
    with pytest.raises(UpstreamError) as raised:
        async with turn(turns, FIRST), turn(turns, FIRST):
            pass
    assert raised.value.failure is Failure.BUSY


async def test_memory_is_given_back_before_a_heavy_page() -> None:
    given: list[int] = []
    turns = PageTurns(lambda: given.append(1))
    for size, times in ((LARGE, 0), (LARGE + 1, 0), (HEAVY_PAGE, 0), (HEAVY_PAGE + 1, 1), (MAX_PAGE, 2)):
        async with turns.work(size):
            assert len(given) == times


class Content:
    """The pieces of a body."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.pieces = itertools.chain(map(bytes, sizes), itertools.repeat(b""))

    def is_eof(self) -> bool:
        return False

    async def readany(self) -> bytes:
        return next(self.pieces)


def response_of(sizes: Sequence[int], failed: Callable[[], object] = lambda: None) -> UpstreamResponse:
    """An answer whose body comes in pieces of these sizes."""
    content: Any = Content(sizes)
    none = CIMultiDictProxy(CIMultiDict[str]())
    return UpstreamResponse(FIRST, 200, none, FIRST, content, None, lambda: (failed(), None)[1], 5.0)


@pytest.mark.parametrize(
    ("sizes", "turns"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([SMALL_BODY], [], id="small"),
        pytest.param([SMALL_BODY + 1], [SMALL_BODY + 1], id="one byte more"),
        pytest.param([1] * 20, [], id="small pieces"),
        pytest.param([SMALL_BODY] * 3, [2 * SMALL_BODY, 3 * SMALL_BODY], id="in pieces"),
        pytest.param([32 * SMALL_BODY], [], id="longer than may be: none, it is given up"),
    ],
)
async def test_from_where_on_a_body_is_large(sizes: list[int], turns: list[int]) -> None:
    taken: list[int] = []

    async def take_turn(size: int) -> None:
        taken.append(size)

    try:
        assert len(await response_of(sizes).body(16 * SMALL_BODY, take_turn)) == sum(sizes)
    except UpstreamError:
        assert sum(sizes) > 16 * SMALL_BODY
    assert taken == turns


async def test_waiting_for_a_turn_is_not_the_upstreams_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that had to wait while its other pages were worked on was taken for one that is too slow."""
    monkeypatch.setattr(upstream_response, "BODY_SECONDS", 0.2)

    async def take_turn(_size: int) -> None:
        await asyncio.sleep(0.4)

    failed: list[int] = []
    response = response_of([SMALL_BODY] * 3, lambda: failed.append(1))
    assert len(await response.body(16 * SMALL_BODY, take_turn)) == 3 * SMALL_BODY
    assert not failed
