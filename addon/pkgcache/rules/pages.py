"""Project pages, HTML (PEP 503) and JSON (PEP 691): find the links, edit their bytes, leave every other byte alone.

Decides which bytes of a page are links, what the page says about each (PEP 592 yanked, PEP 658 and 714 core metadata,
PEP 700 size and upload time), and what the page looks like to a client. HTML is cut into tokens by the HTML standard
§13.2.5 as `html.parser` has it since Python 3.13.6, with pip's reading of the result: the last `href` of an `<a>`, the
first `<base href>`. JSON is read by the standard library's scanner, one file at a time.

Leaves out: writing pages from a model, `<link>` elements, character sets other than UTF-8, and in HTML the escaped
states of scripts, CDATA outside of `<![CDATA[`, and quoted `>` in end tags.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html.entities import html5
from typing import Any, Final, Literal
from urllib.parse import unquote

from pkgcache.rules.digests import is_distribution
from pkgcache.rules.links import PageContext, Target, needs_edit, resolve_link
from pkgcache.rules.urls import Url, parse_url, resolve_reference

_HASH_NAMES: Final = re.compile(r"md5|sha1|sha2?(?:224|256|384|512)|sha3_(?:224|256|384|512)|blake2[bs](?:_256)?")

_SPACE: Final = r"[\t\n\r\f ]"
_ATTRIBUTE: Final = (
    r"([^\t\n\r\f />][^\t\n\r\f />=]*+)"
    rf"(?:{_SPACE}*+={_SPACE}*+(\"[^\"]*+\"|'[^']*+'|(?![\"'])[^\t\n\r\f >]*+)|(?!{_SPACE}*+=))"
)
_UNGROUPED: Final = _ATTRIBUTE.replace("([", "(?:[").replace(r"(\"", r"(?:\"")
# Groups: 1 the name of a start tag, 2 its attributes, 3 the slash of an empty element, 4 what is never closed.
_TOKEN: Final = re.compile(
    r"<!--(?:-?>|(?:[^-]++|-(?!-!?>))*+--!?>)"
    r"|<!\[CDATA\[(?:[^\]]++|\](?!\]>))*+\]\]>"
    r"|<(?:/|\?|!(?!--|\[CDATA\[))[^>]*+>"
    rf"|<([a-zA-Z][^\t\n\r\f />]*+)((?:[\t\n\r\f ]++|/(?!>)|{_UNGROUPED})*+)(/?)>"
    r"|<([a-zA-Z/?!])",
)
_ATTRIBUTES: Final = re.compile(_ATTRIBUTE)
_RAW_TEXT: Final = frozenset(
    {"script", "style", "title", "textarea", "iframe", "noembed", "noframes", "xmp", "plaintext"}
)
_CHARACTER_REFERENCE: Final = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*)[;=]?")

# What says that a page without files is a project page: PEP 629's version, or the heading that indexes give it.
_MARK: Final = re.compile(r"pypi:repository-version|<h1>[^<]*\blinks\b", re.IGNORECASE)
_BLANKS: Final = " \t\n\r"
_DECODER: Final = json.JSONDecoder()


class BrokenPage(ValueError):  # noqa: N818 - named as an answer, not as a fault of ours
    """A body that is no PEP 691 page of version 1; its text is one line that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLink:
    """One link and what its page says about the file."""

    href: str  # decoded
    start: int  # span of the value in `Page.text`, without quotes
    end: int
    filename: str  # HTML: the last segment of the path, which is what clients go by; else the anchor's text
    hashes: Mapping[str, str]
    core_metadata: Mapping[str, str] | bool  # the metadata's hashes; True: it is there, without a hash
    size: int | None = None
    upload_time: str = ""
    yanked: bool | str = False  # a str is the reason


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
    base: tuple[str, int, int] | None = None
    position = 0
    while (token := _TOKEN.search(text, position)) and not token[4]:
        position = token.end()
        name = token[1].lower() if token[1] else ""
        if name == "a":
            attributes = _read_attributes(text, token)
            if (href := attributes.get("href")) and href[0]:
                links.append(_anchor(text, position, href, attributes))
        elif name == "base" and base is None:
            base = next((value for key, value in _attributes(text, token) if key == "href"), None)
        elif name in _RAW_TEXT and not token[3]:
            end = re.compile(rf"</{name}(?=[\t\n\r\f />])", re.IGNORECASE).search(text, position)
            if end is None or name == "plaintext":
                break
            position = end.start()
    return Page(
        text=text,
        encoding="latin-1",
        links=tuple(links),
        base_href=base[0] if base else "",
        base_span=base[1:] if base else None,
    )


