"""Whether an entry of an archive may become an entry of the store. Pure.

An archive may come from anybody, so nothing in it is taken on trust that can be checked. A file's key is its digest, so no other file can
take its place. Index pages are only as trustworthy as the archive's source: their notes must have the shapes that the proxy reads, and
their body the digest that the notes name. The value's own length and digest are checked by `archive_format.checked`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from pkgcache.cli.archive.archive_format import EntryHeader
from pkgcache.engine.pages.stored_page import body_digest
from pkgcache.engine.store.keys import HOSTS_KEY, ParsedKey, file_key, parse_key
from pkgcache.engine.store.notes import FileNotes, HostNotes, ListNotes, PageNotes
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.urls import parse_url

MAX_PAGE = 1 << 30
"""Bytes of a page when unpacked: a few kilobytes of gzip can unpack to more than any memory."""

MAX_KEY = 4096


def why_refused(header: EntryHeader) -> str:
    """Say in one line why an entry must not be taken, by its header alone; empty if it may be."""
    parsed = parse_key(header.key)
    if len(header.key) > MAX_KEY or header.notes.get("size") != header.size:
        return "its header makes no sense"
    if parsed.private:
        return "it was fetched with credentials"
    try:
        if header.key == HOSTS_KEY:
            HostNotes.from_json(header.notes)
            return ""
        match parsed.kind:
            case "file":
                return _why_file_refused(header, parsed, FileNotes.from_json(header.notes))
            case "page":
                return _why_page_refused(PageNotes.from_json(header.notes))
            case "root":
                return _why_list_refused(header, ListNotes.from_json(header.notes))
            case _:
                return f"an archive holds no entries of kind {parsed.kind}"
    except ValueError as error:
        return f"its notes make no sense: {error}"


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


def _why_page_refused(notes: PageNotes) -> str:
    if notes.status != 200 or notes.transient:
        return "archives hold only pages that were found"
    parse_url(notes.url)
    return ""


def _why_list_refused(header: EntryHeader, notes: ListNotes) -> str:
    if header.digest != notes.digest:
        return "its digest differs from that in its notes"
    parse_url(notes.url)
    return ""


def why_body_refused(header: EntryHeader, value: bytes) -> str:
    """Say why a page's stored body (gzip) must not be taken; empty if it has the digest that its notes name."""
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = decoder.decompress(value, MAX_PAGE)
    except zlib.error as error:
        return f"its body cannot be unpacked ({error})"
    if not decoder.eof or decoder.unused_data:
        return "its body is cut short, or too long"
    matches = body_digest(plain) == PageNotes.from_json(header.notes).source_digest
    return "" if matches else "its body differs from what its notes say"


def is_newer(header: EntryHeader, stored: Mapping[str, Any]) -> bool:
    """Whether an archive's entry should replace the stored one (`stored`: its notes): other content, and fetched later."""
    if parse_key(header.key).kind == "file" and (stored.get("digest"), stored.get("size")) == (
        header.digest,
        header.size,
    ):
        return False
    fetched = stored.get("response_time")
    return not isinstance(fetched, int | float) or bool(header.notes.get("response_time", 0) > fetched)
