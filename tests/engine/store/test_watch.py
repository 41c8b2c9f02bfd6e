"""What other processes do to entries in memory: one look at the change log drops them, whoever wrote and by whatever program.

Here each test looks by hand. tests/e2e/test_siblings.py has running proxies, which look by themselves.
"""

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import diskcache
import pytest

from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store import change_log, watch
from pkgcache.engine.store.change_log import ChangeLog, Changes
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.watch import HOT_SECONDS, StoreWatch, WatchedMemory
from tests.engine.store.stores import MB, adopt_file, content, opened, value_file, watched
from tests.support.old_store import unpack


def key(number: int = 0) -> StoreKey:
    return StoreKey(f"file|-|sha256:x|x-1.{number}-py3-none-any.whl")


def changed(*keys: str) -> Changes:
    return Changes(frozenset(map(StoreKey, keys)))


@contextlib.contextmanager
def entries(folder: Path) -> Iterator[Entries]:
    """The store as another process of this version has it open."""
    found = Entries(folder, max_size=100 * MB, min_free=0)
    found.open()
    with contextlib.closing(found):
        yield found


def database(folder: Path) -> Path:
    return folder / "entries" / "cache.db"


def run_sql(folder: Path, *statements: str) -> list[Any]:
    """Run SQL statements on a connection of their own, as another program would; returns the rows of the last one."""
    with contextlib.closing(sqlite3.connect(database(folder), isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def diskcached(folder: Path) -> diskcache.Cache:
    """As by a version of this program that knew nothing of the log: diskcache alone."""
    return diskcache.Cache(str(folder / "entries"), eviction_policy="none", cull_limit=0, size_limit=1 << 62)


# What counts as a change


def drop_rows(folder: Path) -> None:
    with entries(folder) as store:
        store.drop_rows(list(store.rows()))


def evict(folder: Path) -> None:
    with entries(folder) as store:
        assert store.eviction.evict_slice(MB) > 0


def drop_inactive(folder: Path) -> None:
    with entries(folder) as store:
        assert store.eviction.drop_inactive_slice(1e11) > 0


def other_program(folder: Path) -> None:
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('UPDATE Cache SET tag = tag'); c.commit()"
    )
    subprocess.run([sys.executable, "-S", "-c", program, str(database(folder))], check=True)


def cull(folder: Path) -> None:
    with diskcached(folder) as cache:
        cache.reset("eviction_policy", "least-recently-stored")
        cache.reset("size_limit", 1)
        assert cache.cull() > 0


def expire(folder: Path) -> None:
    with diskcached(folder) as cache:
        cache.touch(key(), expire=-1)
        assert cache.expire() > 0


def replace_large(folder: Path) -> None:
    with diskcached(folder) as cache:
        cache.set(key(), bytes(MB), tag="{}")


def with_entries(act: Callable[[Entries], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with entries(folder) as store:
            act(store)

    return change


def with_diskcache(act: Callable[[diskcache.Cache], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with diskcached(folder) as cache:
            act(cache)

    return change


def with_sql(statement: str) -> Callable[[Path], object]:
    return lambda folder: run_sql(folder, statement)


CHANGES: Final[dict[str, Callable[[Path], object]]] = {
    "replaced": with_entries(lambda store: store.put(key(), b"new", {})),
    "replaced by a file": with_entries(lambda store: store.put(key(), bytes(MB), {})),
    "dropped": with_entries(lambda store: store.drop(key())),
    "its notes changed": with_entries(lambda store: store.note(key(), {"digest": "another"})),
    "rows dropped, as by purge and verify": drop_rows,
    "evicted": evict,
    "inactive": drop_inactive,
    "diskcache: set": with_diskcache(lambda cache: cache.set(key(), b"new", tag="{}")),
    "diskcache: set to a file": replace_large,
    "diskcache: delete": with_diskcache(lambda cache: cache.delete(key())),
    "diskcache: pop": with_diskcache(lambda cache: cache.pop(key())),
    "diskcache: clear": with_diskcache(lambda cache: cache.clear()),
    "diskcache: evict by tag": with_diskcache(lambda cache: cache.evict(cache.get(key(), tag=True)[1])),
    "diskcache: cull": cull,
    "diskcache: expire": expire,
    "SQL: DELETE of everything": with_sql("DELETE FROM Cache"),
    "SQL: INSERT OR REPLACE": with_sql(f"INSERT OR REPLACE INTO Cache (key, raw, value) VALUES ('{key()}', 1, x'00')"),
    "SQL: a renamed row": with_sql("UPDATE Cache SET key = 'other'"),
    "SQL in a process of its own": other_program,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_change_is_seen_by_the_next_look(
    tmp_path: Path, change: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, monkeypatch) as store:
        await adopt_file(store, key(), b"old" * 1000)
        await store.watch.look()
        assert await content(store, key()) == b"old" * 1000
        assert store.from_memory(key()) is not None
        await asyncio.to_thread(change, tmp_path)
        await store.watch.look()
        assert store.watch.is_current()
        assert store.from_memory(key()) is None


NO_CHANGES: Final[dict[str, Callable[[Path], object]]] = {
    "nothing": lambda _: None,
    "touched": with_entries(lambda store: store.touch({key(): 1e11})),
    "read": with_diskcache(lambda cache: cache.get(key())),
    "counted": with_sql("UPDATE Cache SET access_time = 1e11, access_count = access_count + 1"),
    "another entry": with_entries(lambda store: store.put(StoreKey("page"), b"p", {})),
    "a checkpoint": with_sql("PRAGMA wal_checkpoint(TRUNCATE)"),
    "opened by an older version": with_diskcache(len),
    "rolled back": lambda folder: run_sql(folder, "BEGIN IMMEDIATE", "DELETE FROM Cache", "ROLLBACK"),
}


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
async def test_what_is_no_change_leaves_it_in_memory(
    tmp_path: Path, change: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, monkeypatch) as store:
        await adopt_file(store, key(), b"old" * 1000)
        await store.watch.look()
        assert await content(store, key()) == b"old" * 1000
        await asyncio.to_thread(change, tmp_path)
        await store.watch.look()
        assert store.from_memory(key()) is not None


async def test_what_is_in_doubt_is_compared_by_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its notes are read again, and its file, which is not another one, is not."""
    async with watched(tmp_path, monkeypatch) as store:
        await adopt_file(store, key(), b"v" * 1000)
        assert await content(store, key()) == b"v" * 1000
        value_file(tmp_path).unlink()
        with entries(tmp_path) as other:
            other.note(key(), {"said": "by another"})
        await store.watch.look()
        assert store.from_memory(key()) is None
        found = await store.get(key())
        assert found is not None
        assert (found.value, found.notes["said"]) == (b"v" * 1000, "by another")
        found = store.from_memory(key())
        assert found is not None
        assert found.notes["said"] == "by another"


def test_a_memory() -> None:
    """What is put is given until something is heard of its entry; what was read before that is not believed afterwards."""
    used: list[StoreKey] = []
    memory: WatchedMemory[str] = WatchedMemory(2, lambda: True, used.append)
    a, b, c = StoreKey("a"), StoreKey("b"), StoreKey("c")
    memory.put(a, "1", 1, memory.moment)
    memory.put(b, "1", 1, memory.moment)
    memory.doubt(a)
    assert (memory.get(a), memory.get_unchecked(a), memory.get(b)) == (None, "1", "1")
    assert used == [b]
    began = memory.moment
    memory.put(a, "2", 1, began)
    assert memory.get(a) == "2"
    memory.doubt(b)
    memory.put(a, "3", 1, began)
    assert (memory.get(a), memory.get_unchecked(a)) == (None, "3"), "read before b changed, and who knows what else"
    memory.put(a, "4", 1, memory.moment)
    memory.doubt_all()
    assert (memory.get(a), memory.get(b)) == (None, None)
    memory.put(a, "5", 1, memory.moment)
    memory.put(c, "5", 1, memory.moment)
    assert (memory.get(a), memory.get_unchecked(b), memory.get(c)) == ("5", None, "5"), "bounded"
    memory.drop(a)
    assert memory.get_unchecked(a) is None


# The log


def test_a_touch_logs_nothing(tmp_path: Path) -> None:
    """Hits must not make each other's memory worth less. Anything else logs its key, once or more."""
    with entries(tmp_path) as store:
        log = store.change_log
        assert log.new() == Changes(unknown=True), "it does not know since when"
        assert log.new() == Changes()
        store.put(StoreKey("a"), b"1", {})
        store.put(StoreKey("b"), b"1", {})
        assert log.new() == changed("a", "b")
        store.touch({StoreKey("a"): 1e11})
        assert log.new() == Changes()
        store.note(StoreKey("a"), {})
        assert log.new() == changed("a")
        store.drop(StoreKey("b"))
        assert log.new() == changed("b")


def test_it_is_bounded(tmp_path: Path) -> None:
    """Whoever writes, and a reader that was away for too long knows that it has missed something."""
    with entries(tmp_path) as store:
        store.put(StoreKey("a"), b"1", {})
        assert store.change_log.new() is not None
        with contextlib.closing(sqlite3.connect(database(tmp_path))) as other, other:
            other.executemany("UPDATE Cache SET tag = ?", ([str(number)] for number in range(2 * change_log.LINES)))
        ((count,),) = run_sql(tmp_path, "SELECT count(*) FROM EntryChanges")
        assert change_log.LINES <= count <= change_log.LINES + change_log.TRIM
        assert store.change_log.new() == Changes(unknown=True)
        store.put(StoreKey("b"), b"1", {})
        assert store.change_log.new() == changed("b")


@pytest.mark.parametrize("number", [change_log.LINES - 2, change_log.LINES - 1])
def test_all_lines_or_none(tmp_path: Path, number: int) -> None:
    """Of so many changes that the log just holds them each is told; of more it is said that some are missing."""
    with entries(tmp_path) as store:
        assert store.change_log.new() is not None
        with contextlib.closing(sqlite3.connect(database(tmp_path))) as other, other:
            other.executemany(
                "INSERT INTO Cache (key, raw, tag) VALUES (?, 1, '{}')", ([f"k{each}"] for each in range(number))
            )
        found = store.change_log.new()
        assert found is not None
        assert found.unknown or len(found.keys) == number
        assert found.unknown == (number > change_log.LINES - 2)


DAMAGE: Final[dict[str, tuple[str, ...]]] = {
    "no log": ("DROP TABLE EntryChanges", *(f"DROP TRIGGER EntryChanges_{n}" for n in ("insert", "update", "delete"))),
    "no table": ("DROP TABLE EntryChanges",),
    "no trigger for deletions": ("DROP TRIGGER EntryChanges_delete",),
    "no bound": ("DROP TRIGGER EntryChanges_trim",),
    "another trigger of that name": (
        "DROP TRIGGER EntryChanges_update",
        "CREATE TRIGGER EntryChanges_update AFTER UPDATE OF key ON Cache BEGIN SELECT 1; END",
    ),
    "other columns": ("ALTER TABLE EntryChanges RENAME COLUMN key TO name",),
    "a view": ("DROP TABLE EntryChanges", "CREATE VIEW EntryChanges AS SELECT 1 AS id, 2 AS key"),
    "something more": ("CREATE TABLE EntryChanges_2 (id)", "CREATE INDEX EntryChanges_3 ON EntryChanges_2 (id)"),
    "an odd name": ('CREATE TABLE "EntryChanges""; x" (id)',),
    "no lines": ("DELETE FROM EntryChanges",),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_a_damaged_log_is_made_anew(
    tmp_path: Path, damage: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then nothing is served from memory; what changed meanwhile is not served from there afterwards; and nobody is alarmed."""
    health = Health()
    async with watched(tmp_path, monkeypatch, health=health) as store:
        await adopt_file(store, key(), b"old" * 1000)
        await store.watch.look()
        assert await content(store, key()) == b"old" * 1000
        run_sql(tmp_path, *damage)
        await store.watch.look()
        assert store.from_memory(key()) is None
        assert await content(store, key()) == b"old" * 1000
        run_sql(tmp_path, "DROP TRIGGER IF EXISTS EntryChanges_delete", "DELETE FROM Cache")
        await store.run_maintenance()
        await store.watch.look()
        assert store.watch.is_current()
        assert store.from_memory(key()) is None
        assert await content(store, key()) is None
        assert await adopt_file(store, key(), b"new")
        assert await content(store, key()) == b"new"
        assert store.from_memory(key()) is not None
        assert not health.problems


@pytest.mark.parametrize("line", ["x'ff'", "7", "NULL", "CAST(x'ff00' AS TEXT)", "zeroblob(100000)"])
def test_odd_keys(tmp_path: Path, line: str) -> None:
    """Whoever can write to the database can write any key."""
    with entries(tmp_path) as store:
        assert store.change_log.new() is not None
        run_sql(tmp_path, f"INSERT INTO EntryChanges (key) VALUES ({line}), ('a')")
        found = store.change_log.new()
        assert found is not None
        assert "a" in found.keys
        assert store.change_log.new() == Changes()


def test_a_log_that_began_again(tmp_path: Path) -> None:
    """Between two looks, and has as many lines as the last one: its numbers are others."""
    with entries(tmp_path) as store:
        store.put(StoreKey("a"), b"1", {})
        assert store.change_log.new() is not None
        run_sql(tmp_path, "DROP TABLE EntryChanges")
        store.change_log.make(1.0)
        for _ in range(5):
            store.put(StoreKey("a"), b"1", {})
        assert store.change_log.new() == Changes(unknown=True)


@pytest.mark.parametrize("missing", ["line", "lines in the middle"])
def test_a_gap(tmp_path: Path, missing: str) -> None:
    with entries(tmp_path) as store:
        store.put(StoreKey("a"), b"1", {})
        assert store.change_log.new() is not None
        if missing == "line":
            run_sql(tmp_path, "DELETE FROM EntryChanges")
        for _ in range(5):
            store.put(StoreKey("a"), b"1", {})
        if missing != "line":
            run_sql(tmp_path, "DELETE FROM EntryChanges WHERE id = (SELECT max(id) - 2 FROM EntryChanges)")
        assert store.change_log.new() == Changes(unknown=True)


# Stores of other versions, and disks in trouble


def test_a_store_of_the_version_before(tmp_path: Path) -> None:
    """It gets its log when it is opened, and no entry is lost; the version before goes on with it and without harm."""
    unpack(tmp_path)
    keys = {name for (name,) in run_sql(tmp_path, "SELECT key FROM Cache")}
    assert keys
    assert not run_sql(tmp_path, "SELECT * FROM sqlite_master WHERE name GLOB 'EntryChanges*'")
    with entries(tmp_path) as store:
        assert store.change_log.is_made
        assert store.change_log.new() == Changes(unknown=True)
        assert {row.key for row in store.rows()} == keys
        with diskcached(tmp_path) as older:
            older.set("k", b"v", tag='{"size": 1}')
            assert older.check() == []
        assert store.change_log.new() == changed("k")
        found = store.get(StoreKey("k"))
        assert found is not None
        assert found.value == b"v"


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    """Not the log, nor what another process has read of it."""
    with entries(tmp_path) as store:
        store.put(StoreKey("a"), b"1", {})
        assert store.change_log.new() is not None
        before = run_sql(tmp_path, "SELECT * FROM EntryChanges")
        with entries(tmp_path) as other:
            assert other.change_log.is_made
        assert run_sql(tmp_path, "SELECT * FROM EntryChanges") == before
        assert store.change_log.new() == Changes()


async def test_a_log_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: the store is used as it is, through its rows, until there is room for the log."""
    full = sqlite3.OperationalError("database or disk is full")

    def fails(_: ChangeLog) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(ChangeLog, "_remake", fails)
        async with watched(tmp_path, monkeypatch) as store:
            await adopt_file(store, key(), b"v" * 1000)
            await store.run_maintenance()
            await store.watch.look()
            assert not store.watch.is_current()
            assert await content(store, key()) == b"v" * 1000
            assert store.from_memory(key()) is None
            patch.undo()
            await store.run_maintenance()
            await store.watch.look()
            assert await content(store, key()) == b"v" * 1000
            assert store.from_memory(key()) is not None


async def test_a_store_that_can_only_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking writes nothing."""
    async with watched(tmp_path, monkeypatch) as store:
        await adopt_file(store, key(), b"v" * 1000)
        await store.watch.look()
        assert await content(store, key()) == b"v" * 1000
        held = sqlite3.connect(database(tmp_path), isolation_level=None)
        with contextlib.closing(held):
            held.execute("BEGIN IMMEDIATE")
            await store.watch.look()
            assert store.from_memory(key()) is not None
            held.execute("ROLLBACK")


# The folder


async def test_a_folder_that_was_swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is a copy, whose log goes on where this one was: at once nothing of the old one is served."""
    folder = tmp_path / "store"
    async with watched(folder, monkeypatch) as store:
        await adopt_file(store, key(), b"old" * 1000)
        await store.watch.look()
        assert await content(store, key()) == b"old" * 1000
        with entries(folder):
            shutil.copytree(folder, tmp_path / "copy")
        with entries(tmp_path / "copy") as other:
            other.drop(key())
        folder.rename(tmp_path / "away")
        (tmp_path / "copy").rename(folder)
        await store.watch.look()
        assert not store.watch.is_current()
        assert store.from_memory(key()) is None
        await store.run_maintenance()
        await store.watch.look()
        assert store.watch.is_current()
        assert store.from_memory(key()) is None
        assert await content(store, key()) is None


async def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "store"
    async with watched(folder, monkeypatch) as store:
        await adopt_file(store, key(), b"old" * 1000)
        await store.watch.look()
        assert await content(store, key()) == b"old" * 1000
        shutil.rmtree(folder)
        await store.watch.look()
        assert store.from_memory(key()) is None
        await store.run_maintenance()
        await store.watch.look()
        assert store.watch.is_current()
        assert await content(store, key()) is None


async def test_a_database_that_was_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(tmp_path, monkeypatch) as store:
        await adopt_file(store, key(), b"old" * 1000)
        await store.watch.look()
        assert await content(store, key()) == b"old" * 1000
        for path in (database(tmp_path), database(tmp_path).with_name("cache.db-wal")):
            path.write_bytes(b"\xaa" * path.stat().st_size)
        await store.watch.look()
        await store.flush_pending()
        await store.watch.look()
        assert store.from_memory(key()) is None


# Reading while others write


async def test_what_was_read_before_a_change_does_not_come_into_memory_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look that could have dropped it has been: it would stay for good."""
    async with watched(tmp_path, monkeypatch) as store:
        await adopt_file(store, key(), b"old" * 1000)
        await store.watch.look()
        read = store._session.read

        async def overtaken(work: Callable[[Entries], Any]) -> Any:
            found = await read(work)
            with entries(tmp_path) as other:
                other.drop(key())
            await store.watch.look()
            return found

        with monkeypatch.context() as patch:
            patch.setattr(store._session, "read", overtaken)
            assert await content(store, key()) == b"old" * 1000, "it was there when it was asked for"
        assert store.watch.is_current()
        assert store.from_memory(key()) is None


async def test_own_writes_are_dropped_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(tmp_path, monkeypatch) as store:
        for write in (
            lambda: store.put(key(), b"new", {}),
            lambda: store.note(key(), {}),
            lambda: store.drop(key()),
            lambda: store.drop_damaged(key(), None, "as a test says"),
            lambda: adopt_file(store, key(), b"new"),
        ):
            await adopt_file(store, key(), b"old" * 1000)
            await store.watch.look()
            assert await content(store, key()) == b"old" * 1000
            assert store.from_memory(key()) is not None
            await write()
            assert store.from_memory(key()) is None
            await store.flush_pending()


async def test_a_hit_from_memory_counts_as_a_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at its row any more: without that it would be evicted as the least recently used of all."""
    async with watched(tmp_path, monkeypatch) as store:
        for number in (1, 2):
            await adopt_file(store, key(number), b"v" * 1000)
        await store.watch.look()
        for number in (1, 2):
            assert await content(store, key(number)) is not None
        await store._session.write(lambda _: store._maintenance.flush())
        run_sql(tmp_path, "UPDATE Cache SET access_time = 1")
        assert store.from_memory(key(1)) is not None
        await store._session.write(lambda _: store._maintenance.flush())
        with entries(tmp_path) as other:
            assert other.eviction.evict_slice(1) > 0
            assert [row.key for row in other.rows()] == [key(1)]


# When a look is due


class Session:
    """Counts looks, and ends them when told to."""

    def __init__(self) -> None:
        self.looks: list[asyncio.Future[Changes | None]] = []

    def look(self, _: object) -> asyncio.Future[Changes | None]:
        self.looks.append(asyncio.get_running_loop().create_future())
        return self.looks[-1]

    async def end(self, changes: Changes | None) -> None:
        self.looks[-1].set_result(changes)
        await asyncio.sleep(0)


async def test_when_a_look_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time; the next before the last is out of date; none while nobody asks; good from when it began."""
    now = 1e9
    monkeypatch.setattr(watch.time, "time", lambda: now)
    session = Session()
    watching = StoreWatch(session, lambda _: None)  # type: ignore[arg-type]
    assert not watching.is_current()
    assert not watching.is_current()
    assert len(session.looks) == 1
    now += 0.25
    await session.end(Changes(unknown=True))
    now += 0.25
    assert watching.is_current()
    assert len(session.looks) == 1
    now += 0.25
    assert watching.is_current(), "a look is due, and the last one is still good"
    assert len(session.looks) == 2
    now += 0.25
    assert watching.is_current()
    now += 0.01
    assert not watching.is_current(), "the second look takes too long"
    assert len(session.looks) == 2
    await session.end(None)
    assert not watching.is_current(), "it failed"
    assert len(session.looks) == 3
    await session.end(Changes())
    assert watching.is_current()
    now -= 3600
    assert not watching.is_current(), "the clock was set back"
    await session.end(Changes())
    assert watching.is_current()
    now += HOT_SECONDS + 0.01
    assert len(session.looks) == 4, "nobody asked"


async def test_nothing_is_believed_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").write_text("I was here first")
    async with watched(tmp_path / "store", monkeypatch) as store:
        assert not store.watch.is_current()
        assert await store.get(key()) is None
        (tmp_path / "store").unlink()
        await store.run_maintenance()
        await store.watch.look()
        assert store.watch.is_current()


async def test_it_looks_by_itself(tmp_path: Path) -> None:
    """As soon as memory is asked for anything; a closed store looks at nothing."""
    async with opened(tmp_path, memory=MB) as store:
        assert store.from_memory(key()) is None
        while not store.watch._seen:
            await asyncio.sleep(0.01)
    assert store.watch._begin() is None
