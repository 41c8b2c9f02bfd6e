"""The store by its public methods: what it keeps, what it refuses, and what it makes of damage and of kills.

Trouble is never an answer's trouble: whatever has happened to the folder, a `get` gives an entry that is right, or None.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import diskcache
import pytest

from pkgcache.engine.database import Database
from pkgcache.engine.entries import Entries, Notes, StoreFormatError
from pkgcache.engine.health import Health
from pkgcache.engine.store import Store

MB: Final = 1_000_000
ADDON: Final = Path(__file__).resolve().parents[2] / "addon"


@contextlib.asynccontextmanager
async def opened(folder: Path, **more: Any) -> AsyncIterator[Store]:
    """A store that is open."""
    health = more.pop("health", None) or Health()
    store = Store(folder, **{"max_size": 100 * MB, "min_free": 0, "inactive": 0.0, "health": health, **more})
    store.open()
    try:
        yield store
    finally:
        await store.close()


def told(story: Callable[[], Awaitable[None]]) -> None:
    """Run a test's story."""
    asyncio.run(asyncio.wait_for(story(), 60))  # type: ignore[arg-type]


async def adopt(store: Store, key: str, content: bytes, name: str = "x") -> bool:
    """A finished download becomes an entry."""
    part = store.growing / f"{name}.part"
    part.write_bytes(content)
    return await store.adopt(key, part, len(content), {"name": key})


async def content(store: Store, key: str) -> bytes | None:
    """An entry's value, whichever way it is given."""
    entry = await store.get(key)
    if entry is None:
        return None
    if entry.file is None:
        return entry.value
    with entry.file:
        return entry.file.read()


def files(folder: Path) -> list[Path]:
    """The value files."""
    return [path for path in (folder / "entries").rglob("*") if path.is_file() and not path.name.startswith("cache.db")]


def size_of_files(folder: Path) -> int:
    """Bytes of the value files, while eviction may be taking some away."""
    total = 0
    for path in files(folder):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def everything(folder: Path) -> dict[Path, bytes]:
    """All files of a folder with their bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def value_file(folder: Path) -> Path:
    (path,) = files(folder)
    return path


# What it keeps


@pytest.mark.parametrize("size", [0, 1, 1000, 40_000, 3 * MB])
def test_bytes_come_back(tmp_path: Path, size: int) -> None:
    """Small values lie in the database and large ones beside it: nobody can tell."""

    async def story() -> None:
        value = os.urandom(size)
        async with opened(tmp_path) as store:
            assert await store.put("k", value, {"a": 1})
            assert await content(store, "k") == value
            found = await store.read("k")
            assert found is not None
            assert (found[0]["a"], found[1]) == (1, value)
        async with opened(tmp_path) as store:
            assert await content(store, "k") == value

    told(story)


def test_a_finished_file_is_adopted(tmp_path: Path) -> None:
    """By rename: the same inode, no copy, and nothing is left in `growing`."""

    async def story() -> None:
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

    told(story)


def test_a_new_value_takes_the_olds_place(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            for text in (b"one", b"two" * MB, b"three"):
                assert await store.put("k", text, {})
                assert await content(store, "k") == text
            await store.settle()
            assert (await store.figures())["entries"] == 1
            assert files(tmp_path) == [], "the old value's file was left behind"

    told(story)


def test_notes_change_and_the_value_stays(tmp_path: Path) -> None:
    """A revalidation (304) writes new times and no body."""

    async def story() -> None:
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

    told(story)


@pytest.mark.parametrize("way", ["get", "read"])
def test_notes_that_are_written_while_they_are_read(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
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

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.put("k", b"v", {"version": 1})
            await store.settle()
            blocked = store._access.writer.submit(noting.wait, 10)
            await store.note("k", {"version": 2, "size": 1})
            monkeypatch.setattr(Database, "find", find_and_wait)
            reading = asyncio.ensure_future(getattr(store, way)("k"))
            await asyncio.sleep(0.05)
            noting.set()
            blocked.result()
            await store.settle()
            released.set()
            found = await reading
            assert (found.notes if way == "get" else found[0])["version"] == 2

    noting = threading.Event()
    told(story)


def test_what_is_put_while_its_notes_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not in the database yet when that was asked, and not looked for among what is pending afterwards: a page was fetched twice."""
    look, looked, put, found_out = Entries.notes, threading.Event(), threading.Event(), threading.Event()

    def look_and_wait(entries: Entries, key: str) -> Notes | None:
        found = look(entries, key)
        looked.set()
        put.wait(10)
        return found

    monkeypatch.setattr(Entries, "notes", look_and_wait)

    async def story() -> None:
        async with opened(tmp_path) as store:
            looking = asyncio.ensure_future(store.notes("k"))
            await asyncio.to_thread(looked.wait, 10)
            store._access.writer.submit(found_out.wait, 10)
            await store.put("k", b"v", {"version": 1})
            put.set()
            found = await looking
            found_out.set()
            assert found is not None
            assert found["version"] == 1

    told(story)


