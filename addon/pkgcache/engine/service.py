"""The one way in: `Service.answer(Request) -> Reply`. It holds the rooms of the engine together and opens and closes them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time

from pkgcache.engine.credentials import Spaces
from pkgcache.engine.defaults import pip_defaults
from pkgcache.engine.documents import FileSources
from pkgcache.engine.files import Files
from pkgcache.engine.filtered import FilteredViews
from pkgcache.engine.health import Health
from pkgcache.engine.hosts import LearnedHosts
from pkgcache.engine.limits import raise_open_files
from pkgcache.engine.messages import Reply, Request
from pkgcache.engine.metrics import Metrics
from pkgcache.engine.pagefetch import PageFetcher
from pkgcache.engine.pages import Pages
from pkgcache.engine.root import RootPages
from pkgcache.engine.store import TEND_SECONDS, Store
from pkgcache.engine.tasks import Tasks
from pkgcache.engine.upstream import UpstreamClient
from pkgcache.engine.views import Views, project_of
from pkgcache.rules.admission import Admission, Admitted, Reason, Refused, parse_globs, parse_private
from pkgcache.rules.freshness import Policy
from pkgcache.rules.indexes import Index, build_indexes
from pkgcache.rules.routes import (
    Address,
    Elsewhere,
    ProjectPage,
    ReleaseFile,
    RootPage,
    Route,
    Router,
    with_credentials,
)
from pkgcache.rules.urls import parse_authority
from pkgcache.settings import SettingError, Settings

logger = logging.getLogger(__name__)


def build_admission(settings: Settings, indexes: tuple[Index, ...]) -> Admission:
    """The operator's rules of what may be installed. Raises SettingError."""
    names = {index.name for index in indexes if "@" not in index.name}
    shown = ""
    try:
        shown = f"pypi_cache_allow={' '.join(settings.allow)!r}"
        allow = parse_globs(settings.allow)
        shown = f"pypi_cache_deny={' '.join(settings.deny)!r}"
        deny = parse_globs(settings.deny)
        shown = f"pypi_cache_private={' '.join(settings.private)!r}"
        private = parse_private(settings.private)
        for _, index in private:
            if index not in names:
                raise ValueError(f"the name of an index that is there ({', '.join(sorted(names))}), not {index!r}")
    except ValueError as error:
        raise SettingError(f"{shown}: expected {error}") from None
    return Admission(allow=allow, deny=deny, cooldown=settings.cooldown, private=private)


def check(settings: Settings) -> None:
    """Whether a service can be made of these settings. Raises SettingError."""
    build_admission(settings, build_indexes(settings.index, pip_defaults()))


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
        )
        self.spaces = Spaces(settings.dir)
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
        self.views = Views(self.store, self.hosts, self.tasks, opens=self.router.opens, memory=settings.memory * 3 // 4)
        fetcher = PageFetcher(self.store, self.client, self.views, self.metrics, offline=settings.offline)
        self.files = Files(settings, policy, self.store, self.client, self.views, self.metrics, self.tasks)
        self.pages = Pages(
            policy,
            settings.negative_ttl,
            self.store,
            self.client,
            fetcher,
            self.views,
            FilteredViews(self.views, self.store, self.admission, offline=settings.offline),
            self.metrics,
            self.tasks,
            needs_times=settings.cooldown > 0,
            sources=FileSources(route=self.router.route, answer=self.files.answer),
        )
        self.root = RootPages(policy, self.store, self.client, fetcher, self.metrics, self.tasks)
        self._ready = asyncio.Event()
        self._open_to_all = self.admission == Admission()

    def open(self) -> None:
        """Open the store and the session, within a running event loop. Raises StoreFormatError."""
        raise_open_files()
        self.store.open()
        self.spaces.open()
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
        self.root.close()
        self.files.close()

    def trouble(self) -> dict[str, str]:
        """What is wrong just now, by component: one line each. Upstreams are in trouble while all of an index's rest."""
        lines = dict(self.health.trouble)
        for index in self.indexes:
            if "@" in index.name:  # a mirror under its own URL: an index of the list that it is in
                continue
            if all(self.client.resting(upstream.simple) for upstream in index.upstreams):
                names = ", ".join(upstream.name for upstream in index.upstreams)
                lines[f"index {index.name}"] = (
                    f"no upstream of index {index.name} answers ({names}); what is stored is served"
                )
        return lines

    def opens(self, address: Address) -> bool:
        """Whether TLS to this host is opened, and its plain requests answered here."""
        return self.router.opens(address)

    def route(self, request: Request) -> Route:
        """What a request means; `Elsewhere` if it is for an ordinary flow to the origin that the client named."""
        if request.own:
            return self.router.route_own(request.url)
        if "Cookie" in request.headers:
            return Elsewhere("it has cookies")
        route = self.router.route(request.url)
        authorization = request.headers.get("Authorization")
        if authorization is None:
            return route
        return with_credentials(route, request.url, authorization, self.spaces.of(authorization))

    def answer_at_once(self, request: Request, route: Route) -> Reply | None:
        """The reply to a request that takes neither waiting nor the disk: a fresh page or a small file that is in memory."""
        if "Via" in request.headers or not self._open_to_all:
            return None
        if isinstance(route, ProjectPage):
            return self.pages.answer_at_once(request, route)
        return self.files.answer_at_once(request, route) if isinstance(route, ReleaseFile) else None

    async def answer(self, request: Request, route: Route) -> Reply:
        """The reply to a GET or HEAD, by its `route`."""
        await self._ready.wait()
        if self.instance in ",".join(request.headers.getall("Via", ())):
            return Reply.text(508, "this request has been through this proxy before: an upstream leads back to it")
        if refusal := await self._refusal(route):
            return refusal
        match route:
            case ProjectPage():
                return await self.pages.answer(request, route)
            case ReleaseFile():
                return await self.files.answer(request, route)
            case RootPage():
                return await self.root.answer(request, route)
            case Elsewhere(reason=reason):
                return Reply.text(404, f"{request.url.target}: {reason}")

    async def _refusal(self, route: Route) -> Reply | None:
        """What the operator's rules say against a page or a file: 403, or 404 for a name that belongs to another index."""
        what: str
        if isinstance(route, ProjectPage):
            what, verdict = route.project, self.admission.admit_project(route.project, route.index.name)
        elif isinstance(route, ReleaseFile):
            what, verdict = route.filename, await self._admit_file(route)
        else:
            return None
        if isinstance(verdict, Admitted):
            return None
        self.metrics.refused(verdict.reason)
        # A private name is not on this index: uv goes on to the next index on a 404 alone.
        return Reply.text(
            404 if verdict.reason is Reason.PRIVATE_NAME else 403, verdict.text(what), detail=verdict.reason
        )

    async def _admit_file(self, route: ReleaseFile) -> Admitted | Refused:
        project = project_of(route.filename)
        verdict = self.admission.admit_project(project, route.index.name)
        if isinstance(verdict, Refused) or not self.admission.cooldown:
            return verdict
        link = await self.views.link_of(route)
        if link is None or not link.upload_time:
            await self.pages.known(route, project)
            link = await self.views.link_of(route)
        return self.admission.admit_file(link.upload_time if link else "", time.time())

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(TEND_SECONDS)
            await self.store.tend()
