"""Views: a stored page as one kind of client is to see it, derived once and kept; and what pages say of files.

A view is the upstream's body with its links put right (rules/derive.py), plain and gzipped. Views are kept in memory, as far as it
goes, and in the store beside their page; each carries the digest of the body that it was derived from, so that a page which
changed, in this process or another, never meets an old view. Both are held against their digests when they are read from the disk.
Parsing happens on threads, that of large pages in a process (engine/pageprocess.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import re
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import quote

from multidict import CIMultiDict
from packaging.utils import (
    InvalidName,
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from pkgcache.engine.entries import Notes
from pkgcache.engine.hosts import LearnedHosts
from pkgcache.engine.memory import Memory
from pkgcache.engine.messages import strong_tag
from pkgcache.engine.pageprocess import LARGE, PageProcess
from pkgcache.engine.store import HOT_SECONDS, Store
from pkgcache.engine.tasks import Tasks
from pkgcache.rules.derive import Derived, Kind, Order
from pkgcache.rules.documents import Release
from pkgcache.rules.filetable import FileFacts, FileTable, file_id
from pkgcache.rules.filters import Filtered
from pkgcache.rules.freshness import Stored
from pkgcache.rules.indexes import Index
from pkgcache.rules.links import PageContext
from pkgcache.rules.media import Representation
from pkgcache.rules.routes import Address, ReleaseFile, own_page_path
from pkgcache.rules.urls import Url, parse_url

TABLES_SHARE = 0.5
"""This share of the memory goes to what pages say of their files; a page of 8,000 files takes 4 MB."""

LINKS_BYTES = 1024
"""What a page's links take in memory beside their text, about."""

