"""What the dashboard shows of single requests: the last ones, the last that a rule refused, and the projects asked for most.

Each hit passes here, so it costs a tuple and a look into a dict. All of it is bounded, whatever clients send: by numbers of requests and
names, since heads have limits of their own. For the event loop's thread alone.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pkgcache.engine.responses.messages import Request, Response
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.policy.admission import RefusalReason
from pkgcache.rules.routing.filenames import project_of
from pkgcache.rules.routing.routes import PUBLIC, ProjectPage, ReleaseFile, Route

RECENT: Final = 60
"""Requests that are remembered, and as many that were refused."""

MOST_NAMES: Final = 4096
"""Names of files and projects whose counters are found at once."""

MOST_PROJECTS: Final = 1024
"""Projects that are counted. When there are more, those asked for least are forgotten, down to half."""

RULES: Final = frozenset(RefusalReason)
"""The details of Cache-Status that an operator's rule has."""


class Finished(NamedTuple):
    """A request that is over. `started` is in seconds since the epoch; `text` is a refusal's."""

    request: Request
    route: Route | None
    status: int
    cache: CacheStatus
    size: int
    started: float
    seconds: float
    user: str
    text: str = ""

    @property
    def is_private(self) -> bool:
        """Whether it came with credentials for what it asks for."""
        return getattr(self.route, "space", PUBLIC) != PUBLIC


@dataclass(slots=True)
class Project:
    """What was asked of one project. `is_private`: with credentials, as all of these requests were."""

    name: str
    is_private: bool
    requests: int = 0
    hits: int = 0
    size: int = 0


class Activity:
    """Takes note of requests that are over."""

    def __init__(self) -> None:
        self.recent: deque[Finished] = deque(maxlen=RECENT)
        self.refused: deque[Finished] = deque(maxlen=RECENT)
        self._projects: dict[tuple[str, bool], Project] = {}
        self._by_name: dict[tuple[str, bool], Project] = {}

    def note(self, finished: Finished, response: Response | None) -> None:
        """Take note of a request that is over. The proxy's own pages are left out: the dashboard itself asks for some."""
        route = finished.route
        if response is not None and (finished.status == 403 or response.cache.detail in RULES):
            self._note_refusal(finished, response)
        if route is None:
            return
        self.recent.append(finished)
        if finished.status < 400 and isinstance(route, ProjectPage | ReleaseFile):
            self._count(route, finished.size, hit=finished.cache.hit)

    def _note_refusal(self, finished: Finished, response: Response) -> None:
        """Remember why, where it was this proxy that has refused: an upstream's 403 was forwarded, and is not in words of ours.

        A 403 of the proxy's own pages is for an admin token, and no rule's.
        """
        if finished.route is None and finished.request.at_proxy_address:
            return
        if response.cache.source == "proxy" and isinstance(response.body, bytes):
            self.refused.append(finished._replace(text=response.body.decode(errors="replace").strip()))

    def _count(self, route: ProjectPage | ReleaseFile, size: int, *, hit: bool) -> None:
        name = route.filename if isinstance(route, ReleaseFile) else route.project
        key = (name, route.space != PUBLIC)
        project = self._by_name.get(key) or self._named(route, key)
        project.requests += 1
        project.hits += hit
        project.size += size

    def _named(self, route: ProjectPage | ReleaseFile, key: tuple[str, bool]) -> Project:
        """Find the counters of a project by a name that is new here."""
        if len(self._projects) >= MOST_PROJECTS:
            kept = heapq.nlargest(MOST_PROJECTS // 2, self._projects.items(), key=lambda item: item[1].requests)
            self._projects = dict(kept)
            self._by_name.clear()
        if len(self._by_name) >= MOST_NAMES:
            self._by_name.clear()
        name = project_of(route.filename) if isinstance(route, ReleaseFile) else route.project
        project = self._projects.setdefault((name, key[1]), Project(name, is_private=key[1]))
        self._by_name[key] = project
        return project

    def top(self, number: int) -> Sequence[Project]:
        """Return the projects that were asked for most."""
        return heapq.nlargest(number, self._projects.values(), key=lambda project: project.requests)
