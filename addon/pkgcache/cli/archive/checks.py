"""Whether an archive's card may become an entry: an archive is believed in nothing that can be checked. Pure.

A file's key is its digest, so nobody can slip in another file under it. A page is what its maker's index said, as far as one believes who
has brought the archive; its notes must have the shapes that the proxy reads, and its body the digest that the notes name.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from pkgcache.cli.archive.archive_format import EntryHeader
from pkgcache.engine.pages.stored_page import body_digest
from pkgcache.engine.store.keys import ParsedKey, file_key, parse_key
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.representations import Representation

MOST_PAGE = 1 << 30
MOST_KEY = 4096

_NUMBER = (int, float)
_FILE = {"name": str, "url": str, "digest": str, "attempt": str, "request_time": _NUMBER, "response_time": _NUMBER}
_PAGE = {
    "upstream": str,
    "url": str,
    "of": str,
    "kind": str,
    "based": bool,
    "request_time": _NUMBER,
    "response_time": _NUMBER,
}
_ROOT = {"upstream": str, "url": str, "digest": str, "kind": str, "request_time": _NUMBER, "response_time": _NUMBER}


def why_refused(card: EntryHeader) -> str:
    """What is wrong with a card, in one line; empty: nothing. Its value is yet to be held against its digest."""
    named = parse_key(card.key)
    if len(card.key) > MOST_KEY or card.notes.get("size") != card.size:
        return "its card makes no sense"
    if named.private:
        return "it was fetched with credentials"
    if card.key == "hosts":
        return "" if hosts_of(card.notes) is not None else "its list of hosts makes no sense"
    match named.kind:
        case "file":
            return _file_objection(card, named)
        case "page" if card.notes.get("status") != 200 or card.notes.get("passing"):
            return "it is no page that is kept"
        case "page":
            return _shape(card.notes, _PAGE, "headers") or _url_and_kind(card.notes)
        case "root" if card.digest != card.notes.get("digest"):
            return "its digest is not that of its notes"
        case "root":
            return _shape(card.notes, _ROOT, "upstream_headers") or _url_and_kind(card.notes)
        case _:
            return f"an entry of kind {named.kind} is in no archive"


def _file_objection(card: EntryHeader, named: ParsedKey) -> str:
    if said := _shape(card.notes, _FILE, "headers", "upstream_headers"):
        return said
    if card.key != file_key(named.space, named.identity, named.name) or card.notes["name"] != named.name:
        return "its name is not that of its key"
    if card.digest != card.notes["digest"]:
        return "its digest is not that of its notes"
    try:
        of_key = Digest.parse(named.identity)
    except ValueError:
        return ""  # known by its URL: nothing says what it should be
    return "" if str(of_key) == card.digest else f"its digest is {card.digest}, and its key says {of_key}"


def _shape(notes: Mapping[str, Any], types: Mapping[str, Any], *headers: str) -> str:
    for name, kind in types.items():
        if not isinstance(notes.get(name), kind):
            return f"its notes make no sense: {name} is {notes.get(name)!r:.40}"
    for name in headers:
        pairs = notes.get(name)
        if not isinstance(pairs, list) or not all(
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(text, str) and _is_field(text) for text in pair)
            for pair in pairs
        ):
            return f"its notes make no sense: {name} are no headers"
    return ""


def _is_field(text: str) -> bool:
    """RFC 9110 §5.5: no line breaks in a header's name or value."""
    return not any(each in text for each in "\r\n\0")


def _url_and_kind(notes: Mapping[str, Any]) -> str:
    try:
        parse_url(notes["url"])
        Representation(notes["kind"])
    except ValueError as error:
        return f"its notes make no sense: {error}"
    return ""


def page_objection(card: EntryHeader, value: bytes) -> str:
    """What is wrong with a page's stored bytes (gzip) by the digest of its notes."""
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = decoder.decompress(value, MOST_PAGE)
    except zlib.error as error:
        return f"its body cannot be unpacked ({error})"
    if not decoder.eof or decoder.unused_data:
        return "its body is cut short, or too long"
    return "" if body_digest(plain) == card.notes["of"] else "its body is another than its notes say"


def hosts_of(notes: Mapping[str, Any]) -> list[tuple[str, int, str, float]] | None:
    """The learned file hosts of the proxy's notes: host, port, index, last asked for; None where they make no sense."""
    rows = notes.get("hosts")
    if not isinstance(rows, list):
        return None
    shapes: tuple[Any, ...] = (str, int, str, _NUMBER)
    if not all(
        isinstance(row, list)
        and len(row) == 4
        and all(isinstance(each, kind) for each, kind in zip(row, shapes, strict=True))
        for row in rows
    ):
        return None
    return [(row[0], row[1], row[2], row[3]) for row in rows]


def is_newer(card: EntryHeader, there: Mapping[str, Any]) -> bool:
    """Whether a card's entry is to take the place of the one that is there: other content, and fetched later."""
    if parse_key(card.key).kind == "file" and (there.get("digest"), there.get("size")) == (card.digest, card.size):
        return False
    known = there.get("response_time")
    return not isinstance(known, _NUMBER) or bool(card.notes.get("response_time", 0) > known)
