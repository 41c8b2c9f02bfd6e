"""How long a body's bytes may gather before they are read."""

from collections.abc import Sequence
from typing import Final

import pytest

from pkgcache.rules.policy.drip import ENOUGH, FIRST_PAUSE, FORGIVEN, LONGEST_PAUSE, SMALL, Drip

DRIPPED: Final = [40] * FORGIVEN


@pytest.mark.parametrize(
    ("sizes", "pause"),
    [
        pytest.param([], 0.0, id="nothing yet: the first byte at once"),
        pytest.param([1], 0.0, id="one byte"),
        pytest.param([1] * (FORGIVEN - 1), 0.0, id="as many as are forgiven"),
        pytest.param(DRIPPED, FIRST_PAUSE, id="one more"),
        pytest.param([SMALL - 1] * FORGIVEN, FIRST_PAUSE, id="just small"),
        pytest.param([SMALL] * 100, 0.0, id="just not small"),
        pytest.param([65_536] * 100, 0.0, id="a usual body"),
        pytest.param([65_536, 10] * 100, 0.0, id="a buffer and its rest, again and again"),
        pytest.param([*DRIPPED, 40], 2 * FIRST_PAUSE, id="still few: twice as long"),
        pytest.param(DRIPPED * 10, LONGEST_PAUSE, id="never longer than this"),
        pytest.param([*DRIPPED, SMALL], FIRST_PAUSE, id="enough to stay as it is"),
        pytest.param([*DRIPPED, ENOUGH], 0.0, id="it was no drip"),
        pytest.param([*DRIPPED, ENOUGH, *DRIPPED[1:]], 0.0, id="forgiven anew"),
        pytest.param([*DRIPPED, 0], 2 * FIRST_PAUSE, id="the end of the body: nothing is read after it"),
    ],
)
def test_the_pause(sizes: Sequence[int], pause: float) -> None:
    drip = Drip()
    for size in sizes:
        drip.came(size)
    assert drip.pause == pause
