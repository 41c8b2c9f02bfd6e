"""Which release file a URL means: its key in the store, its digest where one is known, and the headers that it is served with.

A file's key is its credential space, digest and name. The digest is the one in a PyPI-layout path, or the strongest on the index's page;
without any, the URL takes its place. Core metadata (PEP 658, PEP 714) has the digest in the page's `core-metadata`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from multidict import CIMultiDict

from pkgcache.engine.caching import InTier, in_no_tier
from pkgcache.engine.fills.fill_request import FileHead, FillRequest
from pkgcache.engine.pages.known_files import KnownFiles
from pkgcache.engine.store.keys import StoreKey, file_key
from pkgcache.rules.http.freshness import received_times
from pkgcache.rules.http.storability import NotStorable, storable
from pkgcache.rules.routing.digests import Digest, strongest
from pkgcache.rules.routing.routes import ReleaseFile, by_index
from pkgcache.rules.routing.urls import Url
from pkgcache.units import printable

IMMUTABLE_SECONDS = 365_000_000
"""As PyPI sends it with its files: more than eleven years."""

_NONE: CIMultiDict[str] = CIMultiDict()

IMMUTABLE = f"max-age={IMMUTABLE_SECONDS}, immutable, public"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """A release file with its key and what is known of its content."""

    route: ReleaseFile
    key: StoreKey
    digest: Digest | None
    size: int | None
    in_tier: InTier = in_no_tier

    @property
    def shown_name(self) -> str:
        """The file's name, for people."""
        return printable(self.route.filename + self.route.suffix)

    @property
    def fill_request(self) -> FillRequest:
        """The request by which a fill downloads this file."""
        return FillRequest(digest=self.digest, size=self.size, sources=self.route.sources, shared=self.shared)

    @property
    def shared(self) -> Sequence[tuple[Url, str]]:
        """Where a shared tier has it, and where it will have it: both are asked before the upstreams, the second one by downloads alone."""
        return self.in_tier(self.key) if self.digest else ()

    @property
    def wheels(self) -> list[tuple[Url, str]]:
        """For core metadata: the URLs of its wheel, each with its `Authorization`."""
        return [(url.with_path(url.path.removesuffix(".metadata")), auth) for url, auth in self.route.sources]

    def attempt_tag(self, attempt: str) -> str:
        """The entity tag of bytes that are not verified yet: another for each attempt to download them."""
        return f'"{self.digest or quote(self.route.filename)}.{attempt}"'

    @property
    def transient_tag(self) -> str:
        """A tag of bytes that are passed through: no other answer ever has it, so a client cannot add to them (If-Range)."""
        return self.attempt_tag(secrets.token_hex(4))

    def may_be_stored(self, head: FileHead) -> bool:
        """Whether the store may have it: by RFC 9111 §3 where nothing but an answer's headers speaks for it."""
        refusal = None if self.digest else storable(request_headers=_NONE, status=200, response_headers=head.headers)
        return not isinstance(refusal, NotStorable)

    def headers(self, head: FileHead) -> CIMultiDict[str]:
        """The headers of an answer with this file, but for its length, range and entity tag. `head` is what the upstream said."""
        passed = ["Content-Type", "Last-Modified"]
        if not self.digest:
            passed += ["Cache-Control", "Expires"]
        headers = CIMultiDict({name: head.headers[name] for name in passed if name in head.headers})
        headers.update(received_times(head.headers))
        headers.setdefault("Content-Type", "application/octet-stream")
        if headers["Content-Type"].startswith(
            "multipart/"
        ):  # the type of an answer with several ranges, not of the file
            headers["Content-Type"] = "application/octet-stream"
        if self.digest:
            headers["Cache-Control"] = IMMUTABLE
        return headers


class FileResolver:
    """Finds out which file a route means, from its path and from stored pages. Nothing is fetched for it."""

    def __init__(self, known_files: KnownFiles, in_tier: InTier = in_no_tier) -> None:
        self._known_files = known_files
        self._in_tier = in_tier
        self._latest: FileIdentity | None = None

    def from_memory(self, route: ReleaseFile) -> FileIdentity | None:
        """The file, if its path has its digest or the page's links are in memory; None where a page must be read first.

        It is kept for the `resolve` of the same request, which comes next where the file itself is not in memory.
        """
        digest: Digest | None = None
        if route.release is not None and not route.suffix:
            digest = route.release.digest
        elif route.suffix == ".metadata" and (facts := self._known_files.facts_in_memory(route)):
            digest = None if isinstance(facts.core_metadata, bool) else strongest(facts.core_metadata)
        if digest is None:
            return None
        self._latest = identified(route, digest, None, self._in_tier)
        return self._latest

    async def resolve(self, route: ReleaseFile) -> FileIdentity:
        """The file, from a stored page where the path does not tell its digest."""
        latest, self._latest = self._latest, None
        if latest is not None and latest.route is route:
            return latest
        digest: Digest | None = None
        size: int | None = None
        if route.release is not None and not route.suffix:
            digest = route.release.digest
        elif facts := await self._known_files.facts_of(route):
            if not route.suffix:
                digest, size = strongest(facts.hashes), facts.size
            elif route.suffix == ".metadata" and not isinstance(facts.core_metadata, bool):
                digest = strongest(facts.core_metadata)
        return identified(route, digest, size, self._in_tier)

    async def claims(self, route: ReleaseFile) -> list[FileIdentity]:
        """What the pages of all indexes with files on this host say that the file is: one if they agree.

        An index that says nothing of it, or gives no digest, does not count where another one does.
        """
        found = {file.key: file for file in [await self.resolve(each) for each in by_index(route)]}
        return [file for file in found.values() if file.digest] or list(found.values())[:1]

    async def size(self, file: FileIdentity) -> int | None:
        """The file's length in bytes, if it is known or a stored page tells it."""
        if file.size is None and not file.route.suffix:
            facts = await self._known_files.facts_of(file.route)
            return facts.size if facts else None
        return file.size


def identified(
    route: ReleaseFile, digest: Digest | None, size: int | None, in_tier: InTier = in_no_tier
) -> FileIdentity:
    """The file with the key that its route and digest make."""
    return FileIdentity(
        route=route,
        key=file_key(route.space, str(digest or route.identity), route.filename + route.suffix),
        digest=digest,
        size=size,
        in_tier=in_tier,
    )
