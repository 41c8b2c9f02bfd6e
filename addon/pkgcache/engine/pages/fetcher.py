"""Fetching index pages: each upstream in turn, until one has the page.

404 only where every upstream that answers says so; never two upstreams' pages merged. What comes is checked (a page's media type,
PEP 691 version 1) before it is stored with its first view.
"""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from http import HTTPStatus

from multidict import CIMultiDict

from pkgcache.engine.pages.stored_page import PageRequest, StoredPage, body_digest, gzipped_page
from pkgcache.engine.pages.variants import PageVariants, variant_notes
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.store.entries import Notes
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.rules.http.accept import parse_content_type
from pkgcache.rules.http.freshness import Stored
from pkgcache.rules.http.storability import NotStorable, Storability, storable, storable_headers
from pkgcache.rules.http.validation import freshened, updates, validators
from pkgcache.rules.routing.indexes import Index, Upstream
from pkgcache.rules.routing.paths import api_base
from pkgcache.rules.routing.urls import Url
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.representations import Representation, representation_of, upstream_accept

MAX_PAGE = 256 * 1024 * 1024
_BASE = re.compile(rb"<base", re.IGNORECASE)
_GZIP = b"\x1f\x8b"


class PageFetcher:
    """Brings pages from upstreams and stores them."""

    def __init__(
        self, store: Store, client: UpstreamClient, views: PageVariants, metrics: Metrics, *, offline: bool
    ) -> None:
        self._store = store
        self._client = client
        self._views = views
        self._metrics = metrics
        self._offline = offline

    def healthy_first(self, index: Index) -> list[Upstream]:
        """An index's upstreams, those that rest after failures last."""
        return sorted(index.upstreams, key=lambda upstream: self._client.is_open(upstream.simple))

    def _asked(self, ask: PageRequest) -> list[Upstream]:
        """Whom to ask: with a client's credentials nobody but the index that the client named."""
        if ask.authorization:
            return [Upstream(simple=ask.index.simple, authorization=ask.authorization)]
        return self.healthy_first(ask.index)

    async def fetch(self, ask: PageRequest, kept: StoredPage | None, *, remember_absence: bool = True) -> StoredPage:
        """Ask each upstream until one has the page. 404 only where every one that answers says so. Raises AllFailedError."""
        if self._offline:
            raise AllFailedError(
                [
                    UpstreamError(
                        Failure.OFFLINE,
                        ask.project,
                        "it is not in the store, and the proxy is offline (pypi_cache_offline)",
                    )
                ]
            )
        errors: list[UpstreamError] = []
        absent: StoredPage | None = None
        for upstream in self._asked(ask):
            try:
                found = await self._fetch_kind(upstream, ask, kept)
            except UpstreamError as error:
                self._metrics.upstream_failed(error)
                errors.append(error)
                continue
            if found.notes["status"] == 200:
                return found
            absent = absent or found
        if absent is None:
            raise AllFailedError(errors)
        if errors:
            absent.notes["passing"] = True  # somebody did not answer: true for now, and not to be remembered
        elif remember_absence:
            await self.remember_absence(ask, absent)
        return absent

    async def remember_absence(self, ask: PageRequest, absent: StoredPage) -> None:
        """Keep a 404 for a moment, unless it is only true for now."""
        if not absent.notes.get("passing"):
            await self._store.put(ask.key, b"-", absent.notes)

    async def _fetch_kind(self, upstream: Upstream, ask: PageRequest, kept: StoredPage | None) -> StoredPage:
        """As `_fetch_from`; and where an upstream does not speak HTML at all, its JSON."""
        try:
            return await self._fetch_from(upstream, ask, kept)
        except UpstreamError as error:
            if error.status != HTTPStatus.NOT_ACCEPTABLE or ask.document or ask.representation.kind == "json":
                raise
        return await self._fetch_from(upstream, ask, kept, refused=True)

    async def _fetch_from(
        self, upstream: Upstream, ask: PageRequest, kept: StoredPage | None, *, refused: bool = False
    ) -> StoredPage:
        url, accept = _place(upstream, ask, refused=refused)
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        conditional = kept is not None and kept.notes["status"] == 200 and kept.notes.get("upstream") == upstream.name
        if kept is not None and conditional:
            headers |= validators(kept.stored.headers)
        before = time.time()
        async with self._client.request(
            "GET", url, headers, upstream.authorization, sole_source=len(ask.index.upstreams) == 1
        ) as answer:
            if (
                answer.status == 304
                and kept is not None
                and conditional
                and updates(kept.stored.headers, answer.headers)
            ):
                return await self._renewed(kept, freshened(kept.stored, answer.headers, before, time.time()))
            if answer.status not in {200, 404, 410}:
                raise answer.refused()
            notes: Notes = {
                "status": answer.status,
                "headers": list(storable_headers(answer.headers).items()),
                "request_time": before,
                "response_time": time.time(),
                "upstream": upstream.name,
                "url": str(answer.url),
                "of": "",
            }
            if answer.status != 200:
                return StoredPage(key=ask.key, notes=notes, body=b"")
            body = await answer.body(MAX_PAGE)
            encoding = answer.headers.get("Content-Encoding", "identity").lower()
            representation = _representation(ask, answer.headers.get("Content-Type"))
            refusal = storable(request_headers=CIMultiDict(), status=200, response_headers=answer.headers)
        if representation is None:
            raise UpstreamError(
                Failure.WRONG_TYPE,
                url,
                f"no index page, but {answer.headers.get('Content-Type', 'something without a type')!r}",
            )
        page, compressed, notes["of"] = await self._views.in_thread(lambda: _decoded(body, encoding, url))
        notes["kind"] = representation.value
        notes["based"] = representation.kind == "html" and _BASE.search(page) is not None
        return await self.keep(ask, notes, page, compressed, refusal)

    async def _renewed(self, kept: StoredPage, stored: Stored) -> StoredPage:
        notes = {
            **kept.notes,
            "headers": list(stored.headers.items()),
            "request_time": stored.request_time,
            "response_time": stored.response_time,
        }
        await self._store.note(kept.key, notes)
        return StoredPage(key=kept.key, notes=notes)

    async def keep(
        self, ask: PageRequest, notes: Notes, page: bytes, compressed: bytes | None, refusal: Storability
    ) -> StoredPage:
        """Derive the view that is asked for, and store page and view. Raises UpstreamError for what is no page."""
        compressing = asyncio.ensure_future(self._compressed(page, compressed))
        kept = StoredPage(key=ask.key, notes=notes, body=compressed)
        try:
            view = await self._views.transform(ask, kept, page, Representation(notes["kind"]).kind, check=True)
        except BrokenPage as error:
            raise UpstreamError(Failure.WRONG_PAGE, notes["url"], f"no index page: {error}") from error
        finally:
            kept = StoredPage(key=ask.key, notes=notes, body=await compressing)
        assert kept.body is not None
        if isinstance(refusal, NotStorable):
            notes["passing"] = True
        else:
            await self._store.put(ask.variant_key(notes, view.kind), view.plain + view.gzipped, variant_notes(view))
            await self._store.put(ask.key, kept.body, notes)
        return kept

    async def _compressed(self, page: bytes, compressed: bytes | None) -> bytes:
        """The page as it is stored: as the upstream has compressed it, if it has; else while the page is parsed."""
        return compressed if compressed is not None else await self._views.in_thread(lambda: gzipped_page(page))


