"""Tests dial loopback only, and hand out the names that pip has."""

import asyncio
import socket

import pytest

from tests.support import names
from tests.support.wheels import make_wheel


def test_dials_to_the_outside_are_refused() -> None:
    with pytest.raises(RuntimeError, match="loopback only"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with socket.socket(socket.AF_INET6) as sock, pytest.raises(RuntimeError):
        sock.connect_ex(("2001:db8::1", 80))
    with pytest.raises(RuntimeError):
        asyncio.run(_dial())


async def _dial() -> None:
    await asyncio.open_connection("192.0.2.1", 80)


def test_loopback_may_be_dialled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()


def test_default_names_are_pips() -> None:
    wheel = make_wheel("alpha")
    assert names.page_url("Al.pha") == f"https://{names.INDEX_HOST}/simple/al-pha/"
    assert names.file_url(wheel, ".metadata") == f"https://{names.FILES_HOST}/{wheel.path}.metadata"
