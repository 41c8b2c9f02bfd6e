"""What a killed process leaves in a store's `growing` folder, cleaned up each time that the store is opened.

Reads the folder and its journals alone, so that opening a store of a million entries takes no longer. Files under `entries/` that no row
names are integrity.py's to find. Others may have written to the folder: names are looked up in the folder as it was opened, so nothing
outside is removed even if it is replaced meanwhile, and a journal counts only if it names a file as this program does.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import PurePath

from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.growing import MOST_STATE, unowned
from pkgcache.engine.store.safe_files import open_regular, opened_folder
from pkgcache.engine.store.value_files import is_value_name

logger = logging.getLogger(__name__)

MOST_JOURNAL = 64 * 1024
"""Bytes of a journal: a key and a file name. Keys of files may be URLs, which are shorter than this."""

KEPT_SECONDS = 24 * 3600.0
"""How long the verified download of a killed process waits for somebody to ask for it: clients may have it, and the store has not."""


def clean_up(entries: Entries) -> None:
    """Undo commits that were cut short by a kill, and remove unfinished downloads that no process owns any more.

    A download that was verified stays where it is: whoever asks for it next finds all its bytes there, and commits them.
    """
    with opened_folder(entries.growing) as folder:
        names = [PurePath(name) for name in os.listdir(folder)]  # noqa: PTH208  a descriptor
        for journal in (name for name in names if name.suffix == ".commit"):
            _undo(entries, journal, folder)
        for part in (name for name in names if name.suffix == ".part"):
            with unowned(functools.partial(open_regular, str(part), folder)) as mine:
                if mine and not _is_verified(part, folder, functools.partial(os.stat, part, dir_fd=folder)):
                    _remove(part, folder)
                    _remove(part.with_suffix(".json"), folder)
                    logger.info("removed an unfinished download that its process left behind: %s", part)
        left = set(os.listdir(folder))  # noqa: PTH208
        for state in (name for name in names if name.suffix in {".json", ".new"}):
            if str(state.with_suffix(".part")) not in left:
                _remove(state, folder)


def _undo(entries: Entries, journal: PurePath, folder: int) -> None:
    """Remove the file of a commit whose row was never written, or make it a download again that is verified and waits.

    Not while its process lives, which holds the lock of the file under its old name or, after the rename, its new one. A journal that
    makes no sense was itself cut short, or is none of ours: nothing was renamed yet, and there is nothing to undo.
    """
    files = entries.database.files
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, FileNotFoundError):
        with open_regular(str(journal), folder) as file:
            intent = json.loads(file.read(MOST_JOURNAL))
        key, name = intent["key"], intent["filename"]
        if not isinstance(key, str) or not is_value_name(name):
            raise ValueError(f"{journal} is no journal")
        part = functools.partial(open_regular, str(journal.with_suffix(".part")), folder)
        with unowned(functools.partial(files.open, name)) as gone, unowned(part) as not_begun:
            if not (gone and not_begun):
                return
            select = "SELECT 1 FROM Cache WHERE key = ? AND raw = 1 AND filename = ?"
            if not entries.database.sql(select, (key, name)):
                part_name = journal.with_suffix(".part")
                if _is_verified(part_name, folder, functools.partial(files.status, name)):
                    files.move_to(name, entries.growing / part_name)
                files.remove(name)
                logger.info("a file whose entry was never written is no entry: %s", key)
    _remove(journal, folder)


def _is_verified(part: PurePath, folder: int, status: Callable[[], os.stat_result]) -> bool:
    """Whether the owner of a download had found it whole and right, not long ago. `status` asks for that of its file."""
    with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError, OSError):
        with open_regular(str(part.with_suffix(".json")), folder) as file:
            state = json.loads(file.read(MOST_STATE))
        found = status()
        fresh = 0 <= time.time() - found.st_mtime < KEPT_SECONDS
        return fresh and stat.S_ISREG(found.st_mode) and (state["state"], state["inode"]) == ("verified", found.st_ino)
    return False


def _remove(name: PurePath, folder: int) -> None:
    """Remove a name; of a link only the link, and no folder."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
        os.unlink(name, dir_fd=folder)
