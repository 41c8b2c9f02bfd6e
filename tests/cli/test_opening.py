"""Opening a store for a command: what must not be created, set aside or taken from its owner is refused, and left as it is."""

import os
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from pkgcache.cli.exits import UnusableError
from pkgcache.cli.opening import opened, owner_name
from pkgcache.cli.store_location import StoreLocation, read_location
from pkgcache.engine.store.format import FORMAT
from tests.cli.stores import make_store


@pytest.fixture
def location(tmp_path: Path) -> StoreLocation:
    return read_location(str(tmp_path), [], str(tmp_path / "store"))


def listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} if folder.exists() else set()


def test_a_store(location: StoreLocation) -> None:
    make_store(location.folder)
    with opened(location) as entries:
        assert entries.figures()["entries"] == 6


def test_a_new_store(location: StoreLocation) -> None:
    """Only `import` makes one."""
    with opened(location, make=True) as entries:
        assert entries.figures()["entries"] == 0
    with opened(location) as entries:
        assert entries.figures()["entries"] == 0


def nothing(_: Path) -> None:
    pass


def an_empty_folder(folder: Path) -> None:
    folder.mkdir()


def a_file(folder: Path) -> None:
    folder.write_text("x")


def somebodys_folder(folder: Path) -> None:
    (folder / "entries").mkdir(parents=True)


def an_older_format(folder: Path) -> None:
    make_store(folder)
    (folder / "format").write_text("0\n")


def no_format(folder: Path) -> None:
    make_store(folder)
    (folder / "format").write_text("nonsense, and much of it\n")


def a_newer_format(folder: Path) -> None:
    make_store(folder)
    (folder / "format").write_text(f"{FORMAT + 1}\n")


def a_damaged_database(folder: Path) -> None:
    make_store(folder)
    for each in (folder / "entries").glob("cache.db*"):
        each.unlink()
    (folder / "entries" / "cache.db").write_bytes(b"no database" * 1000)


@pytest.mark.parametrize(
    ("prepare", "make", "reason"),
    [
        (nothing, False, "no store there"),
        (an_empty_folder, False, "no store there"),
        (a_file, False, "no store there"),
        (somebodys_folder, False, "no store there"),
        (somebodys_folder, True, "no store there"),
        (an_older_format, False, "its format is '0', and this version reads"),
        (an_older_format, True, "its format is '0', and this version reads"),
        (no_format, False, "its format is 'nonsense, and mu'"),
        (a_newer_format, False, f"format {FORMAT + 1}"),
        (a_damaged_database, False, "at its next start the proxy sets a damaged store aside"),
        (a_damaged_database, True, "at its next start the proxy sets a damaged store aside"),
    ],
)
def test_what_is_refused(prepare: Callable[[Path], None], make: bool, reason: str, location: StoreLocation) -> None:
    prepare(location.folder)
    before = listing(location.folder)
    with pytest.raises(UnusableError) as caught, opened(location, make=make):
        pass
    assert reason in caught.value.message
    assert str(location.folder) in caught.value.message
    assert "\n" not in caught.value.message
    assert listing(location.folder) == before


def test_another_users_store(location: StoreLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that root makes in it, the proxy's user could not open."""
    make_store(location.folder)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UnusableError, match="run it as that user, such as sudo -u"), opened(location):
        pass


def test_trouble_while_it_is_open(location: StoreLocation) -> None:
    """The disk's is one line; a closed standard output is no fault of the store's."""
    make_store(location.folder)
    with pytest.raises(click.ClickException, match=r"cannot be used: .*Input/output error"), opened(location):
        raise OSError(5, "Input/output error")
    with pytest.raises(BrokenPipeError), opened(location):
        raise BrokenPipeError


def test_an_owners_name() -> None:
    assert owner_name(0) == "root"
    assert owner_name(987_654_321) == "987654321"
