"""The proxy's own pages, at its own address.

`/` the dashboard, and for a client that asks for no HTML what to paste on an agent (`/start.txt`) · `/dashboard.json` what it shows ·
`/entries.json` the store's entries · `/admin` changes (see `admin`) · `/healthz`, `/readyz` (JSON) · `/metrics` (Prometheus) · `/stats`
(JSON) · `/ca.pem` · `/bundle.pem` (our CA and all trusted roots) · `/env.sh` and its like (see `agent_settings`) · `/why/NAME` (see
`why`). Every page is of the moment, so none may be stored. The indexes at the proxy's address (`/<index>/simple/…`) are not here: they
are routed and answered like those of any other host.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from multidict import CIMultiDict

from pkgcache import __version__
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.service import Service
from pkgcache.engine.store.catalogue import TooManySearchesError
from pkgcache.web import agent_settings, dashboard_files, why
from pkgcache.web.activity import Activity
from pkgcache.web.admin import HEADER, PATH, Admin, OptionChanges, foreign_reader
from pkgcache.web.all_workers import AllWorkers
from pkgcache.web.dashboard import Viewer, dashboard, found_entries, parse_search, statistics
from pkgcache.web.onboarding import start_page

LOOK_SECONDS: Final = 1.0
"""How old the dashboard's figures may be. It asks every two seconds."""


