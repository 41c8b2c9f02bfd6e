"""The older JSON API's documents: the mirror's own, and where no mirror has one, made of its page and a wheel's core metadata.

A made document lives as long as the page that it is made of. While its page is there and the metadata cannot be had for now, nothing is
made: poetry would lock what a document says.
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from zipfile import BadZipFile

from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.pages.fetcher import PageFetcher
from pkgcache.engine.pages.stored_page import PageGoneError, PageRequest, StoredPage, body_digest
from pkgcache.engine.pages.variants import PageVariants
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.store.entries import Notes
from pkgcache.engine.store.keys import file_key
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.engine.upstream.wheel_metadata import metadata_of_wheel, read_metadata
from pkgcache.rules.http.storability import NotStorable, Storable, StoreRefusal
from pkgcache.rules.routing.digests import strongest
from pkgcache.rules.routing.paths import api_base
from pkgcache.rules.routing.routes import PUBLIC, ReleaseFile, Route, with_credentials
from pkgcache.rules.routing.urls import Url, parse_url
from pkgcache.rules.simple.json_api_build import Release, build_document, has_metadata
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.representations import Representation

_OF_THE_PAGE = ("Cache-Control", "Expires", "Date", "Age")
"""What a made document has of its page's headers: how long it lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSources:
    """How files are come by: what a URL means, and the answer to a request for a release file."""

    route: Callable[[Url], Route]
    answer: Callable[[Request, ReleaseFile], Awaitable[Response]]


class JsonApi:
    """Brings documents. `current` gives a page as any client would get it now (raises AllFailedError, TimeoutError)."""

    def __init__(
        self,
        store: Store,
        client: UpstreamClient,
        fetcher: PageFetcher,
        views: PageVariants,
        sources: FileSources,
        current: Callable[[PageRequest], Awaitable[StoredPage]],
        *,
        offline: bool,
    ) -> None:
        self._store = store
        self._client = client
        self._fetcher = fetcher
        self._views = views
        self._sources = sources
        self._current = current
        self._offline = offline

    async def fetch(self, ask: PageRequest, kept: StoredPage | None) -> StoredPage:
        """The document from an upstream, or made; 404 where there is no such release. Raises AllFailedError."""
        try:
            found = await self._fetcher.fetch(ask, kept, remember_absence=False)
        except AllFailedError:
            # What an upstream gave before, be it stale, is better than what can be made of its page.
            made = None if kept is not None and kept.notes["status"] == 200 else await self._made(ask)
            if made is None:
                raise
            return made
        if found.notes["status"] == 200:
            return found
        if (made := await self._made(ask)) is None:
            await self._fetcher.remember_absence(ask, found)
        return made or found

    async def _made(self, ask: PageRequest) -> StoredPage | None:
        """The document made of its page; None where there is no page, or no such release on it. Raises AllFailedError."""
        simple = ask.index.simple
        page_ask = replace(
            ask,
            representation=Representation.JSON,
            client_url=simple.with_path(f"{simple.path}{ask.project}/"),
            document="",
        )
        try:
            page = await self._current(page_ask)
            if page.notes["status"] != 200:
                return None
            view = await self._views.variant(page_ask, page, "json")
        except (AllFailedError, PageGoneError, BrokenPage, TimeoutError):
            return None
        version = ask.document.removeprefix(f"{ask.project}/").removesuffix("json").removesuffix("/")
        release = await self._views.release(page_ask, page, view, version)
        if release is None:
            return None
        metadata = await self._metadata(ask, release)
        whole = None if version else view.plain
        body = await self._views.in_thread(lambda: build_document(ask.project, release, metadata, whole))
        headers = {name: page.stored.headers[name] for name in _OF_THE_PAGE if name in page.stored.headers}
        notes: Notes = {
            **page.notes,
            "headers": [("Content-Type", "application/json"), *headers.items()],
            "url": str(simple.with_path(api_base(simple) + ask.document)),
            "of": body_digest(body),
            "kind": Representation.JSON.value,
            "based": False,
        }
        passing = NotStorable(StoreRefusal.RESPONSE_NO_STORE) if page.notes.get("passing") else Storable()
        return await self._fetcher.keep(ask, notes, body, None, passing)

    # Core metadata

    async def _metadata(self, ask: PageRequest, release: Release) -> bytes | None:
        """A wheel's METADATA; None for a release without wheels, or whose wheel nobody has. Raises AllFailedError."""
        wheel = release.wheel
        route = wheel and self._sources.route(parse_url(wheel["url"].partition("#")[0]))
        if not wheel or not isinstance(route, ReleaseFile):
            return None
        try:
            if (stored := await self._of_stored(ask, route, wheel)) is not None:
                return stored
            if has_metadata(wheel):
                return await self._asked(ask, wheel)
            if self._offline:
                return None
            return await metadata_of_wheel(self._client, self._as(ask, route).sources)
        except UpstreamError as error:
            if error.failure is Failure.NOT_FOUND:
                return None
            raise AllFailedError([error]) from error

    async def _of_stored(self, ask: PageRequest, route: ReleaseFile, wheel: Mapping[str, Any]) -> bytes | None:
        """The METADATA of a wheel that is in the store."""
        digest = route.release.digest if route.release else strongest(wheel.get("hashes") or {})
        entry = await self._store.get(file_key(ask.space, str(digest or route.identity), route.filename))
        if entry is None:
            return None

        def read() -> bytes | None:
            with entry.file or io.BytesIO(entry.value) as stored:
                try:
                    return read_metadata(stored)
                except (ValueError, OSError, BadZipFile):
                    return None

        return await self._views.in_thread(read)

    async def _asked(self, ask: PageRequest, wheel: Mapping[str, Any]) -> bytes:
        """The `.metadata` that the page tells of, as clients get it. Raises UpstreamError."""
        url = parse_url(wheel["url"].partition("#")[0])
        url = url.with_path(f"{url.path}.metadata", url.query)
        route = self._sources.route(url)
        assert isinstance(route, ReleaseFile)
        request = Request(method="GET", url=url, headers=CIMultiDictProxy(CIMultiDict()))
        reply = await self._sources.answer(request, self._as(ask, route))
        body = reply.body if isinstance(reply.body, bytes) else b""
        if not isinstance(reply.body, bytes):
            try:
                while chunk := await reply.body.read():
                    body += chunk
            finally:
                reply.body.close()
        if reply.status != 200:
            failure = Failure.NOT_FOUND if reply.status in {404, 410} else Failure.STATUS
            raise UpstreamError(failure, url, body.decode(errors="replace").strip().replace("\n", " "))
        return body

    def _as(self, ask: PageRequest, route: ReleaseFile) -> ReleaseFile:
        """The file as the client that asked may have it."""
        if ask.space == PUBLIC:
            return route
        found = with_credentials(route, route.sources[0][0], ask.authorization, ask.space)
        assert isinstance(found, ReleaseFile)
        return found
