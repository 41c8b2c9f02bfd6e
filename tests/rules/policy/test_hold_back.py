"""What readers may have of a growing file."""

from typing import Final

import pytest

from pkgcache.rules.policy.hold_back import HOLD_BACK, readable

SIZE: Final = 1_000_000


@pytest.mark.parametrize(
    ("written", "total", "verified", "end"),
    [
        pytest.param(0, SIZE, False, 0, id="nothing yet"),
        pytest.param(1, SIZE, False, 1, id="the first byte at once"),
        pytest.param(SIZE - HOLD_BACK, SIZE, False, SIZE - HOLD_BACK, id="up to what is held back"),
        pytest.param(SIZE, SIZE, False, SIZE - HOLD_BACK, id="whole, but not verified"),
        pytest.param(SIZE, SIZE, True, SIZE, id="verified"),
        pytest.param(HOLD_BACK, HOLD_BACK, False, 0, id="a file that is held back whole"),
        pytest.param(100, 100, False, 0, id="a small file: never below zero"),
        pytest.param(0, 0, True, 0, id="an empty file"),
        pytest.param(HOLD_BACK, None, False, 0, id="of unknown length: any byte may be one of the last"),
        pytest.param(HOLD_BACK + 7, None, False, 7, id="of unknown length: what is well before its end so far"),
        pytest.param(HOLD_BACK + 7, None, True, HOLD_BACK + 7, id="of unknown length, verified"),
    ],
)
def test_readable(written: int, total: int | None, verified: bool, end: int) -> None:
    assert readable(written, total, verified=verified) == end
