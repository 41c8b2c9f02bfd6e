"""The circuit breakers of all upstreams, by origin (`rules/policy/circuit_breaker`)."""

from __future__ import annotations

import math
import time

from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.http.cache_control import Headers
from pkgcache.rules.http.refusals import retry_after
from pkgcache.rules.policy.circuit_breaker import OPEN_SECONDS, Breaker, is_failure
from pkgcache.rules.routing.urls import Url


class Breakers:
    """Told of each request to an upstream, and of what becomes of it."""

    def __init__(self) -> None:
        self._breakers: dict[str, Breaker] = {}  # without an entry: closed
        self._why: dict[str, str] = {}

    def is_open(self, url: Url) -> bool:
        """Whether the breaker of this upstream is open: it failed repeatedly, and others are asked first for a while."""
        breaker = self._breakers.get(url.origin) if self._breakers else None
        return breaker is not None and not breaker.allows(time.monotonic())

    def is_dead(self, origin: str) -> bool:
        """Whether the upstream has not answered a probe either."""
        breaker = self._breakers.get(origin)
        return breaker is not None and breaker.dead

    def why(self, origin: str) -> str:
        """What was wrong with this upstream at its last request; empty where nothing was."""
        return self._why.get(origin, "")

    def begin(self, url: Url) -> float:
        """Let a request go out; returns when, for `failed`. Raises UpstreamError where the upstream is dead, and no probe is due."""
        now = time.monotonic()
        if (breaker := self._breakers.get(url.origin)) is not None:
            if breaker.refuses(now):
                wait = max(1, math.ceil(breaker.open_until - now))
                why = self._why.get(url.origin, "no answer")
                detail = f"it has not answered for {OPEN_SECONDS:g} s or more ({why}); it is asked again in {wait} s"
                raise UpstreamError(Failure.UNREACHABLE, url, detail, origin=url.origin, dead=True)
            self._breakers[url.origin] = breaker.half_open(now)
        return now

    def failed(self, origin: str, why: str, *, asked: float | None = None, heard: bool = False) -> None:
        """Count a failure of a request that went out at `asked` (None: just now). `heard`: the upstream has answered something."""
        self._why[origin] = why
        before = self._breakers.get(origin, Breaker())
        self._breakers[origin] = before.failed(time.monotonic(), asked=asked, heard=heard)

    def note(self, origin: str, status: int, headers: Headers) -> None:
        """Count an answer as a failure, or close the breaker."""
        # Whether there is a Retry-After, not when it ends: so no clock is needed.
        if is_failure(status, retry_after(headers, 0.0)):
            self.failed(origin, f"it answered {status}", heard=True)
        else:
            self.answered(origin)

    def answered(self, origin: str) -> None:
        """Close the breaker."""
        if self._breakers:
            self._breakers.pop(origin, None)
            self._why.pop(origin, None)
