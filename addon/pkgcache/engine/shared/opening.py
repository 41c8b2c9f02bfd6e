"""Makes the shared tier of the settings, lets it hear of what it has to know, and puts it before the upstreams."""

from __future__ import annotations

from typing import Any

from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.shared.bucket import Bucket
from pkgcache.engine.shared.client import SharedTierClient
from pkgcache.engine.shared.tier import SharedTier
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.client import JudgeRedirect, UpstreamClient
from pkgcache.settings import Settings


def check_shared(settings: Settings) -> None:
    """Check that there is such an object store, as far as that can be said without asking it. Raises SettingError."""
    if settings.shared:
        Bucket(settings.shared)


def shared_tier(settings: Settings, store: Store, metrics: Metrics) -> SharedTier | None:
    """The tier of these settings, which hears of what the store takes; None without one. Raises SettingError."""
    if not settings.shared:
        return None
    tier = SharedTier(
        Bucket(settings.shared),
        store,
        metrics.shared,
        wait=settings.shared_wait,
        follow=settings.shared_follow,
        private=settings.shared_private,
    )
    tier.offline = settings.offline
    store.on_stored = tier.stored
    return tier


def upstream_client(tier: SharedTier | None, *, judge: JudgeRedirect, **more: Any) -> UpstreamClient:
    """The client of a service, with a shared tier before its upstreams where there is one; its `close` is the tier's, too."""
    if tier is None:
        return UpstreamClient(judge=judge, **more)
    return SharedTierClient(tier, offline=tier.offline, judge=judge, **more)
