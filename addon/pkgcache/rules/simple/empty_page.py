"""Decides whether HTML without a single release file's link is a project page all the same, or what somebody else has answered.

pip and uv take any HTML, and go on to the next index where it has no files. A cache must not: a captive portal's page would be served
to everybody for ten minutes. So a page without files has to show what it is:

| it is a project page, because | as in |
|---|---|
| its version (PEP 629), its heading or its title says so: "Links for six", with attributes or not | every index |
| it links to version control, or names an egg (`git+https:…`, `#egg=six`) | pages of source links |
| it is a folder's listing: "Index of …", "Directory listing for …" | nginx, Apache, lighttpd, `http.server` |
| there is nothing to see on it: no text, nothing that acts | an empty body, `<html></html>` |

The last three hold only where nothing on the page acts: no form, script, frame or refresh. A portal has something to read or to do, and
calls itself none of these.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Final

from pkgcache.rules.simple.html_tags import TAG, tags
from pkgcache.rules.simple.page_model import Page

_VERSION: Final = "pypi:repository-version"
_HEADINGS: Final = frozenset({"title", "h1", "h2", "h3", "h4", "h5", "h6"})
_LISTINGS: Final = ("index of", "directory listing for", "directory listing of", "listing of")
_LINKS: Final = re.compile(r"\blinks\b")
_ELEMENT: Final = re.compile(r"<[^<>]*+>")
_VERSION_CONTROL: Final = re.compile(r"(?:git|hg|svn|bzr)(?:\+[a-z]++)?:", re.IGNORECASE)
_ACTS: Final = frozenset(
    {
        *("form", "input", "button", "select", "textarea", "script", "iframe", "frame", "frameset"),
        *("object", "embed", "applet", "img", "svg"),
    }
)

_LONGEST_LOOK: Final = 256 * 1024
_LONGEST_HEADING: Final = 300
_MOST_HEADINGS: Final = 20
"""Characters of a page, and of a heading, and the headings that are looked at: what a page is, it says at its beginning."""


def why_no_page(page: Page) -> str:
    """Why a page without release files is no project page; empty if it is one."""
    text = page.text[:_LONGEST_LOOK]
    headings = list(itertools.islice(_headings(text), _MOST_HEADINGS))
    if _VERSION in text.lower() or any(_LINKS.search(heading) for heading in headings):
        return ""
    if acting := _acting(text):
        return f"HTML with no release file's link, and with <{acting}>: a log-in page or a captive portal?"
    if any(heading.startswith(_LISTINGS) for heading in headings):
        return ""
    if any(_VERSION_CONTROL.match(link.href) or "#egg=" in link.href for link in page.links):
        return ""
    return "HTML with no release file's link, and nothing that says it is a project page" if _has_text(text) else ""


def _headings(text: str) -> Iterator[str]:
    """The beginnings of titles and headings, in lower case and without the elements in them."""
    for tag in tags(text):
        if (name := (tag[1] or "").lower()) in _HEADINGS:
            content = text[tag.end() : tag.end() + _LONGEST_HEADING].lower()
            yield _ELEMENT.sub("", content.partition(f"</{name}")[0]).strip()


def _acting(text: str) -> str:
    """The first element that does something, or asks for something; empty where there is none."""
    for tag in tags(text):
        name = (tag[1] or "").lower()
        if name in _ACTS or (name == "meta" and "refresh" in tag[2].lower()):
            return name
    return ""


def _has_text(text: str) -> bool:
    """Whether there is anything to read, be it as a title."""
    position = 0
    for tag in TAG.finditer(text):
        if text[position : tag.start()].strip() or tag[4]:
            return True
        position = tag.end()
    return bool(text[position:].strip())
