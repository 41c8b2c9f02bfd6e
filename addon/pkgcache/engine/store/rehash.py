"""Re-hashing large stored files as they are first served: their bytes may have rotted on the disk, or been written to.

A check runs beside the sending, which holds back the last bytes until it has ended (`StoredFile`). A file that was found sound is
trusted for SOUND_SECONDS, as long as the file system says that nobody has touched it. Small files are not checked here: store.py
hashes them each time it reads them from the disk.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from pkgcache.engine.runtime.single_flight import SingleFlight
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.entries import Entry
from pkgcache.engine.store.integrity import HASH_CHUNK, expected_digest, mismatch
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.lru import ByteLru
from pkgcache.engine.store.store import Store

SOUND_SECONDS = 600.0
REMEMBERED = 65536
"""How many files that were found sound are remembered."""

type Identity = tuple[int, int, int, int]


class Rehash:
    """The check of one file, under way or ended, as the responses that send the file meanwhile see it."""

    def __init__(self, task: asyncio.Task[str]) -> None:
        """`task` returns what is wrong with the file; empty: nothing."""
        self._task = task

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    @property
    def fault(self) -> str:
        """What is wrong with the file, once that is known; empty: nothing."""
        if not self._task.done():
            return ""
        if self._task.cancelled() or self._task.exception() is not None:
            return "it could not be checked"  # the proxy is closing; the bytes that are held back stay unsent
        return self._task.result()

    async def wait(self) -> None:
        """Wait until it has ended. It runs on for the others when this wait is cancelled."""
        await asyncio.wait([self._task])


class Rehasher:
    """Remembers which stored files were found sound, and checks the others: once each, however many clients read them."""

    def __init__(self, store: Store, tasks: Tasks) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="rehash")
        self._sound: ByteLru[StoreKey, tuple[Identity, float]] = ByteLru(REMEMBERED)
        self._checks: SingleFlight[tuple[StoreKey, Identity], str] = SingleFlight(tasks)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True)

    def trust(self, key: StoreKey, descriptor: int) -> None:
        """Remember a file as sound that was verified as it was downloaded."""
        self._remember(key, _identity(descriptor))

    def check(self, key: StoreKey, entry: Entry) -> Rehash | None:
        """Return the check of an entry's open file, and begin it if there is none. None: the file was found sound lately."""
        assert entry.file is not None
        descriptor = entry.file.fileno()
        identity = _identity(descriptor)
        known, at = self._sound.get(key) or (None, 0.0)
        if known == identity and time.monotonic() - at < SOUND_SECONDS:
            return None

        def work() -> Coroutine[Any, Any, str]:
            # A descriptor of its own: the client that began the check may close its file before the check ends.
            return self._check(key, entry, identity, os.fdopen(os.dup(descriptor), "rb", buffering=0))

        return Rehash(self._checks.join((key, identity), work, f"check of {key}"))

    async def _check(self, key: StoreKey, entry: Entry, identity: Identity, file: IO[bytes]) -> str:
        with file:
            fault = await asyncio.get_running_loop().run_in_executor(self._pool, _fault, file.fileno(), key, entry)
        if fault:
            await self._store.drop_damaged(key, entry.mark, fault)
        else:
            self._remember(key, identity)
        return fault

    def _remember(self, key: StoreKey, identity: Identity) -> None:
        self._sound.put(key, (identity, time.monotonic()), 1)


def _identity(descriptor: int) -> Identity:
    """What changes when somebody writes to a file. Its times can be set back, except that of the last change of status (ctime)."""
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _fault(descriptor: int, key: StoreKey, entry: Entry) -> str:
    try:
        return mismatch(expected_digest(key, entry.notes), _chunks(descriptor))
    except (OSError, ValueError) as error:
        return f"it cannot be read: {error}"


def _chunks(descriptor: int) -> Iterator[bytes]:
    """A file's bytes, without moving the position that its other readers share."""
    offset = 0
    while chunk := os.pread(descriptor, HASH_CHUNK, offset):
        yield chunk
        offset += len(chunk)
