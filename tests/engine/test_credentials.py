"""Credential spaces: one per Authorization value, the same in every process and run on one store, and secret."""

from pathlib import Path

import pytest

from pkgcache.engine.credentials import KEY_BYTES, CredentialSpaces


def spaces(folder: Path) -> CredentialSpaces:
    each = CredentialSpaces(folder)
    each.open()
    return each


def test_a_value_has_one_space(tmp_path: Path) -> None:
    first, again = spaces(tmp_path), spaces(tmp_path)
    assert first.of("Basic YTpi") == again.of("Basic YTpi")
    assert first.of("Basic YTpi") != first.of("Basic YTpj")
    assert first.of("Basic YTpi") != spaces(_made(tmp_path / "other")).of("Basic YTpi")


@pytest.mark.parametrize("authorization", ["", "Basic YTpi", "Bearer \u00e9", "Bearer \u20ac"])
def test_a_space_is_a_word_for_keys(authorization: str, tmp_path: Path) -> None:
    """Of fixed length, without `|`, and not the value itself."""
    space = spaces(tmp_path).of(authorization)
    assert len(space) == 32
    assert set(space) <= set("0123456789abcdef")


def test_the_key_is_its_owners(tmp_path: Path) -> None:
    spaces(tmp_path)
    secret = tmp_path / "secret"
    assert (secret.stat().st_mode & 0o777, len(secret.read_bytes())) == (0o600, KEY_BYTES)


def test_a_key_that_is_cut_short_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "secret").write_bytes(b"")
    first, again = spaces(tmp_path), spaces(tmp_path)
    assert first.of("x") != again.of("x")
    assert "private answers of earlier runs are not found again" in caplog.text


def test_a_folder_that_is_not_there_has_a_key_for_this_run(tmp_path: Path) -> None:
    each = spaces(tmp_path / "nowhere")
    assert each.of("x") == each.of("x") != spaces(tmp_path / "nowhere").of("x")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
