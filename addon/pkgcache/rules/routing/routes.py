"""Decides what a URL means: a project page, a list of projects, a release file, or nothing that can be cached.

Paths are normalised first (dot segments, `%2e` included), so that a client that resolved a relative link by itself gets the file that
the link means. What is neither page nor file is left to the origin that the client named (`Uncacheable`).

Leaves out: whether the operator allows it (`policy/admission`), and which credentials share a space.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote

from packaging.utils import NormalizedName, canonicalize_name

from pkgcache.rules.routing.digests import ReleasePath, parse_release_path
from pkgcache.rules.routing.filenames import is_distribution, split_filename
from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.package_hosts import Address, PackageHosts
from pkgcache.rules.routing.paths import api_base, resolve_own_path
from pkgcache.rules.routing.urls import Url, normalise_path, parse_url

PUBLIC = "-"
"""The credential space of requests without credentials."""

_DOCUMENT = re.compile(r"(?P<project>[^/]+)/(?:(?P<version>[^/]+)/)?json/?")
_PROJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPage:
    """A project's page, `<index URL><project>/`, or its document in the JSON API beside `simple/`.

    `client_url` is the URL as the client spelt it. `document` is empty for the page, else `<project>/json` or
    `<project>/<version>/json`.
    """

    index: Index
    project: NormalizedName
    client_url: Url
    at_proxy_address: bool
    space: str = PUBLIC
    authorization: str = ""
    document: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectListPage:
    """The list of all projects of an index (PEP 503), at its URL itself."""

    index: Index
    client_url: Url
    at_proxy_address: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """A release file or a companion of it, by the URL that identifies it.

    `release` is its path in PyPI's layout, on an index where that is a digest. `suffix` is empty for the file itself, else `.metadata`
    and the like. `sources` are the URLs to fetch it from, in order, each with the operator's `Authorization` for it, or ''. `also` are
    further indexes whose pages link to files on this host (`by_index`).
    """

    index: Index
    identity: Url
    filename: str
    suffix: str
    release: ReleasePath | None
    sources: tuple[tuple[Url, str], ...]
    space: str = PUBLIC
    also: tuple[Index, ...] = ()


@dataclass(frozen=True, slots=True)
class Uncacheable:
    """Neither page nor file of an index. `reason` is for the text of a 404 at the proxy's own address."""

    reason: str


type Route = ProjectPage | ProjectListPage | ReleaseFile | Uncacheable


def by_index(route: ReleaseFile) -> list[ReleaseFile]:
    """A file as each index has it whose pages may link to it: mostly the one."""
    return [replace(route, index=index, also=()) for index in (route.index, *route.also)] if route.also else [route]


def with_credentials(route: Route, asked: Url, authorization: str, space: str) -> Route:
    """The route for a client that sends credentials: kept in their own space, and fetched only from the origin that the client named."""
    match route:
        case ProjectPage():
            return replace(route, space=space, authorization=authorization)
        case ReleaseFile():
            return replace(
                route, space=space, sources=((asked.with_path(normalise_path(asked.path), asked.query), authorization),)
            )
        case _:
            return Uncacheable("it has credentials")


