"""Bodies of upstreams as they arrive."""

import asyncio

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import UpstreamError
from pkgcache.engine.upstream.response import UpstreamResponse, bottom
from pkgcache.rules.routing.urls import parse_url
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.upstream import Upstream

PIECES = 50


@pytest.mark.parametrize("tls", [True, False])
async def test_a_drip_is_read_in_gulps(ca: Authority, tls: bool) -> None:
    """Fifty pieces a second of 40 bytes: most of them are taken together, none is lost, and the connection can be used again."""
    content = bytes(range(200)) * (40 * PIECES // 200)
    with Upstream(ca if tls else None) as upstream:
        upstream.serve("/dripped", content)
        upstream.script(Behaviour("/dripped", pace=2000.0, times=1))
        client = UpstreamClient(may_be_private=lambda _: True, via="1.1 test", trust=ca.client_context())
        client.open()
        try:
            pieces = await _pieces(client, f"{upstream.origin}/dripped")
            assert b"".join(pieces) == content
            assert len(pieces) < PIECES / 2
            assert b"".join(await _pieces(client, f"{upstream.origin}/dripped")) == content
        finally:
            await client.close()
        assert upstream.accepted == 1


@pytest.mark.parametrize(
    "error", [aiohttp.ClientPayloadError(), ConnectionResetError(), RuntimeError("Connection closed.")]
)
async def test_what_came_before_a_connection_broke_counts(error: Exception) -> None:
    """aiohttp raises at once, although it still holds bytes: a download then resumed 60 kB earlier than it could."""
    loop = asyncio.get_running_loop()
    content = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    failures: list[None] = []
    url, none = parse_url("https://files.example/a"), CIMultiDictProxy(CIMultiDict[str]())
    response = UpstreamResponse(url, 200, none, url, content, None, lambda: failures.append(None), 8.0)
    content.feed_data(b"first ")
    content.feed_data(b"second")
    content.set_exception(error)
    assert await response.chunk() == b"first second"
    assert not failures
    with pytest.raises(UpstreamError):
        await response.chunk()
    assert len(failures) == 1


async def _pieces(client: UpstreamClient, url: str) -> list[bytes]:
    pieces = []
    async with client.request("GET", parse_url(url), {}) as response:
        if (below := bottom(response._transport)) is not None:  # None: all of the body came with the head
            # asyncio's inner names: without them a drip costs four times as much
            assert below.get_extra_info("sslcontext") is None
            assert below.is_reading()
        while piece := await response.chunk():
            pieces.append(piece)
    return pieces
