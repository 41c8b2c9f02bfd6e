"""rules/http/accept.py."""

from __future__ import annotations

import re
from collections.abc import Iterator

_TCHARS = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"


_CODING = re.compile(_TCHARS)


_MEDIA_RANGE = re.compile(rf"{_TCHARS}/{_TCHARS}")


# RFC 9110 §12.4.2: qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )
_QVALUE = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


# A list member, or a parameter of one: quoted strings may hold the separator, and one without an end takes all that
# follows. Possessive, so that no header can make it try again and again.
_QUOTED = r'"(?:[^"\\]|\\[\s\S]?)*+"?'


_MEMBER = re.compile(rf'(?:[^,"]|{_QUOTED})++')


_PARAMETER = re.compile(rf'(?:[^;"]|{_QUOTED})++')


def accepts_encoding(header: str | None, coding: str) -> bool:
    """Whether a client takes a content coding (`gzip`, `identity`, …) by its Accept-Encoding header.

    RFC 9110 §12.5.3 lets a server send any coding where the header is absent; in practice such clients do not decode,
    so an absent header means identity alone here.
    """
    codings = {_coding(name): quality for name, quality in _weighted(header or "", media=False)}
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
    """Media type in lower case and charset, each '' where there is none (RFC 9110 §8.3.1).

    >>> parse_content_type('Text/HTML; Charset="UTF-8"')
    ('text/html', 'utf-8')
    """
    essence, *parameters = _split(value or "", _PARAMETER) or [""]
    media_type = essence.lower()
    charset = next((text for name, text in map(_pair, parameters) if name == "charset"), "")
    return (media_type if _MEDIA_RANGE.fullmatch(media_type) else "", charset.lower())


def _weighted(header: str, *, media: bool = True) -> Iterator[tuple[str, float]]:
    """The (name in lower case, quality) pairs of a list; members that are no such thing are passed over."""
    for member in _split(header, _MEMBER):
        name, *parameters = _split(member, _PARAMETER) or [""]
        pairs = [_pair(parameter) for parameter in parameters]
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


def _pair(parameter: str) -> tuple[str, str]:
    name, _, text = parameter.partition("=")
    text = text.strip(" \t")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    return name.strip(" \t").lower(), text
