"""Views: a stored page as one kind of client is to see it, derived once and kept; and what pages say of files.

A view is the upstream's body with its links put right (rules/derive.py), plain and gzipped. Views are kept in memory, as far as it
goes, and in the store beside their page; each carries the digest of the body that it was derived from, so that a page which
changed, in this process or another, never meets an old view. Both are held against their digests when they are read from the disk.
Parsing happens on threads, that of large pages in a process (engine/pageprocess.py).
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pkgcache.engine.pages.learned_hosts import LearnedHosts
from pkgcache.engine.pages.stored_page import PageGoneError, PageRequest, StoredPage, _plain, gzipped_page
from pkgcache.engine.pages.worker import LARGE, PageWorker
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.entries import Notes
from pkgcache.engine.store.keys import StoreKey, page_key
from pkgcache.engine.store.lru import ByteLru
from pkgcache.engine.store.store import HOT_SECONDS, Store
from pkgcache.rules.http.validation import strong_tag
from pkgcache.rules.routing.filenames import projects_of
from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.paths import own_page_path
from pkgcache.rules.routing.routes import Address, ReleaseFile
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.file_table import FileFacts, FileTable, file_id
from pkgcache.rules.simple.json_api_build import Release
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.removal import Filtered
from pkgcache.rules.simple.representations import Representation
from pkgcache.rules.simple.transform import Kind, TransformedPage, TransformSpec

TABLES_SHARE = 0.5
"""This share of the memory goes to what pages say of their files; a page of 8,000 files takes 4 MB."""

LINKS_BYTES = 1024
"""What a page's links take in memory beside their text, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageVariant:
    """A page as one kind of client is to see it."""

    source_digest: str
    kind: Kind
    plain: bytes
    gzipped: bytes
    etag: str
    edited: bool
    filtered: bool = False

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return len(self.plain) + len(self.gzipped) + 512


@dataclass(frozen=True, slots=True)
class _Links:
    """What a page says of its files: `of` which version of it, and when that was last seen to be the stored one."""

    source_digest: str
    table: FileTable
    seen: float

    @property
    def is_new(self) -> bool:
        """Whether that is believed without asking the store."""
        return time.time() - self.seen <= HOT_SECONDS