def read_json(body: bytes) -> Page:
    """Find the links of a PEP 691 page; BrokenPage if it is none. Spans count characters of the UTF-8 text."""
    try:
        text = body.decode("utf-8")
        files = _read_top(text)
    except UnicodeDecodeError:
        raise BrokenPage("page is not UTF-8") from None
    except BrokenPage:
        raise
    except (ValueError, RecursionError) as error:
        raise BrokenPage(f"page is not JSON: {str(error)[:200]}") from None
    except IndexError:
        raise BrokenPage("page is not JSON: it is cut short") from None
    links = [
        _file_link(text, start, end, file)
        for start, end, file in files
        if isinstance(file, dict) and isinstance(file.get("url"), str) and file["url"]
    ]
    return Page(text=text, encoding="utf-8", links=tuple(links))


def check_html(body: bytes) -> None:
    """Tell a project page from what a captive portal, a log-in form or a lost server answers with 200. Raises BrokenPage.

    A project page links to a release file, or says by its version or its heading what it is (PEP 503, PEP 629).
    """
    page = read_html(body)
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
    escaped = re.sub(r"[\x00-\x20`]", lambda match: f"&#{ord(match[0])};", html.escape(value))
    return escaped if escaped.isascii() else escaped.encode("ascii", "xmlcharrefreplace").decode("ascii")


def escape_json(value: str) -> str:
    """Write the content of a JSON string, without its quotes; ASCII."""
    return json.dumps(value)[1:-1]


def rewrite(body: bytes, kind: Literal["html", "json"], context: PageContext) -> Rewritten:
    """Make each link arrive where `resolve_link` says, editing only links that would not.

    A `<base href>` that clients read in different ways (anything but an absolute http(s) URL: pip joins links to it
    as it is, uv refuses the page) becomes `context.seen`, and so does every base on the proxy's own address, since
    pip would join a root-relative link to a foreign base. BrokenPage for JSON that is no PEP 691 page.
    """
    page, escape = (read_html(body), escape_html) if kind == "html" else (read_json(body), escape_json)
    changes: list[tuple[int, int, str]] = []
    base, base_seen = _bases(page, context)
    if page.base_span and base_seen == context.seen and page.base_href != str(context.seen):
        changes.append((*page.base_span, escape(str(context.seen))))
    links: list[tuple[PageLink, Target]] = []
    for link in page.links:
        target = resolve_link(context, base, link.href)
        if target is None:
            continue
        links.append((link, target))
        if needs_edit(context, base_seen, link.href, target):
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


def _attributes(text: str, token: re.Match[str]) -> list[tuple[str, tuple[str, int, int] | None]]:
    """Attributes of a start tag in order: name, and decoded value with its span (None: no value)."""
    found: list[tuple[str, tuple[str, int, int] | None]] = []
    for match in _ATTRIBUTES.finditer(text, *token.span(2)):
        start, end = match.span(2)
        if start < 0:
            found.append((match[1].lower(), None))
            continue
        if text[start : start + 1] in {'"', "'"} and start < end:
            start, end = start + 1, end - 1
        found.append((match[1].lower(), (_decode(text[start:end]), start, end)))
    return found


def _read_attributes(text: str, token: re.Match[str]) -> dict[str, tuple[str, int, int] | None]:
    return dict(_attributes(text, token))  # of duplicates the last counts, as for pip


def _decode(value: str) -> str:
    """Read an attribute's value: UTF-8 where it is that, character references replaced."""
    if not value.isascii():
        value = value.encode("latin-1").decode("utf-8", "replace")
    return _CHARACTER_REFERENCE.sub(_replace_reference, value) if "&" in value else value


def _replace_reference(match: re.Match[str]) -> str:
    # HTML standard §13.2.5.73: in attributes `&copy=1` and `&copyleft` are no references.
    found = match[0]
    return html.unescape(found) if found[1] == "#" or found[1:] in html5 else found


def _anchor(
    text: str, position: int, href: tuple[str, int, int], attributes: Mapping[str, tuple[str, int, int] | None]
) -> PageLink:
    value, start, end = href
    url, _, fragment = value.partition("#")
    filename = url.partition("?")[0].rpartition("/")[2]
    if not filename:
        filename = _decode(text[position : (text.find("<", position) + 1 or len(text) + 1) - 1]).strip()
    elif "%" in filename:
        filename = unquote(filename)
    metadata = attributes.get("data-core-metadata") or attributes.get("data-dist-info-metadata")
    yanked = attributes.get("data-yanked")
    return PageLink(
        href=value,
        start=start,
        end=end,
        filename=filename,
        hashes=_named_hashes(fragment),
        core_metadata=(_named_hashes(metadata[0]) or True) if metadata else False,
        yanked=((yanked and yanked[0]) or True) if "data-yanked" in attributes else False,
    )