def _place(upstream: Upstream, ask: PageRequest, *, refused: bool) -> tuple[Url, str]:
    """Where an upstream has it, and the Accept to ask with. A page always with its slash: mirrors redirect oddly."""
    simple = upstream.simple
    if ask.document:
        return simple.with_path(api_base(simple) + ask.document), "application/json"
    return simple.with_path(f"{simple.path}{ask.project}/"), upstream_accept(ask.representation, refused=refused)


def _representation(ask: PageRequest, content_type: str | None) -> Representation | None:
    if ask.document:
        return Representation.JSON if parse_content_type(content_type)[0] == "application/json" else None
    return representation_of(content_type)


def _decoded(body: bytes, encoding: str, url: Url) -> tuple[bytes, bytes | None, str]:
    """The body without its content coding (RFC 9110 §8.4), `body` itself if it is gzip's one member, and its digest.

    Raises UpstreamError.
    """
    if encoding in {"identity", ""}:
        return body, None, body_digest(body)
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise UpstreamError(Failure.WRONG_ENCODING, url, f"sent as {encoding}, which was not asked for")
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by its header
    try:
        plain = decoder.decompress(body, MAX_PAGE)
    except zlib.error as error:
        raise UpstreamError(Failure.WRONG_ENCODING, url, f"it says {encoding}, and is not: {error}") from error
    if not decoder.eof:
        raise UpstreamError(Failure.WRONG_LENGTH, url, "its compressed page is cut short or too long")
    as_it_came = body.startswith(_GZIP) and not decoder.unused_data
    return plain, body if as_it_came else None, body_digest(plain)
