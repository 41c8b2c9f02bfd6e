"""Reads a project page in HTML (PEP 503): its links with their spans, and what each anchor says of its file.

Follows pip's reading where HTML leaves a choice: the last `href` of an `<a>` and the first `<base href>` count. Attributes are those
of PEP 592 (yanked), 658 and 714 (core metadata).

Leaves out: `<link>` elements, and what `html_tags` leaves out.
"""

import html
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

from pkgcache.rules.routing.filenames import is_distribution
from pkgcache.rules.simple.empty_page import why_no_page
from pkgcache.rules.simple.html_tags import Attributes, Value, attributes, decode, read_attributes, tags
from pkgcache.rules.simple.limits import MAX_LINKS
from pkgcache.rules.simple.page_model import NEEDS_NO_ESCAPE, BrokenPage, Page, PageLink

_HASH_NAMES: Final = re.compile(r"md5|sha1|sha2?(?:224|256|384|512)|sha3_(?:224|256|384|512)|blake2[bs](?:_256)?")


def read_html(body: bytes) -> Page:
    """Find the links of an HTML page. What is no HTML has no links; BrokenPage where there are more than MAX_LINKS.

    The body is decoded as Latin-1, so that spans are byte offsets and every byte survives.
    """
    text = body.decode("latin-1")
    links: list[PageLink] = []
    base: Value | None = None
    status = ""
    for tag in tags(text):
        name = tag[1]
        if name in {"a", "A"}:
            found = read_attributes(text, tag)
            if (href := found.get("href")) and href[0]:
                links.append(_HtmlLink(*href, text, tag.end(), *_of_file(found)))
                if len(links) > MAX_LINKS:
                    raise BrokenPage(f"it has more than {MAX_LINKS:,} links")
        elif not status and name and name.lower() == "meta":
            status = _status_of(text, tag)
        elif base is None and name and name.lower() == "base":
            base = next((value for key, value in attributes(text, tag) if key == "href"), None)
    return Page(
        text=text,
        encoding="latin-1",
        links=tuple(links),
        base_href=base[0] if base else "",
        base_span=base[1:] if base else None,
        status=status,
    )


def check_html(page: Page) -> None:
    """Raise BrokenPage for a 200 that is no project page: a captive portal, a log-in form, a server's placeholder (`empty_page`)."""
    if not any(is_distribution(link.filename) for link in page.links) and (why := why_no_page(page)):
        raise BrokenPage(why)


def escape_html(value: str) -> str:
    """Write a value so that it fits any attribute, quoted or not; the result is ASCII.

    >>> escape_html("a b&c.whl")
    'a&#32;b&amp;c.whl'
    """
    if NEEDS_NO_ESCAPE.fullmatch(value):
        return value
    escaped = re.sub(r"[\x00-\x20`]", lambda match: f"&#{ord(match[0])};", html.escape(value))
    return escaped if escaped.isascii() else escaped.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _status_of(text: str, tag: re.Match[str]) -> str:
    """The content of a `<meta name="pypi:project-status">` (PEP 792); '' of another one."""
    found = read_attributes(text, tag)
    name, content = found.get("name"), found.get("content")
    return content[0] if name and content and name[0].lower() == "pypi:project-status" else ""


class _HtmlLink(NamedTuple):
    """An anchor as a `PageLink`. A NamedTuple, since a page may have 8,000 and a frozen dataclass takes three times as long to make."""

    href: str
    start: int
    end: int
    page: str
    content: int  # where the anchor's content begins in `page`
    metadata: str | None  # of the attributes only what is needed is kept: they are large
    yanked: bool | str

    @property
    def filename(self) -> str:
        name = self.href.partition("#")[0].partition("?")[0].rpartition("/")[2]
        if name:
            return unquote(name) if "%" in name else name
        end = self.page.find("<", self.content)
        return decode(self.page[self.content : end if end >= 0 else None]).strip()

    @property
    def hashes(self) -> Mapping[str, str]:
        return _named_hashes(self.href.partition("#")[2])

    @property
    def core_metadata(self) -> Mapping[str, str] | bool:
        return False if self.metadata is None else _named_hashes(self.metadata) or True

    @property
    def size(self) -> None:
        return None

    @property
    def upload_time(self) -> str:
        return ""


def _of_file(attributes: Attributes) -> tuple[str | None, bool | str]:
    """What an anchor says of its file's core metadata, and whether the file is yanked."""
    # PEP 714: the new name wins where both are there.
    metadata = attributes.get("data-core-metadata") or attributes.get("data-dist-info-metadata")
    # PEP 592: the attribute's presence yanks the file; its value, if any, is the reason.
    yanked = attributes.get("data-yanked")
    return metadata and metadata[0], ((yanked and yanked[0]) or True) if "data-yanked" in attributes else False


def _named_hashes(text: str) -> dict[str, str]:
    """The hashes of `sha256=…&egg=…`; of duplicates the first counts."""
    hashes: dict[str, str] = {}
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if value and _HASH_NAMES.fullmatch(name):
            hashes.setdefault(name, value)
    return hashes
