"""Validation in both directions: of a stored response at the upstream (RFC 9111 §4.3), and of a client's copy here (RFC 9110 §13).

Leaves out: freshening by HEAD (RFC 9111 §4.3.5), If-Match and If-Unmodified-Since (nothing is written here), If-Range (`ranges`).
"""

import hashlib
import re
from collections.abc import Collection

from multidict import CIMultiDict

from pkgcache.rules.http.cache_control import Headers
from pkgcache.rules.http.dates import parse_http_date
from pkgcache.rules.http.freshness import Stored
from pkgcache.rules.http.storability import storable_headers


def validators(stored_headers: Headers) -> dict[str, str]:
    """The conditional request fields that revalidate a stored response (RFC 9111 §4.3.1)."""
    pairs = (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified"))
    return {condition: stored_headers[name] for condition, name in pairs if stored_headers.get(name)}


def updates(stored_headers: Headers, not_modified_headers: Headers) -> bool:
    """Whether a 304 is about the stored response, and so may freshen it (RFC 9111 §4.3.4).

    §4.3.4: "If none of the initial set contains at least one of the same strong validators, then the cache MUST NOT use
    the new response to update any stored responses." Weak tags are compared too, because one response is stored here, not a set.
    """
    etag, stored_etag = not_modified_headers.get("ETag"), stored_headers.get("ETag")
    if etag is not None and stored_etag is not None:
        return etag.removeprefix("W/") == stored_etag.removeprefix("W/")
    modified, stored_modified = (
        parse_http_date(headers.get("Last-Modified", "")) for headers in (not_modified_headers, stored_headers)
    )
    return modified is None or stored_modified is None or modified == stored_modified


# RFC 9111 §3.2 excepts from the update "The Content-Length header field", fields "automatically processed and removed", and fields that
# "the cache's stored response depends upon". The stored body was decoded, parsed and encoded by these.
_BOUND_TO_BODY = frozenset({"content-length", "content-type", "content-encoding", "content-range", "etag"})
# These describe the message that carried them, so the old ones must not survive a 304 without them.
_OF_THE_MESSAGE = frozenset({"age", "date"})


def freshened(stored: Stored, not_modified_headers: Headers, request_time: float, response_time: float) -> Stored:
    """The stored response with a 304's header fields and times (RFC 9111 §4.3.4, §3.2)."""
    new = CIMultiDict(
        (name, value)
        for name, value in storable_headers(not_modified_headers).items()
        if name.lower() not in _BOUND_TO_BODY
    )
    # §3.2: "the cache MUST add each header field in the provided response to the stored response, replacing field
    # values that are already present".
    replaced = _OF_THE_MESSAGE | {name.lower() for name in new}
    headers = CIMultiDict((name, value) for name, value in stored.headers.items() if name.lower() not in replaced)
    headers.extend(new)
    return Stored(status=stored.status, headers=headers, request_time=request_time, response_time=response_time)


# RFC 9110 §8.8.3. The group leaves out `W/`: tags are compared weakly.
_OPAQUE_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def not_modified(request_headers: Headers, tags: Collection[str], last_modified: str | None) -> bool:
    """Whether the answer to a client's GET or HEAD is 304. `tags` are the entity tags of what we have, with their quotes."""
    # RFC 9110 §13.2.2: where If-None-Match is present, If-Modified-Since does not count.
    if "If-None-Match" in request_headers:
        listed = ",".join(request_headers.getall("If-None-Match"))
        # §13.1.2: "If the field value is '*', the condition is false if the origin server has a current representation
        # for the target resource."
        if listed.strip() == "*":
            return True
        # §13.1.2: "A recipient MUST use the weak comparison function when comparing entity tags for If-None-Match"
        return not {tag.removeprefix("W/") for tag in tags}.isdisjoint(_OPAQUE_TAG.findall(listed))
    # §13.1.3: "A recipient MUST ignore the If-Modified-Since header field if the received field value is not a valid
    # HTTP-date, the field value has more than one member", or "if the resource does not have a modification date".
    conditions = request_headers.getall("If-Modified-Since", ())
    if len(conditions) != 1:
        return False
    since, modified = parse_http_date(conditions[0]), parse_http_date(last_modified or "")
    return since is not None and modified is not None and modified <= since


def strong_tag(body: bytes) -> str:
    """A strong entity tag for a body, made of its bytes (RFC 9110 §8.8.3)."""
    return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
