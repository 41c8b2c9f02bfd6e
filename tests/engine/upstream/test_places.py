"""Places at upstreams: who waits, who is served when one leaves, and that nobody's place is lost, whatever ends the waiting."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.places import ASKER, NOBODY, Asker, Kind, Places, as_asker, asking
from pkgcache.rules.policy.places import PlaceLimits
from pkgcache.rules.routing.urls import parse_url

HERE: Final = parse_url("https://one.example/simple/six/")
THERE: Final = parse_url("https://two.example/simple/six/")
LIMITS: Final = PlaceLimits(host=2, client=2, queue=2, spare=3)


@dataclass(eq=False)
class Holder:
    """Holds a place until it is told to leave, or gives way."""

    places: Places
    client: str = ""
    kind: Kind = Kind.FILES
    url: Any = HERE
    patience: float | None = None
    spare: bool = False
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    has_it: bool = False
    gave_way: int = 0

    def give_way(self) -> None:
        self.gave_way += 1
        self.leave.set()

    async def hold(self) -> None:
        asker = Asker(
            kind=self.kind,
            client=self.client,
            patience=self.patience,
            is_spare=lambda: self.spare,
            give_way=self.give_way,
        )
        async with self.places.held(self.url, asker):
            self.has_it = True
            await self.leave.wait()
        self.has_it = False


class Hall:
    """Holders of one set of places, each in a task."""

    def __init__(self) -> None:
        self.places = Places(LIMITS)
        self.tasks: list[asyncio.Task[None]] = []

    async def enter(self, count: int = 1, **more: Any) -> list[Holder]:
        holders = [Holder(self.places, **more) for _ in range(count)]
        self.tasks += [asyncio.create_task(holder.hold()) for holder in holders]
        await self.settle()
        return holders

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def in_hall(story: Callable[[Hall], Coroutine[Any, Any, None]]) -> None:
    """Run a story; afterwards nothing is held, waited for or remembered."""

    async def run() -> None:
        hall = Hall()
        async with asyncio.timeout(10):
            await story(hall)
            for task in hall.tasks:
                task.cancel()
            await asyncio.gather(*hall.tasks, return_exceptions=True)
        assert hall.places.figures() == {"held": 0, "waiting": 0}
        assert not hall.places._hosts, "no origin is remembered that nobody asks"

    asyncio.run(run())


def test_waiting_in_order() -> None:
    async def story(hall: Hall) -> None:
        first, second, third, fourth = [(await hall.enter())[0] for _ in range(4)]
        assert [each.has_it for each in (first, second, third, fourth)] == [True, True, False, False]
        second.leave.set()
        await hall.settle()
        assert (third.has_it, fourth.has_it) == (True, False)
        first.leave.set()
        await hall.settle()
        assert fourth.has_it

    in_hall(story)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"url": THERE}, id="another host"),
        pytest.param({"kind": Kind.PAGES}, id="pages, where files have taken all"),
        pytest.param({"url": parse_url("http://one.example/")}, id="another scheme"),
        pytest.param({"url": parse_url("https://one.example:8443/")}, id="another port"),
    ],
)
def test_places_of_their_own(other: dict[str, Any]) -> None:
    async def story(hall: Hall) -> None:
        await hall.enter(3)
        (apart,) = await hall.enter(**other)
        assert apart.has_it

    in_hall(story)


def test_one_host_by_all_its_paths() -> None:
    async def story(hall: Hall) -> None:
        await hall.enter(2)
        (more,) = await hall.enter(url=parse_url("https://one.example/elsewhere?x=1"))
        assert not more.has_it

    in_hall(story)


def test_a_queue_that_is_full() -> None:
    async def story(hall: Hall) -> None:
        await hall.enter(4)
        await hall.enter()
        with pytest.raises(UpstreamError) as busy:
            await hall.tasks[-1]
        assert busy.value.failure is Failure.BUSY
        assert "2 connections" in str(busy.value)
        assert "2 requests wait" in str(busy.value)

    in_hall(story)


def test_what_is_spare_leaves_a_full_queue() -> None:
    async def story(hall: Hall) -> None:
        await hall.enter(2)
        await hall.enter(2, spare=True)
        (wanted,) = await hall.enter()
        with pytest.raises(UpstreamError):
            await hall.tasks[2]
        assert hall.places.figures() == {"held": 2, "waiting": 2}
        assert not wanted.has_it

    in_hall(story)


def test_patience() -> None:
    """It ends in BUSY, and the place that comes free later goes to the next one."""

    async def story(hall: Hall) -> None:
        first, _ = await hall.enter(2)
        await hall.enter(patience=0.01)
        (patient,) = await hall.enter()
        with pytest.raises(UpstreamError) as busy:
            await hall.tasks[2]
        assert busy.value.failure is Failure.BUSY
        first.leave.set()
        await hall.settle()
        assert patient.has_it

    in_hall(story)


@pytest.mark.parametrize(
    ("spare", "is_busy"),
    [
        pytest.param([False], True, id="wanted"),
        pytest.param([True], False, id="never wanted"),
        pytest.param([True, False], True, id="wanted after a while"),
        pytest.param([False, True], False, id="wanted no more"),
        pytest.param([True, False, True], False, id="wanted for a while"),
    ],
)
def test_patience_is_that_of_who_waits(spare: list[bool], is_busy: bool) -> None:
    """148 of 300 pages that were refreshed in the background, eight at a time, were given up after eight seconds, and stayed stale."""

    async def story(hall: Hall) -> None:
        await hall.enter(2)
        (waiting,) = await hall.enter(patience=0.1, spare=spare[0])
        for later in spare[1:]:
            await asyncio.sleep(0.05)
            waiting.spare = later
        await asyncio.sleep(0.5)
        assert hall.tasks[-1].done() is is_busy
        if is_busy:
            with pytest.raises(UpstreamError) as busy:
                await hall.tasks[-1]
            assert busy.value.failure is Failure.BUSY

    in_hall(story)


async def test_all_that_is_spare_is_served_in_the_end() -> None:
    """However long that takes, as long as there are no more than may wait."""
    places, done = Places(PlaceLimits(host=4, client=4, queue=100, spare=2)), list[int]()

    async def one(number: int) -> None:
        async with places.held(HERE, Asker(client="a", patience=0.02, is_spare=lambda: True)):
            await asyncio.sleep(0.01)
        done.append(number)

    await asyncio.gather(*map(one, range(80)))
    assert done == list(range(80))
    assert places.figures() == {"held": 0, "waiting": 0}


@pytest.mark.parametrize(
    ("client", "spare", "has_it", "pushed_out"),
    [
        pytest.param("b", False, True, None, id="another client has its places"),
        pytest.param("", False, True, None, id="nobody in particular too"),
        pytest.param("b", True, True, None, id="also for what is spare"),
        pytest.param("a", False, False, -1, id="the same client has to come again"),
    ],
)
def test_a_queue_full_of_one_client(client: str, spare: bool, has_it: bool, pushed_out: int | None) -> None:
    """A client that asked for 600 files had others refused, with a quarter of the places free for them."""

    async def story(hall: Hall) -> None:
        hall.places = Places(PlaceLimits(host=4, client=2, queue=2))
        await hall.enter(4, client="a")
        (newest,) = await hall.enter(client=client, spare=spare)
        assert newest.has_it is has_it
        ended = [task for task in hall.tasks if task.done()]
        assert ended == ([] if pushed_out is None else [hall.tasks[pushed_out]])
        for task in ended:
            with pytest.raises(UpstreamError):
                await task

    in_hall(story)


def test_nothing_is_pushed_out_for_who_need_not_wait() -> None:
    async def story(hall: Hall) -> None:
        hall.places = Places(PlaceLimits(host=4, client=2, queue=2, spare=1))
        await hall.enter(3, spare=True)
        (wanted,) = await hall.enter(client="b")
        assert wanted.has_it
        assert hall.places.figures() == {"held": 2, "waiting": 2}

    in_hall(story)


def test_who_is_cancelled_while_it_waits() -> None:
    async def story(hall: Hall) -> None:
        first, _ = await hall.enter(2)
        await hall.enter()
        (next_one,) = await hall.enter()
        hall.tasks[2].cancel()
        await hall.settle()
        first.leave.set()
        await hall.settle()
        assert next_one.has_it

    in_hall(story)


def test_who_is_cancelled_in_the_moment_it_is_served() -> None:
    """The place has been given to it, and it never runs again: the next one has to get it."""

    async def story(hall: Hall) -> None:
        first, _ = await hall.enter(2)
        await hall.enter()
        (next_one,) = await hall.enter()
        first.leave.set()
        await asyncio.sleep(0)
        hall.tasks[2].cancel()
        await hall.settle()
        assert next_one.has_it

    in_hall(story)


def test_a_client_has_no_more_than_its_share() -> None:
    async def story(hall: Hall) -> None:
        hall.places = Places(PlaceLimits(host=4, client=2, queue=9))
        greedy = await hall.enter(5, client="a")
        assert sum(each.has_it for each in greedy) == 2
        (other,) = await hall.enter(client="b")
        assert other.has_it

    in_hall(story)


def test_what_is_spare_gives_way() -> None:
    async def story(hall: Hall) -> None:
        (left,) = await hall.enter(spare=True)
        (right,) = await hall.enter(spare=True)
        assert (left.gave_way, right.gave_way) == (0, 0), "as long as nobody waits"
        (wanted,) = await hall.enter()
        assert (left.gave_way, right.gave_way, wanted.has_it) == (1, 0, True)

    in_hall(story)


def test_what_becomes_spare_later_gives_way() -> None:
    """Nobody tells that a client has left: it is looked at while somebody waits."""

    async def story(hall: Hall) -> None:
        holder, _ = await hall.enter(2)
        (wanted,) = await hall.enter()
        assert not wanted.has_it
        holder.spare = True
        while not wanted.has_it:
            await asyncio.sleep(0.02)
        assert holder.gave_way == 1

    in_hall(story)


def test_what_is_spare_is_served_last() -> None:
    async def story(hall: Hall) -> None:
        first, _ = await hall.enter(2)
        (spare,) = await hall.enter(spare=True)
        (wanted,) = await hall.enter()
        first.leave.set()
        await hall.settle()
        assert (spare.has_it, wanted.has_it) == (False, True)

    in_hall(story)


def test_who_asks_is_inherited() -> None:
    """By tasks from whoever starts them, until they ask for something of their own."""

    async def story() -> None:
        assert ASKER.get() is NOBODY

        async def fill() -> tuple[str, Kind]:
            as_asker(Asker(kind=Kind.FILES))
            return ASKER.get().client, ASKER.get().kind

        with asking(Kind.FILES, "10.0.0.7"):
            with asking(Kind.PAGES):
                assert (ASKER.get().kind, ASKER.get().client) == (Kind.PAGES, "10.0.0.7")
                task = asyncio.create_task(fill())
            assert ASKER.get().kind is Kind.FILES
        assert await task == ("10.0.0.7", Kind.FILES)
        assert ASKER.get() is NOBODY

    asyncio.run(story())


def test_many() -> None:
    """A thousand requests of ten clients to two hosts: the limits hold at each moment, and all are served."""

    async def story() -> None:
        places = Places(PlaceLimits(host=8, client=3, queue=1000))
        holds: dict[Any, int] = {}
        most = 0

        async def one(number: int) -> None:
            nonlocal most
            client, url = str(number % 10), HERE if number % 3 else THERE
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(places.held(url, Asker(client=client, patience=None)))
                for key in (url.origin, (url.origin, client)):
                    holds[key] = holds.get(key, 0) + 1
                most = max(most, holds[url.origin])
                assert holds[url.origin, client] <= 3
                await asyncio.sleep(0)
                for key in (url.origin, (url.origin, client)):
                    holds[key] -= 1

        await asyncio.gather(*(one(number) for number in range(1000)))
        assert most == 8
        assert places.figures() == {"held": 0, "waiting": 0}

    asyncio.run(story())


async def test_what_nobody_waits_for_takes_turns() -> None:
    """Tasks with a client have no turn to wait for, and one that gets a client again waits no more."""
    places, order = Places(LIMITS), list[str]()
    wanted = set[str]()

    async def bring(name: str) -> None:
        with asking(Kind.FILES, "10.0.0.7", is_spare=lambda: name not in wanted):
            for _ in range(3):
                await places.pace_spare()
                order.append(name)

    spare = [asyncio.create_task(bring(name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    wanted.add("c")
    await bring("c")
    assert order == ["c", "c", "c"]
    await spare[0]
    assert order[3:8] == ["a", "b", "a", "b", "a"]
    wanted.add("b")
    await spare[1]


async def test_few_go_on_that_nobody_waits_for() -> None:
    """Those that are one too many give way, and only those."""
    places, gave_way = Places(LIMITS), list[int]()

    async def bring(number: int) -> None:
        with asking(Kind.FILES, "10.0.0.7", is_spare=lambda: True, give_way=lambda: gave_way.append(number)):
            await places.pace_spare()

    await asyncio.gather(*map(bring, range(LIMITS.spare + 3)))
    assert gave_way == [LIMITS.spare, LIMITS.spare + 1, LIMITS.spare + 2]
    await bring(100)
    assert len(gave_way) == 3
