"""Opening and writing files in a folder that others may write to: no name in it leads out of it, and nothing in it blocks.

Who can write to the store is not who runs the command: a symbolic link, a hard link to a file elsewhere, a FIFO or a device may lie where
one of our files should. A file counts if it is a regular one, has this one name, and belongs to the process's user or to the folder's
owner. (The folder's owner too, since a network or container file system may show our own files as another user's.)

Leaves out: the folders above the store's. Whoever can write to those can replace the whole store; operators may have links there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Not blocking, since opening a FIFO would wait for a writer. It changes nothing for a regular file."""

_NOT_OURS = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV, errno.EACCES, errno.EPERM, errno.EISDIR})
"""What `open` says of a link, a socket, a device without a driver, and what is another user's."""


class ForeignFileError(ValueError):
    """What lies there is not a file that this program has written, or its name is not one that it gives. One line."""


@contextlib.contextmanager
def opened_folder(path: Path | str, *, within: int | None = None) -> Iterator[int]:
    """Open a folder, but no symbolic link to one. `within`: the descriptor of the folder that a relative path starts from.

    Raises ForeignFileError, FileNotFoundError and other OSError.
    """
    descriptor = open_folder(path, within=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_folder(path: Path | str, *, within: int | None = None) -> int:
    """Open a folder as `opened_folder`; the caller closes the descriptor. At every hit, so without a context manager."""
    try:
        return os.open(path, FOLDER, dir_fd=within)
    except OSError as error:
        raise _foreign(error, path) from None


def open_regular(name: str, folder: int) -> IO[bytes]:
    """Open a file of ours for reading. Raises ForeignFileError, FileNotFoundError and other OSError."""
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except OSError as error:
        raise _foreign(error, name) from None
    try:
        check_regular(os.fstat(descriptor), os.fstat(folder).st_uid)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def open_regular_path(path: Path) -> IO[bytes]:
    """Open a file by its path, as `open_regular`. Links among its folders are followed."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_regular(path.name, folder)
    finally:
        os.close(folder)


def read_small(path: Path, most: int) -> bytes:
    """Read a file of ours of `most` bytes at most. Raises as `open_regular`, and ForeignFileError for a larger one."""
    with open_regular_path(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ForeignFileError(f"{path.name} has more than {most} bytes")
    return content


def create(path: Path) -> IO[bytes]:
    """Create a file for writing, in place of whatever has that name: writing into that could write elsewhere. Raises OSError."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb")


def write_text(path: Path, text: str) -> None:
    """Write a small file, as `create`."""
    with create(path) as file:
        file.write(text.encode())


def open_to_continue(path: Path) -> IO[bytes]:
    """Open a file of this user's to write on in it, or create it; unbuffered. Raises ForeignFileError and OSError.

    For a folder that others may write to: a link that somebody has laid there would lead the writing elsewhere.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return os.fdopen(os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), "r+b", buffering=0)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ForeignFileError("it is a symbolic link") from None
        raise
    try:
        check_regular(os.fstat(descriptor), os.geteuid())
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "r+b", buffering=0)


def check_regular(status: os.stat_result, folder_owner: int) -> None:
    """Raise ForeignFileError unless this is a regular file of ours with one name.

    A file without a name passes: another process of ours has just removed or replaced it, and it reads as before.
    """
    if not stat.S_ISREG(status.st_mode):
        raise ForeignFileError("it is not a regular file")
    if status.st_nlink > 1:
        raise ForeignFileError("it has another name elsewhere (a hard link)")
    if status.st_uid not in {os.geteuid(), folder_owner}:
        raise ForeignFileError(f"it belongs to another user ({status.st_uid})")


def why_exposed(directory: Path) -> str:
    """Say in one line who else may write to a store's folder; empty if nobody may."""
    status = directory.stat()
    if status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}, and this process runs as user {os.geteuid()}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"its mode is {stat.S_IMODE(status.st_mode):o}: chmod go-w {directory}"
    return ""


def _foreign(error: OSError, path: Path | str) -> OSError | ForeignFileError:
    return ForeignFileError(f"{path}: {error.strerror}") if error.errno in _NOT_OURS else error
