"""When a worker that has ended is started again."""

import pytest

from pkgcache.rules.policy.restarts import LONGEST_PAUSE, MOST_TRIES, STEADY_SECONDS, Ended, GiveUp, Restart, after


@pytest.mark.parametrize(
    ("listened", "failures", "others", "ever", "pause", "counted"),
    [
        (3600.0, 0, True, True, 0.0, 0),
        (3600.0, 9, True, True, 0.0, 0),  # what went wrong before is over
        (STEADY_SECONDS, 0, False, True, 0.0, 0),
        (0.5, 0, True, True, 0.1, 1),
        (0.5, 1, True, True, 0.2, 2),
        (0.5, 2, False, True, 0.4, 3),
        (0.5, 3, False, True, 0.8, 4),
        (None, 0, True, True, 0.1, 1),
        (None, 0, False, True, 0.1, 1),
        (None, 6, True, True, 6.4, 7),
        (None, 7, True, True, LONGEST_PAUSE, 8),  # the others go on, so this one may try for ever
        (None, 10_000, True, True, LONGEST_PAUSE, 10_001),
        (0.5, 10_000, False, True, LONGEST_PAUSE, 10_001),  # it starts, and dies of what clients send
        (None, MOST_TRIES - 2, False, True, 0.8, MOST_TRIES - 1),
    ],
)
def test_started_again(
    listened: float | None, failures: int, *, others: bool, ever: bool, pause: float, counted: int
) -> None:
    ended = Ended(listened=listened, failures=failures, others_listen=others, any_ever_listened=ever)
    assert after(ended) == Restart(pause=pytest.approx(pause), failures=counted)


@pytest.mark.parametrize(
    ("listened", "failures", "others", "ever"),
    [
        (None, 0, False, False),  # a wrong option: the first worker's first start
        (None, MOST_TRIES - 1, False, True),  # config.yaml was changed, and the last worker has died since
        (None, 10_000, False, True),
    ],
)
def test_given_up(listened: float | None, failures: int, *, others: bool, ever: bool) -> None:
    ended = Ended(listened=listened, failures=failures, others_listen=others, any_ever_listened=ever)
    assert after(ended) == GiveUp()


@pytest.mark.parametrize(("pause", "keeps"), [(0.0, True), (0.1, True), (0.4, True), (0.8, False), (10.0, False)])
def test_how_long_connections_wait(pause: float, *, keeps: bool) -> None:
    """A connection that waits at a dead worker's socket gets no answer meanwhile; pip waits for 15 s."""
    assert Restart(pause=pause, failures=1).keeps_sockets == keeps
