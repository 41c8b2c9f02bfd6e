"""Damaged databases, files and notes, formats of other versions, folders that cannot be used.

Trouble is never an answer's trouble: whatever has happened to the folder, a `get` gives an entry that is right, or None.
"""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store.format import StoreFormatError
from pkgcache.engine.store.keys import StoreKey
from tests.engine.store.stores import MB, adopt, content, everything, opened, value_file

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
async def test_a_damaged_database_is_set_aside(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    """The proxy starts with an empty store; what was there is kept for whoever wants to look."""
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
        assert not health.problems
    assert len([path for path in everything(tmp_path) if path.match("entries.damaged-*/cache.db")]) == 1


async def test_damage_while_it_runs_is_no_answers_trouble(tmp_path: Path) -> None:
    """Rows that cannot be read are misses; nothing is raised; /healthz tells."""
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


async def test_a_missing_file_heals(tmp_path: Path) -> None:
    """Somebody has tidied up: a miss, and the row is gone too, so that it counts for nothing."""
    async with opened(tmp_path) as store:
        await adopt(store, "k", b"v" * MB)
        value_file(tmp_path).unlink()
        assert await store.get("k") is None
        figures = await store.figures()
        assert figures["entries"] == 0, "the row of a file that is gone still counts"
        assert figures["bytes"] < MB
        assert await adopt(store, "k", b"w" * MB)
        assert await content(store, "k") == b"w" * MB


@pytest.mark.parametrize("size", [0, 1, MB - 1, MB + 1])
async def test_a_wrong_size_heals(tmp_path: Path, size: int) -> None:
    """A file that is shorter or longer than it was (a full disk, a crash before the pages were written) is dropped."""
    async with opened(tmp_path) as store:
        await adopt(store, "k", b"v" * MB)
        os.truncate(value_file(tmp_path), size)
        assert await store.get("k") is None
        assert (await store.figures())["entries"] == 0
        assert await adopt(store, "k", b"w" * MB)
        assert await content(store, "k") == b"w" * MB


@pytest.mark.parametrize("tag", [None, "", "no json", "[1]", "7", '"text"', '{"size": "many"}', b"\xff\xfe"])
async def test_damaged_notes_are_a_miss(tmp_path: Path, tag: Any) -> None:
    """Notes that cannot be read would be served as headers: the entry is dropped instead."""
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


# Formats


FILE_KEY: Final = "file|-|sha256:" + "0" * 64 + "|six-1.0.tar.gz"


@pytest.mark.parametrize("key", [FILE_KEY, "file|-|https://files.test/six-1.0.tar.gz|six-1.0.tar.gz"])
@pytest.mark.parametrize("digest", [None, 7, [], "", "md5:" + "0" * 32, "sha256:0", "sha256:" + "1" * 64, "right"])
async def test_a_small_file_with_an_odd_digest(tmp_path: Path, key: str, digest: Any) -> None:
    """Whoever can write to the database can name bytes of their own by another file's key: it is a miss, and no trouble of the store."""
    value = b"v" * 100_000
    right = f"sha256:{hashlib.sha256(value).hexdigest()}"
    async with opened(tmp_path) as store:
        path = store.growing / "x.part"
        path.write_bytes(value)
        notes = {} if digest is None else {"digest": right if digest == "right" else digest}
        assert await store.adopt(StoreKey(key), path, len(value), notes)
        found = await store.get(StoreKey(key))
        assert (found is not None) is (digest == "right" and key != FILE_KEY)
        assert not store._health.problems


@pytest.mark.parametrize("mark", ["2", "999"])
async def test_a_newer_format_is_refused(tmp_path: Path, mark: str) -> None:
    """A newer store is never misread, and never touched: one line says what to do."""
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


@pytest.mark.parametrize("mark", ["0", "", "x", "1.1", "../y", "-1"])
async def test_an_older_format_is_set_aside(tmp_path: Path, mark: str, caplog: pytest.LogCaptureFixture) -> None:
    """An older store, or one whose mark makes no sense, is never misread: it is set aside, and one line says where."""
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


async def test_a_format_that_is_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.put("k", b"v", {})
    mark = (tmp_path / "format").read_text().strip()
    (tmp_path / "format").write_text(f"  {mark}\n\n")
    async with opened(tmp_path) as store:
        assert await content(store, "k") == b"v"


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
async def test_a_folder_that_cannot_be_used_keeps_nothing(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Downloads still go through (they grow in a folder of their own that goes with the process); /healthz tells."""
    folder, health = make(tmp_path), Health()
    async with opened(folder, health=health) as store:
        assert str(folder) in health.problems["store"]
        assert not await store.put("k", b"v", {})
        assert not await adopt(store, "k2", b"v" * MB)
        assert await store.get("k") is None
        assert await store.read("k2") is None
        await store.note("k", {})
        await store.drop("k")
        await store.run_maintenance()
        assert (await store.figures())["entries"] == 0
        growing = store.growing
        assert growing.is_dir()
    assert not growing.exists()


async def test_trouble_is_reported_once_and_its_end_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk is one line in the log and not one for each request."""
    health = Health()
    async with opened(tmp_path, health=health) as store:
        missing = store.growing / "not-there.part"
        for _ in range(5):
            assert not await store.adopt("k", missing, 5, {})
        assert "store-write" in health.problems
        assert store.growing.parent != tmp_path, "downloads go elsewhere meanwhile"
        assert not await store.adopt("k", store.growing / "x.part", 5, {})
        await store.run_maintenance()
        assert not health.problems
        assert store.growing.parent == tmp_path
    lines = [record.getMessage() for record in caplog.records if "store" in record.getMessage()]
    assert len([line for line in lines if "cannot be written" in line]) == 1
    assert len([line for line in lines if "works again" in line]) == 1
