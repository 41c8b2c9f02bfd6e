"""Whether an entry of an archive may become an entry of the store. Pure.

An archive may come from anybody, so nothing in it is taken on trust that can be checked. A file's key is its digest, so no other file can
take its place. Index pages are only as trustworthy as the archive's source: they are held to what the proxy itself would have written, in
key, notes, times, header fields and size, and must read as a page. What is stored are not the archive's notes, but what was read of
them. The value's own length and digest are checked by `archive_format.checked`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from multidict import CIMultiDict

from pkgcache.cli.archive.archive_format import EntryHeader
from pkgcache.engine.pages.stored_page import MAX_STORED, body_digest
from pkgcache.engine.store.json_fields import json_time
from pkgcache.engine.store.keys import HOSTS_KEY, ParsedKey, file_key, parse_key
from pkgcache.engine.store.notes import FileNotes, HostNotes, ListNotes, PageNotes
from pkgcache.rules.http.freshness import CLOCK_SKEW
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.routes import PUBLIC
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.representations import Representation
from pkgcache.rules.simple.transform import TransformSpec, transform

MAX_KEY = 4096

FILE_FIELDS: Final = frozenset({"content-type", "last-modified", "cache-control", "expires"})
"""The header fields that the proxy serves a release file with, beside those that it makes itself (`FileIdentity.headers`)."""

_PAGE_NAME: Final = re.compile(r"[^/|%A-Z_.\x00-\x20\x7f]+(?:(?:/[^/|\x00-\x20\x7f]+)?/json(?:/made)?)?")
"""A normalised project name (PEP 503), or a document of the JSON API: `six/json`, `six/1.0/json`, `six/1.0/json/made`."""


type Taken = FileNotes | PageNotes | ListNotes | HostNotes


def read_notes(header: EntryHeader, now: float) -> Taken:
    """Read an entry's notes, as the store may have them. ValueError, in one line, where the entry must not be taken.

    `now` is in seconds since the epoch: what came later than that would be fresh for as long as somebody likes.
    """
    parsed = parse_key(header.key)
    if len(header.key) > MAX_KEY or header.notes.get("size") != header.size:
        raise ValueError("its header makes no sense")
    if parsed.private:
        raise ValueError("it was fetched with credentials")
    if header.key == HOSTS_KEY:
        return _as_notes(HostNotes, header)
    match parsed.kind:
        case "file":
            file = _as_notes(FileNotes, header)
            _refuse(_why_file_refused(header, parsed, file) or _why_times_refused(file, now))
            return replace(file, headers=_chosen(file.headers, FILE_FIELDS))
        case "page":
            page = _as_notes(PageNotes, header)
            _refuse(_why_page_refused(header, page) or _why_times_refused(page, now))
            return page
        case "root":
            projects = _as_notes(ListNotes, header)
            _refuse(_why_list_refused(header, projects) or _why_times_refused(projects, now))
            return projects
        case _:
            raise ValueError(f"an archive holds no entries of kind {parsed.kind}")


def _refuse(reason: str) -> None:
    if reason:
        raise ValueError(reason)


def why_refused(header: EntryHeader, now: float) -> str:
    """Say in one line why an entry must not be taken, by its header alone; empty if it may be."""
    try:
        read_notes(header, now)
    except ValueError as error:
        return str(error)
    return ""


def _as_notes[T: (FileNotes, PageNotes, ListNotes, HostNotes)](kind: type[T], header: EntryHeader) -> T:
    try:
        return kind.from_json(header.notes)
    except ValueError as error:
        raise ValueError(f"its notes make no sense: {error}") from None


def _chosen(headers: CIMultiDict[str], names: Collection[str]) -> CIMultiDict[str]:
    return CIMultiDict([(name, value) for name, value in headers.items() if name.lower() in names])


def _why_times_refused(notes: FileNotes | PageNotes | ListNotes, now: float) -> str:
    latest = max(notes.request_time, notes.response_time)
    return f"it is from {latest - now:.0f} seconds ahead of this machine's clock" if latest > now + CLOCK_SKEW else ""


def _why_file_refused(header: EntryHeader, parsed: ParsedKey, notes: FileNotes) -> str:
    # A key that is spelt otherwise than the engine would spell it could shadow, or be mistaken for, another file's.
    if header.key != file_key(parsed.space, parsed.identity, parsed.name) or notes.name != parsed.name:
        return "its name differs from that in its key"
    if header.digest != notes.digest:
        return "its digest differs from that in its notes"
    try:
        digest_of_key = Digest.parse(parsed.identity)
    except ValueError:
        return ""  # The key is a URL: nothing says what the file's digest should be.
    return (
        ""
        if str(digest_of_key) == header.digest
        else f"its digest is {header.digest}, but its key says {digest_of_key}"
    )


def _why_page_refused(header: EntryHeader, notes: PageNotes) -> str:
    if notes.status != 200 or notes.transient:
        return "archives hold only pages that were found"
    _, space, index, *name, representation = header.key.split("|")
    if len(name) != 1 or not _PAGE_NAME.fullmatch(name[0]) or not index or space != PUBLIC:
        return "its key is no page's"
    if representation not in set(Representation) or (notes.representation is None):
        return "its key is no page's"
    if header.size > MAX_STORED:
        return f"its page has {header.size:,} bytes, more than the {MAX_STORED:,} of any page"
    return _why_url_refused(notes.url)


def _why_list_refused(header: EntryHeader, notes: ListNotes) -> str:
    if header.digest != notes.digest:
        return "its digest differs from that in its notes"
    if header.key.rpartition("|")[2] not in set(Representation):
        return "its key is no list's"
    return _why_url_refused(notes.url)


def _why_url_refused(url: str) -> str:
    try:
        parse_url(url)
    except ValueError as error:
        return f"its notes make no sense: {error}"
    return ""


def read_body(header: EntryHeader, value: bytes, canonical_files: str) -> tuple[str, ...]:
    """Read a page's stored body (gzip). Returns the origins of its release files; `canonical_files` is as in `PageContext`.

    ValueError, in one line, unless it has the digest that its notes name, is as small as the proxy's own, and reads as a project's page.
    """
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = decoder.decompress(value, MAX_STORED)
    except zlib.error as error:
        raise ValueError(f"its body cannot be unpacked ({error})") from None
    if not decoder.eof or decoder.unused_data:
        raise ValueError("its body is cut short, or too long")
    notes = PageNotes.from_json(header.notes)
    if body_digest(plain) != notes.source_digest:
        raise ValueError("its body differs from what its notes say")
    try:
        return transform(plain, _spec(header, notes, canonical_files))[0].origins
    except BrokenPage as error:
        raise ValueError(f"its body is no page: {error}") from None


def _spec(header: EntryHeader, notes: PageNotes, canonical_files: str) -> TransformSpec:
    """What the proxy makes of a page as it arrives (`fetcher.keep`), for some client: whether it can be made, and its links, matter."""
    url = parse_url(notes.url)
    name = header.key.split("|")[3]
    kind = (notes.representation or Representation.JSON).kind
    return TransformSpec(
        stored=kind,
        wanted=kind,
        project=name.partition("/")[0],
        context=PageContext(upstream=url, client_url=url, canonical_files=canonical_files, own_prefix=""),
        shares_pypi_files=False,
        document="/" in name,
        check=True,
    )


def is_newer(header: EntryHeader, stored: Mapping[str, Any]) -> bool:
    """Whether an archive's entry should replace the stored one (`stored`: its notes): other content, and fetched later."""
    if parse_key(header.key).kind == "file" and (stored.get("digest"), stored.get("size")) == (
        header.digest,
        header.size,
    ):
        return False
    try:
        return bool(header.notes.get("response_time", 0) > json_time(stored, "response_time"))
    except ValueError:
        return True