def _named_hashes(text: str) -> dict[str, str]:
    """`sha256=…&egg=…` → the hashes, the first of a name."""
    hashes: dict[str, str] = {}
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if value and _HASH_NAMES.fullmatch(name):
            hashes.setdefault(name, value)
    return hashes


# JSON


def _read_top(text: str) -> list[tuple[int, int, Any]]:
    """Walk the top-level object; give the elements of `files` with their spans."""
    position = _skip_blank(text, 1 if text.startswith("\ufeff") else 0)
    if text[position] != "{":
        _DECODER.raw_decode(text, position)
        raise BrokenPage("page is JSON, but no object")
    page: dict[str, Any] = {}
    position = _skip_blank(text, position + 1)
    while text[position] != "}":
        key, position = _read_key(text, position)
        if key == "files" and text[position] == "[":
            page[key], position = _read_elements(text, position)
        else:
            value, position = _DECODER.raw_decode(text, position)
            page[key] = None if key == "files" else value
        position = _next(text, position, "}")
    if text[position + 1 :].strip(_BLANKS):
        raise ValueError(f"text after the page (char {position + 1})")
    # PEP 629: a page that does not say has version 1.0.
    version = meta.get("api-version", "1.0") if isinstance(meta := page.get("meta", {}), dict) else meta
    if str(version).partition(".")[0] != "1":
        raise BrokenPage(f"page has meta.api-version {version!r:.80}, not 1.x")
    if page.get("files") is None:
        raise BrokenPage("page has no array 'files'")
    files: list[tuple[int, int, Any]] = page["files"]
    return files


def _read_elements(text: str, position: int) -> tuple[list[tuple[int, int, Any]], int]:
    """Elements of an array with their spans, and where the array ends."""
    elements: list[tuple[int, int, Any]] = []
    decode = _DECODER.raw_decode
    position = _skip_blank(text, position + 1)
    while text[position] != "]":
        value, end = decode(text, position)
        elements.append((position, end, value))
        position = _next(text, end, "]")
    return elements, position + 1


def _read_key(text: str, position: int) -> tuple[str, int]:
    """Read a member's name; say where its value begins."""
    key, position = _DECODER.raw_decode(text, position)
    position = _skip_blank(text, position)
    if not isinstance(key, str) or text[position] != ":":
        raise ValueError(f"expected a name and ':' (char {position})")
    return key, _skip_blank(text, position + 1)


def _next(text: str, position: int, closing: str) -> int:
    """Where the next member or element begins, or `closing` stands."""
    position = _skip_blank(text, position)
    if text[position] == closing:
        return position
    after = _skip_blank(text, position + 1)
    if text[position] != "," or text[after] == closing:
        raise ValueError(f"expected ',' or '{closing}' (char {position})")
    return after


def _skip_blank(text: str, position: int) -> int:
    while text[position] in _BLANKS:
        position += 1
    return position


def _url_span(text: str, start: int, end: int) -> tuple[int, int]:
    """Span of the content of a file's own `url`: of duplicates the last, never that of an object inside."""
    found = text.find('"url"', start, end)
    # With no escapes about, a name that stands there once stands there as the file's own.
    if text.find('"url"', found + 5, end) < 0 and text.find("\\", start, end) < 0:
        value = text.index('"', found + 5, end) + 1
        return value, text.index('"', value, end)
    span = (start, start)
    position = _skip_blank(text, start + 1)
    while text[position] != "}":
        key, value = _read_key(text, position)
        _, position = _DECODER.raw_decode(text, value)
        if key == "url":
            span = (value + 1, position - 1)
        position = _next(text, position, "}")
    return span


def _file_link(text: str, start: int, end: int, file: Mapping[str, Any]) -> PageLink:
    start, end = _url_span(text, start, end)
    # PEP 714: the new name wins where it is there.
    metadata = file.get("core-metadata")
    if metadata is None:
        metadata = file.get("dist-info-metadata")
    size = file.get("size")
    return PageLink(
        href=file["url"],
        start=start,
        end=end,
        filename=_text(file.get("filename")),
        hashes=_hashes(file.get("hashes")),
        core_metadata=(_hashes(metadata) or True) if metadata or metadata == {} else False,
        size=size if type(size) is int else None,
        upload_time=_text(file.get("upload-time")),
        yanked=yanked if isinstance(yanked := file.get("yanked"), str) and yanked else bool(yanked),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _hashes(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: digest for name, digest in value.items() if isinstance(digest, str)}