class PageVariants:
    """Derives views, keeps them, and remembers what the pages' links say."""

    def __init__(
        self, store: Store, hosts: LearnedHosts, tasks: Tasks, *, opens: Callable[[Address], bool], memory: int
    ) -> None:
        self._store = store
        self._hosts = hosts
        self._tasks = tasks
        self._opens = opens
        self._memory = memory - int(memory * TABLES_SHARE)
        self._bytes = 0
        self._views: OrderedDict[tuple[str, str], PageVariant] = OrderedDict()
        self._tables: ByteLru[str, _Links] = ByteLru(int(memory * TABLES_SHARE))
        self._process = PageWorker()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="pages")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large-pages")

    def close(self) -> None:
        """Let go of the threads and the process that parse."""
        self._process.close()
        self._large.shutdown(wait=True)
        self._pool.shutdown(wait=True)

    async def variant(self, ask: PageRequest, kept: StoredPage, kind: Kind) -> PageVariant:
        """The page as this client is to see it, JSON or HTML: from memory, from the store, or derived anew."""
        if view := self.in_memory(ask, kept, kind):
            return view
        key = ask.variant_key(kept.notes, kind)
        found = await self._store.read(key)
        if found is not None and found[0]["of"] == kept.notes["of"] and "gzipped" in found[0]:
            if view := await self.in_thread(lambda: _read_view(kind, *found)):
                self._remember((key, view.source_digest), view)
                return view
            await self._store.drop_damaged(key, None, "it is not what its digest says")
        page = await self.page(kept)
        view = await self.transform(ask, kept, page, kind)
        if not kept.notes.get("passing"):
            await self._store.put(key, view.plain + view.gzipped, variant_notes(view))
        return view

    async def page(self, kept: StoredPage) -> bytes:
        """The upstream's body, plain. Raises PageGoneError; a damaged one is dropped first."""
        body = kept.body
        if body is None:
            found = await self._store.read(kept.key)
            if found is None or found[0].get("of") != kept.notes["of"]:
                raise PageGoneError(kept.key)
            body = found[1]
        page = await self.in_thread(lambda: _plain(body, kept.notes["of"]))
        if page is None:
            await self._store.drop_damaged(kept.key, None, "it is not what its digest says")
            raise PageGoneError(kept.key)
        return page

    async def transform(
        self, ask: PageRequest, kept: StoredPage, page: bytes, kind: Kind, *, check: bool = False
    ) -> PageVariant:
        """Make a view of a page's plain body, converted if it is of the other kind; take note of what it says of files.

        Raises BrokenPage; with `check` also for what is no project's page.
        """
        order = spec_of(ask, kept.notes, kind, check=check)
        return (await self._derived(ask, kept, page, order, kind))[0]

    async def _derived(
        self, ask: PageRequest, kept: StoredPage, page: bytes, order: TransformSpec, kind: Kind
    ) -> tuple[PageVariant, FileTable | None]:
        """As `derive`, with what the page says of its files, if it says anything: memory may be too small for it."""

        def finish(derived: TransformedPage) -> tuple[bytes, str]:
            unchanged = kept.body if not derived.edited else None
            return unchanged or gzipped_page(derived.body), strong_tag(derived.body)

        derived, (gzipped, etag), table = await self._parsed(page, lambda: self._process.derived(page, order, finish))
        view = PageVariant(
            source_digest=kept.notes["of"],
            kind=kind,
            plain=derived.body,
            gzipped=gzipped,
            etag=etag,
            edited=derived.edited,
        )
        self._remember((ask.variant_key(kept.notes, kind), view.source_digest), view)
        if not table:  # a converted page may say less
            return view, None
        links = _Links(view.source_digest, FileTable(table), time.time())
        self._note(ask.key, links)
        self._learn(ask.index, derived.origins)
        return view, links.table

    async def without(self, ask: PageRequest, kept: StoredPage, view: PageVariant, dropped: frozenset[str]) -> Filtered:
        """A view's page without the files of these names."""
        order = spec_of(ask, kept.notes, view.kind)
        return await self._parsed(view.plain, lambda: self._process.filtered(view.plain, order, dropped))

    async def release(self, ask: PageRequest, kept: StoredPage, view: PageVariant, version: str) -> Release | None:
        """The files of one release, as a view in JSON has them."""
        order = spec_of(ask, kept.notes, view.kind)
        return await self._parsed(view.plain, lambda: self._process.release(view.plain, order, version))

    def _note(self, key: StoreKey, links: _Links) -> None:
        """Take note of what a page says of its files."""
        self._tables.put(key, links, len(links.table.text) + LINKS_BYTES)

    def in_memory(self, ask: PageRequest, kept: StoredPage, kind: Kind) -> PageVariant | None:
        """The view, if memory has it."""
        key = (ask.variant_key(kept.notes, kind), kept.notes["of"])
        if view := self._views.get(key):
            self._views.move_to_end(key)
        return view

    def _remember(self, key: tuple[str, str], view: PageVariant) -> None:
        if key not in self._views:
            self._bytes += view.size
        self._views[key] = view
        while self._bytes > self._memory and len(self._views) > 1:
            self._bytes -= self._views.popitem(last=False)[1].size

    def _learn(self, index: Index, origins: Iterable[str]) -> None:
        """Take note of the file hosts that an operator's index links to."""
        addresses = {(url.host, url.port) for url in map(parse_url, origins)}
        unknown = sorted(address for address in addresses if not self._opens(address))
        if unknown and self._hosts.learn(index.name.partition("@")[0], unknown):
            self._tasks.start(self._hosts.save(), "save learned hosts", finishes=True)

    # What pages say of files

    async def link_of(self, route: ReleaseFile) -> FileFacts | None:
        """What a page of the file's own index says of it; None where no stored page does. Nothing is fetched for it."""
        identity = str(route.identity).removesuffix(route.suffix) if route.suffix else str(route.identity)
        for project in projects_of(route.filename):
            for representation in Representation:
                seen = route.index.simple.with_path("/")
                ask = PageRequest(
                    index=route.index,
                    project=project,
                    representation=representation,
                    client_url=seen,
                    at_proxy_address=False,
                    space=route.space,
                )
                table = await self.links_of(ask)
                if table and (facts := table.get(_file_id(route.index, identity))):
                    return facts
        return None

    def link_in_memory(self, route: ReleaseFile) -> FileFacts | None:
        """As `link_of`, of the pages whose links are in memory, and were seen to be the store's within the last second."""
        identity = _file_id(route.index, str(route.identity).removesuffix(route.suffix))
        for project in projects_of(route.filename):
            for representation in Representation:
                key = page_key(route.space, route.index.name, project, representation)
                links = self._tables.get(key)
                if links is not None and links.is_new and (facts := links.table.get(identity)):
                    return facts
        return None

    async def links_of(self, ask: PageRequest, of: str = "") -> FileTable | None:
        """What the stored page says of its files; `of`: of this version of it. None where there is no such page."""
        links = self._tables.get(ask.key)
        if links is None or (links.source_digest != of if of else not await self._still(ask.key, links)):
            found = await self._store.read(ask.key)
            if found is None or found[0]["status"] != 200:
                return None
            notes, body = found
            kept = StoredPage(key=ask.key, notes=notes, body=body)
            try:
                page = await self.page(kept)
            except PageGoneError:
                return None
            kind = Representation(notes["kind"]).kind
            return (await self._derived(ask, kept, page, spec_of(ask, notes, kind), kind))[1]
        return links.table

    async def _still(self, key: StoreKey, links: _Links) -> bool:
        """Whether these are the links of the page that is stored: another process may have renewed it. A page that is not keeps them."""
        if links.is_new:
            return True
        notes = await self._store.notes(key)
        if notes is not None and notes["status"] == 200 and notes["of"] != links.source_digest:
            return False
        if self._tables.get(key) is links:
            self._note(key, replace(links, seen=time.time()))
        return True

    async def _parsed[T](self, page: bytes, work: Callable[[], T]) -> T:
        """Run parsing off the event loop; large pages wait for one another, and small ones not for them."""
        pool = self._large if len(page) >= LARGE else self._pool
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    async def in_thread[T](self, work: Callable[[], T]) -> T:
        """Run compressing and the like off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def variant_notes(view: PageVariant) -> Notes:
    """What is noted beside a view's bytes, plain and then gzipped."""
    return {
        "of": view.source_digest,
        "plain": len(view.plain),
        "etag": view.etag,
        "edited": view.edited,
        "gzipped": zlib.crc32(view.gzipped),
    }


