"""Which ranges start a download, and which of a growing file are near enough to wait for."""

from typing import Final

import pytest

from pkgcache.rules.http.ranges import Multi, Partial, Span, Unsatisfiable, Whole
from pkgcache.rules.policy.fills import NEAR_BYTES, is_near, starts_fill

SIZE: Final = 1_000_000


@pytest.mark.parametrize(
    ("sent", "size", "expected"),
    [
        pytest.param({}, SIZE, True, id="all of it"),
        pytest.param({}, None, True, id="all of a file of unknown size"),
        pytest.param({"Range": "bytes=0-"}, SIZE, True, id="everything from byte 0 on"),
        pytest.param({"Range": "bytes=0-"}, None, True, id="everything, of unknown size"),
        pytest.param({"Range": "bytes=0-0"}, SIZE, False, id="one byte: a look whether ranges work"),
        pytest.param({"Range": "bytes=0-499999"}, SIZE, True, id="half of it"),
        pytest.param({"Range": "bytes=0-499998"}, SIZE, False, id="a byte less than half"),
        pytest.param({"Range": "bytes=500000-"}, SIZE, True, id="the second half"),
        pytest.param({"Range": "bytes=500001-"}, SIZE, False, id="less than the second half"),
        pytest.param({"Range": "bytes=500001-9999999"}, SIZE, False, id="its end is the file's, not the one asked for"),
        pytest.param({"Range": "bytes=-500000"}, SIZE, True, id="the last half"),
        pytest.param({"Range": "bytes=-499999"}, SIZE, False, id="less than the last half"),
        pytest.param({"Range": "bytes=-500000"}, None, False, id="a suffix, of unknown size"),
        pytest.param({"Range": "bytes=500-"}, None, False, id="the rest, of unknown size"),
        pytest.param({"Range": "bytes=0-9,500000-"}, SIZE, False, id="several ranges"),
        pytest.param({"Range": "bytes=9-1"}, SIZE, False, id="malformed: it will be refused"),
        pytest.param({"Range": "lines=1-2"}, SIZE, True, id="an unknown unit is ignored (RFC 9110 §14.2)"),
        pytest.param({"Range": "bytes=999999-", "If-Range": '"tag"'}, SIZE, True, id="a client that resumes"),
    ],
)
def test_starts_fill(sent: dict[str, str], size: int | None, expected: bool) -> None:
    assert starts_fill(sent, size) is expected


@pytest.mark.parametrize(
    ("selection", "available", "expected"),
    [
        pytest.param(Whole(), 0, True, id="the whole file"),
        pytest.param(Unsatisfiable(), 0, True, id="nothing to wait for"),
        pytest.param(Partial(Span(0, 10)), 0, True, id="its beginning"),
        pytest.param(Partial(Span(NEAR_BYTES, NEAR_BYTES + 1)), 0, True, id="just near"),
        pytest.param(Partial(Span(NEAR_BYTES + 1, NEAR_BYTES + 2)), 0, False, id="just too far"),
        pytest.param(Partial(Span(NEAR_BYTES + 1, NEAR_BYTES + 2)), 1, True, id="near once a byte more is there"),
        pytest.param(Multi((Span(0, 5), Span(7, 9))), 9, True, id="several ranges, all there"),
        pytest.param(Multi((Span(0, 5), Span(7, 9))), 8, False, id="several ranges, one byte is missing"),
    ],
)
def test_is_near(selection: Whole | Partial | Multi | Unsatisfiable, available: int, expected: bool) -> None:
    assert is_near(selection, available) is expected
