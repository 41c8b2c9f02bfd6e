"""What is pinned is dialled, for one task and one dial; everybody else's dials are as before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pkgcache.proxy import dial
from pkgcache.proxy.dial import PinnedDials


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    """A server on 127.0.0.1 alone: its port."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    dials = PinnedDials(asyncio.get_running_loop())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        dials.close()
        server.close()


async def dialled(host: str, port: int) -> str:
    _, writer = await asyncio.open_connection(host, port)
    try:
        return str(writer.get_extra_info("peername")[0])
    finally:
        writer.close()


async def test_what_is_pinned_is_dialled() -> None:
    async with served() as port:
        PinnedDials.pin([("127.0.0.1", port)])
        assert await dialled("anything.test", 1) == "127.0.0.1"
        PinnedDials.pin([("127.0.0.2", port), ("127.0.0.1", port)])
        assert await dialled("anything.test", 1) == "127.0.0.1"


async def test_only_that_is_dialled() -> None:
    async with served() as port:
        PinnedDials.pin([("127.0.0.2", port)])
        with pytest.raises(OSError):
            await dialled("localhost", port)
        PinnedDials.pin([])
        with pytest.raises(OSError, match="no address that may be dialled"):
            await dialled("localhost", port)


async def test_another_task_is_not_concerned() -> None:
    async with served() as port:
        other = asyncio.create_task(dialled("127.0.0.1", port))
        PinnedDials.pin([("127.0.0.2", port)])
        assert await other == "127.0.0.1"
        PinnedDials.unpin()
        assert await dialled("127.0.0.1", port) == "127.0.0.1"
        assert await asyncio.create_task(dialled("127.0.0.1", port)) == "127.0.0.1"


async def test_an_address_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "CONNECT_SECONDS", 0.05)
    async with served() as port:
        loop = asyncio.get_running_loop()
        connect = loop.sock_connect

        async def silent(sock: object, address: tuple[str, int]) -> None:
            if address[0] == "127.0.0.9":
                await asyncio.sleep(60)
            await connect(sock, address)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "sock_connect", silent)
        PinnedDials.pin([("127.0.0.9", port), ("127.0.0.1", port)])
        assert await dialled("anything.test", 1) == "127.0.0.1"
        PinnedDials.pin([("127.0.0.9", port)])
        with pytest.raises(TimeoutError, match="does not answer"):
            await dialled("anything.test", 1)


async def test_closed() -> None:
    loop = asyncio.get_running_loop()
    before = loop.create_connection
    PinnedDials(loop).close()
    assert loop.create_connection == before
