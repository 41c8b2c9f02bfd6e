"""What is noted beside each kind of entry, with types: read from the store's JSON, and written to it.

`from_json` raises ValueError for notes that do not have these shapes, be it a damaged row or an archive's: the caller drops the entry
and fetches it again. The names in JSON are the store's format 1, so a field may be renamed here and never on disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from multidict import CIMultiDict

from pkgcache.rules.http.freshness import Stored
from pkgcache.rules.simple.representations import Representation

type Json = Mapping[str, Any]

_LINE_BREAK = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageNotes:
    """Notes of an index page, a document of the JSON API, or a remembered 404 (which has no `representation`).

    `source_digest` tells one version of the body from another; `has_base_href`: the page has a `<base href>`. `transient`: it is
    right for now, and not to be stored. Times are in seconds since the epoch.
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

    @property
    def stored(self) -> Stored:
        """What the rules of freshness look at."""
        return Stored(
            status=self.status,
            headers=self.headers,
            request_time=self.request_time,
            response_time=self.response_time,
        )

    @classmethod
    def from_json(cls, notes: Json) -> Self:
        """Raises ValueError."""
        status = _field(notes, "status", int)
        return cls(
            status=status,
            headers=_headers(notes, "headers"),
            request_time=_time(notes, "request_time"),
            response_time=_time(notes, "response_time"),
            upstream=_field(notes, "upstream", str),
            url=_field(notes, "url", str),
            source_digest=_field(notes, "of", str),
            representation=Representation(_field(notes, "kind", str)) if status == 200 else None,
            has_base_href=_field(notes, "based", bool) if status == 200 else False,
            transient=bool(notes.get("passing", False)),
        )

    def to_json(self) -> dict[str, Any]:
        """The notes as they are stored."""
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
        """Raises ValueError."""
        return cls(
            source_digest=_field(notes, "of", str),
            plain_size=_field(notes, "plain", int),
            etag=_field(notes, "etag", str),
            edited=_field(notes, "edited", bool),
            gzip_crc=_field(notes, "gzipped", int),
        )

    def to_json(self) -> dict[str, Any]:
        """The notes as they are stored."""
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
        """What the rules of freshness look at, for a file that is known by its URL alone."""
        return _stored_of(self.upstream_headers, self.request_time, self.response_time)

    @classmethod
    def from_json(cls, notes: Json) -> Self:
        """Raises ValueError."""
        return cls(
            name=_field(notes, "name", str),
            url=_field(notes, "url", str),
            digest=_field(notes, "digest", str),
            attempt=_field(notes, "attempt", str),
            headers=_headers(notes, "headers"),
            upstream_headers=_headers(notes, "upstream_headers"),
            request_time=_time(notes, "request_time"),
            response_time=_time(notes, "response_time"),
        )

    def to_json(self) -> dict[str, Any]:
        """The notes as they are stored."""
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
        """What the rules of freshness look at."""
        return _stored_of(self.upstream_headers, self.request_time, self.response_time)

    @classmethod
    def from_json(cls, notes: Json) -> Self:
        """Raises ValueError."""
        return cls(
            representation=Representation(_field(notes, "kind", str)),
            url=_field(notes, "url", str),
            upstream=_field(notes, "upstream", str),
            digest=_field(notes, "digest", str),
            upstream_headers=_headers(notes, "upstream_headers"),
            request_time=_time(notes, "request_time"),
            response_time=_time(notes, "response_time"),
        )

    def to_json(self) -> dict[str, Any]:
        """The notes as they are stored."""
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
        """Raises ValueError."""
        parts = _field(notes, "parts", list)
        if not all(
            isinstance(part, list)
            and len(part) == 3
            and type(part[0]) is type(part[1]) is int
            and 0 <= part[0] < part[1]
            and isinstance(part[2], int | float)
            for part in parts
        ):
            raise ValueError("parts are no spans with their times")
        return cls(
            name=_field(notes, "name", str),
            total=_field(notes, "total", int),
            headers=_headers(notes, "headers"),
            parts=tuple((start, stop, float(came)) for start, stop, came in parts),
            value_tag=_field(notes, "of", str),
        )

    def to_json(self) -> dict[str, Any]:
        """The notes as they are stored."""
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
        """Raises ValueError."""
        rows = _field(notes, "hosts", list)
        shapes: tuple[Any, ...] = (str, int, str, (int, float))
        for row in rows:
            if not isinstance(row, list) or len(row) != 4 or not all(map(isinstance, row, shapes)):
                raise ValueError(f"hosts has {row!r:.60}")
        return cls(hosts=tuple((host, port, index, float(used)) for host, port, index, used in rows))

    def to_json(self) -> dict[str, Any]:
        """The notes as they are stored."""
        return {"hosts": [list(row) for row in self.hosts]}


def _stored_of(headers: CIMultiDict[str], request_time: float, response_time: float) -> Stored:
    return Stored(status=200, headers=headers, request_time=request_time, response_time=response_time)


def _field[T](notes: Json, name: str, kind: type[T]) -> T:
    value = notes.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{name} is {value!r:.40}")
    return value


def _time(notes: Json, name: str) -> float:
    value = notes.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r:.40}")  # noqa: TRY004  as above
    return float(value)


def _headers(notes: Json, name: str) -> CIMultiDict[str]:
    """Header fields, as pairs (RFC 9110 §5.5: no line breaks in a name or value)."""
    pairs = _field(notes, name, list)
    for pair in pairs:  # at every hit, so without a generator for each text
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(f"{name} are no headers")
        key, value = pair
        if (
            not isinstance(key, str)
            or not isinstance(value, str)
            or _LINE_BREAK.search(key)
            or _LINE_BREAK.search(value)
        ):
            raise ValueError(f"{name} are no headers")
    return CIMultiDict(pairs)
