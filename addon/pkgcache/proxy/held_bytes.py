"""What the layers of one connection hold of what its client has sent, and whether they are busy for it.

mitmproxy's layers form a tree: a connection's own stack, and below each HTTP stream the stack within its CONNECT. A layer that waits
for a hook or a connection keeps all events that come meanwhile, without a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mitmproxy.proxy import events, layer, tunnel
from mitmproxy.proxy.layers import ClientTLSLayer, HttpLayer, TCPLayer
from mitmproxy.proxy.layers.http._events import RequestData

from pkgcache.proxy.http1_server import LimitedHttp1Server

EVENT_COST = 256
"""Bytes that an event takes at least, however little it carries."""


def layers_of(top: layer.Layer) -> Iterator[layer.Layer]:
    """Yield every layer of a connection: its own stack, its HTTP streams, and what is below each of them."""
    pending, seen = [top, *top.context.layers], set[int]()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        pending += _below(one)


def _below(one: layer.Layer) -> Iterator[layer.Layer]:
    if isinstance(one, HttpLayer):
        if (connection := one.connections.get(one.context.client)) is not None:
            yield connection
        yield from one.streams.values()
        for stream in one.streams.values():
            yield from stream.context.layers
    for name in ("child_layer", "layer"):
        if isinstance(child := getattr(one, name, None), layer.Layer):
            yield child


def held_bytes(top: layer.Layer) -> int:
    """Count the bytes that a client has sent and that no layer has taken yet."""
    return sum(map(_held_by, layers_of(top)))


def _held_by(one: layer.Layer) -> int:
    held = _size(one._paused_event_queue)  # noqa: SLF001  nothing else tells what a waiting layer keeps
    if isinstance(one, LimitedHttp1Server):
        held += len(one.buf)
    elif isinstance(one, ClientTLSLayer):
        held += len(one.recv_buffer)
    elif isinstance(one, layer.NextLayer):
        held += _size(one.events)
    if isinstance(one, tunnel.TunnelLayer):
        held += _size(one._event_queue)  # noqa: SLF001  as above
    return held


def _size(waiting: Iterable[events.Event]) -> int:
    return sum(max(EVENT_COST, len(e.data)) for e in waiting if isinstance(e, (events.DataReceived, RequestData)))


def is_busy(top: layer.Layer) -> bool:
    """Whether a request is being received or answered on this connection, or a tunnel is open."""
    return any(
        one._paused is not None  # noqa: SLF001  as above
        or isinstance(one, TCPLayer)
        or (isinstance(one, LimitedHttp1Server) and one.is_busy)
        for one in layers_of(top)
    )
