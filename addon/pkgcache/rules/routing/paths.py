"""Where an index has its pages: at its upstreams, in the JSON API beside it, and at the proxy's own address.

At the proxy's own address an index has its pages at `/<index>/simple/`, and files of other hosts at
`/<index>/files/<scheme>/<host[:port]>/<path>`. Leaves out: writing the latter, which `links` does as it rewrites a page.
"""

from collections.abc import Container
from typing import Final
from urllib.parse import quote, unquote

from pkgcache.rules.routing.indexes import Index, Upstream
from pkgcache.rules.routing.queries import joined_query
from pkgcache.rules.routing.urls import DEFAULT_PORTS, Url, parse_url

OWN_KINDS: Final = frozenset({"simple", "packages", "files"})
"""What an index has at the proxy's own address, below its name."""


def resolve_own_path(own_prefix: str, path: str, query: str = "") -> Url | None:
    """The URL that `<own_prefix>/files/<scheme>/<host[:port]>/<path>` stands for; None if it is no such path.

    >>> str(resolve_own_path("/torch", "/torch/files/https/wheels.test/whl/torch-2.0.whl"))
    'https://wheels.test/whl/torch-2.0.whl'
    """
    rest = path.removeprefix(f"{own_prefix}/files/")
    scheme, _, rest = rest.partition("/") if rest != path else ("", "", "")
    authority, slash, rest = rest.partition("/")
    if scheme not in DEFAULT_PORTS or not slash:
        return None
    try:
        return parse_url(f"{scheme}://{unquote(authority)}").with_path(f"/{rest}", query)
    except ValueError:
        return None


def api_base(simple: Url) -> str:
    """The path of the JSON API beside an index's `simple/`, with slashes at both ends.

    >>> api_base(parse_url("https://mirror.example/simple/")), api_base(parse_url("https://mirror.example/pypi/simple/"))
    ('/pypi/', '/pypi/')
    """
    parent = simple.path.rstrip("/").rpartition("/")[0] + "/"
    return parent if parent.endswith("/pypi/") else f"{parent}pypi/"


def list_at(upstream: Upstream, query: str = "") -> Url:
    """Where an upstream has the list of all projects. `query` is the client's, which goes behind the operator's."""
    return upstream.simple.with_path(upstream.simple.path, joined_query(upstream.query, query))


def page_at(upstream: Upstream, project: str, query: str = "") -> Url:
    """Where an upstream has a project's page. The URL ends in a slash: mirrors redirect oddly."""
    return upstream.simple.with_path(f"{upstream.simple.path}{project}/", joined_query(upstream.query, query))


def document_at(upstream: Upstream, document: str, query: str = "") -> Url:
    """Where an upstream has a document of the JSON API."""
    return upstream.simple.with_path(api_base(upstream.simple) + document, joined_query(upstream.query, query))


def own_page_path(index: Index, project: str = "") -> str:
    """The path at the proxy's own address of a project's page, or of the index's list of projects."""
    return f"{index.base}/{quote(index.name)}/simple/" + (f"{project}/" if project else "")


def inner_path(path: str, base: str, indexes: Container[str]) -> str:
    """The path at the proxy's own address without the path of `pypi_cache_public_url`, which clients without a reverse proxy ask with.

    What is a path of an index as it stands remains so, where the two begin alike.

    >>> inner_path("/cache/pypi/simple/six/", "/cache", {"pypi"}), inner_path("/pypi/simple/six/", "/cache", {"pypi"})
    ('/pypi/simple/six/', '/pypi/simple/six/')
    """
    if not base or not path.startswith(f"{base}/"):
        return path
    _, name, kind, *_ = *path.split("/", 3), ""
    return path if name in indexes and kind in OWN_KINDS else path.removeprefix(base)
