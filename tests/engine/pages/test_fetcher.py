"""Which upstream a page comes from, what is stored of it, and what is an answer for this request only."""

import asyncio
import contextlib
import gc
import gzip
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from pkgcache.engine.pages.decoding import PIECE
from pkgcache.engine.pages.stored_page import PageRequest, StoredPage, find_page, read_page
from pkgcache.engine.pages.worker import LARGE
from pkgcache.engine.store.notes import PageNotes
from pkgcache.engine.upstream.errors import AllFailedError, Failure
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.limits import HEAVY_PAGE, MOST_LARGE
from pkgcache.rules.simple.representations import Representation
from tests.engine.pages.mirrors import FIRST, SECOND, Mirrors, Parts, Said, parts
from tests.support.index import JSON_TYPE, PLAIN_HTML_TYPE, project_html, project_json
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel

SIX = make_wheel("six")
PAGE = project_json("six", [SIX], f"{FIRST}/simple/six/")
HTML = project_html("six", [SIX], f"{FIRST}/simple/six/")
JSON_PAGE = Said(body=PAGE, headers={"Content-Type": JSON_TYPE, "ETag": '"1"'})
HTML_PAGE = Said(body=HTML, headers={"Content-Type": PLAIN_HTML_TYPE})
PORTAL = Said(body=b"<h1>Log in</h1>", headers={"Content-Type": "text/html"})
ABSENT, BROKEN, REFUSED = Said(status=404), Said(status=500), Said(status=406)


async def fetched(at: Parts, kind: str = "json", stored: StoredPage | None = None) -> StoredPage:
    return await at.fetcher.fetch(at.page_request(kind=kind), stored)


@pytest.mark.parametrize(
    ("mirrors", "status", "asked", "kept"),
    [
        (Mirrors(first=JSON_PAGE, second=JSON_PAGE), 200, [FIRST], True),
        (Mirrors(second=JSON_PAGE), 200, [FIRST, SECOND], True),
        (Mirrors(first=BROKEN, second=JSON_PAGE), 200, [FIRST, SECOND], True),
        (Mirrors(first=ABSENT, second=JSON_PAGE), 200, [FIRST, SECOND], True),
        (Mirrors(first=PORTAL, second=JSON_PAGE), 200, [FIRST, SECOND], True),
        (Mirrors(first=ABSENT, second=ABSENT), 404, [FIRST, SECOND], True),
        (Mirrors(first=ABSENT, second=Said(status=410)), 404, [FIRST, SECOND], True),
        (Mirrors(first=ABSENT), 404, [FIRST, SECOND], False),  # the other one may have it
        (Mirrors(first=BROKEN, second=ABSENT), 404, [FIRST, SECOND], False),
        (Mirrors(), None, [FIRST, SECOND], False),
        (Mirrors(first=BROKEN, second=PORTAL), None, [FIRST, SECOND], False),
    ],
)  # fmt: skip
async def test_each_upstream_in_turn(
    mirrors: Mirrors, status: int | None, asked: list[str], kept: bool, tmp_path: Path
) -> None:
    async with parts(tmp_path, mirrors) as at:
        if status is None:
            with pytest.raises(AllFailedError) as raised:
                await fetched(at)
            assert len(raised.value.errors) == len(asked)
        else:
            assert (await fetched(at)).notes.status == status
        assert at.mirrors.origins == asked
        assert (await find_page(at.store, at.page_request().key) is not None) == kept

    mirrors.asked.clear()


@pytest.mark.parametrize("second", [JSON_PAGE, ABSENT, PORTAL, None])
async def test_a_page_that_was_refused_is_let_go(second: Said | None, tmp_path: Path) -> None:
    """The errors of 45 broken pages kept 135 MB until the collector's next full round."""
    mirrors = Mirrors(first=Said(body=b"<h1>Log in, please</h1>", headers={"Content-Type": "text/html"}))
    if second is not None:
        mirrors.says[SECOND] = second
    body = mirrors.says[FIRST].body
    async with parts(tmp_path, mirrors) as at:
        gc.disable()
        try:
            before = sys.getrefcount(body)
            with contextlib.suppress(AllFailedError):
                await fetched(at)
            await asyncio.to_thread(
                eventually, lambda: sys.getrefcount(body) <= before
            )  # a thread lets go a moment later
        finally:
            gc.enable()