class ProxyPages:
    """Answers requests for the proxy's own paths. `ca` returns the CA's certificates; `bundle` returns them together with all roots.

    `requires_login` tells whether clients have to log in.
    """

    def __init__(
        self,
        service: Service,
        ca: Callable[[], bytes],
        bundle: Callable[[], bytes],
        activity: Activity | None = None,
        options: OptionChanges | None = None,
        *,
        requires_login: Callable[[], bool] = lambda: False,
    ) -> None:
        self._service = service
        self._all = AllWorkers(service)
        self._ca = ca
        self._bundle = bundle
        self.activity = activity or Activity()
        self._requires_login = requires_login
        self._admin = Admin(service, options)
        self._looking = asyncio.Lock()
        self._seen: dict[bool, tuple[float, dict[str, Any]]] = {}
        self._pages: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/": self._front_page,
            "/start.txt": self._start_page,
            "/dashboard.json": self._dashboard,
            "/entries.json": self._entries,
            **dict.fromkeys(dashboard_files.FILES, self._dashboard_file),
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/stats": self._stats,
            "/ca.pem": self._ca_certificate,
            "/bundle.pem": self._ca_bundle,
            **dict.fromkeys(agent_settings.SCRIPTS, self._script),
            **dict.fromkeys(agent_settings.VARIABLES, self._variables),
            agent_settings.DOCTOR: self._doctor,
        }

    def has(self, path: str) -> bool:
        """Whether a path is one of these pages."""
        return path in self._pages or why.name_in(path) != "" or (path == PATH and self._admin.is_open)

    async def answer(self, request: Request, body: bytes = b"") -> Response:
        """Return the page that the request asks for. `body`: of the request."""
        path = request.url.path
        if path == PATH:
            response = await self._change(request, body)
        else:
            page = self._pages.get(path)
            response = await (why.why(self._service, request) if page is None else page(request))
        if request.method == "HEAD":
            response.body = b""
        return response

    async def _front_page(self, request: Request) -> Response:
        """The dashboard for browsers, the commands to paste for curl and its like."""
        if dashboard_files.wants_html(request.headers.get("Accept", "")):
            response = _page(dashboard_files.page(self._base(request)), "text/html; charset=utf-8")
        else:
            response = await self._start_page(request)
        response.headers["Vary"] = "Accept"
        return dashboard_files.guarded(response)

    async def _dashboard_file(self, request: Request) -> Response:
        body, content_type = dashboard_files.file(request.url.path)
        return dashboard_files.guarded(_page(body, content_type))

    async def _dashboard(self, request: Request) -> Response:
        """The same for everybody who asks within LOOK_SECONDS, so that many open dashboards cost what one does."""
        sees_all, refusal = self._sees_all(request)
        if refusal is not None:
            return dashboard_files.guarded(refusal)
        async with self._looking:
            until, seen = self._seen.get(sees_all, (0.0, {}))
            if time.monotonic() >= until:
                can_change = self._admin.is_open
                everyone = await self._all.everyone()
                seen = await dashboard(self._service, everyone, self.activity, sees_all=sees_all, can_change=can_change)
                self._seen[sees_all] = (time.monotonic() + LOOK_SECONDS, seen)
        return dashboard_files.guarded(_json(seen))

    async def _entries(self, request: Request) -> Response:
        """A page of stored entries, found by name."""
        sees_all, refusal = self._sees_all(request)
        if refusal is not None:
            return dashboard_files.guarded(refusal)
        viewer = Viewer(self._service.admission, sees_all)
        try:
            search = parse_search(request.url.query, viewer)
            found = await self._service.store.catalogue.search(search)
        except ValueError as error:
            return dashboard_files.guarded(Response.text(400, str(error)))
        except TooManySearchesError:
            busy = Response.text(503, "too many searches at once; retry")
            busy.headers["Retry-After"] = "1"
            return dashboard_files.guarded(busy)
        return dashboard_files.guarded(_json(found_entries(search, found, viewer)))

    def _sees_all(self, request: Request) -> tuple[bool, Response | None]:
        """Whether the request has the admin token; the refusal of a wrong one, and of what may be a page of another site."""
        if refusal := foreign_reader(request, self._service.settings.public_url):
            return False, refusal
        if not self._admin.is_open or HEADER not in request.headers:
            return False, None
        refusal = self._admin.refusal(request)
        return refusal is None, refusal

    def takes_changes(self, request: Request) -> bool:
        """Whether this is where an operator changes something, if anything can be changed."""
        return request.at_proxy_address and request.url.path == PATH and self._admin.is_open

    async def _change(self, request: Request, body: bytes) -> Response:
        if request.method != "POST":
            refusal = Response.text(405, f"{request.method}: only POST changes anything here")
            refusal.headers["Allow"] = "POST"
            return dashboard_files.guarded(refusal)
        done, refused = await self._admin.change(request, body)
        self._seen.clear()
        return dashboard_files.guarded(refused or _json({"done": done}))

    async def _start_page(self, request: Request) -> Response:
        return Response.text(200, start_page(self._base(request)))

    async def _health(self, _: Request) -> Response:
        """Always 200, in trouble too: installs go on, and a monitor that restarts the proxy on a 503 would stop them."""
        everyone = await self._all.everyone()
        return _json(
            {
                "status": "trouble" if everyone.problems else "ok",
                "version": __version__,
                "time": round(time.time(), 3),
                "uptime_seconds": round(time.time() - everyone.started),
                "store": await self._service.store.figures(),
                **self._advisories(),
                "trouble": everyone.problems,
                **everyone.workers,
            }
        )

    async def _ready(self, _: Request) -> Response:
        """200 if clients should be sent here, else 503. While the proxy stops, everything is a 503."""
        everyone = await self._all.everyone()
        reasons = everyone.reasons
        response = _json({"status": "not ready" if reasons else "ready", "reasons": reasons, **everyone.workers})
        response.status = 503 if reasons else 200
        return response

    async def _metrics(self, _: Request) -> Response:
        figures, everyone = await self._service.store.figures(), await self._all.everyone()
        text = everyone.metrics.prometheus(
            figures,
            everyone.fills,
            store_trouble=everyone.has_trouble,
            version=__version__,
            advisories=self._advisories().get("advisories"),
        )
        return _page(text, "text/plain; version=0.0.4; charset=utf-8")

    async def _stats(self, _: Request) -> Response:
        everyone = await self._all.everyone()
        return _json({**await statistics(self._service, everyone), **self._advisories(), **self._shared()})

    def _shared(self) -> dict[str, dict[str, int]]:
        tier = self._service.shared
        return {} if tier is None else {"shared_tier": {"waiting": tier.waiting}}

    def _advisories(self) -> dict[str, dict[str, int]]:
        feed = self._service.advisories
        return {"advisories": feed.figures()} if feed.is_on else {}

    async def _ca_certificate(self, _: Request) -> Response:
        return _page(self._ca(), "application/x-pem-file")

    async def _ca_bundle(self, _: Request) -> Response:
        return _page(self._bundle(), "application/x-pem-file")

    async def _script(self, request: Request) -> Response:
        path, undo = request.url.path, agent_settings.wants_undo(request.url)
        text = agent_settings.script(path, self._base(request), undo=undo, login=self._requires_login())
        return _page(text.encode(), agent_settings.SCRIPTS[path])

    async def _doctor(self, request: Request) -> Response:
        """Return the doctor for agents, which knows the indexes where those may be known without a login."""
        indexes = [] if self._requires_login() else [str(index.simple) for index in self._service.indexes]
        return _page(agent_settings.doctor(self._base(request), indexes).encode(), "text/x-python; charset=utf-8")

    async def _variables(self, request: Request) -> Response:
        try:
            bundle = agent_settings.bundle_path(request.url)
        except ValueError as error:
            return Response.text(400, str(error))
        path = request.url.path
        text = agent_settings.variables(path, self._base(request), bundle, login=self._requires_login())
        return _page(text.encode(), agent_settings.VARIABLES[path])

    def _base(self, request: Request) -> str:
        """Return the proxy's URL as agents know it: the option, else what the request named (`request_checks` has checked that)."""
        return self._service.settings.public_url or request.url.origin


def _page(body: bytes, content_type: str) -> Response:
    headers = CIMultiDict({"Content-Type": content_type, "Content-Length": str(len(body)), "Cache-Control": "no-store"})
    return Response(status=200, headers=headers, body=body)


def _json(value: object) -> Response:
    return _page((json.dumps(value, indent=2) + "\n").encode(), "application/json")
