"""diskcache's private names that the store relies on: each is there, and does what the store expects of it.

diskcache is not maintained (5.6.3 of 2023, pinned `<6`), so this should never fail; if it does, look where each row says.
"""

import inspect
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import diskcache
import pytest
from diskcache import core


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[diskcache.Cache]:
    """A cache as the store opens it, but with diskcache's own disk."""
    with diskcache.Cache(
        str(tmp_path), timeout=0.05, eviction_policy="none", cull_limit=0, size_limit=1 << 62
    ) as opened:
        yield opened


def test_the_version() -> None:
    assert diskcache.__version__.split(".")[0] == "5", "read the new diskcache's Disk and Cache before going on"


def test_modes() -> None:
    """The numbers stand in databases: AdoptingDisk writes MODE_BINARY and refuses MODE_PICKLE."""
    assert (core.MODE_NONE, core.MODE_RAW, core.MODE_BINARY, core.MODE_TEXT, core.MODE_PICKLE) == (0, 1, 2, 3, 4)


SIGNATURES: Final[list[tuple[Callable[..., Any], list[str], str]]] = [
    (core.Disk.put, ["self", "key"], "AdoptingDisk.put"),
    (core.Disk.get, ["self", "key", "raw"], "AdoptingDisk.get"),
    (core.Disk.store, ["self", "value", "read", "key"], "AdoptingDisk.store"),
    (core.Disk.fetch, ["self", "mode", "filename", "value", "read"], "AdoptingDisk.fetch"),
    (core.Disk.filename, ["self", "key", "value"], "AdoptingDisk.store: the name of an adopted file"),
    (core.Cache.transact, ["self", "retry"], "Database.transaction"),
    (core.Cache.set, ["self", "key", "value", "expire", "read", "tag", "retry"], "Database.set"),
    (core.Cache.delete, ["self", "key", "retry"], "Database.delete"),
]


@pytest.mark.parametrize(
    ("function", "names", "look_at"), SIGNATURES, ids=[function.__qualname__ for function, _, _ in SIGNATURES]
)
def test_a_signature(function: Callable[..., Any], names: list[str], look_at: str) -> None:
    assert list(inspect.signature(function).parameters) == names, f"look at {look_at}"


def test_the_table(cache: diskcache.Cache) -> None:
    """The columns that the store's SQL names."""
    columns = {row[1] for row in cache._sql("PRAGMA table_info(Cache)").fetchall()}
    assert {"key", "raw", "access_time", "tag", "size", "mode", "filename", "value"} <= columns


def test_a_text_key_is_raw(cache: diskcache.Cache) -> None:
    """`WHERE key = ? AND raw = 1` finds what was set under a text."""
    cache.set("k", b"v", tag="t")
    assert cache._sql("SELECT tag FROM Cache WHERE key = ? AND raw = 1", ("k",)).fetchall() == [("t",)]


def test_a_large_value_is_a_file(cache: diskcache.Cache, tmp_path: Path) -> None:
    """`size` is the file's; a small value lies in the row and its size is 0: eviction adds its length."""
    cache.set("large", b"x" * 100_000)
    cache.set("small", b"xyz")
    rows = cache._sql("SELECT key, size, length(value), filename FROM Cache ORDER BY key").fetchall()
    large, small = rows
    assert large[:3] == ("large", 100_000, None)
    assert (tmp_path / large[3]).stat().st_size == 100_000
    assert small == ("small", 0, 3, None)


def test_get_gives_an_open_file(cache: diskcache.Cache) -> None:
    """`get(read=True, tag=True)`: a file for a file, the bytes for a small value, (None, None) for nothing."""
    cache.set("large", b"x" * 100_000, tag="t")
    handle, tag = cache.get("large", read=True, tag=True)
    with handle:
        assert (handle.read(), tag) == (b"x" * 100_000, "t")
        assert handle.fileno() >= 0
    cache.set("small", b"y")
    assert cache.get("small", read=True, tag=True) == (b"y", None)
    assert cache.get("none", read=True, tag=True) == (None, None)


def test_no_write_on_a_get(cache: diskcache.Cache) -> None:
    """With eviction_policy="none" a hit writes nothing: access times stay as they were, and no transaction is begun."""
    cache.set("k", b"v")
    cache._sql("UPDATE Cache SET access_time = 1")
    statements: list[str] = []
    cache._con.set_trace_callback(statements.append)
    assert cache.get("k") == b"v"
    cache._con.set_trace_callback(None)
    assert statements, "the trace saw nothing"
    assert not [line for line in statements if not line.lstrip().upper().startswith("SELECT")]
    assert cache._sql("SELECT access_time FROM Cache").fetchall() == [(1,)]


def test_a_file_that_is_missing_is_a_miss(cache: diskcache.Cache, tmp_path: Path) -> None:
    cache.set("k", b"x" * 100_000)
    ((name,),) = cache._sql("SELECT filename FROM Cache").fetchall()
    (tmp_path / name).unlink()
    assert cache.get("k", read=True, tag=True) == (None, None)


def test_the_counters(cache: diskcache.Cache) -> None:
    """`Database.volume` and its length rely on what the triggers keep."""

    def counters() -> list[int]:
        return [
            cache._sql("SELECT value FROM Settings WHERE key = ?", (name,)).fetchone()[0] for name in ("count", "size")
        ]

    before = counters()
    cache.set("k", b"x" * 500_000)
    assert counters() == [before[0] + 1, before[1] + 500_000]
    cache.delete("k")
    assert counters() == before


def test_replacing_removes_the_old_file(cache: diskcache.Cache, tmp_path: Path) -> None:
    cache.set("k", b"x" * 100_000)
    ((old,),) = cache._sql("SELECT filename FROM Cache").fetchall()
    cache.set("k", b"y" * 100_000)
    ((new,),) = cache._sql("SELECT filename FROM Cache").fetchall()
    assert old != new
    assert not (tmp_path / old).exists()


def test_a_busy_database_is_a_timeout(cache: diskcache.Cache, tmp_path: Path) -> None:
    """`transact` raises diskcache.Timeout after `timeout` seconds; the store waits on in short steps."""
    other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(diskcache.Timeout), cache.transact():
            pass
    finally:
        other.execute("ROLLBACK")
        other.close()
    with cache.transact():
        cache.set("k", b"v")


def test_a_transaction_that_fails_leaves_nothing(cache: diskcache.Cache) -> None:
    def fails() -> None:
        with cache.transact():
            cache.set("k", b"v")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert "k" not in cache


def test_filename_gives_both_names(cache: diskcache.Cache, tmp_path: Path) -> None:
    """(relative, full): the relative one stands in the row and in the journal."""
    relative, full = cache.disk.filename("k", b"v")
    assert Path(full) == tmp_path / relative
    assert not Path(relative).is_absolute()


def test_it_still_pickles() -> None:
    """Why AdoptingDisk refuses: diskcache's own disk writes and reads pickles (CVE-2025-69872)."""
    assert "pickle" in inspect.getsource(core.Disk.store)
    assert "pickle" in inspect.getsource(core.Disk.fetch)
