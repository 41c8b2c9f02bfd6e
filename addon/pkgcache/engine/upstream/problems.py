"""What is wrong with the upstreams just now, in words for whoever runs the proxy."""

from __future__ import annotations

from collections.abc import Sequence

from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.rules.routing.indexes import Index, Upstream


def upstream_problems(indexes: Sequence[Index], client: UpstreamClient) -> dict[str, str]:
    """One line by index or mirror. An index is listed while the circuit breakers of all its upstreams are open."""
    lines = {}
    for index in indexes:
        if "@" in index.name:  # a mirror under its own URL: an index of the list that it is in
            continue
        if all(client.is_open(upstream.simple) for upstream in index.upstreams):
            names = ", ".join(upstream.name for upstream in index.upstreams)
            lines[f"index {index.name}"] = (
                f"no upstream of index {index.name} answers ({names}); what is stored is served"
            )
    for index, mirror in mirrors_of(indexes):
        if client.is_shut_out(mirror.simple, mirror.authorization):
            given = "another one" if mirror.authorization else "one"
            cure = f"give {given} in pypi_cache_index: https://USER:PASSWORD@…"
            lines[f"mirror {mirror.name}"] = f"{mirror.name} of index {index.name} wants a login (401); {cure}"
    return lines


def mirrors_of(indexes: Sequence[Index]) -> list[tuple[Index, Upstream]]:
    """The upstreams that clients do not know of: they name the index, and have no login for its mirrors."""
    pairs = [(index, upstream) for index in indexes if "@" not in index.name for upstream in index.upstreams]
    return [(index, upstream) for index, upstream in pairs if upstream.simple.origin != index.simple.origin]
