"""The store's bounds and its memory of hot entries: what is evicted when, and what is kept in memory."""

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store import database, watch
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.eviction import HIGH_WATER, LOW_WATER
from tests.engine.store.stores import (
    MB,
    adopt,
    adopt_file,
    content,
    files,
    opened,
    run_async,
    size_of_files,
    value_file,
    watched,
)

KEY = "file|-|sha256:x|x-1.0-py3-none-any.whl"


# The limit


async def test_the_limit_is_never_passed(tmp_path: Path) -> None:
    """Room is made before something comes in, so that not even for a moment more is kept than was allowed."""
    async with opened(tmp_path, max_size=10 * MB) as store:
        for number in range(40):
            size = (number * 7 % 30 + 1) * 100_000
            assert await adopt(store, f"k{number}", bytes([number]) * size)
            assert (await store.figures())["bytes"] <= 10 * MB
            assert size_of_files(tmp_path) <= 10 * MB
            assert await content(store, f"k{number}") == bytes([number]) * size, "the newest was evicted"
        assert (await store.figures())["entries"] > 1


async def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    async with opened(tmp_path, max_size=10 * MB) as store:
        for name in "abcdefgh":
            await adopt(store, name, name.encode() * MB)
        for name in "ac":
            assert await content(store, name) is not None
        await adopt(store, "new", b"n" * 4 * MB)
        kept = [name for name in "abcdefgh" if await content(store, name) is not None]
        assert {"a", "c"} <= set(kept), kept
        assert "b" not in kept
        assert kept == sorted(kept)
        assert "".join(kept) in {"acfgh", "acgh", "ach"}, "not the oldest were dropped"


async def test_access_times_outlive_the_process(tmp_path: Path) -> None:
    """What gathered in memory is written down at the close: the next process evicts in the right order."""
    async with opened(tmp_path, max_size=10 * MB) as store:
        for name in "abcd":
            await adopt(store, name, name.encode() * 2 * MB)
        assert await content(store, "a") is not None
        await asyncio.sleep(0.1)
        assert await content(store, "b") is not None
    async with opened(tmp_path, max_size=10 * MB) as store:
        await adopt(store, "new", b"n" * 5 * MB)
        assert await content(store, "b") is not None
        assert await content(store, "c") is None
        assert await content(store, "d") is None


async def test_small_values_count_too(tmp_path: Path) -> None:
    """Pages lie in the database: ten thousand of them must not grow past the limit for want of files."""
    async with opened(tmp_path, max_size=2 * MB) as store:
        for number in range(400):
            assert await store.put(f"page{number}", os.urandom(20_000), {})
        assert (await store.figures())["entries"] < 150
        assert await store.get("page399") is not None


async def test_what_is_larger_than_the_store_is_not_kept(tmp_path: Path) -> None:
    """And evicts nothing for it."""
    async with opened(tmp_path, max_size=5 * MB) as store:
        await adopt(store, "k", b"v" * MB)
        assert not await adopt(store, "huge", b"h" * 6 * MB)
        assert await store.get("huge") is None
        assert await content(store, "k") == b"v" * MB


async def test_what_nobody_asks_for_is_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path, inactive=3600.0) as store:
        for number in range(50):  # more than one slice
            await store.put(f"old{number}", b"v", {})
        await store.put("young", b"v", {})
        await store.flush_pending()
        with sqlite3.connect(tmp_path / "entries" / "cache.db") as database:
            database.execute("UPDATE Cache SET access_time = access_time - 7200 WHERE key LIKE 'old%'")
        database.close()
        while (await store.figures())["entries"] > 1:
            await store.run_maintenance()
            await asyncio.sleep(0.02)
        assert await store.get("old0") is None
        assert await store.get("young") is not None
    async with opened(tmp_path, inactive=0.0) as store:
        await store.run_maintenance()
        assert await store.get("young") is not None, "0 means never"


