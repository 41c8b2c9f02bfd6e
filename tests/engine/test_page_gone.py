"""A page that goes away (evicted, purged by another process) between two looks at it is fetched anew: nobody is told to come again."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.defaults import pip_defaults
from pkgcache.engine.messages import Request
from pkgcache.engine.pages import Pages
from pkgcache.engine.tasks import Tasks
from pkgcache.engine.views import Kept, PageAsk, PageGoneError, View
from pkgcache.rules.cachestatus import CacheStatus
from pkgcache.rules.freshness import Policy
from pkgcache.rules.indexes import build_indexes
from pkgcache.rules.media import Representation
from pkgcache.rules.routes import PUBLIC

INDEX = build_indexes((), pip_defaults())[0]
ASK = PageAsk(
    index=INDEX, project="six", representation=Representation.JSON, seen=INDEX.simple, own=False, space=PUBLIC
)
NOTES = {"status": 200, "headers": [], "kind": "json", "upstream": "u", "request_time": 0.0, "response_time": 0.0}
VIEW = View(of="x", kind="json", plain=b"{}", gzipped=b"", etag='"e"', edited=False)


@pytest.mark.parametrize("gone", [1, 2])
def test_it_is_fetched_until_it_is_there(gone: int) -> None:
    """Twice: the refresh that was under way, begun while the page was there, found it unchanged and brought no body.

    Who had joined that one was answered 503.
    """
    looks: list[Kept] = []

    async def view(_ask: PageAsk, kept: Kept, _kind: str) -> View:
        looks.append(kept)
        if len(looks) <= gone:
            raise PageGoneError(kept.key)
        return VIEW

    async def fetch(_ask: PageAsk, _kept: Kept | None) -> Kept:
        return Kept(key=ASK.key, notes=NOTES, body=None if len(looks) < gone else b"body")

    async def story() -> int:
        nothing: Any = SimpleNamespace(active=False, view=view, fetch=fetch, hit=print, miss=print)
        policy = Policy(override=None, stale_while_revalidate=60, stale_if_error=60, offline=False)
        tasks = Tasks()
        pages = Pages(
            policy, 60, nothing, nothing, nothing, nothing, nothing, nothing, tasks, needs_times=False, sources=nothing
        )
        request = Request(method="GET", url=ASK.seen, headers=CIMultiDictProxy(CIMultiDict()))
        kept = Kept(key=ASK.key, notes=NOTES)
        reply = await pages._served(request, ASK, Representation.JSON, kept, CacheStatus(hit=True))
        await tasks.close()
        return reply.status

    assert asyncio.run(story()) == 200
    assert len(looks) == gone + 1
    assert looks[-1].body == b"body"
