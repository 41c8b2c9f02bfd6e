"""What a page's link becomes: resolved, made canonical, and written only where it must be.

Decides by RFC 3986 §5 against the upstream's final URL or the page's `<base href>` (design: "Index pages", facts:
"Relative links"). Links in PyPI's layout on a page of index `pypi` become the canonical file host's, whatever mirror
the page came from; other links stay where they point. On the proxy's own address links become root-relative.

Leaves out: reading and editing pages (`pages`), whether a host may be asked at all, and links with user information,
which are left alone like links of other schemes.
"""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import urljoin

from pkgcache.rules.routing.digests import parse_release_path
from pkgcache.rules.routing.urls import Url, normalise_path, parse_url, quote_segment, resolve_reference

_ABSOLUTE: Final = re.compile(r"(https?://[^/?#]+)([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
# The file host's own links as PyPI writes them: nothing to resolve, nothing to re-spell.
_USUAL: Final = re.compile(
    r"(/packages/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[A-Za-z0-9_][A-Za-z0-9._+\-]*)(#[A-Za-z0-9_=&.\-]*)?"
)
# Links that differ from one another only behind their prefix: nothing in what follows it can be spelt in another way.
_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9._+\-]*"
_FRAGMENT: Final = r"(#[A-Za-z0-9_=&.\-]+)?"
_PLAIN_RELEASE: Final = re.compile(
    rf"((?:[A-Za-z0-9._+\-:/]*/)?)(packages/[0-9a-f]{{2}}/[0-9a-f]{{2}}/[0-9a-f]{{60}}/{_NAME}){_FRAGMENT}"
)
_PLAIN_FILE: Final = re.compile(
    rf"((?:https?://[a-z0-9.\-]+(?::[0-9]+)?)?/|(?:\.\./)*+)((?:\+?{_NAME}/)*{_NAME}){_FRAGMENT}"
)
_MAX_PREFIXES: Final = 64
_HAS_SCHEME: Final = re.compile(r"\s*https?://", re.IGNORECASE)
# What clients read in different ways: pip decodes `%2e` and asks for the dots; uv takes `\` for `/`.
_AMBIGUOUS: Final = re.compile(r"\\|(?:^|/)(?:%2e|%2e%2e|\.%2e|%2e\.)(?=[/?#]|\Z)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContext:
    """Where a page comes from and where a client sees it."""

    upstream: Url  # the upstream's final URL of the page, after redirects
    client_url: Url  # the URL that the client asked for, as it spelt it: with or without the trailing slash
    canonical_files: str  # origin of PyPI's file host when the index is `pypi`, '' otherwise
    own_prefix: str  # '/<index>' for a page at the proxy's own address, '' for a page seen at its index


class Target(NamedTuple):
    """What one link means.

    `absolute`: the upstream URL, cleaned of dot segments, with its query, without fragment: what to fetch.
    `identity`: the key of the URL: canonical origin and release path where they apply, else `absolute`; the path in
    `normalise_path` spelling, the query kept, no fragment.
    `written`: what a page must hold: canonical (or own) URL, file name as the link spells it, query and fragment kept.
    """

    absolute: str
    identity: str
    written: str


def resolve_link(context: PageContext, base: Url, href: str) -> Target | None:
    """Resolve a decoded `href` against `base`: the `<base href>` resolved against `upstream`, else `upstream`.

    None for what is left alone: other schemes, links to the page itself (RFC 3986 §4.4: no host and no path, as
    `#top` and `?sort=name`), and references that make no sense.
    """
    canonical = context.canonical_files
    if canonical and href.startswith(canonical) and (usual := _USUAL.fullmatch(href, len(canonical))):
        url = canonical + usual[1]
        return Target(url, url, context.own_prefix + href[len(canonical) :] if context.own_prefix else href)
    if not href.lstrip() or href.lstrip()[0] in "#?":
        return None
    try:
        match = _ABSOLUTE.fullmatch(resolve_reference(base, href))
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


def needs_edit(context: PageContext, base_seen_by_client: Url, href: str, target: Target) -> bool:
    """Say whether a client that resolves `href` by itself would miss `target.written`.

    Clients join relative links to the `<base href>` or the page's URL, with `urljoin` (pip) or by the URL Standard
    (uv); pip takes an absolute link as it is, dots and all. Where the two disagree, the link needs its edit. On the
    proxy's own address every link does.
    """
    if context.own_prefix:
        return href != target.written
    if _HAS_SCHEME.match(href):
        return not _same(href, target.written)
    if ("%" in href or "\\" in href) and _AMBIGUOUS.search(href):
        return True
    if not href.startswith("//") and not target.written.startswith(f"{base_seen_by_client.origin}/"):
        return True
    try:
        joined = urljoin(str(base_seen_by_client), href)
        resolved = resolve_reference(base_seen_by_client, href)
    except ValueError:
        return True
    return not (_same(joined, target.written) and _same(resolved, target.written))


class Resolver:
    """`resolve_link` and `needs_edit` for all links of one page, the usual ones by what their prefix means: 20 times as fast.

    `base`: what links are relative to at the upstream; `base_seen`: for the client.
    """

    def __init__(self, context: PageContext, base: Url, base_seen: Url) -> None:
        self._context = context
        self._base = base
        self._base_seen = base_seen
        self._own = bool(context.own_prefix)
        self._plain = _PLAIN_RELEASE if context.canonical_files else _PLAIN_FILE
        self._sample = f"packages/00/00/{'0' * 60}/x" if context.canonical_files else "x"
        self._prefixes: dict[str, tuple[Target, bool] | None] = {}

    def resolve(self, href: str) -> tuple[Target, bool] | None:
        """What a decoded `href` means, and whether it needs its edit; None for what is left alone."""
        if match := self._plain.fullmatch(href):
            prefix, tail, fragment = match.groups("")
            if prefix not in self._prefixes and len(self._prefixes) < _MAX_PREFIXES:
                self._prefixes[prefix] = self._meaning(prefix)
            if meaning := self._prefixes.get(prefix):
                (absolute, identity, place), edit = meaning
                written = place + tail + fragment
                return Target(absolute + tail, identity + tail, written), href != written if self._own else edit
        return self._slowly(href)

    def _slowly(self, href: str) -> tuple[Target, bool] | None:
        target = resolve_link(self._context, self._base, href)
        return target and (target, needs_edit(self._context, self._base_seen, href, target))

    def _meaning(self, prefix: str) -> tuple[Target, bool] | None:
        """What stands before a sample in its target, if that is so for any plain link with this prefix."""
        sample = self._sample
        found = self._slowly(prefix + sample)
        if found is None:
            return None
        target, edit = found
        places = [text.removesuffix(sample) for text in (target.absolute, target.identity, target.written)]
        if any(not text.endswith(f"/{sample}") for text in (target.absolute, target.identity, target.written)):
            return None
        return Target(*places), edit


def _canonical_path(path: str) -> str:
    """Give the release path with its file name as spelt (`ReleasePath.path` would write `%2B` as `+`), or ''."""
    release = parse_release_path(path)
    if release is None:
        return ""
    value = release.digest.value
    return f"/packages/{value[:2]}/{value[2:4]}/{value[4:]}/{path.rpartition('/')[2]}"


def _same(arrived: str, written: str) -> bool:
    """Equal but for the host's case, a default port or an empty path."""
    if arrived == written:
        return True
    url, _, fragment = arrived.partition("#")
    wanted, _, wanted_fragment = written.partition("#")
    try:
        return fragment == wanted_fragment and parse_url(url) == parse_url(wanted)
    except ValueError:
        return False
