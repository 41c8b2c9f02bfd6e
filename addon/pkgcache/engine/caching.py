"""RFC 9111 acted on, once, for index pages, lists of projects, and release files without a digest.

`rules/http/freshness.decide` says what may be done with a stored answer; `CachedAnswers` does it: serves the answer, refreshes it in
the background or while the client waits, falls back to the stale answer where the refresh fails, and says in `Cache-Status` (RFC 9211)
what it did. How a refresh is made is the caller's business.

A library such as hishel would do the same for an HTTP client, but it owns the storage and the sending: here the stored answer may be
a 40 MB file, and a refresh is shared between clients, goes to one of several mirrors, and outlives the client that began it.
Left out: what may be stored (`rules/http/storability`), and conditional requests (`rules/http/validation`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from multidict import CIMultiDict

from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.shared.tier import SharedTier
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError
from pkgcache.rules.http.cache_control import Headers, control_of
from pkgcache.rules.http.cache_status import CacheStatus, Forwarded
from pkgcache.rules.http.freshness import (
    Fresh,
    MustRevalidate,
    Policy,
    StaleReason,
    StaleUsable,
    Stored,
    decide,
)
from pkgcache.rules.routing.urls import Url
from pkgcache.settings import Settings

STALE_SECONDS = 4.0
"""A client waits this long for a refresh before it gets the stale answer. The refresh goes on, so the next client gets the new one.

Well below pip's 15 seconds without a byte, after which it would try again and wait anew.
"""

_ASKED_BY_CLIENT = frozenset({StaleReason.REQUEST_NO_CACHE, StaleReason.REQUEST_MAX_AGE, StaleReason.REQUEST_MIN_FRESH})


type InTier = Callable[[StoreKey], Sequence[tuple[Url, str]]]
"""Where a shared tier has the file of a key, and where once another machine has downloaded it: asked before the upstreams."""


def in_no_tier(_key: StoreKey) -> Sequence[tuple[Url, str]]:
    """Where it is without a tier."""
    return ()


type BringPage = Callable[[StoreKey, frozenset[str], float], Awaitable[bool]]
"""Brings a page from a shared tier into the store: by its key, if one of these upstreams sent it, after this time; whether it did."""


async def bring_none(_key: StoreKey, _upstreams: frozenset[str], _after: float) -> bool:
    """What that is without a tier."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """What pages, files and lists of projects share: one service's store, upstreams, counters, tasks and rules of freshness."""

    store: Store
    client: UpstreamClient
    metrics: Metrics
    tasks: Tasks
    policy: Policy
    settings: Settings
    tier: SharedTier | None = None

    @property
    def in_tier(self) -> InTier:
        """Where a shared tier has files, if there is one."""
        return in_no_tier if self.tier is None else self.tier.sources

    @property
    def bring_page(self) -> BringPage:
        """What brings pages from there."""
        return bring_none if self.tier is None else self.tier.pages.bring


