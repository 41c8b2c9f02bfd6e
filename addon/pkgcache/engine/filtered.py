"""Pages without the files that a client is not to choose: those younger than the cooldown, and offline those not in the store.

Applied when a page is served, on the view that the client would get; the stored page stays whole. What is left out depends on the
time and on the store, so a filtered view lives in memory for a few seconds only.
"""

from __future__ import annotations

import gzip
import time
from collections import OrderedDict

from pkgcache.engine.messages import strong_tag
from pkgcache.engine.store import Store
from pkgcache.engine.views import Kept, PageAsk, View, Views, file_key, view_key
from pkgcache.rules.admission import Admission, Refused
from pkgcache.rules.digests import parse_release_path, strongest
from pkgcache.rules.filters import leave_out
from pkgcache.rules.pages import PageLink

LIVES_SECONDS = 5.0
IN_MEMORY = 256


class FilteredViews:
    """Filters views; `active` says whether there is anything to filter by."""

    def __init__(self, views: Views, store: Store, admission: Admission, *, offline: bool) -> None:
        self._views = views
        self._store = store
        self._admission = admission
        self._offline = offline
        self._made: OrderedDict[tuple[str, str], tuple[float, View]] = OrderedDict()
        self.active = offline or admission.cooldown > 0

    async def apply(self, ask: PageAsk, kept: Kept, view: View) -> View:
        """The view without what is to be left out."""
        key = (view_key(ask, kept.notes, view.kind), view.of)
        now = time.time()
        made, filtered = self._made.get(key, (0.0, view))
        if now - made < LIVES_SECONDS:
            return filtered
        links = await self._views.links_of(ask, view.of)
        dropped = {link.filename for link in links.values() if self._too_young(link, now)}
        if self._offline:
            dropped |= await self._absent(ask, links)
        result = await self._views.threaded(
            lambda: leave_out(view.plain, view.kind, lambda link: link.filename in dropped)
        )
        if result.dropped:
            gzipped = await self._views.threaded(lambda: gzip.compress(result.body, 6, mtime=0))
            filtered = View(
                of=view.of,
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

    def _too_young(self, link: PageLink, now: float) -> bool:
        return isinstance(self._admission.admit_file(link.upload_time, now), Refused)

    async def _absent(self, ask: PageAsk, links: dict[str, PageLink]) -> set[str]:
        """The names of the files that the store does not have."""
        keys: dict[str, str] = {}
        for identity, link in links.items():
            release = parse_release_path(identity) if ask.index.shares_pypi_files else None
            digest = release.digest if release else strongest(link.hashes)
            keys[file_key(ask.space, str(digest or identity), link.filename)] = link.filename
        present = await self._store.present(list(keys))
        return {name for key, name in keys.items() if key not in present}
