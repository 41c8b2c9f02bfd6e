"""Leave files out of a project page by editing its bytes: every byte of what stays survives, in its order.

What goes, goes whole. JSON (PEP 691): the file's object with one comma, and from PEP 700's `versions` the entries whose every file
went. HTML (PEP 503): the anchor element with the `<br>` behind it, and its line where it has one to itself.

Leaves out: which files those are (the caller's `drop` says), list items and table rows around an anchor, which stay empty, and
versions that `packaging` cannot read, which stay too.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from packaging.version import InvalidVersion, Version

from pkgcache.rules.routing.filenames import version_of
from pkgcache.rules.simple.html_page import read_html
from pkgcache.rules.simple.html_tags import tags
from pkgcache.rules.simple.json_page import read_json
from pkgcache.rules.simple.page_model import Page, PageLink, edit

type _Change = tuple[int, int, str]
type _Element = tuple[int, int, Any]  # span in the text, and what is to be known of the value

_BETWEEN: Final = re.compile(r"[ \t\n\r]*+[,:]?+[ \t\n\r]*+")
_DECODER: Final = json.JSONDecoder()
_LINE_BREAK: Final = re.compile(r"[\t\n\r\f ]*+<br[\t\n\r\f ]*+/?>", re.IGNORECASE)
_NOT_ALONE: Final = -1
_LINE_END: Final = re.compile(r"[ \t]*+(?:\r\n?|\n|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """A page without some of its files."""

    body: bytes  # the very object that was given, if nothing was dropped
    dropped: int
    kept: int


def remove_files(body: bytes, kind: Literal["html", "json"], drop: Callable[[PageLink], bool]) -> Filtered:
    """Leave out the files of which `drop` says so; it is asked once for each link, in order.

    In HTML it is asked about every anchor with an `href`, those to other pages too. BrokenPage for JSON that is no PEP 691 page.
    """
    page = read_html(body) if kind == "html" else read_json(body)
    gone = [link.start for link in page.links if drop(link)]
    if not gone:
        return Filtered(body=body, dropped=0, kept=len(page.links))
    changes = _html_changes(page, gone) if kind == "html" else _json_changes(page, gone)
    return Filtered(body=edit(page, changes), dropped=len(gone), kept=len(page.links) - len(gone))


# JSON


def _json_changes(page: Page, gone: Sequence[int]) -> list[_Change]:
    """Edits that leave out the files whose links begin at `gone`, in order, and the versions that went with them."""
    arrays = _arrays(page.text)
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


def _arrays(text: str) -> dict[str, list[_Element]]:
    """The elements of `files` and `versions` of a page that `read_json` has read, which makes it known to be right."""
    arrays: dict[str, list[_Element]] = {}
    position = _skip(text, text.index("{") + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, position)
        arrays.pop(key, None)  # of duplicates the last counts
        if key in {"files", "versions"} and text[position] == "[":
            arrays[key], position = _elements(text, position, _filename if key == "files" else _itself)
        else:
            _, position = _DECODER.raw_decode(text, position)
        position = _skip(text, position)
    return arrays


def _elements(text: str, position: int, read: Callable[[Any], Any]) -> tuple[list[_Element], int]:
    elements: list[_Element] = []
    decode = _DECODER.raw_decode
    position = _skip(text, position + 1)
    while text[position] != "]":
        value, end = decode(text, position)
        elements.append((position, end, read(value)))  # of 8,000 files all but the name would keep the collector busy
        position = _skip(text, end)
    return elements, position + 1


def _skip(text: str, position: int) -> int:
    match = _BETWEEN.match(text, position)
    return match.end() if match else position


def _filename(file: object) -> str:
    name = file.get("filename") if isinstance(file, dict) else None
    return name if isinstance(name, str) else ""


def _itself(value: Any) -> Any:
    return value


def without(elements: Sequence[_Element], dropped: set[int]) -> list[_Change]:
    """Edits that leave elements out of an array, each with one comma: the one behind it, for the last ones the one before."""
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
    """Say of an entry of `versions` (PEP 700) whether it stays: unless all of its files went.

    Entries without any file were so before and stay. So does one that stands in the name of a kept file whose version
    nobody can read (`six-1.0.win32.exe`).
    """
    known: dict[str, Version] = {}
    gone = {version for name in dropped if (version := version_of(name, known))}
    odd: list[str] = []
    for name in kept:
        version = version_of(name, known)
        if version is None:
            odd.append(name)
        else:
            gone.discard(version)
    unread = "\n".join(odd)

    def stays(entry: object) -> bool:
        if not isinstance(entry, str):
            return True
        try:
            return Version(entry) not in gone or entry in unread
        except InvalidVersion:
            return True

    return stays


# HTML


def _html_changes(page: Page, gone: Sequence[int]) -> list[_Change]:
    """Edits that leave out the anchors whose links begin at `gone`, in order."""
    changes: list[_Change] = []
    line = 0
    for start, end in _anchors(page.text, gone):
        begin, behind, line = _laid_out(page.text, start, end, line)
        # `<` is text where an anchor follows, and must not begin a tag with what follows now.
        changes.append((begin, behind, " " if page.text[begin - 1 : begin] == "<" else ""))
    return changes


def _anchors(text: str, gone: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Spans of the anchor elements whose `href` begins at `gone`: to their `</a>`, else to the end of the text in them."""
    wanted = iter(gone)
    href = next(wanted, None)
    opened: re.Match[str] | None = None
    for token in tags(text):
        if opened and text[token.start() : token.start() + 3] in {"</a", "</A"} and token[0][3] in "\t\n\r\f />":
            yield opened.start(), token.end()
            opened = None
        elif token[1] in {"a", "A"}:
            if opened:
                yield opened.start(), _end_of_text(text, opened.end())
            opened = token if href is not None and token.start() < href < token.end() else None
            href = next(wanted, None) if opened else href
        if href is None and opened is None:
            return
    if opened:
        yield opened.start(), _end_of_text(text, opened.end())


def _end_of_text(text: str, start: int) -> int:
    end = text.find("<", start)
    return start + len(text[start : end if end >= 0 else None].rstrip())


def _laid_out(text: str, start: int, end: int, line: int) -> tuple[int, int, int]:
    """Widen an anchor's span by its `<br>`, and to the whole line where it stands alone; and say how the line goes on.

    `line`, given and returned: where the rest of a line begins of which all before was left out, else _NOT_ALONE.
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
