"""Writes that nobody waits for: read at once, written in order, and never over what is newer."""

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from pkgcache.engine.store import write_behind
from pkgcache.engine.store.store import Store
from tests.engine.store.stores import content, opened


def block_the_writer(store: Store) -> tuple[threading.Event, Future[bool]]:
    """Nothing is written until the event is set."""
    release = threading.Event()
    return release, store._session.writer.submit(release.wait, 10)


async def test_what_is_pending_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        release, _ = block_the_writer(store)
        assert await store.put("k", b"value", {"a": 1})
        entry, read, notes = await store.get("k"), await store.read("k"), await store.notes("k")
        assert entry is not None
        assert (entry.value, entry.notes) == (b"value", {"a": 1, "size": 5})
        assert read == ({"a": 1, "size": 5}, b"value")
        assert notes == {"a": 1, "size": 5}
        assert await store.present(["k", "other"]) == {"k"}
        release.set()
    async with opened(tmp_path) as store:
        assert await store.read("k") == ({"a": 1, "size": 5}, b"value")


async def test_the_newest_of_several_is_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        release, _ = block_the_writer(store)
        for number in range(5):
            await store.put("k", b"%d" % number, {"version": number})
        await store.note("k", {"version": "noted"})
        release.set()
        await store.flush_pending()
        assert await store.read("k") == ({"version": "noted", "size": 1}, b"4")


async def test_a_new_value_takes_back_notes_that_are_pending(tmp_path: Path) -> None:
    """They were the old value's."""
    async with opened(tmp_path) as store:
        await store.put("k", b"old", {"version": 1})
        await store.flush_pending()
        release, _ = block_the_writer(store)
        await store.note("k", {"version": 2})
        assert await store.notes("k") == {"version": 2}
        await store.put("k", b"newer", {"version": 3})
        release.set()
        await store.flush_pending()
        assert await store.read("k") == ({"version": 3, "size": 5}, b"newer")


async def test_what_is_dropped_is_not_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        release, _ = block_the_writer(store)
        await store.put("k", b"value", {})
        dropping = asyncio.ensure_future(store.drop("k"))
        await asyncio.sleep(0)
        assert store._pending.value("k") is None
        release.set()
        await dropping
        assert await content(store, "k") is None


async def test_who_brings_too_much_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else memory fills up while another process holds the lock."""
    monkeypatch.setattr(write_behind, "PENDING_BYTES", 100)
    async with opened(tmp_path) as store:
        release, _ = block_the_writer(store)
        await asyncio.wait_for(store.put("a", bytes(100), {}), 5)
        waiting = asyncio.ensure_future(store.put("b", bytes(1), {}))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        release.set()
        assert await asyncio.wait_for(waiting, 5)
        await store.flush_pending()
        await asyncio.sleep(0)
        await asyncio.wait_for(store.put("c", bytes(100), {}), 5)
