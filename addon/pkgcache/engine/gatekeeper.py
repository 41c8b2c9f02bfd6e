"""Holds requests, and redirects of upstreams, to the operator's rules.

The rules are in rules/policy. For a cooldown they must be told when a file was uploaded. Its index's page says that, which may have to
be fetched first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from pkgcache.engine.advisories.feed import AdvisoryFeed
from pkgcache.engine.pages.known_files import KnownFiles
from pkgcache.engine.responses.messages import Response
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.rules.policy.admission import Admission, Admitted, RefusalReason, Refused
from pkgcache.rules.policy.advisories import parse_pep440, readings
from pkgcache.rules.policy.redirects import Barred, Followed, Verdict, judge_redirect
from pkgcache.rules.routing.filenames import judged_projects, project_of
from pkgcache.rules.routing.router import Router
from pkgcache.rules.routing.routes import ProjectPage, Provenance, ReleaseFile, Route, by_index
from pkgcache.rules.routing.urls import Url
from pkgcache.units import printable

logger = logging.getLogger(__name__)

_VERSION_DOCUMENT: Final = 3
"""Parts of `<project>/<version>/json`."""


class Gatekeeper:
    """Decides by one admission. `make_known` fetches the page of a file's project, unless a fresh one is stored."""

    def __init__(
        self,
        admission: Admission,
        router: Router,
        metrics: Metrics,
        known_files: KnownFiles,
        make_known: Callable[[ReleaseFile, str], Awaitable[None]],
        advisories: AdvisoryFeed,
    ) -> None:
        self.admission = admission
        self.open_to_all = admission == Admission() and not advisories.is_on
        self._advisories = advisories
        self._router = router
        self._metrics = metrics
        self._known_files = known_files
        self._make_known = make_known

    async def refusal(self, route: Route) -> Response | None:
        """The operator's refusal of a page or a file: 403, or 404 for a name that belongs to another index. None: it is admitted."""
        what: str
        if isinstance(route, ProjectPage | Provenance):
            what, verdict = route.project, self._admit_project(route)
        elif isinstance(route, ReleaseFile):
            what, verdict = printable(route.filename), await self._admit_file(route)
        else:
            return None
        if isinstance(verdict, Admitted):
            return None
        self._metrics.refused(verdict.reason)
        if verdict.advisory:
            logger.warning("%s", verdict.text(what))
        # A private name is not on this index: uv goes on to the next index on a 404 alone.
        return Response.text(
            404 if verdict.reason is RefusalReason.PRIVATE_NAME else 403, verdict.text(what), detail=verdict.detail
        )

    def why_refused(self, route: ProjectPage) -> str:
        """The words in which a project's page would be refused; empty where it would not. Nothing is counted or logged."""
        verdict = self._admit_project(route)
        return "" if isinstance(verdict, Admitted) else verdict.text(route.project)

    def why_hidden(self, route: ReleaseFile, upload_time: str, status: str) -> str:
        """The words in which a file of a page would be refused; empty where it would not. Nothing is counted, and nobody is asked.

        `upload_time` and `status`: as the page has them.
        """
        verdict = self._admit_by_name(route)
        if isinstance(verdict, Admitted):
            verdict = self.admission.admit_status(status)
        if isinstance(verdict, Admitted) and self._has_cooldown(route):
            verdict = self.admission.admit_file(upload_time, time.time())
        return "" if isinstance(verdict, Admitted) else verdict.text(printable(route.filename))

    async def judge_redirect(self, asked: Url, previous: Url, target: Url) -> Verdict:
        """Decide about a redirect, as `rules.policy.redirects`. A file of another index has outgrown the cooldown by that index's page."""
        verdict = judge_redirect(self._router, self.admission, asked, previous, target)
        if isinstance(verdict, Followed) and verdict.file is not None and not self.open_to_all:
            admitted = await self._admit_file(verdict.file)
            if isinstance(admitted, Refused):
                return Barred(f"but {admitted.text(printable(verdict.file.filename))}")
        return verdict

    async def of_admitted_indexes(self, route: ReleaseFile) -> ReleaseFile:
        """A file on a host that several indexes link to, without the indexes that may not have it (`pypi_cache_private`)."""
        if not route.also or self.open_to_all:
            return route
        admitted = [each.index for each in by_index(route) if isinstance(await self._admit_file(each), Admitted)]
        return replace(route, index=admitted[0], also=tuple(admitted[1:])) if admitted else route

    def _admit_project(self, route: ProjectPage | Provenance) -> Admitted | Refused:
        verdict = self.admission.admit_project(route.project, route.index.name)
        if isinstance(verdict, Refused) or not (found := self._advisories.about(route.project, route.index.name)):
            return verdict
        document = route.document.split("/") if isinstance(route, ProjectPage) else ()
        if len(document) == _VERSION_DOCUMENT:
            version = unquote(document[1])
            return found.admit_version(route.project, parse_pep440(version), version)
        return found.admit_project(route.project)

    def _by_advisories(self, route: ReleaseFile) -> Admitted | Refused:
        """Decide about a file by its name. An sdist's does not tell for certain which project's it is: each one counts."""
        if not self._advisories.is_on:
            return Admitted()
        for project, version, text in readings(route.filename):
            if found := self._advisories.about(project, route.index.name):
                verdict = found.admit_version(project, version, text)
                if isinstance(verdict, Refused):
                    return verdict
        return Admitted()

    async def _admit_file(self, route: ReleaseFile) -> Admitted | Refused:
        """Decide about a file; one of several indexes is admitted if any of them may have it."""
        if route.also:
            verdicts = [await self._admit_file(each) for each in by_index(route)]
            return next((verdict for verdict in verdicts if isinstance(verdict, Admitted)), verdicts[0])
        verdict = self._admit_by_name(route)
        if isinstance(verdict, Admitted) and self.admission.deny_status:
            await self._make_known(route, project_of(route.filename))
            verdict = self.admission.admit_status(await self._known_files.status_of(route))
        if isinstance(verdict, Refused) or not self._has_cooldown(route):
            return verdict
        link = await self._known_files.facts_of(route)
        if link is None or not link.upload_time:
            await self._make_known(route, project_of(route.filename))
            link = await self._known_files.facts_of(route)
        return self.admission.admit_file(link.upload_time if link else "", time.time())

    def _admit_by_name(self, route: ReleaseFile) -> Admitted | Refused:
        projects = judged_projects(route.filename)
        verdicts = [self.admission.admit_project(project, route.index.name) for project in projects]
        refused = [verdict for verdict in verdicts if isinstance(verdict, Refused)]
        # One name on the list of those that are allowed is enough, and so is one that is denied.
        for verdict in refused:
            if verdict.reason is not RefusalReason.NOT_ALLOWED or len(refused) == len(projects):
                return verdict
        return self._by_advisories(route)

    def _has_cooldown(self, route: ReleaseFile) -> bool:
        return self.admission.has_cooldown(project_of(route.filename), route.index.name)
