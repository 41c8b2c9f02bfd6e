"""File hosts learned from the links of the operator's indexes, and remembered in the store.

TLS to a learned host is opened, so their number is bounded and each is logged: a poisoned page must not get just any host decrypted.
A host that no request went to for a month is forgotten.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping

from pkgcache.engine.store.keys import HOSTS_KEY
from pkgcache.engine.store.notes import HostNotes
from pkgcache.engine.store.store import Store
from pkgcache.rules.routing.package_hosts import Address

logger = logging.getLogger(__name__)

MOST_PER_INDEX = 16
FORGOTTEN_AFTER = 30 * 86400.0


class LearnedHosts(Mapping[Address, str]):
    """File host address to the name of the index whose pages link there. Looking one up by `[]` counts as a use of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index: dict[Address, str] = {}
        self._used: dict[Address, float] = {}

    def __getitem__(self, address: Address) -> str:
        index = self._index[address]
        self._used[address] = time.time()
        return index

    def __iter__(self) -> Iterator[Address]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, address: object) -> bool:
        return address in self._index

    async def load(self) -> None:
        """Add the hosts that earlier runs learned."""
        if (found := await self._store.read(HOSTS_KEY)) is None:
            return
        try:
            notes = HostNotes.from_json(found[0])
        except ValueError as error:
            await self._store.drop_damaged(HOSTS_KEY, None, f"its notes are no hosts: {error}")
            return
        now = time.time()
        for host, port, index, used in notes.hosts:
            if now - used < FORGOTTEN_AFTER:
                self._index[(host, port)] = index
                self._used[(host, port)] = used

    async def save(self) -> None:
        """Store the hosts."""
        hosts = tuple((*address, index, self._used[address]) for address, index in self._index.items())
        await self._store.put(HOSTS_KEY, b"-", HostNotes(hosts=hosts).to_json())

    def learn(self, index: str, addresses: Iterable[Address]) -> bool:
        """Remember where an index's release files are. Returns whether any of the addresses was new."""
        new = False
        for address in addresses:
            if address in self._index:
                continue
            if sum(name == index for name in self._index.values()) >= MOST_PER_INDEX:
                logger.warning(
                    "index %s links to more than %d file hosts; %s:%d is not opened", index, MOST_PER_INDEX, *address
                )
                break
            self._index[address] = index
            self._used[address] = time.time()
            logger.info("index %s has files on %s:%d; this host is opened from now on", index, *address)
            new = True
        return new
