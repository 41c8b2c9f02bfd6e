"""When an upstream that fails is left alone."""

from typing import Final

import pytest

from pkgcache.rules.policy.circuit_breaker import FAILURES, OPEN_SECONDS, Breaker, is_failure


def failing(times: int, now: float = 100.0) -> Breaker:
    breaker = Breaker()
    for _ in range(times):
        breaker = breaker.failed(now)
    return breaker


def test_closed() -> None:
    assert Breaker().allows(0.0)
    assert failing(FAILURES - 1).allows(100.0)


def test_open_for_a_while() -> None:
    breaker = failing(FAILURES)
    assert not breaker.allows(100.0)
    assert not breaker.allows(100.0 + OPEN_SECONDS - 0.1)
    assert breaker.allows(100.0 + OPEN_SECONDS)


def test_one_probe_at_a_time() -> None:
    """Half-open: once a probe is on its way, nobody else asks."""
    later = 100.0 + OPEN_SECONDS
    breaker = failing(FAILURES).half_open(later)
    assert not breaker.allows(later)
    assert breaker.allows(later + OPEN_SECONDS), "a probe that never ends must not keep it open for ever"


def test_a_probe_that_fails_opens_it_again() -> None:
    later = 100.0 + OPEN_SECONDS
    breaker = failing(FAILURES).half_open(later).failed(later + 1)
    assert not breaker.allows(later + OPEN_SECONDS)
    assert breaker.allows(later + 1 + OPEN_SECONDS)


def test_a_request_changes_nothing_while_it_is_closed() -> None:
    assert failing(FAILURES - 1).half_open(100.0) == failing(FAILURES - 1)


@pytest.mark.parametrize(
    ("status", "retry_after", "failed"),
    [
        (500, None, True),
        (502, None, True),
        (503, None, True),
        (504, None, True),
        (599, None, True),
        (500, 5, True),
        (503, 5, False),  # it is well, and busy
        (503, 0, False),
        (429, None, False),
        (501, None, False),  # it knows no HEAD
        (505, None, False),
        (200, None, False),
        (304, None, False),
        (404, None, False),
        (401, None, False),
    ],
)
def test_which_answers_are_failures_of_the_upstream(status: int, retry_after: int | None, failed: bool) -> None:
    assert is_failure(status, retry_after) is failed


# Each row: what happened, second by second, and what becomes of a request at the end. A request is asked ("ask"), and fails without an
# answer ("fail") or with a 5xx ("5xx"); "fail@3": the one that went out at second 3.
USUAL: Final = "usual"
LAST: Final = "after others"
NOT: Final = "not at all"
OPEN: Final = OPEN_SECONDS


@pytest.mark.parametrize(
    ("events", "at", "asked"),
    [
        pytest.param([], 0, USUAL, id="nothing"),
        pytest.param([(0, "fail")], 0, USUAL, id="one failure may be chance"),
        pytest.param([(0, "fail"), (1, "fail")], 1, LAST, id="two in a row"),
        pytest.param([(0, "fail"), (1, "fail")], OPEN, LAST, id="open"),
        pytest.param([(0, "fail"), (1, "fail")], 1 + OPEN, USUAL, id="half-open: this one is the probe"),
        pytest.param([(0, "fail"), (1, "fail"), (5, "ask"), (6, "fail@5")], 7, LAST, id="asked while open, to no avail"),
        pytest.param(
            [(0, "fail"), (1, "fail"), *((n, "fail") for n in range(2, 14))], 1 + OPEN, USUAL, id="failures do not put the probe off"
        ),
        pytest.param([(0, "fail"), (1, "fail"), (1 + OPEN, "ask")], 2 + OPEN, LAST, id="while the probe is under way"),
        pytest.param([(0, "fail"), (1, "fail"), (1 + OPEN, "ask"), (2 + OPEN, "fail")], 3 + OPEN, NOT, id="the probe failed too"),
        pytest.param(
            [(0, "fail"), (1, "fail"), (1 + OPEN, "ask"), (2 + OPEN, "fail")], 2 + 2 * OPEN, USUAL, id="dead: the next probe"
        ),
        pytest.param(
            [(0, "fail"), (1, "fail"), (1 + OPEN, "ask"), (2 + OPEN, "fail"), (2 + 2 * OPEN, "ask")],
            3 + 2 * OPEN,
            NOT,
            id="dead: one probe at a time",
        ),
        pytest.param(
            [(0, "fail"), (1, "fail"), (14, "ask"), (1 + OPEN, "ask"), (2 + OPEN, "fail@14")],
            3 + OPEN,
            LAST,
            id="a slow failure from before the probe is no evidence",
        ),
        pytest.param(
            [(0, "fail"), (1, "fail"), (1 + OPEN, "ask"), (2 + OPEN, "ask"), (3 + OPEN, "fail@17")],
            4 + OPEN,
            NOT,
            id="one from after it is",
        ),
        pytest.param([(0, "5xx"), (1, "5xx"), (1 + OPEN, "ask"), (2 + OPEN, "5xx")], 3 + OPEN, LAST, id="a 5xx is a sign of life"),
        pytest.param(
            [(0, "fail"), (1, "fail"), (1 + OPEN, "ask"), (2 + OPEN, "fail"), (2 + 2 * OPEN, "ask"), (3 + 2 * OPEN, "5xx")],
            4 + 2 * OPEN,
            LAST,
            id="dead, and a probe was answered with a 5xx",
        ),
    ],
)  # fmt: skip
def test_the_rule(events: list[tuple[float, str]], at: float, asked: str) -> None:
    breaker = Breaker()
    for now, event in events:
        what, _, sent = event.partition("@")
        if what == "ask":
            assert not breaker.refuses(now)
            breaker = breaker.half_open(now)
        elif sent:
            breaker = breaker.failed(now, asked=float(sent))
        else:
            breaker = breaker.failed(now, heard=what == "5xx")
    assert (NOT if breaker.refuses(at) else USUAL if breaker.allows(at) else LAST) == asked
