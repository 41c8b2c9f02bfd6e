"""The folder of the workers' sockets."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from pkgcache.proxy.workers.state_folder import state_folder


def test_it_is_this_users_alone_and_gone_afterwards(tmp_path: Path) -> None:
    store = tmp_path / "new" / "store"
    with state_folder(store) as folder:
        assert folder.parent == store / "workers"
        assert [each.stat().st_mode & 0o777 for each in (store, folder.parent, folder)] == [0o700] * 3
        (folder / "1.socket").touch()
    assert list((store / "workers").iterdir()) == []


def test_several_supervisors_on_one_store(tmp_path: Path) -> None:
    with state_folder(tmp_path) as one, state_folder(tmp_path) as two:
        assert one != two
        assert one.is_dir()


def test_what_a_killed_supervisor_left(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    names = {f"{ended.pid}-old": False, f"{os.getppid()}-anothers": True, "1-anothers": True, "somebody's own": True}
    for name in names:
        (tmp_path / "workers" / name).mkdir(parents=True)
    with state_folder(tmp_path):
        assert {name: (tmp_path / "workers" / name).exists() for name in names} == names


def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy serves all the same, without keeping anything."""
    (tmp_path / "store").write_text("a file")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with state_folder(tmp_path / "store") as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


@pytest.mark.parametrize("what", ["a link", "writable by others", "another user's"])
def test_a_folder_that_others_rule(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a link the folders of dead processes were removed wherever it led."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    theirs = tmp_path / "theirs" / f"{ended.pid}-project"
    theirs.mkdir(parents=True)
    store = tmp_path / "store"
    store.mkdir()
    if what == "a link":
        (store / "workers").symlink_to(theirs.parent)
    else:
        theirs.parent.rename(store / "workers")
        theirs = store / "workers" / theirs.name
    if what == "writable by others":
        (store / "workers").chmod(0o777)
    elif what == "another user's":
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with state_folder(store) as folder:
        assert folder.parent == tmp_path
        assert theirs.exists()
