"""engine/store/recovery.py."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path

from pkgcache.engine.store.entries import Entries, unowned

logger = logging.getLogger(__name__)


def clean_up(entries: Entries) -> None:
    """Undo commits that a kill cut short, and remove growing files that no process owns any more."""
    growing = entries.growing
    for journal in growing.glob("*.commit"):
        _undo(entries, journal)
    for part in growing.glob("*.part"):
        with unowned(part) as mine:
            if mine:
                part.unlink(missing_ok=True)
                part.with_suffix(".json").unlink(missing_ok=True)
                logger.info("removed an unfinished download that its process left behind: %s", part.name)
    for word in (*growing.glob("*.json"), *growing.glob("*.new")):
        if not word.with_suffix(".part").exists():
            word.unlink(missing_ok=True)


def _undo(entries: Entries, journal: Path) -> None:
    """Remove the file of a commit whose row was never written, unless its process lives: that one holds the file's lock."""
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
