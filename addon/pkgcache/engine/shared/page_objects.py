"""The object of an index page: one line of JSON with what the store notes of it and a digest, and behind it the page as it is stored."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from pkgcache.engine.store.entries import Notes
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.notes import PageNotes
from pkgcache.rules.routing.urls import parse_url

_FORMAT: Final = 1
_MOST_HEAD: Final = 256 * 1024


def pack(key: StoreKey, notes: Notes, body: bytes) -> bytes:
    """Make a page's object: one line of JSON, and the body."""
    head = {"format": _FORMAT, "key": key, "sha256": hashlib.sha256(body).hexdigest(), "notes": notes}
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + body


def unpack(key: StoreKey, content: bytes) -> tuple[Notes, bytes]:
    """Read the object of a page. ValueError says what is wrong with it."""
    end = content.find(b"\n", 0, _MOST_HEAD)
    try:
        head: Any = json.loads(content[: max(end, 0)])
    except RecursionError:
        raise ValueError("its head is nested too deep") from None
    body = content[end + 1 :]
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise ValueError("it is no page")
    if head.get("key") != key:
        raise ValueError(f"it is another page, {str(head.get('key'))[:200]!r}")
    if head.get("sha256") != hashlib.sha256(body).hexdigest():
        raise ValueError("its body is not what its digest says")
    notes = head.get("notes")
    if not isinstance(notes, dict) or not _is_stored_page(PageNotes.from_json(notes)):
        raise ValueError("its notes are no page's")
    return notes, body


def _is_stored_page(page: PageNotes) -> bool:
    """Whether these can be a stored page's. Raises ValueError for a URL that is none: the page's links are resolved by it."""
    parse_url(page.url)
    return page.status == 200 and not page.transient
