"""rules/routing/paths.py."""

from __future__ import annotations

from urllib.parse import quote, unquote

from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.urls import DEFAULT_PORTS, Url, parse_url


def resolve_own_path(own_prefix: str, path: str, query: str = "") -> Url | None:
    """Turn `<own_prefix>/files/<scheme>/<authority>/<path>` back into the URL it means; None if it is no such path."""
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
    """The path of the JSON API beside an index's `simple/`.

    >>> api_base(parse_url("https://mirror.example/simple/")), api_base(parse_url("https://mirror.example/pypi/simple/"))
    ('/pypi/', '/pypi/')
    """
    parent = simple.path.rstrip("/").rpartition("/")[0] + "/"
    return parent if parent.endswith("/pypi/") else f"{parent}pypi/"


def own_page_path(index: Index, project: str = "") -> str:
    """The root-relative path of an index's page at the proxy's own address."""
    return f"/{quote(index.name)}/simple/{project}/" if project else f"/{quote(index.name)}/simple/"
