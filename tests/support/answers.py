"""What the scripted upstream answers, decided without I/O: conditions and ranges (RFC 9110 §13, §14), and its lies.

Left out: several ranges in one request (answered whole, as RFC 9110 §14.2 allows) and If-Match.
"""

import gzip
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final

from tests.support.behaviour import Behaviour
from tests.support.index import PLAIN_HTML_TYPE

CAPTIVE_PAGE: Final = b"<!DOCTYPE html><html><title>Welcome to the hotel</title><form>Room number</form></html>"
type Read = Callable[[int, int], bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes in memory or on disk, perhaps edited: one byte inverted, or another length."""

    data: bytes | Path
    size: int
    inverted: int | None = None

    @contextmanager
    def reading(self) -> Iterator[Read]:
        """A function (offset, length) → bytes; past the data's end it gives zeros."""
        if isinstance(self.data, bytes):
            view = memoryview(self.data)
            yield self._edited(lambda offset, length: view[offset : offset + length])
            return
        descriptor = os.open(self.data, os.O_RDONLY)
        try:
            yield self._edited(lambda offset, length: os.pread(descriptor, length, offset))
        finally:
            os.close(descriptor)

    def whole(self) -> bytes:
        """All of it, in memory."""
        with self.reading() as read:
            return bytes(read(0, self.size))

    def _edited(self, plain: Read) -> Read:
        def read(offset: int, length: int) -> bytes | memoryview:
            piece = plain(offset, length)
            at = None if self.inverted is None else self.inverted - offset
            if len(piece) == length and not (at is not None and 0 <= at < length):
                return piece
            edited = bytearray(piece).ljust(length, b"\0")
            if at is not None and 0 <= at < length:
                edited[at] ^= 0xFF
            return bytes(edited)

        return read


def content_of(data: bytes | Path) -> Content:
    """Unedited content."""
    return Content(data, len(data) if isinstance(data, bytes) else data.stat().st_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What is at a path."""

    content: Content
    content_type: str
    etag: str | None = None
    last_modified: str | None = None
    headers: Mapping[str, str]
    ranges: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that may be sent: a head, and a span of some content."""

    status: int
    headers: dict[str, str]
    content: Content
    start: int = 0
    stop: int
    """The body is content[start:stop], also for HEAD, where it is not sent."""


def canned(status: int, body: bytes | None = None, **headers: str) -> Answer:
    """A small answer in plain text; an underscore in a keyword is a hyphen in its header."""
    if body is None:
        body = f"{status} {HTTPStatus(status).phrase}\n".encode()
    named = {"Content-Type": "text/plain"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, content=content_of(body), stop=len(body))


def scripted(behaviour: Behaviour, target: str, request: Mapping[str, str]) -> Answer | None:
    """The answer that a behaviour puts in the ordinary one's place, if it does."""
    if behaviour.authorization is not None and request.get("authorization") != behaviour.authorization:
        return canned(401, WWW_Authenticate='Basic realm="tests"')
    if behaviour.redirect_loop or behaviour.redirect is not None:
        location = target if behaviour.redirect is None else behaviour.redirect
        return canned(behaviour.status or 302, behaviour.body, Location=location)
    if behaviour.captive:
        return canned(200, CAPTIVE_PAGE, Content_Type=PLAIN_HTML_TYPE)
    if behaviour.status is not None or behaviour.body is not None:
        return canned(behaviour.status or 200, behaviour.body)
    return None


def edited(resource: Resource, behaviour: Behaviour) -> Resource:
    """The resource with a behaviour's lies about its content."""
    if behaviour.content is not None:
        content = content_of(behaviour.content)
        etag = hashlib.sha256(content.whole()).hexdigest()[:32]
        resource = replace(resource, content=content, etag=f'"{etag}"')
    if behaviour.wrong_byte_at is not None or behaviour.shorten or behaviour.too_long:
        size = resource.content.size - behaviour.shorten + behaviour.too_long
        resource = replace(
            resource, content=replace(resource.content, size=max(0, size), inverted=behaviour.wrong_byte_at)
        )
    if behaviour.gzip:
        headers = {**resource.headers, "Content-Encoding": "gzip"}
        body = gzip.compress(resource.content.whole(), mtime=0)
        resource = replace(resource, content=content_of(body), headers=headers, ranges=False)
    return resource


def answer_for(resource: Resource, request: Mapping[str, str], behaviour: Behaviour) -> Answer:
    """The answer to a GET or HEAD with these (lower-case) request headers."""
    size = resource.content.size
    headers = {"Content-Type": resource.content_type, **_validators(resource), **resource.headers}
    if resource.ranges:
        headers["Accept-Ranges"] = "bytes"
    if _not_modified(resource, request):
        del headers["Content-Type"]
        return Answer(status=304, headers=headers, content=resource.content, stop=0)
    # RFC 9110 §13.1.5: a validator that does not agree means the whole representation
    if resource.ranges and not behaviour.ignore_range and _if_range_holds(resource, request):
        match span_of(request.get("range", ""), size):
            case (start, stop):
                shift = behaviour.shift_span
                start, stop = max(0, start + shift), min(size, max(1, stop + shift))
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
                body = max(0, start + behaviour.shift_body)
                moved = min(size, body + stop - start)
                return Answer(
                    status=206, headers=headers, content=resource.content, start=moved - (stop - start), stop=moved
                )
            case "unsatisfiable":
                return canned(416, Content_Range=f"bytes */{size}")
            case None:
                pass
    return Answer(status=200, headers=headers, content=resource.content, stop=size)


def span_of(value: str, size: int) -> tuple[int, int] | str | None:
    """(start, stop) of a single byte range, 'unsatisfiable', or None where the header is to be ignored.

    A single one that makes no sense is unsatisfiable, as nginx has it.

    >>> span_of("bytes=0-9", 100), span_of("bytes=90-", 100), span_of("bytes=-5", 100), span_of("bytes=100-", 100)
    ((0, 10), (90, 100), (95, 100), 'unsatisfiable')
    """
    wanted = re.fullmatch(r"[Bb][Yy][Tt][Ee][Ss]=([^,]+)", value.strip(" \t"))
    if not wanted:
        return None
    found = re.fullmatch(r" *(?:([0-9]{1,19}) *- *([0-9]{1,19})?|-([0-9]{1,19})) *", wanted[1])
    if not found:
        return "unsatisfiable"
    first, last, suffix = found.groups()
    if suffix:
        start, stop = max(0, size - int(suffix)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    return (start, stop) if start < stop else "unsatisfiable"


def _validators(resource: Resource) -> dict[str, str]:
    pairs = {"ETag": resource.etag, "Last-Modified": resource.last_modified}
    return {name: value for name, value in pairs.items() if value is not None}


def _not_modified(resource: Resource, request: Mapping[str, str]) -> bool:
    # RFC 9110 §13.2.2: If-None-Match first; If-Modified-Since only without it
    if (tags := request.get("if-none-match")) is not None:
        known = (resource.etag or "").removeprefix("W/")
        offered = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
        return tags.strip() == "*" or (bool(known) and known in offered)
    since = request.get("if-modified-since")
    if since is None or resource.last_modified is None:
        return False
    return parsedate_to_datetime(resource.last_modified) <= parsedate_to_datetime(since)


def _if_range_holds(resource: Resource, request: Mapping[str, str]) -> bool:
    condition = request.get("if-range")
    if condition is None:
        return True
    strong = resource.etag if resource.etag and not resource.etag.startswith("W/") else None
    return condition in (strong, resource.last_modified)
