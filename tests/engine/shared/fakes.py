"""A bucket in memory that does as it is told, a store of a dictionary, and the tier in front of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.shared.bucket import Bucket, BucketError, Found, Wanted
from pkgcache.engine.shared.object_names import object_name
from pkgcache.engine.shared.tier import SharedTier
from pkgcache.engine.store.keys import StoreKey, file_key

KEY: Final = file_key("-", "sha256:" + "ab" * 32, "six-1.0.tar.gz")
NAME: Final = str(object_name(KEY))
WAIT: Final = 0.05


class Denied(Exception):  # noqa: N818
    """Named in obstore's way."""


@dataclass
class FakeBucket(Bucket):
    """`fails`: with this, each time; `stalls`: no answer, ever; `stalls_in_body`: only the first piece comes."""

    objects: dict[str, bytes] = field(default_factory=dict)
    fails: str = ""
    refuses_writes: str = ""
    stalls: bool = False
    stalls_in_body: bool = False
    stalls_in_put: bool = False
    asked: list[str] = field(default_factory=list)
    under_way: int = 0

    async def _come(self, what: str) -> None:
        self.asked.append(what)
        if self.stalls:
            await asyncio.Event().wait()
        if self.fails:
            raise BucketError(Denied(self.fails))

    async def get(self, name: str, wanted: Wanted = None) -> Found | None:
        await self._come(f"get {name}")
        if (content := self.objects.get(name)) is None:
            return None
        start, stop = wanted if isinstance(wanted, tuple) else ((wanted or {}).get("offset", 0), len(content))
        if wanted is not None and start >= len(content):
            raise BucketError(Denied("range"))

        async def pieces() -> AsyncIterator[bytes]:
            yield content[start : start + 1]
            if self.stalls_in_body:
                await asyncio.Event().wait()
            yield content[start + 1 : stop]

        return Found(len(content), start, min(stop, len(content)), pieces())

    async def size(self, name: str) -> int | None:
        await self._come(f"size {name}")
        return len(self.objects[name]) if name in self.objects else None

    async def names(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        await self._come(f"names {prefix}")
        for name, content in self.objects.items():
            if name.startswith(f"{prefix}/"):
                yield name, len(content)

    async def create(self, name: str) -> bool:
        await self._come(f"create {name}")
        if self.refuses_writes:
            raise BucketError(Denied(self.refuses_writes))
        if name in self.objects:
            return False
        self.objects[name] = b""
        return True

    async def remove(self, names: Sequence[str]) -> None:
        for name in names:
            self.asked.append(f"remove {name}")
            self.objects.pop(name, None)

    async def put(self, name: str, content: bytes | Path) -> None:
        self.asked.append(f"put {name}")
        if self.refuses_writes:
            raise BucketError(Denied(self.refuses_writes))
        self.under_way += 1
        try:
            if self.stalls_in_put:
                await asyncio.Event().wait()
            self.objects[name] = content if isinstance(content, bytes) else content.read_bytes()  # noqa: ASYNC240
        finally:
            self.under_way -= 1


@dataclass
class StoredEntry:
    """An entry of the fake store: its value, and the open file that a large one would have."""

    value: bytes
    file: Any = None

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.value)


class FakeStore:
    """Has what it is given."""

    def __init__(self) -> None:
        self.entries: dict[StoreKey, bytes] = {}
        self.pages: dict[StoreKey, tuple[dict[str, Any], bytes]] = {}
        self.on_stored: Any = lambda _key: None

    async def find(self, key: StoreKey) -> StoredEntry | None:
        """Return the entry of a key; None where there is none."""
        return StoredEntry(self.entries[key]) if key in self.entries else None

    async def read(self, key: StoreKey) -> tuple[dict[str, Any], bytes] | None:
        """Return the notes and the body of a stored page; None where there is none."""
        return self.pages.get(key)

    async def put(self, key: StoreKey, value: bytes, notes: dict[str, Any]) -> bool:
        """Keep a page, and tell `on_stored` of it."""
        self.pages[key] = notes, value
        self.on_stored(key)
        return True


class Scene:
    """A tier, its bucket and its store."""

    def __init__(
        self, *, private: bool = False, wait: float = WAIT, follow: float = 0.0, bucket: FakeBucket | None = None
    ) -> None:
        self.bucket, self.store, self.metrics = bucket or FakeBucket(), FakeStore(), Metrics()
        store: Any = self.store
        figures = self.metrics.shared
        self.tier = SharedTier(self.bucket, store, figures, wait=wait, follow=follow, private=private)
        self.store.on_stored = self.tier.stored

    def count(self, kind: str, result: str) -> int:
        """A counter: `reads` or `writes`, by result."""
        return int(self.metrics.figures()[f"pypi_cache_shared_{kind}_total{{result={result}}}"])

    async def read(self, name: str = NAME, wanted: Wanted = None) -> bytes | None:
        """All of an object."""
        async with self.tier.read(name, wanted) as found:
            return None if found is None else b"".join([piece async for piece in found.pieces])

    async def keep(self, key: StoreKey, content: bytes) -> None:
        """Let the store take a file, and what follows from it happen."""
        self.store.entries[key] = content
        self.tier.stored(key)
        await settled()


async def settled() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(20):
        await asyncio.sleep(0)
