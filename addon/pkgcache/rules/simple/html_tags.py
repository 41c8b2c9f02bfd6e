"""HTML cut into tags, and their attributes: the one way in which the house reads HTML, whether it looks for links or leaves some out.

By the HTML standard §13.2.5 as `html.parser` has it since Python 3.13.6. Text is bytes decoded as Latin-1, so that spans are byte
offsets and every byte survives.

Leaves out: character sets other than UTF-8, the escaped states of scripts, CDATA outside of `<![CDATA[`, and quoted `>` in end tags.
"""

import html
import re
from collections.abc import Iterator, Mapping
from html.entities import html5
from typing import Final

type Value = tuple[str, int, int]
"""An attribute's value: decoded, and its span without quotes."""

type Attributes = Mapping[str, Value | None]
"""By name in lower case; None: there is no value."""

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
"""Groups: 1 the name of a start tag, 2 its attributes, 3 the slash of an empty element, 4 what is never closed."""

_ATTRIBUTES: Final = re.compile(_ATTRIBUTE)
_RAW_TEXT: Final = frozenset(
    {"script", "style", "title", "textarea", "iframe", "noembed", "noframes", "xmp", "plaintext"}
)
_CHARACTER_REFERENCE: Final = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*)[;=]?")


def tags(text: str) -> Iterator[re.Match[str]]:
    """Tags, comments and declarations outside of raw text, by TAG's groups: group 1 is None for all but start tags."""
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
    """Attributes of a start tag, in order: duplicates too."""
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
    """Attributes of a start tag by name: of duplicates the last counts, as for pip."""
    return dict(attributes(text, tag))


def decode(value: str) -> str:
    """Read an attribute's value or a text: UTF-8 where it is that, character references replaced."""
    if not value.isascii():
        value = value.encode("latin-1").decode("utf-8", "replace")
    return _CHARACTER_REFERENCE.sub(_replace_reference, value) if "&" in value else value


def _replace_reference(match: re.Match[str]) -> str:
    # HTML standard §13.2.5.73: in attributes `&copy=1` and `&copyleft` are no references.
    found = match[0]
    return html.unescape(found) if found[1] == "#" or found[1:] in html5 else found
