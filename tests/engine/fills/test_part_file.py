"""The growing file on disk: one owner at a time, and a state that counts only for the very file that it was written for."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from pkgcache.engine.fills.part_file import FillState, PartFile
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.growing import commit_journal
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.recovery import clean_up

STATE = FillState(
    state="growing",
    attempt="ab12",
    generation=2,
    begun=True,
    total=7,
    source="https://files.example/six.whl",
    headers=[("Content-Type", "application/zip")],
)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[PartFile, PartFile]]:
    """Two that opened the same file, as two processes would: the first owns it."""
    files = PartFile(tmp_path / "x.part"), PartFile(tmp_path / "x.part")
    assert files[0].open()
    assert not files[1].open()
    yield files
    for each in files:
        each.close()


def test_the_owner_gives_up(pair: tuple[PartFile, PartFile]) -> None:
    owner, follower = pair
    assert not follower.claim()
    owner.release()
    assert follower.claim()
    assert not owner.claim()


@pytest.mark.parametrize(
    ("left", "expected"),
    [(lambda _: None, True), (lambda file: file.write(b"some", 0), False), (lambda file: file.publish(STATE), False)],
    ids=["an empty file", "bytes", "what was published"],
)
def test_whether_an_owner_that_died_has_begun(
    pair: tuple[PartFile, PartFile], left: Callable[[PartFile], None], expected: bool
) -> None:
    owner, follower = pair
    assert owner.is_new
    assert not follower.is_new
    left(owner)
    owner.close()
    assert follower.claim()
    assert not follower.is_new, "it has followed, and may have told its clients something"
    follower.close()
    assert follower.open()
    assert follower.is_new is expected


def test_the_owner_dies(pair: tuple[PartFile, PartFile]) -> None:
    owner, follower = pair
    owner.write(b"some", 0)
    owner.close()
    assert follower.claim()
    assert follower.size == 4


def test_what_is_published_is_read(pair: tuple[PartFile, PartFile]) -> None:
    owner, follower = pair
    assert follower.read_published() is None
    owner.publish(STATE)
    got = follower.read_published()
    assert got is not None
    assert got.inode > 0
    assert replace(got, inode=0) == STATE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "finished"),
        ("state", ["verified"]),
        ("total", "7"),
        ("total", -1),
        ("total", True),
        ("inode", 2**70),
        ("generation", None),
        ("attempt", 'a"\r\nX-Evil: 1'),
        ("begun", "yes"),
        ("source", "file:///etc/passwd"),
        ("source", "no URL"),
        ("headers", [["Content-Type"]]),
        ("headers", [["X", "a\r\nSet-Cookie: b"]]),
        ("headers", {"X": "a"}),
        ("error", {}),
        ("more", 1),
    ],
)
def test_what_others_published_in_its_name(name: str, value: object, pair: tuple[PartFile, PartFile]) -> None:
    """Whoever can write to the store can write a state: what is none is not read."""
    owner, follower = pair
    owner.publish(STATE)
    path = owner.path.with_suffix(".json")
    fields = json.loads(path.read_text())
    assert follower.read_published() is not None
    path.write_text(json.dumps({**fields, name: value}))
    assert follower.read_published() is None


KILLED: Final[dict[str, tuple[FillState | None, float, bool]]] = {
    "nothing published": (None, 0, False),
    "growing": (STATE, 0, False),
    "failed": (replace(STATE, state="failed"), 0, False),
    "verified": (replace(STATE, state="verified"), 0, True),
    "verified 23 hours ago": (replace(STATE, state="verified"), 23 * 3600, True),
    "verified 25 hours ago": (replace(STATE, state="verified"), 25 * 3600, False),
    "verified tomorrow": (replace(STATE, state="verified"), -3600, False),
}
"""What its owner had published, seconds ago, and whether its part file outlives the clean-up."""


@pytest.mark.parametrize("renamed", [False, True], ids=["as it was", "renamed, without a row"])
@pytest.mark.parametrize(("state", "ago", "kept"), KILLED.values(), ids=KILLED)
def test_what_a_killed_owner_leaves(
    state: FillState | None, ago: float, kept: bool, renamed: bool, tmp_path: Path
) -> None:
    """Clients may have all of a file that was verified: it is no entry yet, and stays."""
    entries = Entries(tmp_path, max_size=1 << 30, min_free=0)
    entries.open()
    part = PartFile(entries.growing / "x.part")
    part.open()
    part.write(b"content", 0)
    if state is not None:
        part.publish(state)
    os.utime(part.path, times=(time.time() - ago,) * 2)
    if renamed:
        name = f"0a/1b/{'2c' * 14}.val"
        with commit_journal(part.path, StoreKey("file|x"), undo=print) as note_name:
            note_name(name)
            journal = part.path.with_suffix(".commit").read_text()
        entries.database.files.adopt(part.path, name)
        part.path.with_suffix(".commit").write_text(journal)
    part.close()
    clean_up(entries)
    assert {each.name for each in entries.growing.iterdir()} == ({"x.part", "x.json"} if kept else set())
    assert not list(tmp_path.rglob("*.val"))
    if kept:
        part.open()
        assert (part.owned, part.path.read_bytes()) == (True, b"content")
        assert part.read_published() is not None
    part.close()
    entries.close()


def test_a_state_of_another_file_keeps_nothing(tmp_path: Path) -> None:
    entries = Entries(tmp_path, max_size=1 << 30, min_free=0)
    entries.open()
    part = PartFile(entries.growing / "x.part")
    part.open()
    part.publish(replace(STATE, state="verified"))
    part.path.rename(tmp_path / "elsewhere")
    part.path.write_bytes(b"other")
    part.close()
    clean_up(entries)
    assert not list(entries.growing.iterdir())
    entries.close()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"state": "growing"}', '{"other": 1}', '{"inode": 1}', "null"])
def test_a_state_that_is_none(pair: tuple[PartFile, PartFile], text: str, tmp_path: Path) -> None:
    """Cut off by a full disk, of another version, or of another file."""
    (tmp_path / "x.json").write_text(text)
    assert pair[1].read_published() is None


def test_a_state_of_another_file(pair: tuple[PartFile, PartFile], tmp_path: Path) -> None:
    """The owner's file has become the store's, and somebody has begun a new one under its name: the old state is not about that."""
    owner, follower = pair
    owner.publish(STATE)
    owner.path.rename(tmp_path / "stored")
    assert not follower.in_place
    newer = PartFile(tmp_path / "x.part")
    assert newer.open()
    assert newer.read_published() is None
    newer.remove_state()
    assert follower.read_published() is not None, "another file's state is not removed"
    newer.close()


def test_a_killed_owners_state_beside_a_newer_file(tmp_path: Path) -> None:
    """It started again just while its sibling had a file of that name: the state stays, until the next start."""
    entries = Entries(tmp_path, max_size=1 << 30, min_free=0)
    entries.open()
    path = entries.growing / "x.part"
    killed, sibling = PartFile(path), PartFile(path)
    killed.open()
    killed.publish(STATE)
    path.rename(tmp_path / "stored")
    killed.close()
    sibling.open()
    clean_up(entries)
    assert sorted(each.suffix for each in entries.growing.iterdir()) == [".json", ".part"]
    sibling.remove()
    sibling.remove_state()
    sibling.close()
    clean_up(entries)
    assert not list(entries.growing.iterdir())
    entries.close()


def test_only_the_owner_removes_it(pair: tuple[PartFile, PartFile]) -> None:
    owner, follower = pair
    follower.remove()
    assert owner.in_place
    owner.remove()
    assert not follower.in_place
    owner.remove()


def test_a_file_that_took_its_name_is_not_removed(pair: tuple[PartFile, PartFile], tmp_path: Path) -> None:
    owner, _ = pair
    owner.path.unlink()
    (tmp_path / "x.part").write_bytes(b"another's")
    owner.remove()
    assert (tmp_path / "x.part").read_bytes() == b"another's"


def test_writing(pair: tuple[PartFile, PartFile]) -> None:
    owner, follower = pair
    owner.write(b"abcdef", 0)
    owner.write(b"XY", 2)
    assert os.pread(follower.fileno(), 100, 0) == b"abXYef"
    owner.truncate()
    assert follower.size == 0


def test_it_becomes_the_stored_file(pair: tuple[PartFile, PartFile], tmp_path: Path) -> None:
    """Readers keep their descriptor: they go on in the stored file."""
    owner, follower = pair
    (tmp_path / "stored").write_bytes(b"stored")
    descriptor = owner.fileno()
    with (tmp_path / "stored").open("rb") as stored:
        owner.become(stored.fileno())
    assert os.pread(descriptor, 100, 0) == b"stored"
    assert not owner.owned
    assert not follower.in_place
