"""RFC 9111 acted on: for each state of a stored answer and of its refresh, what is served, what Cache-Status says, what is asked."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from multidict import CIMultiDict

from pkgcache.engine import caching
from pkgcache.engine.caching import CachedAnswers, OnlyIfCachedError, Refresh, Refreshed
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.rules.http.freshness import Policy, Stored

LIFETIME = 100
POLICY = Policy(default_lifetime=LIFETIME, stale_while_revalidate=50, stale_if_error=1000)
OFFLINE = Policy(default_lifetime=LIFETIME, offline=True)

FRESH, STALE, OLD, TOO_OLD = 10, LIFETIME + 20, LIFETIME + 200, LIFETIME + 2000
"""Ages in seconds: within the lifetime, within stale-while-revalidate, within stale-if-error, past everything."""


@dataclass(frozen=True)
class Answer:
    """An answer that came `age` seconds ago."""

    name: str
    age: float = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def stored(self) -> Stored:
        came = time.time() - self.age
        headers = CIMultiDict(self.headers)
        return Stored(status=self.status, headers=headers, request_time=came, response_time=came)


def failed(status: int = 0) -> AllFailedError:
    failure = Failure.STATUS if status else Failure.UNREACHABLE
    return AllFailedError([UpstreamError(failure, "https://mirror.test/", "no", status=status)])


@dataclass
class Upstream:
    """Refreshes that bring `brings`, or raise it; `collapsed` as if another request had begun them."""

    brings: Refreshed[Answer] | Exception
    collapsed: bool = False
    seconds: float = 0
    begun: int = 0
    waited: int = 0

    def refresh(self) -> Refresh[Answer]:
        self.begun += 1
        return Refresh(wait=self._wait, collapsed=self.collapsed)

    async def _wait(self) -> Refreshed[Answer]:
        self.waited += 1
        await asyncio.sleep(self.seconds)
        if isinstance(self.brings, Exception):
            raise self.brings
        return self.brings


def new(status: int = 200, *, kept: bool = True) -> Refreshed[Answer]:
    return Refreshed(answer=Answer("new"), status=status, kept=kept)


def asked(
    answer: Answer | None, upstream: Upstream, cache_control: str = "", **more: Any
) -> tuple[str, str, dict[str, float]]:
    """(which answer is served, its Cache-Status without the cache's name, the metrics)."""
    metrics = Metrics()
    headers = CIMultiDict({"Cache-Control": cache_control} if cache_control else {})
    answers = CachedAnswers("page", POLICY, metrics)
    served, status = asyncio.run(answers.answer(answer, headers, upstream.refresh, **more))
    return served.name, str(status).removeprefix("pypi-cache; "), metrics.figures()


SERVED = [
    # what is stored, what the request says, what the refresh brings: what is served and said, is a refresh begun, waited for
    ("absent", None, "", new(), "new", "fwd=miss; fwd-status=200; stored", 1, 1),
    ("absent, not to be stored", None, "", new(kept=False), "new", "fwd=miss; fwd-status=200", 1, 1),
    ("absent upstream too", None, "", new(404), "new", "fwd=miss; fwd-status=404; stored", 1, 1),
    ("fresh", Answer("old", FRESH), "", new(), "old", "hit; ttl=89", 0, 0),
    ("fresh, max-age=0 (older pip)", Answer("old", FRESH), "max-age=0", new(), "old", "hit; ttl=89", 0, 0),
    ("stale-while-revalidate", Answer("old", STALE), "", new(), "old", "hit; ttl=-21; detail=stale-while-revalidate", 1, 0),
    ("max-stale", Answer("old", OLD), "max-stale=900", new(), "old", "hit; ttl=-201; detail=max-stale", 1, 0),
    ("stale, 304", Answer("old", OLD), "", new(304, kept=False), "new", "fwd=stale; fwd-status=304", 1, 1),
    ("stale, 200", Answer("old", OLD), "", new(), "new", "fwd=stale; fwd-status=200; stored", 1, 1),
    ("stale, 404", Answer("old", OLD), "", new(404), "new", "fwd=stale; fwd-status=404; stored", 1, 1),
    ("no-cache", Answer("old", FRESH), "no-cache", new(304, kept=False), "new", "fwd=request; fwd-status=304", 1, 1),
    ("uv --refresh", Answer("old", FRESH), "max-age=0, must-revalidate", new(), "new", "fwd=request; fwd-status=200; stored", 1, 1),
    ("min-fresh", Answer("old", FRESH), "min-fresh=95", new(), "new", "fwd=request; fwd-status=200; stored", 1, 1),
    ("stale-if-error", Answer("old", OLD), "", failed(), "old", "hit; ttl=-201; detail=stale-if-error", 1, 1),
    ("stale-if-error, 503", Answer("old", OLD), "", failed(503), "old", "hit; ttl=-201; detail=stale-if-error", 1, 1),
    ("no-cache, upstream down", Answer("old", FRESH), "no-cache", failed(), "old", "hit; ttl=89; detail=stale-if-error", 1, 1),
    ("public, 401 of a mirror", Answer("old", OLD), "", failed(401), "old", "hit; ttl=-201; detail=stale-if-error", 1, 1),
    ("only-if-cached, fresh", Answer("old", FRESH), "only-if-cached", new(), "old", "hit; ttl=89", 0, 0),
    ("only-if-cached, usable", Answer("old", STALE), "only-if-cached", new(), "old", "hit; ttl=-21; detail=stale-while-revalidate", 1, 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stored", "request_control", "brings", "served", "status", "begun", "waited"),
    [row[1:] for row in SERVED],
    ids=[row[0] for row in SERVED],
)
def test_what_is_served(
    stored: Answer | None, request_control: str, brings: Any, served: str, status: str, begun: int, waited: int
) -> None:
    upstream = Upstream(brings)
    assert asked(stored, upstream, request_control)[:2] == (served, status)
    assert (upstream.begun, upstream.waited) == (begun, waited)


@pytest.mark.parametrize(
    ("stored", "private", "error"),
    [
        (None, False, failed()),
        (Answer("old", TOO_OLD), False, failed()),
        (Answer("old", OLD, headers={"Cache-Control": "must-revalidate"}), False, failed()),  # §5.2.2.2
        (Answer("old", OLD, headers={"Cache-Control": "no-cache"}), False, failed()),  # §4.2.4
        (Answer("old", OLD, status=404), False, failed()),  # uv would go on to another index
        (Answer("old", OLD), True, failed(401)),  # a client whose password was taken away
        (Answer("old", OLD), True, failed(403)),
    ],
    ids=["absent", "too old", "must-revalidate", "no-cache", "negative", "401 for credentials", "403 for credentials"],
)
def test_a_failed_refresh_fails_the_request(stored: Answer | None, private: bool, error: AllFailedError) -> None:
    with pytest.raises(AllFailedError) as raised:
        asked(stored, Upstream(error), private=private)
    assert raised.value is error


def test_credentials_get_stale_answers_where_the_upstream_is_down() -> None:
    assert asked(Answer("old", OLD), Upstream(failed(503)), private=True)[0] == "old"


@pytest.mark.parametrize("stored", [None, Answer("old", OLD)], ids=["absent", "stale"])
@pytest.mark.parametrize("control", ["only-if-cached", "only-if-cached, max-age=600"])
def test_only_if_cached_asks_nobody(stored: Answer | None, control: str) -> None:
    """RFC 9111 §5.2.1.7."""
    upstream = Upstream(new())
    with pytest.raises(OnlyIfCachedError) as raised:
        asked(stored, upstream, control)
    assert raised.value.stale == (stored is not None)
    assert upstream.begun == 0


def test_a_slow_refresh_is_left_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "STALE_SECONDS", 0.01)
    upstream = Upstream(new(), seconds=30)
    assert asked(Answer("old", OLD), upstream)[:2] == ("old", "hit; ttl=-201; detail=stale-if-error")
    assert upstream.waited == 1


def test_a_slow_refresh_is_waited_for_where_stale_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "STALE_SECONDS", 0.01)
    forbidding = Answer("old", OLD, headers={"Cache-Control": "must-revalidate"})
    assert asked(forbidding, Upstream(new(), seconds=0.1))[0] == "new"


