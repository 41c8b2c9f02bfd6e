"""Decides which representation of an index page a client gets, and which one to ask an upstream for.

By PEP 691 (content types, selection, the `latest` version) and RFC 9110 §12.5.1 (Accept). Leaves out: reading the header fields
(`http/accept`), `Accept-Charset`, `Accept-Language`, and API versions other than 1.
"""

import enum
import functools
from dataclasses import dataclass
from typing import Final, assert_never

from pkgcache.rules.http.accept import weighted
from pkgcache.rules.memo import memo
from pkgcache.rules.simple.page_model import Kind


class Representation(enum.StrEnum):
    """A representation of an index page, our preferred one first. The values are part of store keys."""

    JSON = "json"
    HTML_V1 = "html-v1"
    HTML = "html"

    @functools.cached_property
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

    @functools.cached_property
    def kind(self) -> Kind:
        """Its syntax, which decides how it is read."""
        return "json" if self is Representation.JSON else "html"


@dataclass(frozen=True, slots=True)
class NotAcceptable:
    """The client's Accept names no representation of an index page: 406, listing `available`.

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
_NAMES: Final[dict[Representation, tuple[str, ...]]] = {
    Representation.JSON: ("application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.latest+json"),
    Representation.HTML_V1: ("application/vnd.pypi.simple.v1+html", "application/vnd.pypi.simple.latest+html"),
    Representation.HTML: ("text/html",),
}
_BY_NAME: Final = {names[0]: representation for representation, names in _NAMES.items()}
_UPSTREAM_ACCEPT: Final[dict[Representation, str]] = {
    Representation.JSON: (
        "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
    ),
    Representation.HTML_V1: "application/vnd.pypi.simple.v1+html, text/html;q=0.2",
    Representation.HTML: "text/html, application/vnd.pypi.simple.v1+html;q=0.2",
}


def negotiate(accept: str | None) -> Representation | NotAcceptable:
    """Choose the representation for a client by its Accept header (several lines joined by commas).

    >>> negotiate("application/vnd.pypi.simple.v1+json, */*;q=0.1")
    <Representation.JSON: 'json'>
    """
    return _negotiate(accept)


@memo(maxsize=128)  # a client program always sends the same header
def _negotiate(accept: str | None) -> Representation | NotAcceptable:
    ranges = dict(weighted(accept or ""))
    # PEP 691: "treating the absence of an Accept header as Accept: */*". A header with no valid member counts as absent.
    if not ranges:
        return Representation.HTML
    offers = {representation: _quality(ranges, representation) for representation in Representation}
    # PEP 691: "an entry with a higher quality has priority over an entry with a lower quality". Among equals one that the client
    # named goes before one that only a wildcard allows.
    quality, named = best = max(offers.values())
    if quality == 0:
        return NotAcceptable()
    equals = [representation for representation, offer in offers.items() if offer == best]
    # Among named equals our own preference decides; among those that only a wildcard allows, the plainest, which is what an index
    # gives to a client without a preference.
    return equals[0] if named else equals[-1]


def accepts(accept: str | None, representation: Representation) -> bool:
    """Whether a client accepts this representation at all, preferred or not (an upstream may offer no other)."""
    ranges = dict(weighted(accept or ""))
    return not ranges or _quality(ranges, representation)[0] > 0


def representation_of(content_type: str | None) -> Representation | None:
    """The representation of an upstream's answer; None for what is no index page (clients refuse a missing type too).

    As pip does, by how the header begins: some servers send it twice, and what has joined the two sends a list.

    >>> representation_of("text/html; charset=utf-8"), representation_of("text/html, text/html")
    (<Representation.HTML: 'html'>, <Representation.HTML: 'html'>)
    """
    begins = (content_type or "").lower()
    return next((representation for name, representation in _BY_NAME.items() if begins.startswith(name)), None)


def upstream_accept(representation: Representation, *, refused: bool = False) -> str:
    """The Accept header that asks an upstream for a representation, and for those that can be converted to it.

    JSON falls back to HTML as pip's and uv's headers do. HTML names JSON only once the upstream has `refused` it (406: it has only
    JSON): some mirrors send JSON to every client that names it, whatever the quality, and their own HTML is better than a converted
    one.
    """
    return _UPSTREAM_ACCEPT[Representation.JSON if refused else representation]


def _quality(ranges: dict[str, float], representation: Representation) -> tuple[float, bool]:
    """The quality of a representation, and whether the client named it rather than a wildcard that includes it."""
    named = [ranges[name] for name in _NAMES[representation] if name in ranges]
    # RFC 9110 §12.5.1: "If more than one media range applies to a given type, the most specific reference has precedence." A refusal
    # of one of its names refuses the representation.
    if named:
        return (0.0 if min(named) == 0 else max(named)), True
    main_type = _NAMES[representation][0].partition("/")[0]
    return ranges.get(f"{main_type}/*", ranges.get("*/*", 0.0)), False
