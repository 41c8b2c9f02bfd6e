"""A page that goes away (evicted, purged by another process) between two looks at it is fetched anew: nobody is told to come again."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.pages.project_pages import Pages
from pkgcache.engine.pages.stored_page import PageGoneError, PageRequest, StoredPage
from pkgcache.engine.pages.variants import PageVariant
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.engine.responses.messages import Request
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.freshness import Policy
from pkgcache.rules.routing.indexes import build_indexes
from pkgcache.rules.routing.routes import PUBLIC
from pkgcache.rules.simple.representations import Representation

INDEX = build_indexes((), pip_defaults())[0]
ASK = PageRequest(
    index=INDEX,
    project="six",
    representation=Representation.JSON,
    client_url=INDEX.simple,
    at_proxy_address=False,
    space=PUBLIC,
)
NOTES = {"status": 200, "headers": [], "kind": "json", "upstream": "u", "request_time": 0.0, "response_time": 0.0}
VIEW = PageVariant(source_digest="x", kind="json", plain=b"{}", gzipped=b"", etag='"e"', edited=False)


@pytest.mark.parametrize("gone", [1, 2])
def test_it_is_fetched_until_it_is_there(gone: int) -> None:
    """Twice: the refresh that was under way, begun while the page was there, found it unchanged and brought no body.

    Who had joined that one was answered 503.
    """
    looks: list[StoredPage] = []

    async def view(_ask: PageRequest, kept: StoredPage, _kind: str) -> PageVariant:
        looks.append(kept)
        if len(looks) <= gone:
            raise PageGoneError(kept.key)
        return VIEW

    async def fetch(_ask: PageRequest, _kept: StoredPage | None) -> StoredPage:
        return StoredPage(key=ASK.key, notes=NOTES, body=None if len(looks) < gone else b"body")

    async def story() -> int:
        nothing: Any = SimpleNamespace(active=False, view=view, fetch=fetch, hit=print, miss=print)
        policy = Policy(override=None, stale_while_revalidate=60, stale_if_error=60, offline=False)
        tasks = Tasks()
        pages = Pages(
            policy, 60, nothing, nothing, nothing, nothing, nothing, nothing, tasks, needs_times=False, sources=nothing
        )
        request = Request(method="GET", url=ASK.client_url, headers=CIMultiDictProxy(CIMultiDict()))
        kept = StoredPage(key=ASK.key, notes=NOTES)
        reply = await pages._served(request, ASK, Representation.JSON, kept, CacheStatus(hit=True))
        await tasks.close()
        return reply.status

    assert asyncio.run(story()) == 200
    assert len(looks) == gone + 1
    assert looks[-1].body == b"body"
