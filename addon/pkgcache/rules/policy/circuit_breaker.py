"""When an upstream that fails is left alone: a circuit breaker for each, as a value.

closed: asked as usual. open: not asked before `OPEN_SECONDS` have passed. half-open: one probe decides. Only failures of the
upstream itself count (not a 404, which is an answer).
"""

from __future__ import annotations

from dataclasses import dataclass

FAILURES = 2
OPEN_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """Failures in a row, and when it may be asked again (seconds, any clock; 0: at once)."""

    failures: int = 0
    open_until: float = 0.0

    def allows(self, now: float) -> bool:
        """Whether to ask it."""
        return now >= self.open_until

    def failed(self, now: float) -> Breaker:
        """After a failure: open from the second in a row on."""
        failures = self.failures + 1
        return Breaker(failures, now + OPEN_SECONDS if failures >= FAILURES else 0.0)

    def half_open(self, now: float) -> Breaker:
        """Once asked when half-open: the others wait for what the probe finds."""
        return Breaker(self.failures, now + OPEN_SECONDS) if self.failures >= FAILURES else self
