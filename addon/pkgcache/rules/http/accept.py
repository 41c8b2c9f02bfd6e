"""Reads the header fields of content negotiation: weighted lists, Accept-Encoding and Content-Type.

By RFC 9110 §12.4.2 (quality values), §12.5.1 (Accept), §12.5.3 (Accept-Encoding), §8.3.1 (Content-Type). Members of a list that are
malformed are passed over. A media range with parameters other than `q` and `charset` matches nothing, because no index page has any.

Leaves out: what to send (`simple/representations`).
"""

import re
from collections.abc import Iterator
from typing import Final

_TCHARS: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_CODING: Final = re.compile(_TCHARS)
_MEDIA_RANGE: Final = re.compile(rf"{_TCHARS}/{_TCHARS}")
# RFC 9110 §12.4.2: qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )
_QVALUE: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
# A list's member, and a member's parameter. A quoted string may hold the separator; without a closing quote it takes all that
# follows. The patterns are possessive, so that no header makes them backtrack.
_QUOTED: Final = r'"(?:[^"\\]|\\[\s\S]?)*+"?'
_MEMBER: Final = re.compile(rf'(?:[^,"]|{_QUOTED})++')
_PARAMETER: Final = re.compile(rf'(?:[^;"]|{_QUOTED})++')


def accepts_encoding(header: str | None, coding: str) -> bool:
    """Whether a client accepts a content coding (`gzip`, `identity`, …) by its Accept-Encoding header.

    RFC 9110 §12.5.3 lets a server send any coding where the header is absent. In practice such clients do not decode, so here an
    absent header means identity alone.

    >>> accepts_encoding("br, *;q=0.1", "gzip"), accepts_encoding(None, "gzip")
    (True, False)
    """
    codings = {_coding(name): quality for name, quality in weighted(header or "", media=False)}
    coding = _coding(coding)
    # §12.5.3: "If the representation's content coding is one of the content codings listed in the Accept-Encoding
    # field value, then it is acceptable unless it is accompanied by a qvalue of 0."
    if coding in codings:
        return codings[coding] > 0
    # §12.5.3: "If the representation has no content coding, then it is acceptable by default unless specifically
    # excluded by the Accept-Encoding header field stating either 'identity;q=0' or '*;q=0' without a more specific
    # entry for 'identity'."
    if coding == "identity":
        return codings.get("*", 1.0) > 0
    # §12.5.3: "The asterisk '*' symbol in an Accept-Encoding field matches any available content coding not
    # explicitly listed in the field."
    return codings.get("*", 0.0) > 0


def parse_content_type(value: str | None) -> tuple[str, str]:
    """The media type and the charset of a Content-Type, in lower case; '' where there is none (RFC 9110 §8.3.1).

    >>> parse_content_type('Text/HTML; Charset="UTF-8"')
    ('text/html', 'utf-8')
    """
    essence, *parameters = _split(value or "", _PARAMETER) or [""]
    media_type = essence.lower()
    charset = next((text for name, text in map(_parse_parameter, parameters) if name == "charset"), "")
    return (media_type if _MEDIA_RANGE.fullmatch(media_type) else "", charset.lower())


def weighted(header: str, *, media: bool = True) -> Iterator[tuple[str, float]]:
    """Read a weighted list (RFC 9110 §12.4.2): yield each member's name in lower case and its quality.

    `media`: the names are media ranges, else content codings.

    >>> list(weighted("text/html, */*;q=0.1, nonsense"))
    [('text/html', 1.0), ('*/*', 0.1)]
    """
    for member in _split(header, _MEMBER):
        name, *parameters = _split(member, _PARAMETER) or [""]
        pairs = [_parse_parameter(parameter) for parameter in parameters]
        weight = next((text for key, text in pairs if key == "q"), "1")
        # RFC 9110 §12.5.1: `text/html;level=1` is another, narrower range than `text/html`, and no index page has it.
        narrow = any(key not in {"q", "charset"} for key, _ in pairs)
        pattern = _MEDIA_RANGE if media else _CODING
        if pattern.fullmatch(name) and _QVALUE.fullmatch(weight) and not narrow:
            yield name.lower(), float(weight)


def _coding(name: str) -> str:
    # RFC 9110 §8.4.1.3: "A recipient SHOULD consider 'x-gzip' to be equivalent to 'gzip'."
    lowered = name.lower()
    return "gzip" if lowered == "x-gzip" else lowered


def _split(text: str, pattern: re.Pattern[str]) -> list[str]:
    return [part for found in pattern.findall(text) if (part := found.strip(" \t"))]


def _parse_parameter(parameter: str) -> tuple[str, str]:
    """A parameter's name in lower case and its value, unquoted."""
    name, _, text = parameter.partition("=")
    text = text.strip(" \t")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    return name.strip(" \t").lower(), text
