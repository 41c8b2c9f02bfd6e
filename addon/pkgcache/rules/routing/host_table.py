"""The file hosts that index pages link to: which indexes have release files there, and how many hosts an index may have.

TLS to such a host is opened, so neither an index nor a single page of it can name any number of them. A host belongs to each index that
links to it: of two indexes one may be wrong about a file there, and must not speak for the other.

Leaves out: which links count (`simple/transform`), and storing the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from pkgcache.rules.routing.package_hosts import Address
from pkgcache.rules.routing.ports import is_for_http

MOST_PER_INDEX: Final = 16

MOST_PER_PAGE: Final = 4
"""New hosts that one project's pages may name, so that one poisoned page does not take the places of all others."""

FORGOTTEN_AFTER: Final = 30 * 86400.0
"""Seconds without a request to a host for an index, after which the index loses the host."""


class HostTable:
    """Addresses of file hosts, and for each the indexes that it belongs to, the one that linked there first coming first."""

    def __init__(self) -> None:
        self._used: dict[Address, dict[str, float]] = {}  # when it was last asked for, in seconds since the epoch
        self._from_page: dict[tuple[str, str], int] = {}

    def __contains__(self, address: object) -> bool:
        return address in self._used

    def __iter__(self) -> Iterator[Address]:
        return iter(self._used)

    def __len__(self) -> int:
        return len(self._used)

    def indexes_at(self, address: Address) -> tuple[str, ...]:
        """Return the names of the indexes with files on a host."""
        return tuple(self._used.get(address, ()))

    def touch(self, address: Address, now: float) -> None:
        """Note that a host was asked for."""
        self._used[address] = dict.fromkeys(self._used[address], now)

    def rows(self) -> tuple[tuple[str, int, str, float], ...]:
        """Return the table as it is stored: (host, port, index, last use)."""
        return tuple(
            (*address, index, used) for address, indexes in self._used.items() for index, used in indexes.items()
        )

    def load(self, rows: Iterable[tuple[str, int, str, float]], now: float) -> None:
        """Add stored rows, without what has not been used for long and within the limit of each index."""
        for host, port, index, used in rows:
            if now - used < FORGOTTEN_AFTER and is_for_http(port) and self._has_place(index):
                self._used.setdefault((host, port), {})[index] = min(used, now)

    def learn(
        self, index: str, project: str, addresses: Iterable[Address], now: float
    ) -> tuple[list[Address], list[Address]]:
        """Add the hosts that a project's page links to. Returns those that are new to the index, and those without a place.

        Ports of other protocols are not looked at.

        >>> HostTable().learn("corp", "six", [("files.test", 443)], now=0.0)
        ([('files.test', 443)], [])
        """
        page = (index, project)
        found = [address for address in dict.fromkeys(addresses) if is_for_http(address[1])]
        unknown = [address for address in found if index not in self._used.get(address, ())]
        for place, address in enumerate(unknown):
            if not self._has_place(index) or self._from_page.get(page, 0) >= MOST_PER_PAGE:
                return unknown[:place], unknown[place:]
            self._used.setdefault(address, {})[index] = now
            self._from_page[page] = self._from_page.get(page, 0) + 1
        return unknown, []

    def _has_place(self, index: str) -> bool:
        return sum(index in indexes for indexes in self._used.values()) < MOST_PER_INDEX
