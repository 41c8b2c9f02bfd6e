"""Whether bytes are those that were stored: one way to hash and compare, and what `pypi-cache verify` checks of each entry.

A release file is compared with its digest, a page with the digest of its plain body, a page's variant with its entity tag. The proxy
itself checks release files as it serves them (store.py, rehash.py). `orphans` walks the whole folder and `fault_of` reads whole
values: they are for the command, which may take its time.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from pkgcache.engine.store.entries import Entries, Row
from pkgcache.engine.store.growing import file_stem
from pkgcache.engine.store.keys import StoreKey, parse_key
from pkgcache.engine.store.safe_files import ForeignFileError
from pkgcache.rules.http.validation import strong_tag
from pkgcache.rules.routing.digests import Digest

HASH_CHUNK = 1 << 20

MOST_IN_MEMORY = 1 << 29
"""Bytes of a value that is read whole, or decompressed: a page, or its plain and its gzipped body together. A few kilobytes of gzip can
become more than any memory."""


def mismatch(digest: Digest, chunks: Iterable[bytes]) -> str:
    """Compare the hash of `chunks` with `digest`: what is wrong, in one line; empty where they agree.

    Where bytes are hashed as they come from a network, `Digest.mismatch` alone compares.

    >>> mismatch(Digest("blake2b", "00" * 32), [b"six"])[:14]
    'its blake2b is'
    """
    hasher = digest.hasher()
    for chunk in chunks:
        hasher.update(chunk)
    return digest.mismatch(hasher.hexdigest())


def expected_digest(key: StoreKey, notes: Mapping[str, Any]) -> Digest:
    """The digest that a release file must have: its key's, or its notes' where the key is a URL. Raises ValueError.

    Whoever can write to the database may write a row for a known key, and so name bytes of their own by another file's digest.
    """
    with contextlib.suppress(ValueError):
        return Digest.parse(parse_key(key).identity)
    try:
        return Digest.parse(notes["digest"])
    except (AttributeError, KeyError) as error:
        raise ValueError(f"its notes have no digest ({error})") from None


def fault_of(entries: Entries, row: Row, progress: Callable[[int], object] = lambda _: None) -> str:
    """Read an entry's value: what is wrong with it, in one line; empty where its bytes are those that were stored.

    `progress` is called with the number of bytes of each read. An entry that was dropped or replaced since `row` was read has no fault.
    Raises what `database.TROUBLE` names.
    """
    found = entries.database.find(row.key)
    if found is None or found.mark != (row.rowid, row.stored_at, row.filename):
        return ""
    try:
        value = entries.database.value(found)
    except FileNotFoundError:
        found = entries.database.find(row.key)
        return "its file is gone" if found and found.mark == (row.rowid, row.stored_at, row.filename) else ""
    except (ValueError, TypeError) as error:
        return str(error)
    if isinstance(value, bytes):
        progress(len(value))
        return _fault_of_value(row, value)
    with value:
        if "digest" in row.notes:
            return _fault_of_chunks(row, _read(value, progress))
        if os.fstat(value.fileno()).st_size > MOST_IN_MEMORY:
            return "it is larger than any page"
        content = value.read()
    progress(len(content))
    return _fault_of_value(row, content)


def _read(file: IO[bytes], progress: Callable[[int], object]) -> Iterator[bytes]:
    while chunk := file.read(HASH_CHUNK):
        progress(len(chunk))
        yield chunk


def _fault_of_chunks(row: Row, chunks: Iterable[bytes]) -> str:
    """Compare a value with the digest and the size that its notes have."""
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            size += len(chunk)
            yield chunk

    try:
        fault = mismatch(expected_digest(row.key, row.notes), counted())
    except ValueError as error:
        return str(error)
    if size != row.notes.get("size"):
        return f"it has {size} bytes and should have {row.notes.get('size')}"
    return fault


def _fault_of_value(row: Row, value: bytes) -> str:
    """Compare a value that is in memory with what its notes say of it. Kinds that note nothing of the kind are compared in size alone."""
    notes = row.notes
    if len(value) != notes.get("size"):
        return f"it has {len(value)} bytes and should have {notes.get('size')}"
    if "digest" in notes:
        return _fault_of_chunks(row, [value])
    kind = row.key.partition("|")[0]
    try:
        if kind == "view":
            plain = value[: notes["plain"]]
            if strong_tag(plain) != notes["etag"]:
                return "its plain body is not the one that its entity tag is of"
            return "" if _gunzipped(value[notes["plain"] :]) == plain else "its gzipped body is not its plain one"
        if kind == "page" and notes["status"] == 200:
            right = blake2b(_gunzipped(value), digest_size=16).hexdigest() == notes["of"]
            return "" if right else "its body is not the one that was stored"
    except (KeyError, TypeError, zlib.error) as error:
        return f"it makes no sense ({type(error).__name__}: {error})"
    return ""


def _gunzipped(value: bytes) -> bytes:
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    plain = decoder.decompress(value, MOST_IN_MEMORY)
    if not decoder.eof:
        raise zlib.error("cut short")
    return plain


def quarantine(entries: Entries, row: Row) -> Path | None:
    """Drop a faulty entry, and move its file, if it has one of ours, to `quarantine/`: return the file's new path."""
    target = entries.directory / "quarantine" / f"{file_stem(row.key)}-{int(time.time())}"
    moved = row.filename is not None and entries.database.files.move_to(row.filename, target)
    entries.drop_rows([row])
    return target if moved else None


def orphans(entries: Entries, older_than: float) -> Iterator[tuple[str, int]]:
    """Yield the files under `entries/` that no row names, with their sizes.

    Not those that changed within `older_than` seconds: a commit may be under way.
    """
    oldest = time.time() - older_than
    known = {row.filename for row in entries.rows() if row.filename is not None}
    files = entries.database.files
    for name in files.names():
        with contextlib.suppress(FileNotFoundError, ForeignFileError):
            if name not in known and (status := files.status(name)).st_ctime < oldest:
                yield name, status.st_size
