"""Which of mitmproxy's layers a connection gets, and which of ours takes its place."""

from __future__ import annotations

from typing import Any

from mitmproxy import ctx
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import ClientTLSLayer, HttpLayer, ServerTLSLayer, TCPLayer
from mitmproxy.proxy.layers.http import HTTPMode
from OpenSSL import SSL

from pkgcache.proxy.addresses import canonical_address
from pkgcache.proxy.fast_path import FastPathLayer
from pkgcache.proxy.host_tls import FailedHandshake, FastPathTlsLayer
from pkgcache.proxy.intake import Intake


class RefusingLayer(layer.Layer):
    """Closes the client's connection: where the right layer is not known, no other may carry it."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


class WithinConnect(layer.Layer):
    """What comes after a CONNECT to a package host that was accepted without an HTTP layer; `opened`: in TLS that has begun already.

    It stays with the `intake` that has accepted it: after a change of options the host may be no package host any more.
    """

    def __init__(
        self, context: Context, intake: Intake, opened: SSL.Connection | FailedHandshake | None = None
    ) -> None:
        super().__init__(context)
        self.intake = intake
        self.child_layer: layer.Layer
        if opened is None:
            self.child_layer = layer.NextLayer(context)
        else:
            self.child_layer = FastPathTlsLayer(context)
            self.child_layer.tls = opened  # type: ignore[assignment]
            self.child_layer.client_hello_parsed = True

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        self._handle_event = self.child_layer.handle_event  # type: ignore[method-assign]
        return self.child_layer.handle_event(event)


def choose_layer(nextlayer: layer.NextLayer, intake: Intake | None) -> None:
    """Let mitmproxy's NextLayer addon choose, and put the fast path where that means HTTP. Without an intake nothing is carried."""
    if intake is None:
        nextlayer.layer = RefusingLayer(nextlayer.context)
        return
    ctx.master.addons.get("nextlayer").next_layer(nextlayer)
    if nextlayer.layer is not None:
        intake = next((each.intake for each in nextlayer.context.layers if isinstance(each, WithinConnect)), intake)
        nextlayer.layer = with_fast_path(nextlayer.layer, intake)
        each: Any = nextlayer.layer
        while each is not None:
            if type(each) is ClientTLSLayer:  # of a host that is intercepted, or of the proxy's own port
                each.__class__ = FastPathTlsLayer
            each = getattr(each, "child_layer", None)


def with_fast_path(chosen: layer.Layer, intake: Intake) -> layer.Layer:
    """Return the chosen stack of layers with a FastPathLayer in the place of HttpLayer (which may be below a TLS layer).

    For a package host TLS is opened towards the client alone, since the store may hold all that it asks for. What is not TLS there is
    HTTP, whatever it looks like: mitmproxy takes `GE`, or an empty line before the request, for an unknown protocol, and would carry it
    to the origin unread. `ignore_hosts` stays the operator's word. Subclasses of HttpLayer stay as they are: another script's layer is
    none of our business.
    """
    context = chosen.context
    opened = context.server.address and intake.router.hosts.is_package_host(canonical_address(context.server.address))
    if type(chosen) is HttpLayer:
        context.layers.remove(chosen)
        return FastPathLayer(context, chosen.mode, intake)
    if opened and isinstance(chosen, TCPLayer) and chosen.flow is not None:
        context.layers.remove(chosen)
        return FastPathLayer(context, HTTPMode.transparent, intake)
    child: Any = getattr(chosen, "child_layer", None)
    if type(chosen) is ServerTLSLayer and type(child) is ClientTLSLayer:
        if opened:
            context.layers.remove(chosen)
            context.layers.remove(child)
            context.server.tls = False  # set by ServerTLSLayer; an ordinary flow opens a connection of its own
            return FastPathTlsLayer(context)
    elif type(child) is HttpLayer:
        chosen.child_layer = with_fast_path(child, intake)  # type: ignore[attr-defined]
    return chosen
