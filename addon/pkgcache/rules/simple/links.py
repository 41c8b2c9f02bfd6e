"""Decides what a page's link becomes: the URL to fetch, the key of its file, and what the page must hold for a client to get there.

Links are resolved by RFC 3986 §5 against the upstream's final URL or the page's `<base href>`. Links in PyPI's layout on a page of
index `pypi` become the canonical file host's, whatever mirror the page came from, so that all mirrors share their files; other links
stay where they point. At the proxy's own address links become root-relative.

Leaves out: reading and editing pages, whether a host may be asked at all, and links with user information, which are left alone like
links of other schemes.
"""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import urljoin

from pkgcache.rules.routing.digests import parse_release_path
from pkgcache.rules.routing.urls import Url, normalise_path, parse_url, quote_segment, resolve_reference

_ABSOLUTE_LINK: Final = re.compile(r"(https?://[^/?#]+)([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
# The file host's own links as the default index writes them: there is nothing to resolve and nothing to respell. These, and the
# plain links below, are nearly all links of nearly all pages, and matching them is 20 times as fast as resolving each.
_USUAL: Final = re.compile(
    r"(/packages/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[A-Za-z0-9_][A-Za-z0-9._+\-]*)(#[A-Za-z0-9_=&.\-]*)?"
)
# Links whose meaning depends on their prefix alone: nothing that follows it can be spelt in another way.
_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9._+\-]*"
_FRAGMENT: Final = r"(#[A-Za-z0-9_=&.\-]+)?"
_PLAIN_RELEASE: Final = re.compile(
    rf"((?:[A-Za-z0-9._+\-:/]*/)?)(packages/[0-9a-f]{{2}}/[0-9a-f]{{2}}/[0-9a-f]{{60}}/{_NAME}){_FRAGMENT}"
)
_PLAIN_FILE: Final = re.compile(
    rf"((?:https?://[a-z0-9.\-]+(?::[0-9]+)?)?/|(?:\.\./)*+)((?:\+?{_NAME}/)*{_NAME}){_FRAGMENT}"
)
_MAX_PREFIXES: Final = 64  # a usual page has one or two; a hostile one could have as many as links
_HAS_SCHEME: Final = re.compile(r"\s*https?://", re.IGNORECASE)
# What clients read in different ways: pip decodes `%2e` and then resolves the dots; uv takes `\` for `/`.
_AMBIGUOUS: Final = re.compile(r"\\|(?:^|/)(?:%2e|%2e%2e|\.%2e|%2e\.)(?=[/?#]|\Z)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContext:
    """Where a page comes from, and where the client sees it."""

    upstream: Url  # the upstream's final URL of the page, after redirects
    client_url: Url  # the URL that the client asked for, as it spelt it: with or without the trailing slash
    canonical_files: str  # the origin of the default index's file host if the index is `pypi`, else ''
    own_prefix: str  # '/<index>' for a page at the proxy's own address, '' for a page seen at its index


class Target(NamedTuple):
    """What one link means.

    `absolute`: the upstream URL to fetch, without dot segments and fragment, with its query.
    `identity`: the URL that identifies the file: canonical origin and release path where they apply, else `absolute`; the path in
    `normalise_path` spelling, the query kept, no fragment.
    `written`: what the page must hold: the canonical (or own) URL, with file name, query and fragment as the link spells them.
    """

    absolute: str
    identity: str
    written: str


def resolve_link(context: PageContext, base: Url, href: str) -> Target | None:
    """Resolve a decoded `href` against `base`, which is the page's `<base href>` resolved against `upstream`, or `upstream` itself.

    None for links that are left alone: other schemes, links to the page itself (RFC 3986 §4.4: `#top`, `?sort=name`), and references
    that cannot be resolved.
    """
    canonical = context.canonical_files
    if canonical and href.startswith(canonical) and (usual := _USUAL.fullmatch(href, len(canonical))):
        url = canonical + usual[1]
        return Target(url, url, context.own_prefix + href[len(canonical) :] if context.own_prefix else href)
    if not href.lstrip() or href.lstrip()[0] in "#?":
        return None
    try:
        match = _ABSOLUTE_LINK.fullmatch(resolve_reference(base, href))
    except ValueError:
        return None
    if match is None:
        return None
    origin, path, query, fragment = match[1], match[2], match[3] or "", match[4] or ""
    release = _canonical_path(path) if canonical else ""
    own_origin, own_path = (canonical, release) if release else (origin, path)
    if not context.own_prefix:
        place = own_origin + own_path
    elif release:
        place = context.own_prefix + release
    else:
        scheme, _, authority = origin.partition("://")
        place = f"{context.own_prefix}/files/{scheme}/{quote_segment(authority)}{path}"
    key = own_origin + normalise_path(own_path) + ("" if query == "?" else query)
    return Target(origin + path + query, key, place + query + fragment)


def needs_edit(context: PageContext, client_base: Url, href: str, target: Target) -> bool:
    """Whether a client that resolves `href` by itself would not arrive at `target.written`.

    Clients join relative links to the `<base href>` or the page's URL, with `urljoin` (pip) or by the URL Standard (uv); pip takes an
    absolute link as it is, dots included. Where the two disagree, the link needs its edit. At the proxy's own address every link does.
    """
    if context.own_prefix:
        return href != target.written
    if _HAS_SCHEME.match(href):
        return not _same_url(href, target.written)
    if ("%" in href or "\\" in href) and _AMBIGUOUS.search(href):
        return True
    if not href.startswith("//") and not target.written.startswith(f"{client_base.origin}/"):
        return True
    try:
        joined = urljoin(str(client_base), href)
        resolved = resolve_reference(client_base, href)
    except ValueError:
        return True
    return not (_same_url(joined, target.written) and _same_url(resolved, target.written))


class Resolver:
    """Does `resolve_link` and `needs_edit` for all links of one page, resolving each prefix of plain links once: 20 times as fast.

    `base` is what links are relative to at the upstream, `client_base` what they are relative to for the client.
    """

    def __init__(self, context: PageContext, base: Url, client_base: Url) -> None:
        self._context = context
        self._base = base
        self._client_base = client_base
        self._own = bool(context.own_prefix)
        self._plain = _PLAIN_RELEASE if context.canonical_files else _PLAIN_FILE
        self._sample = f"packages/00/00/{'0' * 60}/x" if context.canonical_files else "x"
        self._prefixes: dict[str, tuple[Target, bool] | None] = {}

    def resolve(self, href: str) -> tuple[Target, bool] | None:
        """What a decoded `href` means, and whether it needs its edit; None for links that are left alone."""
        if match := self._plain.fullmatch(href):
            prefix, tail, fragment = match.groups("")
            if prefix not in self._prefixes and len(self._prefixes) < _MAX_PREFIXES:
                self._prefixes[prefix] = self._resolve_prefix(prefix)
            if meaning := self._prefixes.get(prefix):
                (absolute, identity, place), edit = meaning
                written = place + tail + fragment
                url = absolute + tail
                # Equal texts are one: a page may have 50,000 of each.
                target = Target(
                    url, url if identity == absolute else identity + tail, href if href == written else written
                )
                return target, href != written if self._own else edit
        return self._resolve_one(href)

    def _resolve_one(self, href: str) -> tuple[Target, bool] | None:
        target = resolve_link(self._context, self._base, href)
        return target and (target, needs_edit(self._context, self._client_base, href, target))

    def _resolve_prefix(self, prefix: str) -> tuple[Target, bool] | None:
        """What plain links with this prefix mean: the targets of a sample link, without the sample. None if it is not at their end."""
        sample = self._sample
        found = self._resolve_one(prefix + sample)
        if found is None:
            return None
        target, edit = found
        places = [text.removesuffix(sample) for text in (target.absolute, target.identity, target.written)]
        if any(not text.endswith(f"/{sample}") for text in (target.absolute, target.identity, target.written)):
            return None
        return Target(*places), edit


def _canonical_path(path: str) -> str:
    """The release path with its file name as spelt (`ReleasePath.path` would write `%2B` as `+`), or ''."""
    release = parse_release_path(path)
    if release is None:
        return ""
    value = release.digest.value
    return f"/packages/{value[:2]}/{value[2:4]}/{value[4:]}/{path.rpartition('/')[2]}"


def _same_url(arrived: str, written: str) -> bool:
    """Whether two URLs are equal but for the host's case, a default port or an empty path."""
    if arrived == written:
        return True
    arrived_url, _, arrived_fragment = arrived.partition("#")
    written_url, _, written_fragment = written.partition("#")
    try:
        return arrived_fragment == written_fragment and parse_url(arrived_url) == parse_url(written_url)
    except ValueError:
        return False
