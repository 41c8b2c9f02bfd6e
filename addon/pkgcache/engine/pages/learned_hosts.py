"""File hosts learned from the links of the operator's indexes (`HostTable`), and remembered in the store.

TLS to a learned host is opened, so each is logged. A host that no request went to for a month is forgotten.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping

from pkgcache.engine.store.keys import HOSTS_KEY
from pkgcache.engine.store.notes import HostNotes
from pkgcache.engine.store.store import Store
from pkgcache.rules.routing.host_table import MOST_PER_INDEX, MOST_PER_PAGE, HostTable
from pkgcache.rules.routing.package_hosts import Address
from pkgcache.rules.routing.urls import join_authority

logger = logging.getLogger(__name__)


class LearnedHosts(Mapping[Address, tuple[str, ...]]):
    """File host address to the names of the indexes whose pages link there. Looking one up by `[]` counts as a use of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = HostTable()
        self._told: set[str] = set()
        self.version = 0  # another number after each change of what is learned: a URL may mean something else then

    def __getitem__(self, address: Address) -> tuple[str, ...]:
        if address not in self._table:
            raise KeyError(address)
        self._table.touch(address, time.time())
        return self._table.indexes_at(address)

    def __iter__(self) -> Iterator[Address]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, address: object) -> bool:
        return address in self._table

    async def load(self) -> None:
        """Add the hosts that earlier runs learned."""
        if (found := await self._store.read(HOSTS_KEY)) is None:
            return
        try:
            notes = HostNotes.from_json(found[0])
        except ValueError as error:
            await self._store.drop_damaged(HOSTS_KEY, None, f"its notes are no hosts: {error}")
            return
        self._table.load(notes.hosts, time.time())
        self.version += 1

    async def save(self) -> None:
        """Store the hosts."""
        await self._store.put(HOSTS_KEY, b"-", HostNotes(hosts=self._table.rows()).to_json())

    def learn(self, index: str, project: str, addresses: Iterable[Address]) -> bool:
        """Remember where a page's release files are. Returns whether any of the addresses was new to the index."""
        new, refused = self._table.learn(index, project, addresses, time.time())
        self.version += bool(new)
        for address in new:
            logger.info(
                "index %s has files on %s; this host is opened from now on (if its address is private: only with %s=%s)",
                index,
                join_authority(*address),
                "pypi_cache_file_hosts",
                join_authority(*address),
            )
        if refused and (page := f"{index} {project}") not in self._told:
            if len(self._told) < 1000:  # one line a page, and no more memory than that
                self._told.add(page)
            logger.warning(
                "index %s, project %s: %s:%d%s not opened: more than %d file hosts on its pages, or %d of the index",
                index,
                project,
                *refused[0],
                f" and {len(refused) - 1} more are" if len(refused) > 1 else " is",
                MOST_PER_PAGE,
                MOST_PER_INDEX,
            )
        return bool(new)