class Router:
    """Decides what a URL on a package host means; `hosts` says which hosts these are."""

    def __init__(
        self, indexes: tuple[Index, ...], file_hosts: Iterable[Address], learned: Mapping[Address, tuple[str, ...]]
    ) -> None:
        self.indexes = indexes
        self.by_name = {index.name: index for index in indexes}
        canonical_files = indexes[0].canonical_files if indexes else ""
        self._canonical_files = parse_url(canonical_files + "/") if canonical_files else None
        self._indexes_at: dict[tuple[str, str, int], list[Index]] = {}
        for index in sorted(indexes, key=lambda index: -len(index.simple.path)):
            self._indexes_at.setdefault(_origin(index.simple), []).append(index)
        self.hosts = PackageHosts(indexes, file_hosts, learned)

    def route(self, url: Url) -> Route:
        """Decide what an absolute URL on a package host means."""
        path = normalise_path(url.path)
        for index in self._indexes_at.get(_origin(url), ()):
            if page := self._page(index, path, url) or self._document(index, path, url):
                return page
        release = parse_release_path(path)
        owner = self._owner(url, path, pypi_layout=release is not None)
        if owner is None:
            return Uncacheable("no index is known to have files here")
        if release and owner.shares_pypi_files:
            return self._pypi_file(owner, release, url)
        return self._linked_file(owner, url.with_path(path, url.query))

    def _owner(self, url: Url, path: str, *, pypi_layout: bool) -> Index | None:
        """The index that a file belongs to: of those on its host the one whose path has the most segments in common with the file's.

        Among equals, a path in PyPI's layout goes to an index that has this layout.
        """
        address = (url.host, url.port)
        if here := self.hosts.file_places.get(address):
            return max(
                here,
                key=lambda item: (
                    _common_segments(item[0].path, path),
                    pypi_layout and item[1].shares_pypi_files,
                ),
            )[1]
        if learned := self._linking(address):
            return learned[0]
        return self.indexes[0] if address in self.hosts.file_hosts else None

    def _linking(self, address: Address) -> tuple[Index, ...]:
        """The indexes whose pages link to files on a host, if that is how it is known."""
        if address in self.hosts.file_places:
            return ()
        return tuple(self.by_name[name] for name in self.hosts.learned.get(address, ()) if name in self.by_name)

    def route_own(self, url: Url) -> Route:
        """Decide what a path at the proxy's own address means: `/<index>/simple/…`, `/<index>/packages/…`, `/<index>/files/…`."""
        path = normalise_path(url.path)
        _, name, *rest = path.split("/", 3)
        index = self.by_name.get(name)
        if index is None or not rest:
            known = ", ".join(f"/{n}/simple/" for n in self.by_name if "@" not in n)
            return Uncacheable(f"there is no such page; the indexes here are {known}")
        kind, tail = rest[0], rest[1] if len(rest) > 1 else ""
        if kind == "simple":
            return self._page(index, index.simple.path + tail, url, at_proxy_address=True) or Uncacheable(
                "a project page is /simple/<project>/"
            )
        release = parse_release_path(path)
        if kind == "packages" and release and index.shares_pypi_files:
            return self._pypi_file(index, release, None)
        if kind == "files":
            return self._own_file(index, tail, url.query)
        return Uncacheable("no page, no release file")

    def _page(
        self, index: Index, path: str, client_url: Url, *, at_proxy_address: bool = False
    ) -> ProjectPage | ProjectListPage | None:
        path = f"{path}/" if f"{path}/" == index.simple.path else path
        if not path.startswith(index.simple.path):
            return None
        name = unquote(path.removeprefix(index.simple.path).removesuffix("/"))
        if not name:
            return ProjectListPage(index=index, client_url=client_url, at_proxy_address=at_proxy_address)
        if not _PROJECT.fullmatch(name):
            return None
        return ProjectPage(
            index=index, project=canonicalize_name(name), client_url=client_url, at_proxy_address=at_proxy_address
        )

    def _document(self, index: Index, path: str, client_url: Url) -> ProjectPage | None:
        """The JSON API's document of a project or a release. Only for `pypi` and its mirrors; other indexes have no such API."""
        base = api_base(index.simple)
        match = (
            _DOCUMENT.fullmatch(path.removeprefix(base)) if index.shares_pypi_files and path.startswith(base) else None
        )
        if match is None or not _PROJECT.fullmatch(match["project"]):
            return None
        project = canonicalize_name(match["project"])
        document = f"{project}/{match['version']}/json" if match["version"] else f"{project}/json"
        return ProjectPage(
            index=index, project=project, client_url=client_url, at_proxy_address=False, document=document
        )

    def _pypi_file(self, index: Index, release: ReleasePath, asked: Url | None) -> ReleaseFile:
        """A file whose path is its digest: any upstream with PyPI's layout can provide it, the one that the client named first."""
        pypi = self.indexes[0]
        assert self._canonical_files is not None, "an index shares the files of pypi, which is always there"
        path = release.path
        tail = path.removeprefix("/packages/")
        named = [
            (upstream.files.with_path(upstream.files.path + tail), upstream.authorization)
            for upstream in (*index.upstreams, *pypi.upstreams)
            if upstream.files
        ]
        if asked and _origin(asked) not in {_origin(self._canonical_files), _origin(index.simple)}:
            named.insert(0, (asked.with_path(normalise_path(asked.path)), ""))
        return ReleaseFile(
            index=index,
            identity=self._canonical_files.with_path(path),
            filename=release.filename,
            suffix=release.suffix,
            release=release,
            sources=tuple(dict.fromkeys(named)),
        )

    def _linked_file(self, index: Index, url: Url) -> Route:
        """A file known by a link: its URL identifies it, and its digest is the one that the index's page gives."""
        filename, suffix = split_filename(unquote(url.path.rpartition("/")[2]))
        if not is_distribution(filename):
            return Uncacheable("no release file by its name")
        authorization = next((u.authorization for u in index.upstreams if u.simple.origin == url.origin), "")
        return ReleaseFile(
            index=index,
            identity=url,
            filename=filename,
            suffix=suffix,
            release=None,
            sources=((url, authorization),),
            also=tuple(each for each in self._linking((url.host, url.port)) if each is not index),
        )

    def _own_file(self, index: Index, tail: str, query: str) -> Route:
        """The file of another host that `<scheme>/<host>/<path>` stands for, if that is a package host: this is no open proxy."""
        url = resolve_own_path(f"/{index.name}", f"/{index.name}/files/{tail}", query)
        if url is None:
            return Uncacheable("a file of another host is /files/<scheme>/<host>/<path>")
        if not self.hosts.is_package_host((url.host, url.port)):
            return Uncacheable(f"{url.authority} is no file host of an index here")
        route = self._linked_file(index, url)
        # The path says which of the indexes that link to this host is meant.
        return replace(route, index=index, also=()) if isinstance(route, ReleaseFile) else route


def _origin(url: Url) -> tuple[str, str, int]:
    """A URL's origin to look up by; `Url.origin` makes a text."""
    return url.scheme, url.host, url.port


def _common_segments(one: str, other: str) -> int:
    """How many leading segments two paths have in common."""
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
