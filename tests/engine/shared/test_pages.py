"""Index pages in the tier: whole, the right one, of an upstream that the index has, and by their own age."""

import asyncio
import time
from typing import Any, Final

import pytest

from pkgcache.engine.shared.object_names import object_name
from pkgcache.engine.shared.page_objects import pack, unpack
from pkgcache.engine.shared.pages import MOST_AHEAD, SharedPages
from pkgcache.engine.store.keys import page_key
from pkgcache.rules.simple.representations import Representation
from tests.engine.shared.fakes import Scene, settled

KEY: Final = page_key("-", "pypi", "six", Representation.JSON)
OTHER: Final = page_key("-", "pypi", "seven", Representation.JSON)
NAME: Final = str(object_name(KEY))
MIRROR: Final = "https://mirror.example/simple/"
BODY: Final = b"\x1f\x8bnot really gzip\n\x00"


def notes(**other: Any) -> dict[str, Any]:
    """A page that a mirror sent ten seconds ago."""
    now = time.time()
    return {
        "status": 200,
        "headers": [["Cache-Control", "max-age=600"], ["ETag", '"1"']],
        "request_time": now - 11,
        "response_time": now - 10,
        "upstream": MIRROR,
        "url": f"{MIRROR}six/",
        "of": "ab",
        "kind": "json",
        "based": False,
        **other,
    }


def test_what_is_packed_can_be_unpacked() -> None:
    given = notes()
    assert unpack(KEY, pack(KEY, given, BODY)) == (given, BODY)
    assert unpack(KEY, pack(KEY, given, b"")) == (given, b"")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"{}\n", b"null\n", b"[]\n", b"{", BODY, bytes(1000), b"{}" * 200_000, b"\xff\n",
        pack(KEY, notes(), BODY)[:-1], pack(KEY, notes(), BODY) + b"x", pack(KEY, notes(), BODY).replace(b"gzip", b"zipg"),
        pack(OTHER, notes(), BODY), pack(KEY, notes(status=404), BODY), pack(KEY, notes(status="200"), BODY),
        pack(KEY, notes(response_time="now"), BODY), pack(KEY, notes(headers=7), BODY), pack(KEY, notes(kind="xml"), BODY),
        pack(KEY, [], BODY),  # type: ignore[arg-type]
        b"[" * 200_000 + b"\n", b'{"a":' * 40_000 + b"\n", pack(KEY, notes(passing=True), BODY),
        *(pack(KEY, notes(url=url), BODY) for url in ("", "six", "//mirror.example/", "file:///etc/", "https://[::1", "https://a@b/")),
        pack(KEY, notes(), BODY).replace(b'"format":1', b'"format":2'),
    ],
)  # fmt: skip
async def test_what_is_no_such_page(content: bytes) -> None:
    """It is as if the tier had none, and is shown as a wrong object."""
    with pytest.raises(ValueError, match=r"."):
        unpack(KEY, content)
    scene = Scene(wait=5.0)
    scene.bucket.objects[NAME] = content
    assert not await pages_of(scene).bring(KEY, frozenset({MIRROR}), 0.0)
    assert scene.count("reads", "wrong") == 1
    assert "wrong object" in scene.tier.health.problems["shared tier, content"]
    assert scene.store.pages == {}
    await scene.tier.close()


def pages_of(scene: Scene) -> SharedPages:
    """Those of its tier."""
    return scene.tier.pages


@pytest.mark.parametrize(
    ("other", "upstreams", "after", "comes"),
    [
        ({}, {MIRROR}, 0.0, True),
        ({}, {"https://other.example/", MIRROR}, 0.0, True),
        ({}, {"https://other.example/"}, 0.0, False),
        ({}, {MIRROR}, -20.0, True),
        ({}, {MIRROR}, -5.0, False),
        ({"response_time": time.time() + MOST_AHEAD / 2}, {MIRROR}, 0.0, True),
        ({"response_time": time.time() + 100 * MOST_AHEAD}, {MIRROR}, 0.0, False),
    ],
)
async def test_which_page_comes(other: dict[str, Any], upstreams: set[str], after: float, *, comes: bool) -> None:
    """`after`: seconds from now; 0: any. A page of another upstream is of another index, or of one that is no longer trusted."""
    scene = Scene(wait=5.0)
    given = notes(**other)
    scene.bucket.objects[NAME] = pack(KEY, given, BODY)
    moment = time.time() + after if after else 0.0
    assert await pages_of(scene).bring(KEY, frozenset(upstreams), moment) is comes
    assert scene.store.pages == ({KEY: (given, BODY)} if comes else {})
    await settled()
    assert not [each for each in scene.bucket.asked if each.startswith("put")], "it came from there"
    await scene.tier.close()


async def test_many_who_want_the_same_page_ask_once() -> None:
    scene = Scene(wait=5.0)
    scene.bucket.objects[NAME] = pack(KEY, notes(), BODY)
    pages = pages_of(scene)
    assert all(await asyncio.gather(*(pages.bring(KEY, frozenset({MIRROR}), 0.0) for _ in range(40))))
    assert scene.bucket.asked == [f"get {NAME}"]
    for _ in range(3):
        assert not await pages.bring(KEY, frozenset({MIRROR}), time.time())
    assert len(scene.bucket.asked) == 2, "it was looked for just now"
    await scene.tier.close()


async def test_a_page_that_the_store_takes_is_written_and_a_404_is_not() -> None:
    scene = Scene()
    await scene.store.put(KEY, BODY, notes())
    await scene.store.put(OTHER, b"-", notes(status=404))
    while not scene.bucket.objects:
        await asyncio.sleep(0.01)
    newer = notes()
    await scene.store.put(KEY, BODY, newer)
    await scene.tier.close()
    assert scene.bucket.objects.keys() == {NAME}
    assert unpack(KEY, scene.bucket.objects[NAME]) == (newer, BODY)
    assert scene.count("writes", "stored") == 2


async def test_a_tier_that_fails_has_no_page() -> None:
    scene = Scene()
    scene.bucket.fails = "503"
    assert not await pages_of(scene).bring(KEY, frozenset({MIRROR}), 0.0)
    assert list(scene.tier.health.problems) == ["shared tier"]
    await scene.tier.close()


async def test_which_files_of_a_project_are_there() -> None:
    """For the pages of a proxy that is offline."""
    scene = Scene(wait=5.0)
    digest = "sha256=3A" + "ab" * 32
    for name in (f"file/-/six/{digest}/six-1.0.tar.gz", f"file/-/sixty/{digest}/sixty-1.0.tar.gz", "file/-/six/x"):
        scene.bucket.objects[name] = b"x"
    assert await scene.tier.present("-", "six") == {"file|-|sha256:" + "ab" * 32 + "|six-1.0.tar.gz"}
    assert await scene.tier.present("0f" * 16, "six") == frozenset()
    scene.bucket.fails = "403"
    assert await scene.tier.present("-", "six") == frozenset()
    await scene.tier.close()
