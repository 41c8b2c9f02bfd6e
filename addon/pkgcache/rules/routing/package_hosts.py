"""Decides which hosts are package hosts: their TLS is opened and their requests are answered here; every other host is tunnelled.

They are the hosts of indexes, of the places where the indexes' files are, those in `pypi_cache_file_hosts`, and those learned from the
links of index pages.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.spelling import strict_path
from pkgcache.rules.routing.urls import DEFAULT_PORTS, Url, parse_url

type Address = tuple[str, int]
"""A host, in the form of `Url.host`, and a port."""


class PackageHosts:
    """The package hosts of these indexes. `file_places`: the paths below which the operator's indexes have their files, by host.

    `learned` maps a file host's address to the names of the indexes whose pages link there. The caller adds to it as pages are read; it is
    looked at with each question.
    """

    def __init__(
        self, indexes: Iterable[Index], file_hosts: Iterable[Address], learned: Mapping[Address, tuple[str, ...]]
    ) -> None:
        self.file_places: dict[Address, list[tuple[str, Index]]] = {}
        for index in indexes:  # an index's own host is among the places of its files
            for url in file_places(index):
                self.file_places.setdefault((url.host, url.port), []).append((strict_path(url.path), index))
        self.file_hosts = frozenset(file_hosts)
        self.learned = learned

    def is_package_host(self, address: Address) -> bool:
        """Whether requests for this address are answered here, and tunnels to it decrypted."""
        return self._is_known(address) or self._is_without_tls(address)

    def with_tls(self, url: Url) -> Url:
        """`http://` at a host that we know at `https://` means the same: such servers redirect, or answer alike.

        So plain http is no way around the operator's rules. Only for the two default ports: any other one is another server.
        """
        if self._is_without_tls((url.host, url.port)):
            return replace(url, scheme="https", port=DEFAULT_PORTS["https"])
        return url

    def _is_known(self, address: Address) -> bool:
        return address in self.file_places or address in self.file_hosts or address in self.learned

    def _is_without_tls(self, address: Address) -> bool:
        """Whether we know this host, whose port is 80, at port 443 alone."""
        host, port = address
        return (
            port == DEFAULT_PORTS["http"]
            and not self._is_known(address)
            and self._is_known((host, DEFAULT_PORTS["https"]))
        )

    def is_configured_by_operator(self, address: Address) -> bool:
        """Whether the operator's options name this host. Then it may be in a private network, which a learned host may not."""
        return address in self.file_places or address in self.file_hosts


def file_places(index: Index) -> Iterator[Url]:
    """Where an index's files may be asked for by name: beside its own URL, on its canonical file host, beside its upstreams."""
    yield index.simple
    if index.canonical_files:
        yield parse_url(index.canonical_files + "/")
    for upstream in index.upstreams:
        yield upstream.files or upstream.simple