GZIP_LEVEL, GZIP_LEVEL_OF_LARGE = 6, 4
"""A client waits for the compressing of a new page; of 5 MB, level 4 takes 42 ms and is 5 % larger than level 6 in 58 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A stored upstream answer: `body` is gzipped, and None where it has yet to be read from the store."""

    key: str
    notes: Notes
    body: bytes | None = None

    @property
    def stored(self) -> Stored:
        """What the rules of freshness look at."""
        return Stored(
            status=self.notes["status"],
            headers=CIMultiDict(self.notes["headers"]),
            request_time=self.notes["request_time"],
            response_time=self.notes["response_time"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A page as one kind of client is to see it."""

    of: str
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAsk:
    """One page in one representation, as one kind of client looks at it."""

    index: Index
    project: str
    representation: Representation
    seen: Url
    own: bool
    space: str
    authorization: str = ""
    document: str = ""

    @property
    def key(self) -> str:
        """The page's key in the store."""
        return page_key(self.space, self.index, self.document or self.project, self.representation)

    def view(self, *, based: bool) -> str:
        """Which of the page's views it is; `based`: the page has a `<base>`."""
        # At its index a page depends on how its URL was spelt only by the slash, and a `<base>` at our own address names the origin.
        if self.own:
            return f"own {self.seen.origin}" if based else "own"
        return "slash" if self.seen.path.endswith("/") else "bare"


@dataclass(frozen=True, slots=True)
class _Links:
    """What a page says of its files: `of` which version of it, and when that was last seen to be the stored one."""

    of: str
    table: FileTable
    seen: float

    @property
    def is_new(self) -> bool:
        """Whether that is believed without asking the store."""
        return time.time() - self.seen <= HOT_SECONDS


class PageGoneError(Exception):
    """The stored page went away (evicted, purged) between two looks at it."""


class Views:
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
        self._views: OrderedDict[tuple[str, str], View] = OrderedDict()
        self._tables: Memory[str, _Links] = Memory(int(memory * TABLES_SHARE))
        self._process = PageProcess()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="pages")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large-pages")

    def close(self) -> None:
        """Let go of the threads and the process that parse."""
        self._process.close()
        self._large.shutdown(wait=True)
        self._pool.shutdown(wait=True)

    async def view(self, ask: PageAsk, kept: Kept, kind: Kind) -> View:
        """The page as this client is to see it, JSON or HTML: from memory, from the store, or derived anew."""
        if view := self.in_memory(ask, kept, kind):
            return view
        key = view_key(ask, kept.notes, kind)
        found = await self._store.read(key)
        if found is not None and found[0]["of"] == kept.notes["of"] and "gzipped" in found[0]:
            if view := await self.threaded(lambda: _read_view(kind, *found)):
                self._remember((key, view.of), view)
                return view
            await self._store.drop_damaged(key, None, "it is not what its digest says")
        page = await self.page(kept)
        view = await self.derive(ask, kept, page, kind)
        if not kept.notes.get("passing"):
            await self._store.put(key, view.plain + view.gzipped, view_notes(view))
        return view

    async def page(self, kept: Kept) -> bytes:
        """The upstream's body, plain. Raises PageGoneError; a damaged one is dropped first."""
        body = kept.body
        if body is None:
            found = await self._store.read(kept.key)
            if found is None or found[0].get("of") != kept.notes["of"]:
                raise PageGoneError(kept.key)
            body = found[1]
        page = await self.threaded(lambda: _plain(body, kept.notes["of"]))
        if page is None:
            await self._store.drop_damaged(kept.key, None, "it is not what its digest says")
            raise PageGoneError(kept.key)
        return page

    async def derive(self, ask: PageAsk, kept: Kept, page: bytes, kind: Kind, *, check: bool = False) -> View:
        """Make a view of a page's plain body, converted if it is of the other kind; take note of what it says of files.

        Raises BrokenPage; with `check` also for what is no project's page.
        """
        order = order_of(ask, kept.notes, kind, check=check)
        return (await self._derived(ask, kept, page, order, kind))[0]

    async def _derived(
        self, ask: PageAsk, kept: Kept, page: bytes, order: Order, kind: Kind
    ) -> tuple[View, FileTable | None]:
        """As `derive`, with what the page says of its files, if it says anything: memory may be too small for it."""

        def finish(derived: Derived) -> tuple[bytes, str]:
            unchanged = kept.body if not derived.edited else None
            return unchanged or gzipped_page(derived.body), strong_tag(derived.body)

        derived, (gzipped, etag), table = await self._parsed(page, lambda: self._process.derived(page, order, finish))
        view = View(
            of=kept.notes["of"], kind=kind, plain=derived.body, gzipped=gzipped, etag=etag, edited=derived.edited
        )
        self._remember((view_key(ask, kept.notes, kind), view.of), view)
        if not table:  # a converted page may say less
            return view, None
        links = _Links(view.of, FileTable(table), time.time())
        self._note(ask.key, links)
        self._learn(ask.index, derived.origins)
        return view, links.table

    async def without(self, ask: PageAsk, kept: Kept, view: View, dropped: frozenset[str]) -> Filtered:
        """A view's page without the files of these names."""
        order = order_of(ask, kept.notes, view.kind)
        return await self._parsed(view.plain, lambda: self._process.filtered(view.plain, order, dropped))

    async def release(self, ask: PageAsk, kept: Kept, view: View, version: str) -> Release | None:
        """The files of one release, as a view in JSON has them."""
        order = order_of(ask, kept.notes, view.kind)
        return await self._parsed(view.plain, lambda: self._process.release(view.plain, order, version))

    def _note(self, key: str, links: _Links) -> None:
        """Take note of what a page says of its files."""
        self._tables.put(key, links, len(links.table.text) + LINKS_BYTES)

    def in_memory(self, ask: PageAsk, kept: Kept, kind: Kind) -> View | None:
        """The view, if memory has it."""
        key = (view_key(ask, kept.notes, kind), kept.notes["of"])
        if view := self._views.get(key):
            self._views.move_to_end(key)
        return view

    def _remember(self, key: tuple[str, str], view: View) -> None:
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
                ask = PageAsk(
                    index=route.index,
                    project=project,
                    representation=representation,
                    seen=seen,
                    own=False,
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
                key = page_key(route.space, route.index, project, representation)
                links = self._tables.get(key)
                if links is not None and links.is_new and (facts := links.table.get(identity)):
                    return facts
        return None

    async def links_of(self, ask: PageAsk, of: str = "") -> FileTable | None:
        """What the stored page says of its files; `of`: of this version of it. None where there is no such page."""
        links = self._tables.get(ask.key)
        if links is None or (links.of != of if of else not await self._still(ask.key, links)):
            found = await self._store.read(ask.key)
            if found is None or found[0]["status"] != 200:
                return None
            notes, body = found
            kept = Kept(key=ask.key, notes=notes, body=body)
            try:
                page = await self.page(kept)
            except PageGoneError:
                return None
            kind = Representation(notes["kind"]).kind
            return (await self._derived(ask, kept, page, order_of(ask, notes, kind), kind))[1]
        return links.table

    async def _still(self, key: str, links: _Links) -> bool:
        """Whether these are the links of the page that is stored: another process may have renewed it. A page that is not keeps them."""
        if links.is_new:
            return True
        notes = await self._store.notes(key)
        if notes is not None and notes["status"] == 200 and notes["of"] != links.of:
            return False
        if self._tables.get(key) is links:
            self._note(key, replace(links, seen=time.time()))
        return True

    async def _parsed[T](self, page: bytes, work: Callable[[], T]) -> T:
        """Run parsing off the event loop; large pages wait for one another, and small ones not for them."""
        pool = self._large if len(page) >= LARGE else self._pool
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    async def threaded[T](self, work: Callable[[], T]) -> T:
        """Run compressing and the like off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def file_key(space: str, identity: str, name: str) -> str:
    """A release file's key in the store: by its credential space, its digest (or its URL, where it has none) and its name."""
    return f"file|{space}|{identity}|{quote(name)}"


def page_key(space: str, index: Index, name: str, representation: Representation) -> str:
    """A page's key in the store; `name` is the project's, or a document's of the JSON API."""
    return f"page|{space}|{index.name}|{name}|{representation}"


def view_key(ask: PageAsk, notes: Notes, kind: Kind) -> str:
    """A view's key in the store."""
    return f"view|{ask.view(based=notes['based'])}|{kind}|{ask.key}"


def view_notes(view: View) -> Notes:
    """What is noted beside a view's bytes, plain and then gzipped."""
    return {
        "of": view.of,
        "plain": len(view.plain),
        "etag": view.etag,
        "edited": view.edited,
        "gzipped": zlib.crc32(view.gzipped),
    }


def order_of(ask: PageAsk, notes: Notes, kind: Kind, *, check: bool = False) -> Order:
    """What is to be made of a page for one kind of client."""
    context = PageContext(
        upstream=parse_url(notes["url"]),
        seen=ask.seen.with_path(own_page_path(ask.index, ask.project)) if ask.own else ask.seen,
        canonical_files=ask.index.canonical_files,
        own_prefix=f"/{ask.index.name}" if ask.own else "",
    )
    return Order(
        stored=Representation(notes["kind"]).kind,
        wanted=kind,
        project=ask.project,
        context=context,
        shares_pypi_files=ask.index.shares_pypi_files,
        document=bool(ask.document),
        check=check,
    )


def gzipped_page(page: bytes) -> bytes:
    """A page as it is stored, and sent to most clients."""
    return gzip.compress(page, GZIP_LEVEL if len(page) < LARGE else GZIP_LEVEL_OF_LARGE, mtime=0)


def body_digest(page: bytes) -> str:
    """What tells one version of a page from another: `of` of its notes."""
    return hashlib.blake2b(page, digest_size=16).hexdigest()


def _read_view(kind: Kind, notes: Notes, value: bytes) -> View | None:
    """A stored view; None where it is not what was stored."""
    plain, gzipped = value[: notes["plain"]], value[notes["plain"] :]
    if strong_tag(plain) != notes["etag"] or zlib.crc32(gzipped) != notes["gzipped"]:
        return None
    return View(of=notes["of"], kind=kind, plain=plain, gzipped=gzipped, etag=notes["etag"], edited=notes["edited"])


def _plain(body: bytes, of: str) -> bytes | None:
    """A stored page; None where it is not what was stored."""
    try:
        page = gzip.decompress(body)
    except (OSError, EOFError, zlib.error):
        return None
    return page if body_digest(page) == of else None


def _file_id(index: Index, identity: str) -> str:
    return file_id(identity, shares_pypi_files=index.shares_pypi_files)


def projects_of(filename: str) -> list[str]:
    """The projects that a release file may belong to, the likeliest first.

    A wheel's name ends at its first hyphen (PEP 427), an sdist's at some hyphen before its version (PEP 625; older ones hold more).
    """
    parts = filename.split("-")
    ends = [1] if filename.endswith((".whl", ".whl.metadata")) else range(len(parts) - 1, 0, -1)
    names: list[str] = []
    for end in ends:
        try:
            names.append(canonicalize_name("-".join(parts[:end]), validate=True))
        except InvalidName:
            continue
    return list(dict.fromkeys(names))


def project_of(filename: str) -> str:
    """The project that a release file belongs to, as far as its name tells: in odd names up to what looks like a version."""
    with contextlib.suppress(InvalidWheelFilename):
        return parse_wheel_filename(filename)[0]
    with contextlib.suppress(InvalidSdistFilename):
        return parse_sdist_filename(filename)[0]
    name = re.split(r"-v?[0-9]", filename, maxsplit=1, flags=re.IGNORECASE)[0]
    return canonicalize_name(name) if name != filename else next(iter(projects_of(filename)), filename)
