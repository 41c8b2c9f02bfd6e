"""`/why/NAME`: what each index offers of a project or of a file, what is hidden of it, by which rule, and until when.

pip prints the versions that it was offered, and never why others are missing. So this page asks for the project's page as an agent does,
and holds each file that is not on it to the rules as the gatekeeper does, so that both say the same; but nothing is counted or logged as
refused, and no upstream is asked again. What an advisory has marked as yanked is named too: uv passes it over without a word. What is
said of a file is one line, without control characters, whatever its page calls it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.pages.stored_page import PageRequest
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.service import Service
from pkgcache.rules.routing.filenames import is_distribution, is_project_name, project_of
from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.routes import PUBLIC, ProjectPage, ReleaseFile
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.file_table import FileFacts, FileTable
from pkgcache.rules.simple.representations import Representation
from pkgcache.units import printable

PREFIX: Final = "/why/"
MOST_NAMED: Final = 200
"""Hidden files that are named with their reasons, the last of the page first: those are the newest ones."""

LONGEST_NAME: Final = 300
YANK: Final = "pypi_cache_advisories_yank"
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
        if refusal := self._service.gatekeeper.why_refused(route):
            return refusal  # nobody has tried to install it
        answer = await self._service.answer(asked, route)
        if answer.status != 200:
            text = (await _body(answer)).decode(errors="replace").strip()
            return text if answer.status in {403, 404} else f"{answer.status}: {text}"
        page = await _body(answer)
        # In a thread: a page may have 100,000 files, and others are to be served meanwhile.
        table = await self._table(route)
        offered, hidden = await asyncio.to_thread(compare, page, table, self._filename)
        status = table.status if table else ""
        marked = await asyncio.to_thread(self._marked, route, offered)
        if self._filename:
            is_there = self._filename in offered
            other = f"{self._filename} is {'offered' if is_there else 'not on the page of its project'}"
            return next(self._reasons(index, hidden, status), next(iter(marked), other))
        head = f"of {len(offered) + len(hidden)} files of {route.project}, {len(hidden) or 'none'} are hidden"
        named = list(self._reasons(index, hidden[:MOST_NAMED], status))
        return "\n  ".join(
            [head + (":" if hidden or marked else ""), *named, *_more(hidden), *marked[:MOST_NAMED], *_more(marked)]
        )

    def _page(self, index: Index) -> Request:
        """The request for the project's page, as an agent would make it here; whoever asks is not logged in at an upstream."""
        url = replace(self._request.url, path=f"/{index.name}/simple/{self._project}/", query="")
        headers = CIMultiDictProxy(CIMultiDict({"Accept": JSON_TYPE}))
        return replace(self._request, method="GET", url=url, headers=headers, at_proxy_address=True)

    async def _table(self, route: ProjectPage) -> FileTable | None:
        """All files of the stored page."""
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
                return table
        return None

    def _marked(self, route: ProjectPage, offered: set[str]) -> list[str]:
        """What is said of the files that an advisory has marked as yanked, in one line each."""
        about = self._service.advisories.about(route.project, route.index.name)
        names = sorted(offered & {self._filename} if self._filename else offered, reverse=True)
        advised = about.of_page(route.project, names) if about else {}
        return [
            printable(f"{name[:LONGEST_NAME]} is marked as yanked by advisory {each.yanked} ({YANK})")
            for name, each in advised.items()
            if each.yanked
        ]

    def _reasons(self, index: Index, hidden: Iterable[tuple[str, FileFacts]], status: str) -> Iterator[str]:
        """Why each of these files is hidden, in one line."""
        for identity, facts in hidden:
            yield printable(
                self._refusal(index, identity, facts, status) or f"{facts.filename[:LONGEST_NAME]} {self._other}"
            )

    def _refusal(self, index: Index, identity: str, facts: FileFacts, status: str) -> str:
        """The refusal's words; empty where no rule refuses the file."""
        try:
            route = self._service.router.route(
                parse_url(identity if "://" in identity else f"{index.canonical_files}{identity}")
            )
        except ValueError:  # an index may link to anything
            return ""
        if not isinstance(route, ReleaseFile):
            return ""
        return self._service.gatekeeper.why_hidden(replace(route, index=index, also=()), facts.upload_time, status)

    @property
    def _other(self) -> str:
        """Why a file is hidden that no rule refuses."""
        if self._service.settings.offline:
            return "is not stored, and the proxy is offline (pypi_cache_offline)"
        return "is not offered: by its link the proxy cannot tell which file it is"


def compare(page: bytes, table: FileTable | None, filename: str = "") -> tuple[set[str], list[tuple[str, FileFacts]]]:
    """The names of the files that a page in JSON offers, and those of the table that it does not, the last first.

    `filename`: of those the ones of this name.
    """
    files = json.loads(page)["files"]
    names = (each.get("filename") for each in files if isinstance(each, dict))  # the rest is as the index wrote it
    offered = {name for name in names if isinstance(name, str)}
    hidden = [
        (identity, facts)
        for identity, facts in (table.items() if table else ())
        if facts.filename not in offered and filename in {"", facts.filename}
    ]
    return offered, hidden[::-1]


def _more(named: Sequence[object]) -> list[str]:
    return [f"and {len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else []


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
