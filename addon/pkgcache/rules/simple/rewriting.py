"""Project pages, HTML (PEP 503) and JSON (PEP 691): find the links, edit their bytes, leave every other byte alone.

Decides which bytes of a page are links, what the page says about each (PEP 592 yanked, PEP 658 and 714 core metadata,
PEP 700 size and upload time), and what the page looks like to a client. HTML is cut into tags by `tags`, with pip's reading of the
result: the last `href` of an `<a>`, the first `<base href>`. JSON is read by the standard library's scanner, one file at a time.

Leaves out: writing pages from a model, `<link>` elements, and what `tags` leaves out.
"""

from typing import Literal

from pkgcache.rules.routing.urls import Url, parse_url, resolve_reference
from pkgcache.rules.simple.html_page import escape_html, read_html
from pkgcache.rules.simple.json_page import escape_json, read_json
from pkgcache.rules.simple.links import PageContext, Resolver, Target
from pkgcache.rules.simple.page_model import Page, PageLink, Rewritten, edit


def rewrite(body: bytes, kind: Literal["html", "json"], context: PageContext) -> Rewritten:
    """Make each link arrive where `resolve_link` says, editing only links that would not.

    A `<base href>` that clients read in different ways (anything but an absolute http(s) URL: pip joins links to it
    as it is, uv refuses the page) becomes `context.seen`, and so does every base on the proxy's own address, since
    pip would join a root-relative link to a foreign base. BrokenPage for JSON that is no PEP 691 page.
    """
    return rewrite_page(read_html(body) if kind == "html" else read_json(body), body, kind, context)


def rewrite_page(page: Page, body: bytes, kind: Literal["html", "json"], context: PageContext) -> Rewritten:
    """As `rewrite`, of a `body` that was read before."""
    escape = escape_html if kind == "html" else escape_json
    changes: list[tuple[int, int, str]] = []
    base, base_seen = _bases(page, context)
    if page.base_span and base_seen == context.client_url and page.base_href != str(context.client_url):
        changes.append((*page.base_span, escape(str(context.client_url))))
    links: list[tuple[PageLink, Target]] = []
    resolve = Resolver(context, base, base_seen).resolve
    for link in page.links:
        if (found := resolve(link.href)) is None:
            continue
        target, edited = found
        links.append((link, target))
        if edited:
            changes.append((link.start, link.end, escape(target.written)))
    return Rewritten(body=edit(page, changes) if changes else body, edited=bool(changes), links=tuple(links))


def _bases(page: Page, context: PageContext) -> tuple[Url, Url]:
    """Say what links are relative to: at the upstream, and for the client once the page is edited."""
    if page.base_span is None:
        return context.upstream, context.client_url
    try:
        base = parse_url(resolve_reference(context.upstream, page.base_href))
    except ValueError:
        return context.upstream, context.client_url
    try:
        absolute = parse_url(page.base_href)
    except ValueError:
        return base, context.client_url
    return base, context.client_url if context.own_prefix else absolute


# HTML


# JSON
