"""Index pages: from the store by RFC 9111, else from the first upstream that has them; links put right for whoever looks.

A page's key is (credential space, index, project, representation asked for), so JSON and HTML are never under one key. What is
stored is the upstream's body, its headers and its final URL; the views that clients get (links edited, plain and gzipped) are
derived from it once and stored beside it, so that a hit parses and compresses nothing. One refresh per page, however many ask.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b

from multidict import CIMultiDict
from packaging.utils import InvalidName, canonicalize_name

from pkgcache.engine.hosts import LearnedHosts
from pkgcache.engine.messages import Reply, Request, strong_tag
from pkgcache.engine.metrics import Metrics
from pkgcache.engine.passage import Passage
from pkgcache.engine.store import Notes, Store
from pkgcache.engine.tasks import Tasks
from pkgcache.engine.upstream import Failure, UpstreamClient, UpstreamError
from pkgcache.rules.cachestatus import CacheStatus
from pkgcache.rules.digests import parse_release_path
from pkgcache.rules.freshness import (
    Fresh,
    MustRevalidate,
    NotStorable,
    Policy,
    Reason,
    StaleUsable,
    Stored,
    decide,
    format_http_date,
    freshened,
    not_modified,
    storable,
    storable_headers,
    updates,
    validators,
)
from pkgcache.rules.indexes import Index, Upstream
from pkgcache.rules.links import PageContext
from pkgcache.rules.media import NotAcceptable, Representation, accepts, accepts_encoding, negotiate, representation_of, upstream_accept
from pkgcache.rules.pages import BrokenPage, PageLink, rewrite
from pkgcache.rules.routes import Address, ProjectPage, ReleaseFile, RootPage, own_page_path
from pkgcache.rules.urls import Url, parse_url

logger = logging.getLogger(__name__)

MAX_PAGE = 256 * 1024 * 1024
VIEWS_IN_MEMORY = 32 * 1024 * 1024
LINKS_IN_MEMORY = 64
_PASSED_ON = ("X-PyPI-Last-Serial", "Last-Modified", "Cache-Control", "Expires", "Link")


class PageError(Exception):
    """No upstream gave the page: what each said. `status` is the one status that all of them answered with, if any."""

    def __init__(self, errors: Sequence[UpstreamError]) -> None:
        self.errors = tuple(errors)
        statuses = {error.status for error in errors}
        self.status = statuses.pop() if len(statuses) == 1 else 0
        super().__init__("; ".join(map(str, errors)))


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
    plain: bytes
    gzipped: bytes
    etag: str
    edited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """One page in one representation, as one kind of client looks at it."""

    index: Index
    project: str
    representation: Representation
    seen: Url
    own: bool

    @property
    def key(self) -> str:
        return f"page|-|{self.index.name}|{self.project}|{self.representation}"

    @property
    def view(self) -> str:
        # At its index a page depends on how its URL was spelt only by the slash; at our own address a `<base>` names the origin.
        return f"own {self.seen.origin}" if self.own else "slash" if self.seen.path.endswith("/") else "bare"


class Pages:
    """Answers requests for index pages, and says what pages say of files."""

    def __init__(
        self,
        policy: Policy,
        negative_ttl: float,
        store: Store,
        client: UpstreamClient,
        hosts: LearnedHosts,
        metrics: Metrics,
        tasks: Tasks,
        *,
        opens: Callable[[Address], bool],
    ) -> None:
        self._policy = policy
        self._negative_policy = replace(policy, default_lifetime=negative_ttl, override=negative_ttl)
        self._store = store
        self._client = client
        self._hosts = hosts
        self._metrics = metrics
        self._tasks = tasks
        self._opens = opens
        self._refreshing: dict[str, asyncio.Task[Kept]] = {}
        self._views: OrderedDict[tuple[str, str], View] = OrderedDict()
        self._links: OrderedDict[str, tuple[str, dict[str, PageLink]]] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pages")

    def close(self) -> None:
        """Let go of the thread that parses."""
        self._pool.shutdown(wait=True)

    async def answer(self, request: Request, route: ProjectPage) -> Reply:
        """The reply to a GET or HEAD for a project page."""
        representation = negotiate(request.headers.get("Accept"))
        if isinstance(representation, NotAcceptable):
            return Reply.text(406, "an index page is JSON or HTML: " + ", ".join(r.content_type for r in Representation))
        ask = _Ask(index=route.index, project=route.project, representation=representation, seen=route.seen, own=route.own)
        found = await self._store.get(ask.key)
        if found is not None and found.file is not None:
            found.file.close()
        kept = Kept(key=ask.key, notes=found.notes) if found else None
        try:
            kept, cache = await self._decided(request, ask, kept)
        except PageError as error:
            return _failed(f"the page of {route.project} on index {route.index.name}", error)
        return await self._served(request, ask, kept, cache)

    async def root(self, request: Request, route: RootPage) -> Reply:
        """The list of all projects: passed through, neither stored nor held in memory."""
        errors: list[UpstreamError] = []
        headers = {name: request.headers[name] for name in ("Accept", "Accept-Encoding") if name in request.headers}
        for upstream in self._in_order(route.index):
            passage = Passage(self._client.ask(request.method, upstream.simple, headers, upstream.authorization))
            try:
                answer = await passage.open()
                if answer.status != 200:
                    raise UpstreamError(Failure.STATUS, answer.url, f"it answered {answer.status}", status=answer.status)
            except UpstreamError as error:
                await passage.aclose()
                self._metrics.upstream_failed(error)
                errors.append(error)
                continue
            reply_headers = storable_headers(answer.headers)
            if "Content-Length" not in reply_headers and request.method == "GET":
                reply_headers["Transfer-Encoding"] = "chunked"
            if request.method == "HEAD":
                await passage.aclose()
            body = b"" if request.method == "HEAD" else passage
            return Reply(status=200, headers=reply_headers, body=body, cache=CacheStatus(fwd="bypass", fwd_status=200), upstream=answer.url.origin)
        return _failed(f"the project list of index {route.index.name}", PageError(errors))

    # By RFC 9111

    async def _decided(self, request: Request, ask: _Ask, kept: Kept | None) -> tuple[Kept, CacheStatus]:
        """What to serve: the stored page, or what a refresh brings. Raises PageError."""
        if kept is None:
            collapsed = ask.key in self._refreshing
            fetched = await self._refreshed(ask, None)
            (self._metrics.collapsed if collapsed else self._metrics.miss)("page")
            stored = not fetched.notes.get("passing")
            return fetched, CacheStatus(fwd="miss", fwd_status=fetched.notes["status"], stored=stored and not collapsed, collapsed=collapsed)
        policy = self._negative_policy if kept.notes["status"] != 200 else self._policy
        match decide(kept.stored, request.headers, policy, time.time()):
            case Fresh(ttl=ttl):
                self._metrics.hit("page")
                return kept, CacheStatus(hit=True, ttl=int(ttl))
            case StaleUsable(ttl=ttl, reason=reason, revalidate=revalidate):
                if revalidate:
                    self._refresh(ask, kept)
                self._metrics.stale("page")
                return kept, CacheStatus(hit=True, ttl=int(ttl), detail=str(reason))
            case MustRevalidate(ttl=ttl, reason=reason, stale_if_error_ok=stale_ok, only_if_cached=only):
                return await self._revalidated(ask, kept, CacheStatus(hit=True, ttl=int(ttl), detail="stale-if-error"), reason, stale_ok=stale_ok, only=only)

    async def _revalidated(
        self,
        ask: _Ask,
        kept: Kept,
        stale: CacheStatus,
        reason: Reason,
        *,
        stale_ok: bool,
        only: bool,
    ) -> tuple[Kept, CacheStatus]:
        if only:
            raise PageError([UpstreamError(Failure.TIMEOUT, ask.key, "only-if-cached was asked, and the stored page is past its lifetime")])
        collapsed = ask.key in self._refreshing
        try:
            fetched = await self._refreshed(ask, kept)
        except PageError:
            if not stale_ok:
                raise
            self._metrics.stale("page")
            return kept, stale
        status = 304 if fetched.notes["of"] == kept.notes["of"] and fetched.body is None else fetched.notes["status"]
        (self._metrics.collapsed if collapsed else self._metrics.miss)("page")
        fwd = "request" if reason in {Reason.REQUEST_NO_CACHE, Reason.REQUEST_MAX_AGE, Reason.REQUEST_MIN_FRESH} else "stale"
        return fetched, CacheStatus(fwd=fwd, fwd_status=status, collapsed=collapsed)

    def _refresh(self, ask: _Ask, kept: Kept | None) -> asyncio.Task[Kept]:
        """The one refresh of this page that is under way, begun if there is none."""
        if (task := self._refreshing.get(ask.key)) is None:
            task = self._tasks.start(self._fetch(ask, kept), f"refresh of {ask.key}", expected=PageError)
            self._refreshing[ask.key] = task
            task.add_done_callback(lambda _: self._refreshing.pop(ask.key, None))
        return task

    async def _refreshed(self, ask: _Ask, kept: Kept | None) -> Kept:
        return await asyncio.shield(self._refresh(ask, kept))

    # From upstreams

    def _in_order(self, index: Index) -> list[Upstream]:
        """An index's upstreams, those that rest after failures last."""
        return sorted(index.upstreams, key=lambda upstream: self._client.resting(upstream.simple))

    async def _fetch(self, ask: _Ask, kept: Kept | None) -> Kept:
        """Ask each upstream until one has the page. 404 only where every one that answers says so. Raises PageError."""
        if self._policy.offline:
            raise PageError([UpstreamError(Failure.TIMEOUT, ask.key, "it is not in the store, and the proxy is offline (pypi_cache_offline)")])
        errors: list[UpstreamError] = []
        absent: Kept | None = None
        for upstream in self._in_order(ask.index):
            try:
                found = await self._fetch_from(upstream, ask, kept)
            except UpstreamError as error:
                self._metrics.upstream_failed(error)
                errors.append(error)
                continue
            if found.notes["status"] == 200:
                return found
            absent = absent or found
        if absent is None:
            raise PageError(errors)
        if errors:
            absent.notes["passing"] = True  # somebody did not answer: true for now, and not to be remembered
        else:
            await self._store.put(ask.key, b"-", absent.notes)
        return absent

    async def _fetch_from(self, upstream: Upstream, ask: _Ask, kept: Kept | None) -> Kept:
        url = upstream.simple.with_path(f"{upstream.simple.path}{ask.project}/")  # always with the slash: mirrors redirect oddly
        headers = {"Accept": upstream_accept(ask.representation), "Accept-Encoding": "gzip"}
        conditional = kept is not None and kept.notes["status"] == 200 and kept.notes.get("upstream") == upstream.name
        if kept is not None and conditional:
            headers |= validators(kept.stored.headers)
        before = time.time()
        async with self._client.ask("GET", url, headers, upstream.authorization) as answer:
            if answer.status == 304 and kept is not None and conditional and updates(kept.stored.headers, answer.headers):
                return await self._renewed(kept, freshened(kept.stored, answer.headers, before, time.time()))
            if answer.status not in {200, 404, 410}:
                raise UpstreamError(Failure.STATUS, answer.url, f"it answered {answer.status}", status=answer.status)
            notes: Notes = {
                "status": answer.status,
                "headers": list(storable_headers(answer.headers).items()),
                "request_time": before,
                "response_time": time.time(),
                "upstream": upstream.name,
                "url": str(answer.url),
                "of": "",
            }
            if answer.status != 200:
                return Kept(key=ask.key, notes=notes, body=b"")
            body = await answer.body(MAX_PAGE)
            encoding = answer.headers.get("Content-Encoding", "identity").lower()
            representation = representation_of(answer.headers.get("Content-Type"))
            refusal = storable(request_headers=CIMultiDict(), status=200, response_headers=answer.headers)
        if representation is None:
            raise UpstreamError(Failure.WRONG_TYPE, url, f"no index page, but {answer.headers.get('Content-Type', 'something without a type')!r}")
        page = await self._threaded(lambda: _decoded(body, encoding, url))
        notes["of"] = blake2b(page, digest_size=16).hexdigest()
        notes["kind"] = representation.value
        return await self._kept(ask, notes, page, refusal)

    async def _renewed(self, kept: Kept, stored: Stored) -> Kept:
        notes = {
            **kept.notes,
            "headers": list(stored.headers.items()),
            "request_time": stored.request_time,
            "response_time": stored.response_time,
        }
        await self._store.note(kept.key, notes)
        return Kept(key=kept.key, notes=notes)

    async def _kept(self, ask: _Ask, notes: Notes, page: bytes, refusal: object) -> Kept:
        """Derive the view that is asked for, and store page and view. Raises UpstreamError for what is no page."""
        compressed = await self._threaded(lambda: gzip.compress(page, 6, mtime=0))
        kept = Kept(key=ask.key, notes=notes, body=compressed)
        try:
            view = await self._derive(ask, kept, page)
        except BrokenPage as error:
            raise UpstreamError(Failure.WRONG_PAGE, notes["url"], f"no index page: {error}") from error
        if isinstance(refusal, NotStorable):
            notes["passing"] = True
        else:
            await self._store.put(_view_key(ask), view.plain + view.gzipped, _view_notes(view))
            await self._store.put(ask.key, compressed, notes)
        return kept

    # Views

    async def _view(self, ask: _Ask, kept: Kept) -> View:
        """The page as this client is to see it: from memory, from the store, or derived anew."""
        memory_key = (_view_key(ask), kept.notes["of"])
        if view := self._views.get(memory_key):
            self._views.move_to_end(memory_key)
            return view
        found = await self._store.read(_view_key(ask))
        if found is not None and found[0]["of"] == kept.notes["of"]:
            notes, value = found
            view = View(of=notes["of"], plain=value[: notes["plain"]], gzipped=value[notes["plain"] :], etag=notes["etag"], edited=notes["edited"])
            self._remember(memory_key, view)
            return view
        body = kept.body
        if body is None:
            whole = await self._store.read(kept.key)
            if whole is None or whole[0].get("of") != kept.notes["of"]:
                raise PageError([UpstreamError(Failure.BROKEN, kept.key, "the stored page is gone; ask again")])
            body = whole[1]
        view = await self._derive(ask, kept, await self._threaded(lambda: gzip.decompress(body)))
        if not kept.notes.get("passing"):
            await self._store.put(_view_key(ask), view.plain + view.gzipped, _view_notes(view))
        return view

    async def _derive(self, ask: _Ask, kept: Kept, page: bytes) -> View:
        representation = Representation(kept.notes["kind"])
        context = PageContext(
            upstream=parse_url(kept.notes["url"]),
            seen=ask.seen.with_path(own_page_path(ask.index, ask.project)) if ask.own else ask.seen,
            canonical_files=ask.index.canonical_files,
            own_prefix=f"/{ask.index.name}" if ask.own else "",
        )
        rewritten = await self._threaded(lambda: rewrite(page, representation.kind, context))
        gzipped = kept.body if kept.body is not None and not rewritten.edited else await self._threaded(lambda: gzip.compress(rewritten.body, 6, mtime=0))
        view = View(
            of=kept.notes["of"],
            plain=rewritten.body,
            gzipped=gzipped,
            etag=strong_tag(rewritten.body),
            edited=rewritten.edited,
        )
        self._remember((_view_key(ask), view.of), view)
        vouched = {_vouch_key(ask.index, target.identity): link for link, target in rewritten.links}
        self._links[ask.key] = (view.of, vouched)
        self._links.move_to_end(ask.key)
        if len(self._links) > LINKS_IN_MEMORY:
            self._links.popitem(last=False)
        self._learn(ask.index, {target.identity for _, target in rewritten.links})
        return view

    def _remember(self, key: tuple[str, str], view: View) -> None:
        self._views[key] = view
        while sum(len(v.plain) + len(v.gzipped) for v in self._views.values()) > VIEWS_IN_MEMORY and len(self._views) > 1:
            self._views.popitem(last=False)

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
        for project in _projects_of(route.filename):
            for representation in Representation:
                ask = _Ask(index=route.index, project=project, representation=representation, seen=route.index.simple.with_path("/"), own=False)
                links = await self._links_of(ask)
                if link := links.get(_vouch_key(route.index, identity)):
                    return link
        return None

    async def _links_of(self, ask: _Ask) -> Mapping[str, PageLink]:
        if remembered := self._links.get(ask.key):
            return remembered[1]
        found = await self._store.read(ask.key)
        if found is None or found[0]["status"] != 200:
            return {}
        notes, body = found
        await self._derive(ask, Kept(key=ask.key, notes=notes, body=body), await self._threaded(lambda: gzip.decompress(body)))
        return self._links[ask.key][1]

    # The answer

    async def _served(self, request: Request, ask: _Ask, kept: Kept, cache: CacheStatus) -> Reply:
        if kept.notes["status"] != 200:
            text = f"{ask.project} is not on index {ask.index.name} (as {kept.notes['upstream']} says)"
            return Reply.text(kept.notes["status"], text, cache=cache)
        representation = Representation(kept.notes["kind"])
        if not accepts(request.headers.get("Accept"), representation):
            return Reply.text(406, f"the upstream has this page as {representation.content_type} only", cache=cache)
        try:
            view = await self._view(ask, kept)
        except PageError as error:
            return _failed(ask.key, error)
        stored = kept.stored
        use_gzip = accepts_encoding(request.headers.get("Accept-Encoding"), "gzip")
        headers = CIMultiDict({name: stored.headers[name] for name in _PASSED_ON if name in stored.headers})
        headers["Content-Type"] = stored.headers.get("Content-Type", representation.content_type)
        etag = view.etag if view.edited else stored.headers.get("ETag", view.etag)
        headers["ETag"] = f"W/{etag.removeprefix('W/')}" if use_gzip else etag
        headers["Vary"] = "Accept, Accept-Encoding"
        headers["Date"] = format_http_date(time.time())
        headers["Age"] = str(max(0, int(time.time() - stored.response_time)))
        if cache.hit and (cache.ttl or 0) < 0 and cache.detail != Reason.STALE_WHILE_REVALIDATE:
            headers["Cache-Control"] = "no-store"  # clients are not to keep staleness
            headers.pop("Expires", None)
        if not_modified(request.headers, headers["ETag"], stored.headers.get("Last-Modified")):
            return Reply(status=304, headers=headers, cache=cache, upstream=kept.notes["upstream"])
        body = view.gzipped if use_gzip else view.plain
        if use_gzip:
            headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(body))
        return Reply(status=200, headers=headers, body=b"" if request.method == "HEAD" else body, cache=cache, upstream=kept.notes["upstream"])

    async def _threaded[T](self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _failed(what: str, error: PageError) -> Reply:
    """401 and 403 where that is what all upstreams say; else 504 if none answered in time, or 502. Never a 404."""
    text = "\n".join([f"{what} cannot be had from any upstream:", *(f"  {e}" for e in error.errors)])
    if error.status in {401, 403, 451}:
        return Reply.text(error.status, text, cache=CacheStatus(fwd="miss", fwd_status=error.status))
    failures = {e.failure for e in error.errors}
    return Reply.text(504 if failures == {Failure.TIMEOUT} else 502, text, cache=CacheStatus(fwd="miss", detail="upstreams-failed"))


def _view_key(ask: _Ask) -> str:
    return f"view|{ask.view}|{ask.key}"


def _view_notes(view: View) -> Notes:
    return {"of": view.of, "plain": len(view.plain), "etag": view.etag, "edited": view.edited}


def _vouch_key(index: Index, identity: str) -> str:
    """PyPI-layout files are the same under every mirror's name; others are what their URL says."""
    release = parse_release_path(identity.partition("?")[0]) if index.shares_pypi_files else None
    return release.path if release else identity


def _projects_of(filename: str) -> list[str]:
    """The projects that a release file may belong to, the likeliest first: a wheel's name ends at its first hyphen (PEP 427),
    an sdist's at some hyphen before its version (PEP 625; older names may hold hyphens)."""
    parts = filename.split("-")
    ends = [1] if filename.endswith((".whl", ".whl.metadata")) else range(len(parts) - 1, 0, -1)
    names: list[str] = []
    for end in ends:
        try:
            names.append(canonicalize_name("-".join(parts[:end]), validate=True))
        except InvalidName:
            continue
    return list(dict.fromkeys(names))


def _decoded(body: bytes, encoding: str, url: Url) -> bytes:
    """The body without its content coding (RFC 9110 §8.4). Raises UpstreamError."""
    if encoding in {"identity", ""}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise UpstreamError(Failure.WRONG_ENCODING, url, f"sent as {encoding}, which was not asked for")
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by its header
    try:
        plain = decoder.decompress(body, MAX_PAGE)
    except zlib.error as error:
        raise UpstreamError(Failure.WRONG_ENCODING, url, f"it says {encoding}, and is not: {error}") from error
    if not decoder.eof:
        raise UpstreamError(Failure.WRONG_LENGTH, url, "its compressed page is cut short or too long")
    return plain
