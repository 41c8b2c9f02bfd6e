"""A file of lines that is only appended to, or standard output: whole lines in one write each, and the file of that name, always.

logrotate moves a log file away and makes another one of its name, or none. So before each write the name is looked up, as
`logging.handlers.WatchedFileHandler` does: mitmdump ends at a SIGHUP, by which others are told.
"""

from __future__ import annotations

import io
import os
import select
import sys
from pathlib import Path

STANDARD_OUTPUT = "-"


class LogFile:
    """An open log. Raises OSError where it cannot be opened or written; a later write tries again."""

    def __init__(self, target: str) -> None:
        self._path = None if target == STANDARD_OUTPUT else Path(target).expanduser()
        self._handle = -1
        self._torn = False
        if self._path is not None:
            self._handle = self._opened(self._path)

    def append(self, lines: bytes) -> None:
        """Write whole lines; nothing once it is closed. Several processes may write to one file, and cut no line of each other's."""
        if self._path is None:
            _print(lines)
            return
        if self._handle < 0:
            return
        self._follow(self._path)
        try:
            self._write(b"\n" + lines if self._torn else lines)
        except OSError:
            self._torn = True  # perhaps after half a line, on a full disk
            raise
        self._torn = False

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _follow(self, path: Path) -> None:
        """Open the file that has the name by now, if it is another one, or none."""
        try:
            found, held = os.stat(path), os.fstat(self._handle)  # noqa: PTH116  as quick as can be: once for each write
            if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino):
                return
        except FileNotFoundError:
            pass
        opened = self._opened(path)
        self.close()
        self._handle, self._torn = opened, False

    def _opened(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _write(self, lines: bytes) -> None:
        while lines:
            lines = lines[os.write(self._handle, lines) :]


def _print(lines: bytes) -> None:
    """Write to standard output, past its buffer: that would cut a batch anywhere.

    Several workers may write to one pipe, which keeps together what is written in one piece of at most PIPE_BUF bytes (POSIX, write()).
    """
    sys.stdout.flush()
    try:
        handle = sys.stdout.fileno()
    except io.UnsupportedOperation:  # something in memory that has taken its place
        sys.stdout.write(lines.decode())
        return
    while lines:
        end = lines.rfind(b"\n", 0, select.PIPE_BUF) + 1 or lines.find(b"\n") + 1  # a line that is longer may be cut
        lines = lines[os.write(handle, lines[: end or None]) :]
