"""A page as each kind of client sees it: its links edited for that client, in JSON or HTML, plain and gzipped.

A variant is made from the stored page once (`rules/simple/transform`) and kept, in memory as far as that goes and in the store beside
its page, so that a hit parses and compresses nothing. Each carries the digest of the body it was made from: a page that changed, in
this process or another, never meets a variant of its old version. Page and variant are checked against their digests whenever they
are read from the disk.

Parsing happens on threads, that of large pages in a process of its own (`worker`). Left out: what clients are not to see
(`filtering`), and how long a page lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from pkgcache.engine.pages.learned_hosts import LearnedHosts
from pkgcache.engine.pages.page_turns import PageTurns
from pkgcache.engine.pages.page_variant import PageVariant, checked_variant, notes_of
from pkgcache.engine.pages.stored_page import (
    PageGoneError,
    PageRequest,
    StoredPage,
    gzipped_page,
    plain_page,
    plain_size,
    read_page,
)
from pkgcache.engine.pages.worker import PageWorker, is_large
from pkgcache.engine.runtime.single_flight import SingleFlight
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.entries import Notes
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.lru import ByteLru
from pkgcache.engine.store.notes import VariantNotes
from pkgcache.engine.store.store import Store
from pkgcache.rules.http.validation import strong_tag
from pkgcache.rules.routing.package_hosts import Address
from pkgcache.rules.routing.paths import own_page_path
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.file_table import FileTable
from pkgcache.rules.simple.json_api_build import Release
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import BrokenPage, Kind, broken_by
from pkgcache.rules.simple.transform import TransformedPage, TransformSpec

logger = logging.getLogger(__name__)


class PageVariants:
    """Makes variants and keeps them. `is_configured` tells the hosts that the operator's options name.

    `on_file_table` is called with (the page's key, its `source_digest`, its table) whenever a page was parsed. `memory` is in bytes.
    """

    def __init__(
        self,
        store: Store,
        hosts: LearnedHosts,
        tasks: Tasks,
        *,
        is_configured: Callable[[Address], bool],
        memory: int,
        turns: PageTurns | None = None,
    ) -> None:
        self._store = store
        self._hosts = hosts
        self.tasks = tasks
        self._is_configured = is_configured
        self._variants: ByteLru[tuple[StoreKey, str], PageVariant] = ByteLru(memory)
        self._making: SingleFlight[tuple[StoreKey, str], PageVariant] = SingleFlight(
            tasks, expected=(PageGoneError, BrokenPage)
        )
        self._worker = PageWorker()
        self.turns = turns or PageTurns()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="pages")
        # One thread: the worker does one page at a time, and a large page must not keep both threads from the small ones.
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large-pages")
        self.on_file_table: Callable[[StoreKey, str, FileTable], None] = lambda _key, _digest, _table: None

    def close(self) -> None:
        """End the threads and the process that parse."""
        self._worker.close()
        self._large.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def variant(self, page_request: PageRequest, page: StoredPage, kind: Kind) -> PageVariant:
        """The page as this client sees it: from memory, from the store, or made now. Raises PageGoneError and BrokenPage."""
        if variant := self.in_memory(page_request, page, kind):
            return variant
        key = page_request.variant_key(page.notes, kind)
        # Of many clients one has it read or made: a large one takes seconds and tens of megabytes, each time.
        work = partial(self._read_or_make, key, page_request, page, kind)
        task = self._making.join((key, page.notes.source_digest), work, f"variant of {page_request.project}")
        return await asyncio.shield(task)

    async def _read_or_make(
        self, key: StoreKey, page_request: PageRequest, page: StoredPage, kind: Kind
    ) -> PageVariant:
        if (found := await self._store.read(key)) and (variant := await self._read(key, page, kind, *found)):
            return variant
        async with self.plain(page) as plain:
            return await self.make(page_request, page, plain, kind)

    async def make(
        self, page_request: PageRequest, page: StoredPage, plain: bytes, kind: Kind, *, check: bool = False
    ) -> PageVariant:
        """Make a variant, and store it unless its page is not to be stored. Raises what `transform` does."""
        variant, _ = await self.transform(page_request, page, plain, kind, check=check)
        if not page.notes.transient:
            await self._store.put(variant.key, variant.plain + variant.gzipped, notes_of(variant).to_json())
        return variant

    def in_memory(self, page_request: PageRequest, page: StoredPage, kind: Kind) -> PageVariant | None:
        """The variant of this version of the page, if it is in memory."""
        return self._variants.get((page_request.variant_key(page.notes, kind), page.notes.source_digest))

    async def _read(
        self, key: StoreKey, page: StoredPage, kind: Kind, json_notes: Notes, value: bytes
    ) -> PageVariant | None:
        """A stored variant; None where it is of another version of the page, or damaged, and then dropped."""
        try:
            notes = VariantNotes.from_json(json_notes)
        except ValueError as error:
            await self._store.drop_damaged(key, None, f"its notes are no variant's: {error}")
            return None
        if notes.source_digest != page.notes.source_digest:
            return None
        variant = await self.in_thread(lambda: checked_variant(key, kind, notes, value))
        if variant is None:
            await self._store.drop_damaged(key, None, "it is not what its digest says")
            return None
        self._variants.put((key, variant.source_digest), variant, variant.size)
        return variant

    async def table(self, page_request: PageRequest, page: StoredPage) -> FileTable | None:
        """The table of a page's files. Raises PageGoneError and BrokenPage."""
        async with self.plain(page) as plain:
            return (await self.transform(page_request, page, plain, page.representation.kind))[1]

    @asynccontextmanager
    async def plain(self, page: StoredPage) -> AsyncIterator[bytes]:
        """The upstream's body, decompressed. Raises PageGoneError; a damaged page is dropped first."""
        body = page.body
        if body is None:
            found = await read_page(self._store, page.key)
            if found is None or found.body is None or found.notes.source_digest != page.notes.source_digest:
                raise PageGoneError(page.key)
            body = found.body
        async with self.turns.work(plain_size(body)):
            plain = await self.in_thread(lambda: plain_page(body, page.notes.source_digest))
            if plain is None:
                await self._store.drop_damaged(page.key, None, "it is not what its digest says")
                raise PageGoneError(page.key)
            yield plain

    async def transform(
        self, page_request: PageRequest, page: StoredPage, plain: bytes, kind: Kind, *, check: bool = False
    ) -> tuple[PageVariant, FileTable | None]:
        """Make a variant of a page's plain body, converted if it is of the other kind, and the table of the page's files.

        There is no table of a converted page, which may say less than the stored one. Raises BrokenPage; with `check` also for what is
        no project page.
        """
        spec = spec_of(page_request, page, kind, check=check)

        def finish(transformed: TransformedPage) -> tuple[bytes, str]:
            unchanged = page.body if not transformed.edited else None
            return unchanged or gzipped_page(transformed.body), strong_tag(transformed.body)

        transformed, (gzipped, etag), text = await self._parse(
            lambda: self._worker.transform(plain, spec, finish), plain
        )
        variant = PageVariant(
            source_digest=page.notes.source_digest,
            key=page_request.variant_key(page.notes, kind),
            kind=kind,
            plain=transformed.body,
            gzipped=gzipped,
            etag=etag,
            edited=transformed.edited,
        )
        self._variants.put((variant.key, variant.source_digest), variant, variant.size)
        if not text:
            return variant, None
        table = FileTable(text)
        self.on_file_table(page_request.key, variant.source_digest, table)
        self._learn(page_request, transformed.origins)
        return variant, table

    async def changed(
        self,
        page_request: PageRequest,
        page: StoredPage,
        variant: PageVariant,
        left_out: frozenset[str],
        yanked: Mapping[str, str],
    ) -> bytes:
        """A variant's page without some files, others marked as yanked, by name; its own bytes if it has none. Raises BrokenPage."""
        body, spec = variant.plain, spec_of(page_request, page, variant.kind)
        if left_out:
            body = (await self._parse(lambda: self._worker.remove(variant.plain, spec, left_out), body)).body
        return await self._parse(lambda: self._worker.mark(body, spec, yanked), body) if yanked else body

    async def release(self, variant: PageVariant, version: str) -> Release | None:
        """The files of one release, as a variant in JSON has them; '' means the newest one. None: there is no such release.

        Raises BrokenPage.
        """
        return await self._parse(lambda: self._worker.release(variant.plain, version), variant.plain)

    async def document(self, project: str, release: Release, metadata: bytes | None, page: bytes | None) -> bytes:
        """A document of the JSON API (`build_document`). Raises BrokenPage."""
        work = partial(self._worker.document, project, release, metadata, page)
        return await self._parse(work, page or b"", metadata or b"")

    def _learn(self, page_request: PageRequest, origins: Iterable[str]) -> None:
        """Remember the file hosts that an operator's index links to, but for those that the operator has named."""
        addresses = [(url.host, url.port) for url in map(parse_url, origins)]
        unknown = [address for address in addresses if not self._is_configured(address)]
        # A mirror under its own URL (`pypi@<origin>`) counts as its index.
        index = page_request.index.name.partition("@")[0]
        if unknown and self._hosts.learn(index, page_request.project, unknown):
            self.tasks.start(self._hosts.save(), "save learned hosts", finishes=True)

    async def _parse[T](self, work: Callable[[], T], *texts: bytes) -> T:
        """Run parsing of these texts off the event loop; large pages wait for one another, small ones never for them.

        This is where nothing that a page does gets further: whatever is raised becomes BrokenPage.
        """
        pool = self._large if any(map(is_large, texts)) else self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except BrokenPage:
            raise
        except Exception as error:
            logger.debug("a page raised %r", error, exc_info=error)
            raise broken_by(error) from error

    def in_thread[T](self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run compressing and the like off the event loop. It begins at once, whenever the result is awaited."""
        return asyncio.get_running_loop().run_in_executor(self._pool, work)


def spec_of(page_request: PageRequest, page: StoredPage, kind: Kind, *, check: bool = False) -> TransformSpec:
    """What is to be made of a page for one kind of client."""
    index, at_proxy_address = page_request.index, page_request.at_proxy_address
    client_url = page_request.client_url
    if at_proxy_address:
        client_url = client_url.with_path(own_page_path(index, page_request.project))
    context = PageContext(
        upstream=parse_url(page.notes.url),
        client_url=client_url,
        canonical_files=index.canonical_files,
        own_prefix=f"{index.base}/{index.name}" if at_proxy_address else "",
    )
    return TransformSpec(
        stored=page.representation.kind,
        wanted=kind,
        project=page_request.project,
        context=context,
        shares_pypi_files=index.shares_pypi_files,
        document=bool(page_request.document),
        check=check,
    )
