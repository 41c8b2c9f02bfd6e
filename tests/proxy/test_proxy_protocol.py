"""PROXY headers at a connection's beginning: what is read, who has to send one, and when one is given up."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pytest
from mitmproxy.addons import proxyserver
from mitmproxy.test import taddons

from pkgcache.option_values import parse_networks
from pkgcache.proxy.proxy_protocol import HEADER_SECONDS, OPTION, ProxyProtocol, is_within, read_header
from pkgcache.rules.proxy_header import Endpoints, ProxyHeaderError

LINE: Final = b"PROXY TCP4 192.0.2.7 192.0.2.9 50000 8080\r\n"
SOON: Final = 0.01
"""Seconds for a sender of which nothing more will come: no matter how long the test takes."""


def read(pieces: Iterable[bytes], *, ends: bool, seconds: float = 60) -> tuple[Endpoints | None, bytes]:
    """Read a header of these pieces; also what is left to be read."""

    async def run() -> tuple[Endpoints | None, bytes]:
        reader = asyncio.StreamReader()

        async def send() -> None:
            for piece in pieces:
                reader.feed_data(piece)
                await asyncio.sleep(0)
            if ends:
                reader.feed_eof()

        sending = asyncio.create_task(send())
        found = await read_header(reader, seconds)
        await sending
        reader.feed_eof()
        return found, await reader.read()

    return asyncio.run(run())


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_what_follows_stays_to_be_read(size: int) -> None:
    sent = LINE + b"GET / HTTP/1.1\r\n\r\n"
    found, left = read([sent[i : i + size] for i in range(0, len(sent), size)], ends=False)
    assert found == Endpoints(source=("192.0.2.7", 50000), destination=("192.0.2.9", 8080))
    assert left == b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", LINE[:1], LINE[:-1], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", b"\r\n\r\n\0"])
def test_a_header_that_does_not_end(sent: bytes) -> None:
    """§2: the receiver may abort after a few seconds."""
    with pytest.raises(ProxyHeaderError, match="within"):
        read([sent] if sent else [], ends=False, seconds=SOON)
    assert HEADER_SECONDS >= 3, "§2: at least 3 seconds, to cover a retransmit"


@pytest.mark.parametrize("sent", [LINE[:1], LINE[:-1], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"])
def test_a_sender_that_leaves(sent: bytes) -> None:
    """§2.2: partial headers are refused."""
    with pytest.raises(ProxyHeaderError, match=f"after {len(sent)} bytes"):
        read([sent], ends=True)


def test_a_check_that_only_connects() -> None:
    """It comes every other second from some balancers, and is no reason for a line in the log."""
    with pytest.raises(ConnectionError):
        read([], ends=True)


@pytest.mark.parametrize(
    ("address", "networks", "expected"),
    [
        ("10.0.0.5", "10.0.0.0/8", True),
        ("11.0.0.5", "10.0.0.0/8", False),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.6", "10.0.0.5", False),
        ("10.0.0.5", "192.168.0.0/16, 10.0.0.0/8", True),
        ("::ffff:10.0.0.5", "10.0.0.0/8", True),  # on a socket for both families
        ("::ffff:10.0.0.5", "::/0", False),
        ("2001:db8::7", "2001:db8::/32", True),
        ("2001:db9::7", "2001:db8::/32", False),
        ("fe80::1%eth0", "fe80::/10", True),
        ("10.0.0.5", "::/0", False),
        ("::1", "127.0.0.0/8", False),
    ],
)
def test_who_has_to_send_one(address: str, networks: str, *, expected: bool) -> None:
    assert is_within(address, parse_networks([networks])) is expected


def test_without_the_option_mitmproxy_is_left_alone() -> None:
    """And again once the option is empty, or the addon is gone."""
    manager, addon = proxyserver.Proxyserver(), ProxyProtocol()
    with taddons.context(manager) as context:
        context.options.add_option(OPTION, Sequence[str], (), "as the addon adds it")

        def change(*networks: str) -> bool:
            """Set the option; whether mitmproxy's method is covered then."""
            context.options.update(**{OPTION: networks})
            addon.configure({OPTION})
            return "register_connection" in vars(manager)

        assert [change(), change("10.0.0.0/8"), change("10.0.0.0/8", "::1"), change()] == [False, True, True, False]
        assert change("::1")
        addon.configure({"another"})
        covering: Any = vars(manager)["register_connection"]
        assert covering.args[0].__func__ is proxyserver.Proxyserver.register_connection, (
            "one layer, however often it is set"
        )
        addon.done()
        assert "register_connection" not in vars(manager)
