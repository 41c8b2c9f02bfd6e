"""Writes what the cache did with a request, as the Cache-Status field (RFC 9211), which is a structured field (RFC 8941).

The field has one member, ours; those of caches upstream are not passed on. There is a space after each semicolon, as in RFC 9211's
examples. Leaves out: `key`, which would show how the store is laid out.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

type Forwarded = Literal["", "miss", "uri-miss", "vary-miss", "stale", "partial", "request", "bypass", "method"]

type Source = Literal["store", "shared", "upstream", "proxy"]

SOURCES: tuple[Source, ...] = ("store", "shared", "upstream", "proxy")
CACHE_NAME = "pypi-cache"
# RFC 8941 §3.3.4: sf-token = ( ALPHA / "*" ) *( tchar / ":" / "/" )
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
# RFC 8941 §3.3.1: an integer has at most 15 digits.
_LARGEST = 999_999_999_999_999


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatus:
    """What happened to a request; `str()` gives the field's value.

    >>> str(CacheStatus(hit=True, ttl=-30, detail="stale-if-error"))
    'pypi-cache; hit; ttl=-30; detail=stale-if-error'
    """

    hit: bool = False
    """RFC 9211 §2.1: "the request was satisfied by the cache; that is, it was not forwarded"."""
    fwd: Forwarded = ""
    """§2.2: why the request was forwarded; '' where it was not."""
    fwd_status: int | None = None
    """§2.3: the status code of the next hop's answer."""
    ttl: int | None = None
    """§2.4: the remaining freshness lifetime in seconds, negative once the response is stale."""
    stored: bool = False
    """§2.5: whether the cache stored the response."""
    collapsed: bool = False
    """§2.6: whether this request shared the forward request of another."""
    detail: str = ""
    """§2.8: further information; written as a token where it can be one, else as a quoted string."""

    @classmethod
    def of_hit(cls, ttl: float, detail: str = "") -> CacheStatus:
        """What was done with a request for a stored answer, which is fresh for so many seconds more."""
        return cls(hit=True, ttl=math.floor(ttl), detail=detail)

    def __post_init__(self) -> None:
        """Raise ValueError for combinations that RFC 9211 rules out."""
        # RFC 9211 §2.1: a hit "was not forwarded", so `hit` and `fwd` exclude each other.
        if self.hit and self.fwd:
            msg = f"a request is either a hit or forwarded ({self.fwd}), not both"
            raise ValueError(msg)
        # RFC 9211 §2.3, §2.5, §2.6: these parameters are "only meaningful when fwd is present".
        if not self.fwd and (self.fwd_status is not None or self.stored or self.collapsed):
            msg = "fwd_status, stored and collapsed need fwd"
            raise ValueError(msg)

    @property
    def source(self) -> Source:
        """Where the answer came from: the store, a download or answer that other requests share, an upstream, or the proxy itself.

        >>> CacheStatus(fwd="miss", collapsed=True).source
        'shared'
        """
        if self.hit:
            return "store"
        if not self.fwd:
            return "proxy"
        return "shared" if self.collapsed else "upstream"

    def __str__(self) -> str:
        """The field's value."""
        # The order is that of RFC 9211's sections; clients may rely on none.
        parts = [CACHE_NAME]
        if self.hit:
            parts.append("hit")
        if self.fwd:
            parts.append(f"fwd={self.fwd}")
        if self.fwd_status is not None:
            parts.append(f"fwd-status={self.fwd_status}")
        if self.ttl is not None:
            parts.append(f"ttl={max(-_LARGEST, min(_LARGEST, self.ttl))}")
        if self.stored:
            parts.append("stored")
        if self.collapsed:
            parts.append("collapsed")
        if self.detail:
            parts.append(f"detail={_token_or_string(self.detail)}")
        return "; ".join(parts)


def _token_or_string(text: str) -> str:
    if _TOKEN.fullmatch(text):
        return text
    # RFC 8941 §3.3.3: a string holds only printable ASCII, with `\` and `"` escaped.
    printable = "".join(char if " " <= char <= "~" else "?" for char in text)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'
