"""The process's own limits: as many open files as the machine lets it have. Each client takes one, each file that is read another."""

from __future__ import annotations

import resource

OPEN_FILES = 65536


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one, at most to OPEN_FILES: what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
