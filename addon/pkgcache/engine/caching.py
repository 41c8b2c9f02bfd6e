"""RFC 9111 acted on: what everything that caches works with, and the steps from a stored answer to the one that is served."""

from __future__ import annotations

from dataclasses import dataclass

from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.rules.http.freshness import Policy
from pkgcache.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """What pages, files and lists of projects share: one service's store, upstreams, counters, tasks and rules of freshness."""

    store: Store
    client: UpstreamClient
    metrics: Metrics
    tasks: Tasks
    policy: Policy
    settings: Settings
