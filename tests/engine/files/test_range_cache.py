"""Cached ranges: which requests they answer, for how long, and what of a file is kept."""

import asyncio
import time
from typing import Final

import pytest
from multidict import CIMultiDict

from pkgcache.engine.files import range_cache
from pkgcache.engine.files.identity import FileIdentity
from pkgcache.engine.files.range_cache import RangeCache
from pkgcache.engine.store.keys import range_key
from pkgcache.rules.http.freshness import Policy
from pkgcache.rules.http.ranges import Span
from tests.engine.files.fakes import CONTENT, Bench, asked, wheel

FILE: Final = wheel()
KEY: Final = range_key(FILE.key)
LIFETIME: Final = 100
POLICY: Final = Policy(override=LIFETIME, stale_if_error=1000)


async def cached(
    bench: Bench, *spans: tuple[int, int], file: FileIdentity = FILE, policy: Policy = POLICY
) -> RangeCache:
    """A cache with these spans of a file, kept one after the other."""
    ranges = RangeCache(bench.shared(policy))
    for start, stop in spans:
        ranges.keep(
            file, CIMultiDict({"Content-Type": "application/zip"}), Span(start, stop), len(CONTENT), CONTENT[start:stop]
        )
        await bench.tasks.close()
    return ranges


@pytest.mark.parametrize(
    ("sent", "content_range"),
    [
        pytest.param({"Range": "bytes=1000-1999"}, "bytes 1000-1999/2048", id="the very range"),
        pytest.param({"Range": "bytes=1500-1509"}, "bytes 1500-1509/2048", id="a part of it"),
        pytest.param({"Range": "bytes=-48"}, "bytes 2000-2047/2048", id="the end, in another way"),
        pytest.param({"Range": "bytes=2040-"}, "bytes 2040-2047/2048", id="the rest"),
        pytest.param({"Range": "bytes=0-9"}, "bytes 0-9/2048", id="of the other cached range"),
        pytest.param({"Range": "bytes=999-1000"}, None, id="a byte before it"),
        pytest.param({"Range": "bytes=0-2047"}, None, id="of two ranges with a gap"),
        pytest.param({"Range": "bytes=1000-1001,1003-1004"}, None, id="several ranges"),
        pytest.param({"Range": "bytes=9999-"}, None, id="past the end: the upstream says so"),
        pytest.param({"Range": "bytes=1000-1999", "If-Range": '"tag"'}, None, id="a client that resumes"),
        pytest.param({}, None, id="the whole file"),
    ],
)
def test_what_it_answers(sent: dict[str, str], content_range: str | None) -> None:
    async def story() -> None:
        ranges = await cached(Bench(), (0, 10), (1000, 2048))
        hit = await ranges.answer(asked(**{name.replace("-", "_"): value for name, value in sent.items()}), FILE)
        if content_range is None:
            assert hit is None
            return
        assert hit is not None
        assert hit.fresh
        response = ranges.served(hit)
        start, stop = (int(each) for each in content_range.removeprefix("bytes ").partition("/")[0].split("-"))
        assert (response.status, response.headers["Content-Range"]) == (206, content_range)
        assert response.body == CONTENT[start : stop + 1]
        assert response.headers["Content-Length"] == str(len(response.body))
        assert response.headers["Content-Type"] == "application/zip"

    asyncio.run(story())


def test_head() -> None:
    """The length of the whole file is known from any of its ranges."""

    async def story() -> None:
        ranges = await cached(Bench(), (0, 10))
        hit = await ranges.answer(asked("HEAD"), FILE)
        assert hit is not None
        assert (hit.response.status, hit.response.body) == (200, b"")
        assert hit.response.headers["Content-Length"] == "2048"

    asyncio.run(story())


def test_a_tag_is_never_given_twice() -> None:
    """These bytes are not verified: no client may put them together with others (If-Range)."""

    async def story() -> None:
        ranges = await cached(Bench(), (0, 10))
        tags = set()
        for _ in range(3):
            hit = await ranges.answer(asked(Range="bytes=0-9"), FILE)
            assert hit is not None
            tags.add(hit.response.headers["ETag"])
        assert len(tags) == 3

    asyncio.run(story())


@pytest.mark.parametrize(
    ("age", "policy", "fresh", "detail"),
    [
        (0, POLICY, True, ""),
        (LIFETIME - 2, POLICY, True, ""),
        (LIFETIME + 2, POLICY, False, "stale-if-error"),
        (LIFETIME + 1002, POLICY, None, ""),
        (LIFETIME + 2, Policy(override=LIFETIME, offline=True), True, "offline"),
        (10_000_000, Policy(override=LIFETIME, offline=True), True, "offline"),
        (599, Policy(), True, ""),  # the lifetime of a page that gives none of its own
        (602, Policy(), False, "stale-if-error"),
    ],
)
def test_age(age: int, policy: Policy, fresh: bool | None, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        ranges = await cached(Bench(), (0, 10), policy=policy)
        now = time.time()
        monkeypatch.setattr(range_cache.time, "time", lambda: now + age)
        hit = await ranges.answer(asked(Range="bytes=0-9"), FILE)
        if fresh is None:
            assert hit is None
            return
        assert hit is not None
        assert (hit.fresh, hit.response.cache.detail) == (fresh, detail)
        assert abs(int(hit.response.headers["Age"]) - age) <= 1
        assert (hit.response.headers.get("Cache-Control") == "no-store") is bool(detail)

    asyncio.run(story())


def test_what_is_kept_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest, up to a limit; a range inside the new one goes."""
    monkeypatch.setattr(range_cache, "FILE_BYTES", 500)

    async def story() -> None:
        bench = Bench()
        await cached(bench, (0, 100), (10, 20), (200, 400), (0, 150), (1000, 1300))
        notes, value = bench.store.entries[KEY]
        assert [tuple(part[:2]) for part in notes["parts"]] == [(1000, 1300), (0, 150)]
        assert value == CONTENT[1000:1300] + CONTENT[:150]

    asyncio.run(story())


@pytest.mark.parametrize("damage", ["a flipped bit", "notes of another shape", "fewer bytes"])
def test_a_damaged_entry_heals(damage: str) -> None:
    async def story() -> None:
        bench = Bench()
        ranges = await cached(bench, (0, 10))
        notes, value = bench.store.entries[KEY]
        if damage == "a flipped bit":
            value = bytes([value[0] ^ 1]) + value[1:]
        elif damage == "fewer bytes":
            value = value[:-1]
        else:
            notes = {**notes, "parts": "all"}
        bench.store.entries[KEY] = notes, value
        assert await ranges.answer(asked(Range="bytes=0-9"), FILE) is None
        assert KEY in bench.store.dropped
        assert not bench.store.entries

    asyncio.run(story())


def test_a_file_without_a_digest_has_none() -> None:
    """Its URL may give another file tomorrow."""

    async def story() -> None:
        bench = Bench()
        file = wheel(digest=False)
        ranges = await cached(bench, (0, 10), file=file)
        assert await ranges.answer(asked(Range="bytes=0-9"), file) is None

    asyncio.run(story())
