"""The folder in which the workers of one supervisor have their sockets and figures; it is there for as long as the supervisor is."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NAME: Final = "workers"


@contextlib.contextmanager
def state_folder(store: Path) -> Iterator[Path]:
    """Make the folder, in the store's or else among temporary files, for this user alone. Raises OSError where neither can be."""
    try:
        among = store / NAME
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        among.mkdir(mode=0o700, exist_ok=True)
        _check(among)
        _remove_left(among)
        made = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=among))
    except OSError:  # the proxy serves without a store, too
        made = Path(tempfile.mkdtemp(prefix="pypi-cache-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _check(among: Path) -> None:
    """Raise PermissionError where others could put their own folder in the place of ours, or have us remove theirs."""
    status = among.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "it is a link, another user's, or open to others", str(among))


def _remove_left(among: Path) -> None:
    """Remove the folders of supervisors that were killed."""
    for folder in among.iterdir():
        owner = folder.name.partition("-")[0]
        if owner.isdecimal() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
