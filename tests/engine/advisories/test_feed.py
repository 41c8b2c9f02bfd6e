"""Advisories kept current: from a path or a URL, the last good ones in force, whatever becomes of the source."""

import contextlib
import io
import json
import os
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pkgcache.engine.advisories import feed as module
from pkgcache.engine.advisories.feed import COMPONENT, UNREADABLE, AdvisoryFeed
from pkgcache.engine.advisories.kept import FILE_NAME
from pkgcache.engine.advisories.source import parse_source
from pkgcache.engine.service import Service
from pkgcache.settings import SettingError, make_settings
from tests.support.behaviour import Behaviour
from tests.support.upstream import Upstream

PATH: Final = "/osv/all.zip"


def packed(*projects: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for project in projects:
            affected = [{"package": {"ecosystem": "PyPI", "name": project}, "versions": ["1.0"]}]
            archive.writestr(f"{project}.json", json.dumps({"id": f"MAL-{project}", "affected": affected}))
    return made.getvalue()


@contextlib.asynccontextmanager
async def feed_of(folder: Path, source: object, **options: Any) -> AsyncIterator[AdvisoryFeed]:
    """The feed of a service that is open, and whose task is not."""
    given = {"dir": str(folder / "store"), "advisories": str(source), **options}
    service = Service(make_settings({f"pypi_cache_{name}": value for name, value in given.items()}))
    service.store.open()
    service.client.open()
    try:
        yield service.advisories
    finally:
        await service.close()


def trouble(feed: AdvisoryFeed) -> str:
    return feed._health.problems.get(COMPONENT, "")


def named(feed: AdvisoryFeed) -> set[str]:
    return {project for project in ("six", "flask", "django") if feed.about(project, "pypi")}


@pytest.fixture
def source() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.serve(PATH, packed("six"))
        yield upstream


async def test_a_url(source: Upstream, tmp_path: Path) -> None:
    """RFC 9110 §13: unchanged it is a 304; changed it is read, and whoever has made pages of the old ones is told."""
    async with feed_of(tmp_path, f"{source.origin}{PATH}") as feed:
        told: list[set[str]] = []
        feed.changed = lambda: told.append(named(feed))
        await feed.begin()
        assert told == [{"six"}]
        await feed.refresh()
        assert [each.status for each in source.seen(path_contains=PATH)] == [200, 304]
        source.serve(PATH, packed("flask"))
        await feed.refresh()
        assert told == [{"six"}, {"flask"}]
        assert not trouble(feed)
        assert feed.figures()["records"] == 1


FAILURES: Final[dict[str, tuple[Behaviour, str]]] = {
    "an error": (Behaviour(PATH, status=500), "500"),
    "not there": (Behaviour(PATH, status=404), "404"),
    "a log-in page": (Behaviour(PATH, captive=True), "no OSV record"),
    "no bytes": (Behaviour(PATH, drop=True), "broke off"),
    "it stalls": (Behaviour(PATH, content=packed("flask"), stall_after=10), "in time"),
    "it breaks off": (Behaviour(PATH, content=packed("flask"), cut_after=40), "broke off"),
    "it is cut short": (Behaviour(PATH, body=packed("flask")[:80]), "no whole zip"),
    "it is too long": (Behaviour(PATH, body=b" " * 3000), "longer than 2000 bytes"),
    "it is compressed": (Behaviour(PATH, content=packed("flask"), gzip=True), "no OSV record"),
    "it redirects to this machine": (Behaviour(PATH, redirect="http://127.0.0.1:1/all.zip"), "127.0.0.1"),
    "it redirects by a name": (Behaviour(PATH, redirect="http://localhost.localdomain:1/all.zip"), "all.zip"),
    "it redirects to another scheme": (Behaviour(PATH, redirect="file:///etc/passwd"), "redirect"),
    "it redirects for ever": (Behaviour(PATH, redirect_loop=True), "redirects"),
    "a 304 that nobody asked for": (Behaviour(PATH, status=304), ""),
}  # fmt: skip


@pytest.mark.parametrize(("behaviour", "why"), FAILURES.values(), ids=FAILURES)
async def test_the_last_good_ones_stay(
    behaviour: Behaviour, why: str, source: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_DOWNLOAD", 2000)
    async with feed_of(tmp_path, f"{source.origin}{PATH}") as feed:
        await feed.begin()
        feed._client._read_seconds = 0.2
        feed._client.breakers.__init__()  # type: ignore[misc]
        source.script(behaviour)
        await feed.refresh()
        assert named(feed) == {"six"}
        assert why in trouble(feed)
        assert not why or "those that were read before stay in force" in trouble(feed)
        source.unscript()
        feed._client._read_seconds = 30.0  # for the answer that is to come: two busy cores took more than 0.2 s
        source.serve(PATH, packed("django"))
        feed._client.breakers.__init__()  # type: ignore[misc]
        await feed.refresh()
        assert named(feed) == {"django"}
        assert not trouble(feed)


async def test_a_redirect_to_the_operators_own_host_is_followed(source: Upstream, tmp_path: Path) -> None:
    source.serve("/osv/today.zip", packed("flask"))
    source.script(Behaviour(PATH, redirect=f"{source.origin}/osv/today.zip"))
    async with feed_of(tmp_path, f"{source.origin}{PATH}") as feed:
        await feed.begin()
        assert named(feed) == {"flask"}


async def test_a_login_goes_along_and_is_not_shown(source: Upstream, tmp_path: Path) -> None:
    source.script(Behaviour(PATH, authorization="Basic dXNlcjpzZXNhbWU="))
    url = f"{source.origin}{PATH}"
    async with feed_of(tmp_path, url.replace("//", "//user:sesame@")) as feed:
        await feed.begin()
        assert named(feed) == {"six"}
    async with feed_of(tmp_path / "other", url.replace("//", "//user:wrong@")) as feed:
        await feed.begin()
        assert "401" in trouble(feed)
        assert "wrong" not in trouble(feed)
        assert "none are in force" in trouble(feed)
    assert b"sesame" not in (tmp_path / "store" / FILE_NAME).read_bytes()


async def test_the_next_run_has_what_was_kept(source: Upstream, tmp_path: Path) -> None:
    """With its validators, and without the source; offline nobody is asked."""
    url = f"{source.origin}{PATH}"
    async with feed_of(tmp_path, url) as feed:
        await feed.begin()
    source.clear()
    for offline in (False, True):
        async with feed_of(tmp_path, url, offline=offline) as feed:
            await feed.begin()
            assert named(feed) == {"six"}
            assert source.count() == 0
            await feed.refresh()
            assert not trouble(feed)
            assert [each.status for each in source.seen()] == ([] if offline else [304])
        source.clear()
    async with feed_of(tmp_path, f"{source.origin}/other.zip") as feed:  # they are another source's
        await feed.begin()
        assert named(feed) == set()
    async with feed_of(tmp_path / "empty", url, offline=True) as feed:
        await feed.begin()
        assert "offline" in trouble(feed)


OF_WRONG_TYPES: Final = b'{"format":1,"source":"SOURCE","checked":"x","signature":7,"validators":[],"records":"9"}\n'
KEPT: Final = [
    b"",
    b"x",
    b"{}\n",
    b"[" * 100_000,
    b'{"format":1}\n',
    b'{"format":1,"source":"elsewhere"}\n',
    b"\xff" * 99,
]


@pytest.mark.parametrize("content", KEPT)
async def test_a_kept_file_that_somebody_else_has_written(content: bytes, source: Upstream, tmp_path: Path) -> None:
    """It is as if there was none."""
    (tmp_path / "store").mkdir(mode=0o700)
    (tmp_path / "store" / FILE_NAME).write_bytes(content.replace(b"SOURCE", f"{source.origin}{PATH}".encode()))
    async with feed_of(tmp_path, f"{source.origin}{PATH}") as feed:
        await feed.begin()
        assert named(feed) == {"six"}


async def test_what_is_no_file_of_ours_is_not_read(source: Upstream, tmp_path: Path) -> None:
    """A link may lead anywhere, and a FIFO would block."""
    store = tmp_path / "store"
    store.mkdir(mode=0o700)
    for make in (lambda path: path.symlink_to("/etc/hostname"), os.mkfifo, lambda path: path.mkdir()):
        make(store / FILE_NAME)
        async with feed_of(tmp_path, f"{source.origin}{PATH}") as feed:
            await feed.begin()
            assert named(feed) == {"six"}
        if (store / FILE_NAME).is_dir():
            (store / FILE_NAME).rmdir()
        else:
            (store / FILE_NAME).unlink()


async def test_a_path(tmp_path: Path) -> None:
    """Read when it changes; what goes missing stays in force."""
    path = tmp_path / "osv"
    path.mkdir()
    (path / "1.zip").write_bytes(packed("six"))
    async with feed_of(tmp_path, path) as feed:
        told: list[set[str]] = []
        feed.changed = lambda: told.append(named(feed))
        await feed.begin()
        await feed.refresh()
        assert told == [{"six"}]
        (path / "2.zip").write_bytes(packed("flask"))
        await feed.refresh()
        assert told[1:] == [{"six", "flask"}]
        (path / "1.zip").write_bytes(b"PK")
        await feed.refresh()
        assert named(feed) == {"six", "flask"}
        assert str(path) in trouble(feed)
        (path / "1.zip").unlink()
        await feed.refresh()
        assert named(feed) == {"flask"}
        assert not trouble(feed)


async def test_files_that_cannot_be_read_are_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What they say of is let through. They are named once, until they can be read; the others are in force."""
    path = tmp_path / "osv"
    path.mkdir()
    for name in ("six", "flask"):
        (path / f"{name}.zip").write_bytes(packed(name))
    (path / "django.json").write_bytes(b"{}")
    async with feed_of(tmp_path, path) as feed:
        await feed.begin()
        assert named(feed) == {"six", "flask"}
        assert "1, the first is django.json" in feed._health.problems[UNREADABLE]
        assert not trouble(feed), "or the source would be read each minute"
        (path / "more.json").write_bytes(b"{")
        (path / "third.zip").write_bytes(packed("six"))
        await feed.refresh()
        assert "2, the first is django.json" in feed._health.problems[UNREADABLE]
        assert len([line for line in caplog.messages if "cannot be read" in line]) == 1
        (path / "more.json").unlink()
        (path / "django.json").rename(path / "django.old")
        (path / "4.zip").write_bytes(packed("django"))
        await feed.refresh()
        assert named(feed) == {"six", "flask", "django"}
        assert UNREADABLE not in feed._health.problems


async def test_without_the_option_nothing_is_done(tmp_path: Path) -> None:
    async with feed_of(tmp_path, "") as feed:
        await feed.begin()
        await feed.run()
        assert not feed.is_on
        assert feed.about("six", "pypi") is None
        assert not (tmp_path / "store" / FILE_NAME).exists()


@pytest.mark.parametrize(
    "text", ["/nowhere/at/all", "nowhere.zip", "https://osv.example:port/x", "http://osv.example/\x00"]
)
def test_no_source(text: str) -> None:
    with pytest.raises(SettingError, match="pypi_cache_advisories="):
        parse_source(text)
