"""Looking after a store's folder: what a kill left behind, and whether what is stored is what was stored.

`clean_up` runs at every opening and reads the journal alone. `fault_of` re-hashes one entry; `orphans` walks the folder: both are for
the command, which may take its time.
"""

from __future__ import annotations

import contextlib
import io
import logging
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO

from pkgcache.engine.store.entries import Entries, Row
from pkgcache.engine.store.growing import file_stem
from pkgcache.rules.http.validation import strong_tag
from pkgcache.rules.routing.digests import Digest

logger = logging.getLogger(__name__)

HASH_CHUNK = 1 << 20


def mismatch(digest: Digest, chunks: Iterable[bytes]) -> str:
    """Compare the hash of `chunks` with `digest`: what is wrong, in one line; empty where they agree.

    Where bytes are hashed one by one as they come, `Digest.mismatch` compares.

    >>> mismatch(Digest("blake2b", "00" * 32), [b"six"])[:14]
    'its blake2b is'
    """
    hasher = digest.hasher()
    for chunk in chunks:
        hasher.update(chunk)
    return digest.mismatch(hasher.hexdigest())


def fault_of(entries: Entries, row: Row, progress: Callable[[int], object] = lambda _: None) -> str:
    """What is wrong with an entry, in one line; empty where its bytes are those that were stored. `progress` hears of bytes read.

    An entry that has gone or was replaced meanwhile has no fault. Raises what `database.TROUBLE` names.
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
            return _fault_of_file(row, value, progress)
        content = value.read()
    progress(len(content))
    return _fault_of_value(row, content)


def _fault_of_file(row: Row, file: IO[bytes], progress: Callable[[int], object]) -> str:
    size = 0

    def chunks() -> Iterator[bytes]:
        nonlocal size
        while chunk := file.read(HASH_CHUNK):
            size += len(chunk)
            progress(len(chunk))
            yield chunk

    try:
        fault = mismatch(Digest.parse(row.notes["digest"]), chunks())
    except (ValueError, AttributeError) as error:
        return str(error)
    if size != row.notes.get("size"):
        return f"it has {size} bytes and should have {row.notes.get('size')}"
    return fault


def _fault_of_value(row: Row, value: bytes) -> str:
    """Pages are held against the digest of their plain body, views against their entity tag."""
    notes = row.notes
    if len(value) != notes.get("size"):
        return f"it has {len(value)} bytes and should have {notes.get('size')}"
    if "digest" in notes:
        return _fault_of_file(row, io.BytesIO(value), lambda _: None)
    kind = row.key.partition("|")[0]
    try:
        if kind == "view":
            plain = value[: notes["plain"]]
            if strong_tag(plain) != notes["etag"]:
                return "its plain body is another than its entity tag says"
            return (
                "" if _gunzipped(value[notes["plain"] :]) == plain else "its gzipped body is another than its plain one"
            )
        if kind == "page" and notes["status"] == 200:
            right = blake2b(_gunzipped(value), digest_size=16).hexdigest() == notes["of"]
            return "" if right else "its body is another than was stored"
    except (KeyError, TypeError, zlib.error) as error:
        return f"it makes no sense ({type(error).__name__}: {error})"
    return ""


def _gunzipped(value: bytes) -> bytes:
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    plain = decoder.decompress(value)
    if not decoder.eof:
        raise zlib.error("cut short")
    return plain


def quarantine(entries: Entries, row: Row) -> Path | None:
    """Take a faulty entry out of the store; its file, if it has one, is kept in `quarantine/`: where."""
    kept: Path | None = None
    if row.filename is not None and (file := entries.folder / row.filename).exists():
        folder = entries.directory / "quarantine"
        folder.mkdir(mode=0o700, exist_ok=True)
        kept = folder / f"{file_stem(row.key)}-{int(time.time())}"
        file.replace(kept)
    entries.drop_rows([row])
    return kept


def orphans(entries: Entries, older_than: float) -> Iterator[Path]:
    """Files under `entries/` that no row knows, unchanged for that many seconds (a commit may be under way)."""
    oldest = time.time() - older_than
    known = {row.filename for row in entries.rows() if row.filename is not None}
    for path in entries.folder.glob("*/*/*.val"):
        name = path.relative_to(entries.folder).as_posix()
        with contextlib.suppress(FileNotFoundError):
            if name not in known and path.stat().st_ctime < oldest:
                yield path
