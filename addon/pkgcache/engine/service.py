"""The one way in: `Service.answer(Request) -> Response`. It builds the engine's parts for one set of settings, and opens and closes them.

```
route = service.route(request)                       what the request means
answer = service.from_memory(request, route)         without waiting: what is in memory and fresh
response = await service.answer(request, route)      anything else, after the operator's rules
```
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from functools import partial

from pkgcache.engine.advisories.feed import AdvisoryFeed
from pkgcache.engine.advisories.source import parse_source
from pkgcache.engine.caching import Collaborators
from pkgcache.engine.credentials import CredentialSpaces
from pkgcache.engine.files.core_metadata import metadata_of_stored_wheel
from pkgcache.engine.files.current_links import CurrentLinks
from pkgcache.engine.files.release_files import ReleaseFiles
from pkgcache.engine.gatekeeper import Gatekeeper
from pkgcache.engine.pages.fetcher import PageFetcher
from pkgcache.engine.pages.filtering import VariantFilter
from pkgcache.engine.pages.json_api import FileSources
from pkgcache.engine.pages.known_files import KnownFiles
from pkgcache.engine.pages.learned_hosts import LearnedHosts
from pkgcache.engine.pages.page_turns import PageTurns
from pkgcache.engine.pages.project_list import ProjectLists
from pkgcache.engine.pages.project_pages import Pages
from pkgcache.engine.pages.renewal import Renewal
from pkgcache.engine.pages.variants import PageVariants
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.runtime.freed_memory import LITTLE, FreedMemory
from pkgcache.engine.runtime.health import Health
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.open_files import raise_open_files
from pkgcache.engine.runtime.seat import seat
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.shared.opening import check_shared, shared_tier, upstream_client
from pkgcache.engine.store.store import MAINTENANCE_SECONDS, Store
from pkgcache.engine.upstream.places import Kind, asking
from pkgcache.engine.upstream.problems import mirrors_of, upstream_problems
from pkgcache.engine.upstream.wheel_metadata import metadata_of_wheel
from pkgcache.rules.http.freshness import Policy
from pkgcache.rules.http.user_agent import product_of
from pkgcache.rules.policy.admission import build_admission
from pkgcache.rules.routing.indexes import build_indexes
from pkgcache.rules.routing.queries import NO_QUERY
from pkgcache.rules.routing.router import Router
from pkgcache.rules.routing.routes import (
    ProjectListPage,
    ProjectPage,
    Provenance,
    ReleaseFile,
    Route,
    Uncacheable,
    Unclear,
    with_credentials,
)
from pkgcache.rules.routing.urls import parse_authority
from pkgcache.settings import Settings

logger = logging.getLogger(__name__)


def check(settings: Settings) -> None:
    """Check that a service can be made of these settings. Raises SettingError."""
    build_admission(settings, build_indexes(settings.index, pip_defaults()))
    parse_source(settings.advisories)
    check_shared(settings)


class Service:
    """A cache for one set of settings. `open` before the first request, `close` after the last.

    Raises SettingError for indexes or rules of admission that make no sense.
    """

    def __init__(self, settings: Settings, metrics: Metrics | None = None) -> None:
        """`metrics`: those of the services before this one, where options have changed; counters go on."""
        self.settings = settings
        self.started = time.time()
        mine = seat()
        # The name that all workers share in Via, by which a loop is found; and with what says which of them this is.
        self.family = mine.family if mine else f"pypi-cache-{secrets.token_hex(6)}"
        self.instance = self.family + mine.member if mine else self.family
        self.health = Health()
        self.metrics = metrics or Metrics()
        self.indexes = build_indexes(settings.index, pip_defaults(), settings.public_url)
        self.admission = build_admission(settings, self.indexes)
        self.store = Store(
            settings.dir,
            max_size=settings.max_size,
            min_free=settings.min_free,
            inactive=settings.inactive,
            health=self.health,
            memory=settings.memory // 4,
            failed=self.metrics.store_failed,
            damaged=self.metrics.store_damaged,
            evicted=self.metrics.evicted,
        )
        self.shared = shared_tier(settings, self.store, self.metrics)
        self.spaces = CredentialSpaces(settings.dir)
        self.hosts = LearnedHosts(self.store)
        self._advisory_source = parse_source(settings.advisories)
        self.router = Router(self.indexes, [parse_authority(host, 443) for host in settings.file_hosts], self.hosts)
        self.client = upstream_client(
            self.shared,
            may_be_private=self._is_the_operators,
            via=f"1.1 {self.instance}",
            # Not the method itself: the gatekeeper is made later, of what needs the client.
            judge=lambda *urls: self.gatekeeper.judge_redirect(*urls),  # noqa: PLW0108
            mirrors={(upstream.simple.origin, upstream.authorization) for _, upstream in mirrors_of(self.indexes)},
        )
        self.advisories = AdvisoryFeed(settings, self._advisory_source, self.admission, self.client, self.health)
        self.tasks = Tasks()
        policy = Policy(
            override=settings.index_ttl,
            stale_while_revalidate=settings.stale_while_revalidate,
            stale_if_error=settings.stale_if_error,
            offline=settings.offline,
        )
        shared = Collaborators(
            store=self.store,
            client=self.client,
            metrics=self.metrics,
            tasks=self.tasks,
            policy=policy,
            settings=settings,
            tier=self.shared,
        )
        self._memory = FreedMemory()
        memory = settings.memory // 8 * 3  # the store's small files have a quarter of it all
        self.variants = PageVariants(
            self.store,
            self.hosts,
            self.tasks,
            is_configured=self.router.hosts.is_configured_by_operator,
            memory=memory,
            turns=PageTurns(before_heavy=partial(self._memory.give_back, LITTLE)),
        )
        self.known_files = KnownFiles(self.variants, self.store, memory=memory)
        fetcher = PageFetcher(self.store, self.client, self.variants, self.metrics, offline=settings.offline)
        self.files = ReleaseFiles(shared, self.known_files)
        page_filter = VariantFilter(
            self.variants,
            self.known_files,
            self.store,
            self.admission,
            offline=settings.offline,
            advisories=self.advisories,
            tier=self.shared,
        )
        self.pages = Pages(
            shared,
            fetcher,
            self.variants,
            page_filter,
            FileSources(
                route=self.router.route,
                answer=self.files.answer,
                stored_metadata=partial(metadata_of_stored_wheel, self.store),
                upstream_metadata=partial(metadata_of_wheel, self.client),
            ),
        )
        self.gatekeeper = Gatekeeper(
            self.admission, self.router, self.metrics, self.known_files, self.pages.make_known, self.advisories
        )
        self.current_links = CurrentLinks(
            self.files,
            self.known_files,
            Renewal(self.known_files, self.tasks, self.pages.renew),
            route_of=self.router.route,
            refusal=self.gatekeeper.refusal,
        )
        self.project_lists = ProjectLists(shared, fetcher)
        self._ready = asyncio.Event()

    def open(self) -> None:
        """Open the store and the client; needs a running event loop. Raises StoreFormatError for a store of a newer version."""
        raise_open_files()
        self._memory.fix_thresholds()
        self.store.open()
        self.spaces.open()
        self.client.open()
        self.tasks.start(self._begin(), "start")

    async def _begin(self) -> None:
        await self.hosts.load()
        await self.advisories.begin()
        if self.advisories.is_on:
            self.tasks.start(self.advisories.run(), "look for advisories")
        self._ready.set()
        await self._maintain()

    async def close(self) -> None:
        """Stop the background tasks, write what is still to be written, and close everything."""
        await self.tasks.close()  # first: they use all the rest
        await self.client.close()
        await self.store.close()
        self.variants.close()
        self.project_lists.close()
        self.files.close()
        self._memory.take_back()

    def problems(self) -> dict[str, str]:
        """What is wrong just now: one line by component."""
        shared = self.shared.health.problems if self.shared else {}
        return self.health.problems | shared | upstream_problems(self.indexes, self.client)

    def why_unready(self) -> list[str]:
        """Why no client should be sent here just now, one line each. A dead upstream is no reason."""
        starting = [] if self._ready.is_set() else ["it is starting"]
        needs_store = self.settings.ready_needs_store and not self.store.usable
        return starting + (["the store cannot be used"] if needs_store else [])

    def _is_the_operators(self, address: tuple[str, int]) -> bool:
        """Whether the operator's options name a host and port, so that it may be in a private network."""
        return self.router.hosts.is_configured_by_operator(address) or (
            self._advisory_source is not None and self._advisory_source.is_at(address)
        )

    def route(self, request: Request) -> Route:
        """Return what a request's URL means. `rules.policy.gate` says what becomes of it."""
        if request.at_proxy_address:
            return self.router.route_own(request.url)
        route = self.router.route(request.url)
        authorization = request.headers.get("Authorization")
        if authorization is None:
            return route
        return with_credentials(
            route, self.router.hosts.with_tls(request.url), authorization, self.spaces.of(authorization)
        )

    async def wait_until_ready(self, seconds: float) -> bool:
        """Wait until the learned hosts are known, without which nothing can be decided. Returns whether they are by then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        return self._ready.is_set()

    def from_memory(self, request: Request, route: Route) -> Callable[[], Response | None] | None:
        """What answers this request from memory (a fresh page, a small file) as often as it is called; None where that is not enough.

        There is none with rules of admission, which `answer` applies, and with `Via`, which may show a loop.
        """
        if "Via" in request.headers or not self.gatekeeper.open_to_all:
            return None
        if isinstance(route, ProjectPage):
            return self.pages.from_memory(request, route) if route.query is NO_QUERY else None
        return partial(self.files.try_from_memory, request, route) if isinstance(route, ReleaseFile) else None

    async def answer(self, request: Request, route: Route, waits: Callable[[], None] = lambda: None) -> Response:
        """The answer to a GET or HEAD, by its `route`. `waits` is called whenever it has to wait for an upstream."""
        await self._ready.wait()  # until the hosts that earlier runs learned are loaded
        if self.family in ",".join(request.headers.getall("Via", ())):
            return Response.text(508, "this request has been through this proxy before: an upstream leads back to it")
        kind = Kind.FILES if isinstance(route, ReleaseFile) else Kind.PAGES
        with asking(kind, request.client, product_of(request.headers.get("User-Agent")), waits):
            if not self.gatekeeper.open_to_all and (refusal := await self.gatekeeper.refusal(route)):
                return refusal
            if isinstance(route, ProjectPage | ProjectListPage) and route.query.accept:
                request = request.accepting(route.query.accept)
            return await self._answer_route(request, route)

    async def _answer_route(self, request: Request, route: Route) -> Response:
        match route:
            case ProjectPage():
                return await self.pages.answer(request, route)
            case ReleaseFile():
                return await self.current_links.answer(request, await self.gatekeeper.of_admitted_indexes(route))
            case ProjectListPage():
                return await self.project_lists.answer(request, route)
            case Provenance():
                return Response.text(404, f"{request.url.target}: it is only passed on")
            case Uncacheable(reason=reason) | Unclear(reason=reason):
                return Response.text(404, f"{request.url.target}: {reason}")

    async def _maintain(self) -> None:
        while True:
            self._memory.leave_out_of_collections()
            await asyncio.sleep(MAINTENANCE_SECONDS)
            await self.store.run_maintenance()
            await asyncio.to_thread(self._memory.give_back)
