"""Fetching index pages: each upstream in turn, until one has the page.

404 only where every upstream that answers says so; never two upstreams' pages merged. What comes is checked (a page's media type,
PEP 691 version 1) before it is stored with its first view.
"""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Sequence
from hashlib import blake2b

from multidict import CIMultiDict

from pkgcache.engine.metrics import Metrics
from pkgcache.engine.store import Notes, Store
from pkgcache.engine.upstream import Failure, UpstreamClient, UpstreamError
from pkgcache.engine.views import Kept, PageAsk, Views, view_key, view_notes
from pkgcache.rules.freshness import (
    NotStorable,
    Storability,
    Stored,
    freshened,
    storable,
    storable_headers,
    updates,
    validators,
)
from pkgcache.rules.indexes import Index, Upstream
from pkgcache.rules.media import Representation, parse_content_type, representation_of, upstream_accept
from pkgcache.rules.pages import BrokenPage, check_html
from pkgcache.rules.routes import api_base
from pkgcache.rules.urls import Url

MAX_PAGE = 256 * 1024 * 1024


class PageError(Exception):
    """No upstream gave the page: what each said. `status` is the one status that all of them answered with, if any."""

    def __init__(self, errors: Sequence[UpstreamError]) -> None:
        self.errors = tuple(errors)
        statuses = {error.status for error in errors}
        self.status = statuses.pop() if len(statuses) == 1 else 0
        super().__init__("; ".join(map(str, errors)))


class PageFetcher:
    """Brings pages from upstreams and stores them."""

    def __init__(self, store: Store, client: UpstreamClient, views: Views, metrics: Metrics, *, offline: bool) -> None:
        self._store = store
        self._client = client
        self._views = views
        self._metrics = metrics
        self._offline = offline

    def in_order(self, index: Index) -> list[Upstream]:
        """An index's upstreams, those that rest after failures last."""
        return sorted(index.upstreams, key=lambda upstream: self._client.resting(upstream.simple))

    def _asked(self, ask: PageAsk) -> list[Upstream]:
        """Whom to ask: with a client's credentials nobody but the index that the client named."""
        if ask.authorization:
            return [Upstream(simple=ask.index.simple, authorization=ask.authorization)]
        return self.in_order(ask.index)

    async def fetch(self, ask: PageAsk, kept: Kept | None) -> Kept:
        """Ask each upstream until one has the page. 404 only where every one that answers says so. Raises PageError."""
        if self._offline:
            raise PageError(
                [
                    UpstreamError(
                        Failure.OFFLINE,
                        ask.project,
                        "it is not in the store, and the proxy is offline (pypi_cache_offline)",
                    )
                ]
            )
        errors: list[UpstreamError] = []
        absent: Kept | None = None
        for upstream in self._asked(ask):
            try:
                found = await self._fetch_from(upstream, ask, kept)
            except UpstreamError as error:
                self._metrics.upstream_failed(error)
                errors.append(error)
                continue
            if found.notes["status"] == 200:
                return found
            absent = absent or found
        if absent is None:
            raise PageError(errors)
        if errors:
            absent.notes["passing"] = True  # somebody did not answer: true for now, and not to be remembered
        else:
            await self._store.put(ask.key, b"-", absent.notes)
        return absent

    async def _fetch_from(self, upstream: Upstream, ask: PageAsk, kept: Kept | None) -> Kept:
        url, accept = _place(upstream, ask)
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        conditional = kept is not None and kept.notes["status"] == 200 and kept.notes.get("upstream") == upstream.name
        if kept is not None and conditional:
            headers |= validators(kept.stored.headers)
        before = time.time()
        async with self._client.ask(
            "GET", url, headers, upstream.authorization, alone=len(ask.index.upstreams) == 1
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
                return Kept(key=ask.key, notes=notes, body=b"")
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
        page = await self._views.threaded(lambda: _decoded(body, encoding, url))
        notes["of"] = blake2b(page, digest_size=16).hexdigest()
        notes["kind"] = representation.value
        notes["based"] = representation.kind == "html" and b"<base" in page.lower()
        return await self._kept(ask, notes, page, refusal)

    async def _renewed(self, kept: Kept, stored: Stored) -> Kept:
        notes = {
            **kept.notes,
            "headers": list(stored.headers.items()),
            "request_time": stored.request_time,
            "response_time": stored.response_time,
        }
        await self._store.note(kept.key, notes)
        return Kept(key=kept.key, notes=notes)

    async def _kept(self, ask: PageAsk, notes: Notes, page: bytes, refusal: Storability) -> Kept:
        """Derive the view that is asked for, and store page and view. Raises UpstreamError for what is no page."""
        compressed = await self._views.threaded(lambda: gzip.compress(page, 6, mtime=0))
        kept = Kept(key=ask.key, notes=notes, body=compressed)
        try:
            if ask.document:
                await self._views.threaded(lambda: _check_document(page))
            elif notes["kind"] != Representation.JSON:
                await self._views.threaded(lambda: check_html(page))
            view = await self._views.derive(ask, kept, page, Representation(notes["kind"]).kind)
        except BrokenPage as error:
            raise UpstreamError(Failure.WRONG_PAGE, notes["url"], f"no index page: {error}") from error
        if isinstance(refusal, NotStorable):
            notes["passing"] = True
        else:
            await self._store.put(view_key(ask, notes, view.kind), view.plain + view.gzipped, view_notes(view))
            await self._store.put(ask.key, compressed, notes)
        return kept


def _place(upstream: Upstream, ask: PageAsk) -> tuple[Url, str]:
    """Where an upstream has it, and the Accept to ask with. A page always with its slash: mirrors redirect oddly."""
    simple = upstream.simple
    if ask.document:
        return simple.with_path(api_base(simple) + ask.document), "application/json"
    return simple.with_path(f"{simple.path}{ask.project}/"), upstream_accept(ask.representation)


def _representation(ask: PageAsk, content_type: str | None) -> Representation | None:
    if ask.document:
        return Representation.JSON if parse_content_type(content_type)[0] == "application/json" else None
    return representation_of(content_type)


def _check_document(body: bytes) -> None:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise BrokenPage(f"no JSON: {error}") from None
    if not isinstance(document, dict) or "info" not in document:
        raise BrokenPage("JSON, but no project's document")


def _decoded(body: bytes, encoding: str, url: Url) -> bytes:
    """The body without its content coding (RFC 9110 §8.4). Raises UpstreamError."""
    if encoding in {"identity", ""}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise UpstreamError(Failure.WRONG_ENCODING, url, f"sent as {encoding}, which was not asked for")
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by its header
    try:
        plain = decoder.decompress(body, MAX_PAGE)
    except zlib.error as error:
        raise UpstreamError(Failure.WRONG_ENCODING, url, f"it says {encoding}, and is not: {error}") from error
    if not decoder.eof:
        raise UpstreamError(Failure.WRONG_LENGTH, url, "its compressed page is cut short or too long")
    return plain
