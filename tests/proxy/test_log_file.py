"""The access log's file: whole lines in one append, and the file that has the name."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pkgcache.proxy.log_file import LogFile

type Change = Callable[[Path], object]


def moved(path: Path) -> None:
    """logrotate's `nocreate`."""
    path.rename(path.with_suffix(".1"))


def moved_and_made(path: Path) -> None:
    """logrotate's `create`."""
    moved(path)
    path.touch()


def moved_with_its_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_suffix(".old"))
    path.parent.mkdir()


def replaced(path: Path) -> None:
    """Put a copy in the place of the file, by a rename, as an editor does when it saves."""
    shutil.copy(path, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def linked(path: Path) -> None:
    """The name becomes a link to another file."""
    moved(path)
    path.symlink_to(path.with_suffix(".2"))


ROTATIONS: dict[str, tuple[Change, str]] = {
    "nothing": (lambda _: None, "one\ntwo\n"),
    "moved": (moved, "two\n"),
    "moved and made": (moved_and_made, "two\n"),
    "removed": (Path.unlink, "two\n"),
    "its folder moved": (moved_with_its_folder, "two\n"),
    "replaced": (replaced, "one\ntwo\n"),
    "a link": (linked, "two\n"),
    "emptied by copytruncate": (lambda path: os.truncate(path, 0), "two\n"),
}
"""name → what happens to the file between two lines, and what the file of that name has afterwards."""


@pytest.mark.parametrize(("change", "expected"), ROTATIONS.values(), ids=ROTATIONS)
def test_rotation(change: Change, expected: str, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "access.log"
    log = LogFile(str(path))
    log.append(b"one\n")
    change(path)
    log.append(b"two\n")
    log.close()
    assert path.read_text() == expected
    everything = "".join(each.read_text() for each in tmp_path.rglob("*") if each.is_file() and not each.is_symlink())
    assert everything.count("two") == 1


def test_no_more_files_are_open_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        moved(path)
        log.append(b"x\n")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    log.close()


def test_a_folder_that_is_gone_for_a_while(tmp_path: Path) -> None:
    """The line is lost, and the caller is told; the next one is written."""
    folder = tmp_path / "logs"
    folder.mkdir()
    log = LogFile(str(folder / "log"))
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        log.append(b"one\n")
    folder.mkdir()
    log.append(b"two\n")
    assert (folder / "log").read_text() == "two\n"
    log.close()


def test_two_processes_write_whole_lines(tmp_path: Path) -> None:
    """O_APPEND: each write goes behind what is there by then, however much it is."""
    path = str(tmp_path / "log")
    one, two = LogFile(path), LogFile(path)
    batch = b"".join(b"%d\n" % number for number in range(20_000))
    one.append(batch)
    two.append(b"two\n")
    one.append(batch)
    assert Path(path).read_bytes() == batch + b"two\n" + batch


def test_half_a_line_is_ended_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up takes the beginning of a batch: what comes later must not be glued to it."""
    log = LogFile(str(tmp_path / "log"))
    write = os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) < 5:
            raise OSError(28, "No space left on device")
        return write(handle, data[:5])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            log.append(b"one line\n")
    log.append(b"two\n")
    log.append(b"three\n")
    assert (tmp_path / "log").read_text() == "one l\ntwo\nthree\n"
    log.close()


@pytest.mark.parametrize(
    ("lines", "sizes"),
    [
        ([50_001], [50_001]),  # however long: a buffer would cut it where it ends
        ([100, 200], [300]),
        ([4000, 96], [4096]),  # PIPE_BUF
        ([4000, 97], [4000, 97]),
        ([100] * 100, [4000, 4000, 2000]),
        ([5000, 100, 100], [5000, 200]),
        ([100, 5000, 100], [100, 5000, 100]),
    ],
)
def test_standard_output(
    lines: list[int], sizes: list[int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is written in pieces that a pipe keeps whole, and no more of them than needed: several workers write to one pipe."""
    written: list[int] = []
    write = os.write

    def counted(handle: int, data: bytes) -> int:
        written.append(len(data))
        return write(handle, data)

    monkeypatch.setattr(os, "write", counted)
    LogFile("-").append(b"".join(b"x" * (size - 1) + b"\n" for size in lines))
    assert written == sizes
    assert [len(line) + 1 for line in capfd.readouterr().out.splitlines()] == lines
