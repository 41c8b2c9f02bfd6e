"""Removes files from a project page by editing its bytes; every byte of what stays survives, in its order.

In JSON (PEP 691) the file's object goes with one comma, and from PEP 700's `versions` go the entries that have no file left. In HTML
(PEP 503) the anchor element goes with the `<br>` that follows it, and its line where nothing else is on it.

Leaves out: which files to remove (the caller decides), list items and table rows around an anchor, which stay empty, and versions
that `packaging` cannot read, which stay too.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from packaging.version import Version

from pkgcache.rules.routing.filenames import version_of
from pkgcache.rules.simple.html_page import read_html
from pkgcache.rules.simple.html_tags import tags
from pkgcache.rules.simple.json_page import filename_of, read_json
from pkgcache.rules.simple.json_spans import Element, read_elements, read_value, walk_object, whole_element
from pkgcache.rules.simple.page_model import Kind, Page, PageLink, edit

type _Change = tuple[int, int, str]

_LINE_BREAK: Final = re.compile(r"[\t\n\r\f ]*+<br[\t\n\r\f ]*+/?>", re.IGNORECASE)
_NOT_ALONE: Final = -1
_MAX_UNREADABLE: Final = 16 * 1024  # characters of names whose version cannot be read: hundreds of files
_LINE_END: Final = re.compile(r"[ \t]*+(?:\r\n?|\n|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """A page after some of its files were removed."""

    body: bytes  # the very object that was given, if nothing was dropped
    dropped: int
    kept: int


def remove_files(body: bytes, kind: Kind, drop: Callable[[PageLink], bool]) -> Filtered:
    """Remove the files for which `drop` is true; it is called once for each link, in order.

    In HTML it is called for every anchor with an `href`, also for links to other pages. Raises BrokenPage for JSON that is no PEP 691
    page.
    """
    page = read_html(body) if kind == "html" else read_json(body)
    gone = [link.start for link in page.links if drop(link)]
    if not gone:
        return Filtered(body=body, dropped=0, kept=len(page.links))
    changes = _html_changes(page, gone) if kind == "html" else _json_changes(page, gone)
    return Filtered(body=edit(page, changes), dropped=len(gone), kept=len(page.links) - len(gone))


# JSON


def _json_changes(page: Page, gone: Sequence[int]) -> list[_Change]:
    """Edits that remove the files whose links begin at `gone`, in order, and the versions that have no file left."""
    arrays: dict[str, list[Element]] = {}

    def read_member(name: str, position: int) -> int:
        arrays.pop(name, None)  # of duplicates the last counts
        if name in {"files", "versions"} and page.text[position] == "[":
            arrays[name], end = read_elements(page.text, position, _named if name == "files" else whole_element)
            return end
        return read_value(page.text, position)[1]

    walk_object(page.text, page.text.index("{"), read_member)
    files = arrays["files"]
    dropped: set[int] = set()
    link = 0
    for index, (_, end, _) in enumerate(files):
        if link < len(gone) and gone[link] < end:
            dropped.add(index)
            link += 1
    changes = without(files, dropped)
    if versions := arrays.get("versions"):
        names = [name for _, _, name in files]
        left = _versions_left([names[index] for index in dropped], [n for i, n in enumerate(names) if i not in dropped])
        changes += without(versions, {index for index, (_, _, value) in enumerate(versions) if not left(value)})
    return changes


def _named(_text: str, start: int, end: int, file: Any) -> Element:
    """What is needed of a file's object: its name."""
    return start, end, filename_of(file)


def without(elements: Sequence[Element], dropped: set[int]) -> list[_Change]:
    """Edits that remove the elements with these indexes from an array.

    Each goes with one comma: the one behind it, or for those at the array's end the one before.

    >>> without([(1, 2, "a"), (3, 4, "b"), (5, 6, "c")], {0, 2})
    [(1, 3, ''), (4, 6, '')]
    """
    changes: list[_Change] = []
    index = 0
    while index < len(elements):
        behind = index
        while behind in dropped:
            behind += 1
        if behind == index:
            index += 1
            continue
        if behind < len(elements):
            changes.append((elements[index][0], elements[behind][0], ""))
        else:
            begin = elements[index - 1][1] if index else elements[0][0]
            changes.append((begin, elements[-1][1], ""))
        index = behind
    return changes


def _versions_left(dropped: Sequence[str], kept: Sequence[str]) -> Callable[[object], bool]:
    """A test of an entry of `versions` (PEP 700): it goes when all of its files went.

    An entry that had no file before stays. So does one that is part of the name of a kept file whose version cannot be read
    (`six-1.0.win32.exe`).
    """
    known: dict[str, Version] = {}
    gone = {version for name in dropped if (version := version_of(name, known))}
    unreadable: list[str] = []
    for name in kept:
        version = version_of(name, known)
        if version is None:
            unreadable.append(name)
        else:
            gone.discard(version)
    # Each entry of a gone version is looked for in all of these names: beyond some, no entry goes.
    unreadable_names = "\n".join(unreadable)
    too_many = len(unreadable_names) > _MAX_UNREADABLE

    def stays(entry: object) -> bool:
        if not isinstance(entry, str):
            return True
        try:
            return Version(entry) not in gone or too_many or entry in unreadable_names
        except ValueError:
            return True

    return stays


# HTML


def _html_changes(page: Page, gone: Sequence[int]) -> list[_Change]:
    """Edits that remove the anchors whose links begin at `gone`, in order."""
    changes: list[_Change] = []
    line = 0
    for start, end in _anchors(page.text, gone):
        begin, behind, line = _with_layout(page.text, start, end, line)
        # A `<` right before the anchor was plain text; together with what follows now it could begin a tag.
        changes.append((begin, behind, " " if page.text[begin - 1 : begin] == "<" else ""))
    return changes


def _anchors(text: str, gone: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Spans of the anchor elements whose `href` begins at `gone`, up to `</a>`; without one, to the end of the anchor's text."""
    hrefs = iter(gone)
    href = next(hrefs, None)
    opened: re.Match[str] | None = None
    for token in tags(text):
        if opened and text[token.start() : token.start() + 3] in {"</a", "</A"} and token[0][3] in "\t\n\r\f />":
            yield opened.start(), token.end()
            opened = None
        elif token[1] in {"a", "A"}:
            if opened:
                yield opened.start(), _end_of_text(text, opened.end())
            opened = token if href is not None and token.start() < href < token.end() else None
            href = next(hrefs, None) if opened else href
        if href is None and opened is None:
            return
    if opened:
        yield opened.start(), _end_of_text(text, opened.end())


def _end_of_text(text: str, start: int) -> int:
    end = text.find("<", start)
    return start + len(text[start : end if end >= 0 else None].rstrip())


def _with_layout(text: str, start: int, end: int, line: int) -> tuple[int, int, int]:
    """Widen an anchor's span by its `<br>`, and to the whole line where nothing else is on it.

    Returns the span, and the `line` for the next call: where the rest of a line begins whose beginning was removed, or _NOT_ALONE.
    """
    if line_break := _LINE_BREAK.match(text, end):
        end = line_break.end()
    begin = start
    while begin > max(line, 0) and text[begin - 1] in " \t":
        begin -= 1
    if begin != line and text[begin - 1] not in "\r\n":
        return start, end, _NOT_ALONE
    if line_end := _LINE_END.match(text, end):
        return begin, line_end.end(), line_end.end()
    return (begin if begin == line else start), end, end
