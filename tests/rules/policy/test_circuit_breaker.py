"""When an upstream that fails is left alone."""

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
