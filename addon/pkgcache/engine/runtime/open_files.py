"""The limit of open files, raised at the start: each client connection takes one handle, each file that is being read another."""

from __future__ import annotations

import resource
from pathlib import Path

OPEN_FILES = 65536
"""Enough for 30,000 clients that each read a file."""


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one, but at most to OPEN_FILES. Return the limit that holds then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def open_files_limit() -> int:
    """Return the number of files that the process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_FILES if soft == resource.RLIM_INFINITY else soft


def count_open_files() -> int:
    """Count the files that the process has open; 0 where the system does not tell."""
    try:
        return len(list(Path("/dev/fd").iterdir())) - 1  # without the folder itself
    except OSError:
        return 0
