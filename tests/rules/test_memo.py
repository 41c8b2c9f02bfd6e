"""Remembering short texts: what is long is worked out anew and kept nowhere."""

import contextlib
import gc
import sys
from collections.abc import Callable

import pytest

from pkgcache.rules.http.cache_control import control_of
from pkgcache.rules.http.dates import parse_http_date
from pkgcache.rules.memo import LONGEST, memo
from pkgcache.rules.routing.urls import parse_authority
from pkgcache.rules.simple.representations import negotiate


@pytest.mark.parametrize(
    ("argument", "calls"),
    [
        ("", 1),
        ("a" * LONGEST, 1),
        ("a" * (LONGEST + 1), 3),
        (("a", "b"), 1),
        (("a" * LONGEST, "b"), 3),
        (("a",) * (LONGEST + 1), 3),
        (None, 1),
    ],
)
def test_what_is_remembered(argument: object, calls: int) -> None:
    seen = []

    @memo(maxsize=4)
    def shown(value: object) -> str:
        seen.append(value)
        return repr(value)

    assert [shown(argument) for _ in range(3)] == [repr(argument)] * 3
    assert len(seen) == calls


def test_all_arguments_count_together() -> None:
    seen = []

    @memo(maxsize=4)
    def joined(one: str, other: str) -> str:
        seen.append(one)
        return one + other

    for _ in range(2):
        joined("a" * LONGEST, "b")
    assert len(seen) == 2
    assert joined("a", other="b") == "ab"


@pytest.mark.parametrize(
    "read",
    [
        parse_http_date,
        negotiate,
        lambda text: parse_authority(text, 443),
        lambda text: control_of(_Lines([text])),  # type: ignore[arg-type]
        lambda text: control_of(_Lines([text] * 100)),  # type: ignore[arg-type]
    ],
)
def test_a_clients_long_text_is_not_kept(read: Callable[[str], object]) -> None:
    """Whoever sends 8 kB in a header that is remembered otherwise: nothing holds it afterwards."""
    text = "".join(["x"] * 8000)
    before = sys.getrefcount(text)
    with contextlib.suppress(ValueError):
        read(text)
    gc.collect()
    assert sys.getrefcount(text) == before


class _Lines:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def getall(self, _: str, __: object) -> list[str]:
        """Return the lines of a field, whatever its name."""
        return self._lines
