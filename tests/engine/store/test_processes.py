"""Several processes on one folder, and what one leaves behind that is killed."""

import asyncio
import fcntl
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from pkgcache.engine.store.store import Store
from tests.engine.store.stores import ADDON, MB, adopt, content, files, opened, run_async, value_file

# Several processes


async def test_two_stores_on_one_folder(tmp_path: Path) -> None:
    """What one process keeps, the other has; both write at once, and nothing is lost to "database is locked"."""
    async with opened(tmp_path) as one, opened(tmp_path) as two:
        await one.put("k", b"v", {})
        await one.flush_pending()
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


async def test_a_sibling_that_writes_long_is_waited_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        other = sqlite3.connect(tmp_path / "entries" / "cache.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert await store.put("k", b"v", {})
        assert await content(store, "k") == b"v", "what is yet to be written can be read"
        writing = asyncio.create_task(store.flush_pending())
        await asyncio.sleep(0.5)
        assert not writing.done()
        assert await store.get("none") is None, "a reader waits for a writer"
        assert await content(store, "k") == b"v"
        other.execute("ROLLBACK")
        other.close()
        await writing
        assert await content(store, "k") == b"v"


# What a kill leaves behind


async def test_an_unfinished_download_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    """And what a living one is at is not: it holds the lock."""
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


@pytest.mark.parametrize("journal", ["", "{", "[]", "{}", '{"key": "k"}', '{"key": 1, "filename": null}', "\0\0\0"])
async def test_a_journal_that_makes_no_sense_is_removed(tmp_path: Path, journal: str) -> None:
    """The kill came while the journal itself was written: then there is nothing to undo."""
    async with opened(tmp_path) as store:
        await adopt(store, "k", b"v" * MB)
        (store.growing / "y.commit").write_text(journal)
        growing = store.growing
    async with opened(tmp_path) as store:
        assert store.growing == growing, "the store gave up"
        assert list(growing.iterdir()) == []
        assert await content(store, "k") == b"v" * MB


async def test_a_journal_before_the_row(tmp_path: Path) -> None:
    """Killed after the rename and before the row: the file belongs to nobody, and is removed."""
    async with opened(tmp_path) as store:
        growing = store.growing
    orphan = tmp_path / "entries" / "aa" / "bb" / f"{'0c' * 14}.val"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"v" * MB)
    (growing / "x.commit").write_text(json.dumps({"key": "k", "filename": f"aa/bb/{orphan.name}"}))
    async with opened(tmp_path) as store:
        assert not orphan.exists()
        assert await store.get("k") is None
        assert list(growing.iterdir()) == []


async def test_a_journal_after_the_row(tmp_path: Path) -> None:
    """Killed after the row and before the journal went: the entry is whole, and stays."""
    async with opened(tmp_path) as store:
        await adopt(store, "k", b"v" * MB)
        growing = store.growing
    name = value_file(tmp_path).relative_to(tmp_path / "entries").as_posix()
    (growing / "x.commit").write_text(json.dumps({"key": "k", "filename": name}))
    async with opened(tmp_path) as store:
        assert await content(store, "k") == b"v" * MB
        assert list(growing.iterdir()) == []


KILLED: Final = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, {addon!r})
from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store.store import Store

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

    run_async(before)
    program = KILLED.format(addon=str(ADDON), folder=str(tmp_path), instant=instant)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    run_async(after)
