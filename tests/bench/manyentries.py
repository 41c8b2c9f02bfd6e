"""A store of any number of entries, made in bulk in the very shape that the proxy writes: for benchmarks of a store that is large.

Each project has four entries: its JSON page, the view of it that clients get, a wheel of 40 kB and the wheel's core metadata (both are
files, as the proxy keeps them). Every value has the digest that its key and notes name, so the proxy serves it and `pypi-cache verify`
finds nothing wrong. Rows are written many in a transaction, and files without fsync: through the proxy it would take hours.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

from pkgcache.engine.pages.page_variant import PageVariant, notes_of
from pkgcache.engine.pages.stored_page import body_digest, gzipped_page
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.keys import file_key, page_key, variant_key
from pkgcache.rules.http.validation import strong_tag
from pkgcache.rules.routing.indexes import build_indexes
from pkgcache.rules.routing.routes import PUBLIC
from pkgcache.rules.simple.representations import Representation
from tests.support.index import JSON_TYPE, LinkForm, PageStyle, project_json
from tests.support.names import FILES_ORIGIN, INDEX_URL, file_url, page_url
from tests.support.wheels import ReleaseFile

EACH: Final = 4
"""Entries of a project."""

WHEEL_SIZE: Final = 40_000
_IN_A_TRANSACTION: Final = 2_000
_MODE_RAW, _MODE_BINARY = 1, 2
_INSERT: Final = (
    "INSERT INTO Cache (key, raw, store_time, access_time, access_count, tag, size, mode, filename, value) "
    "VALUES (?, 1, ?, ?, 0, ?, ?, ?, ?, ?)"
)
type _Row = tuple[str, float, float, str, int, int, str | None, bytes | None]


@contextmanager
def open_entries(store: Path) -> Iterator[Entries]:
    entries = Entries(store, max_size=1 << 50, min_free=0)
    entries.open()
    try:
        yield entries
    finally:
        entries.close()


def release_of(number: int) -> ReleaseFile:
    """The one release of a project: its wheel is a stamp and zeros, no archive at all."""
    name, metadata = f"project-{number:06}", _metadata(number)
    content = f"{name} ".encode().ljust(WHEEL_SIZE, b"\0")
    return ReleaseFile(
        project=name,
        version="1.0",
        filename=f"project_{number:06}-1.0-py3-none-any.whl",
        data=content,
        size=WHEEL_SIZE,
        sha256=hashlib.sha256(content).hexdigest(),
        blake2b=hashlib.blake2b(content, digest_size=32).hexdigest(),
        metadata=metadata,
    )


def _metadata(number: int) -> bytes:
    return f"Metadata-Version: 2.2\nName: project-{number:06}\nVersion: 1.0\nSummary: {'many words ' * 40}\n".encode()


def make_store(store: Path, entries: int) -> None:
    """See to it that the store has so many entries: those that are missing are made. The lowest numbers were asked for longest ago."""
    projects = entries // EACH
    with open_entries(store) as opened:
        for start in range(0, projects, _IN_A_TRANSACTION // EACH):
            numbers = range(start, min(start + _IN_A_TRANSACTION // EACH, projects))
            keys = {number: _keys(number) for number in numbers}
            there = opened.present([key for some in keys.values() for key in some])
            _write(opened, [number for number, some in keys.items() if not there.issuperset(some)], projects)


def urls_of(numbers: Sequence[int]) -> tuple[list[str], list[str]]:
    """The addresses of these projects' pages, and of their wheels, as clients ask for them."""
    releases = [release_of(number) for number in numbers]
    return [page_url(release.project) for release in releases], [file_url(release) for release in releases]


def _write(entries: Entries, numbers: Sequence[int], projects: int) -> None:
    rows = [row for number in numbers for row in _rows(entries, number, time.time() - (projects - number))]
    with entries.database.transaction(10):
        for key in entries.present([row[0] for row in rows]):
            entries.database.delete(key)
        for row in rows:
            entries.database.sql(_INSERT, row)


