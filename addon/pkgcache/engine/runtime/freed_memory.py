"""Memory that is freed goes back to the system, where the C library is glibc.

glibc raises the size from which a block is mapped by itself (`M_MMAP_THRESHOLD`) up to 32 MB, each time that such a block is freed.
The pages of some minutes then lie between small values on the heap, and what they took is never given back: 700 MB were seen. So that
size is fixed. Smaller blocks, such as what was read ahead for many slow readers, leave holes all the same; those are given back
(`malloc_trim`) once they may be many.

A fixed size leaves another of glibc's at its first value: as soon as 128 kB lie free at the heap's end they are given back
(`M_TRIM_THRESHOLD`). A download frees more with each piece, and had its pages mapped anew each time: 95,000 page faults for a wheel of
200 MB. So that is fixed too.

Python's own collector looks at every object now and then. What stays until the end is left out of that.
"""

import ctypes
import gc
import os
import sys
from pathlib import Path
from typing import ClassVar, Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
LARGE_BLOCK: Final = 512 * 1024
"""Bytes from which on a block is mapped by itself. Mapping one takes some microseconds."""

KEPT_FREE: Final = 2 << 20
"""Bytes that may lie free at the heap's end: what a download and its readers have at hand at a time. 1, 2 and 4 MB were as fast."""

MUCH: Final = 48 << 20
"""Bytes that the process has grown by before holes are looked for: giving back 80 MB holds up whoever allocates for up to 50 ms."""

LITTLE: Final = 8 << 20
"""The same where a page of up to 32 MB comes next: the holes would come on top of it."""


class FreedMemory:
    """This process's memory. Elsewhere than on Linux nothing is done: others give memory back by themselves, or not at all."""

    _is_left_out: ClassVar = False
    """The process's state, as `gc.get_freeze_count` has it, which counts all objects: 10 ms."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._least = _resident()
        self._leaves_out = False

    def fix_thresholds(self) -> bool:
        """Fix the size from which a block is mapped by itself, and what lies free at the end. Returns whether the C library could do so."""
        sizes = {M_MMAP_THRESHOLD: LARGE_BLOCK, M_TRIM_THRESHOLD: KEPT_FREE}
        try:
            return self._library is not None and all(self._library.mallopt(*each) for each in sizes.items())
        except AttributeError:  # another C library
            return False

    def leave_out_of_collections(self) -> None:
        """Look no more for cycles among what is there now: modules, addons, settings. Called again, after others' `take_back` alone.

        A whole collection goes through all these 140,000 objects, and answers nobody for up to 180 ms. Here it is made only where
        a service has ended in between, which would be left out as well.
        """
        if self._leaves_out and FreedMemory._is_left_out:
            return
        if self._leaves_out:
            gc.collect()
        gc.freeze()
        self._leaves_out = FreedMemory._is_left_out = True

    @staticmethod
    def take_back() -> None:
        """Look among all again: something that was there ends now."""
        gc.unfreeze()
        FreedMemory._is_left_out = False

    def give_back(self, much: int = MUCH) -> None:
        """Give back what lies free, if the process has grown by `much` since it was smallest or this was last done. For a thread."""
        now = _resident()
        if now - self._least < much:
            self._least = min(self._least, now)
            return
        try:
            if self._library:
                self._library.malloc_trim(0)
        except AttributeError:
            pass
        self._least = _resident()


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, LookupError):
        return 0
