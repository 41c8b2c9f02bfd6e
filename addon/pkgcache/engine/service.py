"""The one way in: `Service.answer(Request) -> Reply`. It holds the rooms of the engine together and opens and closes them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time

from pkgcache.engine.defaults import pip_defaults
from pkgcache.engine.files import Files
from pkgcache.engine.health import Health
from pkgcache.engine.hosts import LearnedHosts
from pkgcache.engine.messages import Reply, Request
from pkgcache.engine.metrics import Metrics
from pkgcache.engine.pagefetch import PageFetcher
from pkgcache.engine.pages import Pages
from pkgcache.engine.store import Store
from pkgcache.engine.tasks import Tasks
from pkgcache.engine.upstream import UpstreamClient
from pkgcache.engine.views import Views
from pkgcache.rules.freshness import Policy
from pkgcache.rules.indexes import build_indexes
from pkgcache.rules.routes import Address, Elsewhere, ProjectPage, ReleaseFile, RootPage, Route, Router
from pkgcache.rules.urls import parse_authority
from pkgcache.settings import Settings

logger = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 300.0


class Service:
    """A cache for one set of settings. `open` before the first request, `close` after the last.

    Raises SettingError (from `build_indexes`) for indexes that make no sense.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started = time.time()
        self.instance = f"pypi-cache-{secrets.token_hex(6)}"
        self.health = Health()
        self.metrics = Metrics()
        self.indexes = build_indexes(settings.index, pip_defaults())
        self.store = Store(
            settings.dir,
            max_size=settings.max_size,
            min_free=settings.min_free,
            inactive=settings.inactive,
            health=self.health,
        )
        self.hosts = LearnedHosts(self.store)
        file_hosts = [parse_authority(host, 443) for host in settings.file_hosts]
        self.router = Router(self.indexes, file_hosts, self.hosts)
        self.client = UpstreamClient(operators=self.router.operators, via=f"1.1 {self.instance}")
        self.tasks = Tasks()
        policy = Policy(
            override=settings.index_ttl,
            stale_while_revalidate=settings.stale_while_revalidate,
            stale_if_error=settings.stale_if_error,
            offline=settings.offline,
        )
        self.views = Views(self.store, self.hosts, self.tasks, opens=self.router.opens, memory=settings.memory)
        fetcher = PageFetcher(self.store, self.client, self.views, self.metrics, offline=settings.offline)
        self.pages = Pages(
            policy, settings.negative_ttl, self.store, self.client, fetcher, self.views, self.metrics, self.tasks
        )
        self.files = Files(settings, policy, self.store, self.client, self.views, self.metrics, self.tasks)
        self._ready = asyncio.Event()

    def open(self) -> None:
        """Open the store and the session, within a running event loop. Raises StoreFormatError."""
        self.store.open()
        self.client.open()
        self.tasks.start(self._begin(), "start")

    async def _begin(self) -> None:
        await self.hosts.load()
        self._ready.set()
        await self._keep_house()

    async def close(self) -> None:
        """End the fills, write down what is gathered, let go of everything."""
        await self.tasks.close()
        await self.client.close()
        await self.store.close()
        self.views.close()
        self.files.close()

    def opens(self, address: Address) -> bool:
        """Whether TLS to this host is opened, and its plain requests answered here."""
        return self.router.opens(address)

    def route(self, request: Request) -> Route:
        """What a request means; `Elsewhere` if it is for an ordinary flow to the origin that the client named."""
        if request.own:
            return self.router.route_own(request.url)
        # A request with credentials goes only to the origin that the client named, and its answer to nobody else.
        if "Authorization" in request.headers or "Cookie" in request.headers:
            return Elsewhere("it has credentials")
        return self.router.route(request.url)

    def answer_at_once(self, request: Request, route: Route) -> Reply | None:
        """The reply to a request that takes neither waiting nor the disk: a fresh page that is in memory."""
        if isinstance(route, ProjectPage) and "Via" not in request.headers:
            return self.pages.answer_at_once(request, route)
        return None

    async def answer(self, request: Request, route: Route) -> Reply:
        """The reply to a GET or HEAD, by its `route`."""
        await self._ready.wait()
        if self.instance in ",".join(request.headers.getall("Via", ())):
            return Reply.text(508, "this request has been through this proxy before: an upstream leads back to it")
        match route:
            case ProjectPage():
                return await self.pages.answer(request, route)
            case ReleaseFile():
                return await self.files.answer(request, route)
            case RootPage():
                return await self.pages.root(request, route)
            case Elsewhere(reason=reason):
                return Reply.text(404, f"{request.url.target}: {reason}")

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            await self.store.drop_inactive()
