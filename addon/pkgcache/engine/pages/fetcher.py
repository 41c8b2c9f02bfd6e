"""Fetches index pages: asks each upstream in turn until one has the page, and stores what it sends.

The answer is 404 only where every upstream that answers says so, and two upstreams' pages are never merged. A page is checked (its
media type, PEP 691's version 1, that it reads as a project page) before it is stored with its first variant: what a captive portal
answers with 200 must not be served for ten minutes.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

from multidict import CIMultiDict

from pkgcache.engine.pages.decoding import PIECE, decoded
from pkgcache.engine.pages.page_turns import TakeTurn
from pkgcache.engine.pages.stored_page import PageRequest, StoredPage, body_digest, gzipped_page
from pkgcache.engine.pages.variants import PageVariants
from pkgcache.engine.pages.worker import LARGE
from pkgcache.engine.responses.failures import offline_error
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.store.notes import PageNotes
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.engine.upstream.places import ASKER
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.http.accept import parse_content_type
from pkgcache.rules.http.cache_control import Headers, listed
from pkgcache.rules.http.storability import NotStorable, storable, storable_headers
from pkgcache.rules.http.user_agent import family_of
from pkgcache.rules.http.validation import freshened, updates, validators
from pkgcache.rules.routing.indexes import Index, Upstream
from pkgcache.rules.routing.paths import document_at, page_at
from pkgcache.rules.routing.urls import Url
from pkgcache.rules.simple.limits import HEAVY_PAGE, MAX_PAGE
from pkgcache.rules.simple.page_model import BrokenPage, broken_by
from pkgcache.rules.simple.representations import Representation, representation_of, upstream_accept

logger = logging.getLogger(__name__)

_BASE = b"<base"


class OtherVersionError(Exception):
    """A 304 is about another version than the stored one, so it is to be asked for without validators (RFC 9111 §4.3.4)."""


class PageFetcher:
    """Fetches pages from upstreams and stores them. `offline`: no upstream may be asked."""

    def __init__(
        self, store: Store, client: UpstreamClient, variants: PageVariants, metrics: Metrics, *, offline: bool
    ) -> None:
        self._store = store
        self._client = client
        self._variants = variants
        self._metrics = metrics
        self._offline = offline
        self._turns = variants.turns

    def healthy_first(self, index: Index) -> list[Upstream]:
        """An index's upstreams in the operator's order, but those whose circuit breaker is open last."""
        if len(index.upstreams) == 1:
            return list(index.upstreams)
        return sorted(index.upstreams, key=lambda upstream: self._client.is_open(upstream.simple))

    def _upstreams_for(self, page_request: PageRequest) -> list[Upstream]:
        """Whom to ask. A client's credentials go only to the index that the client named, never to a mirror of it."""
        if page_request.authorization:
            return [Upstream(simple=page_request.index.simple, authorization=page_request.authorization)]
        return self.healthy_first(page_request.index)

    async def fetch(self, page_request: PageRequest, stored: StoredPage | None) -> StoredPage:
        """The page from the first upstream that has it, revalidated where `stored` came from the same one; stored then.

        A page of status 404 or 410 where every upstream that answered says so. Raises AllFailedError where none answered.
        """
        if self._offline:
            raise offline_error(page_request.project)
        errors: list[UpstreamError] = []
        absent: StoredPage | None = None
        for upstream in self._upstreams_for(page_request):
            try:
                async with self._turns.body(upstream.simple) as take_turn:
                    page = await self._from_upstream(upstream, page_request, stored, take_turn)
            except UpstreamError as error:
                failure = error.to_keep()
            except Exception as error:  # whatever an upstream sends, it is that upstream that failed
                logger.debug("an answer raised %r", error, exc_info=error)
                failure = UpstreamError(Failure.WRONG_PAGE, upstream.simple, str(broken_by(error)))
            else:
                if page.found:
                    return page
                absent = absent or page
                continue
            self._metrics.upstream_failed(failure)
            errors.append(failure)
        if absent is None or any(error.failure is Failure.BUSY for error in errors):
            raise AllFailedError(errors)  # one that was not asked may have it: a 404 would send uv to the next index
        if errors:  # the upstream that failed may have the page, so the 404 is for this request only
            return replace(absent, notes=replace(absent.notes, transient=True))
        if not absent.notes.transient:
            await self._store.put(absent.key, b"-", absent.notes.to_json())
        return absent

    async def _from_upstream(
        self, upstream: Upstream, page_request: PageRequest, stored: StoredPage | None, take_turn: TakeTurn
    ) -> StoredPage:
        """One upstream's page or its 404; asked for once more where the first answer says how. Raises UpstreamError."""
        html_refused = False
        while True:
            try:
                return await self._fetch_from(upstream, page_request, stored, take_turn, html_refused=html_refused)
            except OtherVersionError:
                stored = None
            except UpstreamError as error:
                if error.status != HTTPStatus.NOT_ACCEPTABLE or html_refused or not _is_html(page_request):
                    raise
                html_refused = True  # it has no HTML at all: its JSON, then, to be converted

    async def _fetch_from(
        self,
        upstream: Upstream,
        page_request: PageRequest,
        stored: StoredPage | None,
        take_turn: TakeTurn,
        *,
        html_refused: bool,
    ) -> StoredPage:
        """One upstream's page or its 404; JSON where it has `html_refused`. Raises UpstreamError."""
        url, accept = _target(upstream, page_request, html_refused=html_refused)
        # Another upstream's validators mean nothing here: two mirrors may give different pages the same ETag.
        same = stored if stored is not None and stored.found and stored.notes.upstream == upstream.name else None
        headers = _headers(accept, page_request, same)
        before = time.time()
        is_sole = len(page_request.index.upstreams) == 1
        async with self._client.request("GET", url, headers, upstream.authorization, sole_source=is_sole) as response:
            if response.status == 304 and same is not None:
                if not updates(same.notes.headers, response.headers):
                    raise OtherVersionError
                return await self._freshened(same, response, before)
            # A 203 is a 200 that something on the way has changed (RFC 9110 §15.3.4), which pip and uv take.
            status = 200 if response.status == HTTPStatus.NON_AUTHORITATIVE_INFORMATION else response.status
            if status not in {200, 404, 410}:
                raise response.refused()
            notes = PageNotes(
                status=status,
                headers=storable_headers(response.headers),
                request_time=before,
                response_time=time.time(),
                upstream=upstream.name,
                url=str(response.url.with_path(response.url.path)),  # a query may be secret, and no link needs it
                transient=bool(page_request.query),
                family=family_of(ASKER.get().product) if "user-agent" in listed(response.headers, "Vary") else "",
            )
            if status != 200:
                return StoredPage(key=page_request.key, notes=notes, body=b"")
            body = await response.body(MAX_PAGE, take_turn)
        return await self._keep_body(page_request, notes, response.headers, url, body)

    async def _keep_body(
        self, page_request: PageRequest, notes: PageNotes, headers: Headers, url: Url, body: bytes
    ) -> StoredPage:
        """Read the body of an answer, and store it if that is allowed. Raises UpstreamError for what is no page."""
        content_type = headers.get("Content-Type")
        representation = _representation(page_request, content_type)
        if representation is None:
            raise UpstreamError(
                Failure.WRONG_TYPE, url, f"no index page, but {content_type or 'something without a type'!r}"
            )
        refusal = storable(request_headers=CIMultiDict(), status=200, response_headers=headers)
        notes = replace(
            notes, representation=representation, transient=notes.transient or isinstance(refusal, NotStorable)
        )
        coding = headers.get("Content-Encoding", "")
        for limit in (LARGE, HEAVY_PAGE):
            async with self._turns.work(limit, url):
                if read := await self._variants.in_thread(partial(_read_within, body, coding, url, limit)):
                    return await self._keep_read(page_request, notes, body, read)
        async with self._turns.work(MAX_PAGE, url):
            read = await self._variants.in_thread(lambda: _read(body, coding, url, MAX_PAGE))
            return await self._keep_read(page_request, notes, body, read)

    async def _keep_read(self, page_request: PageRequest, notes: PageNotes, body: bytes, read: _ReadBody) -> StoredPage:
        is_html = notes.representation is not None and notes.representation.kind == "html"
        notes = replace(notes, source_digest=read.digest, has_base_href=is_html and read.has_base)
        # Some servers send several members; the stored body must decompress as one.
        return await self.keep(page_request, notes, read.plain, body if read.is_gzip else None)

    async def _freshened(self, stored: StoredPage, response: UpstreamResponse, before: float) -> StoredPage:
        """The stored page as a 304 renews it (RFC 9111 §4.3.4)."""
        now = freshened(stored.stored, response.headers, before, time.time())
        notes = replace(
            stored.notes,
            headers=CIMultiDict(now.headers),
            request_time=now.request_time,
            response_time=now.response_time,
        )
        await self._store.note(stored.key, notes.to_json())
        return StoredPage(key=stored.key, notes=notes)

    async def keep(
        self, page_request: PageRequest, notes: PageNotes, plain: bytes, gzipped: bytes | None
    ) -> StoredPage:
        """Make the variant in the page's own representation, and store page and variant, but for a transient one.

        `gzipped`: the body as the upstream compressed it, None where it did not. Raises UpstreamError for what is no page.
        """
        # Compressing takes about as long as parsing, and zlib lets go of the interpreter's lock: both at once.
        compressing = None if gzipped else self._variants.in_thread(lambda: gzipped_page(plain))
        page = StoredPage(key=page_request.key, notes=notes, body=gzipped)
        try:
            # The variant is stored first: who finds the page then finds its variant too, and need not make it.
            await self._variants.make(page_request, page, plain, page.representation.kind, check=True)
        except BrokenPage as error:
            raise UpstreamError(Failure.WRONG_PAGE, notes.url, f"no index page: {error}") from error
        body = await compressing if compressing else gzipped
        assert body is not None
        if not notes.transient:
            await self._store.put(page_request.key, body, notes.to_json())
        return replace(page, body=body)


