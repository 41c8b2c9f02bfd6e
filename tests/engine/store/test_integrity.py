"""Hash and compare, and what is found wrong with entries of each kind."""

import contextlib
import gzip
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.integrity import fault_of, mismatch, orphans, quarantine
from pkgcache.engine.store.keys import StoreKey
from pkgcache.rules.http.validation import strong_tag
from pkgcache.rules.routing.digests import Digest

VALUE: Final = b"six" * 1000
SHA256: Final = Digest("sha256", hashlib.sha256(VALUE).hexdigest())
BLAKE2B: Final = Digest("blake2b", hashlib.blake2b(VALUE, digest_size=32).hexdigest())
OTHER: Final = Digest("sha256", "0" * 64)


@pytest.mark.parametrize(
    ("digest", "chunks", "fault"),
    [
        (SHA256, [VALUE], ""),
        (SHA256, [VALUE[:1], b"", VALUE[1:]], ""),
        (BLAKE2B, [VALUE], ""),
        (SHA256, [], f"its sha256 is {hashlib.sha256().hexdigest()}, and should be {SHA256.value}"),
        (OTHER, [VALUE], f"its sha256 is {SHA256.value}, and should be {'0' * 64}"),
        (Digest("blake2b", SHA256.value), [VALUE], f"its blake2b is {BLAKE2B.value}, and should be {SHA256.value}"),
    ],
)
def test_mismatch(digest: Digest, chunks: list[bytes], fault: str) -> None:
    assert mismatch(digest, chunks) == fault


@pytest.fixture
def entries(tmp_path: Path) -> Iterator[Entries]:
    found = Entries(tmp_path, max_size=1 << 30, min_free=0)
    found.open()
    with contextlib.closing(found):
        yield found


PLAIN: Final = b"<html>" * 100
VARIANT: Final = {"plain": len(PLAIN), "etag": strong_tag(PLAIN)}
PAGE: Final = {"status": 200, "of": hashlib.blake2b(PLAIN, digest_size=16).hexdigest()}
GZIPPED: Final = gzip.compress(PLAIN, mtime=0)

FAULTS: Final[list[tuple[str, bytes, dict[str, Any], str]]] = [
    ("file|-|d|six.whl", VALUE, {"digest": str(SHA256)}, ""),
    ("file|-|d|six.whl", VALUE * 50, {"digest": str(SHA256)}, f"and should be {SHA256.value}"),
    ("file|-|d|six.whl", VALUE, {"digest": str(OTHER)}, f"its sha256 is {SHA256.value}, and should be"),
    ("file|-|d|six.whl", VALUE, {"digest": "md5:00"}, "not a digest of"),
    ("file|-|d|six.whl", VALUE, {"digest": 7}, "no attribute"),
    ("page|-|pypi|six|html", GZIPPED, PAGE, ""),
    ("page|-|pypi|six|html", gzip.compress(PLAIN + b"x", mtime=0), PAGE, "its body is not the one that was stored"),
    ("page|-|pypi|six|html", GZIPPED[:-1], PAGE, "it makes no sense (error: cut short)"),
    ("page|-|pypi|six|html", b"not gzipped", PAGE, "it makes no sense (error: "),
    ("page|-|pypi|six|html", GZIPPED, {"status": 200}, "it makes no sense (KeyError: 'of')"),
    ("page|-|pypi|none|html", b"-", {"status": 404}, ""),
    ("view|slash|html|page|-|pypi|six|html", PLAIN + GZIPPED, VARIANT, ""),
    ("view|slash|html|page|-|pypi|six|html", b"x" + PLAIN[1:] + GZIPPED, VARIANT, "its plain body is not"),
    (
        "view|slash|html|page|-|pypi|six|html",
        PLAIN + gzip.compress(b"x", mtime=0),
        VARIANT,
        "its gzipped body is not its plain one",
    ),
    ("hosts", b"-", {"hosts": []}, ""),
]


@pytest.mark.parametrize(
    ("key", "value", "notes", "fault"), FAULTS, ids=[f"{key.partition('|')[0]}: {fault}" for key, _, _, fault in FAULTS]
)
def test_fault(entries: Entries, key: str, value: bytes, notes: dict[str, Any], fault: str) -> None:
    """Of small values, which are in the row."""
    entries.put(StoreKey(key), value, notes)
    (row,) = entries.rows()
    found = fault_of(entries, row)
    assert (fault in found) if fault else found == "", found


def _cut(path: Path) -> None:
    os.truncate(path, 40_000)


def _flip(path: Path) -> None:
    path.write_bytes(b"y" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda _: None, ""),
        (_cut, "it has 40000 bytes and should have 90000"),
        (_flip, "its sha256 is"),
        (Path.unlink, "its file is gone"),
    ],
)
def test_fault_of_a_file(entries: Entries, damage: Callable[[Path], None], fault: str) -> None:
    value = VALUE * 30
    digest = f"sha256:{hashlib.sha256(value).hexdigest()}"
    entries.put(StoreKey("file|-|d|six.whl"), value, {"digest": digest})
    (row,) = entries.rows()
    assert row.filename is not None
    damage(entries.folder / row.filename)
    read: list[int] = []
    found = fault_of(entries, row, read.append)
    assert (fault in found) if fault else found == "", found
    assert sum(read) == (0 if "gone" in fault else 40_000 if "40000" in fault else 90_000)


def test_what_was_replaced_or_dropped_meanwhile_has_no_fault(entries: Entries) -> None:
    key = StoreKey("file|-|d|six.whl")
    entries.put(key, VALUE, {"digest": str(OTHER)})
    (row,) = entries.rows()
    entries.put(key, VALUE, {"digest": str(SHA256)})
    assert fault_of(entries, row) == ""
    entries.drop(key)
    assert fault_of(entries, row) == ""


@pytest.mark.parametrize("size", [1000, 100_000], ids=["in the row", "in a file"])
def test_quarantine(entries: Entries, size: int) -> None:
    """The bytes of a file are kept for whoever wants to look; a small value goes with its row."""
    entries.put(StoreKey("k"), bytes(size), {})
    (row,) = entries.rows()
    moved = quarantine(entries, row)
    assert list(entries.rows()) == []
    if size == 1000:
        assert moved is None
    else:
        assert moved is not None
        assert moved.parent == entries.directory / "quarantine"
        assert moved.read_bytes() == bytes(size)


def test_orphans(entries: Entries) -> None:
    """Files that no row names; not those that came just now, whose row may be about to be written."""
    entries.put(StoreKey("k"), bytes(100_000), {})
    orphan = entries.folder / "aa" / "bb" / f"{'0c' * 14}.val"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x")
    assert list(orphans(entries, older_than=60)) == []
    time.sleep(0.02)
    assert list(orphans(entries, older_than=0.01)) == [(orphan.relative_to(entries.folder).as_posix(), 1)]
