"""What a URL may mean: a project page, a list of projects, a release file, nothing of an index, or nothing certain.

`router` decides which; `policy.gate` says what becomes of each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from packaging.utils import NormalizedName

from pkgcache.rules.routing.digests import ReleasePath
from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.queries import NO_QUERY, PageQuery
from pkgcache.rules.routing.spelling import as_spelt
from pkgcache.rules.routing.urls import Url

PUBLIC = "-"
"""The credential space of requests without credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPage:
    """A project's page, `<index URL><project>/`, or its document in the JSON API beside `simple/`.

    `client_url` is the URL as the client spelt it. `document` is empty for the page, else `<project>/json` or
    `<project>/<version>/json`. `is_flat`: it may be a listing of files of many projects, which only its own server knows.
    `query` is what the client's URL says in its query.
    """

    index: Index
    project: NormalizedName
    client_url: Url
    at_proxy_address: bool
    space: str = PUBLIC
    authorization: str = ""
    document: str = ""
    is_flat: bool = False
    query: PageQuery = NO_QUERY


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectListPage:
    """The list of all projects of an index (PEP 503), at its URL itself. `query` is what the client's URL says in its query."""

    index: Index
    client_url: Url
    at_proxy_address: bool
    query: PageQuery = NO_QUERY


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """A release file or a companion of it, by the URL that identifies it.

    `release` is its path in PyPI's layout, on an index where that is a digest. `suffix` is empty for the file itself, else `.metadata`
    and the like. `sources` are the URLs to fetch it from, in order, each with the operator's `Authorization` for it, or ''. `also` are
    further indexes whose pages link to files on this host (`by_index`). `public` is the same file as clients without credentials ask
    for it, where this client has some.
    """

    index: Index
    identity: Url
    filename: str
    suffix: str
    release: ReleasePath | None
    sources: tuple[tuple[Url, str], ...]
    space: str = PUBLIC
    also: tuple[Index, ...] = ()
    public: ReleaseFile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a file comes from (PEP 740), as the index says: not cached, but a project's, so under the rules for it."""

    index: Index
    project: NormalizedName


@dataclass(frozen=True, slots=True)
class Uncacheable:
    """Neither page nor file of an index, and the origin's own business. `reason` is for the text of a 404 at the proxy's own address."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """At or below an index's or a file place's path, or so for a lenient server, and no certain page or file: refused."""

    reason: str


type Route = ProjectPage | ProjectListPage | ReleaseFile | Provenance | Uncacheable | Unclear


def by_index(route: ReleaseFile) -> list[ReleaseFile]:
    """A file as each index has it whose pages may link to it: mostly the one."""
    return [replace(route, index=index, also=()) for index in (route.index, *route.also)] if route.also else [route]


def with_credentials(route: Route, asked: Url, authorization: str, space: str) -> Route:
    """The route for a client that sends credentials: kept in their own space, and fetched only from the origin that the client named."""
    match route:
        case ProjectPage():
            return replace(route, space=space, authorization=authorization)
        case ReleaseFile():
            return replace(route, space=space, sources=((as_spelt(asked), authorization),), public=route)
        case ProjectListPage():
            return Uncacheable("it has credentials")
        case Provenance() | Uncacheable() | Unclear():
            return route
