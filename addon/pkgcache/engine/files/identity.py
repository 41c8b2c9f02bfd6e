"""Which release file is meant: its key, its digest as far as a path or a page tells, and the headers that go with it.

A file's key is (credential space, digest, filename): the digest is that of the PyPI-layout path, else the strongest of its index's page;
where there is none its URL takes the place. Core metadata (PEP 658/714) is known by the digest in `core-metadata`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from multidict import CIMultiDict

from pkgcache.engine.fills.fill_request import FileHead, FillRequest
from pkgcache.engine.pages.variants import PageVariants
from pkgcache.engine.store.keys import StoreKey, file_key
from pkgcache.rules.routing.digests import Digest, strongest
from pkgcache.rules.routing.routes import ReleaseFile
from pkgcache.rules.routing.urls import Url

IMMUTABLE = "max-age=365000000, immutable, public"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """A release file with its key and what is known of its content."""

    route: ReleaseFile
    key: StoreKey
    digest: Digest | None
    size: int | None

    @property
    def shown_name(self) -> str:
        """The file's name, for people."""
        return self.route.filename + self.route.suffix

    @property
    def fill_request(self) -> FillRequest:
        """What a fill has to bring."""
        return FillRequest(digest=self.digest, size=self.size, sources=self.route.sources)

    @property
    def wheels(self) -> list[tuple[Url, str]]:
        """Where the wheel is whose metadata this is."""
        return [(url.with_path(url.path.removesuffix(".metadata")), auth) for url, auth in self.route.sources]

    @property
    def transient_tag(self) -> str:
        """An entity tag of bytes that are not verified: that of an attempt that is never committed."""
        return f'"{self.digest or self.route.filename}.{secrets.token_hex(4)}"'

    def headers(self, head: FileHead) -> CIMultiDict[str]:
        """The headers of its answer but for its length and range."""
        kept = (
            ("Content-Type", "Last-Modified")
            if self.digest
            else ("Content-Type", "Last-Modified", "Cache-Control", "Expires")
        )
        headers = CIMultiDict({name: head.headers[name] for name in kept if name in head.headers})
        headers.setdefault("Content-Type", "application/octet-stream")
        if headers["Content-Type"].startswith("multipart/"):
            headers["Content-Type"] = "application/octet-stream"
        if self.digest:
            headers["Cache-Control"] = IMMUTABLE
        return headers


class FileResolver:
    """Knows files by their paths, and by what the pages say that are stored."""

    def __init__(self, views: PageVariants) -> None:
        self._views = views

    def from_memory(self, route: ReleaseFile) -> FileIdentity | None:
        """As `of`, where that takes no look at a page, or the page's links are in memory."""
        if route.release is not None and not route.suffix:
            return identified(route, route.release.digest, None)
        if route.suffix == ".metadata" and (link := self._views.link_in_memory(route)):
            return (
                None if isinstance(link.core_metadata, bool) else identified(route, strongest(link.core_metadata), None)
            )
        return None

    async def resolve(self, route: ReleaseFile) -> FileIdentity:
        """The file that a route means. Nothing is fetched for it."""
        digest: Digest | None = None
        size: int | None = None
        if route.release is not None and not route.suffix:
            digest = route.release.digest
        elif link := await self._views.link_of(route):
            if not route.suffix:
                digest, size = strongest(link.hashes), link.size
            elif route.suffix == ".metadata" and not isinstance(link.core_metadata, bool):
                digest = strongest(link.core_metadata)
        return identified(route, digest, size)

    async def size(self, file: FileIdentity) -> int | None:
        """How large a file is, as far as a page tells."""
        if file.size is None and not file.route.suffix:
            link = await self._views.link_of(file.route)
            return link.size if link else None
        return file.size


def identified(route: ReleaseFile, digest: Digest | None, size: int | None) -> FileIdentity:
    """A file by its route, with the key that these make."""
    return FileIdentity(
        route=route,
        key=file_key(route.space, str(digest or route.identity), route.filename + route.suffix),
        digest=digest,
        size=size,
    )
