"""What stored pages say of one release file: digest, size, upload time, core metadata. Nothing is fetched for it.

A file is often asked for by its URL alone (a lock file, an installer that read the page yesterday), and only its index's page has its
digest. Each page that is parsed leaves a `FileTable` here, one text of about 500 bytes a file that is looked into one file at a time.
A table that memory has no room for is made again from the stored page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pkgcache.engine.pages.stored_page import PageGoneError, PageRequest, StoredPage, find_page, read_page
from pkgcache.engine.pages.variants import PageVariants
from pkgcache.engine.store.keys import StoreKey, page_key
from pkgcache.engine.store.lru import ByteLru
from pkgcache.engine.store.store import Store
from pkgcache.engine.store.watch import WatchedMemory
from pkgcache.rules.routing.filenames import project_of, projects_of
from pkgcache.rules.routing.routes import PUBLIC, ReleaseFile
from pkgcache.rules.simple.file_table import FileFacts, FileTable, file_id
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.representations import Representation

CHECKED_TABLES = 4096
"""Of so many tables it is remembered that they are of the stored page: by its key, its digest."""

TABLE_BYTES = 1024
"""What a table takes in memory beside its text, about."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A page's table, and of which version of the page it is."""

    source_digest: str
    table: FileTable


class KnownFiles:
    """The tables of the pages that are in use, within `memory` bytes; a page of 8,000 files takes 4 MB."""

    def __init__(self, variants: PageVariants, store: Store, *, memory: int) -> None:
        self._variants = variants
        self._store = store
        self._tables: ByteLru[StoreKey, _Known] = ByteLru(memory)
        self._checked: WatchedMemory[str] = store.watch.memory(CHECKED_TABLES)  # each weighs 1
        variants.on_file_table = self._remember

    async def facts_of(self, route: ReleaseFile) -> FileFacts | None:
        """What a page of the file's own index says of it; None where no stored page does.

        Only its own index: another one may have a different file of that name, and would vouch for the wrong digest.
        """
        identity = _identity(route)
        for page_request in self.page_requests(route):
            table = await self.table(page_request)
            if table and (facts := table.get(identity)):
                return facts
        return None

    async def status_of(self, route: ReleaseFile) -> str:
        """The status of the project that a file most likely belongs to, by its index's stored page (PEP 792); '' where that gives none."""
        project = project_of(route.filename)
        tables = [await self.table(each) for each in self.page_requests(route) if each.project == project]
        return next((table.status for table in tables if table), "")

    def facts_in_memory(self, route: ReleaseFile) -> FileFacts | None:
        """As `facts_of`, but only by tables that are in memory and known to be of the stored page."""
        identity = _identity(route)
        for project, representation in _pages_of(route):
            key = page_key(route.space, route.index.name, project, representation)
            known = self._tables.get(key)
            if known is not None and self._is_checked(key, known) and (facts := known.table.get(identity)):
                return facts
        return None

    async def stored_pages(self, route: ReleaseFile) -> list[StoredPage]:
        """The pages of the file's index that are stored and may link to it, without their bodies."""
        found = [await find_page(self._store, request.key) for request in self.page_requests(route)]
        return [page for page in found if page is not None and page.found]

    async def links_to(self, route: ReleaseFile) -> list[str]:
        """The URLs that stored pages of its index have for a file of this name; a path alone in PyPI's layout."""
        tables = [await self.table(request) for request in self.page_requests(route)]
        return [identity for table in tables if table for identity in table.named(route.filename)]

    @staticmethod
    def page_requests(route: ReleaseFile) -> list[PageRequest]:
        """The pages that may link to a file, as its client may see them."""
        return [
            PageRequest(
                index=route.index,
                project=project,
                representation=representation,
                client_url=route.index.simple.with_path("/"),
                at_proxy_address=False,
                space=route.space,
                authorization=route.sources[0][1] if route.space != PUBLIC and route.sources else "",
            )
            for project, representation in _pages_of(route)
        ]

    async def table(
        self, page_request: PageRequest, source_digest: str = "", page: StoredPage | None = None
    ) -> FileTable | None:
        """All that the stored page says of its files; None where there is no such page.

        `source_digest`: of this version of it. `page`: the page itself, which need not be stored where its body is here.
        """
        known = self._tables.get(page_request.key)
        if known is not None and (
            known.source_digest == source_digest if source_digest else await self._is_current(page_request.key, known)
        ):
            return known.table
        if page is None or page.body is None:
            page = await read_page(self._store, page_request.key)
        if page is None or not page.found:
            return None
        try:
            return await self._variants.table(page_request, page)
        except (PageGoneError, BrokenPage):
            return None

    async def _is_current(self, key: StoreKey, known: _Known) -> bool:
        """Whether a table is of the stored page: another process may have renewed that.

        Where the page was evicted or has become a 404 the table stands: files that it names can still be verified by it.
        """
        if self._is_checked(key, known):
            return True
        began = self._checked.moment
        page = await find_page(self._store, key)
        if page is not None and page.found and page.notes.source_digest != known.source_digest:
            return False
        self._checked.put(key, known.source_digest, 1, began)
        return True

    def _is_checked(self, key: StoreKey, known: _Known) -> bool:
        return self._checked.get(key) == known.source_digest

    def _remember(self, key: StoreKey, source_digest: str, table: FileTable) -> None:
        self._tables.put(key, _Known(source_digest, table), len(table.text) + TABLE_BYTES)


def _pages_of(route: ReleaseFile) -> Iterator[tuple[str, Representation]]:
    """The pages that may link to a file, the likeliest first: an sdist's name does not tell for certain where its project's ends."""
    return ((project, representation) for project in projects_of(route.filename) for representation in Representation)


def _identity(route: ReleaseFile) -> str:
    """The file's key in a table; its metadata or signature (`suffix`) is what the page says of the file itself."""
    return file_id(str(route.identity).removesuffix(route.suffix), shares_pypi_files=route.index.shares_pypi_files)