class StoredAnswer(Protocol):
    """Anything that was stored with the headers and times of the response that it came in."""

    @property
    def stored(self) -> Stored:
        """The part of the response that the freshness rules need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed[T]:
    """What a refresh brought. `status` is the upstream's: 304 where the stored answer is still right. `kept`: it is stored now.

    `collapsed`: another request's refresh had ended just before, and has brought it.
    """

    answer: T
    status: int
    kept: bool = False
    collapsed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh[T]:
    """A refresh under way, as one request takes part in it.

    `wait` raises AllFailedError; cancelling it does not stop the refresh. `collapsed`: another request had begun it (RFC 9211 §2.6).
    """

    wait: Callable[[], Awaitable[Refreshed[T]]]
    collapsed: bool = False


class OnlyIfCachedError(Exception):
    """The client takes only a stored answer (RFC 9111 §5.2.1.7), and there is none, or one that is too `stale` to be used unasked."""

    def __init__(self, *, stale: bool) -> None:
        self.stale = stale
        super().__init__("only-if-cached, and the stored answer must be revalidated" if stale else "only-if-cached")


class CachedAnswers:
    """Serves what is stored while RFC 9111 allows it, and refreshes it otherwise. `kind` is its name in the metrics."""

    def __init__(self, kind: str, policy: Policy, metrics: Metrics) -> None:
        self._kind = kind
        self._policy = policy
        self._metrics = metrics

    async def answer[S: StoredAnswer, R](
        self,
        stored: S | None,
        request_headers: Headers,
        refresh: Callable[[], Refresh[R]],
        *,
        policy: Policy | None = None,
        private: bool = False,
    ) -> tuple[S | R, CacheStatus]:
        """The stored answer or a refreshed one, and what the cache did. `refresh` begins a refresh, or joins the one under way.

        `policy` replaces the usual one for this answer; `private`: the request carries credentials. Raises AllFailedError and
        TimeoutError as `Refresh.wait` does, and OnlyIfCachedError.
        """
        if stored is None:
            if control_of(request_headers).only_if_cached:
                raise OnlyIfCachedError(stale=False)
            begun = refresh()
            return self._forwarded("miss", begun, await begun.wait())
        match decide(stored.stored, request_headers, policy or self._policy, time.time()):
            case Fresh(ttl=ttl):
                return stored, self._hit(ttl)
            case StaleUsable(ttl=ttl, reason=reason, revalidate=revalidate):
                if revalidate:
                    refresh()
                return stored, self._stale(ttl, reason)
            case MustRevalidate(only_if_cached=True):
                raise OnlyIfCachedError(stale=True)
            case MustRevalidate(ttl=ttl, reason=reason, stale_if_error_ok=stale_ok):
                try:
                    async with asyncio.timeout(STALE_SECONDS if stale_ok else None):
                        begun = refresh()
                        fwd: Forwarded = "request" if reason in _ASKED_BY_CLIENT else "stale"
                        return self._forwarded(fwd, begun, await begun.wait())
                except (AllFailedError, TimeoutError) as error:
                    if not stale_ok or (private and _is_shut_out(error)):
                        raise
                    return stored, self._stale(ttl, "stale-if-error")
            case never:
                assert_never(never)

    def if_fresh(self, stored: StoredAnswer, request_headers: Headers) -> Fresh | None:
        """How fresh an answer is that can be served at once; counted as a hit."""
        decision = decide(stored.stored, request_headers, self._policy, time.time())
        if not isinstance(decision, Fresh):
            return None
        self.count_hit()
        return decision

    def after_failure(self, stored: StoredAnswer, detail_if_fresh: str) -> CacheStatus | None:
        """What the cache did, where the answer may be served in place of another that no upstream gave; None where it may not."""
        match decide(stored.stored, CIMultiDict(), self._policy, time.time()):
            case Fresh(ttl=ttl):
                return self._stale(ttl, detail_if_fresh)
            case StaleUsable(ttl=ttl) | MustRevalidate(ttl=ttl, stale_if_error_ok=True):
                return self._stale(ttl, "offline" if self._policy.offline else "stale-if-error")
            case MustRevalidate():
                return None
            case never:
                assert_never(never)

    def _forwarded[R](self, fwd: Forwarded, refresh: Refresh[R], brought: Refreshed[R]) -> tuple[R, CacheStatus]:
        collapsed = refresh.collapsed or brought.collapsed
        (self._metrics.collapsed if collapsed else self._metrics.miss)(self._kind)
        stored = brought.kept and not collapsed
        return brought.answer, CacheStatus(fwd=fwd, fwd_status=brought.status, stored=stored, collapsed=collapsed)

    def count_hit(self) -> None:
        """Count an answer that is served again as it was."""
        self._metrics.hit(self._kind)

    def _hit(self, ttl: float) -> CacheStatus:
        self.count_hit()
        return CacheStatus.of_hit(ttl)

    def _stale(self, ttl: float, detail: str) -> CacheStatus:
        self._metrics.stale(self._kind)
        return CacheStatus.of_hit(ttl, detail)


def _is_shut_out(error: AllFailedError | TimeoutError) -> bool:
    """Whether the upstream refuses this client's credentials, which a stored answer must not get around.

    RFC 5861 §4 means by an error 500, 502, 503 and 504, and no answer at all.
    """
    return isinstance(error, AllFailedError) and error.status in {401, 403}
