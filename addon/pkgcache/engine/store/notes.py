"""The notes of each kind of entry, with types: read from the store's JSON, and written to it.

`from_json` raises ValueError for notes that do not have these shapes and ranges, whether from a damaged row, from one that somebody else
has written, or from an archive: the caller drops the entry and fetches it again. The names in JSON are the store's format 1: a field
may be renamed here, and never on disk. The value's `size`, which each entry has besides, is the store's own (entries.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from multidict import CIMultiDict

from pkgcache.engine.store.json_fields import (
    Json,
    checked_time,
    json_field,
    json_headers,
    json_one_of,
    json_rows,
    json_time,
    shown,
)
from pkgcache.rules.http.freshness import Stored
from pkgcache.rules.simple.representations import Representation

STATUSES = frozenset({200, 404, 410})
"""Those that are stored."""

MOST_PARTS = 10_000
"""Ranges of a file, and learned hosts: more than either can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageNotes:
    """Notes of an index page, a document of the JSON API, or a remembered 404 (which has no `representation`).

    `source_digest` tells one version of the body from another; `has_base_href`: the page has a `<base href>`; `transient`: the page
    answers this request and is not stored; `family`: of the client that it was fetched for, where others may get another page. Times
    are in seconds since the epoch.
    """

    status: int
    headers: CIMultiDict[str]
    request_time: float
    response_time: float
    upstream: str
    url: str
    source_digest: str = ""
    representation: Representation | None = None
    has_base_href: bool = False
    transient: bool = False
    family: str = ""

    @property
    def stored(self) -> Stored:
        """The answer that it came with, for the rules of freshness."""
        return Stored(
            status=self.status,
            headers=self.headers,
            request_time=self.request_time,
            response_time=self.response_time,
        )

    @classmethod
    def from_json(cls, notes: Json) -> Self:
        """Read the notes as they are stored. Raises ValueError."""
        status = json_one_of(notes, "status", int, STATUSES)
        return cls(
            status=status,
            headers=json_headers(notes, "headers"),
            request_time=json_time(notes, "request_time"),
            response_time=json_time(notes, "response_time"),
            upstream=json_field(notes, "upstream", str),
            url=json_field(notes, "url", str),
            source_digest=json_field(notes, "of", str),
            representation=Representation(json_field(notes, "kind", str)) if status == 200 else None,
            has_base_href=json_field(notes, "based", bool) if status == 200 else False,
            transient=bool(notes.get("passing", False)),
            family=json_field(notes, "family", str) if "family" in notes else "",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the notes as they are stored."""
        notes: dict[str, Any] = {
            "status": self.status,
            "headers": list(self.headers.items()),
            "request_time": self.request_time,
            "response_time": self.response_time,
            "upstream": self.upstream,
            "url": self.url,
            "of": self.source_digest,
        }
        if self.representation is not None:
            notes |= {"kind": self.representation.value, "based": self.has_base_href}
        if self.transient:
            notes["passing"] = True
        if self.family:
            notes["family"] = self.family
        return notes


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantNotes:
    """Notes of a page's variant, whose value is the plain body and then the gzipped one.

    `source_digest` is that of the page that it was made of, `plain_size` the plain body's length in bytes, `gzip_crc` the CRC-32 of
    the gzipped one; the plain one is checked by its entity tag.
    """

    source_digest: str
    plain_size: int
    etag: str
    edited: bool
    gzip_crc: int

    @classmethod
    def from_json(cls, notes: Json) -> Self:
        """Read the notes as they are stored. Raises ValueError."""
        return cls(
            source_digest=json_field(notes, "of", str),
            plain_size=json_field(notes, "plain", int),
            etag=json_field(notes, "etag", str),
            edited=json_field(notes, "edited", bool),
            gzip_crc=json_field(notes, "gzipped", int),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the notes as they are stored."""
        return {
            "of": self.source_digest,
            "plain": self.plain_size,
            "etag": self.etag,
            "edited": self.edited,
            "gzipped": self.gzip_crc,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FileNotes:
    """Notes of a release file.

    `headers` are those that its answers carry, `upstream_headers` those that it came with. `attempt` names the download that brought
    it: clients that began to read during it hold an entity tag with that name.
    """

    name: str
    url: str
    digest: str
    attempt: str
    headers: CIMultiDict[str]
    upstream_headers: CIMultiDict[str]
    request_time: float
    response_time: float

    @property
    def stored(self) -> Stored:
        """The answer that it came with, for the rules of freshness; they decide only of files that are known by their URL alone."""
        return _stored_of(self.upstream_headers, self.request_time, self.response_time)

    @classmethod
    def from_json(cls, notes: Json) -> Self:
        """Read the notes as they are stored. Raises ValueError."""
        return cls(
            name=json_field(notes, "name", str),
            url=json_field(notes, "url", str),
            digest=json_field(notes, "digest", str),
            attempt=json_field(notes, "attempt", str),
            headers=json_headers(notes, "headers", served=True),
            upstream_headers=json_headers(notes, "upstream_headers"),
            request_time=json_time(notes, "request_time"),
            response_time=json_time(notes, "response_time"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the notes as they are stored."""
        return {
            "name": self.name,
            "url": self.url,
            "digest": self.digest,
            "attempt": self.attempt,
            "headers": list(self.headers.items()),
            "upstream_headers": list(self.upstream_headers.items()),
            "request_time": self.request_time,
            "response_time": self.response_time,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNotes:
    """Notes of an index's list of all projects. `digest` is its file's, `sha256:<64 hex>`."""

    representation: Representation
    url: str
    upstream: str
    digest: str
    upstream_headers: CIMultiDict[str]
    request_time: float
    response_time: float

    @property
    def stored(self) -> Stored:
        """The answer that it came with, for the rules of freshness."""
        return _stored_of(self.upstream_headers, self.request_time, self.response_time)

    @classmethod
    def from_json(cls, notes: Json) -> Self:
        """Read the notes as they are stored. Raises ValueError."""
        return cls(
            representation=Representation(json_field(notes, "kind", str)),
            url=json_field(notes, "url", str),
            upstream=json_field(notes, "upstream", str),
            digest=json_field(notes, "digest", str),
            upstream_headers=json_headers(notes, "upstream_headers"),
            request_time=json_time(notes, "request_time"),
            response_time=json_time(notes, "response_time"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the notes as they are stored."""
        return {
            "kind": self.representation.value,
            "url": self.url,
            "upstream": self.upstream,
            "digest": self.digest,
            "upstream_headers": list(self.upstream_headers.items()),
            "request_time": self.request_time,
            "response_time": self.response_time,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeNotes:
    """Notes of the ranges that are cached of one file, whose bytes follow one another in the value.

    Each of `parts` is (start, stop, when it came): half-open, in bytes, and seconds since the epoch. `value_tag` is the entity tag of
    the whole value, which tells a damaged one.
    """

    name: str
    total: int
    headers: CIMultiDict[str]
    parts: tuple[tuple[int, int, float], ...]
    value_tag: str

    @classmethod
    def from_json(cls, notes: Json) -> Self:
        """Read the notes as they are stored. Raises ValueError."""
        total = json_field(notes, "total", int)
        parts = json_rows(notes, "parts", (int, int, (int, float)))
        if len(parts) > MOST_PARTS or not all(0 <= start < stop <= total for start, stop, _ in parts):
            raise ValueError(f"parts are {shown(parts)}")
        return cls(
            name=json_field(notes, "name", str),
            total=total,
            headers=json_headers(notes, "headers", served=True),
            parts=tuple((start, stop, checked_time(came, "parts")) for start, stop, came in parts),
            value_tag=json_field(notes, "of", str),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the notes as they are stored."""
        return {
            "name": self.name,
            "total": self.total,
            "headers": list(self.headers.items()),
            "parts": [list(part) for part in self.parts],
            "of": self.value_tag,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNotes:
    """Notes of the learned file hosts: (host, port, index, when it was last asked for in seconds since the epoch)."""

    hosts: tuple[tuple[str, int, str, float], ...]

    @classmethod
    def from_json(cls, notes: Json) -> Self:
        """Read the notes as they are stored. Raises ValueError."""
        rows = json_rows(notes, "hosts", (str, int, str, (int, float)))
        if len(rows) > MOST_PARTS or not all(0 < port < 65536 for _, port, *_ in rows):
            raise ValueError(f"hosts are {shown(rows)}")
        return cls(hosts=tuple((host, port, index, checked_time(used, "hosts")) for host, port, index, used in rows))

    def to_json(self) -> dict[str, Any]:
        """Return the notes as they are stored."""
        return {"hosts": [list(row) for row in self.hosts]}


def _stored_of(headers: CIMultiDict[str], request_time: float, response_time: float) -> Stored:
    return Stored(status=200, headers=headers, request_time=request_time, response_time=response_time)
