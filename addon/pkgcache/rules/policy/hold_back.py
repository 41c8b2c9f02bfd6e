"""Decides how much of a growing file its readers may have: its end is held back until the whole is found to be right.

Nothing here knows of files or time.
"""

HOLD_BACK = 64 * 1024
"""This many bytes at a file's end are held back from every reader until length and digest are right.

So no client ever has the whole of a wrong file: its connection is cut before the end.
"""


def readable(written: int, total: int | None, *, verified: bool) -> int:
    """The end of what readers may have of a file that grows: `written` bytes so far, of `total` (None: not known yet).

    >>> readable(100_000, 200_000, verified=False), readable(200_000, 200_000, verified=False)
    (100000, 134464)
    """
    if verified:
        return written
    return max(0, written - HOLD_BACK if total is None else min(written, total - HOLD_BACK))
