"""How long a client may take nothing of its answer, and how many may wait to be accepted."""

import asyncio
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pkgcache.proxy import client_connections


class Transport(asyncio.Transport):
    """A client that takes the bytes written to it as scheduled: so many are left at each look, over and over the last number."""

    def __init__(self, left: list[int]) -> None:
        super().__init__()
        self.left = left
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return True


def handler_of(transport: Transport, drains: int) -> Any:
    """A handler whose writers are drained at the given attempt only."""

    async def drain_writers() -> None:
        nonlocal drains
        drains -= 1
        if drains > 0:
            await asyncio.sleep(60)

    reader = asyncio.StreamReader()
    writer = asyncio.StreamWriter(transport, asyncio.StreamReaderProtocol(reader), reader, asyncio.get_running_loop())
    return SimpleNamespace(
        client="client", transports={"client": SimpleNamespace(writer=writer)}, drain_writers=drain_writers
    )


@pytest.mark.parametrize(
    ("left", "drains", "kept"),
    [
        pytest.param([0], 99, True, id="nothing is left to take"),
        pytest.param([100], 1, True, id="it takes it at once"),
        pytest.param([900, 800, 700, 600], 4, True, id="slowly, but it takes some each time"),
        pytest.param([900, 899, 898, 897], 4, True, id="a byte each time"),
        pytest.param([900], 99, False, id="nothing"),
        pytest.param([900, 800, 800], 99, False, id="nothing after a while"),
        pytest.param([900, 1200], 99, False, id="there is even more for it"),
    ],
)
async def test_a_client_that_takes(left: list[int], drains: int, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes nothing is cut at once: closing its connection in order would wait for it."""
    monkeypatch.setattr(client_connections, "TAKE_SECONDS", 0.01)
    transport = Transport(left)
    assert await client_connections.taken(handler_of(transport, drains)) is kept
    assert transport.aborted is not kept


async def test_a_client_that_has_gone() -> None:
    handler: Any = SimpleNamespace(client="client", transports={}, drain_writers=lambda: asyncio.sleep(0))
    assert await client_connections.taken(handler)


async def test_a_client_that_has_reset_its_connection() -> None:
    """It had closed its sending side before: without this a stored file would be read to its end for nobody."""
    transport = Transport([0])
    handler = handler_of(transport, 1)
    assert client_connections.has_reset(handler)
    transport.is_closing = lambda: False  # type: ignore[method-assign]
    assert not client_connections.has_reset(handler)
    del transport.is_closing


@pytest.mark.skipif(
    sys.platform != "linux" or int(Path("/proc/sys/net/core/somaxconn").read_text()) < 512,
    reason="the system lets fewer wait",
)
async def test_many_wait_to_be_accepted() -> None:
    """`./run.sh bench` started 1,000 connections within a second: 418 of them were reset, as asyncio has a hundred wait at most."""
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    client_connections.accept_few_at_once([SimpleNamespace(_servers=[server])])
    with ExitStack() as stack:
        for _ in range(300):  # the event loop accepts none meanwhile
            stack.enter_context(socket.create_connection(server.sockets[0].getsockname(), timeout=5))
    server.close()
