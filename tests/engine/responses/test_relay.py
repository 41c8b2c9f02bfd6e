"""An upstream's bytes for one client alone: the client's slowness never holds the upstream's connection, and no byte is lost for it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from multidict import CIMultiDict

from pkgcache.engine.responses import relay
from pkgcache.engine.responses.messages import CHUNK, CutShortError
from pkgcache.engine.responses.relay import AHEAD, RelayBody
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.places import Asker, Places
from pkgcache.rules.http.ranges import parse_content_range, parse_range, satisfy
from pkgcache.rules.policy.places import PlaceLimits
from pkgcache.rules.routing.urls import parse_url

URL: Final = parse_url("https://files.example/six.whl")
CONTENT: Final = bytes(range(256)) * 12_000  # 3 MB: larger than the buffer several times
PIECE: Final = 100_000


@dataclass
class Response:
    """What an upstream sends: all of `body`, a piece at a time."""

    status: int
    headers: CIMultiDict[str]
    body: bytes
    url: Any = URL
    breaks_at: int | None = None
    at: int = 0

    async def chunk(self) -> bytes:
        await asyncio.sleep(0)
        if self.breaks_at is not None and self.at >= self.breaks_at:
            raise UpstreamError(Failure.BROKEN, self.url, "scripted")
        piece = self.body[self.at : self.at + PIECE]
        self.at += len(piece)
        return piece


@dataclass
class Upstream:
    """Answers ranges of CONTENT. Each answer is also laid over with what `lies` has for it (by its number)."""

    tag: str = '"1"'
    breaks_at: int | None = None
    lies: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    first: Mapping[str, str] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    open: int = 0
    places: Places = field(default_factory=Places)

    @asynccontextmanager
    async def send(self, rest: dict[str, str]) -> AsyncIterator[Any]:
        sent = {**self.first, **rest}
        self.asked.append(sent)
        async with self.places.held(URL, relay.ASKER.get()):
            self.open += 1
            try:
                yield self._answer(sent, self.lies.get(len(self.asked), {}))
            finally:
                self.open -= 1

    def _answer(self, sent: Mapping[str, str], lies: Mapping[str, Any]) -> Response:
        headers = CIMultiDict({"ETag": self.tag} if self.tag else {})
        status, body = 200, CONTENT
        if "Range" in sent:
            answer: Any = satisfy(parse_range(sent["Range"]), len(CONTENT))
            status, body = 206, CONTENT[answer.span.start : answer.span.stop]
            headers["Content-Range"] = answer.span.content_range(len(CONTENT))
        headers.update(lies.get("headers", {}))
        return Response(lies.get("status", status), headers, lies.get("body", body), breaks_at=self.breaks_at)

    async def idle(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            await asyncio.sleep(0.001)

    async def full(self, body: RelayBody) -> None:
        """Wait until the buffer of a body is full."""
        while len(body._buffer) < AHEAD:
            await asyncio.sleep(0)


async def rest_of(body: RelayBody) -> bytes:
    parts = []
    while chunk := await body.read():
        assert len(chunk) <= CHUNK
        parts.append(bytes(chunk))
    return b"".join(parts)


async def opened(upstream: Upstream, *, immutable: bool = True) -> RelayBody:
    body = RelayBody(upstream.send, immutable=immutable)
    await body.open()
    return body


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "HOLD_SECONDS", 0.02)
    monkeypatch.setattr(relay, "SLOW_SECONDS", 0.0)


@pytest.mark.parametrize("wanted", ["bytes=-1000", "bytes=10-19", "bytes=0-499999"])
async def test_what_fits_into_the_buffer(wanted: str) -> None:
    """The connection is free before the client has read a byte."""
    upstream = Upstream(first={"Range": wanted})
    body = await opened(upstream)
    await upstream.idle()
    answer: Any = satisfy(parse_range(wanted), len(CONTENT))
    assert await rest_of(body) == CONTENT[answer.span.start : answer.span.stop]
    assert len(upstream.asked) == 1


async def test_a_client_that_reads() -> None:
    upstream = Upstream()
    assert await rest_of(await opened(upstream)) == CONTENT
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    ("first", "tag", "immutable", "second"),
    [
        ({}, '"1"', True, {"Range": "bytes={}-", "If-Range": '"1"'}),
        ({}, "", True, {"Range": "bytes={}-"}),
        ({}, '"1"', False, {"Range": "bytes={}-", "If-Range": '"1"'}),
        ({}, 'W/"1"', True, {"Range": "bytes={}-"}),
        ({"Range": "bytes=1000-2999999"}, "", True, {"Range": "bytes={}-2999999"}),
        ({"Range": "bytes=-2999000"}, "", True, {"Range": "bytes={}-3071999"}),
        ({"Range": "bytes=72000-"}, '"1"', True, {"Range": "bytes={}-3071999", "If-Range": '"1"'}),
    ],
)
async def test_a_client_that_reads_nothing_for_a_while(
    first: dict[str, str], tag: str, immutable: bool, second: dict[str, str]
) -> None:
    """The connection is let go, and the rest is asked for when the client reads on; over and over."""
    upstream = Upstream(tag=tag, first=first)
    body = await opened(upstream, immutable=immutable)
    await upstream.full(body)
    await upstream.idle()
    start = parse_content_range(upstream._answer(first, {}).headers.get("Content-Range"))
    begun = len(body._buffer) + (start.start if start else 0)
    got = await body.read()
    got += await rest_of(body)
    assert got == upstream._answer(first, {}).body
    assert upstream.asked[1] == {**first, **{name: value.format(begun) for name, value in second.items()}}


async def test_nobody_else_waits_and_the_client_goes_on_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "HOLD_SECONDS", 60.0)
    upstream = Upstream()
    body = await opened(upstream)
    await upstream.full(body)
    for _ in range(20):
        await asyncio.sleep(0)
    assert upstream.open == 1
    assert await rest_of(body) == CONTENT
    assert len(upstream.asked) == 1


async def test_another_request_waits_for_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "HOLD_SECONDS", 60.0)
    upstream = Upstream(places=Places(PlaceLimits(host=1)))
    body = await opened(upstream)
    await upstream.full(body)
    async with asyncio.timeout(5), upstream.places.held(URL, Asker()):
        assert upstream.open == 0
    assert await rest_of(body) == CONTENT
    assert len(upstream.asked) == 2


@pytest.mark.parametrize(
    ("more", "immutable"),
    [
        pytest.param({"tag": ""}, False, id="nothing tells that the rest belongs to it"),
        pytest.param({"tag": 'W/"1"'}, False, id="a weak tag does not"),
        pytest.param({"lies": {2: {"status": 200}}}, True, id="it does not answer ranges"),
        pytest.param({"lies": {2: {"headers": {"Content-Range": "bytes 0-9/3072000"}}}}, True, id="another range"),
        pytest.param({"lies": {2: {"headers": {"Content-Range": "nonsense"}}}}, True, id="no range"),
        pytest.param({"lies": {2: {"status": 404}}}, True, id="it is gone"),
        pytest.param(
            {
                "lies": {1: {"headers": {"Content-Range": "bytes 0-1999999/3072000"}, "status": 206}},
                "first": {"Range": "bytes=0-1999999"},
            },
            False,
            id="a range that goes on",
        ),
        pytest.param(
            {"lies": {1: {"headers": {"Content-Range": ""}, "status": 206}}, "first": {"Range": "bytes=0-2999999"}},
            True,
            id="several ranges as one body",
        ),
    ],
)
async def test_what_cannot_go_on_is_cut(more: dict[str, Any], immutable: bool, request: pytest.FixtureRequest) -> None:
    upstream = Upstream(**more)
    body = await opened(upstream, immutable=immutable)
    await upstream.full(body)
    await upstream.idle()
    if "goes on" in request.node.name:
        assert await rest_of(body) == CONTENT[:2_000_000]
        return
    with pytest.raises(CutShortError):
        await rest_of(body)


async def test_an_upstream_that_breaks_off() -> None:
    body = await opened(Upstream(breaks_at=300_000))
    with pytest.raises(CutShortError, match="scripted"):
        await rest_of(body)


async def test_an_upstream_that_gives_nothing() -> None:
    @asynccontextmanager
    async def send(_: dict[str, str]) -> AsyncIterator[Any]:
        raise UpstreamError(Failure.UNREACHABLE, URL, "scripted")
        yield

    body = RelayBody(send, immutable=True)
    with pytest.raises(UpstreamError, match="scripted"):
        await body.open()
    await body.aclose()


@pytest.mark.parametrize("when", ["before a byte is read", "while the client waits", "while it is let go"])
async def test_a_client_that_leaves(when: str) -> None:
    upstream = Upstream()
    body = await opened(upstream)
    if when == "while it is let go":
        await upstream.full(body)
        await upstream.idle()
    reading = asyncio.ensure_future(rest_of(body)) if when == "while the client waits" else None
    await asyncio.sleep(0)
    body.close()
    body.close()
    await upstream.idle()
    with pytest.raises(CutShortError, match="closed"):
        await (reading or body.read())
    assert upstream.places.figures() == {"held": 0, "waiting": 0}


async def test_a_client_that_leaves_before_the_answer() -> None:
    upstream = Upstream(places=Places(PlaceLimits(host=0)))
    body = RelayBody(upstream.send, immutable=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await body.open()
    await body.aclose()
    assert upstream.places.figures() == {"held": 0, "waiting": 0}


@pytest.mark.parametrize(("length", "kept"), [(1000, True), (999, False), (1001, False)])
async def test_gathering(length: int, kept: bool) -> None:
    found: list[bytes] = []
    body = RelayBody(Upstream(first={"Range": "bytes=0-999"}).send, immutable=True)
    await body.open()
    body.gather(length, found.append)
    await rest_of(body)
    assert found == ([CONTENT[:1000]] if kept else [])
