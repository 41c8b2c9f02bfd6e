"""Files that are left off a page for now: too young, or offline and not stored. The stored page stays whole."""

import gzip
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pkgcache.engine.pages import filtering
from pkgcache.engine.pages.filtering import VariantFilter
from pkgcache.engine.store.keys import file_key
from pkgcache.rules.policy.admission import Admission
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
