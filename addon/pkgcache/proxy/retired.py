"""Services with earlier options: each goes on until its downloads and its clients' answers are over, while a new one takes the requests.

To the store, and to a download of the same file, the two are as two processes would be.
"""

from __future__ import annotations

import asyncio
from typing import Final

from mitmproxy.connection import Client

from pkgcache.proxy.access_log import AccessLog
from pkgcache.proxy.intake import Intake

LOOK_SECONDS: Final = 0.2


class Retired:
    """The services that are still to finish something. `close` ends them all."""

    def __init__(self) -> None:
        self._finishing: dict[Intake, asyncio.Task[None]] = {}

    def retire(self, intake: Intake, log: AccessLog) -> None:
        """Let this one take no more requests, finish what it has begun, and close."""
        intake.close()
        self._finishing[intake] = asyncio.ensure_future(self._finish(intake, log))

    def client_left(self, client: Client) -> None:
        """End the answers of a client that has disconnected."""
        for intake in tuple(self._finishing):
            intake.client_left(client)

    async def close(self) -> None:
        """Close them at once."""
        tasks = list(self._finishing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _finish(self, intake: Intake, log: AccessLog) -> None:
        try:
            while intake.exchanges or intake.service.files.fills:
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await intake.service.close()
            log.close()
            del self._finishing[intake]
