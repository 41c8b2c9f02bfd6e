"""Decides how long to let a body's bytes gather before they are read, where an upstream sends it in tiny pieces.

Each piece wakes a download, its disk thread, its readers and their connections: sixty-four upstreams that drip 40 bytes fifty times
a second took more of the processor than all other work. What comes in pieces of a usual size is never kept waiting, nor is the
beginning of a body.
"""

from typing import Final

SMALL: Final = 1024
"""A piece below this many bytes is small: TLS and TCP put much more into one packet."""

ENOUGH: Final = 4 * SMALL
"""A piece of so many bytes ends the pauses; one between the two leaves them as they are."""

FORGIVEN: Final = 8
"""So many small pieces in a row are read at once: a head of its own, or the rests of some buffers, are no drip."""

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 0.32
"""Seconds. Twice a pause whose bytes are still few, up to this: a client that gets so little does not notice."""


class Drip:
    """The pieces of one body. `pause`: seconds to wait before the next one is read.

    >>> drip = Drip()
    >>> [drip.came(40) for _ in range(10)]
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.02, 0.04, 0.08]
    """

    __slots__ = ("_small", "pause")

    def __init__(self) -> None:
        self.pause = 0.0
        self._small = 0  # pieces in a row

    def came(self, size: int) -> float:
        """Take note of a piece of `size` bytes; returns `pause`."""
        if size >= ENOUGH:
            self._small, self.pause = 0, 0.0
        elif size < SMALL:
            self._small += 1
            if self._small >= FORGIVEN:
                self.pause = min(LONGEST_PAUSE, 2 * self.pause or FIRST_PAUSE)
        return self.pause
