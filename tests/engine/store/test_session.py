"""A store's folder as one process has it open: threads, trouble reported once under the right name, and opened again."""

import asyncio
import contextlib
import errno
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store import session as session_module
from pkgcache.engine.store.database import WRITE_PATIENCE
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.session import RESTS, SHORT_PATIENCE, StoreSession

KEY = StoreKey("k")


@contextlib.asynccontextmanager
async def opened(
    folder: Path, health: Health, failed: Callable[[], None] = lambda: None
) -> AsyncIterator[StoreSession]:
    session = StoreSession(folder, lambda: Entries(folder, max_size=1 << 30, min_free=0), health, failed)
    session.open()
    try:
        yield session
    finally:
        await session.close(lambda: None)


def raises(error: Exception) -> Callable[[Entries], Any]:
    def work(_: Entries) -> Any:
        raise error

    return work


def full_database() -> sqlite3.Error:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


async def flush(session: StoreSession) -> None:
    """Wait for the writer thread; a `write` would not wait while the store is being opened again."""
    await asyncio.wrap_future(session.writer.submit(lambda: None))


def set_aside(folder: Path) -> list[str]:
    return [path.name.partition("-")[0] for path in folder.glob("entries.*")]


async def test_reads_and_writes_keep_off_the_event_loop_and_writes_keep_their_order(tmp_path: Path) -> None:
    async with opened(tmp_path, Health()) as session:
        names = [await work(lambda _: threading.current_thread().name) for work in (session.read, session.write)]
        assert [str(name).rpartition("_")[0] for name in names] == ["store-read", "store-write"]
        order: list[int] = []
        for number in range(20):
            session.submit(lambda number=number: order.append(number))  # type: ignore[misc]
        await session.write(lambda _: None)
        assert order == list(range(20))


async def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    async with opened(tmp_path, Health()) as session:
        release = threading.Event()
        writing = asyncio.ensure_future(session.write(lambda _: release.wait(10)))
        assert await session.read(lambda entries: entries.figures()["entries"]) == 0
        assert not writing.done()
        release.set()
        await writing


