"""A fill by itself: what the store has after all is not fetched again."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.fills.fill import Fill
from pkgcache.engine.fills.fill_request import FillRequest
from pkgcache.engine.store.entries import Entry
from pkgcache.engine.store.notes import FileNotes
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.places import Places
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.routing.urls import Url, parse_url
from tests.support.wheels import make_wheel

URL = parse_url("https://files.example/six.whl")


class NobodyToAsk(UpstreamClient):
    """An upstream that must not be asked."""

    def __init__(self) -> None:
        pass

    def request(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("it was fetched again")


def entry_of(content: bytes, path: Path, *, in_memory: bool) -> tuple[Entry, FileNotes]:
    path.write_bytes(content)
    notes = FileNotes(
        name="six.whl",
        url=str(URL),
        digest="sha256:" + "0" * 64,
        attempt="a1",
        headers=CIMultiDict(),
        upstream_headers=CIMultiDict(),
        request_time=0.0,
        response_time=0.0,
    )
    if in_memory:
        return Entry(notes=notes.to_json(), value=content, file=None, size=len(content)), notes
    return Entry(notes=notes.to_json(), value=b"", file=path.open("rb"), size=len(content)), notes


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_another_process_has_committed_meanwhile(tmp_path: Path, in_memory: bool) -> None:
    """A small file comes out of the store as bytes, and was fetched once more: the look inside the flight saw open files alone."""
    content = make_wheel("six").content

    async def found() -> tuple[Entry, FileNotes]:
        return entry_of(content, tmp_path / "stored", in_memory=in_memory)

    async def commit(_: Fill) -> bool:
        raise AssertionError("it was stored again")

    async def story(pool: ThreadPoolExecutor) -> bytes | bytearray:
        ignored: Callable[[Any], None] = lambda _: None  # noqa: E731  typed

        async def room(*_: Any) -> bool:
            return True

        fill = Fill(
            FillRequest(digest=None, size=None, sources=[(URL, "")]),
            tmp_path / "x.part",
            NobodyToAsk(),
            pool,
            report=ignored,
            reserve=room,
            disk_failed=ignored,
            finish_abandoned=0,
        )
        await fill.run(found, commit)
        assert fill.committed
        fill.attach()
        body = fill.body(0, fill.total)
        chunk = await body.read()
        body.close()
        fill.clean_up()
        return chunk

    with ThreadPoolExecutor(1) as pool:
        assert asyncio.run(story(pool)) == content
    assert not list(tmp_path.glob("x.*"))


async def test_a_stopped_download_lets_go_of_what_it_had_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it tells other processes, the error's frames would keep the response, with megabytes that were read ahead."""

    class Held:
        """Stands for the response."""

    held: list[weakref.ref[Held]] = []

    async def download(*_: Any) -> None:
        response = Held()
        held.append(weakref.ref(response))
        await asyncio.Event().wait()

    async def room(*_: Any) -> bool:
        return True

    with ThreadPoolExecutor(1) as pool:
        fill = Fill(
            FillRequest(digest=None, size=None, sources=[(URL, "")]),
            tmp_path / "x.part",
            NobodyToAsk(),
            pool,
            report=lambda _: None,
            reserve=room,
            disk_failed=lambda _: None,
            finish_abandoned=0,
        )
        monkeypatch.setattr(fill, "_download_or_follow", download)
        fill.task = asyncio.create_task(fill.run(None, None))  # type: ignore[arg-type]
        while not held:
            await asyncio.sleep(0)
        fill.task.cancel()
        while fill.error is None:
            await asyncio.sleep(0)
        assert not fill.task.done()
        assert held[0]() is None
        with suppress(asyncio.CancelledError):
            await fill.task


class OneAnswer(UpstreamClient):
    """An upstream that answers one request."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.places = Places()

    def healthy_first[T: tuple[Url, str]](self, sources: Sequence[T]) -> list[T]:
        return list(sources)

    @asynccontextmanager
    async def request(self, *_: Any, **__: Any) -> AsyncIterator[UpstreamResponse]:
        body = asyncio.StreamReader()
        body.feed_data(self._content)
        body.feed_eof()
        body.readany = lambda: body.read(1 << 20)  # type: ignore[attr-defined]
        body.is_eof = body.at_eof  # type: ignore[attr-defined]
        headers = CIMultiDictProxy(CIMultiDict({"Content-Length": str(len(self._content))}))
        yield UpstreamResponse(URL, 200, headers, URL, body, None, lambda: None, 8.0)  # type: ignore[arg-type]


async def test_clients_hear_of_a_file_before_other_processes_and_have_no_byte_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is a file that a thread writes: the first byte of each cold file waited for it."""
    seen: list[tuple[bool, int]] = []

    async def room(*_: Any) -> bool:
        return True

    async def commit(_: Fill) -> bool:
        return False

    async def nothing() -> None:
        return None

    with ThreadPoolExecutor(1) as pool:
        fill = Fill(
            FillRequest(digest=None, size=None, sources=[(URL, "")]),
            tmp_path / "x.part",
            OneAnswer(bytes(200_000)),
            pool,
            report=lambda _: None,
            reserve=room,
            disk_failed=lambda _: None,
            finish_abandoned=0,
        )
        publish = fill.publish

        async def published(*state: Any, **more: Any) -> None:
            if fill.head is not None:
                seen.append((fill.announced, fill.file.size))
            await publish(*state, **more)

        monkeypatch.setattr(fill, "publish", published)
        await fill.run(nothing, commit)
        fill.clean_up()
    assert seen == [(True, 0), (True, 200_000)]
