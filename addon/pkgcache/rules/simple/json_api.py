"""Reads and edits documents of the older JSON API: `/pypi/<project>/json` and `/pypi/<project>/<version>/json`.

An upstream's document is treated like a project page: its files' links are rewritten and files can be removed, by editing only those
bytes. Files are the elements of `urls` and of each array in `releases`.

Leaves out: making a document for an index that has none (`json_api_build`), and what `info` says, which passes unchanged.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pkgcache.rules.simple.json_page import filename_of, is_file, json_or_broken, read_hashes, text_of, walk_page
from pkgcache.rules.simple.json_spans import Element, read_elements, read_value, string_span, walk_object, whole_element
from pkgcache.rules.simple.limits import MAX_LINKS
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import BrokenPage, Page, PageLink, Rewritten, edit
from pkgcache.rules.simple.removal import Filtered, without
from pkgcache.rules.simple.rewriting import rewrite_page


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A decoded document: its files as links, in order, and the arrays that they are in."""

    page: Page
    arrays: tuple[tuple[Element, ...], ...]


def read_document(body: bytes) -> Document:
    """Find the files of a document, those of `urls` and of each of `releases`. Raises BrokenPage."""
    text, arrays = json_or_broken(body, _read_arrays)
    links = [
        _DocumentLink(file["url"], *string_span(text, start, end, "url"), file)
        for elements in arrays
        for start, end, file in elements
        if is_file(file)
    ]
    page = Page(text=text, encoding="utf-8", links=tuple(links))
    return Document(page=page, arrays=tuple(map(tuple, arrays)))


def rewrite_document(body: bytes, context: PageContext) -> Rewritten:
    """Make each file's link arrive at the cache, like `rewrite` does for a page. Raises BrokenPage."""
    return rewrite_page(read_document(body).page, body, "json", context)


def remove_files_of_document(body: bytes, drop: Callable[[PageLink], bool]) -> Filtered:
    """Remove the files for which `drop` is true, called once for each. Raises BrokenPage.

    `info` stays as it is, and a release that has lost all of its files stays as an empty array.
    """
    document = read_document(body)
    gone = {link.start for link in document.page.links if drop(link)}
    if not gone:
        return Filtered(body=body, dropped=0, kept=len(document.page.links))
    changes = []
    for elements in document.arrays:
        dropped = {
            index
            for index, (start, end, value) in enumerate(elements)
            if is_file(value) and string_span(document.page.text, start, end, "url")[0] in gone
        }
        changes += without(elements, dropped)
    return Filtered(body=edit(document.page, changes), dropped=len(gone), kept=len(document.page.links) - len(gone))


def _read_arrays(text: str) -> list[list[Element]]:
    """The arrays of files. BrokenPage for an object without `info`, which every project's document has."""
    names: set[str] = set()
    arrays: list[list[Element]] = []
    files = 0

    def read_array(_: str, position: int) -> int:
        nonlocal files
        if text[position] != "[":
            return read_value(text, position)[1]
        elements, end = read_elements(text, position, whole_element)
        arrays.append(elements)
        files += len(elements)
        if files > MAX_LINKS:
            raise BrokenPage(f"it has more than {MAX_LINKS:,} files")
        return end

    def read_member(name: str, position: int) -> int:
        names.add(name)
        if name == "urls":
            return read_array(name, position)
        if name == "releases" and text[position] == "{":
            return walk_object(text, position, read_array)
        return read_value(text, position)[1]

    walk_page(text, read_member)
    if "info" not in names:
        raise BrokenPage("JSON, but no project's document")
    return arrays


class _DocumentLink(NamedTuple):
    """A file's object of the older API as a `PageLink`. It never says whether the metadata file exists."""

    href: str
    start: int
    end: int
    file: Mapping[str, Any]

    @property
    def filename(self) -> str:
        return filename_of(self.file)

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
        return text_of(self.file.get("upload_time_iso_8601"))

    @property
    def yanked(self) -> bool | str:
        return text_of(self.file.get("yanked_reason")) or bool(self.file.get("yanked"))
