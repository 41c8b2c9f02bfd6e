"""engine/pages/stored_page.py."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass, field

from multidict import CIMultiDict

from pkgcache.engine.pages.worker import LARGE
from pkgcache.engine.store.entries import Notes
from pkgcache.engine.store.keys import StoreKey, page_key, variant_key
from pkgcache.rules.http.freshness import Stored
from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.urls import Url
from pkgcache.rules.simple.representations import Representation
from pkgcache.rules.simple.transform import Kind

GZIP_LEVEL, GZIP_LEVEL_OF_LARGE = 6, 4
"""A client waits for the compressing of a new page; of 5 MB, level 4 takes 42 ms and is 5 % larger than level 6 in 58 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPage:
    """A stored upstream answer: `body` is gzipped, and None where it has yet to be read from the store."""

    key: StoreKey
    notes: Notes
    body: bytes | None = None

    @property
    def stored(self) -> Stored:
        """What the rules of freshness look at."""
        return Stored(
            status=self.notes["status"],
            headers=CIMultiDict(self.notes["headers"]),
            request_time=self.notes["request_time"],
            response_time=self.notes["response_time"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """One page in one representation, as one kind of client looks at it."""

    index: Index
    project: str
    representation: Representation
    client_url: Url
    at_proxy_address: bool
    space: str
    authorization: str = ""
    document: str = ""

    key: StoreKey = field(init=False)
    """The page's key in the store."""

    def __post_init__(self) -> None:
        """Make the key once: it is asked for a dozen times a request."""
        key = page_key(self.space, self.index.name, self.document or self.project, self.representation)
        object.__setattr__(self, "key", key)

    def variant_key(self, notes: Notes, kind: Kind) -> StoreKey:
        """The key of the page's variant for this client, JSON or HTML."""
        return variant_key(self._variant(has_base_href=notes["based"]), kind, self.key)

    def _variant(self, *, has_base_href: bool) -> str:
        # At its index a page depends on the client's spelling of the URL only by the trailing slash. At the proxy's own address a
        # page with a `<base href>` names the origin, since the links that stay relative must resolve against it.
        if self.at_proxy_address:
            return f"own {self.client_url.origin}" if has_base_href else "own"
        return "slash" if self.client_url.path.endswith("/") else "bare"


class PageGoneError(Exception):
    """The stored page went away (evicted, purged) between two looks at it."""


def gzipped_page(page: bytes) -> bytes:
    """A page as it is stored, and sent to most clients."""
    return gzip.compress(page, GZIP_LEVEL if len(page) < LARGE else GZIP_LEVEL_OF_LARGE, mtime=0)


def body_digest(page: bytes) -> str:
    """What tells one version of a page from another: `of` of its notes."""
    return hashlib.blake2b(page, digest_size=16).hexdigest()


def _plain(body: bytes, of: str) -> bytes | None:
    """A stored page; None where it is not what was stored."""
    try:
        page = gzip.decompress(body)
    except (OSError, EOFError, zlib.error):
        return None
    return page if body_digest(page) == of else None
