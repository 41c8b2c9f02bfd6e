"""The store by its public methods: what it keeps, and what it refuses."""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diskcache
import pytest

from pkgcache.engine.store.database import Database
from pkgcache.engine.store.entries import Entries, Notes
from tests.engine.store.stores import MB, adopt, content, files, opened, value_file

# What it keeps


@pytest.mark.parametrize("size", [0, 1, 1000, 40_000, 3 * MB])
async def test_bytes_come_back(tmp_path: Path, size: int) -> None:
    """Small values lie in the database and large ones beside it: nobody can tell."""
    value = os.urandom(size)
    async with opened(tmp_path) as store:
        assert await store.put("k", value, {"a": 1})
        assert await content(store, "k") == value
        found = await store.read("k")
        assert found is not None
        assert (found[0]["a"], found[1]) == (1, value)
    async with opened(tmp_path) as store:
        assert await content(store, "k") == value


async def test_a_finished_file_is_adopted(tmp_path: Path) -> None:
    """By rename: the same inode, no copy, and nothing is left in `growing`."""
    async with opened(tmp_path) as store:
        part = store.growing / "x.part"
        part.write_bytes(b"w" * MB)
        inode = part.stat().st_ino
        assert await store.adopt("k", part, MB, {"digest": "d"})
        entry = await store.get("k")
        assert entry is not None
        assert entry.file is not None
        with entry.file:
            assert os.fstat(entry.file.fileno()).st_ino == inode
        assert (entry.size, entry.notes["digest"]) == (MB, "d")
        assert list(store.growing.iterdir()) == []


