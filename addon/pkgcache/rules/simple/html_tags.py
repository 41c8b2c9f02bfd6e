"""Cuts HTML into tags, and tags into attributes with their spans: the one reader of HTML here, for rewriting and for removal.

It follows the HTML standard, §13.2.5, as `html.parser` does since Python 3.13.6. It is not `html.parser` itself (nor another library),
because edits in place need the span of each attribute's value, and those parsers give only values. Text is bytes decoded as Latin-1,
so that spans are byte offsets and every byte survives. All patterns are possessive: no page makes them backtrack.

Leaves out: character sets other than UTF-8, the escaped states of scripts, CDATA outside of `<![CDATA[`, and quoted `>` in end tags.
"""

import html
import re
from collections.abc import Iterator, Mapping
from html.entities import html5
from typing import Final

type Value = tuple[str, int, int]
"""An attribute's value, decoded, and where it begins and ends without its quotes."""

type Attributes = Mapping[str, Value | None]
"""Values by name in lower case; None for an attribute without a value."""

_SPACE: Final = r"[\t\n\r\f ]"
_ATTRIBUTE: Final = (
    r"([^\t\n\r\f />][^\t\n\r\f />=]*+)"
    rf"(?:{_SPACE}*+={_SPACE}*+(\"[^\"]*+\"|'[^']*+'|(?![\"'])[^\t\n\r\f >]*+)|(?!{_SPACE}*+=))"
)
_UNGROUPED: Final = _ATTRIBUTE.replace("([", "(?:[").replace(r"(\"", r"(?:\"")
TAG: Final = re.compile(
    r"<!--(?:-?>|(?:[^-]++|-(?!-!?>))*+--!?>)"
    r"|<!\[CDATA\[(?:[^\]]++|\](?!\]>))*+\]\]>"
    r"|<(?:/|\?|!(?!--|\[CDATA\[))[^>]*+>"
    rf"|<([a-zA-Z][^\t\n\r\f />]*+)((?:[\t\n\r\f ]++|/(?!>)|{_UNGROUPED})*+)(/?)>"
    r"|<([a-zA-Z/?!])",
)
"""Groups: 1 a start tag's name, 2 its attributes, 3 its closing slash; 4 matches where a tag has no end."""

_ATTRIBUTES: Final = re.compile(_ATTRIBUTE)
_RAW_TEXT: Final = frozenset(
    {"script", "style", "title", "textarea", "iframe", "noembed", "noframes", "xmp", "plaintext"}
)
_CHARACTER_REFERENCE: Final = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*)[;=]?")
_MOST_DIGITS: Final = 8  # of a character's number, 1114111 in decimals, with the sign behind it


def tags(text: str) -> Iterator[re.Match[str]]:
    """Yield tags, comments and declarations, as matches of TAG. Group 1 is None for all but start tags.

    The contents of raw-text elements such as `<script>` are skipped, and so is all that follows a tag without an end, as browsers do.
    """
    position = 0
    while True:
        for tag in TAG.finditer(text, position):
            if tag[4]:
                return
            yield tag
            if (name := tag[1]) and len(name) > 1 and (name := name.lower()) in _RAW_TEXT and not tag[3]:
                end = re.compile(rf"</{name}(?=[\t\n\r\f />])", re.IGNORECASE).search(text, tag.end())
                if end is None or name == "plaintext":
                    return
                position = end.start()
                break
        else:
            return


def attributes(text: str, tag: re.Match[str]) -> list[tuple[str, Value | None]]:
    """The attributes of a start tag, in order, duplicates included.

    >>> text = "<a href='x' download>"
    >>> attributes(text, next(tags(text)))
    [('href', ('x', 9, 10)), ('download', None)]
    """
    found: list[tuple[str, Value | None]] = []
    for match in _ATTRIBUTES.finditer(text, *tag.span(2)):
        start, end = match.span(2)
        if start < 0:
            found.append((match[1].lower(), None))
            continue
        value = match[2]
        if start < end and value[0] in "\"'":
            start, end, value = start + 1, end - 1, value[1:-1]
        found.append((match[1].lower(), (decode(value), start, end)))
    return found


def read_attributes(text: str, tag: re.Match[str]) -> dict[str, Value | None]:
    """The attributes of a start tag by name. Of duplicates the last counts, as for pip (for browsers it is the first)."""
    return dict(attributes(text, tag))


def attribute_spans(text: str, tag: re.Match[str]) -> dict[str, list[tuple[int, int, int]]]:
    """Where a start tag's attributes begin and end as a whole, and where their values begin (-1 without one); duplicates included.

    >>> text = "<a href='x' download>"
    >>> attribute_spans(text, next(tags(text)))
    {'href': [(3, 11, 9)], 'download': [(12, 20, -1)]}
    """
    found: dict[str, list[tuple[int, int, int]]] = {}
    for match in _ATTRIBUTES.finditer(text, *tag.span(2)):
        value = match.start(2)
        quoted = value >= 0 and match[2][:1] in {'"', "'"}
        found.setdefault(match[1].lower(), []).append((*match.span(), value + quoted))
    return found


def decode(value: str) -> str:
    """Decode an attribute's value or a text: as UTF-8 if it is, with its character references replaced.

    >>> decode("?a=1&amp;copy=2")
    '?a=1&copy=2'
    """
    if not value.isascii():
        value = value.encode("latin-1").decode("utf-8", "replace")
    return _CHARACTER_REFERENCE.sub(_replace_reference, value) if "&" in value else value


def _replace_reference(match: re.Match[str]) -> str:
    # HTML standard §13.2.5.73: in attributes `&copy=1` and `&copyleft` are not references, though `&copy` is.
    found = match[0]
    if found[1] != "#":
        return html.unescape(found) if found[1:] in html5 else found
    # §13.2.5.80: what is out of range, however many digits it has, is U+FFFD. `html.unescape` reads the number by `int`, which takes
    # quadratic time and raises an error above 4,300 digits.
    start = 3 if found[2] in "xX" else 2
    digits = found[start:].lstrip("0")
    if len(digits) > _MOST_DIGITS:
        return "\ufffd=" if digits.endswith("=") else "\ufffd"
    return html.unescape(f"{found[:start]}0{digits}")
