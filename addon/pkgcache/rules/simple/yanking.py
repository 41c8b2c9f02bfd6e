"""Marks files of a project page as yanked (PEP 592) by editing its bytes; every other byte survives.

In JSON (PEP 691) a file's `yanked` becomes the reason, in HTML (PEP 503) the anchor's `data-yanked`. In a document of the older JSON API
it is `yanked` and `yanked_reason`, in `info` too where the files of its own release are marked: poetry goes by that. The reason of the
index, if it had one, stands behind ours.

Leaves out: which files to mark, and why (the caller decides).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pkgcache.rules.simple.html_page import escape_html, read_html
from pkgcache.rules.simple.html_tags import attribute_spans, tags
from pkgcache.rules.simple.json_api import read_document
from pkgcache.rules.simple.json_page import is_file, json_or_broken, read_page
from pkgcache.rules.simple.json_spans import Element, member_spans, read_value, walk_object, whole_element
from pkgcache.rules.simple.page_model import Kind, Page, PageLink, edit

type _Change = tuple[int, int, str]

type Reasons = Mapping[str, str]
"""Why files are to be marked, by file name."""


def mark_yanked(body: bytes, kind: Kind, reasons: Reasons) -> bytes:
    """A project page with the files of these names marked; the very object that was given if it has none. Raises BrokenPage."""
    if kind == "html":
        page = read_html(body)
        changes = list(_html_changes(page, reasons))
    else:
        text, (_, elements) = json_or_broken(body, lambda text: read_page(text, whole_element))
        page = Page(text=text, encoding="utf-8", links=())
        changes = [change for element in elements for change in _json_changes(text, element, reasons)]
    return edit(page, changes) if changes else body


def mark_yanked_in_document(body: bytes, reasons: Reasons) -> bytes:
    """A document of the older JSON API with the files of these names marked as yanked. Raises BrokenPage."""
    document = read_document(body)
    text = document.page.text
    changes: list[_Change] = []
    for elements in document.arrays:
        for start, _, file in elements:
            if is_file(file) and (reason := _reason(reasons, file, file.get("yanked_reason"))):
                changes += _members(text, start, {"yanked": True, "yanked_reason": reason})
    changes += _info_changes(text, reasons)
    return edit(document.page, changes) if changes else body


def _reason(reasons: Reasons, file: Mapping[str, Any], before: object) -> str:
    """Ours, and behind it the index's; '' where the file is not to be marked."""
    name = file.get("filename")
    reason = reasons.get(name, "") if isinstance(name, str) else ""
    return f"{reason}; {before}" if reason and isinstance(before, str) and before else reason


# JSON


def _json_changes(text: str, element: Element, reasons: Reasons) -> list[_Change]:
    start, _, file = element
    if not is_file(file) or not (reason := _reason(reasons, file, file.get("yanked"))):
        return []
    return _members(text, start, {"yanked": reason})


def _members(text: str, start: int, values: Mapping[str, Any]) -> list[_Change]:
    """Edits that give an object's members these values; one that is missing comes first in it, before the member that each has."""
    found = member_spans(text, start, values.keys())
    written = {name: json.dumps(value) for name, value in values.items()}
    changes = [(*span, written[name]) for name, spans in found.items() for span in spans]
    missing = "".join(f"{json.dumps(name)}: {value}, " for name, value in written.items() if not found[name])
    return [*changes, (start + 1, start + 1, missing)] if missing else changes


def _info_changes(text: str, reasons: Reasons) -> list[_Change]:
    """Edits of `info` where files of its own release, which are in `urls`, are marked."""
    places: dict[str, tuple[int, Any]] = {}

    def read_member(name: str, position: int) -> int:
        value, end = read_value(text, position)
        if name in {"info", "urls"}:
            places[name] = position, value
        return end

    walk_object(text, text.index("{"), read_member)
    start, info = places["info"]
    urls = places["urls"][1] if "urls" in places else None
    if not isinstance(info, dict) or not info or not isinstance(urls, list):
        return []
    for file in urls:
        if is_file(file) and (reason := _reason(reasons, file, None)):
            before = info.get("yanked_reason")
            reason = f"{reason}; {before}" if isinstance(before, str) and before else reason
            return _members(text, start, {"yanked": True, "yanked_reason": reason})
    return []


# HTML


def _html_changes(page: Page, reasons: Reasons) -> Iterator[_Change]:
    marked = {link.start: (link, reason) for link in page.links if (reason := reasons.get(link.filename))}
    if not marked:
        return
    for tag in tags(page.text):
        if tag[1] not in {"a", "A"}:
            continue
        spans = attribute_spans(page.text, tag)
        behind = next(((end, place) for _, end, place in spans.get("href", ()) if place in marked), None)
        if behind is None:
            continue
        link, reason = marked[behind[1]]
        written = f'data-yanked="{escape_html(_with_before(reason, link))}"'
        old = spans.get("data-yanked", ())
        yield from ((start, end, written) for start, end, _ in old)
        if not old:
            yield behind[0], behind[0], f" {written}"


def _with_before(reason: str, link: PageLink) -> str:
    return f"{reason}; {link.yanked}" if isinstance(link.yanked, str) and link.yanked else reason
