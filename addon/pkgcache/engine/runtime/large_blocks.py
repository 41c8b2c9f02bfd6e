"""Memory for large values, which goes back to the system once they are gone.

glibc raises the size from which a block is mapped by itself (`M_MMAP_THRESHOLD`) up to 32 MB, each time that such a block is freed.
The pages of some minutes then lie between small values on the heap, and what they took is never given back: 700 MB were seen.
"""

import ctypes
import sys
from typing import Final

M_MMAP_THRESHOLD: Final = -3
LARGE_BLOCK: Final = 512 * 1024
"""Bytes from which on a block is mapped by itself. Mapping one takes some microseconds."""


def return_large_blocks() -> bool:
    """Fix that size for this process. Returns whether the C library could do so; others give memory back by themselves, or not at all."""
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK))
    except (OSError, AttributeError):  # another C library
        return False
