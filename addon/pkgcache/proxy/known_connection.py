"""A client's connection for as long as all that it sends was seen before: CONNECT, TLS, then one request after another.

`KnownConnection` takes the place of mitmproxy's loop over a client's bytes, and answers what `Intake` knows without a layer, a hook or
a task. Once some bytes are not known, the layers get them, and the connection as it is then for good.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from mitmproxy import ctx, tls
from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import events
from mitmproxy.proxy.layers import modes
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.proxy.server import ConnectionHandler
from OpenSSL import SSL

from pkgcache.proxy.client_connections import taken
from pkgcache.proxy.client_reader import ClientReader
from pkgcache.proxy.exchange import answer_to_known_head
from pkgcache.proxy.hook_table import HookTable
from pkgcache.proxy.host_tls import FailedHandshake
from pkgcache.proxy.intake import Intake
from pkgcache.proxy.known_heads import LONGEST_HEAD, Place, place_of
from pkgcache.proxy.layers import WithinConnect
from pkgcache.proxy.loading import load
from pkgcache.rules.routing.package_hosts import Address

ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""mitmproxy's own answer to a CONNECT."""

RECORD_HEADER: Final = 5
APPLICATION_DATA: Final = 23
"""RFC 8446 §5.1: the bytes of a TLS record's header, of which the last two say how long the rest is; and a type of record."""

TLS_1_3: Final = 0x304

FLIGHT: Final = 64 * 1024
"""Bytes of a handshake, and of what TLS adds to an answer, at most: a chain of certificates may be long."""

_HOST_NAME: Final = re.compile(r"(?i)(?=.{1,253}\Z)(?!.*xn--)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*")
"""What is certainly a host name in mitmproxy's eyes, too."""

SKIPPED_HOOKS: Final = (
    "next_layer",
    "http_connect",
    "http_connected",
    "tls_clienthello",
    "tls_start_client",
    "tls_established_client",
)
"""Hooks that mitmproxy would have had for such a connection. Where another script has one of them, the layers get every connection."""

type NewTls = Callable[[tls.TlsData], SSL.Connection]


def carry_known(handler: ConnectionHandler, intake: Intake, hooks: HookTable, new_tls: NewTls) -> None:
    """Let the connection of a forward proxy's client be carried by a `KnownConnection` first."""
    nextlayer = ctx.master.addons.get("nextlayer")
    reader: Any = handler.transports[handler.client].reader
    if (
        type(handler.layer) is modes.HttpProxy
        and isinstance(reader, ClientReader)
        and not (nextlayer.ignore_hosts or nextlayer.allow_hosts)  # they may want a package host's bytes carried unread
        and not intake.shows_flows
        and not hooks.concerns_others(*SKIPPED_HOOKS)
    ):
        known = KnownConnection(handler, intake, new_tls)
        handler.handle_connection = known.handle_connection  # type: ignore[method-assign]


