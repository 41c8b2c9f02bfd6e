"""Connections from balancers, whose first bytes are a PROXY header: the client's own address takes the place of the balancer's.

It is read before mitmproxy's `client_connected`, so that `block_global`, logs, limits and this addon know one address alone, the client's.
The header is required from the addresses of `pypi_cache_proxy_protocol`; `LimitedHttp1Server` refuses it from all others. Nobody guesses
whether there is one (§2 of the specification), or clients could name any address as their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from mitmproxy import ctx
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.utils import human

from pkgcache.option_values import Network, parse_networks
from pkgcache.rules.proxy_header import Endpoints, ProxyHeaderError, bytes_wanted, parse_header
from pkgcache.settings import PREFIX

logger = logging.getLogger(__name__)

OPTION: Final = PREFIX + "proxy_protocol"

HEADER_SECONDS: Final = 5.0
"""From a connection's beginning to the end of its header. The specification wants at least 3, for a packet that is sent again (§2)."""

type Register = Callable[[str, ProxyConnectionHandler], AbstractContextManager[None]]


class ProxyProtocol:
    """An addon within the addon. While the option is empty, nothing stands in a connection's way."""

    def configure(self, updated: AbstractSet[str]) -> None:
        """Require headers from the option's networks. A wrong value has been refused by the addon around this one."""
        if OPTION in updated:
            self.done()
            if networks := parse_networks(getattr(ctx.options, OPTION)):
                manager: Any = ctx.master.addons.get("proxyserver")
                manager.register_connection = partial(_register, manager.register_connection, networks)

    def done(self) -> None:
        """Let mitmproxy's own method be found again."""
        vars(ctx.master.addons.get("proxyserver")).pop("register_connection", None)


def _register(
    register: Register, networks: Sequence[Network], connection: str, handler: ProxyConnectionHandler
) -> AbstractContextManager[None]:
    """Have the header of a balancer's connection read before anything else; mitmproxy calls this first with a new connection."""
    reader = handler.transports[handler.client].reader
    if isinstance(reader, asyncio.StreamReader) and is_within(handler.client.peername[0], networks):
        handler.handle_client = partial(_handle_client, handler, reader, handler.handle_client)  # type: ignore[method-assign]
    return register(connection, handler)


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether a connection's address, as the socket has it, is in one of the networks."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip
    return any(ip in network for network in networks)


async def _handle_client(
    handler: ProxyConnectionHandler, reader: asyncio.StreamReader, go_on: Callable[[], Awaitable[None]]
) -> None:
    client = handler.client
    try:
        endpoints = await read_header(reader, HEADER_SECONDS)
    except (ProxyHeaderError, OSError) as error:
        if not isinstance(error, ConnectionError):
            logger.warning("%s %s", human.format_address(client.peername), error)
        transport = handler.transports.pop(client)
        assert transport.writer
        transport.writer.close()
        return
    if endpoints is not None:
        client.peername, client.sockname = endpoints.source, endpoints.destination
    await go_on()


async def read_header(reader: asyncio.StreamReader, seconds: float) -> Endpoints | None:
    """Read a header, and no byte more. Raises ProxyHeaderError; ConnectionError where the sender has left without a byte, as checks do."""
    header = b""
    try:
        async with asyncio.timeout(seconds):
            while wanted := bytes_wanted(header):
                data = await reader.read(wanted)
                if not data:
                    break
                header += data
    except TimeoutError:
        raise ProxyHeaderError(f"sent no complete PROXY header within {seconds:g} seconds") from None
    if not header:
        raise ConnectionError
    if bytes_wanted(header):
        raise ProxyHeaderError(f"closed the connection after {len(header)} bytes of a PROXY header")
    return parse_header(header)
