"""The file hosts of the pages that an import brings: found by the rule by which the proxy learns them, and within the same limits.

An archive's own list of hosts is not believed, since TLS to these hosts is opened. Only pages of indexes that are configured here count.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.engine.store.notes import HostNotes
from pkgcache.rules.routing.host_table import HostTable
from pkgcache.rules.routing.indexes import build_indexes
from pkgcache.rules.routing.package_hosts import PackageHosts
from pkgcache.rules.routing.urls import parse_authority, parse_url
from pkgcache.settings import Settings


class PageHosts:
    """Learns hosts for these settings. `stored`: the notes of the hosts that the store knows, or None."""

    def __init__(self, settings: Settings, stored: Mapping[str, Any] | None) -> None:
        indexes = build_indexes(settings.index, pip_defaults())
        self._indexes = {index.name: index for index in indexes}
        file_hosts = [parse_authority(host, 443) for host in settings.file_hosts]
        self._hosts = PackageHosts(indexes, file_hosts, {})
        self._table = HostTable()
        with contextlib.suppress(ValueError):
            self._table.load(HostNotes.from_json(stored or {}).hosts, time.time())
        self.new = 0

    def canonical_files(self, index: str) -> str:
        """The origin by which an index's links in PyPI's layout are read (`PageContext`)."""
        return self._indexes[index].canonical_files if index in self._indexes else ""

    def learn(self, index: str, project: str, origins: Iterable[str]) -> None:
        """Add the origins of a page's release files."""
        if index not in self._indexes:
            return
        addresses = [(url.host, url.port) for url in map(parse_url, origins)]
        unknown = [address for address in addresses if not self._hosts.is_configured_by_operator(address)]
        new, _ = self._table.learn(index.partition("@")[0], project, unknown, time.time())
        self.new += len(new)

    def notes(self) -> dict[str, Any]:
        """Return all hosts, as they are stored."""
        return HostNotes(hosts=self._table.rows()).to_json()
