"""Pages without the files that a client is not to choose: those younger than the cooldown, and offline those not in the store.

Applied when a page is served, on the view that the client would get; the stored page stays whole. What is left out depends on the
time and on the store, so a filtered view lives in memory for a few seconds only.
"""

from __future__ import annotations

import time
from collections import OrderedDict

from pkgcache.engine.pages.stored_page import PageRequest, StoredPage, gzipped_page
from pkgcache.engine.pages.variants import PageVariant, PageVariants
from pkgcache.engine.store.keys import StoreKey, file_key
from pkgcache.engine.store.store import Store
from pkgcache.rules.http.validation import strong_tag
from pkgcache.rules.policy.admission import Admission, Refused
from pkgcache.rules.routing.digests import parse_release_path, strongest
from pkgcache.rules.simple.file_table import FileTable

LIVES_SECONDS = 5.0
IN_MEMORY = 256


class VariantFilter:
    """Filters views; `active` says whether there is anything to filter by."""

    def __init__(self, views: PageVariants, store: Store, admission: Admission, *, offline: bool) -> None:
        self._views = views
        self._store = store
        self._admission = admission
        self._offline = offline
        self._made: OrderedDict[tuple[str, str], tuple[float, PageVariant]] = OrderedDict()
        self.active = offline or admission.cooldown > 0

    async def apply(self, ask: PageRequest, kept: StoredPage, view: PageVariant) -> PageVariant:
        """The view without what is to be left out."""
        key = (ask.variant_key(kept.notes, view.kind), view.source_digest)
        now = time.time()
        made, filtered = self._made.get(key, (0.0, view))
        if now - made < LIVES_SECONDS:
            return filtered
        table = await self._views.links_of(ask, view.source_digest)
        dropped = await self._dropped(ask, table, now) if table else frozenset()
        result = await self._views.without(ask, kept, view, dropped)
        if result.dropped:
            gzipped = await self._views.in_thread(lambda: gzipped_page(result.body))
            filtered = PageVariant(
                source_digest=view.source_digest,
                kind=view.kind,
                plain=result.body,
                gzipped=gzipped,
                etag=strong_tag(result.body),
                edited=True,
                filtered=True,
            )
        else:
            filtered = view
        self._made[key] = (now, filtered)
        self._made.move_to_end(key)
        if len(self._made) > IN_MEMORY:
            self._made.popitem(last=False)
        return filtered

    async def _dropped(self, ask: PageRequest, table: FileTable, now: float) -> frozenset[str]:
        """The names of the files that are to be left out."""
        young, keys = await self._views.in_thread(lambda: self._looked_at(ask, table, now))
        if not self._offline:
            return young
        present = await self._store.present(list(keys))
        return young | {name for key, name in keys.items() if key not in present}

    def _looked_at(self, ask: PageRequest, table: FileTable, now: float) -> tuple[frozenset[str], dict[StoreKey, str]]:
        """The names of the files that are too young, and the keys and names of all."""
        keys: dict[StoreKey, str] = {}
        young: set[str] = set()
        for identity, facts in table.items():
            if isinstance(self._admission.admit_file(facts.upload_time, now), Refused):
                young.add(facts.filename)
            if self._offline:
                release = parse_release_path(identity) if ask.index.shares_pypi_files else None
                digest = release.digest if release else strongest(facts.hashes)
                keys[file_key(ask.space, str(digest or identity), facts.filename)] = facts.filename
        return frozenset(young), keys