def test_drop(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            await adopt(store, "k", b"v" * MB)
            await store.drop("k")
            await store.drop("never there")
            assert await store.get("k") is None
            assert files(tmp_path) == []

    told(story)


def test_a_reader_survives_a_drop(tmp_path: Path) -> None:
    """POSIX: who has a file open goes on reading, whoever evicts it."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await adopt(store, "k", b"v" * MB)
            entry = await store.get("k")
            assert entry is not None
            assert entry.file is not None
            await store.drop("k")
            with entry.file:
                assert entry.file.read() == b"v" * MB

    told(story)


@pytest.mark.parametrize("key", ["page|pypi|torch|json", "ü|😀", "k" * 2000, "a'b\"c;--", "tab\tline\n"])
def test_any_text_is_a_key(tmp_path: Path, key: str) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            assert await store.put(key, b"v", {})
            assert await adopt(store, key + "2", b"w" * MB)
            assert [await content(store, key), await content(store, key + "2")] == [b"v", b"w" * MB]
            assert await store.get(key[:-1]) is None

    told(story)


def test_the_folder_is_its_owners(tmp_path: Path) -> None:
    async def story() -> None:
        folder = tmp_path / "deep" / "store"
        async with opened(folder):
            for path in (folder, folder / "growing", folder / "entries"):
                assert path.stat().st_mode & 0o777 == 0o700, path

    told(story)


def test_a_hit_writes_nothing(tmp_path: Path) -> None:
    """Access times gather in memory: a hundred hits change nothing in the database."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.put("k", b"v", {})
            await store.settle()
            await store.get("k")
            await store.settle()  # the first hit's time may be written down at once
            watcher = sqlite3.connect(tmp_path / "entries" / "cache.db")
            with contextlib.closing(watcher):
                before = watcher.execute("PRAGMA data_version").fetchone()
                for _ in range(100):
                    assert await content(store, "k") == b"v"
                assert watcher.execute("PRAGMA data_version").fetchone() == before

    told(story)


# Bounds


def test_the_limit_is_never_passed(tmp_path: Path) -> None:
    """Room is made before something comes in, so that not even for a moment more is kept than was allowed."""

    async def story() -> None:
        async with opened(tmp_path, max_size=10 * MB) as store:
            for number in range(40):
                size = (number * 7 % 30 + 1) * 100_000
                assert await adopt(store, f"k{number}", bytes([number]) * size)
                assert (await store.figures())["bytes"] <= 10 * MB
                assert size_of_files(tmp_path) <= 10 * MB
                assert await content(store, f"k{number}") == bytes([number]) * size, "the newest was evicted"
            assert (await store.figures())["entries"] > 1

    told(story)


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    async def story() -> None:
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

    told(story)


def test_access_times_outlive_the_process(tmp_path: Path) -> None:
    """What gathered in memory is written down at the close: the next process evicts in the right order."""

    async def story() -> None:
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

    told(story)


def test_small_values_count_too(tmp_path: Path) -> None:
    """Pages lie in the database: ten thousand of them must not grow past the limit for want of files."""

    async def story() -> None:
        async with opened(tmp_path, max_size=2 * MB) as store:
            for number in range(400):
                assert await store.put(f"page{number}", os.urandom(20_000), {})
            assert (await store.figures())["entries"] < 150
            assert await store.get("page399") is not None

    told(story)


def test_what_is_larger_than_the_store_is_not_kept(tmp_path: Path) -> None:
    """And evicts nothing for it."""

    async def story() -> None:
        async with opened(tmp_path, max_size=5 * MB) as store:
            await adopt(store, "k", b"v" * MB)
            assert not await adopt(store, "huge", b"h" * 6 * MB)
            assert await store.get("huge") is None
            assert await content(store, "k") == b"v" * MB

    told(story)


def test_what_nobody_asks_for_is_dropped(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, inactive=0.3) as store:
            for number in range(50):  # more than one slice
                await store.put(f"old{number}", b"v", {})
            await asyncio.sleep(0.4)
            await store.put("young", b"v", {})
            while (await store.figures())["entries"] > 1:
                await store.tend()
                await asyncio.sleep(0.02)
                await store.get("young")
                await store.settle()
            assert await store.get("old0") is None
            assert await store.get("young") is not None
        async with opened(tmp_path, inactive=0.0) as store:
            await asyncio.sleep(0.1)
            await store.tend()
            assert await store.get("young") is not None, "0 means never"

    told(story)


# Pickle


class Bomb:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("padding", [0, 100_000], ids=["in the row", "in a file"])
def test_a_pickled_value_is_refused(tmp_path: Path, padding: int) -> None:
    """CVE-2025-69872: whoever can write into the folder must not be able to run code here. The entry is dropped."""
    trace = tmp_path / "exploded"

    async def story() -> None:
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

    told(story)


def test_a_pickled_key_stops_nothing(tmp_path: Path) -> None:
    """A strange row (a key that was pickled) is never loaded, and is evicted like any other."""
    trace = tmp_path / "exploded"

    async def story() -> None:
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

    told(story)


@pytest.mark.parametrize("value", [{"a": 1}, ["x"], "text", bytearray(b"x")])
def test_only_bytes_go_in(tmp_path: Path, value: Any) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(TypeError):
                await store.put("k", value, {})
            assert await store.get("k") is None

    told(story)


def test_only_texts_are_keys(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            for key in (1, ("a", "b"), b"bytes", None):
                with pytest.raises(TypeError):
                    await store.put(key, b"v", {})  # type: ignore[arg-type]

    told(story)


# Damage

DAMAGE: Final[dict[str, Callable[[Path], object]]] = {
    "no database at all": lambda database: database.write_bytes(b"this is no database " * 1000),
    "a header and nothing behind it": lambda database: database.write_bytes(b"SQLite format 3\0" + b"\xff" * 4000),
    "its first page overwritten": lambda database: _overwrite(database, 0, 4096),
}


def _overwrite(path: Path, offset: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xaa" * size)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_database_is_set_aside(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    """The proxy starts with an empty store; what was there is kept for whoever wants to look."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await adopt(store, "k", b"v" * MB)
        database = tmp_path / "entries" / "cache.db"
        for leftover in ("cache.db-wal", "cache.db-shm"):
            (tmp_path / "entries" / leftover).unlink(missing_ok=True)
        damage(database)
        health = Health()
        async with opened(tmp_path, health=health) as store:
            assert await store.get("k") is None
            assert await adopt(store, "k", b"again" * MB)
            assert await content(store, "k") == b"again" * MB
            assert not health.trouble

    told(story)
    (aside,) = tmp_path.glob("entries.damaged-*")
    assert (aside / "cache.db").exists()


def test_damage_while_it_runs_is_no_answers_trouble(tmp_path: Path) -> None:
    """Rows that cannot be read are misses; nothing is raised; /healthz tells."""

    async def story() -> None:
        health = Health()
        async with opened(tmp_path, health=health) as store:
            await store.put("k", b"v", {})
            database = tmp_path / "entries" / "cache.db"
            for path in (database, database.with_name("cache.db-wal")):
                if path.exists():
                    path.write_bytes(b"\xaa" * path.stat().st_size)
            for _ in range(3):
                assert await content(store, "k") in {None, b"v"}
                await store.put("other", b"v", {})

    told(story)


def test_a_missing_file_heals(tmp_path: Path) -> None:
    """Somebody has tidied up: a miss, and the row is gone too, so that it counts for nothing."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await adopt(store, "k", b"v" * MB)
            value_file(tmp_path).unlink()
            assert await store.get("k") is None
            figures = await store.figures()
            assert figures["entries"] == 0, "the row of a file that is gone still counts"
            assert figures["bytes"] < MB
            assert await adopt(store, "k", b"w" * MB)
            assert await content(store, "k") == b"w" * MB

    told(story)


@pytest.mark.parametrize("size", [0, 1, MB - 1, MB + 1])
def test_a_wrong_size_heals(tmp_path: Path, size: int) -> None:
    """A file that is shorter or longer than it was (a full disk, a crash before the pages were written) is dropped."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await adopt(store, "k", b"v" * MB)
            os.truncate(value_file(tmp_path), size)
            assert await store.get("k") is None
            assert (await store.figures())["entries"] == 0
            assert await adopt(store, "k", b"w" * MB)
            assert await content(store, "k") == b"w" * MB

    told(story)


@pytest.mark.parametrize("tag", [None, "", "no json", "[1]", "7", '"text"', '{"size": "many"}', b"\xff\xfe"])
def test_damaged_notes_are_a_miss(tmp_path: Path, tag: Any) -> None:
    """Notes that cannot be read would be served as headers: the entry is dropped instead."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await adopt(store, "k", b"v" * MB)
            await store.put("page", b"v", {})
        with contextlib.closing(sqlite3.connect(tmp_path / "entries" / "cache.db")) as database, database:
            database.execute("UPDATE Cache SET tag = ?", (tag,))
        async with opened(tmp_path) as store:
            assert await store.get("k") is None
            assert await store.get("page") is None
            assert await store.put("page", b"w", {})
            assert await content(store, "page") == b"w"

    told(story)


# Formats


@pytest.mark.parametrize("mark", ["2", "999"])
def test_a_newer_format_is_refused(tmp_path: Path, mark: str) -> None:
    """A newer store is never misread, and never touched: one line says what to do."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.put("k", b"v", {})
        (tmp_path / "format").write_text(mark)
        before = everything(tmp_path)
        with pytest.raises(StoreFormatError) as caught:
            async with opened(tmp_path):
                pass
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert everything(tmp_path) == before

    told(story)


@pytest.mark.parametrize("mark", ["0", "", "x", "1.1", "../y", "-1"])
def test_an_older_format_is_set_aside(tmp_path: Path, mark: str, caplog: pytest.LogCaptureFixture) -> None:
    """An older store, or one whose mark makes no sense, is never misread: it is set aside, and one line says where."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.put("k", b"v", {})
        (tmp_path / "format").write_text(mark)
        async with opened(tmp_path) as store:
            assert await store.get("k") is None
            assert await store.put("k", b"w", {})
        assert [path for path in everything(tmp_path) if path.match("entries.format-*/cache.db")]
        assert [record.levelname for record in caplog.records if "set aside" in record.getMessage()] == ["WARNING"]
        async with opened(tmp_path) as store:
            assert await content(store, "k") == b"w"

    told(story)


def test_a_format_that_is_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.put("k", b"v", {})
        mark = (tmp_path / "format").read_text().strip()
        (tmp_path / "format").write_text(f"  {mark}\n\n")
        async with opened(tmp_path) as store:
            assert await content(store, "k") == b"v"

    told(story)


# Several processes


def test_two_stores_on_one_folder(tmp_path: Path) -> None:
    """What one process keeps, the other has; both write at once, and nothing is lost to "database is locked"."""

    async def story() -> None:
        async with opened(tmp_path) as one, opened(tmp_path) as two:
            await one.put("k", b"v", {})
            await one.settle()
            assert await content(two, "k") == b"v"
            await two.drop("k")
            assert await one.get("k") is None

            async def write(store: Store, name: str) -> list[bool]:
                return [await adopt(store, f"{name}{n}", f"{name}{n}".encode() * 9000, name) for n in range(60)]

            kept = await asyncio.gather(write(one, "a"), write(two, "b"))
            assert all(kept[0])
            assert all(kept[1])
            for name in ("a", "b"):
                for n in range(60):
                    assert await content(one, f"{name}{n}") == f"{name}{n}".encode() * 9000
            assert (await one.figures())["entries"] == (await two.figures())["entries"] == 120

    told(story)


def test_a_sibling_that_writes_long_is_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            other = sqlite3.connect(tmp_path / "entries" / "cache.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            assert await store.put("k", b"v", {})
            assert await content(store, "k") == b"v", "what is yet to be written can be read"
            writing = asyncio.create_task(store.settle())
            await asyncio.sleep(0.5)
            assert not writing.done()
            assert await store.get("none") is None, "a reader waits for a writer"
            assert await content(store, "k") == b"v"
            other.execute("ROLLBACK")
            other.close()
            await writing
            assert await content(store, "k") == b"v"
            assert time.monotonic() - started < 5

    told(story)


# What a kill leaves behind


def test_an_unfinished_download_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    """And what a living one is at is not: it holds the lock."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            growing = store.growing
        for name in ("dead", "alive"):
            (growing / f"{name}.part").write_bytes(b"half")
            (growing / f"{name}.json").write_text("{}")
        with (growing / "alive.part").open("r+b") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            async with opened(tmp_path):
                pass
            assert {path.name for path in growing.iterdir()} == {"alive.part", "alive.json"}
        async with opened(tmp_path):
            assert list(growing.iterdir()) == []

    told(story)


@pytest.mark.parametrize("journal", ["", "{", "[]", "{}", '{"key": "k"}', '{"key": 1, "filename": null}', "\0\0\0"])
def test_a_journal_that_makes_no_sense_is_removed(tmp_path: Path, journal: str) -> None:
    """The kill came while the journal itself was written: then there is nothing to undo."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await adopt(store, "k", b"v" * MB)
            (store.growing / "y.commit").write_text(journal)
            growing = store.growing
        async with opened(tmp_path) as store:
            assert store.growing == growing, "the store gave up"
            assert list(growing.iterdir()) == []
            assert await content(store, "k") == b"v" * MB

    told(story)


def test_a_journal_before_the_row(tmp_path: Path) -> None:
    """Killed after the rename and before the row: the file belongs to nobody, and is removed."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            growing = store.growing
        orphan = tmp_path / "entries" / "aa" / "bb" / "orphan.val"
        orphan.parent.mkdir(parents=True)
        orphan.write_bytes(b"v" * MB)
        (growing / "x.commit").write_text(json.dumps({"key": "k", "filename": "aa/bb/orphan.val"}))
        async with opened(tmp_path) as store:
            assert not orphan.exists()
            assert await store.get("k") is None
            assert list(growing.iterdir()) == []

    told(story)


def test_a_journal_after_the_row(tmp_path: Path) -> None:
    """Killed after the row and before the journal went: the entry is whole, and stays."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await adopt(store, "k", b"v" * MB)
            growing = store.growing
        name = value_file(tmp_path).relative_to(tmp_path / "entries").as_posix()
        (growing / "x.commit").write_text(json.dumps({"key": "k", "filename": name}))
        async with opened(tmp_path) as store:
            assert await content(store, "k") == b"v" * MB
            assert list(growing.iterdir()) == []

    told(story)


KILLED: Final = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, {addon!r})
from pkgcache.engine.health import Health
from pkgcache.engine.store import Store

async def main():
    store = Store(Path({folder!r}), max_size=10**9, min_free=0, inactive=0.0, health=Health())
    store.open()
    part = store.growing / "x.part"
    part.write_bytes(b"new" * 500_000)
    seen = 0

    def watch(event, args):
        nonlocal seen
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.fsync", "sqlite3.connect"):
            seen += 1
            if seen == {instant}:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    kept = await store.adopt("k", part, 1_500_000, {{}})
    print("kept", kept, seen)
    os._exit(0)

asyncio.run(main())
"""


@pytest.mark.parametrize("instant", range(1, 11))
def test_a_kill_at_any_instant_of_a_commit(tmp_path: Path, instant: int) -> None:
    """A process is killed at its n-th opening, renaming or removing of a file in a commit: a whole entry, or the old one."""

    async def before() -> None:
        async with opened(tmp_path) as store:
            await adopt(store, "k", b"old" * 500_000)

    async def after() -> None:
        async with opened(tmp_path) as store:
            assert list(store.growing.iterdir()) == [], "a leftover"
            found = await content(store, "k")
            whole = {b"new" * 500_000} if done.returncode == 0 else {b"new" * 500_000, b"old" * 500_000}
            assert found in whole, f"{found and found[:9]!r}…"
            assert len(files(tmp_path)) == 1, "a file that no row knows"

    told(before)
    program = KILLED.format(addon=str(ADDON), folder=str(tmp_path), instant=instant)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    told(after)


# A folder that cannot be used


def unusable_file(tmp_path: Path) -> Path:
    """A file is in the folder's place (root may write anywhere, so permissions prove nothing here)."""
    path = tmp_path / "store"
    path.write_text("I was here first")
    return path


def unusable_entries(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    path.mkdir()
    (path / "entries").write_text("I was here first")
    (path / "format").write_text("1\n")
    return path


def unusable_parent(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("I was here first")
    return tmp_path / "file" / "store"


@pytest.mark.parametrize("make", [unusable_file, unusable_entries, unusable_parent])
def test_a_folder_that_cannot_be_used_keeps_nothing(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Downloads still go through (they grow in a folder of their own that goes with the process); /healthz tells."""

    async def story() -> None:
        folder, health = make(tmp_path), Health()
        async with opened(folder, health=health) as store:
            assert str(folder) in health.trouble["store"]
            assert not await store.put("k", b"v", {})
            assert not await adopt(store, "k2", b"v" * MB)
            assert await store.get("k") is None
            assert await store.read("k2") is None
            await store.note("k", {})
            await store.drop("k")
            await store.tend()
            assert (await store.figures())["entries"] == 0
            growing = store.growing
            assert growing.is_dir()
        assert not growing.exists()

    told(story)


def test_trouble_is_told_once_and_its_end_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk is one line in the log and not one for each request."""

    async def story() -> None:
        health = Health()
        async with opened(tmp_path, health=health) as store:
            missing = store.growing / "not-there.part"
            for _ in range(5):
                assert not await store.adopt("k", missing, 5, {})
            assert "store-write" in health.trouble
            assert store.growing.parent != tmp_path, "downloads go elsewhere meanwhile"
            assert not await store.adopt("k", store.growing / "x.part", 5, {})
            await store.tend()
            assert not health.trouble
            assert store.growing.parent == tmp_path

    told(story)
    lines = [record.getMessage() for record in caplog.records if "store" in record.getMessage()]
    assert len([line for line in lines if "cannot be written" in line]) == 1
    assert len([line for line in lines if "works again" in line]) == 1
