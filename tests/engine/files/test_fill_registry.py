"""One fill a file: who joins it, when it is forgotten, and what is committed."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from pkgcache.engine.caching import Collaborators
from pkgcache.engine.files import fill_registry
from pkgcache.engine.files.fill_registry import FillRegistry
from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store.notes import FileNotes
from pkgcache.engine.store.rehash import Rehasher
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.errors import Failure
from tests.engine.files.fakes import CONTENT, NAMED, Bench, Scripted, wheel

WHOLE: Final = Scripted(200, {"Content-Length": "2048", "Content-Type": "application/zip"}, CONTENT)
FILE: Final = wheel()


def in_registry(folder: Path, answer: Scripted, story: Callable[[FillRegistry, Store, Bench], Awaitable[None]]) -> None:
    """A registry over a real store, and one upstream."""
    bench = Bench()
    bench.upstreams.answers = {NAMED: answer}

    async def run() -> None:
        store = bench.store = Store(folder, max_size=1 << 30, min_free=0, inactive=0, health=Health())
        store.open()
        shared: Collaborators = bench.shared()
        rehasher = Rehasher(store, bench.tasks)
        registry = FillRegistry(shared, rehasher)
        async with asyncio.timeout(20):
            await story(registry, store, bench)
        await bench.tasks.close()
        await store.close()
        rehasher.close()
        registry.close()

    asyncio.run(run())


async def ended(registry: FillRegistry, bench: Bench) -> Any:
    fill = registry.start(FILE)
    assert registry.of(FILE) is fill
    assert fill.task is not None
    await asyncio.wait([fill.task])
    return fill


def test_a_good_fill_lingers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that looked into the store just before the commit finds it a moment longer."""
    monkeypatch.setattr(fill_registry, "LINGER_SECONDS", 0.05)

    async def story(registry: FillRegistry, store: Store, bench: Bench) -> None:
        fill = await ended(registry, bench)
        assert fill.committed
        assert registry.of(FILE) is fill
        await asyncio.sleep(0.1)
        assert registry.of(FILE) is None
        assert len(registry) == 0
        assert not list(store.growing.iterdir())

    in_registry(tmp_path, WHOLE, story)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (Scripted(404), Failure.NOT_FOUND),
        (Scripted(200, {"Content-Length": "2048"}, CONTENT[:-1] + b"!"), Failure.WRONG_DIGEST),
    ],
)
def test_a_failed_fill_is_forgotten_at_once(answer: Scripted, failure: Failure, tmp_path: Path) -> None:
    """The next request starts a new one."""

    async def story(registry: FillRegistry, store: Store, bench: Bench) -> None:
        fill = await ended(registry, bench)
        assert fill.error is not None
        assert failure in fill.error.failures
        assert registry.of(FILE) is None
        bench.upstreams.answers = {NAMED: WHOLE}
        assert (await ended(registry, bench)).committed

    in_registry(tmp_path, answer, story)


def test_what_is_committed(tmp_path: Path) -> None:
    async def story(registry: FillRegistry, store: Store, bench: Bench) -> None:
        fill = await ended(registry, bench)
        entry = await store.get(FILE.key)
        assert entry is not None
        notes = FileNotes.from_json(entry.notes)
        assert (notes.name, notes.digest, notes.attempt) == (FILE.shown_name, str(FILE.digest), fill.attempt)
        assert notes.upstream_headers["Content-Type"] == "application/zip"
        assert (entry.size, entry.value) == (len(CONTENT), CONTENT)

    in_registry(tmp_path, WHOLE, story)


def test_a_file_that_another_process_has_committed_is_not_fetched(tmp_path: Path) -> None:
    async def story(registry: FillRegistry, store: Store, bench: Bench) -> None:
        await ended(registry, bench)
        requests = len(bench.upstreams.asked)
        registry.fills.clear()
        assert (await ended(registry, bench)).committed
        assert len(bench.upstreams.asked) == requests

    in_registry(tmp_path, WHOLE, story)


def test_notes_that_cannot_be_read_do_not_keep_a_file_from_being_fetched(tmp_path: Path) -> None:
    async def story(registry: FillRegistry, store: Store, bench: Bench) -> None:
        await ended(registry, bench)
        entry = await store.get(FILE.key)
        assert entry is not None
        await store.note(FILE.key, {**entry.notes, "attempt": 7})
        registry.fills.clear()
        await ended(registry, bench)
        entry = await store.get(FILE.key)
        assert entry is not None
        FileNotes.from_json(entry.notes)

    in_registry(tmp_path, WHOLE, story)