async def test_eviction_in_the_background_has_two_marks(tmp_path: Path) -> None:
    """Below the high one nothing goes; past it so much that the low one is reached, and no more than that."""
    limit = 20 * MB
    async with opened(tmp_path, max_size=limit) as store:
        number = 0
        while (await store.figures())["bytes"] + 200_000 < limit * HIGH_WATER:
            await adopt(store, f"k{number}", bytes(100_000))
            number += 1
        await store.run_maintenance()
        await store.flush_pending()
        assert (await store.figures())["entries"] == number, "evicted below the mark"
        for more in range(3):
            await adopt(store, f"more{more}", bytes(100_000))
        while (await store.figures())["bytes"] > limit * LOW_WATER:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert (await store.figures())["bytes"] > limit * LOW_WATER - 400_000
        assert await content(store, "k0") is None
        assert await content(store, "more2") is not None


def test_a_slice_takes_no_more_than_it_must(tmp_path: Path) -> None:
    entries = Entries(tmp_path, max_size=100 * MB, min_free=0)
    entries.open()
    with contextlib.closing(entries):
        for number in range(5):
            entries.put(f"k{number}", bytes(100_000), {})
        assert entries.eviction.evict_slice(150_000) == 2 * (100_000 + database.ROW_BYTES)
        assert {row.key for row in entries.rows()} == {"k2", "k3", "k4"}
        assert len(files(tmp_path)) == 3
        assert entries.eviction.evict_slice(10 * MB) == 3 * (100_000 + database.ROW_BYTES)
        assert entries.eviction.evict_slice(10 * MB) == 0
        assert files(tmp_path) == []


def test_two_processes_pass_the_limit_by_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One has made room for its file when the other brings a file.

    Room used to be made before the write lock was held alone: two files at once passed the limit together.
    """
    one, two = (Entries(tmp_path, max_size=10 * MB, min_free=0) for _ in range(2))
    with contextlib.ExitStack() as stack:
        for each in (one, two):
            each.open()
            stack.callback(each.close)
        for number in range(9):
            one.put(f"k{number}", bytes(MB), {})
        waits = one.database.transaction
        others = iter((lambda: two.put("other", bytes(4 * MB), {}),))

        def comes_second(patience: float) -> Any:
            next(others, lambda: None)()
            return waits(patience)

        make_room = one.eviction.make_room

        def make_room_first(size: int, patience: float) -> None:
            make_room(size, patience)
            monkeypatch.setattr(one.database, "transaction", comes_second)

        monkeypatch.setattr(one.eviction, "make_room", make_room_first)
        one.put("mine", bytes(4 * MB), {})
        assert next(others, None) is None, "the other never came"
        assert size_of_files(tmp_path) <= 10 * MB
        assert {"mine", "other"} <= {row.key for row in one.rows()}


@pytest.mark.parametrize("size", [40_000, 3 * MB])
async def test_what_is_evicted_while_it_is_read_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    async with opened(tmp_path, max_size=10 * MB) as store:
        await adopt(store, "k", b"v" * size)
        entry = await store.get("k")
        assert entry is not None
        assert entry.file is not None
        with entry.file:
            start = entry.file.read(10)
            for number in range(4):
                await adopt(store, f"more{number}", bytes(3 * MB))
            assert await store.get("k") is None
            assert start + entry.file.read() == b"v" * size


# The memory of hot entries; what other processes do to it is in test_watch.py


async def test_a_hot_entry_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a look is good its row is not even looked at; then its row is, and its file need not be there."""
    async with watched(tmp_path, monkeypatch) as store:
        await adopt_file(store, KEY, b"v" * 1000)
        assert store.from_memory(KEY) is None
        assert await content(store, KEY) == b"v" * 1000
        value_file(tmp_path).unlink()
        hot = store.from_memory(KEY)
        assert hot is not None
        assert hot.value == b"v" * 1000
        monkeypatch.setattr(watch, "HOT_SECONDS", -1.0)
        assert store.from_memory(KEY) is None
        assert await content(store, KEY) == b"v" * 1000