def spec_of(ask: PageRequest, notes: Notes, kind: Kind, *, check: bool = False) -> TransformSpec:
    """What is to be made of a page for one kind of client."""
    context = PageContext(
        upstream=parse_url(notes["url"]),
        client_url=ask.client_url.with_path(own_page_path(ask.index, ask.project))
        if ask.at_proxy_address
        else ask.client_url,
        canonical_files=ask.index.canonical_files,
        own_prefix=f"/{ask.index.name}" if ask.at_proxy_address else "",
    )
    return TransformSpec(
        stored=Representation(notes["kind"]).kind,
        wanted=kind,
        project=ask.project,
        context=context,
        shares_pypi_files=ask.index.shares_pypi_files,
        document=bool(ask.document),
        check=check,
    )


def _read_view(kind: Kind, notes: Notes, value: bytes) -> PageVariant | None:
    """A stored view; None where it is not what was stored."""
    plain, gzipped = value[: notes["plain"]], value[notes["plain"] :]
    if strong_tag(plain) != notes["etag"] or zlib.crc32(gzipped) != notes["gzipped"]:
        return None
    return PageVariant(
        source_digest=notes["of"], kind=kind, plain=plain, gzipped=gzipped, etag=notes["etag"], edited=notes["edited"]
    )


def _file_id(index: Index, identity: str) -> str:
    return file_id(identity, shares_pypi_files=index.shares_pypi_files)
