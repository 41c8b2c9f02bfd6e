"""When an upstream that fails is left alone."""

from pkgcache.rules.policy.circuit_breaker import FAILURES, OPEN_SECONDS, Breaker


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
