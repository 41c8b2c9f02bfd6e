"""Pages without the files that a client must not choose: too young, blocked by an advisory, or offline of a version that is not stored.

Files that an advisory names without blocking them are marked as yanked (PEP 592).

Offline a version stays whole on its page while anything of it is stored: one of its files, its metadata, a cached range, its document of
the JSON API. A lock names all files of a version, also those that nobody has installed here, so what was locked through this proxy can
be locked again. A version that nothing is stored of cannot be installed, and a resolver must not choose it.

The filter is applied to the variant that the client would get; the stored page stays whole. What is left out depends on the time and
on the store, so a filtered variant lives in memory for a few seconds only, and no longer than the advisories that it was made by. Which
file is too young is decided in `rules/policy/admission`, which one an advisory is about in `rules/policy/advisories`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from packaging.utils import canonicalize_version
from packaging.version import Version

from pkgcache.engine.advisories.feed import AdvisoryFeed
from pkgcache.engine.pages.known_files import KnownFiles
from pkgcache.engine.pages.page_variant import PageVariant
from pkgcache.engine.pages.stored_page import PageGoneError, PageRequest, StoredPage, gzipped_page
from pkgcache.engine.pages.variants import PageVariants
from pkgcache.engine.runtime.single_flight import SingleFlight
from pkgcache.engine.shared.tier import SharedTier
from pkgcache.engine.store.keys import StoreKey, file_key, made_document, page_key, range_key
from pkgcache.engine.store.lru import ByteLru
from pkgcache.engine.store.store import Store
from pkgcache.rules.http.validation import strong_tag
from pkgcache.rules.policy.admission import Admission, Refused
from pkgcache.rules.policy.advisories import Advisories
from pkgcache.rules.routing.digests import parse_release_path, strongest
from pkgcache.rules.routing.filenames import version_in
from pkgcache.rules.routing.routes import PUBLIC
from pkgcache.rules.simple.file_table import FileFacts, FileTable
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.representations import Representation

FILTERED_SECONDS = 5.0
"""How long a filtered variant is used, so the delay before a file that was stored, or has outgrown the cooldown, appears on a page."""

FILTERED_BYTES = 32 << 20
"""Memory for filtered variants: a few pages of 8,000 files, or hundreds of usual ones."""

_NOTHING: Final = frozenset[str]()


class VariantFilter:
    """Filters variants; `active` says whether there is anything to filter by."""

    def __init__(
        self,
        variants: PageVariants,
        known_files: KnownFiles,
        store: Store,
        admission: Admission,
        *,
        offline: bool,
        advisories: AdvisoryFeed | None = None,
        tier: SharedTier | None = None,
    ) -> None:
        self._variants = variants
        self._known_files = known_files
        self._store = store
        self._admission = admission
        self._offline = offline
        self._tier = tier
        self._filtered: ByteLru[tuple[StoreKey, str], tuple[float, PageVariant]] = ByteLru(FILTERED_BYTES)
        self._running: SingleFlight[tuple[StoreKey, str, int], PageVariant] = SingleFlight(
            variants.tasks, expected=(PageGoneError, BrokenPage)
        )
        self._advisories = advisories if advisories is not None and advisories.is_on else None
        self.active = offline or admission.cooldown > 0 or bool(admission.deny_status) or self._advisories is not None
        if self._advisories is not None:
            self._advisories.changed = self._filtered.clear

    async def apply(self, page_request: PageRequest, page: StoredPage, variant: PageVariant) -> PageVariant:
        """The variant without the files that are left out now; the variant itself where none are."""
        key = (variant.key, variant.source_digest)
        now = time.time()
        if (found := self._filtered.get(key)) and now - found[0] < FILTERED_SECONDS:
            return found[1]
        advisories = self._about(page_request)
        by_file = self._offline or advisories is not None or self._has_cooldown(page_request)
        if not by_file and not self._admission.deny_status:
            return variant
        # Once for all clients that wait: of a large page it takes seconds. By other advisories it is another work.
        work = partial(self._filter, page_request, page, variant, now, advisories)
        task = self._running.join((*key, id(advisories)), work, f"filter for {page_request.project}")
        return await asyncio.shield(task)

    async def _filter(
        self,
        page_request: PageRequest,
        page: StoredPage,
        variant: PageVariant,
        now: float,
        advisories: Advisories | None,
    ) -> PageVariant:
        table = await self._known_files.table(page_request, variant.source_digest, page)
        left_out, yanked = await self._decide(page_request, table, now, advisories) if table else (_NOTHING, {})
        result = await self._variants.changed(page_request, page, variant, left_out, yanked)
        filtered = variant
        if result is not variant.plain:
            filtered = PageVariant(
                source_digest=variant.source_digest,
                key=variant.key,
                kind=variant.kind,
                plain=result,
                gzipped=await self._variants.in_thread(lambda: gzipped_page(result)),
                etag=strong_tag(result),
                edited=True,
                filtered=True,
            )
        if advisories is self._about(page_request):  # else they have changed meanwhile, and memory was emptied
            self._filtered.put((variant.key, variant.source_digest), (now, filtered), filtered.size)
        return filtered

    def _about(self, page_request: PageRequest) -> Advisories | None:
        feed = self._advisories
        return feed.about(page_request.project, page_request.index.name) if feed else None

    def _has_cooldown(self, page_request: PageRequest) -> bool:
        return self._admission.has_cooldown(page_request.project, page_request.index.name)

    async def _decide(
        self, page_request: PageRequest, table: FileTable, now: float, advisories: Advisories | None
    ) -> tuple[frozenset[str], dict[str, str]]:
        """The names of the files that are left out, and why others are to be marked as yanked."""
        if isinstance(
            self._admission.admit_status(table.status), Refused
        ):  # PEP 792: of one in quarantine an index offers nothing
            return frozenset(facts.filename for _, facts in table.items()), {}
        left_out = await self._left_out(page_request, table, now)
        if advisories is None:
            return left_out, {}
        advised = await self._variants.in_thread(
            lambda: advisories.of_page(page_request.project, (facts.filename for _, facts in table.items()))
        )
        blocked = {name for name, advice in advised.items() if advice.blocked}
        return left_out | blocked, {name: advice.yanked for name, advice in advised.items() if advice.yanked}

    async def _left_out(self, page_request: PageRequest, table: FileTable, now: float) -> frozenset[str]:
        """The names of the files that are left out."""
        young, versions = await self._variants.in_thread(lambda: self._examine(page_request, table, now))
        keys = {key: version for version in versions.values() for key in version.keys}
        stored = {keys[key] for key in await self._present(page_request, list(keys))} if keys else set()
        absent = [version for version in versions.values() if version not in stored]
        return young.union(*(version.filenames for version in absent))

    async def _present(self, page_request: PageRequest, keys: list[StoreKey]) -> set[StoreKey]:
        """Those of the keys that the store has, or a shared tier."""
        found = await self._store.present(keys)
        if self._tier is not None:
            for space in {page_request.space, PUBLIC}:
                found |= (await self._tier.present(space, page_request.project)).intersection(keys)
        return found

    def _examine(
        self, page_request: PageRequest, table: FileTable, now: float
    ) -> tuple[frozenset[str], dict[str, _Version]]:
        """The names of the files that are too young; and offline, all versions."""
        versions: dict[str, _Version] = {}
        known: dict[str, Version] = {}
        young: set[str] = set()
        has_cooldown = self._has_cooldown(page_request)
        spaces = {page_request.space, PUBLIC}  # what is public is served to clients with credentials too
        for identity, facts in table.items():
            if has_cooldown and isinstance(self._admission.admit_file(facts.upload_time, now), Refused):
                young.add(facts.filename)
            if self._offline:
                version = version_in(facts.filename, page_request.project, known)
                # Equal versions are spelt alike without their trailing zeros (PEP 440). A file without one stands for itself.
                name = canonicalize_version(version) if version else facts.filename
                of_version = versions.setdefault(name, _Version())
                of_version.filenames.add(facts.filename)
                spellings = {str(version), facts.filename.split("-")[1]} if version else set()
                for space in spaces:
                    of_version.keys.update(_keys_of_file(page_request, space, identity, facts))
                    of_version.keys.update(_keys_of_documents(page_request, space, spellings))
        return frozenset(young), versions


@dataclass(eq=False, slots=True)
class _Version:
    """The files of one version, and the keys of whatever may be stored of it."""

    filenames: set[str] = field(default_factory=set)
    keys: set[StoreKey] = field(default_factory=set)


def _keys_of_file(page_request: PageRequest, space: str, identity: str, facts: FileFacts) -> Iterator[StoreKey]:
    """The keys of a file, of ranges of it, and of its metadata."""
    index = page_request.index
    release = parse_release_path(identity) if index.shares_pypi_files else None
    digest = release.digest if release else strongest(facts.hashes)
    file = file_key(space, str(digest or identity), facts.filename)
    yield file
    yield range_key(file)
    if facts.has_metadata:
        url = f"{index.canonical_files if release else ''}{identity}.metadata"
        digest = None if isinstance(facts.core_metadata, bool) else strongest(facts.core_metadata)
        yield file_key(space, str(digest or url), f"{facts.filename}.metadata")


def _keys_of_documents(page_request: PageRequest, space: str, spellings: set[str]) -> Iterator[StoreKey]:
    """The keys of a version's documents of the JSON API. poetry reads its metadata there."""
    if not page_request.index.shares_pypi_files:
        return
    for spelling in spellings:
        document = f"{page_request.project}/{spelling}/json"
        for name in (document, made_document(document)):
            yield page_key(space, page_request.index.name, name, Representation.JSON)