async def test_one_whose_breaker_is_open_comes_last(tmp_path: Path) -> None:
    mirrors = Mirrors(first=JSON_PAGE, second=JSON_PAGE)
    mirrors.open = {FIRST}
    async with parts(tmp_path, mirrors) as at:
        await fetched(at)
        assert mirrors.origins == [SECOND]


@pytest.mark.parametrize(
    ("mirrors", "busy", "status"),
    [
        (Mirrors(second=JSON_PAGE), {FIRST}, 200),
        (Mirrors(second=ABSENT), {FIRST}, None),  # the one that was not asked may have it
        (Mirrors(first=ABSENT), {SECOND}, None),
        (Mirrors(), {FIRST, SECOND}, None),
    ],
)
async def test_one_without_a_free_connection(
    mirrors: Mirrors, busy: set[str], status: int | None, tmp_path: Path
) -> None:
    """It is not asked, so its silence never becomes a 404."""
    mirrors.busy = busy
    async with parts(tmp_path, mirrors) as at:
        if status is not None:
            assert (await fetched(at)).notes.status == status
            return
        with pytest.raises(AllFailedError) as raised:
            await fetched(at)
        assert Failure.BUSY in raised.value.failures


@pytest.mark.parametrize("cache_control", ["no-store", "private"])
async def test_what_must_not_be_stored(cache_control: str, tmp_path: Path) -> None:
    """RFC 9111 §5.2.2.5, §5.2.2.7."""
    said = Said(body=PAGE, headers={"Content-Type": JSON_TYPE, "Cache-Control": cache_control})
    async with parts(tmp_path, Mirrors(first=said)) as at:
        page = await fetched(at)
        assert page.notes.transient
        assert await find_page(at.store, page.key) is None
        assert (await at.variants.variant(at.page_request(), page, "json")).plain


async def test_an_unchanged_page_is_freshened_and_keeps_its_body(tmp_path: Path) -> None:
    mirrors = Mirrors(first=JSON_PAGE)
    async with parts(tmp_path, mirrors) as at:
        first = await fetched(at)
        mirrors.says[FIRST] = Said(status=304, headers={"ETag": '"1"', "X-New": "yes"})
        again = await fetched(at, stored=first)
        assert mirrors.asked[-1][1]["If-None-Match"] == '"1"'
        assert (again.body, again.notes.source_digest) == (None, first.notes.source_digest)
        stored = await read_page(at.store, first.key)
        assert stored is not None
        assert (stored.body, stored.notes.headers["X-New"]) == (first.body, "yes")


async def test_another_upstream_is_not_asked_with_foreign_validators(tmp_path: Path) -> None:
    mirrors = Mirrors(first=JSON_PAGE)
    async with parts(tmp_path, mirrors) as at:
        first = await fetched(at)
        mirrors.says = {SECOND: JSON_PAGE}
        await fetched(at, stored=first)
        conditional = ["If-None-Match" in headers for _, headers, _ in mirrors.asked]
        assert conditional == [False, True, False]


async def test_html_of_an_upstream_that_has_json_alone(tmp_path: Path) -> None:
    """It answers 406, and is asked once more, for its JSON; a client that wants HTML then gets that converted."""
    mirrors = Mirrors(first=REFUSED, second=HTML_PAGE)
    async with parts(tmp_path, mirrors) as at:
        await fetched(at, "html")
        accepts = [headers["Accept"].partition(",")[0] for _, headers, _ in mirrors.asked]
        assert accepts == ["text/html", JSON_TYPE, "text/html"]


async def test_a_clients_credentials_go_to_its_own_index_alone(tmp_path: Path) -> None:
    mirrors = Mirrors(first=JSON_PAGE, second=JSON_PAGE)
    async with parts(tmp_path, mirrors) as at:
        with pytest.raises(AllFailedError):
            await at.fetcher.fetch(at.page_request(space="s", authorization="Basic eA=="), None)
        assert [(url, authorization) for url, _, authorization in mirrors.asked] == [
            ("https://index.test/simple/six/", "Basic eA==")
        ]


