"""Views: a stored page as one kind of client is to see it, derived once and kept; and what pages say of files.

A view is the upstream's body with its links put right (rules/pages.py), plain and gzipped. Views are kept in memory, as far as it
goes, and in the store beside their page; each carries the digest of the body that it was derived from, so that a page which
changed, in this process or another, never meets an old view. Parsing happens on a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal
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

from pkgcache.engine.hosts import LearnedHosts
from pkgcache.engine.messages import strong_tag
from pkgcache.engine.store import Notes, Store
from pkgcache.engine.tasks import Tasks
from pkgcache.rules.convert import html_to_json, json_to_html
from pkgcache.rules.digests import parse_release_path
from pkgcache.rules.freshness import Stored
from pkgcache.rules.indexes import Index
from pkgcache.rules.links import PageContext, Target
from pkgcache.rules.media import Representation
from pkgcache.rules.pages import PageLink, rewrite
from pkgcache.rules.routes import Address, ReleaseFile, own_page_path
from pkgcache.rules.urls import Url, parse_url

LINKS_IN_MEMORY = 64

type Kind = Literal["json", "html"]


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
        return f"page|{self.space}|{self.index.name}|{self.document or self.project}|{self.representation}"

    def view(self, *, based: bool) -> str:
        """Which of the page's views it is; `based`: the page has a `<base>`."""
        # At its index a page depends on how its URL was spelt only by the slash, and a `<base>` at our own address names the origin.
        if self.own:
            return f"own {self.seen.origin}" if based else "own"
        return "slash" if self.seen.path.endswith("/") else "bare"


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
        self._memory = memory
        self._bytes = 0
        self._views: OrderedDict[tuple[str, str], View] = OrderedDict()
        self._links: OrderedDict[str, tuple[str, dict[str, PageLink]]] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pages")

    def close(self) -> None:
        """Let go of the thread that parses."""
        self._pool.shutdown(wait=True)

    async def view(self, ask: PageAsk, kept: Kept, kind: Kind) -> View:
        """The page as this client is to see it, JSON or HTML: from memory, from the store, or derived anew."""
        if view := self.in_memory(ask, kept, kind):
            return view
        key = view_key(ask, kept.notes, kind)
        found = await self._store.read(key)
        if found is not None and found[0]["of"] == kept.notes["of"]:
            notes, value = found
            view = View(
                of=notes["of"],
                kind=kind,
                plain=value[: notes["plain"]],
                gzipped=value[notes["plain"] :],
                etag=notes["etag"],
                edited=notes["edited"],
            )
            self._remember((key, view.of), view)
            return view
        body = kept.body
        if body is None:
            whole = await self._store.read(kept.key)
            if whole is None or whole[0].get("of") != kept.notes["of"]:
                raise PageGoneError(kept.key)
            body = whole[1]
        whole_page = replace(kept, body=body)
        view = await self.derive(ask, whole_page, await self.threaded(lambda: gzip.decompress(body)), kind)
        if not kept.notes.get("passing"):
            await self._store.put(key, view.plain + view.gzipped, view_notes(view))
        return view

    async def derive(self, ask: PageAsk, kept: Kept, page: bytes, kind: Kind) -> View:
        """Make a view of a page's plain body, converted if it is of the other kind; take note of what its links say.

        Raises BrokenPage.
        """
        if ask.document:
            return self._verbatim(ask, kept, page)
        stored_kind = Representation(kept.notes["kind"]).kind
        converted = kind != stored_kind
        if converted:
            page = await self.threaded(lambda: _convert(page, kind, ask.project, parse_url(kept.notes["url"])))
        context = PageContext(
            upstream=parse_url(kept.notes["url"]),
            seen=ask.seen.with_path(own_page_path(ask.index, ask.project)) if ask.own else ask.seen,
            canonical_files=ask.index.canonical_files,
            own_prefix=f"/{ask.index.name}" if ask.own else "",
        )
        rewritten = await self.threaded(lambda: rewrite(page, kind, context))
        edited = converted or rewritten.edited
        gzipped = kept.body if kept.body and not edited else await self.threaded(lambda: _gzipped(rewritten.body))
        view = View(
            of=kept.notes["of"],
            kind=kind,
            plain=rewritten.body,
            gzipped=gzipped,
            etag=strong_tag(rewritten.body),
            edited=edited,
        )
        self._remember((view_key(ask, kept.notes, kind), view.of), view)
        if not converted:  # the other kind may say less
            self._vouch(ask, view.of, rewritten.links)
        return view

    def _verbatim(self, ask: PageAsk, kept: Kept, page: bytes) -> View:
        """A document of the JSON API, as it is."""
        assert kept.body is not None
        of = kept.notes["of"]
        view = View(of=of, kind="json", plain=page, gzipped=kept.body, etag=strong_tag(page), edited=False)
        self._remember((view_key(ask, kept.notes, "json"), of), view)
        return view

    def _vouch(self, ask: PageAsk, of: str, links: Sequence[tuple[PageLink, Target]]) -> None:
        """Take note of what a page says of its files, and of where they are."""
        self._links[ask.key] = (of, {_vouch_key(ask.index, target.identity): link for link, target in links})
        self._links.move_to_end(ask.key)
        if len(self._links) > LINKS_IN_MEMORY:
            self._links.popitem(last=False)
        self._learn(ask.index, {target.identity for _, target in links})

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

    def _learn(self, index: Index, identities: set[str]) -> None:
        """Take note of the file hosts that an operator's index links to."""
        addresses = {(url.host, url.port) for url in map(parse_url, identities)}
        unknown = sorted(address for address in addresses if not self._opens(address))
        if unknown and self._hosts.learn(index.name.partition("@")[0], unknown):
            self._tasks.start(self._hosts.save(), "save learned hosts")

    # What pages say of files

    async def link_of(self, route: ReleaseFile) -> PageLink | None:
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
                links = await self.links_of(ask)
                if link := links.get(_vouch_key(route.index, identity)):
                    return link
        return None

    async def links_of(self, ask: PageAsk, of: str = "") -> dict[str, PageLink]:
        """What the stored page says of its files, by identity; `of`: of this version of it."""
        remembered = self._links.get(ask.key)
        if remembered is None or (of and remembered[0] != of):
            found = await self._store.read(ask.key)
            if found is None or found[0]["status"] != 200:
                return {}
            notes, body = found
            kept = Kept(key=ask.key, notes=notes, body=body)
            page = await self.threaded(lambda: gzip.decompress(body))
            await self.derive(ask, kept, page, Representation(notes["kind"]).kind)
            remembered = self._links[ask.key]
        return remembered[1]

    async def threaded[T](self, work: Callable[[], T]) -> T:
        """Run parsing or compressing off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def file_key(space: str, identity: str, name: str) -> str:
    """A release file's key in the store: by its credential space, its digest (or its URL, where it has none) and its name."""
    return f"file|{space}|{identity}|{quote(name)}"


def view_key(ask: PageAsk, notes: Notes, kind: Kind) -> str:
    """A view's key in the store."""
    return f"view|{ask.view(based=notes['based'])}|{kind}|{ask.key}"


def view_notes(view: View) -> Notes:
    """What is noted beside a view's bytes, plain and then gzipped."""
    return {"of": view.of, "plain": len(view.plain), "etag": view.etag, "edited": view.edited}


def _vouch_key(index: Index, identity: str) -> str:
    """PyPI-layout files are the same under every mirror's name; others are what their URL says."""
    release = parse_release_path(identity.partition("?")[0]) if index.shares_pypi_files else None
    return release.path if release else identity


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


def _convert(page: bytes, kind: Kind, project: str, url: Url) -> bytes:
    return json_to_html(page, project) if kind == "html" else html_to_json(page, project, url)


def _gzipped(body: bytes) -> bytes:
    return gzip.compress(body, 6, mtime=0)
