"""Room for downloads while they grow: the limits hold for entries and growing files together, of all processes."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pkgcache.engine.fills.growth import UNKNOWN_STEP, Growth
from pkgcache.engine.store import room
from pkgcache.engine.store.room import GROW_STEP
from pkgcache.engine.upstream.errors import NoRoomError
from tests.engine.store.stores import MB, adopt, opened


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def write(path: Path, size: int) -> None:
    with path.open("ab") as file:
        file.truncate(size)


@pytest.mark.parametrize(
    ("reserved", "foreign", "asked", "fits"),
    [
        ((), 0, 10 * MB, True),
        ((), 0, 10 * MB + 1, False),
        ((6 * MB,), 0, 4 * MB, True),
        ((6 * MB,), 0, 4 * MB + 1, False),  # all that grows together
        ((3 * MB, 3 * MB, 3 * MB), 0, MB, True),
        ((3 * MB, 3 * MB, 3 * MB), 0, 2 * MB, False),
        ((), 6 * MB, 4 * MB, True),  # what another process has written so far
        ((), 6 * MB, 5 * MB, False),
        ((2 * MB,), 6 * MB, 2 * MB, True),
        ((2 * MB,), 6 * MB, 3 * MB, False),
    ],
)
async def test_all_that_grows(reserved: tuple[int, ...], foreign: int, asked: int, fits: bool, tmp_path: Path) -> None:
    async with opened(tmp_path, max_size=10 * MB) as store:
        for number, size in enumerate(reserved):
            assert await store.room.reserve(store.growing / f"{number}.part", size)
        write(store.growing / "foreign.part", foreign)
        path = store.growing / "asked.part"
        assert await store.room.reserve(path, asked) is fits
        if not fits:
            assert await store.room.reserve(path, 0), "a refusal leaves no reservation"


async def test_a_refusal_keeps_what_was_reserved_before(tmp_path: Path) -> None:
    async with opened(tmp_path, max_size=10 * MB) as store:
        path, other = store.growing / "a.part", store.growing / "b.part"
        assert await store.room.reserve(path, 6 * MB)
        assert not await store.room.reserve(path, 11 * MB)
        assert not await store.room.reserve(other, 5 * MB)
        store.room.release(path)
        store.room.release(path)
        assert await store.room.reserve(other, 5 * MB)


async def test_entries_are_evicted_for_bytes_that_have_come(tmp_path: Path) -> None:
    """A step ahead of them, and not for what is only announced."""
    async with opened(tmp_path, max_size=60 * MB) as store:
        for number in range(5):
            assert await adopt(store, f"file|{number}", bytes(10 * MB), str(number))
        path = store.growing / "a.part"
        assert await store.room.reserve(path, 55 * MB)
        first = (await store.figures())["bytes"]
        assert 60 * MB - GROW_STEP - 10 * MB < first <= 60 * MB - GROW_STEP
        write(path, 30 * MB)
        assert await store.room.reserve(path, 55 * MB)
        assert (await store.figures())["bytes"] + 30 * MB + GROW_STEP <= 60 * MB
        assert not await store.room.reserve(store.growing / "b.part", 6 * MB)
        assert (await store.figures())["entries"] == 1, "nothing is evicted for what cannot fit"


@pytest.mark.parametrize(
    ("free", "min_free", "asked", "fits"),
    [
        (100, 10, 90, True),
        (100, 10, 91, False),
        (100, 100, 1, False),
        (100, 50, 40, True),
        (1000, 0, 101, False),  # `max_size`
    ],
)
async def test_a_folder_that_is_not_the_stores(
    free: int, min_free: int, asked: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where downloads go while the store cannot be written."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with opened(tmp_path / "store", max_size=100 * MB, min_free=min_free * MB) as store:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free * MB))
        assert await store.room.reserve(elsewhere / "a.part", asked * MB) is fits


async def test_the_disk_for_all_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path, min_free=10 * MB) as store:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 60 * MB))
        assert await store.room.reserve(store.growing / "a.part", 30 * MB)
        assert not await store.room.reserve(store.growing / "b.part", 21 * MB)
        assert await store.room.reserve(store.growing / "b.part", 20 * MB)


async def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """Whoever writes there finds that out; the limits are no reason to refuse it."""
    async with opened(tmp_path) as store:
        assert await store.room.reserve(tmp_path / "gone" / "a.part", MB)


@pytest.mark.parametrize(
    ("total", "ends", "asked"),
    [
        (5000, [0, 1000, 5000], [5000]),
        (GROW_STEP + 1, [0, 1, GROW_STEP, GROW_STEP + 1], [GROW_STEP + 1] * 2),
        (None, [1, UNKNOWN_STEP, UNKNOWN_STEP + 1, UNKNOWN_STEP + 2], [UNKNOWN_STEP + 1, 2 * UNKNOWN_STEP + 2]),
    ],
)
async def test_steps(total: int | None, ends: list[int], asked: list[int]) -> None:
    """The room for a file is looked at again as it grows, and not at each chunk."""
    seen: list[int] = []

    async def reserve(_: Path, size: int) -> bool:
        seen.append(size)
        return True

    growth = Growth(Path("x.part"), reserve)
    for end in ends:
        await growth.cover(end, total)
    assert seen == asked


@pytest.mark.parametrize(
    ("total", "limit", "end", "fits"),
    [
        (None, UNKNOWN_STEP // 2, UNKNOWN_STEP // 2, True),  # the last bytes fit, if no step ahead does
        (None, UNKNOWN_STEP // 2, UNKNOWN_STEP // 2 + 1, False),
        (100, 99, 1, False),
        (100, 100, 1, True),
    ],
)
async def test_no_room(total: int | None, limit: int, end: int, fits: bool) -> None:
    async def reserve(_: Any, size: int) -> bool:
        return size <= limit

    growth = Growth(Path("x.part"), reserve)
    if fits:
        await growth.cover(end, total)
        return
    with pytest.raises(NoRoomError):
        await growth.cover(end, total)


def test_a_step_is_small_beside_the_default_limits() -> None:
    assert room.GROW_STEP < 100 * MB
