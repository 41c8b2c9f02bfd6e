"""A store for a test: opened, filled, and looked at from outside."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store import watch
from pkgcache.engine.store.store import Store

MB: Final = 1_000_000
ADDON: Final = Path(__file__).resolve().parents[3] / "addon"


@contextlib.asynccontextmanager
async def opened(folder: Path, **more: Any) -> AsyncIterator[Store]:
    """A store that is open."""
    health = more.pop("health", None) or Health()
    store = Store(folder, **{"max_size": 100 * MB, "min_free": 0, "inactive": 0.0, "health": health, **more})
    store.open()
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def watched(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, memory: int = MB, **more: Any
) -> AsyncIterator[Store]:
    """A store with a memory that looks at changes only when a test has it look (`store.watch.look`), which it has done once."""
    monkeypatch.setattr(watch, "HOT_SECONDS", 3600.0)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 3600.0)
    async with opened(folder, memory=memory, **more) as store:
        await store.watch.look()
        yield store


def run_async(story: Callable[[], Awaitable[None]]) -> None:
    """Run a test's story."""
    asyncio.run(asyncio.wait_for(story(), 60))  # type: ignore[arg-type]


async def adopt(store: Store, key: str, content: bytes, name: str = "x") -> bool:
    """A finished download becomes an entry."""
    part = store.growing / f"{name}.part"
    part.write_bytes(content)
    return await store.adopt(key, part, len(content), {"name": key})


async def adopt_file(store: Store, key: str, value: bytes) -> bool:
    """A release file, with the digest that what is read from the disk is held against."""
    part = store.growing / "x.part"
    part.write_bytes(value)
    return await store.adopt(key, part, len(value), {"digest": f"sha256:{hashlib.sha256(value).hexdigest()}"})


async def content(store: Store, key: str) -> bytes | None:
    """An entry's value, whichever way it is given."""
    entry = await store.get(key)
    if entry is None:
        return None
    if entry.file is None:
        return entry.value
    with entry.file:
        return entry.file.read()


def files(folder: Path) -> list[Path]:
    """The value files."""
    return [path for path in (folder / "entries").rglob("*") if path.is_file() and not path.name.startswith("cache.db")]


def size_of_files(folder: Path) -> int:
    """Bytes of the value files, while eviction may be taking some away."""
    total = 0
    for path in files(folder):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def everything(folder: Path) -> dict[Path, bytes]:
    """All files of a folder with their bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def value_file(folder: Path) -> Path:
    (path,) = files(folder)
    return path
