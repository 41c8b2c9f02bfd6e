"""Project pages, HTML (PEP 503) and JSON (PEP 691): find the links, edit their bytes, leave every other byte alone.

Decides which bytes of a page are links, what the page says about each (PEP 592 yanked, PEP 658 and 714 core metadata,
PEP 700 size and upload time), and what the page looks like to a client. HTML is cut into tags by `tags`, with pip's reading of the
result: the last `href` of an `<a>`, the first `<base href>`. JSON is read by the standard library's scanner, one file at a time.

Leaves out: writing pages from a model, `<link>` elements, and what `tags` leaves out.
"""

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol
from urllib.parse import unquote

from pkgcache.rules.digests import is_distribution
from pkgcache.rules.jsonspans import (
    Element,
    check_end,
    following,
    read_elements,
    read_key,
    read_value,
    skip_blank,
    string_span,
)
from pkgcache.rules.links import PageContext, Resolver, Target
from pkgcache.rules.tags import Attributes, Value, attributes, decode, read_attributes, tags
from pkgcache.rules.urls import Url, parse_url, resolve_reference

_HASH_NAMES: Final = re.compile(r"md5|sha1|sha2?(?:224|256|384|512)|sha3_(?:224|256|384|512)|blake2[bs](?:_256)?")

# What says that a page without files is a project page: PEP 629's version, or the heading that indexes give it.
_MARK: Final = re.compile(r"pypi:repository-version|<h1>[^<]*\blinks\b", re.IGNORECASE)
_HARMLESS: Final = re.compile(r"[A-Za-z0-9./:=#_+\-]*")


class BrokenPage(ValueError):  # noqa: N818 - named as an answer, not as a fault of ours
    """A body that is no PEP 691 page of version 1; its text is one line that says why."""


class PageLink(Protocol):
    """One link and what its page says about the file; that is read when it is asked for, as a page may have 8,000 of them."""

    @property
    def href(self) -> str:
        """Decoded."""

    @property
    def start(self) -> int:
        """Where the value in `Page.text` begins, without quotes."""

    @property
    def end(self) -> int:
        """Where it ends."""

    @property
    def filename(self) -> str:
        """In HTML the last segment of the path, which is what clients go by; else the anchor's text."""

    @property
    def hashes(self) -> Mapping[str, str]:
        """By name."""

    @property
    def core_metadata(self) -> Mapping[str, str] | bool:
        """The metadata's hashes; True: it is there, without a hash."""

    @property
    def size(self) -> int | None:
        """In bytes; HTML does not tell."""

    @property
    def upload_time(self) -> str:
        """As the page spells it; HTML does not tell."""

    @property
    def yanked(self) -> bool | str:
        """A str is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A decoded body and its links, in order."""

    text: str
    encoding: str  # `text.encode(encoding)` is the body
    links: tuple[PageLink, ...]
    base_href: str = ""  # the first `<base href>`, decoded
    base_span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """A page as a client is to see it. The links' spans are those of the body before the edits."""

    body: bytes
    edited: bool  # False: `body` is the very object that was given
    links: tuple[tuple[PageLink, Target], ...]  # http(s) links only


def read_html(body: bytes) -> Page:
    """Find the links of an HTML page. Decoded as Latin-1, so that spans are byte offsets and every byte survives."""
    text = body.decode("latin-1")
    links: list[PageLink] = []
    base: Value | None = None
    for tag in tags(text):
        name = tag[1]
        if name in {"a", "A"}:
            found = read_attributes(text, tag)
            if (href := found.get("href")) and href[0]:
                links.append(_Anchor(*href, text, tag.end(), found))
        elif base is None and name and name.lower() == "base":
            base = next((value for key, value in attributes(text, tag) if key == "href"), None)
    return Page(
        text=text,
        encoding="latin-1",
        links=tuple(links),
        base_href=base[0] if base else "",
        base_span=base[1:] if base else None,
    )


def read_json(body: bytes) -> Page:
    """Find the links of a PEP 691 page; BrokenPage if it is none. Spans count characters of the UTF-8 text."""
    text, files = json_or_broken(body, _read_top)
    links = [
        _File(file["url"], *string_span(text, start, end, "url"), file)
        for start, end, file in files
        if isinstance(file, dict) and isinstance(file.get("url"), str) and file["url"]
    ]
    return Page(text=text, encoding="utf-8", links=tuple(links))


def json_or_broken[T](body: bytes, read: Callable[[str], T]) -> tuple[str, T]:
    """A body's text and what `read` makes of it; what reading JSON raises, as BrokenPage."""
    try:
        text = body.decode("utf-8")
        return text, read(text)
    except UnicodeDecodeError:
        raise BrokenPage("page is not UTF-8") from None
    except BrokenPage:
        raise
    except (ValueError, RecursionError) as error:
        raise BrokenPage(f"page is not JSON: {str(error)[:200]}") from None
    except IndexError:
        raise BrokenPage("page is not JSON: it is cut short") from None


def check_html(page: Page) -> None:
    """Tell a project page from what a captive portal, a log-in form or a lost server answers with 200. Raises BrokenPage.

    A project page links to a release file, or says by its version or its heading what it is (PEP 503, PEP 629).
    """
    if not any(is_distribution(link.filename) for link in page.links) and not _MARK.search(page.text):
        raise BrokenPage("HTML with no release file's link, and nothing that says it is a project page")


