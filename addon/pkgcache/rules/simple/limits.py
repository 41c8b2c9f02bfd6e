"""How much a page may hold and become, whatever its upstream sends.

41 kB of gzip became 2 GB, and a `<base href>` of 100 kB made 2 GB of 20,000 short links: what a page costs must follow from its size.
A page beyond a limit is a `BrokenPage`, and the stored one is served. The limits hold in the process for large pages and, for small
pages, in the proxy's own. The largest pages known have 20,000 files and 15 MB.

Leaves out: the time of that process (`engine/pages/worker`), and the list of all projects, which is never held whole.
"""

from typing import Final

MAX_PAGE: Final = 32 << 20
"""Bytes of a page or a document, as it comes and decompressed."""

HEAVY_PAGE: Final = 4 << 20
"""Bytes from which on a page is heavy: one is worked on at a time, from where it is decompressed until it is made. Few pages known are."""

MOST_LARGE: Final = 2
"""Large pages of up to HEAVY_PAGE that are decompressed at a time: one that the process works on, and the next one."""

PROCESS_MEMORY: Final = 176 << 20
"""Bytes of address space of the process for large pages, of which nearly all are resident at the end. A page of MAX_PAGE bytes takes
130 MiB with 48,000 files in JSON, 157 with 57,000 in HTML. At the proxy's own address that JSON takes 170; HTML of 27 MB takes 178
there, and 184 when it is converted to JSON. A JSON page of 25 MB with 60,000 short entries does not fit there. The largest page known
has 15 MB, and 20,000 files."""

MAX_MEMORY: Final = PROCESS_MEMORY + MAX_PAGE + (MOST_LARGE + 1) * HEAVY_PAGE
"""Bytes that pages of which nothing can be made take at most, in both processes together: what their process may take; the heavy page
that it works on; those that are large; and the next body of up to HEAVY_PAGE that the origin has sent. A page that is made takes its
answer too, in the main process, while the other one has let go of the page."""

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
