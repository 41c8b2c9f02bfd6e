"""Stores that somebody else has written to: no reader and no remover of entries touches what lies outside.

Each row of POISON puts something of another kind where an entry's file should be, or names something outside. Beside the store lies a
canary, which must stay as it is whatever is done with the entry.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from pkgcache.engine.store.database import TROUBLE
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.integrity import fault_of, orphans, quarantine
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.recovery import clean_up
from pkgcache.engine.store.safe_files import ForeignFileError, why_exposed
from pkgcache.engine.store.value_files import ValueFiles, is_value_name
from tests.engine.store.stores import MB, content, opened

KEY: Final = StoreKey("file|-|sha256:00|x")
SIZE: Final = 100_000
CANARY: Final = b"c" * SIZE


@dataclass(frozen=True)
class Scene:
    """A store with one entry, and a folder beside it with a canary and names like those that the store gives."""

    store: Path
    outside: Path
    value: Path

    @property
    def canary(self) -> Path:
        return self.outside / self.value.name

    def name(self, filename: Any) -> None:
        """Have the row name another file."""
        with contextlib.closing(sqlite3.connect(self.store / "entries" / "cache.db")) as database, database:
            database.execute("UPDATE Cache SET filename = ?", (filename,))

    def link(self, level: int) -> None:
        """Put a symbolic link in place of the file (0), its folder (1), or the folder of that (2)."""
        path = (self.value, *self.value.parents)[level]
        rest = self.value.relative_to(path)
        target = self.outside / "linked" / rest if level else self.canary
        if level:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.canary, target)
            self.canary.unlink()
            target.rename(target)
        path.rename(self.store.with_name("put away"))
        path.symlink_to(self.outside / "linked" if level else self.canary)

    def replace(self, make: Callable[[Path], object]) -> None:
        self.value.unlink()
        make(self.value)

    def seen_outside(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.outside).as_posix(): path.read_bytes()
            for path in self.outside.rglob("*")
            if path.is_file()
        }


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(path.parent):
        listener.bind(path.name)


def _hard_link(scene: Scene) -> None:
    scene.value.unlink()
    os.link(scene.canary, scene.value)


POISON: Final[dict[str, Callable[[Scene], object]]] = {
    "an absolute path": lambda scene: scene.name(str(scene.canary)),
    "an absolute path with a slash too many": lambda scene: scene.name(f"/{scene.canary}"),
    "dots": lambda scene: scene.name(f"../../outside/{scene.canary.name}"),
    "dots in the right number of parts": lambda scene: scene.name(f"../{scene.outside.name}/{scene.canary.name}"),
    "dots behind a right folder": lambda scene: scene.name(
        f"{scene.value.parent.name}/../../../outside/{scene.canary.name}"
    ),
    "a file of the store's": lambda scene: scene.name("cache.db"),
    "the store's secret": lambda scene: scene.name("../secret"),
    "a right name with a line break": lambda scene: scene.name(f"aa/bb/{'cc' * 14}.val\n"),
    "a right name with a zero byte": lambda scene: scene.name(f"aa/bb/{'cc' * 14}.val\0"),
    "upper case": lambda scene: scene.name(f"AA/bb/{'cc' * 14}.val"),
    "digits that are not ASCII": lambda scene: scene.name(f"aa/b\u0661/{'cc' * 14}.val"),
    "another ending": lambda scene: scene.name(f"aa/bb/{'cc' * 14}.db"),
    "a folder": lambda scene: scene.name("aa/bb"),
    "the folder itself": lambda scene: scene.name("."),
    "an empty name": lambda scene: scene.name(""),
    "no name": lambda scene: scene.name(None),
    "a number": lambda scene: scene.name(7),
    "bytes": lambda scene: scene.name(os.fsencode(scene.canary)),
    "a very long name": lambda scene: scene.name("../" * 100_000),
    "a link at the file": lambda scene: scene.link(0),
    "a link at its folder": lambda scene: scene.link(1),
    "a link at the folder of that": lambda scene: scene.link(2),
    "a hard link": _hard_link,
    "a FIFO": lambda scene: scene.replace(os.mkfifo),
    "a folder in its place": lambda scene: scene.replace(Path.mkdir),
    "a socket": lambda scene: scene.replace(_socket),
    "a link to a device": lambda scene: scene.replace(lambda path: path.symlink_to("/dev/zero")),
    "a link to nothing": lambda scene: scene.replace(lambda path: path.symlink_to("/nowhere")),
    "a link to itself": lambda scene: scene.replace(lambda path: path.symlink_to(path)),
}


@contextlib.contextmanager
def opened_entries(folder: Path, max_size: int = 1 << 30) -> Iterator[Entries]:
    entries = Entries(folder, max_size=max_size, min_free=0)
    entries.open()
    try:
        yield entries
    finally:
        entries.close()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    outside = tmp_path / "outside"
    outside.mkdir()
    with opened_entries(tmp_path / "store") as entries:
        entries.put(KEY, b"v" * SIZE, {"digest": f"sha256:{'00' * 32}"})
        (row,) = entries.rows()
        assert row.filename
        value = entries.folder / row.filename
    (outside / value.name).write_bytes(CANARY)
    return Scene(tmp_path / "store", outside, value)


def _get(entries: Entries) -> None:
    assert entries.get(KEY) is None


def _verify(entries: Entries) -> None:
    for row in list(entries.rows()):
        if fault_of(entries, row):
            assert quarantine(entries, row) is None or row.filename is None


def _purge(entries: Entries) -> None:
    entries.drop_rows(list(entries.rows()))


def _drop(entries: Entries) -> None:
    entries.drop(KEY)


def _replace(entries: Entries) -> None:
    entries.put(KEY, b"w" * SIZE, {})
    entry = entries.get(KEY)
    assert entry is not None
    assert entry.file is not None
    with entry.file:
        assert entry.file.read() == b"w" * SIZE
    entries.drop(KEY)


def _evict(entries: Entries) -> None:
    entries.eviction.evict_slice(1 << 40)


def _inactive(entries: Entries) -> None:
    entries.eviction.drop_inactive_slice(1e12)


REMOVERS: Final = [_get, _verify, _purge, _drop, _replace, _evict, _inactive]


@pytest.mark.parametrize("work", REMOVERS, ids=lambda work: work.__name__.strip("_"))
@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_an_entry_heals_and_nothing_outside_is_touched(
    poison: Callable[[Scene], object], work: Callable[[Entries], None], scene: Scene
) -> None:
    """`verify` moved, and `purge` deleted, the file that a row's name led to; run by root it took a system file."""
    poison(scene)
    before = scene.seen_outside()
    with opened_entries(scene.store) as entries:
        work(entries)
        assert list(entries.rows()) == []
        list(orphans(entries, 0))
        for name, _ in list(orphans(entries, -1)):
            entries.database.files.remove(name)
    assert scene.seen_outside() == before
    assert CANARY in before.values()


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_a_running_store_goes_on(poison: Callable[[Scene], object], scene: Scene) -> None:
    poison(scene)
    before = scene.seen_outside()
    async with opened(scene.store) as store:
        assert await asyncio.wait_for(store.get(KEY), 20) is None
        assert await asyncio.wait_for(store.read(KEY), 20) is None
        assert await store.put(KEY, b"again", {})
        await store.flush_pending()
        assert (await store.read(KEY) or ({}, b""))[1] == b"again"
    assert scene.seen_outside() == before


