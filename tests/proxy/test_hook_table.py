"""Hooks reach the addons that have them, as mitmproxy's own manager would deliver them."""

import asyncio
import weakref
from typing import Any

import pytest
from mitmproxy import addonmanager, master, options
from mitmproxy.connection import Client
from mitmproxy.exceptions import AddonHalt
from mitmproxy.proxy.server_hooks import ClientConnectedHook

from pkgcache.proxy.hook_table import HookTable


class Notes:
    """An addon that notes when its hook was called."""

    def __init__(self, name: str, seen: list[str], *below: Any) -> None:
        self.name = name
        self.seen = seen
        self.addons = list(below)

    def client_connected(self, _: Client) -> None:
        self.seen.append(self.name)


class Waits(Notes):
    """One whose hook is a coroutine."""

    async def client_connected(self, _: Client) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.seen.append(self.name)


class Fails(Notes):
    """One whose hook raises."""

    def client_connected(self, _: Client) -> None:
        self.seen.append(self.name)
        raise RuntimeError(self.name)


class Halts(Notes):
    """One after which nobody else is asked."""

    def client_connected(self, _: Client) -> None:
        self.seen.append(self.name)
        raise AddonHalt


class Deaf:
    """One without the hook."""

    name = "deaf"
    client_connected: Any = None


class Scene:
    """A manager of addons, and what they noted."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.manager = addonmanager.AddonManager(
            master.Master(options.Options(), event_loop=asyncio.get_running_loop())
        )
        self.manager.clear()
        self.table = HookTable(lambda: self.manager)
        self.hook = ClientConnectedHook(Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2)))

    async def both(self) -> tuple[list[str], list[str]]:
        """What mitmproxy's manager and the table deliver."""
        self.seen.clear()
        await self.manager.trigger_event(self.hook)
        theirs = self.seen.copy()
        self.seen.clear()
        await self.table.deliver(self.hook)
        return theirs, self.seen.copy()


CHAINS: dict[str, tuple[Any, ...]] = {
    "none": (),
    "one": (Notes,),
    "in order": (Notes, Waits, Notes),
    "deaf ones are not asked": (Deaf, Notes, Deaf),
    "a failure is its own": (Fails, Notes),
    "a halt ends all": (Notes, Halts, Notes),
    "a halt of a coroutine's neighbour": (Waits, Halts, Waits),
}


@pytest.mark.parametrize("kinds", CHAINS.values(), ids=CHAINS)
async def test_as_the_manager(kinds: tuple[Any, ...]) -> None:
    scene = Scene()
    for number, kind in enumerate(kinds):
        addon = kind() if kind is Deaf else kind(f"a{number}", scene.seen)
        addon.name = f"a{number}"
        scene.manager.add(addon)
    theirs, ours = await scene.both()
    assert ours == theirs
    assert ours or not [kind for kind in kinds if kind is not Deaf]


async def test_those_below_another() -> None:
    """A failure ends its own group, as in mitmproxy."""
    scene = Scene()
    scene.manager.add(Notes("top", scene.seen, Fails("first", scene.seen), Notes("second", scene.seen)))
    scene.manager.add(Notes("next", scene.seen))
    theirs, ours = await scene.both()
    assert ours == theirs == ["top", "first", "next"]


async def test_addons_that_come_and_go() -> None:
    scene = Scene()
    stays, goes = Notes("stays", scene.seen), Notes("goes", scene.seen)
    scene.manager.add(stays, goes)
    assert (await scene.both())[1] == ["stays", "goes"]
    scene.manager.remove(goes)
    assert (await scene.both())[1] == ["stays"]
    scene.manager.add(Notes("late", scene.seen))
    theirs, ours = await scene.both()
    assert ours == theirs == ["stays", "late"]


async def test_a_script_that_was_reloaded_is_not_taken_for_its_last_self() -> None:
    """The new one may be where the old one was in memory; the table keeps the old one until it has seen the new one."""
    scene = Scene()
    scene.manager.add(Deaf())
    gone = weakref.ref(scene.manager.get("deaf"))
    assert await scene.both() == ([], [])
    scene.manager.remove(gone())
    assert gone() is not None
    scene.manager.add(Notes("late", scene.seen))
    assert (await scene.both())[1] == ["late"]
    assert gone() is None


async def test_which_are_other_scripts() -> None:
    scene = Scene()
    assert not scene.table.concerns_others("client_connected")
    scene.manager.add(Notes("script", scene.seen))
    assert scene.table.concerns_others("http_connect", "client_connected")
    assert not scene.table.concerns_others("http_connect")
    assert scene.table.concerns_others("client_connected")