async def test_a_new_value_takes_the_olds_place(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for text in (b"one", b"two" * MB, b"three"):
            assert await store.put("k", text, {})
            assert await content(store, "k") == text
        await store.flush_pending()
        assert (await store.figures())["entries"] == 1
        assert files(tmp_path) == [], "the old value's file was left behind"


async def test_notes_change_and_the_value_stays(tmp_path: Path) -> None:
    """A revalidation (304) writes new times and no body."""
    async with opened(tmp_path) as store:
        await adopt(store, "k", b"v" * MB)
        before = value_file(tmp_path).stat().st_ino
        entry = await store.get("k")
        assert entry is not None
        assert entry.file is not None
        entry.file.close()
        await store.note("k", {**entry.notes, "response_time": 7})
        found = await store.read("k")
        assert found is not None
        assert (found[0]["response_time"], found[1]) == (7, b"v" * MB)
        assert value_file(tmp_path).stat().st_ino == before
        await store.note("nothing", {"a": 1})
        assert await store.get("nothing") is None, "a note made an entry out of nothing"


@pytest.mark.parametrize("way", ["get", "read"])
async def test_notes_that_are_written_while_they_are_read(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are seen by whoever asks after they were given.

    The row was read before they were in it, and when the answer was made they were no longer pending: it had the old ones.
    """
    find = Database.find

    def find_and_wait(database: Database, key: str) -> object:
        found = find(database, key)
        if threading.current_thread().name.startswith("store-read"):
            monkeypatch.undo()
            released.wait(10)
        return found

    released = threading.Event()
    noting = threading.Event()
    async with opened(tmp_path) as store:
        await store.put("k", b"v", {"version": 1})
        await store.flush_pending()
        blocked = store._session.writer.submit(noting.wait, 10)
        await store.note("k", {"version": 2, "size": 1})
        monkeypatch.setattr(Database, "find", find_and_wait)
        reading = asyncio.ensure_future(getattr(store, way)("k"))
        await asyncio.sleep(0.05)
        noting.set()
        blocked.result()
        await store.flush_pending()
        released.set()
        found = await reading
        assert (found.notes if way == "get" else found[0])["version"] == 2


async def test_what_is_put_while_its_notes_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not in the database yet when that was asked, and not looked for among what is pending afterwards: a page was fetched twice."""
    look, looked, put, found_out = Entries.notes, threading.Event(), threading.Event(), threading.Event()

    def look_and_wait(entries: Entries, key: str) -> Notes | None:
        found = look(entries, key)
        looked.set()
        put.wait(10)
        return found

    monkeypatch.setattr(Entries, "notes", look_and_wait)
    async with opened(tmp_path) as store:
        looking = asyncio.ensure_future(store.notes("k"))
        await asyncio.to_thread(looked.wait, 10)
        store._session.writer.submit(found_out.wait, 10)
        await store.put("k", b"v", {"version": 1})
        put.set()
        found = await looking
        found_out.set()
        assert found is not None
        assert found["version"] == 1


async def test_drop(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await adopt(store, "k", b"v" * MB)
        await store.drop("k")
        await store.drop("never there")
        assert await store.get("k") is None
        assert files(tmp_path) == []


async def test_a_reader_survives_a_drop(tmp_path: Path) -> None:
    """POSIX: who has a file open goes on reading, whoever evicts it."""
    async with opened(tmp_path) as store:
        await adopt(store, "k", b"v" * MB)
        entry = await store.get("k")
        assert entry is not None
        assert entry.file is not None
        await store.drop("k")
        with entry.file:
            assert entry.file.read() == b"v" * MB


@pytest.mark.parametrize("key", ["page|pypi|torch|json", "ü|😀", "k" * 2000, "a'b\"c;--", "tab\tline\n"])
async def test_any_text_is_a_key(tmp_path: Path, key: str) -> None:
    async with opened(tmp_path) as store:
        assert await store.put(key, b"v", {})
        assert await adopt(store, key + "2", b"w" * MB)
        assert [await content(store, key), await content(store, key + "2")] == [b"v", b"w" * MB]
        assert await store.get(key[:-1]) is None


async def test_the_folder_is_its_owners(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "store"
    async with opened(folder):
        for path in (folder, folder / "growing", folder / "entries"):
            assert path.stat().st_mode & 0o777 == 0o700, path


async def test_a_hit_writes_nothing(tmp_path: Path) -> None:
    """Access times gather in memory: a hundred hits change nothing in the database."""
    async with opened(tmp_path) as store:
        await store.put("k", b"v", {})
        await store.flush_pending()
        await store.get("k")
        await store.flush_pending()  # the first hit's time may be written down at once
        watcher = sqlite3.connect(tmp_path / "entries" / "cache.db")
        with contextlib.closing(watcher):
            before = watcher.execute("PRAGMA data_version").fetchone()
            for _ in range(100):
                assert await content(store, "k") == b"v"
            assert watcher.execute("PRAGMA data_version").fetchone() == before


# Pickle


class Bomb:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("padding", [0, 100_000], ids=["in the row", "in a file"])
async def test_a_pickled_value_is_refused(tmp_path: Path, padding: int) -> None:
    """CVE-2025-69872: whoever can write into the folder must not be able to run code here. The entry is dropped."""
    trace = tmp_path / "exploded"
    async with opened(tmp_path / "store") as store:
        await store.put("k", b"v", {})
    with diskcache.Cache(str(tmp_path / "store" / "entries")) as plain:
        plain.set("k", (Bomb(trace), b"x" * padding), tag="{}")
    async with opened(tmp_path / "store") as store:
        assert await store.get("k") is None
        assert await store.read("k") is None
        assert not trace.exists(), "a pickle was loaded"
        assert await store.put("k", b"again", {})
        assert await content(store, "k") == b"again"


async def test_a_pickled_key_stops_nothing(tmp_path: Path) -> None:
    """A strange row (a key that was pickled) is never loaded, and is evicted like any other."""
    trace = tmp_path / "exploded"
    async with opened(tmp_path / "store", max_size=5 * MB) as store:
        await store.put("k", b"v", {})
    with diskcache.Cache(str(tmp_path / "store" / "entries")) as plain:
        plain.set((1, Bomb(trace)), b"x" * MB)
    trace.unlink(missing_ok=True)
    async with opened(tmp_path / "store", max_size=5 * MB) as store:
        for number in range(20):
            assert await adopt(store, f"k{number}", b"v" * MB)
            assert (await store.figures())["bytes"] <= 5 * MB
    assert not trace.exists(), "a pickle was loaded"


@pytest.mark.parametrize("value", [{"a": 1}, ["x"], "text", bytearray(b"x")])
async def test_only_bytes_go_in(tmp_path: Path, value: Any) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(TypeError):
            await store.put("k", value, {})
        assert await store.get("k") is None


async def test_only_texts_are_keys(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for key in (1, ("a", "b"), b"bytes", None):
            with pytest.raises(TypeError):
                await store.put(key, b"v", {})  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [5, 3 * MB])
async def test_new_notes_keep_the_values_size(tmp_path: Path, size: int) -> None:
    """The size that reads are checked by stands among the notes; who replaces them need not know it."""
    async with opened(tmp_path) as store:
        if size > MB:
            await adopt(store, "k", bytes(size))
        else:
            await store.put("k", bytes(size), {"version": 1})
        await store.flush_pending()
        await store.note("k", {"version": 2})
        await store.flush_pending()
    async with opened(tmp_path) as store:
        entry = await store.get("k")
        assert entry is not None
        assert (entry.size, entry.notes["version"]) == (size, 2)
        if entry.file is not None:
            entry.file.close()
