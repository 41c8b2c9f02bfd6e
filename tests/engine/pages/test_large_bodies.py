"""Turns of bodies that are large: how many of an origin are held at a time, and from where on a body is large."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.pages.large_bodies import MOST_HELD, LargeBodies
from pkgcache.engine.upstream.errors import UpstreamError
from pkgcache.engine.upstream.response import SMALL_BODY, UpstreamResponse
from pkgcache.rules.routing.urls import parse_url

FIRST, SECOND = "https://first.test", "https://second.test"


async def test_few_of_an_origin_are_held_at_a_time() -> None:
    """Those beyond wait; other origins do not, nor what asks for no turn."""
    bodies, held, go_on = LargeBodies(), 0, asyncio.Event()

    async def hold(origin: str) -> None:
        nonlocal held
        async with bodies.turn(origin) as take_turn:
            await take_turn()
            held += 1
            await go_on.wait()

    tasks = [asyncio.create_task(hold(FIRST)) for _ in range(20)]
    for _ in range(100):
        await asyncio.sleep(0)
    assert held == MOST_HELD
    tasks += [asyncio.create_task(hold(SECOND))]
    async with bodies.turn(FIRST):  # a small one
        for _ in range(100):
            await asyncio.sleep(0)
    assert held == MOST_HELD + 1
    go_on.set()
    await asyncio.gather(*tasks)
    assert held == 21


@pytest.mark.parametrize("leave", ["cancelled", "failed"])
async def test_a_turn_ends_however_its_body_ends(leave: str) -> None:
    bodies = LargeBodies()

    async def hold() -> None:
        async with bodies.turn(FIRST) as take_turn:
            await take_turn()
            if leave == "failed":
                raise OSError
            await asyncio.Event().wait()

    for _ in range(5 * MOST_HELD):
        task = asyncio.create_task(hold())
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    async with bodies.turn(FIRST) as take_turn:
        await asyncio.wait_for(take_turn(), 10)


class Content:
    """The pieces of a body."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.pieces = itertools.chain(map(bytes, sizes), itertools.repeat(b""))

    def is_eof(self) -> bool:
        return False

    async def readany(self) -> bytes:
        return next(self.pieces)


@pytest.mark.parametrize(
    ("sizes", "turns"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([SMALL_BODY], 0, id="small"),
        pytest.param([SMALL_BODY + 1], 1, id="one byte more"),
        pytest.param([1] * 20, 0, id="small pieces"),
        pytest.param([SMALL_BODY // 2] * 10, 1, id="in pieces: once"),
        pytest.param([10 * SMALL_BODY, 1, 1], 1, id="large"),
        pytest.param([32 * SMALL_BODY], 0, id="longer than may be: none, it is given up"),
    ],
)
async def test_from_where_on_a_body_is_large(sizes: list[int], turns: int) -> None:
    taken = []

    async def take_turn() -> None:
        taken.append(1)

    content: Any = Content(sizes)
    url = parse_url(f"{FIRST}/simple/six/")
    none = CIMultiDictProxy(CIMultiDict[str]())
    response = UpstreamResponse(url, 200, none, url, content, None, lambda: None, 5.0)
    try:
        assert len(await response.body(16 * SMALL_BODY, take_turn)) == sum(sizes)
    except UpstreamError:
        assert sum(sizes) > 16 * SMALL_BODY
    assert len(taken) == turns