def edit(page: Page, changes: Sequence[tuple[int, int, str]]) -> bytes:
    """Put escaped values in place of spans of `page.text`; every other byte survives. Spans must not overlap."""
    pieces: list[str] = []
    position = 0
    for start, end, value in sorted(changes):
        if start < position:
            raise ValueError(f"changes overlap at {start}")
        pieces += (page.text[position:start], value)
        position = end
    pieces.append(page.text[position:])
    return "".join(pieces).encode(page.encoding)


def escape_html(value: str) -> str:
    """Write a value so that it fits any attribute, quoted or not; ASCII."""
    if _HARMLESS.fullmatch(value):
        return value
    escaped = re.sub(r"[\x00-\x20`]", lambda match: f"&#{ord(match[0])};", html.escape(value))
    return escaped if escaped.isascii() else escaped.encode("ascii", "xmlcharrefreplace").decode("ascii")


def escape_json(value: str) -> str:
    """Write the content of a JSON string, without its quotes; ASCII."""
    return value if _HARMLESS.fullmatch(value) else json.dumps(value)[1:-1]


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
    if page.base_span and base_seen == context.seen and page.base_href != str(context.seen):
        changes.append((*page.base_span, escape(str(context.seen))))
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
        return context.upstream, context.seen
    try:
        base = parse_url(resolve_reference(context.upstream, page.base_href))
    except ValueError:
        return context.upstream, context.seen
    try:
        absolute = parse_url(page.base_href)
    except ValueError:
        return base, context.seen
    return base, context.seen if context.own_prefix else absolute


# HTML


class _Anchor(NamedTuple):
    """A PageLink of HTML."""

    href: str
    start: int
    end: int
    page: str
    position: int
    """Where the anchor's content begins."""
    attributes: Attributes

    @property
    def filename(self) -> str:
        name = self.href.partition("#")[0].partition("?")[0].rpartition("/")[2]
        if name:
            return unquote(name) if "%" in name else name
        end = self.page.find("<", self.position)
        return decode(self.page[self.position : end if end >= 0 else None]).strip()

    @property
    def hashes(self) -> Mapping[str, str]:
        return _named_hashes(self.href.partition("#")[2])

    @property
    def core_metadata(self) -> Mapping[str, str] | bool:
        metadata = self.attributes.get("data-core-metadata") or self.attributes.get("data-dist-info-metadata")
        return (_named_hashes(metadata[0]) or True) if metadata else False

    @property
    def size(self) -> None:
        return None

    @property
    def upload_time(self) -> str:
        return ""

    @property
    def yanked(self) -> bool | str:
        yanked = self.attributes.get("data-yanked")
        return ((yanked and yanked[0]) or True) if "data-yanked" in self.attributes else False


def _named_hashes(text: str) -> dict[str, str]:
    """`sha256=…&egg=…` → the hashes, the first of a name."""
    hashes: dict[str, str] = {}
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if value and _HASH_NAMES.fullmatch(name):
            hashes.setdefault(name, value)
    return hashes


# JSON


def _read_top(text: str) -> list[Element]:
    """Walk the top-level object; give the elements of `files` with their spans."""
    position = skip_blank(text, 1 if text.startswith("\ufeff") else 0)
    if text[position] != "{":
        read_value(text, position)
        raise BrokenPage("page is JSON, but no object")
    page: dict[str, Any] = {}
    position = skip_blank(text, position + 1)
    while text[position] != "}":
        key, position = read_key(text, position)
        if key == "files" and text[position] == "[":
            page[key], position = read_elements(text, position)
        else:
            value, position = read_value(text, position)
            page[key] = None if key == "files" else value
        position = following(text, position, "}")
    check_end(text, position + 1)
    # PEP 629: a page that does not say has version 1.0.
    version = meta.get("api-version", "1.0") if isinstance(meta := page.get("meta", {}), dict) else meta
    if str(version).partition(".")[0] != "1":
        raise BrokenPage(f"page has meta.api-version {version!r:.80}, not 1.x")
    if page.get("files") is None:
        raise BrokenPage("page has no array 'files'")
    files: list[Element] = page["files"]
    return files


class _File(NamedTuple):
    """A PageLink of JSON."""

    href: str
    start: int
    end: int
    file: Mapping[str, Any]

    @property
    def filename(self) -> str:
        return _text(self.file.get("filename"))

    @property
    def hashes(self) -> Mapping[str, str]:
        return read_hashes(self.file.get("hashes"))

    @property
    def core_metadata(self) -> Mapping[str, str] | bool:
        # PEP 714: the new name wins where it is there.
        metadata = self.file.get("core-metadata")
        if metadata is None:
            metadata = self.file.get("dist-info-metadata")
        return (read_hashes(metadata) or True) if metadata or metadata == {} else False

    @property
    def size(self) -> int | None:
        size = self.file.get("size")
        return size if type(size) is int else None

    @property
    def upload_time(self) -> str:
        return _text(self.file.get("upload-time"))

    @property
    def yanked(self) -> bool | str:
        yanked = self.file.get("yanked")
        return yanked if isinstance(yanked, str) and yanked else bool(yanked)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def read_hashes(value: object) -> Mapping[str, str]:
    """Digests by name, as JSON has them; what is no text is left out."""
    if not isinstance(value, dict):
        return {}
    for digest in value.values():
        if not isinstance(digest, str):
            return {name: digest for name, digest in value.items() if isinstance(digest, str)}
    return value