@pytest.mark.parametrize(
    ("error", "component", "words"),
    [
        (OSError(errno.EIO, "Input/output error"), "store-write", "cannot be written"),
        (sqlite3.OperationalError("disk I/O error"), "store-write", "cannot be written"),
        (ValueError("a pickled value in the store"), "store-write", "a pickled value"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk", "No space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk", "quota"),
        (full_database(), "disk", "full"),
        (OSError(errno.EMFILE, "Too many open files"), "file handles", "raise the limit"),
        (OSError(errno.ENFILE, "Too many open files in system"), "file handles", "raise the limit"),
    ],
    ids=str,
)
async def test_trouble_is_reported_under_the_name_of_its_cause(
    tmp_path: Path, error: Exception, component: str, words: str
) -> None:
    """And is no answer's trouble: the caller gets None."""
    health, failures = Health(), list[int]()
    async with opened(tmp_path, health, lambda: failures.append(1)) as session:
        assert await session.write(raises(error)) is None
        assert set(health.problems) == {component}
        assert str(tmp_path) in health.problems[component]
        assert words in health.problems[component]
        assert failures == [1]


async def test_an_error_in_code_is_raised(tmp_path: Path) -> None:
    """Only what a folder may do to us counts as trouble."""
    health = Health()
    async with opened(tmp_path, health) as session:
        with pytest.raises(ZeroDivisionError):
            await session.read(lambda _: 1 // 0)
        assert not health.problems


async def test_the_next_that_works_ends_the_problem(tmp_path: Path) -> None:
    health = Health()
    async with opened(tmp_path, health) as session:
        await session.read(raises(OSError("gone")))
        await session.write(raises(OSError("gone")))
        assert set(health.problems) == {"store", "store-write"}
        await session.read(lambda _: None)
        assert set(health.problems) == {"store-write"}
        await session.write(lambda _: None)
        assert not health.problems


async def test_a_write_waits_less_while_writes_fail(tmp_path: Path) -> None:
    """Else each of a hundred downloads would wait ten seconds for a lock that stays taken."""
    health = Health()
    async with opened(tmp_path, health) as session:
        assert session.patience == WRITE_PATIENCE
        health.report("store-write", "locked")
        assert session.patience == SHORT_PATIENCE
        health.clear("store-write")
        assert session.patience == WRITE_PATIENCE
    assert session.patience == SHORT_PATIENCE, "closing waited for a lock"


async def test_a_folder_that_was_replaced_is_opened_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    health, folder = Health(), tmp_path / "store"
    async with opened(folder, health) as session:
        await session.write(lambda entries: entries.put(KEY, b"v", {}))
        await asyncio.to_thread(folder.rename, tmp_path / "elsewhere")
        await asyncio.get_running_loop().run_in_executor(session.writer, session.recover)
        assert "is not the one that was opened" in caplog.text
        assert await session.read(lambda entries: entries.get(KEY)) is None
        assert await session.write(lambda entries: entries.put(KEY, b"w", {}))
        assert not health.problems


@pytest.mark.parametrize("component", ["store-write", "disk"])
async def test_it_is_tried_whether_trouble_is_over(tmp_path: Path, component: str) -> None:
    health = Health()
    async with opened(tmp_path, health) as session:
        health.report(component, "trouble")
        await asyncio.get_running_loop().run_in_executor(session.writer, session.recover)
        assert "store-write" not in health.problems
        assert await session.read(lambda entries: list(entries.rows())) == [], "the trial is still there"


async def test_damage_is_set_aside_while_it_runs(tmp_path: Path) -> None:
    health = Health()
    damage = sqlite3.DatabaseError("database disk image is malformed")
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    async with opened(tmp_path, health) as session:
        await session.write(lambda entries: entries.put(KEY, b"v", {}))
        assert await session.read(raises(damage)) is None
        await flush(session)
        assert await session.read(lambda entries: entries.get(KEY)) is None
        assert set_aside(tmp_path) == ["entries.damaged"]
        await session.read(lambda _: None)
        assert not health.problems


async def test_two_readers_that_find_damage_set_one_database_aside(tmp_path: Path) -> None:
    """The second must not set the new one aside."""
    damage = sqlite3.DatabaseError("malformed")
    damage.sqlite_errorcode = sqlite3.SQLITE_NOTADB
    both = threading.Barrier(2, timeout=10)

    def find_damage(_: Entries) -> None:
        both.wait()
        raise damage

    async with opened(tmp_path, Health()) as session:
        await asyncio.gather(session.read(find_damage), session.read(find_damage))
        await flush(session)
        await session.write(lambda entries: entries.put(KEY, b"v", {}))
        assert set_aside(tmp_path) == ["entries.damaged"]
        assert await session.read(lambda entries: entries.get(KEY)) is not None


async def test_background_work_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    real = threading.Timer

    def timer(seconds: float, *rest: Any) -> threading.Timer:
        waits.append(seconds)
        return real(0.0, *rest)

    monkeypatch.setattr(session_module.threading, "Timer", timer)
    async with opened(tmp_path, Health()) as session:
        done = threading.Event()
        began = time.monotonic() - 0.2
        session.after_rest(done.set, began)
        assert 0.2 * RESTS <= waits[0] <= (time.monotonic() - began) * RESTS
        assert await asyncio.to_thread(done.wait, 10)


async def test_after_the_close_nothing_is_begun(tmp_path: Path) -> None:
    async with opened(tmp_path, Health()) as session:
        entries = session.entries
    session.submit(lambda: pytest.fail("ran after the close"))
    session.reopen(entries)
    assert session.entries is entries
    assert await session.read(lambda _: "read") is None
    assert await session.write(lambda _: "written") is None
