"""The names, locks and commit journals of the files in a store's `growing` folder, where downloads are written until they are whole.

A key has the same name there in every process, so that they find each other's downloads. The process that writes a file holds its
lock (flock), which the kernel releases when the process dies: a file whose lock is free belongs to nobody, and may be removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO

from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.safe_files import ForeignFileError, write_text

MOST_STATE = 1 << 20
"""Bytes of the state that the owner of a download publishes: the headers of an answer, and a little more."""


def file_stem(key: StoreKey) -> str:
    """Return the name, without its ending, of the files that belong to a key: `.part`, `.json`, `.commit`."""
    return blake2b(key.encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def unowned(opening: Callable[[], IO[bytes]]) -> Iterator[bool]:
    """Yield whether no live process owns a growing file, or it is gone, or is none of ours.

    `opening` opens it. Its lock is held meanwhile, so that no process can take it.
    """
    try:
        handle = opening()
    except (FileNotFoundError, ForeignFileError):
        yield True
        return
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def commit_journal(part: Path, key: StoreKey, *, undo: Callable[[str], object]) -> Iterator[Callable[[str], None]]:
    """Keep a journal while a finished file becomes an entry. Yields what writes it, to be called with the file's name to be.

    Where the commit fails, `undo` gets that name; where the process is killed, recovery.py reads it from `<part>.commit`.
    """
    journal = part.with_suffix(".commit")
    names: list[str] = []

    def note_name(name: str) -> None:
        names.append(name)
        write_text(journal, json.dumps({"key": key, "filename": name}))

    try:
        yield note_name
    except BaseException:
        for name in names:
            undo(name)
        raise
    finally:
        journal.unlink(missing_ok=True)
