"""Whose is what: spaces are told apart by credentials, found again by later runs, and tell nothing about the credentials."""

import stat
from pathlib import Path

import pytest

from pkgcache.engine.credentials import KEY_BYTES, CredentialSpaces

ALICE = "Basic YWxpY2U6dzBuZGVybGFuZA=="


def opened(folder: Path) -> CredentialSpaces:
    spaces = CredentialSpaces(folder)
    spaces.open()
    return spaces


@pytest.mark.parametrize(
    "other", ["", "Bearer x", ALICE + " ", ALICE.lower(), "Basic YWxpY2U6dzBuZGVybGFuZB==", "Basic ü😀"]
)
def test_each_has_a_space_of_their_own(tmp_path: Path, other: str) -> None:
    spaces = opened(tmp_path)
    assert spaces.of(ALICE) == spaces.of(ALICE)
    assert spaces.of(other) != spaces.of(ALICE)
    assert len(spaces.of(other)) == 32
    assert int(spaces.of(other), 16) >= 0


def test_a_later_run_finds_them_again(tmp_path: Path) -> None:
    assert opened(tmp_path).of(ALICE) == opened(tmp_path).of(ALICE)


def test_another_stores_key_gives_other_spaces(tmp_path: Path) -> None:
    """Nobody can find out from a store's keys whose password is in a list of known ones."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert opened(tmp_path / "one").of(ALICE) != opened(tmp_path / "two").of(ALICE)


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    opened(tmp_path)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_size == KEY_BYTES


@pytest.mark.parametrize("content", [b"", b"short", bytes(KEY_BYTES + 1)])
def test_a_file_that_is_no_key(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is left as it is, and one line tells; an empty key would make spaces that anyone can reckon."""
    (tmp_path / "secret").write_bytes(content)
    assert opened(tmp_path).of(ALICE) != opened(tmp_path).of(ALICE)
    assert (tmp_path / "secret").read_bytes() == content
    assert "private pages and files of earlier runs are not found again" in caplog.text


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A key for this run only."""
    spaces = opened(tmp_path / "none")
    assert spaces.of(ALICE) == spaces.of(ALICE)
    assert spaces.of(ALICE) != opened(tmp_path / "none").of(ALICE)


def test_a_key_that_another_process_is_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that start on a fresh folder have the same spaces: the second waits for the key that the first is writing."""
    path = tmp_path / "secret"
    path.touch(0o600)
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            path.write_bytes(b"k" * KEY_BYTES)

    monkeypatch.setattr("pkgcache.engine.credentials.time.sleep", wait)
    second = opened(tmp_path)
    assert len(waited) == 3
    assert second.of(ALICE) == opened(tmp_path).of(ALICE)
