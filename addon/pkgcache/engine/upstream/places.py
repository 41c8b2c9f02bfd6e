"""Places: how many connections each upstream host may have, and the queue of those who wait for one.

`rules/policy/places` decides who is next; here it is acted on. Who asks is ambient (`ASKER`): a request of a client, a download that
outlives its clients, a body on its way to one client. Tasks inherit it from whoever starts them.

Waiting for a place says nothing about the upstream. So it is over before the time-outs begin that feed the circuit breaker, and an
upstream without a free place is BUSY: another upstream is asked, and if there is none the client is told to come again.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal

from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.policy.places import Claim, PlaceLimits, is_queue_full, next_to_serve, to_give_way, to_leave_queue
from pkgcache.rules.routing.urls import Url

PLACE_SECONDS = 8.0
"""How long a request waits for a place: below the 12 s that a client waits for an answer to begin, so that it is told why."""

LOOK_SECONDS = 0.2
"""How often those who hold a place are looked at while somebody waits: nobody is told when a client leaves or stops reading."""

SPARE_SECONDS = 0.004
"""Between two chunks of what nobody waits for, of all such tasks together: a few dozen MB a second. At full speed twenty downloads whose
clients have left would keep the event loop from those that have one."""


class Kind(enum.StrEnum):
    """What a connection is for. Each kind has places of its own."""

    PAGES = "pages"
    FILES = "files"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asker:
    """Who wants a connection. `client` is an address, '' for what no client asked for; `patience` is in seconds (None: no end).

    `product` is the client's program (`pip/26.3`), which upstreams are told; '' for none.

    `is_spare` tells whether nobody needs the connection just now; `give_way` is called then if another request waits for its place.
    `waits` is called whenever what this task is for has to wait for an upstream.
    """

    kind: Kind = Kind.PAGES
    client: str = ""
    product: str = ""
    patience: float | None = PLACE_SECONDS
    is_spare: Callable[[], bool] = lambda: False
    give_way: Callable[[], None] = lambda: None
    waits: Callable[[], None] = lambda: None

    @property
    def claim(self) -> Claim:
        """The client, and whether it can give its place away now: what `rules.policy.places` decides by."""
        return Claim(self.client, self.is_spare())


NOBODY = Asker()
ASKER: ContextVar[Asker] = ContextVar("ASKER", default=NOBODY)
"""Who asks, in this task."""


@contextmanager
def asking(
    kind: Kind,
    client: str | None = None,
    product: str | None = None,
    waits: Callable[[], None] | None = None,
    **spare: Callable[[], Any],
) -> Iterator[None]:
    """Let what is fetched within be of this kind, for this client and its product; None: the same as before.

    `spare`: an Asker's `is_spare` and `give_way`.
    """
    before = ASKER.get()
    asker = Asker(
        kind=kind,
        client=before.client if client is None else client,
        product=before.product if product is None else product,
        patience=PLACE_SECONDS,
        waits=waits or before.waits,
        **spare,
    )
    token = ASKER.set(asker)
    try:
        yield
    finally:
        ASKER.reset(token)


def waiting_for_upstream() -> None:
    """Tell whoever this task works for that it has to wait for an upstream. Called before each such wait."""
    ASKER.get().waits()


@contextmanager
def on_nobodys_behalf() -> Iterator[None]:
    """Let tasks that are made within work for nobody who waits: they ask for the same client, and tell it nothing."""
    token = ASKER.set(replace(ASKER.get(), waits=NOBODY.waits))
    try:
        yield
    finally:
        ASKER.reset(token)


class Places:
    """The places of all upstream hosts, by origin and kind."""

    def __init__(self, limits: PlaceLimits | None = None) -> None:
        self._limits = limits or PlaceLimits()
        self._hosts: dict[tuple[str, Kind], _Host] = {}
        self._spare = 0
        self._spare_turn = asyncio.Lock()

    @asynccontextmanager
    async def held(self, url: Url, asker: Asker) -> AsyncIterator[None]:
        """Hold one of the places of the URL's origin; wait for it where none is free. Raises UpstreamError (BUSY)."""
        key = (url.origin, asker.kind)
        host = self._hosts.setdefault(key, _Host(self._limits))
        try:
            await host.take(url, asker)
            try:
                yield
            finally:
                host.leave(asker)
        finally:
            if host.unused and self._hosts.get(key) is host:
                del self._hosts[key]

    async def pace_spare(self) -> None:
        """Wait for a turn, where nobody waits for what this task brings; give way where there are too many such tasks."""
        asker = ASKER.get()
        if not asker.is_spare():
            return
        if self._spare >= self._limits.spare:  # a download holds about a megabyte
            asker.give_way()
        self._spare += 1
        try:
            async with self._spare_turn:
                await asyncio.sleep(SPARE_SECONDS)
        finally:
            self._spare -= 1

    def figures(self) -> dict[str, int]:
        """How many places are held, and how many requests wait for one."""
        hosts = self._hosts.values()
        return {"held": sum(len(host.held) for host in hosts), "waiting": sum(len(host.waiting) for host in hosts)}


