"""Decides whether a redirect of an upstream is followed, and where to.

A target on an index's host is judged like a client's request for it: by that index, the operator's rules and that index's mirrors.
Otherwise corp could answer a private name with the public index's page, and the proxy would give that page as corp's. A target on a host
that is no index's (signed URLs of a blob store) is followed: its address is checked when it is dialled, and a file by its digest.

Leaves out: when a file was uploaded, for `pypi_cache_cooldown`; `Followed.file` says of which file the caller has to find that out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pkgcache.rules.policy.admission import Admission, RefusalReason, Refused
from pkgcache.rules.routing.filenames import project_of
from pkgcache.rules.routing.indexes import Index, Upstream
from pkgcache.rules.routing.paths import document_at, list_at, page_at
from pkgcache.rules.routing.ports import is_for_http
from pkgcache.rules.routing.router import Router
from pkgcache.rules.routing.routes import (
    ProjectListPage,
    ProjectPage,
    Provenance,
    ReleaseFile,
    Route,
    Uncacheable,
    Unclear,
)
from pkgcache.rules.routing.spelling import strict_path
from pkgcache.rules.routing.urls import Url


@dataclass(frozen=True, slots=True)
class Followed:
    """Ask this URL next, with this `Authorization` value of the operator's if there is one.

    `others` are the further upstreams of an index that may be asked instead, each with its `Authorization`. `file` is set for a file of
    another index than the one that was asked: it must be old enough by that index's page.
    """

    url: Url
    authorization: str = ""
    others: tuple[tuple[Url, str], ...] = ()
    file: ReleaseFile | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """The name belongs to another index: as if the upstream had answered 404."""


@dataclass(frozen=True, slots=True)
class Barred:
    """Not followed, and why, as the end of a sentence about the target."""

    reason: str


type Verdict = Followed | Absent | Barred


def judge_redirect(router: Router, admission: Admission, asked: Url, previous: Url, target: Url) -> Verdict:
    """Decide about one redirect: `asked` was asked first, and `previous`, often the same, has answered with `target`."""
    judged = router.hosts.with_tls(target)
    address = (judged.host, judged.port)
    if address not in router.hosts.file_places:
        if is_for_http(judged.port) or router.hosts.is_configured_by_operator(address):
            return Followed(target)
        return Barred("whose port is another protocol's")
    route, first, origin = router.route(judged), router.route(asked), router.route(previous)
    if isinstance(route, Uncacheable):
        return Followed(target)
    if isinstance(route, Unclear):
        if _is_below(origin, judged):  # an index may lead from its page to another spelling of it
            return Followed(target)
        return Barred(f"which cannot be judged: {route.reason}")
    for project in _projects(first, route):
        verdict = admission.admit_project(project, route.index.name)
        if isinstance(verdict, Refused):
            return Absent() if verdict.reason is RefusalReason.PRIVATE_NAME else Barred(f"but {verdict.text(project)}")
    file = route if isinstance(route, ReleaseFile) and _family(route) != _family(first) else None
    if isinstance(route, Provenance) or _family(route) in {_family(origin), _family(first)}:
        return Followed(target, file=file)
    return replace(_by_its_upstreams(route, judged), file=file)


def _index_of(route: Route) -> Index | None:
    return None if isinstance(route, Uncacheable | Unclear) else route.index


def _family(route: Route) -> str:
    """The name of a route's index; a mirror `corp@<url>` belongs to `corp`."""
    index = _index_of(route)
    return index.name.partition("@")[0] if index else ""


def _is_below(route: Route, url: Url) -> bool:
    index = _index_of(route)
    if index is None or index.simple.origin != url.origin:
        return False
    return strict_path(url.path).startswith(strict_path(index.simple.path))


def _projects(*routes: Route) -> list[str]:
    """The projects that these routes are about."""
    names = [route.project for route in routes if isinstance(route, ProjectPage | Provenance)]
    return list(
        dict.fromkeys([*names, *(project_of(route.filename) for route in routes if isinstance(route, ReleaseFile))])
    )


def _by_its_upstreams(route: ProjectPage | ProjectListPage | ReleaseFile, target: Url) -> Followed:
    """The URLs at the index's upstreams, in their order, but the target itself first if it is at one of them."""
    sources = (
        route.sources
        if isinstance(route, ReleaseFile)
        else tuple((_page_at(upstream, route), upstream.authorization) for upstream in route.index.upstreams)
    )
    logins: dict[Url, str] = {}
    for source, login in sorted(sources, key=lambda source: source[0].origin != target.origin):
        logins[source] = logins.get(source) or login
    (url, authorization), *others = logins.items()
    return Followed(url, authorization, tuple(others))


def _page_at(upstream: Upstream, route: ProjectPage | ProjectListPage) -> Url:
    if isinstance(route, ProjectListPage):
        return list_at(upstream)
    return document_at(upstream, route.document) if route.document else page_at(upstream, route.project)
