"""The index that a proxy keeps in its store's folder. Apart from the feed, so that a command reads it without loading an HTTP client."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pkgcache.engine.advisories.process import MAX_INDEX
from pkgcache.engine.store.safe_files import ForeignFileError, read_small

FILE_NAME: Final = "advisories"
"""The last good index, in the store's folder."""


def read_kept(folder: Path) -> bytes | None:
    """The index that a proxy has kept in a store's folder; None where there is none, or what lies there is not its file."""
    try:
        return read_small(folder / FILE_NAME, MAX_INDEX)
    except (OSError, ForeignFileError):
        return None
