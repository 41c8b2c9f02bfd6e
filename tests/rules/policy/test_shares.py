"""What each worker may take of what the options grant."""

import pytest

from pkgcache.rules.policy.shares import share_of, shown_share
from pkgcache.settings import make_settings


@pytest.mark.parametrize(
    ("workers", "memory", "heads"),
    [(1, 64 << 20, 32 << 20), (2, 32 << 20, 16 << 20), (3, (64 << 20) // 3, (32 << 20) // 3), (256, 1 << 18, 1 << 17)],
)
def test_memory_is_divided(workers: int, memory: int, heads: int) -> None:
    share = share_of(make_settings({}), workers)
    assert (share.memory, share.known_heads) == (memory, heads)


def test_nothing_else_is() -> None:
    """The store is one: its size and the room on its disk are of all."""
    whole = make_settings({})
    share = share_of(whole, 4)
    assert [name for name in whole.__slots__ if getattr(whole, name) != getattr(share, name)] == [
        "memory",
        "known_heads",
    ]


def test_it_is_said() -> None:
    share = share_of(make_settings({"pypi_cache_memory": "1g", "pypi_cache_known_heads": "0"}), 4)
    line = shown_share(share, 4)
    assert "4 workers, each with 268,435,456 bytes for pages and small files (pypi_cache_memory ÷ 4)" in line
    assert "0 for known heads (pypi_cache_known_heads ÷ 4)" in line