@pytest.mark.parametrize(
    ("encoding", "body", "good"),
    [
        ("identity", PAGE, True),
        ("gzip", gzip.compress(PAGE), True),
        ("x-gzip", gzip.compress(PAGE), True),
        ("deflate", zlib.compress(PAGE), True),
        ("gzip", gzip.compress(PAGE)[:-9], False),  # cut short
        ("gzip", PAGE, False),  # not compressed at all
        ("br", PAGE, False),  # not asked for
    ],
)
async def test_content_codings(encoding: str, body: bytes, good: bool, tmp_path: Path) -> None:
    said = Said(body=body, headers={"Content-Type": JSON_TYPE, "Content-Encoding": encoding})
    async with parts(tmp_path, Mirrors(first=said)) as at:
        if not good:
            with pytest.raises(AllFailedError):
                await fetched(at)
            return
        page = await fetched(at)
        async with at.variants.plain(page) as plain:
            assert plain == PAGE
        if encoding.endswith("gzip"):
            assert page.body == body, "it is stored as it came, not compressed anew"


async def test_what_is_noted(tmp_path: Path) -> None:
    body = HTML.replace(b"<head>", b'<head><BASE href="/">')
    said = Said(body=body, headers={"Content-Type": PLAIN_HTML_TYPE, "Set-Cookie": "a=b"})
    async with parts(tmp_path, Mirrors(first=said)) as at:
        notes = (await fetched(at, "html")).notes
        assert notes.representation is Representation.HTML
        assert notes.has_base_href
        assert "Set-Cookie" not in notes.headers
        assert parse_url(notes.url).origin == FIRST


@pytest.mark.parametrize(
    ("size", "most"),
    [
        pytest.param(LARGE, MOST_LARGE, id="just large"),
        pytest.param(HEAVY_PAGE - len(PAGE), MOST_LARGE, id="just not heavy"),
        pytest.param(HEAVY_PAGE, 1, id="just heavy"),
    ],
)
@pytest.mark.parametrize("coding", ["gzip", "deflate", ""])
async def test_how_many_large_pages_are_there_at_a_time(
    size: int, most: int, coding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them took 360 MB in both processes. Small ones do not wait for them, and all are served in the end."""
    body = PAGE + b" " * size
    coded = {"gzip": gzip.compress, "deflate": zlib.compress, "": bytes}[coding](body)
    large = Said(body=coded, headers={"Content-Type": JSON_TYPE, "Content-Encoding": coding})
    mirrors = Mirrors(first=large)
    async with parts(tmp_path, mirrors) as at:
        keep, go_on, kept = at.fetcher.keep, asyncio.Event(), []

        async def slow_keep(page_request: PageRequest, notes: PageNotes, plain: bytes, *rest: Any) -> StoredPage:
            kept.append(page_request.project)
            if page_request.project.startswith("large"):
                await go_on.wait()
                plain = PAGE  # what is made of a page, its parser has tests of
            return await keep(page_request, notes, plain, *rest)

        monkeypatch.setattr(at.fetcher, "keep", slow_keep)
        waiting = [asyncio.create_task(at.fetcher.fetch(at.page_request(f"large-{n}"), None)) for n in range(4)]
        while len(kept) < most:
            await asyncio.sleep(0)
        mirrors.says[FIRST] = JSON_PAGE
        assert (await at.fetcher.fetch(at.page_request("small"), None)).found
        assert len(kept) == most + 1
        go_on.set()
        assert all(page.found for page in await asyncio.gather(*waiting))


@pytest.mark.parametrize("base", [b"<base href='/'>", b"<bAsE href='/'>", b"< base href='/'>", b""])
@pytest.mark.parametrize("before", [0, PIECE - 3, PIECE, 3 * PIECE - 1])
async def test_a_base_anywhere(before: int, base: bytes, tmp_path: Path) -> None:
    body = HTML.replace(b"<head>", b"<head>" + b" " * (before - HTML.index(b"<head>") - 6) + base)
    async with parts(tmp_path, Mirrors(first=Said(body=body, headers={"Content-Type": PLAIN_HTML_TYPE}))) as at:
        assert (await fetched(at, "html")).notes.has_base_href == base.lower().startswith(b"<base")