def _rows(entries: Entries, number: int, at: float) -> Iterator[_Row]:
    """A project's rows, last asked for `at`; its files are there by then."""
    release = release_of(number)
    plain = project_json(
        release.project, [release], INDEX_URL, PageStyle(form=LinkForm.CANONICAL, files_origin=FILES_ORIGIN)
    )
    gzipped = gzipped_page(plain)
    of = body_digest(plain)
    headers = _headers(JSON_TYPE, len(plain), of, "max-age=600, public")
    page_notes: dict[str, Any] = {"status": 200, "headers": headers, "request_time": at, "response_time": at}
    page_notes |= {"upstream": INDEX_URL, "url": page_url(release.project), "of": of, "kind": "json", "based": False}
    page = _page_key(release.project)
    variant = PageVariant(
        source_digest=of,
        key=variant_key("slash", "json", page),
        kind="json",
        plain=plain,
        gzipped=gzipped,
        etag=strong_tag(plain),
        edited=False,
    )
    yield _in_row(page, gzipped, page_notes, at)
    yield _in_row(variant.key, plain + gzipped, notes_of(variant).to_json(), at)
    yield _in_file(entries, release, "", f"blake2b:{release.blake2b}", release.content, at)
    yield _in_file(entries, release, ".metadata", f"sha256:{release.metadata_sha256}", release.metadata, at)


def _in_row(key: str, value: bytes, notes: dict[str, Any], at: float) -> _Row:
    return key, at, at, json.dumps({**notes, "size": len(value)}), 0, _MODE_RAW, None, value


def _in_file(entries: Entries, release: ReleaseFile, suffix: str, digest: str, content: bytes, at: float) -> _Row:
    name = release.filename + suffix
    random = os.urandom(16).hex()
    filename = f"{random[:2]}/{random[2:4]}/{random[4:]}.val"
    path = entries.folder / filename
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, content.rstrip(b"\0"))
    os.ftruncate(descriptor, len(content))
    os.close(descriptor)
    sent = _headers("application/octet-stream", len(content), release.sha256, "max-age=365000000, immutable, public")
    kept = [pair for pair in sent if pair[0] in {"Content-Type", "Last-Modified", "Cache-Control"}]
    notes: dict[str, Any] = {
        "name": name,
        "url": file_url(release, suffix),
        "digest": digest,
        "attempt": random[:8],
        "headers": kept,
    }
    notes |= {"upstream_headers": sent, "request_time": at, "response_time": at, "size": len(content)}
    return file_key(PUBLIC, digest, name), at, at, json.dumps(notes), len(content), _MODE_BINARY, filename, None


def _headers(content_type: str, size: int, tag: str, cache_control: str) -> list[tuple[str, str]]:
    return [
        ("Date", formatdate(usegmt=True)),
        ("Server", "scripted"),
        ("Content-Type", content_type),
        ("Etag", f'"{tag[:32]}"'),
        ("Last-Modified", formatdate(1_700_000_000, usegmt=True)),
        ("Vary", "Accept, Accept-Encoding"),
        ("Cache-Control", cache_control),
        ("Accept-Ranges", "bytes"),
        ("Content-Length", str(size)),
    ]


_PYPI: Final = build_indexes((), pip_defaults())[0]


def _keys(number: int) -> list[str]:
    """Those of a project's entries that eviction may have come to, after a run that asked for its page and its wheel."""
    page, digest = _page_key(f"project-{number:06}"), hashlib.sha256(_metadata(number)).hexdigest()
    metadata = file_key(PUBLIC, f"sha256:{digest}", f"project_{number:06}-1.0-py3-none-any.whl.metadata")
    return [page, f"view|slash|json|{page}", metadata]


def _page_key(project: str) -> str:
    return page_key(PUBLIC, _PYPI.name, project, Representation.JSON)
