"""What an upstream's refusal says beside its status: when to come again, and what a client needs in order to be let in.

By RFC 9110 §10.2.3 (Retry-After), §15.5.2 and §11.6.1 (401 and its challenges), RFC 6585 §4 (429).

Leaves out: which upstream's refusal a client may see (`engine/responses/failures`).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

from multidict import CIMultiDict

from pkgcache.rules.http.cache_control import Headers
from pkgcache.rules.http.dates import parse_http_date
from pkgcache.rules.http.storability import storable_headers

MOST_RETRY_SECONDS: Final = 24 * 3600
"""pip sleeps for as long as it is told to."""

_SECONDS: Final = re.compile(r"[0-9]+", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# They are about the upstream's own text, in place of which the client gets one of ours, or about how long it may be kept.
_OF_ITS_BODY: Final = frozenset(
    {
        *("content-type", "content-length", "content-encoding", "content-language", "content-range", "content-md5"),
        *(
            "content-location",
            "content-disposition",
            "content-security-policy",
            "etag",
            "last-modified",
            "accept-ranges",
        ),
        *("cache-control", "expires", "age", "date", "vary", "pragma", "location", "retry-after", "via", "server"),
        *("cache-status", "alt-svc", "strict-transport-security", "clear-site-data", "refresh"),
    }
)


def retry_after(headers: Headers, now: float) -> int | None:
    """The seconds of Retry-After, at most MOST_RETRY_SECONDS; None where there is none that can be read.

    A date counts from the upstream's own, whose clock may be wrong.
    """
    value = headers.get("Retry-After", "").strip(" \t")
    if _SECONDS.fullmatch(value):
        seconds = float(value[:10])
    elif (date := parse_http_date(value)) is not None:
        seconds = date - (parse_http_date(headers.get("Date", "")) or now)
    else:
        return None
    return int(min(max(seconds, 0), MOST_RETRY_SECONDS))


def is_overloaded(status: int, seconds: int | None) -> bool:
    """Whether an upstream that answers so is well, and has too much to do. 503 alone is what dead back ends are reported by."""
    return status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.SERVICE_UNAVAILABLE and seconds is not None)


# Servers that know no HEAD, or whose signed URLs are for GET alone, say any of these. Not 404: that passes, and uv then asks again.
_OF_HEAD_ALONE: Final = frozenset({400, 403, 405, 406, 411, 415, 500, 501})


def is_of_head_alone(status: int) -> bool:
    """Whether a GET of the same URL may well succeed where a HEAD was answered so. uv too asks again, but not after a 502."""
    return status in _OF_HEAD_ALONE


def passed_headers(status: int, headers: Headers) -> CIMultiDict[str]:
    """The fields of a refusal that its client needs: of a 401 or 403 all that are not about its text, all challenges included.

    Keyrings look at more than `WWW-Authenticate`: Azure's reads `X-VSS-AuthorizationEndpoint`.
    """
    if status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return CIMultiDict()
    return CIMultiDict(
        (name, value)
        for name, value in storable_headers(headers).items()
        if name.lower() not in _OF_ITS_BODY and not _CONTROL.search(value)
    )
