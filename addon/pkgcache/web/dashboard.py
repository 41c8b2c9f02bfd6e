"""What the dashboard shows, as JSON: `/dashboard.json`.

Whoever may use the proxy may look, so what is shown is chosen (`Viewer`): names of projects and files, but none that came with a client's
credentials or that `pypi_cache_private` keeps for one index; no URL of a request, no client, no user. With the admin token all of these
are there. Texts of clients and upstreams are shortened and have no control characters; the page itself never makes markup of a text.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, cast, get_args
from urllib.parse import parse_qs

from pkgcache import __version__
from pkgcache.engine.fills.fill import Fill
from pkgcache.engine.runtime.sum_of_all import Everyone
from pkgcache.engine.service import Service
from pkgcache.engine.store.catalogue import PAGE, Found, Kind, Order, Search
from pkgcache.engine.store.entries import Row
from pkgcache.engine.store.keys import StoreKey, parse_key
from pkgcache.rules.policy.admission import Admission
from pkgcache.rules.routing.filenames import project_of
from pkgcache.rules.routing.indexes import Index, Upstream
from pkgcache.rules.routing.routes import ProjectListPage, ProjectPage, Provenance, ReleaseFile, Route
from pkgcache.units import printable, redact
from pkgcache.web.activity import RULES, Activity, Finished, Project

SHOWN: Final = 160
"""Characters of a text that are shown: a client may ask for any name."""

TOP_PROJECTS: Final = 10
MOST_PAGES: Final = 100_000
MOST_FIELDS: Final = 8
"""Pages of a search, and parameters of its query."""

PRIVATE: Final = "(private)"
"""What stands in the place of a name that is not shown."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks: `sees_all` with the admin token."""

    admission: Admission
    sees_all: bool

    def hides(self, project: str, *, is_private: bool) -> bool:
        """Whether this project's name is not shown. `is_private`: it came with a client's credentials."""
        return not self.sees_all and (is_private or (bool(project) and self.admission.keeps_private(project)))

    def name(self, text: str, project: str, *, is_private: bool) -> str:
        """Return the name of something that belongs to a project, or what stands in its place."""
        return PRIVATE if self.hides(project, is_private=is_private) else shown(text)


def shown(text: str) -> str:
    r"""Shorten a text, without what may be secret in it or act on a screen.

    >>> shown("https://me:secret@wheels.example/\x07")
    'https://***@wheels.example/\\x07'
    """
    text = printable(redact(text[: 4 * SHOWN]))
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


async def statistics(service: Service, everyone: Everyone) -> dict[str, Any]:
    """Return the figures of /stats."""
    return {
        "uptime_seconds": round(time.time() - everyone.started),
        **everyone.metrics.summary(),
        "store": await service.store.figures(),
        "fills": everyone.fills,
        **everyone.workers,
    }


async def dashboard(
    service: Service, everyone: Everyone, activity: Activity, *, sees_all: bool, can_change: bool
) -> dict[str, Any]:
    """Return all that the page shows, but for the store's entries. `can_change`: there is an admin token.

    Of several workers the figures are of all together, and the lists are of this one.
    """
    viewer = Viewer(service.admission, sees_all)
    return {
        "version": __version__,
        "time": round(time.time(), 3),
        "offline": service.settings.offline,
        "can_change": can_change,
        "sees_all": sees_all,
        "stats": await statistics(service, everyone),
        "attention": attention(everyone),
        "downloads": [
            download(key, fill, viewer) for key, fill in list(service.files.fills.fills.items()) if not fill.verified
        ],
        "upstreams": [
            upstream_state(service, index, upstream)
            for index in service.indexes
            if "@" not in index.name  # a mirror under its own URL: it is in the list of its index
            for upstream in index.upstreams
        ],
        "projects": [project_row(project, viewer) for project in activity.top(TOP_PROJECTS)],
        "recent": [request_row(each, viewer) for each in reversed(activity.recent)],
        "refused": [refused_row(each, viewer) for each in reversed(activity.refused)],
    }


def attention(everyone: Everyone) -> list[str]:
    """What needs a person, one line each."""
    figures = everyone.metrics.figures()
    lines = [*everyone.reasons, *everyone.problems.values()]
    if faults := int(figures["pypi_cache_faults_total"]):
        lines.append(f"{faults:,} errors in the proxy's own code since it started; its log says which")
    if damaged := int(figures["pypi_cache_store_damaged_total"]):
        lines.append(
            f"{damaged:,} stored files were found damaged, and fetched again; is the disk sound? pypi-cache verify"
        )
    return [shown(line) for line in lines]


def download(key: StoreKey, fill: Fill, viewer: Viewer) -> dict[str, Any]:
    """Return one download under way. `total` is null while the upstream has not said how much there is."""
    parsed = parse_key(key)
    return {
        "name": viewer.name(parsed.name, parsed.project, is_private=parsed.private),
        "bytes": fill.written,
        "total": fill.total,
    }


