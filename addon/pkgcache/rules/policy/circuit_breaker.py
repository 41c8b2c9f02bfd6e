"""When an upstream that fails is left alone: a circuit breaker for each, as a value.

- closed: it is asked as usual.
- open: it is not asked before `OPEN_SECONDS` have passed.
- half-open: one request goes through as a probe and decides.

Only failures of the upstream itself count: no connection, no answer in time, a 5xx that is one (`is_failure`). A 404 is an answer.
There are libraries for this (pybreaker, aiobreaker); they wrap calls, and keep a clock and a lock of their own, where these few pure
lines are all that is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
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

    >>> Breaker().failed(100.0).allows(100.0), Breaker().failed(100.0).failed(101.0).allows(102.0)
    (True, False)
    """

    failures: int = 0
    open_until: float = 0.0

    def allows(self, now: float) -> bool:
        """Whether the upstream may be asked."""
        return now >= self.open_until

    def failed(self, now: float) -> Breaker:
        """Return the breaker after a failure."""
        failures = self.failures + 1
        return Breaker(failures, now + OPEN_SECONDS if failures >= FAILURES else 0.0)

    def half_open(self, now: float) -> Breaker:
        """Return the breaker once a request has gone through: if it is a probe, others stay away until it has an answer."""
        return Breaker(self.failures, now + OPEN_SECONDS) if self.failures >= FAILURES else self
