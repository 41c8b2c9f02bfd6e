"""Files that are left off a page for now: too young, or offline and not stored. The stored page stays whole."""

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from pkgcache.engine.advisories.feed import AdvisoryFeed
from pkgcache.engine.pages import filtering
from pkgcache.engine.pages.filtering import VariantFilter
from pkgcache.engine.store.keys import file_key
from pkgcache.rules.policy.admission import Admission
from pkgcache.rules.policy.advisories import Advisories, write_index
from pkgcache.rules.policy.osv import Affected
from pkgcache.rules.routing.routes import PUBLIC
from tests.engine.pages.mirrors import FIRST, Mirrors, Said, parts
from tests.support.index import JSON_TYPE, project_json
from tests.support.wheels import make_wheel

DAY = 86400.0
OLD = make_wheel("six", "1.0")
YOUNG = make_wheel("six", "2.0", upload_time=datetime.fromtimestamp(time.time() - DAY, UTC).isoformat())
UNKNOWN = make_wheel("six", "3.0", upload_time="")
NAMES = {release.filename for release in (OLD, YOUNG, UNKNOWN)}
PAGE = project_json("six", [OLD, YOUNG, UNKNOWN], f"{FIRST}/simple/six/")
MIRROR = Said(body=PAGE, headers={"Content-Type": JSON_TYPE})


@pytest.mark.parametrize(
    ("cooldown", "offline", "stored", "left"),
    [
        (0.0, False, False, NAMES),
        (7 * DAY, False, False, {OLD.filename}),  # an unknown age counts as young
        (0.5 * DAY, False, False, {OLD.filename, YOUNG.filename}),
        (0.0, True, False, set()),
        (0.0, True, True, {YOUNG.filename}),
        (7 * DAY, True, True, set()),
    ],
)
async def test_what_is_left(cooldown: float, offline: bool, stored: bool, left: set[str], tmp_path: Path) -> None:
    async with parts(tmp_path, Mirrors(first=MIRROR)) as at:
        page = await at.fetcher.fetch(at.page_request(), None)
        if stored:
            key = file_key(PUBLIC, f"sha256:{YOUNG.sha256}", YOUNG.filename)
            await at.store.put(key, b"x", {"name": YOUNG.filename})
        variant = await at.variants.variant(at.page_request(), page, "json")
        each = VariantFilter(at.variants, at.known_files, at.store, Admission(cooldown=cooldown), offline=offline)
        assert each.active == bool(cooldown or offline)
        result = await each.apply(at.page_request(), page, variant)
        assert {file["filename"] for file in json.loads(result.plain)["files"]} == left
        assert gzip.decompress(result.gzipped) == result.plain
        assert result.filtered == (left != NAMES)
        assert (result.etag == variant.etag) == (left == NAMES)
        assert (await at.variants.variant(at.page_request(), page, "json")).plain == variant.plain


@pytest.mark.parametrize(("seconds", "left"), [(5.0, 0), (-1.0, 1)], ids=["still used", "made anew"])
async def test_a_filtered_variant_is_used_for_seconds_only(
    seconds: float, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filtering, "FILTERED_SECONDS", seconds)
    async with parts(tmp_path, Mirrors(first=MIRROR)) as at:
        page = await at.fetcher.fetch(at.page_request(), None)
        variant = await at.variants.variant(at.page_request(), page, "json")
        each = VariantFilter(at.variants, at.known_files, at.store, Admission(), offline=True)
        await each.apply(at.page_request(), page, variant)
        await at.store.put(file_key(PUBLIC, f"sha256:{OLD.sha256}", OLD.filename), b"x", {})
        result = await each.apply(at.page_request(), page, variant)
        assert len(json.loads(result.plain)["files"]) == left


@pytest.mark.parametrize("leaving", [0, 1, 7])
async def test_many_clients_have_it_filtered_once(
    leaving: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them had the files of a large page looked at, and the page edited. The first of them, which begins it, may leave."""
    monkeypatch.setattr(filtering, "FILTERED_BYTES", 0)
    async with parts(tmp_path, Mirrors(first=MIRROR)) as at:
        page = await at.fetcher.fetch(at.page_request(), None)
        variant = await at.variants.variant(at.page_request(), page, "json")
        each = VariantFilter(at.variants, at.known_files, at.store, Admission(cooldown=7 * DAY), offline=False)
        changed, times = at.variants.changed, list[float]()

        async def counted(*args: Any) -> bytes:
            times.append(time.time())
            await asyncio.sleep(0.02)
            return await changed(*args)

        monkeypatch.setattr(at.variants, "changed", counted)
        clients = [asyncio.create_task(each.apply(at.page_request(), page, variant)) for _ in range(8)]
        await asyncio.sleep(0.01)
        for client in clients[:leaving]:
            client.cancel()
        found = await asyncio.gather(*clients, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in found[:leaving])
        assert all(one is found[-1] for one in found[leaving:])
        assert len(times) == 1
        await each.apply(at.page_request(), page, variant)
        assert len(times) == 2, "memory has no room for it"


class Feed:
    """Advisories that change when a test says so."""

    is_on = True

    def __init__(self) -> None:
        self.current: Advisories | None = None
        self.changed: Callable[[], None] = lambda: None

    def about(self, _project: str, _index: str) -> Advisories | None:
        return self.current


async def test_nobody_joins_what_is_filtered_by_other_advisories(tmp_path: Path) -> None:
    feed = Feed()
    found = [Affected(project="six", id="MAL-1", malicious=True, versions=frozenset({"2"}))]
    async with parts(tmp_path, Mirrors(first=MIRROR)) as at:
        page = await at.fetcher.fetch(at.page_request(), None)
        variant = await at.variants.variant(at.page_request(), page, "json")
        each = VariantFilter(
            at.variants, at.known_files, at.store, Admission(), offline=False, advisories=cast(AdvisoryFeed, feed)
        )
        clients = []
        for index in ({}, {"six": found}):
            feed.current = Advisories(b"".join(write_index(index.get("six", []), {})), "malicious", yank=True)
            feed.changed()
            clients.append(asyncio.create_task(each.apply(at.page_request(), page, variant)))
            await asyncio.sleep(0)
        before, after = [json.loads((await client).plain)["files"] for client in clients]
        assert len(before) == len(NAMES)
        assert {file["filename"] for file in after} == NAMES - {YOUNG.filename}


async def test_what_was_filtered_by_other_advisories_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and not when the seconds of a filtered variant are over."""
    monkeypatch.setattr(filtering, "FILTERED_SECONDS", 3600.0)
    feed = Feed()
    found = [
        Affected(project="six", id="MAL-1", malicious=True, versions=frozenset({"2"})),
        Affected(project="six", id="GHSA-1", malicious=False, versions=frozenset({"1"})),
    ]
    async with parts(tmp_path, Mirrors(first=MIRROR)) as at:
        page = await at.fetcher.fetch(at.page_request(), None)
        variant = await at.variants.variant(at.page_request(), page, "json")
        each = VariantFilter(
            at.variants, at.known_files, at.store, Admission(), offline=False, advisories=cast(AdvisoryFeed, feed)
        )
        for current in (None, Advisories(b"".join(write_index(found, {})), "malicious", yank=True), None):
            feed.current = current
            feed.changed()
            files = json.loads((await each.apply(at.page_request(), page, variant)).plain)["files"]
            left = {file["filename"]: file["yanked"] for file in files if file.get("yanked")}
            assert {file["filename"] for file in files} == (NAMES - {YOUNG.filename} if current else NAMES)
            assert left == ({OLD.filename: "GHSA-1"} if current else {})
