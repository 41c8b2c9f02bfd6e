"""Decides which form of an index page a client gets, and which one to ask an upstream for.

By PEP 691 (content types, selection, the `latest` version) and RFC 9110 §12.5.1 (Accept), §12.4.2 (quality values),
§12.5.3 (Accept-Encoding), §8.3.1 (Content-Type). Left out: `Accept-Charset`, `Accept-Language`, media-type parameters
other than `q` and `charset` (a range that has one matches nothing here), and API versions other than 1.
"""

import enum
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

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


class Representation(enum.StrEnum):
    """A form of an index page, the one we would rather send first; the value is short enough for a store key."""

    JSON = "json"
    HTML_V1 = "html-v1"
    HTML = "html"

    @property
    def content_type(self) -> str:
        """The Content-Type to answer with."""
        match self:
            case Representation.JSON:
                return "application/vnd.pypi.simple.v1+json"
            case Representation.HTML_V1:
                return "application/vnd.pypi.simple.v1+html"
            case Representation.HTML:
                return "text/html; charset=utf-8"
            case _:
                assert_never(self)

    @property
    def kind(self) -> Literal["json", "html"]:
        """Which parser reads it."""
        return "json" if self is Representation.JSON else "html"


@dataclass(frozen=True, slots=True)
class NotAcceptable:
    """The client's Accept names nothing that an index page can be: 406, listing `available`.

    PEP 691: "If the server does not support any of the content types in the Accept header then they are able to
    choose between 3 different options", of which this is (b). Warehouse takes (a), a default that was not asked for.
    """

    available: tuple[str, ...] = (
        "application/vnd.pypi.simple.v1+json",
        "application/vnd.pypi.simple.v1+html",
        "text/html",
    )


# The names under which a client may ask for each representation.
# PEP 691: a `latest` request is answered with "the content type for the actual version".
_NAMES: dict[Representation, tuple[str, ...]] = {
    Representation.JSON: ("application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.latest+json"),
    Representation.HTML_V1: ("application/vnd.pypi.simple.v1+html", "application/vnd.pypi.simple.latest+html"),
    Representation.HTML: ("text/html",),
}
_BY_NAME = {names[0]: representation for representation, names in _NAMES.items()}
_UPSTREAM_ACCEPT: dict[Representation, str] = {
    Representation.JSON: (
        "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
    ),
    Representation.HTML_V1: "application/vnd.pypi.simple.v1+html, text/html;q=0.2",
    Representation.HTML: "text/html, application/vnd.pypi.simple.v1+html;q=0.2",
}


def negotiate(accept: str | None) -> Representation | NotAcceptable:
    """Pick the representation for a client by its Accept header (several lines joined by commas).

    >>> negotiate("application/vnd.pypi.simple.v1+json, */*;q=0.1")
    <Representation.JSON: 'json'>
    """
    return _negotiate(accept)


@functools.lru_cache(maxsize=128)  # each client program sends always the same
def _negotiate(accept: str | None) -> Representation | NotAcceptable:
    ranges = dict(_weighted(accept or ""))
    # PEP 691: "treating the absence of an Accept header as Accept: */*". One with no valid member says as little.
    if not ranges:
        return Representation.HTML
    offers = {representation: _quality(ranges, representation) for representation in Representation}
    # PEP 691: "an entry with a higher quality has priority over an entry with a lower quality"; among equals one that
    # the client named goes before one that only a wildcard lets in.
    quality, named = best = max(offers.values())
    if quality == 0:
        return NotAcceptable()
    equals = [representation for representation, offer in offers.items() if offer == best]
    # Among named equals our own preference decides. Among those that a wildcard let in, the plainest: what an index
    # gives to a client that says nothing in particular.
    return equals[0] if named else equals[-1]


def accepts(accept: str | None, representation: Representation) -> bool:
    """Whether a client takes this representation at all (an upstream may have had no other)."""
    ranges = dict(_weighted(accept or ""))
    return not ranges or _quality(ranges, representation)[0] > 0


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


def representation_of(content_type: str | None) -> Representation | None:
    """What an upstream answered; None for whatever is no index page (clients refuse a missing type too)."""
    return _BY_NAME.get(parse_content_type(content_type)[0])


def upstream_accept(rep: Representation, *, refused: bool = False) -> str:
    """The Accept header that asks an upstream for `rep`, and for what a client would rather have than a failure.

    JSON falls back to HTML as pip's and uv's headers do. HTML names JSON only once the upstream has `refused` it (406: it speaks JSON
    alone): some mirrors give JSON to whoever names it, whatever the quality, and their own HTML is better than a converted one.
    """
    return _UPSTREAM_ACCEPT[Representation.JSON if refused else rep]


def _quality(ranges: dict[str, float], representation: Representation) -> tuple[float, bool]:
    """The quality of a representation and whether the client named it."""
    named = [ranges[name] for name in _NAMES[representation] if name in ranges]
    # RFC 9110 §12.5.1: "If more than one media range applies to a given type, the most specific reference has
    # precedence." A refusal of one name refuses the thing.
    if named:
        return (0.0 if min(named) == 0 else max(named)), True
    main_type = _NAMES[representation][0].partition("/")[0]
    return ranges.get(f"{main_type}/*", ranges.get("*/*", 0.0)), False


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
