"""JSON texts with places: members and elements by the standard library's scanner, each value with its span.

Raises ValueError, IndexError or RecursionError for what is no JSON, as far as it is read. Leaves out: what a value means.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final

type Element = tuple[int, int, Any]
"""Where a value begins and ends, and what it is."""

_BLANKS: Final = " \t\n\r"
_COMMA: Final = re.compile(r"[ \t\n\r]*+,[ \t\n\r]*+(?!\])")
_DECODER: Final = json.JSONDecoder()
_SCAN: Final[Callable[[str, int], tuple[Any, int]]] = _DECODER.scan_once  # type: ignore[attr-defined]
read_value: Final = _DECODER.raw_decode
"""The value that begins at a place, and where it ends."""


def skip_blank(text: str, position: int) -> int:
    """Where what is no white space begins."""
    while text[position] in _BLANKS:
        position += 1
    return position


def parse_key(text: str, position: int) -> tuple[str, int]:
    """Read a member's name; say where its value begins."""
    key, position = read_value(text, position)
    position = skip_blank(text, position)
    if not isinstance(key, str) or text[position] != ":":
        raise ValueError(f"expected a name and ':' (char {position})")
    return key, skip_blank(text, position + 1)


def following(text: str, position: int, closing: str) -> int:
    """Where the next member or element begins, or `closing` stands."""
    position = skip_blank(text, position)
    if text[position] == closing:
        return position
    after = skip_blank(text, position + 1)
    if text[position] != "," or text[after] == closing:
        raise ValueError(f"expected ',' or '{closing}' (char {position})")
    return after


def read_elements(text: str, position: int) -> tuple[list[Element], int]:
    """Elements of the array that begins at `position`, and where it ends."""
    elements: list[Element] = []
    scan, comma = _SCAN, _COMMA.match
    position = skip_blank(text, position + 1)
    if text[position] == "]":
        return elements, position + 1
    while True:
        try:
            value, end = scan(text, position)
        except StopIteration as stop:
            raise ValueError(f"expected a value (char {stop.value})") from None
        elements.append((position, end, value))
        if (found := comma(text, end)) is None:
            return elements, following(text, end, "]") + 1
        position = found.end()


def string_span(text: str, start: int, end: int, name: str) -> tuple[int, int]:
    """Span of the content of an object's own string member `name`: of duplicates the last, never that of an object inside.

    The object, at `start` to `end`, was read before and has such a member.
    """
    quoted = f'"{name}"'
    found = text.find(quoted, start, end)
    behind = found + len(quoted)
    # With no escapes about, a name that stands there once stands there as the object's own.
    if text.find(quoted, behind, end) < 0 and text.find("\\", start, end) < 0:
        value = text.index('"', behind, end) + 1
        return value, text.index('"', value, end)
    span = (start, start)
    position = skip_blank(text, start + 1)
    while text[position] != "}":
        key, value = parse_key(text, position)
        _, position = read_value(text, value)
        if key == name:
            span = (value + 1, position - 1)
        position = following(text, position, "}")
    return span


def check_end(text: str, position: int) -> None:
    """That nothing follows."""
    if text[position:].strip(_BLANKS):
        raise ValueError(f"text after the page (char {position})")
