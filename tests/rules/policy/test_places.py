"""Who gets a connection to an upstream, where more requests want one than there are places."""

import pytest

from pkgcache.rules.policy.places import Claim, PlaceLimits, is_queue_full, next_to_serve, to_give_way, to_leave_queue

LIMITS = PlaceLimits(host=4, client=2, queue=3, spare=2)


def claims(text: str) -> list[Claim]:
    """`a a* -`: two of client a, the second spare, and one of nobody in particular."""
    return [Claim(word.rstrip("*").replace("-", ""), word.endswith("*")) for word in text.split()]


@pytest.mark.parametrize(
    ("waiting", "held", "served"),
    [
        ("", "", None),
        ("a", "", 0),
        ("a", "b b c", 0),
        ("a", "b b c c", None),  # the host is full
        ("a", "b b c -", None),
        ("a", "a a", None),  # the client has its share
        ("a b", "a a", 1),  # another client passes it in the queue
        ("a", "a a*", 0),  # what is spare counts for nobody
        ("a", "a* a* a*", 0),
        ("a", "a* a* a* a*", None),  # it must give way first
        ("- -", "- - -", 0),  # nobody in particular has no share of its own
        ("a b", "", 0),  # first come, first served
        ("a b", "a", 1),  # who holds fewer comes first
        ("a b c", "a b", 2),
        ("a b", "a b", 0),
        ("a* b", "", 1),  # what is wanted comes before what is spare
        ("a* b", "b", 1),
        ("a* b*", "", 0),
        ("a* b", "b b", 0),  # unless that may not be served
        ("a*", "a a", 0),
        ("a*", "b* b", 0),
        ("a*", "b* c*", None),  # so many that are spare are under way
        ("a*", "b* c* d*", None),
        ("a* b*", "b* a c*", None),
        ("-*", "-* -*", None),  # nobody's refreshes too
        ("a* b", "b* c*", 1),  # those do not hold up what is wanted
    ],
)
def test_who_is_next(waiting: str, held: str, served: int | None) -> None:
    assert next_to_serve(claims(waiting), claims(held), LIMITS) == served


@pytest.mark.parametrize(
    ("waiting", "held", "leave"),
    [
        ("", "a* a* a* a*", []),  # nobody waits
        ("b", "a* a*", []),  # there is a place
        ("b", "a a* b c*", [1]),
        ("b b", "a a* b* c*", [1, 2]),
        ("b c d", "a a* b c*", [1, 3]),  # all that there are
        ("b b", "a a* c*", [1]),  # one is free already
        ("b", "a a b c", []),  # all are wanted
        ("b*", "a* a* a* a*", []),  # for what is spare itself nothing gives way
        ("b* c", "a* a* a* a*", [0]),
        ("a", "a a b* c*", []),  # it could not have the place
        ("-", "- -* - -", [1]),
    ],
)
def test_who_gives_way(waiting: str, held: str, leave: list[int]) -> None:
    assert to_give_way(claims(waiting), claims(held), LIMITS) == leave


@pytest.mark.parametrize(
    ("waiting", "full", "leaves"),
    [("", False, None), ("a a*", False, 1), ("a b c", True, None), ("a b* c*", True, 1), ("a* b c d", True, 0)],
)
def test_a_full_queue(waiting: str, full: bool, leaves: int | None) -> None:
    assert is_queue_full(claims(waiting), LIMITS) is full
    assert to_leave_queue(claims(waiting)) == leaves


def test_the_limits() -> None:
    """One client cannot take all places of a host, and uv's 50 files at once find room in the queue many times over."""
    limits = PlaceLimits()
    assert 0 < limits.client < limits.host
    assert limits.queue >= 500
    assert 0 < limits.spare < limits.host - limits.client
