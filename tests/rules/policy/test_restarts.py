"""When a worker that has ended is started again."""

import pytest

from pkgcache.rules.policy.restarts import LONGEST_PAUSE, MOST_TRIES, STEADY_SECONDS, Ended, GiveUp, Restart, after


@pytest.mark.parametrize("by_itself", [False, True])
@pytest.mark.parametrize(
    ("listened", "failures", "others", "pause", "counted", "keeps"),
    [
        (3600.0, 0, True, 0.0, 0, True),
        (3600.0, 9, True, 0.0, 0, True),  # what went wrong before is over
        (STEADY_SECONDS, 0, False, 0.0, 0, True),
        (0.5, 0, True, 0.1, 1, True),
        (0.5, 1, True, 0.2, 2, True),
        (0.5, 2, False, 0.4, 3, True),
        (0.5, 3, True, 0.8, 4, False),
        (0.5, 3, False, 0.8, 4, True),  # nobody else would take what comes meanwhile
        (None, 0, True, 0.1, 1, True),
        (None, 0, False, 0.1, 1, True),
        (None, 6, True, 6.4, 7, False),
        (None, 7, True, LONGEST_PAUSE, 8, False),  # the others go on, so this one may try for ever
        (None, 10_000, True, LONGEST_PAUSE, 10_001, False),
        (0.5, 10_000, False, LONGEST_PAUSE, 10_001, True),  # it starts, and dies of what clients send
        (None, MOST_TRIES - 2, False, 0.8, MOST_TRIES - 1, True),
    ],
)
def test_started_again(
    listened: float | None, failures: int, pause: float, counted: int, *, others: bool, keeps: bool, by_itself: bool
) -> None:
    ended = Ended(
        by_itself=by_itself, listened=listened, failures=failures, others_listen=others, any_ever_listened=True
    )
    assert after(ended) == Restart(pause=pytest.approx(pause), failures=counted, keeps_sockets=keeps)


@pytest.mark.parametrize(
    ("by_itself", "failures", "ever", "gives_up"),
    [
        (True, 0, False, True),  # a wrong option: the first worker's first start
        (False, 0, False, False),  # killed at its first start
        (False, MOST_TRIES - 1, False, True),
        (True, MOST_TRIES - 1, True, True),  # config.yaml was changed, and the last worker has died since
        (True, MOST_TRIES - 2, True, False),
        (True, 10_000, True, True),
        (False, MOST_TRIES - 1, True, False),  # somebody kills them faster than they start
        (False, 10_000, True, False),
    ],
)
def test_a_start_that_fails_while_no_other_listens(
    failures: int, *, by_itself: bool, ever: bool, gives_up: bool
) -> None:
    ended = Ended(by_itself=by_itself, listened=None, failures=failures, others_listen=False, any_ever_listened=ever)
    assert isinstance(after(ended), GiveUp) == gives_up
