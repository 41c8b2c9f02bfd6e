"""Whether a stored file is still what was stored: large files are re-hashed as they are first served, beside the sending.

A file that was found sound is believed for SOUND_SECONDS, as long as the file system says that nobody has touched it. Small ones are
held against their digest whenever they are read from the disk (engine/store.py).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.entries import Entry
from pkgcache.engine.store.store import Store
from pkgcache.rules.routing.digests import Digest

SOUND_SECONDS = 600.0
REMEMBERED = 65536
HASH_CHUNK = 1 << 20

type Identity = tuple[int, int, int, int]


class Rehash:
    """One re-hashing under way. `fault` says what is wrong, once `done`; empty: nothing."""

    def __init__(self) -> None:
        self.done = False
        self.fault = ""
        self._over = asyncio.Event()

    def end(self, fault: str) -> None:
        """It is over."""
        self.done, self.fault = True, fault
        self._over.set()

    async def wait(self) -> None:
        """Until it is over."""
        await self._over.wait()


class Rehasher:
    """Which stored files were found sound, and the checks that are under way: one for each, however many read it."""

    def __init__(self, store: Store, tasks: Tasks) -> None:
        self._store = store
        self._tasks = tasks
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="soundness")
        self._sound: OrderedDict[str, tuple[Identity, float]] = OrderedDict()
        self._checks: dict[tuple[str, Identity], Rehash] = {}

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=True)

    def trust(self, key: str, descriptor: int) -> None:
        """A file that was verified as it came in."""
        self._remember(key, _identity(descriptor))

    def check(self, key: str, entry: Entry) -> Rehash | None:
        """The check of an entry's open file, begun if there is none; None where it was found sound lately."""
        assert entry.file is not None
        identity = _identity(entry.file.fileno())
        known, at = self._sound.get(key, (None, 0.0))
        if known == identity and time.monotonic() - at < SOUND_SECONDS:
            return None
        if (check := self._checks.get((key, identity))) is None:
            check = self._checks[key, identity] = Rehash()
            descriptor = os.dup(entry.file.fileno())
            self._tasks.start(self._run(check, key, entry, identity, descriptor), f"check of {key}")
        return check

    async def _run(self, check: Rehash, key: str, entry: Entry, identity: Identity, descriptor: int) -> None:
        fault = "the proxy is closing"
        try:
            work: Callable[[], str] = lambda: _fault(descriptor, entry)  # noqa: E731  typed
            fault = await asyncio.get_running_loop().run_in_executor(self._pool, work)
            if fault:
                await self._store.drop_damaged(key, entry.mark, fault)
            else:
                self._remember(key, identity)
        finally:
            os.close(descriptor)
            del self._checks[key, identity]
            check.end(fault)

    def _remember(self, key: str, identity: Identity) -> None:
        self._sound[key] = (identity, time.monotonic())
        self._sound.move_to_end(key)
        if len(self._sound) > REMEMBERED:
            self._sound.popitem(last=False)


def _identity(descriptor: int) -> Identity:
    """What changes when somebody writes to a file; its times can be put back, all but that of the last change of status."""
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _fault(descriptor: int, entry: Entry) -> str:
    try:
        digest = Digest.parse(entry.notes["digest"])
        hasher, offset = digest.hasher(), 0
        while chunk := os.pread(descriptor, HASH_CHUNK, offset):
            hasher.update(chunk)
            offset += len(chunk)
    except (OSError, ValueError, KeyError) as error:
        return f"it cannot be read: {error}"
    found = hasher.hexdigest()
    return "" if found == digest.value else f"its {digest.algorithm} is {found}, and should be {digest.value}"
