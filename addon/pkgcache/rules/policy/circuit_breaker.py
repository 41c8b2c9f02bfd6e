"""When an upstream that fails is left alone: a circuit breaker for each, as a value.

- closed: it is asked as usual.
- open: another upstream is asked first for `OPEN_SECONDS`. Where there is no other one it is asked all the same: it may be back already,
  and a client of a new agent would fail for a mirror's restart.
- half-open: the first request after that is a probe.
- dead: the probe has had no answer either. Nobody waits for it any more: requests fail at once, but for one probe each `OPEN_SECONDS`.

Only failures of the upstream itself count: no connection, no answer in time, a 5xx that is one (`is_failure`). A 404 is an answer. A 5xx
opens the breaker, but an upstream that has sent one is not dead: it may answer so for one page alone. There are libraries for this
(pybreaker, aiobreaker); they wrap calls, and keep a clock and a lock of their own, where these few pure lines are all that is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from http import HTTPStatus

from pkgcache.rules.http.refusals import is_overloaded

FAILURES = 2
"""Failures in a row that open the breaker; one alone may be chance."""

OPEN_SECONDS = 15.0
"""How long it stays open before one request may probe the upstream."""


_ANSWERS = frozenset({HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED})
"""They are about the request, as a 405 is."""


def is_failure(status: int, retry_after: int | None) -> bool:
    """Whether an upstream that answers so has failed. One that says when to come again (503 with Retry-After) is well, and busy."""
    return (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _ANSWERS and not is_overloaded(status, retry_after)
    )


@dataclass(frozen=True, slots=True)
class Breaker:
    """Failures in a row, and the time before which the upstream is not asked (seconds of the caller's clock; 0: none).

    `probed` is when the first probe went out (infinity: none has).

    >>> Breaker().failed(100.0).allows(100.0), Breaker().failed(100.0).failed(101.0).allows(102.0)
    (True, False)
    """

    failures: int = 0
    open_until: float = 0.0
    probed: float = math.inf
    dead: bool = False

    def allows(self, now: float) -> bool:
        """Whether the upstream may be asked as usual."""
        return now >= self.open_until

    def refuses(self, now: float) -> bool:
        """Whether it may not be asked at all, since it is dead and the next probe is not due."""
        return self.dead and not self.allows(now)

    def half_open(self, now: float) -> Breaker:
        """Return the breaker once a request has gone out: if it is a probe, others stay away until it has an answer."""
        if self.failures < FAILURES or not self.allows(now):
            return self
        return replace(self, open_until=now + OPEN_SECONDS, probed=min(self.probed, now))

    def failed(self, now: float, *, asked: float | None = None, heard: bool = False) -> Breaker:
        """Return the breaker after a failure.

        `asked` is when that request went out (None: just now); `heard`: the upstream has answered something.
        """
        failures = self.failures + 1
        if failures < FAILURES:
            return Breaker(failures)
        if heard or self.failures < FAILURES:
            return Breaker(failures, now + OPEN_SECONDS)
        if (
            now if asked is None else asked
        ) < self.probed:  # it went out while the upstream may have been but restarting
            return replace(self, failures=failures)
        return replace(self, failures=failures, open_until=now + OPEN_SECONDS, dead=True)
