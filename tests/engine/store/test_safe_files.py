"""Files that are written in a folder that others may write to."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pkgcache.engine.store.safe_files import ForeignFileError, open_to_continue


def another_users(path: Path, _: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    path.write_bytes(b"theirs")
    os.chown(path, 1234, 1234)


def a_socket(path: Path, _: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


LAID: dict[str, Callable[[Path, Path], object]] = {
    "a link to a file": lambda path, other: path.symlink_to(other),
    "a link to nothing": lambda path, other: path.symlink_to(other.with_name("new")),
    "a link to a link": lambda path, other: (path.with_name("2").symlink_to(other), path.symlink_to("2")),
    "a link to itself": lambda path, _: path.symlink_to(path.name),
    "a link to a folder": lambda path, other: path.symlink_to(other.parent),
    "a link to a device": lambda path, _: path.symlink_to("/dev/null"),
    "a hard link": lambda path, other: path.hardlink_to(other),
    "a FIFO": lambda path, _: os.mkfifo(path),
    "a folder": lambda path, _: path.mkdir(),
    "a socket": a_socket,
    "another user's file": another_users,
}
"""What → how somebody lays it where our file should be, given that name and a file of ours elsewhere."""


@pytest.mark.parametrize("lay", LAID.values(), ids=LAID)
def test_nothing_but_a_file_of_ours_is_written_on(lay: Callable[[Path, Path], object], tmp_path: Path) -> None:
    other, shared = tmp_path / "elsewhere", tmp_path / "shared"
    other.write_bytes(b"ours")
    shared.mkdir()
    lay(shared / "x", other)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((ForeignFileError, OSError)):
        open_to_continue(shared / "x")
    assert other.read_bytes() == b"ours"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [None, b"", b"so far"])
def test_a_file_of_ours(content: bytes | None, tmp_path: Path) -> None:
    """Created for this user alone, or gone on with."""
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    with open_to_continue(path) as file:
        assert file.read() == (content or b"")
        file.write(b", and more")
    assert path.read_bytes() == (content or b"") + b", and more"
    assert content is not None or path.stat().st_mode & 0o777 == 0o600
