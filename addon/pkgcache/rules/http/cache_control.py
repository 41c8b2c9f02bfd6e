"""Reads the directives of Cache-Control (RFC 9111 §5.2), and list-valued header fields.

Where a directive is repeated, the strictest value counts. Qualified `no-cache="…"` and `private="…"` count as unqualified, as in most
caches. Leaves out: what a directive means for a response (`freshness`, `storability`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from multidict import MultiMapping

from pkgcache.rules.memo import memo

type Headers = MultiMapping[str]

FOREVER = 2**31
"""In seconds. RFC 9111 §1.2.2: a greater delta-seconds counts as 2147483648."""

# RFC 9111 §5.2: cache-directive = token [ "=" ( token / quoted-string ) ]. Members of another form are passed over.
_DIRECTIVE = re.compile(r'([^\s=,"]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?[^,]*')


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheControl:
    """The directives of a request or a response. Times are in seconds; None and False where a directive is absent."""

    max_age: int | None = None
    s_maxage: int | None = None
    no_cache: bool = False
    no_store: bool = False
    private: bool = False
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    immutable: bool = False
    only_if_cached: bool = False
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    max_stale: int | None = None
    min_fresh: int | None = None


def parse_cache_control(values: Iterable[str]) -> CacheControl:
    """Read all Cache-Control lines of one message. Where a directive is repeated, the strictest value counts.

    >>> parse_cache_control(["max-age=600, public", 'max-age="60"']).max_age
    60
    """
    given: dict[str, list[str | None]] = {}
    for value in values:
        for found in _DIRECTIVE.finditer(value):
            # §5.2: "recipients ought to accept both forms, even if a specific form is required for generation."
            argument = found[3] if found[2] is None else re.sub(r"\\(.)", r"\1", found[2])
            # §5.2: directives are "compared case-insensitively".
            given.setdefault(found[1].lower(), []).append(argument)

    def shortest(name: str) -> int | None:
        # §4.2.1: "Caches are encouraged to consider responses that have invalid freshness information (e.g., a max-age
        # directive with non-integer content) to be stale."
        return min((parse_delta_seconds(text) or 0 for text in given[name]), default=0) if name in given else None

    return CacheControl(
        max_age=shortest("max-age"),
        s_maxage=shortest("s-maxage"),
        no_cache="no-cache" in given,
        no_store="no-store" in given,
        private="private" in given,
        public="public" in given,
        must_revalidate="must-revalidate" in given,
        proxy_revalidate="proxy-revalidate" in given,
        immutable="immutable" in given,
        only_if_cached="only-if-cached" in given,
        stale_while_revalidate=shortest("stale-while-revalidate"),
        stale_if_error=shortest("stale-if-error"),
        max_stale=_max_stale(given.get("max-stale", [])),
        min_fresh=max((parse_delta_seconds(text) or 0 for text in given.get("min-fresh", [])), default=None),
    )


def parse_delta_seconds(text: str | None) -> int | None:
    """Read whole seconds (RFC 9111 §1.2.2), at most FOREVER; None for anything else.

    >>> parse_delta_seconds("600"), parse_delta_seconds("1.5")
    (600, None)
    """
    digits = (text or "").strip()
    if not (digits.isascii() and digits.isdigit()):
        return None
    # §1.2.2: "the cache MUST consider the value to be 2147483648 (2^31) or the greatest positive integer it can
    # conveniently represent."
    significant = digits.lstrip("0") or "0"  # `int` takes quadratic time for very long texts
    return min(int(significant), FOREVER) if len(significant) <= len(str(FOREVER)) else FOREVER


def _max_stale(arguments: list[str | None]) -> int | None:
    # §5.2.1.2: "If no value is assigned to max-stale, then the client will accept a stale response of any age."
    return min((FOREVER if text is None else parse_delta_seconds(text) or 0 for text in arguments), default=None)


def control_of(headers: Headers) -> CacheControl:
    """The Cache-Control directives of a message."""
    return _remembered_control(tuple(headers.getall("Cache-Control", ())))


# Nearly all traffic has one of a few values, and reading one takes as long as the rest of a decision.
_remembered_control = memo(maxsize=128)(parse_cache_control)


def listed(headers: Headers, name: str) -> frozenset[str]:
    """The members of a list-valued field (RFC 9110 §5.6.1), in lower case. Quoted strings are not expected in it."""
    members = ",".join(headers.getall(name, ())).split(",")
    return frozenset([text for member in members if (text := member.strip().lower())])
