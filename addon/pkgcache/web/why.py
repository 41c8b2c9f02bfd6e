"""`/why/NAME`: what each index offers of a project or of a file, what is hidden of it, by which rule, and until when.

pip prints the versions that it was offered, and never why others are missing. So this page asks for the project's page as an agent does,
and holds each file that is not on it to the rules by the function that refuses it (`engine.gatekeeper`), so that both say the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.pages.stored_page import PageRequest
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.service import Service
from pkgcache.rules.routing.filenames import is_distribution, is_project_name, project_of
from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.routes import PUBLIC, ProjectPage, ReleaseFile
from pkgcache.rules.routing.urls import Url, parse_url
from pkgcache.rules.simple.file_table import FileFacts
from pkgcache.rules.simple.representations import Representation

PREFIX: Final = "/why/"
MOST_NAMED: Final = 200
"""Hidden files that are named with their reasons, the last of the page first: those are the newest ones."""

LONGEST_NAME: Final = 300
JSON_TYPE: Final = "application/vnd.pypi.simple.v1+json"


def name_in(path: str) -> str:
    """Return the NAME of `/why/NAME`; empty for another path.

    >>> name_in("/why/six"), name_in("/why/six-1.0.tar.gz/"), name_in("/why/simple/six/")
    ('six', 'six-1.0.tar.gz', '')
    """
    name = path.removeprefix(PREFIX).removesuffix("/") if path.startswith(PREFIX) else ""
    return "" if "/" in name else name


async def why(service: Service, request: Request) -> Response:
    """Answer for every index in turn; a mirror under its own URL belongs to its index."""
    name = name_in(request.url.path)
    if len(name) > LONGEST_NAME or not is_project_name(name):
        return Response.text(400, "/why/NAME: expected the name of a project or of one of its files")
    asked = Asked(service, request, name)
    paragraphs = [await asked.of_index(index) for index in service.indexes if "@" not in index.name]
    return Response.text(200, "\n".join(f"{index}: {text}" for index, text in paragraphs))


class Asked:
    """One question about a project, or about the one file `filename` of it."""

    def __init__(self, service: Service, request: Request, name: str) -> None:
        self._service = service
        self._request = request
        self._filename = name if is_distribution(name) else ""
        self._project = project_of(name) if self._filename else name

    async def of_index(self, index: Index) -> tuple[str, str]:
        """The index's name, and what it has of the project."""
        return index.name, await self._about(index)

    async def _about(self, index: Index) -> str:
        asked = self._page(index)
        route = self._service.route(asked)
        if not isinstance(route, ProjectPage):
            return "it has no such page"
        answer = await self._service.answer(asked, route)
        if answer.status != 200:
            text = (await _body(answer)).decode(errors="replace").strip()
            return text if answer.status in {403, 404} else f"{answer.status}: {text}"
        offered = {file["filename"] for file in json.loads(await _body(answer))["files"]}
        files = await self._files(route)
        hidden = {url: facts for url, facts in files.items() if facts.filename not in offered}
        if self._filename:
            hidden = {url: facts for url, facts in hidden.items() if facts.filename == self._filename}
            if not hidden:
                return f"{self._filename} is {'offered' if self._filename in offered else 'not on the page of its project'}"
        reasons = [reason async for reason in self._reasons(index, hidden)]
        if self._filename:
            return reasons[0]
        head = f"of {len(offered) + len(hidden)} files of {route.project}, {len(hidden) or 'none'} are hidden"
        more = [f"and {len(hidden) - MOST_NAMED} more"] if len(hidden) > MOST_NAMED else []
        return "\n  ".join([head + (":" if hidden else ""), *reasons, *more])

    def _page(self, index: Index) -> Request:
        """The request for the project's page, as an agent would make it here; whoever asks is not logged in at an upstream."""
        url = replace(self._request.url, path=f"/{index.name}/simple/{self._project}/", query="")
        headers = CIMultiDictProxy(CIMultiDict({"Accept": JSON_TYPE}))
        return replace(self._request, method="GET", url=url, headers=headers, at_proxy_address=True)

    async def _files(self, route: ProjectPage) -> dict[str, FileFacts]:
        """All files of the stored page, by their identity."""
        for representation in Representation:
            page_request = PageRequest(
                index=route.index,
                project=route.project,
                representation=representation,
                client_url=route.client_url,
                at_proxy_address=True,
                space=PUBLIC,
            )
            if table := await self._service.known_files.table(page_request):
                return dict(table.items())
        return {}

    async def _reasons(self, index: Index, hidden: dict[str, FileFacts]) -> AsyncIterator[str]:
        for identity, facts in list(reversed(hidden.items()))[:MOST_NAMED]:
            await asyncio.sleep(0)  # others are served in between
            url = parse_url(identity if "://" in identity else f"{index.canonical_files}{identity}")
            yield await self._reason(index, url, facts.filename)

    async def _reason(self, index: Index, url: Url, filename: str) -> str:
        route = self._service.router.route(url)
        if isinstance(route, ReleaseFile):
            refusal = await self._service.gatekeeper.refusal(replace(route, index=index, also=()))
            if refusal is not None:
                return (await _body(refusal)).decode().strip()
        return f"{filename} is not stored, and the proxy is offline (pypi_cache_offline)"


async def _body(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    found = bytearray()
    try:
        while chunk := await response.body.read():
            found += chunk
    finally:
        response.body.close()
    return bytes(found)