async def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(tmp_path, monkeypatch, memory=50_000) as store:
        keys = [f"{KEY}{number}" for number in range(10)]
        for key in keys:
            await adopt_file(store, key, key.encode() * 200)
            assert await content(store, key) == key.encode() * 200
        hot = [key for key in keys if store.from_memory(key) is not None]
        assert hot == keys[-len(hot) :]
        assert 3 <= len(hot) <= 6


# Who reads does not wait


@pytest.mark.parametrize("fault", ["its file is gone", "a flipped bit"])
async def test_who_finds_a_fault_does_not_wait_for_a_writer(tmp_path: Path, fault: str) -> None:
    """Another process writes, and goes on writing: a miss at once; what is wrong is dropped by whoever finds it afterwards."""
    health = Health()
    async with opened(tmp_path, health=health) as store:
        await adopt_file(store, KEY, b"v" * 1000)
        path = value_file(tmp_path)
        if fault == "its file is gone":
            path.unlink()
        else:
            path.write_bytes(b"v" * 999 + b"w")
        with contextlib.closing(sqlite3.connect(tmp_path / "entries" / "cache.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await store.get(KEY) is None
            assert other.in_transaction
            assert not health.problems
            other.execute("ROLLBACK")
        assert (await store.figures())["entries"] == 1
        assert await store.get(KEY) is None
        assert (await store.figures())["entries"] == 0


# A torn log


def test_a_torn_log_gives_whole_entries_or_none(tmp_path: Path) -> None:
    """A power failure may leave any part of the write-ahead log, or other bytes in its midst: the store opens, and has what was whole."""
    source = random.Random(7)
    values = {f"k{number}": source.randbytes(3000) for number in range(60)}

    async def fill() -> None:
        async with opened(tmp_path / "whole") as store:
            for key, value in values.items():
                await store.put(key, value, {"name": key})
                await store.flush_pending()
            shutil.copytree(tmp_path / "whole", tmp_path / "cut")  # as it stands, its log not folded in

    async def look(folder: Path) -> int:
        found = 0
        async with opened(folder) as store:
            for key, value in values.items():
                entry = await store.get(key)
                assert entry is None or (entry.value, entry.notes["name"]) == (value, key)
                found += entry is not None
            await store.put("after", b"v", {})
            await store.flush_pending()
            assert await content(store, "after") == b"v"
        return found

    run_async(fill)
    log = (tmp_path / "cut" / "entries" / "cache.db-wal").read_bytes()
    assert len(log) > 100_000
    counts = set()
    for number in range(12):
        folder = tmp_path / f"torn-{number}"
        shutil.copytree(tmp_path / "cut", folder)
        at = source.randrange(len(log))
        torn = log[:at] if number % 2 else log[:at] + source.randbytes(100) + log[at + 100 :]
        (folder / "entries" / "cache.db-wal").write_bytes(torn)
        (folder / "entries" / "cache.db-shm").unlink(missing_ok=True)
        counts.add(asyncio.run(look(folder)))
    assert len(counts) > 3, "it made no difference where it was torn"


async def test_a_small_cache_of_the_database_for_each_thread(tmp_path: Path) -> None:
    """diskcache gives each thread's connection 32 MB and 64 MB mapped: a store of a million entries took 300 MB of five threads."""
    async with opened(tmp_path) as store:
        await store.put("k", b"v", {})
        await store.flush_pending()
    with contextlib.closing(sqlite3.connect(tmp_path / "entries" / "cache.db")) as connection:
        settings = dict(connection.execute("SELECT key, value FROM Settings"))
    assert settings["sqlite_mmap_size"] == 0
    assert settings["sqlite_cache_size"] * 4096 <= 4 << 20
