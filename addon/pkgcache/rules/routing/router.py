"""Decides what a URL means: a project page, a list of projects, a release file, or nothing that can be cached.

Paths are read strictly (`spelling.strict_path`), so that a client that resolved a relative link by itself gets the file that the link
means. A path that has nothing to do with an index is left to the origin that the client named (`Uncacheable`). One that is below an
index's path, or might be for a lenient server, and is no certain page or file is `Unclear`: no rule could be applied to it.

Leaves out: whether the operator allows it (`policy/admission`), and which credentials share a space.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

from packaging.utils import canonicalize_name

from pkgcache.rules.routing.digests import ReleasePath, parse_release_path
from pkgcache.rules.routing.filenames import is_distribution, is_project_name, project_of, projects_of, split_filename
from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.package_hosts import Address, PackageHosts
from pkgcache.rules.routing.paths import api_base, inner_path, resolve_own_path
from pkgcache.rules.routing.places import Places
from pkgcache.rules.routing.queries import NO_QUERY, PageQuery, read_query
from pkgcache.rules.routing.routes import (
    ProjectListPage,
    ProjectPage,
    Provenance,
    ReleaseFile,
    Route,
    Uncacheable,
    Unclear,
)
from pkgcache.rules.routing.spelling import as_spelt, strict_path
from pkgcache.rules.routing.urls import Url, normalise_path, parse_url

_DOCUMENT = re.compile(r"(?P<project>[^/]+)/(?:(?P<version>[A-Za-z0-9._+!-]+)/)?json/?")
"""A version has PEP 440's characters only: to a lenient server `x/..%2fevil/json` is another project's document."""

_PROVENANCE = re.compile(r"/integrity/(?P<project>[^/]+)/(?P<version>[A-Za-z0-9._+!-]+)/(?P<file>[^/]+)/provenance/?")

_UNCERTAIN = re.compile(r"[%/\\;?#\x00-\x1f\x7f]")
"""In a decoded file name: what a server might decode, cut off, or take for a separator."""


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
        self._prefixes: dict[str, tuple[str, str]] = {}
        for index in sorted(indexes, key=lambda index: -len(index.simple.path)):
            self._indexes_at.setdefault(_origin(index.simple), []).append(index)
            self._prefixes[index.name] = (strict_path(index.simple.path), strict_path(api_base(index.simple)))
        self._places = Places(indexes)
        self.hosts = PackageHosts(indexes, file_hosts, learned)

    def route(self, url: Url) -> Route:
        """Decide what an absolute URL on a package host means."""
        url = self.hosts.with_tls(url)
        path = strict_path(url.path)
        for index in self._indexes_at.get(_origin(url), ()):
            if (
                found := self._page(index, path, url)
                or self._document(index, path, url)
                or self._provenance(index, path)
            ):
                return found
            if path.startswith(self._prefixes[index.name][0]):
                break  # an index further up has no say about what is below this one
        release = parse_release_path(path)
        owners = self._owners(url, path, pypi_layout=release is not None)
        file: Route | None = None
        if owners and release and owners[0].shares_pypi_files:
            file = self._pypi_file(owners[0], release, url) if _is_certain(release.filename) else None
        elif owners:
            file = self._linked_file(owners, url)
        if isinstance(file, ReleaseFile):
            return file
        why = self._places.why_unclear(url) if self.hosts.is_package_host((url.host, url.port)) else ""
        return Unclear(why) if why else Uncacheable("it is no page and no file of an index")

    def _owners(self, url: Url, path: str, *, pypi_layout: bool) -> tuple[Index, ...]:
        """The indexes that a file belongs to: of those on its host the ones whose path has the most segments in common with the file's.

        Among these, a path in PyPI's layout goes to an index that has this layout. Where several are left (their files lie beside all of
        them), the page of any may say what the file is.
        """
        address = (url.host, url.port)
        if here := self.hosts.file_places.get(address):
            ranks = [(_common_segments(place, path), pypi_layout and index.shares_pypi_files) for place, index in here]
            best = max(ranks)
            return tuple(dict.fromkeys(index for rank, (_, index) in zip(ranks, here, strict=True) if rank == best))
        if learned := self._linking(address):
            return learned
        return (self.indexes[0],) if address in self.hosts.file_hosts else ()

    def _linking(self, address: Address) -> tuple[Index, ...]:
        """The indexes whose pages link to files on a host, if that is how it is known."""
        if address in self.hosts.file_places:
            return ()
        return tuple(self.by_name[name] for name in self.hosts.learned.get(address, ()) if name in self.by_name)

    def inner_path(self, path: str) -> str:
        """Return a path at the proxy's own address without that of `pypi_cache_public_url`."""
        return inner_path(path, self.indexes[0].base, self.by_name)

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
            return self._page(index, self._prefixes[index.name][0] + tail, url, at_proxy_address=True) or Uncacheable(
                "a project page is /simple/<project>/"
            )
        release = parse_release_path(path)
        if kind == "packages" and release and index.shares_pypi_files and _is_certain(release.filename):
            return self._pypi_file(index, release, None)
        if kind == "files":
            return self._own_file(index, tail, url.query)
        return Uncacheable("no page, no release file")

    def _page(
        self, index: Index, path: str, client_url: Url, *, at_proxy_address: bool = False
    ) -> ProjectPage | ProjectListPage | None:
        prefix = self._prefixes[index.name][0]
        path = f"{path}/" if f"{path}/" == prefix else path
        if not path.startswith(prefix):
            return None
        name = unquote(path.removeprefix(prefix).removesuffix("/"))
        query = read_query(client_url.query) if client_url.query else NO_QUERY
        if not name:
            return ProjectListPage(index=index, client_url=client_url, at_proxy_address=at_proxy_address, query=query)
        if not is_project_name(name):
            return None
        if _is_file_beside_pages(index, path, name) and not at_proxy_address:
            return None
        return ProjectPage(
            index=index,
            project=canonicalize_name(name),
            client_url=client_url,
            at_proxy_address=at_proxy_address,
            is_flat=not at_proxy_address and _is_flat_listing(index, path, name),
            query=query,
        )

    def _document(self, index: Index, path: str, client_url: Url) -> ProjectPage | None:
        """The JSON API's document of a project or a release. Only for `pypi` and its mirrors; other indexes have no such API."""
        base = self._prefixes[index.name][1]
        match = (
            _DOCUMENT.fullmatch(path.removeprefix(base)) if index.shares_pypi_files and path.startswith(base) else None
        )
        if match is None or not is_project_name(match["project"]):
            return None
        project = canonicalize_name(match["project"])
        document = f"{project}/{match['version']}/json" if match["version"] else f"{project}/json"
        query = PageQuery(passed=client_url.query)
        return ProjectPage(
            index=index, project=project, client_url=client_url, at_proxy_address=False, document=document, query=query
        )

    def _provenance(self, index: Index, path: str) -> Provenance | None:
        """The provenance of a file (PEP 740), beside the index: `/integrity/<project>/<version>/<file>/provenance`."""
        base = self._prefixes[index.name][0].removesuffix("/").rpartition("/")[0]
        match = _PROVENANCE.fullmatch(path.removeprefix(base)) if path.startswith(base) else None
        if match is None or not is_project_name(match["project"]):
            return None
        project, filename = canonicalize_name(match["project"]), unquote(match["file"])
        is_its_file = is_distribution(filename) and _is_certain(filename) and project in projects_of(filename)
        return Provenance(index=index, project=project) if is_its_file else None

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
            named.insert(0, (as_spelt(asked.with_path(asked.path)), ""))
        return ReleaseFile(
            index=index,
            identity=self._canonical_files.with_path(path),
            filename=release.filename,
            suffix=release.suffix,
            release=release,
            sources=tuple(dict.fromkeys(named)),
        )

    def _linked_file(self, indexes: Sequence[Index], url: Url) -> Route:
        """A file known by a link: its URL identifies it, and its digest is the one that a page of one of these indexes gives."""
        index, *also = indexes
        filename, suffix = split_filename(unquote(normalise_path(url.path).rpartition("/")[2]))
        if not is_distribution(filename) or not _is_certain(filename):
            return Uncacheable("no release file by its name")
        authorization = next((u.authorization for u in index.upstreams if u.simple.origin == url.origin), "")
        return ReleaseFile(
            index=index,
            identity=url.with_path(normalise_path(url.path), url.query),
            filename=filename,
            suffix=suffix,
            release=None,
            sources=((as_spelt(url), authorization),),
            also=tuple(also),
        )

    def _own_file(self, index: Index, tail: str, query: str) -> Route:
        """The file of another host that `<scheme>/<host>/<path>` stands for, if that is a package host: this is no open proxy.

        Where the index is not among those that link to that host, the file belongs to the index that it would belong to if the client
        asked that host: else `/corp/files/…` would make any public file one of corp's.
        """
        url = resolve_own_path(f"/{index.name}", f"/{index.name}/files/{tail}", query)
        if url is None:
            return Uncacheable("a file of another host is /files/<scheme>/<host>/<path>")
        address = (url.host, url.port)
        if not self.hosts.is_package_host(address):
            return Uncacheable(f"{url.authority} is no file host of an index here")
        linking = self._linking(address)
        is_anothers = address in self.hosts.file_places or (linking and index not in linking)
        route = self.route(url) if is_anothers else self._linked_file((index,), url)
        return route if isinstance(route, ReleaseFile) else Uncacheable("no release file by its name")


def _is_file_beside_pages(index: Index, path: str, name: str) -> bool:
    """Whether a name below an index's URL is a file's and no project's: torch's index has its files directly below its URL."""
    return not index.shares_pypi_files and not path.endswith("/") and is_distribution(split_filename(name)[0])


def _is_flat_listing(index: Index, path: str, name: str) -> bool:
    """Whether a name below an index's URL is a listing for `--find-links`: torch's index has `links.html` beside its projects."""
    return not index.shares_pypi_files and not path.endswith("/") and name.lower().endswith((".html", ".htm"))


def _is_certain(filename: str) -> bool:
    """Whether a decoded file name names its project for certain: `%65vil-1.0.whl` is `evil`'s to a server that decodes twice."""
    return _UNCERTAIN.search(filename) is None and is_project_name(project_of(filename))


def _origin(url: Url) -> tuple[str, str, int]:
    """A URL's origin to look up by; `Url.origin` makes a text."""
    return url.scheme, url.host, url.port


def _common_segments(one: str, other: str) -> int:
    """How many leading segments two paths have in common."""
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
