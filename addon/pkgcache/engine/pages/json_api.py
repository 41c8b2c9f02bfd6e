"""Documents of the older JSON API (`/pypi/<project>/json`) that are made here, for poetry, where no upstream has one.

Most mirrors do not have them, so a document is then made of the project's page and a wheel's core metadata
(`rules/simple/json_api_build`, which also says who gets it). It is stored beside the upstream's 404, and lives as long as the page that
it is made of. While the page is there and the metadata cannot be had for now, nothing is made: poetry would lock what an incomplete
document says.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.pages.stored_page import PageGoneError, PageRequest, StoredPage, body_digest
from pkgcache.engine.pages.variants import PageVariants
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.store.keys import StoreKey, file_key
from pkgcache.engine.store.notes import PageNotes
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.rules.routing.digests import strongest
from pkgcache.rules.routing.paths import api_base
from pkgcache.rules.routing.routes import PUBLIC, ReleaseFile, Route, with_credentials
from pkgcache.rules.routing.urls import Url, parse_url
from pkgcache.rules.simple.json_api_build import Release, has_metadata
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.representations import Representation

_LIFETIME_HEADERS = ("Cache-Control", "Expires", "Date", "Age")
"""What a made document has of its page's headers: how long it lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSources:
    """How a release file's bytes are found from here; the rooms of files are above this one and hand these in.

    `route`: what a URL means. `answer`: the answer to a request for a release file. `stored_metadata`: the METADATA inside the stored
    wheel of that key, None where there is none. `upstream_metadata`: the METADATA read out of a wheel at one of these URLs, each with its
    `Authorization` (raises UpstreamError).
    """

    route: Callable[[Url], Route]
    answer: Callable[[Request, ReleaseFile], Awaitable[Response]]
    stored_metadata: Callable[[StoreKey], Awaitable[bytes | None]]
    upstream_metadata: Callable[[Sequence[tuple[Url, str]]], Awaitable[bytes]]


def was_made(page: StoredPage) -> bool:
    """Whether an earlier version of this program has made a document, and stored it as if it were the upstream's."""
    return page.found and page.notes.headers.keys() <= {"Content-Type", *_LIFETIME_HEADERS}


class JsonApi:
    """Makes documents.

    `keep` stores one like a fetched page. `current_page` gives a page as any client would get it now (raises AllFailedError, TimeoutError).
    """

    def __init__(
        self,
        variants: PageVariants,
        keep: Callable[[PageRequest, PageNotes, bytes, bytes | None], Awaitable[StoredPage]],
        sources: FileSources,
        current_page: Callable[[PageRequest], Awaitable[StoredPage]],
        *,
        offline: bool,
    ) -> None:
        self._variants = variants
        self._keep = keep
        self._sources = sources
        self._current_page = current_page
        self._offline = offline

    async def make(self, page_request: PageRequest) -> StoredPage:
        """The document made of its page; of status 404 where there is no page, or no such release on it. Raises AllFailedError."""
        if made := await self._make(page_request):
            return made
        now = time.time()
        notes = PageNotes(
            status=404,
            headers=CIMultiDict(),
            request_time=now,
            response_time=now,
            upstream="",
            url=str(page_request.client_url),
            transient=True,
        )
        return StoredPage(key=page_request.key, notes=notes, body=b"")

    async def _make(self, page_request: PageRequest) -> StoredPage | None:
        """The document made of its page; None where there is no page, or no such release on it. Raises AllFailedError."""
        simple = page_request.index.simple
        version = page_request.document.removeprefix(f"{page_request.project}/").removesuffix("json").removesuffix("/")
        of_page = _page_request(page_request)
        try:
            page = await self._current_page(of_page)
            if not page.found:
                return None
            variant = await self._variants.variant(of_page, page, "json")
            release = await self._variants.release(variant, version)
        except (PageGoneError, BrokenPage, TimeoutError):
            return None
        if release is None:
            return None
        metadata = await self._metadata(page_request, release)
        whole = None if version else variant.plain
        try:
            body = await self._variants.document(page_request.project, release, metadata, whole)
        except BrokenPage as error:
            failure = UpstreamError(Failure.WRONG_PAGE, page.notes.url, f"no document can be made of it: {error}")
            raise AllFailedError([failure]) from error
        headers = CIMultiDict({"Content-Type": "application/json"})
        headers.update({name: page.notes.headers[name] for name in _LIFETIME_HEADERS if name in page.notes.headers})
        notes = replace(
            page.notes,
            headers=headers,
            url=str(simple.with_path(api_base(simple) + page_request.document)),
            source_digest=body_digest(body),
            representation=Representation.JSON,
            has_base_href=False,
            transient=page.notes.transient or bool(page_request.query),
        )
        return await self._keep(page_request, notes, body, None)

    # Core metadata

    async def _metadata(self, page_request: PageRequest, release: Release) -> bytes | None:
        """A wheel's METADATA; None for a release without wheels, or whose wheel nobody has. Raises AllFailedError."""
        wheel = release.wheel
        if not wheel:
            return None
        try:
            url = parse_url(wheel["url"].partition("#")[0])
        except ValueError:  # a link of another scheme, or one that was left alone
            return None
        route = self._route(page_request, url)
        if route is None:
            return None
        try:
            digest = route.release.digest if route.release else strongest(wheel.get("hashes") or {})
            key = file_key(page_request.space, str(digest or route.identity), route.filename)
            if (stored := await self._sources.stored_metadata(key)) is not None:
                return stored
            if has_metadata(wheel):
                return await self._advertised(page_request, url.with_path(f"{url.path}.metadata", url.query))
            if self._offline:
                return None
            return await self._sources.upstream_metadata(route.sources)
        except UpstreamError as error:
            if error.failure is Failure.NOT_FOUND:
                return None
            raise AllFailedError([error]) from error

    async def _advertised(self, page_request: PageRequest, url: Url) -> bytes:
        """The `.metadata` that the page advertises (PEP 658), as clients get it. Raises UpstreamError."""
        route = self._route(page_request, url)
        assert route is not None
        request = Request(method="GET", url=url, headers=CIMultiDictProxy(CIMultiDict()))
        response = await self._sources.answer(request, route)
        body = await _read(response)
        if response.status != 200:
            failure = Failure.NOT_FOUND if response.status in {404, 410} else Failure.STATUS
            raise UpstreamError(failure, url, body.decode(errors="replace").strip().replace("\n", " "))
        return body

    def _route(self, page_request: PageRequest, url: Url) -> ReleaseFile | None:
        """A file as the client that asked may have it, None for a URL that is no release file's."""
        route = self._sources.route(url)
        if isinstance(route, ReleaseFile) and page_request.space != PUBLIC:
            route = with_credentials(route, route.sources[0][0], page_request.authorization, page_request.space)
        return route if isinstance(route, ReleaseFile) else None


async def _read(response: Response) -> bytes:
    """The whole body. Raises CutShortError."""
    if isinstance(response.body, bytes):
        return response.body
    body = bytearray()
    try:
        while chunk := await response.body.read():
            body += chunk
    finally:
        response.body.close()
    return bytes(body)


def _page_request(document_request: PageRequest) -> PageRequest:
    """The request for the project's page, of which its document is made."""
    simple = document_request.index.simple
    return replace(
        document_request,
        representation=Representation.JSON,
        client_url=simple.with_path(f"{simple.path}{document_request.project}/"),
        document="",
        query="",
        made=False,
    )
