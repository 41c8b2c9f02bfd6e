"""The answer to a GET or HEAD for a file whose bytes can be read: 200, 206, 304 or 416 (RFC 9110 §13 conditions, §14 ranges).

The file may be whole, or still growing; even its length may not be known yet.
"""

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
    RangeAnswer,
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
    """A file that can be served. `total` is its length in bytes (None: not known yet); clients may hold any of its entity tags."""

    total: int | None
    etag: str
    other_tags: tuple[str, ...]
    headers: CIMultiDict[str]
    cache: CacheStatus
    upstream: str = ""

    @property
    def tags(self) -> tuple[str, ...]:
        """Every entity tag that stands for these bytes."""
        return (self.etag, *self.other_tags)

    def select(self, request: Request) -> RangeAnswer:
        """What of the file a request gets.

        Ranges count only for GET (RFC 9110 §14.2), and only where `If-Range` names these bytes. While the length is not known they are
        ignored, as §14.2 allows: a suffix range could not be found, nor a `Content-Range` be given.
        """
        condition = request.headers.get("If-Range")
        last_modified = self.headers.get("Last-Modified")
        if (
            self.total is None
            or request.method != "GET"
            or not any(if_range_holds(condition, tag, last_modified) for tag in self.tags)
        ):
            return Whole()
        return satisfy(parse_range(request.headers.get("Range")), self.total)


def file_response(
    request: Request, file: FileRepresentation, source: Source, selection: RangeAnswer | None = None
) -> Response:
    """The answer with what was asked for of a file. `selection`: what `select` said, where the caller had to know it.

    The source is released where no body of it is sent. `file.headers` become the answer's.
    """
    file.headers["ETag"] = file.etag
    file.headers["Accept-Ranges"] = "bytes"
    file.headers.setdefault("Date", format_http_date(time.time()))
    response = _response(request, file, source, selection)
    if request.method == "HEAD" or isinstance(response.body, bytes):
        source.release()
        response.body = b"" if request.method == "HEAD" else response.body
    return response


def _response(request: Request, file: FileRepresentation, source: Source, selection: RangeAnswer | None) -> Response:
    headers, total = file.headers, file.total
    # RFC 9110 §13.2.2: a precondition comes before ranges.
    if not_modified(request.headers, file.tags, headers.get("Last-Modified")):
        return _with_body(file, 304, b"")
    if total is None:
        headers["Transfer-Encoding"] = "chunked"
        headers["Accept-Ranges"] = "none"
        return _with_body(file, 200, source.body(0, None))
    match selection or file.select(request):
        case Whole():
            return _with_body(file, 200, source.body(0, total), total)
        case Partial(span=span):
            headers["Content-Range"] = span.content_range(total)
            return _with_body(file, 206, source.body(span.start, span.stop), span.length)
        case Multi(spans=spans):
            return _multipart(file, source, spans, total)
        case Unsatisfiable():
            return unsatisfiable(unsatisfied(total), file.cache)


def _multipart(file: FileRepresentation, source: Source, spans: tuple[Span, ...], total: int) -> Response:
    """RFC 9110 §14.6. Ranges are sent in the order asked for and are not merged, as nginx does."""
    boundary = secrets.token_hex(10)
    framed = multipart_parts(spans, total, file.headers["Content-Type"], boundary)
    file.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    shared = source if isinstance(source, StoredBytes) else SharedSource(source, len(spans))
    parts: list[bytes | Body] = []
    for head, span in framed.parts:
        parts += [head, shared.body(span.start, span.stop)]
    return _with_body(file, 206, ConcatenatedBody([*parts, framed.closing]), framed.content_length)


def _with_body(file: FileRepresentation, status: int, body: bytes | Body, length: int | None = None) -> Response:
    if length is not None:
        file.headers["Content-Length"] = str(length)
    return Response(status=status, headers=file.headers, body=body, cache=file.cache, upstream=file.upstream)


def unsatisfiable(content_range: str, cache: CacheStatus) -> Response:
    """416, with the file's length (RFC 9110 §15.5.17)."""
    response = Response.text(416, "none of the requested ranges is in the file", cache=cache)
    response.headers["Content-Range"] = content_range
    return response
