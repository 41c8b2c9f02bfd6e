"""A list of all projects as the answer to one request: out of the store, or as it grows."""

from __future__ import annotations

import time
from dataclasses import dataclass

from multidict import CIMultiDict

from pkgcache.engine.pages.page_response import forbid_storing_stale
from pkgcache.engine.pages.project_list_fill import ProjectListFill
from pkgcache.engine.responses.bodies import StoredBytes, StoredFile
from pkgcache.engine.responses.file_response import FileRepresentation, file_response
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.store.entries import Entry
from pkgcache.engine.store.notes import ListNotes
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.freshness import Stored, received_times, times_of
from pkgcache.rules.simple.representations import Representation, accepts

_PASSED_ON = ("Last-Modified", "Cache-Control", "Expires", "X-PyPI-Last-Serial")


@dataclass(frozen=True, slots=True)
class StoredList:
    """A stored list with its file open. Whoever has it closes it, or hands it to a response, which does."""

    entry: Entry
    notes: ListNotes

    @property
    def stored(self) -> Stored:
        """The part of the response that the freshness rules need."""
        return self.notes.stored

    def close(self) -> None:
        """Close the file."""
        if self.entry.file is not None:
            self.entry.file.close()


def stored_list_response(request: Request, stored: StoredList, cache: CacheStatus) -> Response:
    """The stored list, or whatever of it was asked for: 200, 206, 304 or 416."""
    entry, notes = stored.entry, stored.notes
    headers = _headers(notes.upstream_headers, notes.representation)
    headers.update(times_of(notes.stored, time.time()))
    forbid_storing_stale(headers, cache)
    representation = FileRepresentation(
        total=entry.size,
        etag=f'"{notes.digest}"',
        other_tags=(),
        headers=headers,
        cache=cache,
        upstream=notes.upstream,
    )
    source = StoredBytes(entry.value) if entry.file is None else StoredFile(entry.file, entry.size)
    return file_response(request, representation, source)


def growing_list_response(request: Request, shown: str, fill: ProjectListFill, cache: CacheStatus) -> Response:
    """The list as it grows, without its length; 406 if the client does not take what the upstream sent.

    Until the list is verified its entity tag is the fill's own: a client that is cut short must not combine it with another one's.
    """
    head = fill.head
    assert head is not None
    if not accepts(request.headers.get("Accept"), head.representation):
        fill.release()
        return Response.text(406, f"{shown} is there as {head.representation.content_type} alone")
    headers = _headers(head.headers, head.representation)
    headers.update(received_times(head.headers))
    representation = FileRepresentation(
        total=None,
        etag=f'"{fill.file.path.stem}"',
        other_tags=(),
        headers=headers,
        cache=cache,
        upstream=head.upstream,
    )
    return file_response(request, representation, fill)


def _headers(upstream_headers: CIMultiDict[str], representation: Representation) -> CIMultiDict[str]:
    """The headers of an answer except its length and tag. The upstream's own tag is of other bytes."""
    headers = CIMultiDict({name: upstream_headers[name] for name in _PASSED_ON if name in upstream_headers})
    headers["Content-Type"] = upstream_headers.get("Content-Type", representation.content_type)
    headers["Vary"] = "Accept"
    return headers
