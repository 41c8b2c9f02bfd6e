"""A page as it is stored, and the request that it is stored for.

What is stored is the upstream's body with its links untouched, gzipped, and beside it the response's headers, its final URL and its
times (`PageNotes`). A page's key is (credential space, index, project, representation asked for), so JSON and HTML never share one.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass, field
from urllib.parse import quote

from pkgcache.engine.pages.worker import LARGE
from pkgcache.engine.responses.messages import Response
from pkgcache.engine.store.entries import Notes
from pkgcache.engine.store.keys import StoreKey, family_name, made_document, page_key, variant_key
from pkgcache.engine.store.notes import PageNotes
from pkgcache.engine.store.store import Store
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.freshness import Fresh, Stored, shown_age
from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.urls import Url
from pkgcache.rules.simple.limits import MAX_ANSWER
from pkgcache.rules.simple.page_model import Kind
from pkgcache.rules.simple.representations import Representation

MAX_STORED = MAX_ANSWER
"""Bytes of a page, decompressed: a document that is made here may be longer than the page that it is made of."""

GZIP_LEVEL, GZIP_LEVEL_OF_LARGE = 6, 4
"""A client waits while a new page is compressed. 5 MB take 42 ms at level 4, 58 ms at level 6, which makes them 5 % smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPage:
    """An upstream's answer: a page, a document of the JSON API, or a remembered 404.

    `body` is gzipped; None where it has not been read from the store.
    """

    key: StoreKey
    notes: PageNotes
    body: bytes | None = None

    @property
    def stored(self) -> Stored:
        """The part of the response that the freshness rules need."""
        return self.notes.stored

    @property
    def found(self) -> bool:
        """Whether there is a page: it is no 404 or 410."""
        return self.notes.status == 200

    @property
    def representation(self) -> Representation:
        """The representation that the upstream sent, which need not be the one asked for. Only for a page that was found."""
        assert self.notes.representation is not None
        return self.notes.representation


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """One page, or the JSON API's `document`, as one kind of client asks for it.

    `space` names whose credentials may read it, and `authorization` is what they are sent as; '' for a public page. `made`: not the
    upstream's document, but the one that is made here where no upstream has it. `family`: the page for these clients alone, beside that of
    the clients who came first. `query` is passed on to the upstream, and what it says
    then is not stored. `reload`: no cache on the way may answer.
    """

    index: Index
    project: str
    representation: Representation
    client_url: Url
    at_proxy_address: bool
    space: str
    authorization: str = ""
    document: str = ""
    query: str = ""
    reload: bool = False
    made: bool = False
    family: str = ""

    key: StoreKey = field(init=False)
    """The page's key in the store. With a query nothing is stored under it."""

    def __post_init__(self) -> None:
        """Make the key once: it is needed a dozen times a request."""
        name = made_document(self.document) if self.made else self.document or self.project
        name = family_name(name, self.family) if self.family else name
        name = f"{name}?{quote(self.query)}" if self.query else name
        key = page_key(self.space, self.index.name, name, self.representation)
        object.__setattr__(self, "key", key)

    @property
    def shown(self) -> str:
        """What was asked for, for people: never the key, which tells how the store is laid out."""
        return f"the {'JSON document' if self.document else 'page'} of {self.project} on index {self.index.name}"

    def variant_key(self, notes: PageNotes, kind: Kind) -> StoreKey:
        """The key of the page's variant for this client, in JSON or HTML."""
        # At its index a page depends on the client's spelling of the URL only by the trailing slash. At the proxy's own address a
        # page with a `<base href>` names the origin, since the links that stay relative must resolve against it; and its links begin
        # with the path of `pypi_cache_public_url`.
        if self.at_proxy_address:
            variant = (f"own {self.client_url.origin}" if notes.has_base_href else "own") + self.index.base
        else:
            variant = "slash" if self.client_url.path.endswith("/") else "bare"
        return variant_key(variant, kind, self.key)


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """What a request without conditions got for `page` at a `moment`, in seconds since 1970, when that was `fresh`."""

    page: StoredPage
    moment: float
    fresh: Fresh
    response: Response

    def at(self, now: float) -> PageAnswer | None:
        """The same answer as it would be made at a later moment; None where the page is not fresh then, or the clock was set back."""
        passed = now - self.moment
        age, ttl = self.fresh.age + passed, self.fresh.ttl - passed
        if passed < 0 or ttl <= 0:
            return None
        # Not where the clock has come to another second: other answers for the page show its age as it is, and none may go back.
        if int(age) == int(self.fresh.age) and math.floor(ttl) == math.floor(self.fresh.ttl):
            return self
        response = self.response.aged(shown_age(age), CacheStatus.of_hit(ttl))
        return PageAnswer(self.page, now, Fresh(ttl=ttl, age=age), response)


def upstreams_of(page_request: PageRequest) -> frozenset[str]:
    """Who may have sent a page: as its notes name them."""
    return frozenset(upstream.name for upstream in page_request.index.upstreams) | {str(page_request.index.simple)}


def is_for(page: StoredPage, family: str) -> bool:
    """Whether a page may be given to clients of this family: the upstream has not told it apart from others, or it was theirs."""
    return page.notes.family in {"", family}


class PageGoneError(Exception):
    """The stored page went away (evicted, purged, or found damaged) between a look at its notes and one at its body."""


async def find_page(store: Store, key: StoreKey) -> StoredPage | None:
    """The stored page without its body; None where there is none. An entry whose notes make no sense is dropped."""
    notes = await store.notes(key)
    return None if notes is None else await _page(store, key, notes, None)


async def read_page(store: Store, key: StoreKey) -> StoredPage | None:
    """The stored page with its body, as `find_page`."""
    found = await store.read(key)
    return None if found is None else await _page(store, key, *found)


async def _page(store: Store, key: StoreKey, notes: Notes, body: bytes | None) -> StoredPage | None:
    try:
        return StoredPage(key=key, notes=PageNotes.from_json(notes), body=body)
    except ValueError as error:
        await store.drop_damaged(key, None, f"its notes are no page's: {error}")
        return None


def gzipped_page(page: bytes) -> bytes:
    """A page as it is stored, and as most clients get it."""
    return gzip.compress(page, GZIP_LEVEL if len(page) < LARGE else GZIP_LEVEL_OF_LARGE, mtime=0)


def body_digest(page: bytes) -> str:
    """Tells one version of a page from another (`PageNotes.source_digest`): 32 hex digits of BLAKE2b."""
    return hashlib.blake2b(page, digest_size=16).hexdigest()


def plain_size(gzipped: bytes) -> int:
    """The bytes that a stored page has when it is decompressed, as its one member's end says (RFC 1952 §2.3.1).

    >>> plain_size(gzipped_page(b"<a href=six-1.0.zip>"))
    20
    """
    return int.from_bytes(gzipped[-4:], "little")


def plain_page(gzipped: bytes, source_digest: str) -> bytes | None:
    """Decompress a stored page; None where it is not what was stored, or longer than anything that is stored."""
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        page = decoder.decompress(gzipped, MAX_STORED)
    except zlib.error:
        return None
    if not decoder.eof or decoder.unused_data:
        return None
    return page if body_digest(page) == source_digest else None