@pytest.mark.parametrize(
    ("stored", "status"), [(None, "fwd=miss; fwd-status=200; collapsed"), (Answer("old", OLD), "fwd=stale; fwd-status=200; collapsed")]
)  # fmt: skip
def test_who_joins_a_refresh_is_collapsed_and_stores_nothing(stored: Answer | None, status: str) -> None:
    """RFC 9211 §2.5, §2.6: `stored` is of the request that was forwarded."""
    name, said, figures = asked(stored, Upstream(new(), collapsed=True))
    assert (name, said) == ("new", status)
    assert counted(figures) == "collapsed"


@pytest.mark.parametrize(
    ("age", "status"),
    [(FRESH, "hit; ttl=89"), (STALE, "hit; ttl=-21; detail=offline"), (TOO_OLD, "hit; ttl=-2001; detail=offline")],
)
def test_offline_everything_stored_is_served(age: int, status: str) -> None:
    upstream = Upstream(failed())
    assert asked(Answer("old", age), upstream, policy=OFFLINE)[:2] == ("old", status)
    assert upstream.begun == 0


@pytest.mark.parametrize(
    ("stored", "brings", "event"),
    [
        (None, new(), "miss"),
        (Answer("old", FRESH), new(), "hit"),
        (Answer("old", STALE), new(), "stale"),
        (Answer("old", OLD), new(304), "miss"),
        (Answer("old", OLD), failed(), "stale"),
    ],
)
def test_each_answer_is_counted_once(stored: Answer | None, brings: Any, event: str) -> None:
    assert counted(asked(stored, Upstream(brings))[2]) == event


def counted(figures: dict[str, float]) -> str:
    """The one event of kind `page` that was counted."""
    events = [name for name, value in figures.items() if value and "page" in name]
    assert len(events) == 1, events
    assert figures[events[0]] == 1
    return next(event for event in ("hit", "stale", "miss", "collapsed") if event in events[0].split("{cache=")[-1])


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (FRESH, "hit; ttl=89; detail=another-kind"),
        (STALE, "hit; ttl=-21; detail=stale-if-error"),
        (OLD, "hit; ttl=-201; detail=stale-if-error"),
        (TOO_OLD, None),
    ],
)
def test_after_failure(age: int, expected: str | None) -> None:
    status = CachedAnswers("page", POLICY, Metrics()).after_failure(Answer("old", age), "another-kind")
    assert (status and str(status).removeprefix("pypi-cache; ")) == expected


@pytest.mark.parametrize(("age", "served"), [(FRESH, True), (STALE, False), (OLD, False)])
def test_if_fresh(age: int, served: bool) -> None:
    answers = CachedAnswers("page", POLICY, Metrics())
    assert (answers.if_fresh(Answer("old", age), CIMultiDict()) is not None) == served
