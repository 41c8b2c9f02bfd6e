"""The files of the values that a database row has no room for: `entries/<2 hex>/<2 hex>/<28 hex>.val`.

Their names come from database rows and journals, which others may have written to. So a name counts only in exactly this form, and each
of its folders is opened by the one above it, never through a symbolic link (safe_files.py).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from pkgcache.engine.store.safe_files import ForeignFileError, check_regular, open_folder, open_regular, opened_folder

_NAME: Final = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
_FOLDER: Final = re.compile(r"[0-9a-f]{2}")

_TRIES = 5
"""How often a rename is tried: another process may remove the empty target folder between its making and the rename."""


def is_value_name(name: object) -> bool:
    """Whether a name has the form that this program gives.

    >>> is_value_name(f"0a/1b/{'2c' * 14}.val"), is_value_name("../../etc/passwd")
    (True, False)
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


class ValueFiles:
    """The files below one folder. A wrong name, or what is no file of ours, raises ForeignFileError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: object) -> IO[bytes]:
        """Open a file for reading. Raises FileNotFoundError, too."""
        with self._parent(name) as (folder, base):
            return open_regular(base, folder)

    def remove(self, name: object) -> None:
        """Remove a file, if it is there, and the folders that are empty then. Of a link only the link goes."""
        with contextlib.suppress(ForeignFileError, OSError):
            with self._parent(name) as (folder, base):
                os.unlink(base, dir_fd=folder)
            outer, inner, _ = str(name).split("/")
            with opened_folder(self._folder) as top:
                with opened_folder(outer, within=top) as folder:
                    os.rmdir(inner, dir_fd=folder)
                os.rmdir(outer, dir_fd=top)

    def adopt(self, path: Path, name: str) -> None:
        """Rename a file into its place. Raises OSError."""
        for tries_left in range(_TRIES, 0, -1):
            try:
                with self._parent(name, make=True) as (folder, base):
                    os.rename(path, base, dst_dir_fd=folder)
            except FileNotFoundError:
                if tries_left == 1 or not path.exists():
                    raise
            else:
                return

    def move_to(self, name: object, target: Path) -> bool:
        """Move a file out, to another folder of the store's, which is made: whether there was a file of ours."""
        target.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            with self._parent(name) as (folder, base), opened_folder(target.parent) as other:
                check_regular(os.stat(base, dir_fd=folder, follow_symlinks=False), os.fstat(folder).st_uid)
                os.rename(base, target.name, src_dir_fd=folder, dst_dir_fd=other)
        except (ForeignFileError, FileNotFoundError):
            return False
        return True

    def status(self, name: str) -> os.stat_result:
        """Return what the file system says of a name, and not of what a link there leads to. Raises OSError, too."""
        with self._parent(name) as (folder, base):
            return os.stat(base, dir_fd=folder, follow_symlinks=False)

    def names(self) -> Iterator[str]:
        """Yield the names of all that lies where files of ours would."""
        for outer in self._names_in(""):
            for inner in self._names_in(outer):
                for base in self._names_in(f"{outer}/{inner}"):
                    if is_value_name(name := f"{outer}/{inner}/{base}"):
                        yield name

    def _names_in(self, folder: str) -> list[str]:
        with contextlib.suppress(ForeignFileError, FileNotFoundError), contextlib.ExitStack() as stack:
            descriptor = stack.enter_context(opened_folder(self._folder))
            for part in filter(None, folder.split("/")):
                if not _FOLDER.fullmatch(part):
                    return []
                descriptor = stack.enter_context(opened_folder(part, within=descriptor))
            return os.listdir(descriptor)  # noqa: PTH208  not a path
        return []

    @contextlib.contextmanager
    def _parent(self, name: object, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder that a file is in, and yield it with the file's own name. `make`: make the folders."""
        if not isinstance(name, str) or not is_value_name(name):
            raise ForeignFileError(f"its file name is {name!r:.60}")
        *parts, base = name.split("/")
        folder = open_folder(self._folder)
        try:
            for part in parts:
                if make:
                    _make_folder(part, folder)
                inner = open_folder(part, within=folder)
                os.close(folder)
                folder = inner
            yield folder, base
        finally:
            os.close(folder)


def _make_folder(name: str, within: int) -> None:
    """Make a folder, in place of a symbolic link if there is one: that would lead our files out."""
    try:
        os.mkdir(name, 0o700, dir_fd=within)
    except FileExistsError:
        with contextlib.suppress(IsADirectoryError, PermissionError):  # a folder, as it should be: Linux, other systems
            os.unlink(name, dir_fd=within)
            os.mkdir(name, 0o700, dir_fd=within)
