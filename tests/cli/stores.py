"""Entries as the proxy writes them, put straight into a store."""

import gzip
import time
from pathlib import Path
from typing import Any

from pkgcache.engine.pages.stored_page import body_digest
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.keys import file_key
from tests.cli.conftest import opened_store
from tests.support.index import project_json
from tests.support.wheels import ReleaseFile, make_wheel, normalise

PRIVATE = "0123456789abcdef0123456789abcdef"
FETCHED = 1_700_000_000.0
BIG = 100_000
"""Payload of a value that lies in a file of its own."""


def file_notes(release: ReleaseFile, identity: str, **more: Any) -> dict[str, Any]:
    return {
        "name": release.filename,
        "url": f"https://files.example/{release.quoted_path}",
        "digest": identity if ":" in identity and "//" not in identity else f"sha256:{release.sha256}",
        "attempt": "0",
        "headers": [["Content-Type", "application/octet-stream"]],
        "upstream_headers": [],
        "request_time": FETCHED,
        "response_time": FETCHED,
        **more,
    }


def put_file(entries: Entries, release: ReleaseFile, *, space: str = "-", content: bytes | None = None) -> str:
    """A release file's key."""
    identity = f"blake2b:{release.blake2b}"
    key = file_key(space, identity, release.filename)
    assert entries.put(key, release.content if content is None else content, file_notes(release, identity))
    return key


def put_page(
    entries: Entries, project: str, *releases: ReleaseFile, fetched: float = FETCHED, status: int = 200
) -> str:
    """A page's key; in JSON."""
    url = f"https://index.example/simple/{normalise(project)}/"
    body = project_json(project, releases, url)
    key = f"page|-|pypi|{normalise(project)}|json"
    notes = {
        "status": status,
        "headers": [["ETag", '"1"']],
        "request_time": fetched,
        "response_time": fetched,
        "upstream": "https://index.example/simple/",
        "url": url,
        "of": body_digest(body),
        "kind": "json",
        "based": False,
    }
    assert entries.put(key, gzip.compress(body, mtime=0) if status == 200 else b"-", notes)
    return key


def make_store(folder: Path) -> dict[str, str]:
    """alpha (a large file, a small one, its page), beta (a file, its page), a private file of gamma: keys by a short name."""
    large = make_wheel("alpha", "1.0", payload_size=BIG)
    small, other = make_wheel("alpha", "2.0"), make_wheel("beta", "1.0", payload_size=BIG, seed=3)
    with opened_store(folder) as entries:
        return {
            "large": put_file(entries, large),
            "small": put_file(entries, small),
            "page": put_page(entries, "alpha", large, small),
            "other": put_file(entries, other),
            "other page": put_page(entries, "beta", other),
            "private": put_file(entries, make_wheel("gamma"), space=PRIVATE),
        }


def keys(folder: Path) -> set[str]:
    """All that a store has."""
    with opened_store(folder) as entries:
        return {row.key for row in entries.rows()}


def file_of(folder: Path, key: str) -> Path:
    """Where a large value lies."""
    with opened_store(folder) as entries:
        return next(entries.folder / row.filename for row in entries.rows() if row.key == key and row.filename)


def damage(path: Path, at: int = 1000) -> None:
    """Turn one byte."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def age(folder: Path, key: str, seconds: float) -> None:
    """Have it that nobody asked for an entry in so long."""
    with opened_store(folder) as entries, entries.database.transaction(5):
        entries.database.sql("UPDATE Cache SET access_time = ? WHERE key = ?", (time.time() - seconds, key))
