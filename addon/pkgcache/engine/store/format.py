"""The `format` file of a store's folder: the version of keys and notes (keys.py, notes.py) in which its entries are written.

A store of an older format, or whose mark makes no sense, is set aside and a new one begun: everything in it can be fetched again. A
newer one is refused and left untouched, so that going back to an older version of this program costs nobody a cache.

Leaves out: the layout of the database, which SQLite and diskcache look after.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

from pkgcache.engine.store.safe_files import read_small, write_text

logger = logging.getLogger(__name__)

FORMAT = 1

ASIDE_SECONDS = 7 * 86400.0
"""How long a store that was set aside is kept, in case somebody wants to look at it."""


MOST_MARK = 64
"""Bytes of a mark: a number, and perhaps blanks around it."""


class StoreFormatError(Exception):
    """The folder's store has a newer format than this version reads. Its text is one line that says what to do."""


def read_format(directory: Path) -> str | None:
    """Return the folder's mark; None where there is none. Raises OSError."""
    try:
        return read_small(directory / "format", MOST_MARK).decode(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_newer(mark: str) -> bool:
    """Whether a mark is of a later version of this program."""
    return mark.isdecimal() and int(mark) > FORMAT


def check_format(directory: Path, entries: Path) -> None:
    """Make the folder one of this format: write the mark of a new store, and set aside `entries` of another format.

    Raises StoreFormatError for a newer format, and OSError.
    """
    mark = read_format(directory) or ""
    if mark == str(FORMAT):
        return
    if is_newer(mark):
        raise StoreFormatError(
            f"pypi_cache_dir={str(directory)!r}: its store has format {mark}, and this version reads format {FORMAT}; "
            "give another folder, or the version that made it",
        )
    if entries.exists():
        set_aside(entries, f"format-{mark[:16] or 'unknown'}".replace("/", "_"), f"its format is {mark[:16]!r}")
    # Only now, and by rename: a kill before this leaves a folder that is looked at again, and never a mark that lies.
    fresh = directory / "format.new"
    write_text(fresh, f"{FORMAT}\n")
    fresh.replace(directory / "format")


def set_aside(entries: Path, ending: str, why: str) -> None:
    """Rename the `entries` folder to `entries.<ending>` and log why."""
    aside = entries.with_name(f"{entries.name}.{ending}")
    if aside.exists():
        shutil.rmtree(aside)
    entries.rename(aside)
    os.utime(aside)  # its age counts from now
    logger.warning("the store is set aside in %s, %s; a new one is begun", aside, why)


def remove_old_asides(entries: Path) -> None:
    """Remove what was set aside ASIDE_SECONDS ago."""
    for aside in entries.parent.glob(f"{entries.name}.*-*"):
        if time.time() - aside.stat().st_mtime > ASIDE_SECONDS:
            shutil.rmtree(aside, ignore_errors=True)
