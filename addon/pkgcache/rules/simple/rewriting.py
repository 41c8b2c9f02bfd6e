"""Rewrites the links of a project page so that they arrive at the cache, and leaves every other byte alone (PEP 503, PEP 691).

Decides which links need an edit and what becomes of `<base href>`. What one link means is decided in `links`, how a page is read in
`html_page` and `json_page`. Rewriting twice equals rewriting once.

Leaves out: writing pages from a model, which would change spellings that clients compare (`%2B` and `+`).
"""

from pkgcache.rules.routing.urls import Url, parse_url, resolve_reference
from pkgcache.rules.simple.html_page import escape_html, read_html
from pkgcache.rules.simple.json_page import escape_json, read_json
from pkgcache.rules.simple.limits import MAX_LINK, max_growth
from pkgcache.rules.simple.links import PageContext, Resolver, Target
from pkgcache.rules.simple.page_model import BrokenPage, Kind, Page, PageLink, Rewritten, check_base, edit


def rewrite(body: bytes, kind: Kind, context: PageContext) -> Rewritten:
    """Make each link arrive at its `Target.written`, editing only links that would not. Raises BrokenPage for broken JSON.

    `<base href>` becomes the client's own URL where clients read it in different ways (anything but an absolute http(s) URL: pip joins
    links to it as it is, uv refuses the page), and always at the proxy's own address, where pip would join a root-relative link to
    another host's base.
    """
    return rewrite_page(read_html(body) if kind == "html" else read_json(body), body, kind, context)


def rewrite_page(page: Page, body: bytes, kind: Kind, context: PageContext) -> Rewritten:
    """Rewrite a `body` that was already read as `page`. Raises BrokenPage where its links would grow beyond `max_growth`.

    A link longer than MAX_LINK, as written or made absolute, is left alone: no request could be made for it.
    """
    escape = escape_html if kind == "html" else escape_json
    changes: list[tuple[int, int, str]] = []
    base, client_base = _bases(page, context)
    if page.base_span and client_base == context.client_url and page.base_href != str(context.client_url):
        changes.append((*page.base_span, escape(str(context.client_url))))
    links: list[tuple[PageLink, Target]] = []
    resolve = Resolver(context, base, client_base).resolve
    room = max_growth(len(page.text))
    for link in page.links:
        href = link.href
        if len(href) > MAX_LINK or (found := resolve(href)) is None:
            continue
        target, edited = found
        length = max(len(target.absolute), len(target.written))
        if length > MAX_LINK:
            continue
        room -= length - len(href)
        if room < 0:
            raise BrokenPage("its links, made absolute, would be many times the page")
        links.append((link, target))
        if edited:
            changes.append((link.start, link.end, escape(target.written)))
    return Rewritten(
        body=edit(page, changes) if changes else body, edited=bool(changes), links=tuple(links), status=page.status
    )


def _bases(page: Page, context: PageContext) -> tuple[Url, Url]:
    """What links are relative to: at the upstream, and for the client once the page is edited."""
    if page.base_span is None:
        return context.upstream, context.client_url
    check_base(page)
    try:
        base = parse_url(resolve_reference(context.upstream, page.base_href))
    except ValueError:
        return context.upstream, context.client_url
    try:
        absolute = parse_url(page.base_href)
    except ValueError:
        return base, context.client_url
    return base, context.client_url if context.own_prefix else absolute