def _is_html(page_request: PageRequest) -> bool:
    return page_request.representation.kind == "html" and not page_request.document


def _target(upstream: Upstream, page_request: PageRequest, *, html_refused: bool) -> tuple[Url, str]:
    """An upstream's URL of the page or document, and the Accept to send."""
    if page_request.document:
        return document_at(upstream, page_request.document, page_request.query), "application/json"
    accept = upstream_accept(page_request.representation, refused=html_refused)
    return page_at(upstream, page_request.project, page_request.query), accept


def _headers(accept: str, page_request: PageRequest, stored: StoredPage | None) -> dict[str, str]:
    """What to ask with: with the validators of the stored page, if that is to be revalidated."""
    headers = {"Accept": accept, "Accept-Encoding": "gzip"}
    if page_request.reload:  # RFC 9111 §5.2.1.4
        headers["Cache-Control"] = "no-cache"
    return headers | (validators(stored.notes.headers) if stored is not None else {})


def _representation(page_request: PageRequest, content_type: str | None) -> Representation | None:
    if page_request.document:
        return Representation.JSON if parse_content_type(content_type)[0] == "application/json" else None
    return representation_of(content_type)


class _ReadBody(NamedTuple):
    """A body without its content coding. `is_gzip`: as it came it is one member of gzip."""

    plain: bytes
    is_gzip: bool
    digest: str
    has_base: bool


def _read(body: bytes, coding: str, url: Url, limit: int) -> _ReadBody:
    """Read a body of at most `limit` bytes; for a thread. Raises UpstreamError."""
    plain, is_gzip = decoded(body, coding, url, limit)
    # In pieces, so that the event loop gets its turn: neither searching nor `lower` lets go of the interpreter's lock.
    starts = range(0, len(plain), PIECE)
    has_base = any(_BASE in plain[start : start + PIECE + len(_BASE)].lower() for start in starts)
    return _ReadBody(plain, is_gzip, body_digest(plain), has_base)


def _read_within(body: bytes, coding: str, url: Url, limit: int) -> _ReadBody | None:
    """Read a body; None where it is longer than `limit`, and no more than that was decompressed."""
    try:
        return _read(body, coding, url, limit)
    except UpstreamError as error:
        if error.failure is Failure.WRONG_LENGTH:
            return None
        raise
