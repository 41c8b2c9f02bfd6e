"""Whether the bodies of an ordinary flow are passed on as they come, or kept by mitmproxy until they are complete.

mitmproxy keeps them, since an addon may want to look at them: a download of 400 MB then takes 900 MB of memory, and its first byte
arrives after its last. They stream where nobody looks. That is not so for mitmweb's and the console's list of flows, for options that
store or change bodies, and for other scripts with a hook for whole requests or responses. There `stream_large_bodies` decides, as
mitmproxy has it.

A request streams only if nothing can answer or change it once its head has been seen: mitmproxy asks the hook `request` when all of it
is with the upstream, and fails where a response is there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from mitmproxy import http
from mitmproxy.options import Options

from pkgcache.proxy.hook_table import is_mitmproxys_or_ours

READERS: Final = ("save_stream_file", "hardump", "modify_body", "body_size_limit", "store_streamed_bodies")
"""Options of mitmproxy's that need whole bodies, requests' and responses'."""

ANSWERERS: Final = (
    "block_list",
    "map_local",
    "map_remote",
    "server_replay",
    "stickyauth",
    "stickycookie",
    "anticache",
    "anticomp",
)
"""Options whose addons answer a request, or change its head, when it is complete."""

SHOWS_BODIES: Final = 3
"""mitmdump's `flow_detail` from which on it prints bodies."""


class Streaming:
    """Decides for one mitmproxy, by its options and by the addons that it has at the time (by name, scripts and what is in them too)."""

    def __init__(self, options: Options, addons: Mapping[str, Any]) -> None:
        self._options = options
        others = [addon for addon in addons.values() if not is_mitmproxys_or_ours(addon)]
        prints = self._option("flow_detail", 0) >= SHOWS_BODIES
        self._bodies_wanted = (
            "view" in addons or prints or any(map(self._option, READERS)) or _any_has(others, "request", "response")
        )
        self._requests_wanted = (
            self._bodies_wanted or any(map(self._option, ANSWERERS)) or _any_has(others, "requestheaders")
        )

    def _option(self, name: str, default: Any = None) -> Any:
        return getattr(self._options, name) if name in self._options else default

    def request(self, flow: http.HTTPFlow) -> None:
        """Let a request's body stream, if it may. Called when its head is complete."""
        headers = flow.request.headers
        has_body = "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"
        is_plain = "Upgrade" not in headers and not flow.is_replay
        if has_body and is_plain and flow.response is None and flow.error is None and not self._requests_wanted:
            flow.request.stream = True

    def response(self, flow: http.HTTPFlow) -> None:
        """Let a response's body stream, if it may. Called when its head is complete."""
        if flow.response is not None and flow.response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            flow.response.stream = flow.response.stream or not self._bodies_wanted


def _any_has(addons: Iterable[Any], *hooks: str) -> bool:
    return any(callable(getattr(addon, hook, None)) for addon in addons for hook in hooks)
