"""How much a page may hold and become, whatever its upstream sends.

41 kB of gzip became 2 GB, and a `<base href>` of 100 kB made 2 GB of 20,000 short links: what a page costs must follow from its size.
A page beyond a limit is a `BrokenPage`, and the stored one is served. The limits hold in the process for large pages and, for small
pages, in the proxy's own. The largest pages known have 20,000 files and 15 MB.

Leaves out: memory and time of that process (`engine/pages/worker`), and the list of all projects, which is never held whole.
"""

from typing import Final

MAX_PAGE: Final = 32 << 20
"""Bytes of a page or a document, as it comes and decompressed."""

MAX_ANSWER: Final = 2 * MAX_PAGE
"""Bytes of what is made of a page: with its links made absolute, in the other representation, or as a document."""

MAX_LINKS: Final = 100_000
"""Links of a page; also elements of an array, and members of an object that is walked: each of them costs as much as a link."""

MAX_LINK: Final = 8 * 1024
"""Characters of a link. No request has a longer target, here or at common servers; signed URLs have 2,000."""

_MAX_GROWTH: Final = 32 << 20
_GROWTH_OF_SMALL: Final = 1 << 20
_GROWTH: Final = 8


def max_growth(size: int) -> int:
    """How many characters longer all links of a page of `size` bytes may become together, made absolute.

    Eight times the page, as where each of its names of 10 characters becomes a URL of 100; 1 MiB is free, and 32 MiB the most.

    >>> max_growth(5_000), max_growth(1 << 30)
    (1048576, 33554432)
    """
    return min(max(_GROWTH_OF_SMALL, _GROWTH * size), _MAX_GROWTH)