type _Outcome = Literal["served", "pushed out"]


class _Host:
    """The places of one kind at one host."""

    def __init__(self, limits: PlaceLimits) -> None:
        self._limits = limits
        self.held: list[Asker] = []
        self.waiting: list[tuple[Asker, asyncio.Future[_Outcome]]] = []
        self._asked_to_leave: set[Asker] = set()
        self._look: asyncio.TimerHandle | None = None

    @property
    def unused(self) -> bool:
        return not self.held and not self.waiting

    async def take(self, url: Url, asker: Asker) -> None:
        """Wait until there is a place, and take it. Raises UpstreamError (BUSY)."""
        if not self.waiting and next_to_serve([asker.claim], self._claims(self.held), self._limits) == 0:
            self.held.append(asker)
            return
        served: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        entry = (asker, served)
        self.waiting.append(entry)
        self._serve()
        # Only now: there may be a place that none of those who wait may have, since one client holds all that it may.
        if not served.done():
            self._shorten_queue()
        try:
            outcome = await self._outcome(asker, served, url)
        except BaseException:
            with contextlib.suppress(ValueError):
                self.waiting.remove(entry)
            if served.done() and served.result() == "served":
                self.leave(asker)
            raise
        if outcome == "pushed out":
            raise self._busy(url)

    def leave(self, asker: Asker) -> None:
        """Give the place to the next one."""
        self.held.remove(asker)
        self._asked_to_leave.discard(asker)
        self._serve()

    def _busy(self, url: Url) -> UpstreamError:
        waiting = f", and {len(self.waiting)} requests wait for one" if self.waiting else ""
        detail = f"this proxy's {len(self.held)} connections to it are all in use{waiting}"
        return UpstreamError(Failure.BUSY, url, detail, origin=url.origin)

    async def _outcome(self, asker: Asker, served: asyncio.Future[_Outcome], url: Url) -> _Outcome:
        """What has become of one that waits. Raises UpstreamError (BUSY) at the end of its patience.

        That has no end while nobody needs what it is for: what is spare is served few at a time, and hundreds of refreshes in the
        background, or of downloads whose clients have left, take longer than anybody who waits would.
        """
        while True:
            was_spare = asker.is_spare()
            await asyncio.wait([served], timeout=asker.patience)
            if served.done():
                return served.result()
            if not (was_spare or asker.is_spare()):
                raise self._busy(url)

    def _shorten_queue(self) -> None:
        """Push somebody out of a queue that is longer than it may be: what is spare, else who came last."""
        *before, (_, newest) = self.waiting
        if not is_queue_full(before, self._limits):
            return
        number = to_leave_queue([asker.claim for asker, _ in before])
        pushed_out = newest if number is None else before[number][1]
        self.waiting = [entry for entry in self.waiting if entry[1] is not pushed_out]
        pushed_out.set_result("pushed out")

    def _serve(self) -> None:
        """Give free places to those who wait, and ask for more where somebody could leave."""
        self.waiting = [entry for entry in self.waiting if not entry[1].done()]
        waiting, held = self._claims(asker for asker, _ in self.waiting), self._claims(self.held)
        while (number := next_to_serve(waiting, held, self._limits)) is not None:
            asker, served = self.waiting.pop(number)
            self.held.append(asker)
            held.append(waiting.pop(number))
            served.set_result("served")
        for number in to_give_way(waiting, held, self._limits):
            asker = self.held[number]
            if asker not in self._asked_to_leave:
                self._asked_to_leave.add(asker)
                asker.give_way()
        if self.waiting and self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self._serve()

    @staticmethod
    def _claims(askers: Iterable[Asker]) -> list[Claim]:
        return [asker.claim for asker in askers]


def as_asker(asker: Asker) -> Asker:
    """Let this task ask as `asker` from now on, with the client and product that it asked for before where it names none."""
    before = ASKER.get()
    asker = replace(asker, client=asker.client or before.client, product=asker.product or before.product)
    ASKER.set(asker)
    return asker
