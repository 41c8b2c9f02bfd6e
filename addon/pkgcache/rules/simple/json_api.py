"""The older JSON API's documents, `/pypi/<project>/json` and `/pypi/<project>/<version>/json`: read, edited, and made where there are none.

An upstream's document has its files' links put right like a page's, only those bytes edited, and files left out like a page's. For an
index that has `simple/` alone the document is made of its page (PEP 691, 592, 700) and a wheel's core metadata (PEP 566, 658), with
the members that clients read: poetry asks for them, and locks what they say.

Leaves out: vulnerabilities, download figures, the web pages' addresses, the long description, and what no page tells (`md5_digest`
without an MD5). A release that has no wheel has `requires_dist: null`, which tells a client to look into the files itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pkgcache.rules.simple.json_page import json_or_broken, read_hashes
from pkgcache.rules.simple.json_spans import (
    Element,
    check_end,
    following,
    parse_key,
    read_elements,
    read_value,
    skip_blank,
    string_span,
)
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import BrokenPage, Page, PageLink, Rewritten, edit
from pkgcache.rules.simple.removal import Filtered, without
from pkgcache.rules.simple.rewriting import rewrite_page


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A decoded document, the links of its files in order, and the arrays that they stand in."""

    page: Page
    arrays: tuple[tuple[Element, ...], ...]


def read_document(body: bytes) -> Document:
    """Find the files of a document, those of `urls` and of each of `releases`. BrokenPage if it is none."""
    text, arrays = json_or_broken(body, _read_top)
    links = [
        _File(file["url"], *string_span(text, start, end, "url"), file)
        for elements in arrays
        for start, end, file in elements
        if _is_file(file)
    ]
    page = Page(text=text, encoding="utf-8", links=tuple(links))
    return Document(page=page, arrays=tuple(map(tuple, arrays)))


def _read_top(text: str) -> list[list[Element]]:
    """Walk the top-level object; give the arrays of files."""
    position = skip_blank(text, 1 if text.startswith("\ufeff") else 0)
    if text[position] != "{":
        read_value(text, position)
        raise BrokenPage("JSON, but no project's document")
    names: set[str] = set()
    arrays: list[list[Element]] = []
    position = skip_blank(text, position + 1)
    while text[position] != "}":
        key, position = parse_key(text, position)
        names.add(key)
        position = _read_member(text, key, position, arrays)
        position = following(text, position, "}")
    check_end(text, position + 1)
    if "info" not in names:
        raise BrokenPage("JSON, but no project's document")
    return arrays


def _read_member(text: str, key: str, position: int, arrays: list[list[Element]]) -> int:
    """Go over a member's value, and take the arrays of files in it: where it ends."""
    if key == "urls" and text[position] == "[":
        elements, position = read_elements(text, position)
        arrays.append(elements)
        return position
    if key != "releases" or text[position] != "{":
        return read_value(text, position)[1]
    position = skip_blank(text, position + 1)
    while text[position] != "}":
        _, position = parse_key(text, position)
        if text[position] == "[":
            elements, position = read_elements(text, position)
            arrays.append(elements)
        else:
            position = read_value(text, position)[1]
        position = following(text, position, "}")
    return position + 1


def rewrite_document(body: bytes, context: PageContext) -> Rewritten:
    """As `pages.rewrite`, for a document. Raises BrokenPage."""
    return rewrite_page(read_document(body).page, body, "json", context)


def remove_files_of_document(body: bytes, drop: Callable[[PageLink], bool]) -> Filtered:
    """As `filters.leave_out`, for a document. What `info` says stays, and so does a release without files. Raises BrokenPage."""
    document = read_document(body)
    gone = {link.start for link in document.page.links if drop(link)}
    if not gone:
        return Filtered(body=body, dropped=0, kept=len(document.page.links))
    changes = []
    for elements in document.arrays:
        dropped = {
            index
            for index, (start, end, value) in enumerate(elements)
            if _is_file(value) and string_span(document.page.text, start, end, "url")[0] in gone
        }
        changes += without(elements, dropped)
    return Filtered(body=edit(document.page, changes), dropped=len(gone), kept=len(document.page.links) - len(gone))


def _is_file(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("url"), str) and value["url"] != ""


class _File(NamedTuple):
    """A PageLink of a document."""

    href: str
    start: int
    end: int
    file: Mapping[str, Any]

    @property
    def filename(self) -> str:
        return _filename(self.file)

    @property
    def hashes(self) -> Mapping[str, str]:
        return read_hashes(self.file.get("digests"))

    @property
    def core_metadata(self) -> bool:
        return False

    @property
    def size(self) -> int | None:
        size = self.file.get("size")
        return size if type(size) is int else None

    @property
    def upload_time(self) -> str:
        uploaded = self.file.get("upload_time_iso_8601")
        return uploaded if isinstance(uploaded, str) else ""

    @property
    def yanked(self) -> bool | str:
        return self.file.get("yanked_reason") or bool(self.file.get("yanked"))


# Made of a page


def _filename(file: Mapping[str, Any]) -> str:
    filename = file.get("filename")
    return filename if isinstance(filename, str) else ""
