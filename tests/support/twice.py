"""Something asked for twice or three times: what the upstream says each time, and what becomes of the requests; for tests/rfc9111."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pkgcache.rules.http.dates import parse_http_date
from tests.support.behaviour import Behaviour
from tests.support.house import House, cache_status_of
from tests.support.wire import Fetched

IMPORTED: Final = time.monotonic()

type Outcome = Literal["hit", "stale", "stale if error", "validated", "changed", "asked anew", "failed"]
"""Not forwarded, and fresh or stale (then at most refreshed in the background); forwarded in vain, stale or an error; forwarded with
validators, and 304 or 200; without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The first answer's headers, what the later ones have of their own (for so many `times`), and the second request's headers."""

    says: Mapping[str, str | None]
    then: Mapping[str, str | None] = field(default_factory=dict)
    status: int | None = None
    times: int | None = None
    content: bytes | None = None
    """Of the later answers, where it has changed."""
    asks: Mapping[str, str] = field(default_factory=dict)
    outcome: Outcome
    third: Outcome | None = None
    """The outcome of one more request, without headers of its own."""
    sees: Mapping[str, str | None] = field(default_factory=dict)
    """Fields of the second answer. An `Age` may be greater by the seconds that the test takes."""
    statuses: tuple[int, ...] = ()
    """The upstream's, of all requests but the third."""


def asked_twice(
    house: House, path: str, get: Callable[[Mapping[str, str]], Fetched], case: Case
) -> tuple[Fetched, Fetched]:
    """Ask with `get(headers)` for what the upstream has at `path`, as `case` says, and check what became of it."""
    house.upstream.script(
        Behaviour(path, headers=case.says),
        Behaviour(path, headers=case.then, status=case.status, content=case.content, skip=1, times=case.times),
    )
    first = get({})
    assert first.status == 200
    asks = {name.replace("-", "_"): text for name, text in case.asks.items()}
    again = get(asks)
    while "collapsed" in cache_status_of(again):  # all of it was sent, and not quite stored yet
        again = get(asks)
    assert _outcome(house, path, again, 1) == case.outcome
    assert not case.statuses or case.statuses == tuple(each.status for each in house.upstream.seen(path_contains=path))
    for name, text in case.sees.items():
        seen = again.headers[name]
        if name == "Age" and text is not None:
            waited = int(time.monotonic() - IMPORTED)  # a row's dates are made at collection, minutes before it runs
            assert int(text) <= int(seen or -1) <= min(int(text) + waited + 300, 2**31)
        else:
            assert seen == text, name
    assert parse_http_date(again.headers["Date"] or "") is not None or case.outcome == "failed"
    if case.third is not None:
        before = len(house.upstream.seen(path_contains=path))
        assert _outcome(house, path, get({}), before) == case.third
    return first, again


def _outcome(house: House, path: str, answer: Fetched, before: int) -> Outcome:
    """What became of a request, by what the upstream saw of it after the first `before` requests."""
    status = cache_status_of(answer)
    asked = house.upstream.seen(path_contains=path)[before:]
    if answer.status >= 500:
        return "failed"
    assert answer.status in {200, 206}
    if "; hit; " in status:
        if "detail=stale-if-error" in status:
            assert asked
            return "stale if error"
        # A stale answer is refreshed in the background: the upstream may be asked before we look, or after.
        return "stale" if "ttl=-" in status else "hit"
    if len(asked) > 1 or not {"if-none-match", "if-modified-since"} & set(asked[0].headers):
        return "asked anew"
    return "validated" if asked[0].status == 304 else "changed"
