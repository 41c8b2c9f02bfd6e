"""What the tests of pages share: an index with mirrors that answer as told, and the engine's parts before them."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multidict import CIMultiDict

from pkgcache.engine.pages.fetcher import PageFetcher
from pkgcache.engine.pages.known_files import KnownFiles
from pkgcache.engine.pages.learned_hosts import LearnedHosts
from pkgcache.engine.pages.page_turns import TakeTurn
from pkgcache.engine.pages.stored_page import PageRequest
from pkgcache.engine.pages.variants import PageVariants
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.errors import Failure, UpstreamError, refused
from pkgcache.engine.upstream.response import SMALL_BODY
from pkgcache.rules.routing.indexes import Index, build_indexes
from pkgcache.rules.routing.package_hosts import Address
from pkgcache.rules.routing.routes import PUBLIC
from pkgcache.rules.routing.urls import Url, parse_url
from pkgcache.rules.simple.representations import Representation
from pkgcache.settings import make_settings
from tests.engine.store.stores import opened

FIRST, SECOND = "https://first.test", "https://second.test"
"""Two mirrors of the index `corp`, whose clients know it under a third name."""


def corp_index() -> Index:
    """The index as its operator has configured it."""
    settings = make_settings(
        {"pypi_cache_index": [f"corp=https://index.test/simple/ {FIRST}/simple/ {SECOND}/simple/"]}
    )
    return next(each for each in build_indexes(settings.index, pip_defaults()) if each.name == "corp")


@dataclass
class Said:
    """What a mirror answers."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Response:
    """What a scripted mirror says, in place of an upstream response."""

    said: Said
    url: Url

    @property
    def status(self) -> int:
        return self.said.status

    @property
    def headers(self) -> CIMultiDict[str]:
        return CIMultiDict(self.said.headers)

    async def body(self, _limit: int, take_turn: TakeTurn) -> bytes:
        if len(self.said.body) > SMALL_BODY:
            await take_turn(len(self.said.body))
        return self.said.body

    def refused(self) -> UpstreamError:
        return refused(self.url, self.status, self.headers, self.url.origin)


class Mirrors:
    """A client whose upstreams say what `says` has for their origin; one that it does not have cannot be reached."""

    def __init__(self, **says: Said) -> None:
        self.says = {{"first": FIRST, "second": SECOND}[name]: said for name, said in says.items()}
        self.open: set[str] = set()
        self.busy: set[str] = set()
        self.asked: list[tuple[str, CIMultiDict[str], str]] = []

    def is_open(self, url: Url) -> bool:
        return url.origin in self.open

    @contextlib.asynccontextmanager
    async def request(
        self, _method: str, url: Url, headers: Mapping[str, str], authorization: str = "", **_: Any
    ) -> AsyncIterator[Response]:
        self.asked.append((str(url), CIMultiDict(headers), authorization))
        said = self.says.get(url.origin)
        if url.origin in self.busy:
            raise UpstreamError(Failure.BUSY, url, "all connections to it are in use")
        if said is None:
            raise UpstreamError(Failure.UNREACHABLE, url, "cannot be reached")
        yield Response(said, url)

    @property
    def origins(self) -> list[str]:
        """Who was asked, in order."""
        return [parse_url(url).origin for url, _, _ in self.asked]


@dataclass
class Parts:
    """The engine's parts for one index."""

    store: Store
    mirrors: Mirrors
    hosts: LearnedHosts
    variants: PageVariants
    known_files: KnownFiles
    fetcher: PageFetcher
    index: Index

    def page_request(self, project: str = "six", kind: str = "json", **more: Any) -> PageRequest:
        values: dict[str, Any] = {
            "index": self.index,
            "project": project,
            "representation": Representation.JSON if kind == "json" else Representation.HTML,
            "client_url": self.index.simple.with_path(f"{self.index.simple.path}{project}/"),
            "at_proxy_address": False,
            "space": PUBLIC,
        }
        return PageRequest(**{**values, **more})


@contextlib.asynccontextmanager
async def parts(
    folder: Path,
    mirrors: Mirrors | None = None,
    *,
    memory: int = 1 << 20,
    opened_hosts: frozenset[Address] = frozenset(),
) -> AsyncIterator[Parts]:
    """The parts before these mirrors, on a store of their own."""
    mirrors = mirrors or Mirrors()
    client: Any = mirrors
    tasks = Tasks()
    async with opened(folder) as store:
        hosts = LearnedHosts(store)
        variants = PageVariants(
            store,
            hosts,
            tasks,
            is_configured=lambda address: address in opened_hosts,
            memory=memory,
        )
        known_files = KnownFiles(variants, store, memory=memory)
        fetcher = PageFetcher(store, client, variants, Metrics(), offline=False)
        try:
            yield Parts(store, mirrors, hosts, variants, known_files, fetcher, corp_index())
        finally:
            await tasks.close()
            variants.close()
