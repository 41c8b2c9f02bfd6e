"""What a killed process leaves in a store's `growing` folder, cleaned up each time that the store is opened.

Reads the folder and its journals alone, so that opening a store of a million entries takes no longer. Files under `entries/` that no row
names are integrity.py's to find.
"""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path

from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.growing import unowned

logger = logging.getLogger(__name__)


def clean_up(entries: Entries) -> None:
    """Undo commits that were cut short by a kill, and remove unfinished downloads that no process owns any more."""
    growing = entries.growing
    for journal in growing.glob("*.commit"):
        _undo(entries, journal)
    for part in growing.glob("*.part"):
        with unowned(part) as mine:
            if mine:
                part.unlink(missing_ok=True)
                part.with_suffix(".json").unlink(missing_ok=True)
                logger.info("removed an unfinished download that its process left behind: %s", part.name)
    for state in (*growing.glob("*.json"), *growing.glob("*.new")):
        if not state.with_suffix(".part").exists():
            state.unlink(missing_ok=True)


def _undo(entries: Entries, journal: Path) -> None:
    """Remove the file of a commit whose row was never written.

    Not while its process lives, which holds the lock of the file under its old name or, after the rename, its new one. A journal that
    makes no sense was itself cut short: nothing was renamed yet, and there is nothing to undo.
    """
    with contextlib.suppress(ValueError, KeyError, TypeError):
        intent = json.loads(journal.read_text())
        file = entries.folder / intent["filename"]
        with unowned(file) as gone, unowned(journal.with_suffix(".part")) as not_begun:
            if not (gone and not_begun):
                return
            select = "SELECT 1 FROM Cache WHERE key = ? AND raw = 1 AND filename = ?"
            if not entries.database.sql(select, (intent["key"], intent["filename"])):
                file.unlink(missing_ok=True)
                logger.info("removed a file whose entry was never written: %s", intent["key"])
    journal.unlink(missing_ok=True)
