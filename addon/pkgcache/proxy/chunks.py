"""Reading on for one client: a chunk of a body at a time, and only once the client has taken what came before."""

from __future__ import annotations

from mitmproxy.proxy.server import ConnectionHandler

from pkgcache.engine.responses.messages import CutShortError
from pkgcache.proxy.client_connections import has_reset, taken
from pkgcache.proxy.exchange import Exchange


async def read_chunk(exchange: Exchange, handler: ConnectionHandler | None) -> None:
    """Read the next chunk into the exchange. Raises CutShortError where the client has left, or reads nothing.

    `handler` is the client's connection; mitmproxy buffers without limit what is written to it, so waiting for it keeps memory flat.
    """
    if handler is not None and has_reset(handler):
        raise CutShortError("the client left")
    if handler is not None and not await taken(handler):
        raise CutShortError("the client has read nothing for too long")
    response = exchange.response
    if not exchange.gone and response is not None and not isinstance(response.body, bytes):
        exchange.chunk = await response.body.read()
