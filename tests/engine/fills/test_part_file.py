"""The growing file on disk: one owner at a time, and a state that counts only for the very file that it was written for."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pkgcache.engine.fills.part_file import FillState, PartFile
from pkgcache.engine.store.entries import Entries
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
    # JSON has no tuples: headers are told in pairs all the same.
    assert replace(got, inode=0, headers=[(name, value) for name, value in got.headers]) == STATE


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