JOURNALS: Final[dict[str, Callable[[Scene], Any]]] = {
    "an absolute path": lambda scene: {"key": "k", "filename": str(scene.canary)},
    "dots": lambda scene: {"key": "k", "filename": f"../../outside/{scene.canary.name}"},
    "a number": lambda _: {"key": "k", "filename": 5},
    "a list": lambda _: {"key": "k", "filename": ["a"]},
    "a key that is none": lambda scene: {"key": {"a": 1}, "filename": f"aa/bb/{scene.canary.name}"},
    "a list for an object": lambda _: [1],
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("journal", JOURNALS.values(), ids=JOURNALS)
def test_a_journal_that_lies(journal: Callable[[Scene], Any], scene: Scene) -> None:
    """Recovery removed the file that a journal named."""
    (scene.store / "growing" / "x.commit").write_text(json.dumps(journal(scene)))
    before = scene.seen_outside()
    with opened_entries(scene.store) as entries:
        clean_up(entries)
        assert len(list(entries.rows())) == 1
    assert scene.seen_outside() == before
    assert list((scene.store / "growing").iterdir()) == []


IN_GROWING: Final[dict[str, Callable[[Path, Path], object]]] = {
    "a FIFO": lambda path, _: os.mkfifo(path),
    "a link to the canary": lambda path, canary: path.symlink_to(canary),
    "a link to a device": lambda path, _: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path, _: path.symlink_to("/nowhere"),
    "a hard link": lambda path, canary: os.link(canary, path),
    "a socket": lambda path, _: _socket(path),
    "a deep journal": lambda path, _: path.write_text("[" * 100_000),
}


@pytest.mark.parametrize("ending", ["commit", "part", "json", "new", "json.new"])
@pytest.mark.parametrize("make", IN_GROWING.values(), ids=IN_GROWING)
def test_what_lies_among_downloads(make: Callable[[Path, Path], object], ending: str, scene: Scene) -> None:
    """Recovery opens what is there: a FIFO blocked it for good."""
    make(scene.store / "growing" / f"x.{ending}", scene.canary)
    before = scene.seen_outside()
    with opened_entries(scene.store) as entries:
        clean_up(entries)
    assert scene.seen_outside() == before
    assert list((scene.store / "growing").iterdir()) == []


def test_a_folder_among_downloads_is_left(scene: Scene) -> None:
    (scene.store / "growing" / "x.part").mkdir()
    with opened_entries(scene.store) as entries:
        clean_up(entries)


LINKED: Final = ["entries", "growing", "entries/cache.db", "entries/cache.db-wal", "entries/cache.db-shm"]


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_store_whose_own_folders_lead_elsewhere_is_not_opened(name: str, kind: str, scene: Scene) -> None:
    """SQLite and the clean-up follow links: in the folder of somebody's documents they would remove `*.json`."""
    path = scene.store / name
    moved = scene.outside / path.name
    if path.exists():
        path.rename(moved)
    elif path.suffix == ".db":
        raise AssertionError
    else:
        moved.write_bytes(b"")
    if kind == "symbolic":
        path.symlink_to(moved)
    elif moved.is_file():
        os.link(moved, path)
    else:
        pytest.skip("folders have no hard links")
    (scene.outside / "kept.json").write_text("{}")
    (moved / "kept.json" if moved.is_dir() else scene.outside / "other.json").write_text("{}")
    before = scene.seen_outside()
    with pytest.raises(TROUBLE), opened_entries(scene.store) as entries:
        clean_up(entries)
    assert scene.seen_outside() == before


def test_new_files_do_not_follow_links(scene: Scene) -> None:
    """Every folder that a new file may lie in is a link to outside: the links go, and the file lies in the store."""
    for number in range(256):
        folder = scene.store / "entries" / f"{number:02x}"
        if not folder.exists():
            folder.symlink_to(scene.outside)
    before = scene.seen_outside()
    with opened_entries(scene.store) as entries:
        for number in range(8):
            key = StoreKey(f"k{number}")
            assert entries.put(key, b"w" * SIZE, {})
            entry = entries.get(key)
            assert entry is not None
            assert entry.file is not None
            entry.file.close()
    assert scene.seen_outside() == before


async def test_a_download_is_not_written_through_a_link(scene: Scene) -> None:
    """The name of a file under way is known: it is made from the key."""
    async with opened(scene.store) as store:
        part = store.growing / "x.part"
        (store.growing / "x.commit").symlink_to(scene.canary)
        part.write_bytes(b"v" * MB)
        assert await store.adopt(StoreKey("k"), part, MB, {})
        assert await content(store, "k") == b"v" * MB
    assert scene.canary.read_bytes() == CANARY


SETTINGS: Final = [
    ("disk__directory", "/"),
    ("_disk", "x"),
    ("volume", 5),
    ("sqlite_writable_schema", 1),
    ("sqlite_journal_mode; x", "x"),
    ("disk_files", "x"),
]


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_settings_that_diskcache_does_not_have(name: str, value: object, scene: Scene) -> None:
    """diskcache makes attributes and arguments of what is in the table: a TypeError, and no proxy."""
    with contextlib.closing(sqlite3.connect(scene.store / "entries" / "cache.db")) as database, database:
        database.execute("INSERT INTO Settings VALUES (?, ?)", (name, value))
    with opened_entries(scene.store) as entries:
        entry = entries.get(KEY)
        assert entry is not None
        assert entry.file is not None
        entry.file.close()


@pytest.mark.parametrize(("mode", "told"), [(0o700, ""), (0o755, ""), (0o770, "770"), (0o707, "707"), (0o1777, "1777")])
def test_a_store_that_others_may_write_is_told(
    mode: int, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, which says what to do."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(mode)
    with caplog.at_level(logging.WARNING), opened_entries(tmp_path / "store"):
        pass
    lines = [record.getMessage() for record in caplog.records if "others may" in record.getMessage()]
    assert len(lines) == bool(told)
    assert all(told in line and "chmod go-w" in line for line in lines)


def test_a_store_of_another_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "belongs to user" in why_exposed(tmp_path)


def test_a_file_of_a_third_user_does_not_count(tmp_path: Path) -> None:
    """Only where this test may give files away."""
    name = f"aa/bb/{'cc' * 14}.val"
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    ValueFiles(tmp_path).open(name).close()
    try:
        os.chown(path, 54321, -1)
    except PermissionError:
        pytest.skip("not root")
    with pytest.raises(ForeignFileError, match="another user"):
        ValueFiles(tmp_path).open(name)


@pytest.mark.parametrize(
    "name", [None, 5, b"aa/bb", "", "aa/bb/cc.val", f"aa//{'cc' * 14}.val", f"/aa/bb/{'cc' * 14}.val"]
)
def test_names_that_are_not_ours(name: object) -> None:
    assert not is_value_name(name)


COUNTERS: Final = {
    "null": "UPDATE Settings SET value = NULL",
    "text": "UPDATE Settings SET value = 'x'",
    "bytes": "UPDATE Settings SET value = x'ff'",
    "fractions": "UPDATE Settings SET value = 0.5",
    "below nothing": "UPDATE Settings SET value = -1",
    "endless": "UPDATE Settings SET value = 1e999",
    "gone": "DELETE FROM Settings WHERE key IN ('count', 'size')",
    "rows without size": "UPDATE Cache SET size = NULL",
    "rows with a text for a size": "UPDATE Cache SET size = 'x'",
    "rows of the largest size": f"UPDATE Cache SET size = {2**63 - 1}",
    "rows of a size below nothing": "UPDATE Cache SET size = -5",
}


@pytest.mark.parametrize("statement", COUNTERS.values(), ids=COUNTERS)
async def test_counters_that_make_no_sense_are_counted_anew(statement: str, tmp_path: Path) -> None:
    """diskcache keeps them by triggers. One row without a size made every download a 502, and `/healthz` a 500 with a traceback."""
    async with opened(tmp_path) as store:
        for number in range(3):
            await store.put(StoreKey(f"file|-|sha256:{number}|x"), b"x" * 1000, {"name": "x"})
    with contextlib.closing(sqlite3.connect(tmp_path / "entries" / "cache.db")) as database, database:
        database.execute(statement)
    async with opened(tmp_path) as store:
        assert (await store.figures())["entries"] == 3
        assert await store.put(KEY, b"y" * 1000, {"name": "y"})
        assert await content(store, KEY) == b"y" * 1000
        figures = await store.figures()
        assert figures["entries"] >= 1
        assert all(type(value) is int and 0 <= value < 2**62 for value in figures.values())
