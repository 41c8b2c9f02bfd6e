"""The mark of a store's format, and a store of format 1 read by today's keys and notes.

What opening does with an older or a newer store is in test_damage.py; what clients get out of this one is in tests/e2e/test_old_store.py.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pkgcache.engine.credentials import CredentialSpaces
from pkgcache.engine.store.entries import Entries, Row
from pkgcache.engine.store.format import (
    ASIDE_SECONDS,
    FORMAT,
    StoreFormatError,
    check_format,
    is_newer,
    read_format,
    remove_old_asides,
)
from pkgcache.engine.store.integrity import fault_of, orphans
from pkgcache.engine.store.keys import (
    HOSTS_KEY,
    StoreKey,
    file_key,
    page_key,
    parse_key,
    project_list_key,
    range_key,
    variant_key,
)
from pkgcache.engine.store.notes import FileNotes, HostNotes, ListNotes, PageNotes, RangeNotes, VariantNotes
from pkgcache.rules.routing.routes import PUBLIC
from pkgcache.rules.simple.representations import Representation
from tests.support import old_store
from tests.support.old_store import unpack

JSON, HTML, HTML_V1 = Representation.JSON, Representation.HTML, Representation.HTML_V1

# The mark


@pytest.mark.parametrize(
    ("mark", "newer"), [("1", False), ("0", False), ("2", True), ("10", True), ("", False), ("x", False), ("-2", False)]
)
def test_newer(mark: str, newer: bool) -> None:
    assert is_newer(mark) is newer


def test_no_mark(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert read_format(tmp_path) is None
    assert read_format(tmp_path / "none") is None
    assert read_format(tmp_path / "file") is None


@pytest.mark.parametrize(
    ("mark", "aside"),
    [
        (None, "entries.format-unknown"),
        ("0\n", "entries.format-0"),
        ("a/b", "entries.format-a_b"),
        (" 1 \n\n", ""),
        ("1", ""),
    ],
)
def test_what_is_set_aside(tmp_path: Path, mark: str | None, aside: str, caplog: pytest.LogCaptureFixture) -> None:
    entries = tmp_path / "entries"
    entries.mkdir()
    if mark is not None:
        (tmp_path / "format").write_text(mark)
    with caplog.at_level(logging.WARNING):
        check_format(tmp_path, entries)
    assert [path.name for path in tmp_path.glob("entries*")] == [aside or "entries"]
    assert len(caplog.records) == bool(aside)
    assert read_format(tmp_path) == str(FORMAT)


def test_a_second_one_takes_the_place_of_the_first_that_was_set_aside(tmp_path: Path) -> None:
    entries = tmp_path / "entries"
    for name in ("first", "second"):
        entries.mkdir()
        (entries / name).write_text("")
        (tmp_path / "format").write_text("0")
        check_format(tmp_path, entries)
    assert [path.name for path in (tmp_path / "entries.format-0").iterdir()] == ["second"]


def test_a_newer_store_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("2")
    (tmp_path / "entries").mkdir()
    with pytest.raises(StoreFormatError, match=r"has format 2, and this version reads format 1"):
        check_format(tmp_path, tmp_path / "entries")
    assert {path.name for path in tmp_path.iterdir()} == {"format", "entries"}


def test_what_was_set_aside_long_ago_is_removed(tmp_path: Path) -> None:
    for name, age in (
        ("entries", ASIDE_SECONDS + 60),
        ("entries.format-0", 60),
        ("entries.damaged-1", ASIDE_SECONDS + 60),
    ):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    remove_old_asides(tmp_path / "entries")
    assert {path.name for path in tmp_path.iterdir()} == {"entries", "entries.format-0"}


# A store of format 1


@pytest.fixture
def entries(tmp_path: Path) -> Iterator[Entries]:
    unpack(tmp_path)
    found = Entries(tmp_path, max_size=1 << 30, min_free=0)
    found.open(make=False)
    with contextlib.closing(found):
        yield found


def keys(space: str) -> dict[StoreKey, type]:
    """The keys that today's code makes for what was asked, and the notes that each should have."""
    pages = [page_key(PUBLIC, "corp", "alpha", JSON), page_key(PUBLIC, "corp", "alpha", HTML)]
    pages += [page_key(PUBLIC, "corp", "bravo", JSON), page_key(PUBLIC, "corp", "linked", HTML)]
    pages.append(page_key(space, "corp", "secret", JSON))
    variants = [variant_key("slash", "html" if page.endswith("html") else "json", page) for page in pages]
    files = [
        file_key(PUBLIC, old_store.WHEEL_DIGEST, "alpha-1.0-py3-none-any.whl"),
        file_key(PUBLIC, old_store.SDIST_DIGEST, "alpha-2.0.tar.gz"),
        file_key(PUBLIC, old_store.METADATA_DIGEST, "bravo-1.0-py3-none-any.whl.metadata"),
        file_key(PUBLIC, "https://index.test/corp/plain/nodigest-1.0.tar.gz", "nodigest-1.0.tar.gz"),
        file_key(space, old_store.PRIVATE_DIGEST, "secret-1.0-py3-none-any.whl"),
    ]
    return {
        page_key(PUBLIC, "corp", "missing", JSON): PageNotes,
        **dict.fromkeys(pages, PageNotes),
        **dict.fromkeys(variants, VariantNotes),
        **dict.fromkeys(files, FileNotes),
        range_key(file_key(PUBLIC, old_store.RANGED_DIGEST, "bravo-1.0-py3-none-any.whl")): RangeNotes,
        project_list_key("corp", JSON): ListNotes,
        HOSTS_KEY: HostNotes,
    }


def test_every_entry_has_todays_key_and_todays_notes(entries: Entries) -> None:
    """And the notes are written as they were read, so that the version before could read them again."""
    spaces = CredentialSpaces(entries.directory)
    spaces.open()
    expected = keys(spaces.of(old_store.ALICE))
    rows: dict[StoreKey, Row] = {row.key: row for row in entries.rows()}
    assert rows.keys() == expected.keys()
    for key, kind in expected.items():
        notes = rows[key].notes
        size = notes.pop("size")
        assert size == rows[key].size, key
        assert json.dumps(kind.from_json(notes).to_json()) == json.dumps(notes), key
        assert entries.get(key) is not None, key


def test_nothing_is_wrong_with_it(entries: Entries, caplog: pytest.LogCaptureFixture) -> None:
    assert {row.key: fault for row in entries.rows() if (fault := fault_of(entries, row))} == {}
    assert list(orphans(entries, 0)) == []
    assert not caplog.records
    assert read_format(entries.directory) == str(FORMAT)


def test_keys_are_taken_apart(entries: Entries) -> None:
    shown = {str(parsed) for row in entries.rows() if not (parsed := parse_key(row.key)).private}
    assert shown == {
        "alpha page json",
        "alpha page html",
        "bravo page json",
        "linked page html",
        "missing page json",
        "alpha view slash json",
        "alpha view slash html",
        "bravo view slash json",
        "linked view slash html",
        "alpha alpha-1.0-py3-none-any.whl",
        "alpha alpha-2.0.tar.gz",
        "bravo bravo-1.0-py3-none-any.whl.metadata",
        "nodigest nodigest-1.0.tar.gz",
        "bravo part bravo-1.0-py3-none-any.whl",
        "root json",
        "hosts",
    }
