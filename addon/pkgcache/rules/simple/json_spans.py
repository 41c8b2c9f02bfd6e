"""JSON with places: walks an object or an array by the standard library's scanner, and gives each value with its span.

No library is used: a page is edited in place so that every byte that is no link survives, and JSON parsers give values without their
places. The standard library's scanner, called value by value, gives both at the speed of its C code.

All functions raise ValueError, IndexError (the text is cut short) or RecursionError for what is not JSON, as far as they read; also
ValueError for an array or object of more than MAX_LINKS elements. Leaves out: what a value means.
"""

import json
import re
from collections.abc import Callable, Collection
from typing import Any, Final

from pkgcache.rules.simple.limits import MAX_LINKS

type Element = tuple[int, int, Any]
"""Where a value begins and ends, and the value."""

type Span = tuple[int, int]

type ElementReader[T] = Callable[[str, int, int, Any], T]
"""Given the text, where an element begins and ends, and its value, returns what is kept of it."""

type MemberReader = Callable[[str, int], int]
"""Given a member's name and where its value begins, returns where the value ends."""

_BLANKS: Final = " \t\n\r"
_COMMA: Final = re.compile(r"[ \t\n\r]*+,[ \t\n\r]*+(?!\])")
_DECODER: Final = json.JSONDecoder()
# `raw_decode` without its Python frame: it is called once for each of 8,000 files.
_SCAN: Final[Callable[[str, int], tuple[Any, int]]] = _DECODER.scan_once  # type: ignore[attr-defined]
read_value: Final = _DECODER.raw_decode
"""The value that begins at a position, and where it ends."""


def skip_blank(text: str, position: int) -> int:
    """The position of the next character that is not white space."""
    while text[position] in _BLANKS:
        position += 1
    return position


def walk_object(text: str, position: int, read_member: MemberReader) -> int:
    """Walk the object that begins at `position`, member by member; return where it ends.

    >>> names = []
    >>> walk_object('{"a": 1, "b": [2]}', 0, lambda name, at: names.append((name, at)) or read_value('{"a": 1, "b": [2]}', at)[1])
    18
    >>> names
    [('a', 6), ('b', 14)]
    """
    members = 0
    position = skip_blank(text, position + 1)
    while text[position] != "}":
        members += 1
        if members > MAX_LINKS:
            raise ValueError(f"an object of more than {MAX_LINKS:,} members")
        name, position = _read_name(text, position)
        position = _next(text, read_member(name, position), "}")
    return position + 1


def whole_element(_text: str, start: int, end: int, value: Any) -> Element:
    """Keep all of an element."""
    return start, end, value


def read_elements[T](text: str, position: int, read: ElementReader[T]) -> tuple[list[T], int]:
    """What `read` keeps of each element of the array that begins at `position`, and where the array ends.

    >>> read_elements("[1, {}]", 0, whole_element)
    ([(1, 2, 1), (4, 6, {})], 7)
    """
    elements: list[T] = []
    scan, comma = _SCAN, _COMMA.match
    position = skip_blank(text, position + 1)
    if text[position] == "]":
        return elements, position + 1
    while True:
        try:
            value, end = scan(text, position)
        except StopIteration as stop:
            raise ValueError(f"expected a value (char {stop.value})") from None
        elements.append(read(text, position, end, value))
        if len(elements) > MAX_LINKS:
            raise ValueError(f"an array of more than {MAX_LINKS:,} elements")
        if (found := comma(text, end)) is None:
            return elements, _next(text, end, "]") + 1
        position = found.end()


def string_span(text: str, start: int, end: int, name: str) -> tuple[int, int]:
    """The span of the content of an object's own string member `name`: of duplicates the last, never one of a nested object.

    The object, at `start` to `end`, was read before and has such a member.

    >>> string_span('{"in": {"url": "x"}, "url": "y"}', 0, 32, "url")
    (29, 30)
    """
    quoted = f'"{name}"'
    found = text.find(quoted, start, end)
    behind = found + len(quoted)
    # Without escapes, a quoted name that occurs only once is the object's own: the object has such a member.
    if text.find(quoted, behind, end) < 0 and text.find("\\", start, end) < 0:
        value = text.index('"', behind, end) + 1
        return value, text.index('"', value, end)
    span = (start, start)

    def read_member(found: str, position: int) -> int:
        nonlocal span
        _, end = read_value(text, position)
        if found == name:
            span = (position + 1, end - 1)
        return end

    walk_object(text, start, read_member)
    return span


def member_spans(text: str, position: int, names: Collection[str]) -> dict[str, list[Span]]:
    """The spans of an object's own members of these names, duplicates included.

    >>> member_spans('{"a": 1, "b": [2], "a": 3}', 0, ["a", "c"])
    {'a': [(6, 7), (24, 25)], 'c': []}
    """
    found: dict[str, list[Span]] = {name: [] for name in names}

    def read_member(name: str, start: int) -> int:
        end = read_value(text, start)[1]
        if name in found:
            found[name].append((start, end))
        return end

    walk_object(text, position, read_member)
    return found


def check_end(text: str, position: int) -> None:
    """Raise ValueError if anything but white space follows."""
    if text[position:].strip(_BLANKS):
        raise ValueError(f"text after the page (char {position})")


def _read_name(text: str, position: int) -> tuple[str, int]:
    """A member's name, and where its value begins."""
    name, position = read_value(text, position)
    position = skip_blank(text, position)
    if not isinstance(name, str) or text[position] != ":":
        raise ValueError(f"expected a name and ':' (char {position})")
    return name, skip_blank(text, position + 1)


def _next(text: str, position: int, closing: str) -> int:
    """Where the next member or element begins, or where `closing` stands."""
    position = skip_blank(text, position)
    if text[position] == closing:
        return position
    after = skip_blank(text, position + 1)
    if text[position] != "," or text[after] == closing:
        raise ValueError(f"expected ',' or '{closing}' (char {position})")
    return after
