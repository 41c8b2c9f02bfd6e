"""A file's reply: whatever of it was asked for, by RFC 9110 §13 (conditions) and §14 (ranges), on a finished or a growing file."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from multidict import CIMultiDict

from pkgcache.engine.responses.bodies import ConcatenatedBody, SharedSource, Source, StoredBytes
from pkgcache.engine.responses.messages import Body, Request, Response
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.dates import format_http_date
from pkgcache.rules.http.ranges import (
    Multi,
    Partial,
    RangeRequest,
    Span,
    Unsatisfiable,
    Whole,
    if_range_holds,
    multipart_parts,
    parse_range,
    satisfy,
    unsatisfied,
)
from pkgcache.rules.http.validation import not_modified


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRepresentation:
    """A file whose bytes can be read: its length (None: not known yet), entity tags that clients may hold, and its headers."""

    total: int | None
    etag: str
    other_tags: tuple[str, ...]
    headers: CIMultiDict[str]
    cache: CacheStatus
    upstream: str = ""


def requested_ranges(request: Request, tags: tuple[str, ...], last_modified: str | None) -> RangeRequest | None:
    """The ranges that count (RFC 9110 §14.2: for GET, and where If-Range holds for one of the tags or the date)."""
    if request.method != "GET":
        return None
    condition = request.headers.get("If-Range")
    if not any(if_range_holds(condition, tag, last_modified) for tag in tags):
        return None
    return parse_range(request.headers.get("Range"))


def file_response(request: Request, found: FileRepresentation, source: Source) -> Response:
    """The reply with whatever of the file was asked for: 200, 206, 304 or 416. The source is let go of where no body is sent."""
    found.headers["ETag"] = found.etag
    found.headers["Accept-Ranges"] = "bytes"
    found.headers["Date"] = format_http_date(time.time())
    reply = _response(request, found, source)
    if request.method == "HEAD" or isinstance(reply.body, bytes):
        source.release()
        reply.body = b"" if request.method == "HEAD" else reply.body
    return reply


def _response(request: Request, found: FileRepresentation, source: Source) -> Response:
    headers, total = found.headers, found.total
    tags = (found.etag, *found.other_tags)
    last_modified = headers.get("Last-Modified")
    if any(not_modified(request.headers, tag, last_modified) for tag in tags):
        return _with_body(found, 304, b"")
    if total is None:
        headers["Transfer-Encoding"] = "chunked"
        headers["Accept-Ranges"] = "none"
        return _with_body(found, 200, source.body(0, None))
    match satisfy(requested_ranges(request, tags, last_modified), total):
        case Whole():
            return _with_body(found, 200, source.body(0, total), total)
        case Partial(span=span):
            headers["Content-Range"] = span.content_range(total)
            return _with_body(found, 206, source.body(span.start, span.stop), span.length)
        case Multi(spans=spans):
            return _multipart(found, source, spans, total)
        case Unsatisfiable():
            return unsatisfiable(unsatisfied(total), found.cache)


def _multipart(found: FileRepresentation, source: Source, spans: tuple[Span, ...], total: int) -> Response:
    """RFC 9110 §14.6; several ranges are sent as asked for, as nginx does."""
    boundary = secrets.token_hex(10)
    framed = multipart_parts(spans, total, found.headers["Content-Type"], boundary)
    found.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    shared = source if isinstance(source, StoredBytes) else SharedSource(source, len(spans))
    parts: list[bytes | Body] = []
    for head, span in framed.parts:
        parts += [head, shared.body(span.start, span.stop)]
    return _with_body(found, 206, ConcatenatedBody([*parts, framed.closing]), framed.content_length)


def _with_body(found: FileRepresentation, status: int, body: bytes | Body, length: int | None = None) -> Response:
    if length is not None:
        found.headers["Content-Length"] = str(length)
    return Response(status=status, headers=found.headers, body=body, cache=found.cache, upstream=found.upstream)


def unsatisfiable(content_range: str, cache: CacheStatus) -> Response:
    """416, with the file's length (RFC 9110 §15.5.17)."""
    reply = Response.text(416, "none of the requested ranges is in the file", cache=cache)
    reply.headers["Content-Range"] = content_range
    return reply
