"""One download for the whole farm: who downloads a file that the tier does not have, and who waits for it.

A lease is an object of the tier, `lease/<space>/<digest>/<n>`, that only one can create (a conditional write). Its owner shows that it is
alive by creating `n + 1`, and goes on so until the file is in the tier, or its download has failed; then it removes them. Everybody else
looks for the file meanwhile, and takes the lease over, by creating `n + 1`, once `n` has stood unchanged for a while by a clock of its
own: clocks of machines are never compared.

A lease is but a hint. Two owners cost one download more, since all content is held against its digest, and so does a tier without
conditional writes: there everybody is an owner. Within one machine the lock on the growing file comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from pkgcache.engine.runtime.shared_figures import SharedFigures
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.shared.bucket import Bucket, BucketError
from pkgcache.engine.shared.object_names import lease_number, lease_prefix

LOOK_SECONDS: Final = 0.25
"""How often who waits looks for the file, and at the lease."""

RENEW_SECONDS: Final = 1.0

STALE_SECONDS: Final = 3.0
"""A lease that has not been renewed for so long is taken over: its owner is dead, or cut off."""

TURN_SECONDS: Final = 2.0
"""What one look at the tier may take, as its own requests may."""


class Leases:
    """The leases of one process. `patience`: seconds that a download waits for another machine's; 0: none does."""

    def __init__(self, bucket: Bucket, figures: SharedFigures, *, patience: float) -> None:
        self._bucket = bucket
        self._figures = figures
        self._patience = patience
        self._tasks = Tasks()
        self._renewing: dict[str, asyncio.Task[None]] = {}  # by the object's name

    async def wait_for(self, name: str) -> bool:
        """Become the owner of an object's lease, or wait for whoever is: whether the object is in the tier now.

        Where it is not, the caller downloads it, and calls `release` once it has written the object, or will not.
        """
        if self._patience <= 0 or name in self._renewing:
            return False
        try:
            return await self._wait(name, lease_prefix(name))
        except (BucketError, TimeoutError):  # it is but a hint
            self._figures.lease("failed")
            return False

    async def _wait(self, name: str, prefix: str) -> bool:
        deadline = time.monotonic() + self._patience
        seen, since = 0, time.monotonic()
        while True:
            async with asyncio.timeout(TURN_SECONDS):
                latest = max([0, *[lease_number(each) async for each, _ in self._bucket.names(prefix)]])
            now = time.monotonic()
            if latest != seen:
                seen, since = latest, now
            # 0: there is no owner yet, or it has failed and removed its lease.
            if (latest == 0 or now - since > STALE_SECONDS) and await self._take(name, prefix, latest + 1):
                return False
            if now > deadline:
                self._figures.lease("gave-up")
                return False
            await asyncio.sleep(LOOK_SECONDS)
            async with asyncio.timeout(TURN_SECONDS):
                if await self._bucket.size(name) is not None:
                    self._figures.lease("followed")
                    return True

    async def _take(self, name: str, prefix: str, number: int) -> bool:
        """Try to become the owner."""
        async with asyncio.timeout(TURN_SECONDS):
            if not await self._bucket.create(f"{prefix}/{number}"):
                return False
        self._figures.lease("owner" if number == 1 else "taken-over")
        self._renewing[name] = self._tasks.start(self._renew(prefix, number), f"lease of {name}")
        return True

    async def _renew(self, prefix: str, number: int) -> None:
        """Show that the owner lives, until cancelled; then remove the lease. Its number goes up, and the last two are there."""
        try:
            while True:
                await asyncio.sleep(RENEW_SECONDS)
                async with asyncio.timeout(TURN_SECONDS):
                    if not await self._bucket.create(f"{prefix}/{number + 1}"):
                        return  # somebody has taken it over: then there are two downloads
                    number += 1
                    await self._bucket.remove([f"{prefix}/{number - 2}"] if number > 2 else [])
        except (BucketError, TimeoutError):
            return
        finally:
            with contextlib.suppress(BucketError, TimeoutError):
                async with asyncio.timeout(TURN_SECONDS):
                    await self._bucket.remove([f"{prefix}/{each}" for each in (number - 1, number) if each > 0])

    def release(self, name: str) -> None:
        """Give up a lease, if this process has it."""
        if (task := self._renewing.pop(name, None)) is not None:
            task.cancel()

    async def close(self) -> None:
        """Give up all leases."""
        self._renewing.clear()
        await self._tasks.close()