class KnownConnection:
    """One client's connection, until its bytes are not known any more. `new_tls` makes the server's end of TLS."""

    def __init__(self, handler: ConnectionHandler, intake: Intake, new_tls: NewTls) -> None:
        self._handler = handler
        self._client = handler.client
        self._context = handler.layer.context
        self._intake = intake
        self._new_tls = new_tls
        self._by_layers = handler.handle_connection
        transport: Any = handler.transports[handler.client]  # mitmproxy's types know no reader but its own
        self._reader: ClientReader = transport.reader
        self._writer: asyncio.StreamWriter = transport.writer

    async def handle_connection(self, connection: Connection) -> None:
        """Carry a connection to its end, in the place of `ConnectionHandler.handle_connection`."""
        if connection is self._client:
            try:
                await self._carry()
            except (OSError, asyncio.CancelledError) as error:
                self._client.state = ConnectionState.CLOSED
                self._writer.close()
                self._handler.transports.pop(self._client)
                if isinstance(error, OSError):
                    return
                raise
        await self._by_layers(connection)

    async def _carry(self) -> None:
        """Answer what is known, and leave the rest to the layers. Raises OSError at the connection's end."""
        place = place_of(self._context, HTTPMode.regular)
        while True:
            data = await self._read()
            address = self._intake.known_connect((place, data))
            if address is not None:
                await self._carry_tunnel(address)
                return
            if not await self._answers(place, data, self._writer.write):
                self._reader.unread(data)
                return

    async def _carry_tunnel(self, address: Address) -> None:
        """Accept a CONNECT, and answer what is known within it."""
        self._writer.write(ESTABLISHED)
        self._context.server.address = address
        client = self._client
        hello = await self._read()
        client.tls = True  # from here on it has as long as a handshake may take
        connection, unknown = await self._greet(hello, address[0])
        if connection is None:
            client.tls, client.sni = False, None  # as for a layer that has yet to see what comes
            await self._go_on_with(WithinConnect(self._context, self._intake))
            self._reader.unread(unknown)
            return
        failure = await self._finish_handshake(connection)
        if client.tls_established:
            try:
                await self._carry_encrypted(connection)
            except SSL.Error as error:  # OpenSSL says only once what is wrong
                self._handler.log(f"TLS Error: {error}", logging.WARNING)
                self._writer.write(_encrypted(connection))
                raise ConnectionError from error
        client.tls = False  # the layer would take it for TLS within TLS
        opened = connection if failure is None else failure
        await self._go_on_with(WithinConnect(self._context, self._intake, opened))
        await self._handler.server_event(events.DataReceived(client, b""))

    async def _go_on_with(self, within: WithinConnect) -> None:
        self._handler.layer = within
        await self._handler.server_event(events.Start())

    async def _greet(self, hello: bytes, host: str) -> tuple[SSL.Connection | None, bytes]:
        """Answer the ClientHello, of which some has come. Returns the bytes alone where it is none, or names no host."""
        connection = self._new_connection(host if host.encode() in hello else None)
        data, tries = hello, 2
        while data:
            connection.bio_write(data)
            try:
                connection.do_handshake()
            except SSL.WantReadError:
                if flight := _encrypted(connection):
                    named = connection.get_servername()
                    name = named.decode("latin-1") if named else None
                    if name == self._client.sni:
                        self._writer.write(flight)
                        return connection, b""
                    tries -= 1
                    if not tries or not (name is None or _HOST_NAME.fullmatch(name)):
                        break
                    connection, data = self._new_connection(name), hello
                    continue
            except SSL.Error:
                break
            try:
                data = await self._read()
            except OSError:
                break  # raised again when the layers read; they tell of it
            hello += data
        return None, hello

    def _new_connection(self, name: str | None) -> SSL.Connection:
        """Begin TLS with a certificate for the name that the client asks for; mitmproxy's is another one for each."""
        self._client.sni = name
        return self._new_tls(tls.TlsData(self._client, self._context))

    async def _finish_handshake(self, connection: SSL.Connection) -> FailedHandshake | None:
        """Make the rest of the handshake. Returns what has failed; the layers are to tell of it, and of a client that leaves halfway."""
        try:
            while data := await self._read():
                connection.bio_write(data)
                try:
                    connection.do_handshake()
                except SSL.WantReadError:
                    self._writer.write(_encrypted(connection))
                else:
                    self._client.timestamp_tls_setup = time.time()
                    # Session tickets of TLS 1.3 go with the first answer; what earlier versions have left is waited for.
                    if connection.get_protocol_version() < TLS_1_3:
                        self._writer.write(_encrypted(connection))
                    return None
        except SSL.Error as error:
            return FailedHandshake(connection, error)
        except OSError:
            pass  # too long or too slow: it is raised again when the layers read
        return None

    async def _carry_encrypted(self, connection: SSL.Connection) -> None:
        """Answer what is known and comes in a record of its own. What is not stays in `connection`, to be read by the layers."""
        place = place_of(self._context, HTTPMode.transparent)

        def send(answer: bytes) -> None:
            connection.recv(len(head))
            connection.sendall(answer)
            self._writer.write(connection.bio_read(len(answer) + FLIGHT))

        head = _next_head(connection)  # it may have come with the end of the handshake
        if head and (not await self._answers(place, head, send) or _next_head(connection)):
            return
        is_known = True
        while is_known:
            record = await self._read()
            if not record:
                raise ConnectionError
            connection.bio_write(record)
            head = _next_head(connection)
            is_known = bool(head) and _is_one_record(record) and await self._answers(place, head, send)

    async def _answers(self, place: Place, head: bytes, send: Callable[[bytes], object]) -> bool:
        """Answer a request whose head is known. Raises OSError where the connection ends with that."""
        exchange = self._intake.from_known_head((place, head), self._client)
        if exchange is None and await load(self._intake, (place, head)):
            exchange = self._intake.from_known_head((place, head), self._client)
        if exchange is None:
            return False
        answer, closes = answer_to_known_head(exchange, self._intake.via)
        send(answer)
        exchange.close()
        if closes or (self._writer.transport.get_write_buffer_size() and not await taken(self._handler)):
            raise ConnectionError
        return True

    async def _read(self) -> bytes:
        """Return the client's next bytes; none at its end."""
        data = await self._reader.read(65535)
        self._handler.timeout_watchdog.register_activity()
        return data


def _encrypted(connection: SSL.Connection) -> bytes:
    """What TLS has to send; empty if that is nothing."""
    try:
        return connection.bio_read(FLIGHT)
    except SSL.WantReadError:
        return b""


def _next_head(connection: SSL.Connection) -> bytes:
    """The data of the next record, which stay where they are; empty if there are none, or TLS has ended. Raises SSL.Error."""
    try:
        return connection.recv(LONGEST_HEAD + 1, socket.MSG_PEEK)
    except (SSL.WantReadError, SSL.ZeroReturnError):
        return b""


def _is_one_record(received: bytes) -> bool:
    """Whether these bytes are one record of data, and no request was sent ahead in another: such wait for their turn in the layers."""
    length = int.from_bytes(received[RECORD_HEADER - 2 : RECORD_HEADER])
    return received[0] == APPLICATION_DATA and len(received) == RECORD_HEADER + length