def upstream_state(service: Service, index: Index, upstream: Upstream) -> dict[str, str]:
    """Return how one upstream of an index does."""
    client, origin = service.client, upstream.simple.origin
    why = client.breakers.why(origin)
    if service.settings.offline:
        state = "offline"
    elif client.breakers.is_dead(origin):
        state = "dead"
    elif why:
        state = "failing"
    elif client.is_shut_out(upstream.simple, upstream.authorization):
        state = "wants a login"
    else:
        state = "ok"
    return {"index": index.name, "upstream": shown(upstream.name), "state": state, "why": shown(why)}


def project_row(project: Project, viewer: Viewer) -> dict[str, Any]:
    """Return what was asked of one project."""
    name = viewer.name(project.name, project.name, is_private=project.is_private)
    return {"name": name, "requests": project.requests, "hits": project.hits, "bytes": project.size}


def request_row(finished: Finished, viewer: Viewer) -> dict[str, Any]:
    """Return one request that is over."""
    row: dict[str, Any] = {
        "time": round(finished.started, 3),
        "what": _what(finished, viewer),
        "status": finished.status,
        "cache": shown(str(finished.cache)).removeprefix("pypi-cache").removeprefix("; "),
        "source": finished.cache.source,
        "bytes": finished.size,
        "seconds": round(finished.seconds, 4),
    }
    return row | _who(finished) if viewer.sees_all else row


def refused_row(finished: Finished, viewer: Viewer) -> dict[str, Any]:
    """Return one request that a rule refused. Only an operator's rule is shown to everybody: other texts name hosts and paths."""
    hidden = viewer.hides(_project(finished.route), is_private=finished.is_private)
    tells = viewer.sees_all or (finished.cache.detail in RULES and not hidden)
    row: dict[str, Any] = {
        "time": round(finished.started, 3),
        "what": _what(finished, viewer),
        "status": finished.status,
        "why": shown(finished.text if tells else finished.cache.detail or "not allowed here"),
    }
    return row | _who(finished) if viewer.sees_all else row


def _who(finished: Finished) -> dict[str, Any]:
    agent = finished.request.headers.get("User-Agent", "").partition(" ")[0]
    return {"client": shown(finished.request.client), "user": shown(finished.user), "agent": shown(agent)}


def _what(finished: Finished, viewer: Viewer) -> str:
    """What was asked for: a name that the URL means, and no URL, which may hold more than that."""
    route = finished.route
    match route:
        case ReleaseFile():
            return viewer.name(route.filename + route.suffix, _project(route), is_private=finished.is_private)
        case ProjectPage():
            text = route.document or f"{route.project} (page)"
            return viewer.name(text, route.project, is_private=finished.is_private)
        case Provenance():
            return viewer.name(f"{route.project} (provenance)", route.project, is_private=False)
        case ProjectListPage():
            return "all projects (list)"
        case _:
            return shown(str(finished.request.url)) if viewer.sees_all else "(something else)"


def _project(route: Route | None) -> str:
    if isinstance(route, ReleaseFile):
        return project_of(route.filename)
    return route.project if isinstance(route, ProjectPage | Provenance) else ""


def parse_search(query: str, viewer: Viewer) -> Search:
    """Read the query of /entries.json. Raises ValueError, whose message says what would be right."""
    given = {name: values[-1] for name, values in parse_qs(query, max_num_fields=MOST_FIELDS).items()}
    kind, order, page = given.get("kind", ""), given.get("order", "asked"), given.get("page", "1")
    if kind not in get_args(Kind.__value__) or order not in get_args(Order.__value__):
        raise ValueError(f"kind is file or page, and order one of {', '.join(get_args(Order.__value__))}")
    if not (page.isascii() and page.isdigit() and 1 <= int(page[:10]) <= MOST_PAGES):
        raise ValueError(f"page is a number from 1 to {MOST_PAGES:,}")
    text = given.get("q", "").strip()
    if len(text) > SHOWN or not text.isprintable():
        raise ValueError(f"q is a part of a name, of {SHOWN} printable characters at most")
    hides = None if viewer.sees_all or not viewer.admission.private else viewer.admission.keeps_private
    return Search(
        text=text,
        kind=cast(Kind, kind),
        order=cast(Order, order),
        page=int(page),
        private=viewer.sees_all,
        hides=hides,
    )


def found_entries(search: Search, found: Found, viewer: Viewer) -> dict[str, Any]:
    """Return one page of stored entries."""
    return {
        "page": search.page,
        "pages": max(1, -(-found.total // PAGE)),
        "total": found.total,
        "rows": [_entry(row, viewer) for row in found.rows],
    }


def _entry(row: Row, viewer: Viewer) -> dict[str, Any]:
    parsed = parse_key(row.key)
    name = parsed.name if parsed.kind == "file" else f"{parsed.project} ({parsed.index}, {parsed.name})"
    return {
        "kind": parsed.kind,
        "project": viewer.name(parsed.project, parsed.project, is_private=parsed.private),
        "name": viewer.name(name, parsed.project, is_private=parsed.private),
        "private": parsed.private,
        "bytes": row.size,
        "stored": round(row.stored_at),
        "asked": round(row.accessed_at),
    }
