"""Pages without the files that a client must not choose: those younger than the cooldown, and offline those that are not stored.

The filter is applied to the variant that the client would get; the stored page stays whole. What is left out depends on the time and
on the store, so a filtered variant lives in memory for a few seconds only. Which file is too young is decided in
`rules/policy/admission`.
"""

from __future__ import annotations

import time

from pkgcache.engine.pages.known_files import KnownFiles
from pkgcache.engine.pages.stored_page import PageRequest, StoredPage, gzipped_page
from pkgcache.engine.pages.variants import PageVariant, PageVariants
from pkgcache.engine.store.keys import StoreKey, file_key
from pkgcache.engine.store.lru import ByteLru
from pkgcache.engine.store.store import Store
from pkgcache.rules.http.validation import strong_tag
from pkgcache.rules.policy.admission import Admission, Refused
from pkgcache.rules.routing.digests import parse_release_path, strongest
from pkgcache.rules.routing.routes import PUBLIC
from pkgcache.rules.simple.file_table import FileTable

FILTERED_SECONDS = 5.0
"""How long a filtered variant is used, so the delay before a file that was stored, or has outgrown the cooldown, appears on a page."""

FILTERED_BYTES = 32 << 20
"""Memory for filtered variants: a few pages of 8,000 files, or hundreds of usual ones."""


class VariantFilter:
    """Filters variants; `active` says whether there is anything to filter by."""

    def __init__(
        self, variants: PageVariants, known_files: KnownFiles, store: Store, admission: Admission, *, offline: bool
    ) -> None:
        self._variants = variants
        self._known_files = known_files
        self._store = store
        self._admission = admission
        self._offline = offline
        self._filtered: ByteLru[tuple[StoreKey, str], tuple[float, PageVariant]] = ByteLru(FILTERED_BYTES)
        self.active = offline or admission.cooldown > 0

    async def apply(self, page_request: PageRequest, page: StoredPage, variant: PageVariant) -> PageVariant:
        """The variant without the files that are left out now; the variant itself where none are."""
        key = (variant.key, variant.source_digest)
        now = time.time()
        if (found := self._filtered.get(key)) and now - found[0] < FILTERED_SECONDS:
            return found[1]
        table = await self._known_files.table(page_request, variant.source_digest, page)
        names = await self._left_out(page_request, table, now) if table else frozenset()
        result = await self._variants.without(page_request, page, variant, names)
        filtered = variant
        if result.dropped:
            filtered = PageVariant(
                source_digest=variant.source_digest,
                key=variant.key,
                kind=variant.kind,
                plain=result.body,
                gzipped=await self._variants.in_thread(lambda: gzipped_page(result.body)),
                etag=strong_tag(result.body),
                edited=True,
                filtered=True,
            )
        self._filtered.put(key, (now, filtered), filtered.size)
        return filtered

    async def _left_out(self, page_request: PageRequest, table: FileTable, now: float) -> frozenset[str]:
        """The names of the files that are left out."""
        young, keys = await self._variants.in_thread(lambda: self._examine(page_request, table, now))
        if not self._offline:
            return young
        present = await self._store.present(list(keys))
        return young | set(keys.values()) - {keys[key] for key in present}

    def _examine(
        self, page_request: PageRequest, table: FileTable, now: float
    ) -> tuple[frozenset[str], dict[StoreKey, str]]:
        """The names of the files that are too young; and offline, the store keys of all files, with their names."""
        keys: dict[StoreKey, str] = {}
        young: set[str] = set()
        for identity, facts in table.items():
            if isinstance(self._admission.admit_file(facts.upload_time, now), Refused):
                young.add(facts.filename)
            if self._offline:
                release = parse_release_path(identity) if page_request.index.shares_pypi_files else None
                digest = release.digest if release else strongest(facts.hashes)
                for space in {page_request.space, PUBLIC}:  # what is public is served to clients with credentials too
                    keys[file_key(space, str(digest or identity), facts.filename)] = facts.filename
        return frozenset(young), keys
