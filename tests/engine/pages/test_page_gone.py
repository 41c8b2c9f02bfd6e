"""A page that goes away (evicted, purged by another process) between two looks at it is fetched anew: nobody is told to come again."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.caching import Collaborators
from pkgcache.engine.pages.page_variant import PageVariant
from pkgcache.engine.pages.project_pages import Pages
from pkgcache.engine.pages.stored_page import PageGoneError, PageRequest, StoredPage
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.engine.responses.messages import Request
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.notes import PageNotes
from pkgcache.engine.store.watch import WatchedMemory
from pkgcache.rules.http.freshness import Policy
from pkgcache.rules.routing.indexes import build_indexes
from pkgcache.rules.routing.routes import PUBLIC, ProjectPage
from pkgcache.rules.simple.representations import Representation
from pkgcache.settings import make_settings

INDEX = build_indexes((), pip_defaults())[0]
PAGE_REQUEST = PageRequest(
    index=INDEX,
    project="six",
    representation=Representation.JSON,
    client_url=INDEX.simple,
    at_proxy_address=False,
    space=PUBLIC,
)
ROUTE = ProjectPage(index=INDEX, project="six", client_url=INDEX.simple, at_proxy_address=False)
NOTES = PageNotes(
    status=200,
    headers=CIMultiDict({"Cache-Control": "max-age=1000000000000"}),
    request_time=0.0,
    response_time=0.0,
    upstream="mirror",
    url="https://mirror.test/simple/six/",
    source_digest="x",
    representation=Representation.JSON,
)
VARIANT = PageVariant(
    source_digest="x", key=StoreKey("view"), kind="json", plain=b"{}", gzipped=b"", etag='"e"', edited=False
)


@pytest.mark.parametrize("gone", [1, 2])
def test_it_is_fetched_until_it_is_there(gone: int, tmp_path: Path) -> None:
    """Twice: the refresh that was under way, begun while the page was there, found it unchanged and brought no body.

    Who had joined that one was answered 503.
    """
    looks: list[StoredPage] = []

    async def variant(_page_request: PageRequest, page: StoredPage, _kind: str) -> PageVariant:
        looks.append(page)
        if len(looks) <= gone:
            raise PageGoneError(page.key)
        return VARIANT

    async def fetch(_page_request: PageRequest, _stored: StoredPage | None) -> StoredPage:
        return StoredPage(key=PAGE_REQUEST.key, notes=NOTES, body=None if len(looks) < gone else b"body")

    async def notes(_key: str) -> dict[str, Any]:
        return NOTES.to_json()

    async def answered() -> int:
        watch = SimpleNamespace(memory=lambda limit: WatchedMemory(limit, lambda: False, lambda _: None))
        part: Any = SimpleNamespace(
            active=False, variant=variant, fetch=fetch, keep=None, notes=notes, usable=True, watch=watch
        )
        tasks = Tasks()
        shared = Collaborators(
            store=part,
            client=part,
            metrics=Metrics(),
            tasks=tasks,
            policy=Policy(),
            settings=make_settings({"pypi_cache_dir": str(tmp_path)}),
        )
        pages = Pages(shared, part, part, part, part)
        request = Request(
            method="GET",
            url=PAGE_REQUEST.client_url,
            headers=CIMultiDictProxy(CIMultiDict({"Accept": Representation.JSON.content_type})),
        )
        response = await pages.answer(request, ROUTE)
        await tasks.close()
        return response.status

    assert asyncio.run(answered()) == 200
    assert len(looks) == gone + 1
    assert looks[-1].body == b"body"
