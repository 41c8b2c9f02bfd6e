"""The sizes of package responses in mitmweb's list of flows.

mitmweb takes a response's size from the body that its flow holds. Bodies that stream are not held, as a wheel may have gigabytes: their
flows have no content, and their sizes as sent are noted beside it. mitmweb has no hook for what it shows, so the function that describes
a flow to the browser is wrapped.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Final

from mitmproxy.flow import Flow

SENT: Final = "pypi_cache_sent"
"""In a flow's metadata: how many bytes of body its client got."""

WEB: Final = "mitmproxy.tools.web.app"


def show_sent_sizes() -> None:
    """Let mitmweb, where it is what runs, show the noted sizes. A second call changes nothing."""
    web: Any = sys.modules.get(WEB)
    if web is not None and not hasattr(web.flow_to_json, "__wrapped__"):
        web.flow_to_json = _with_sent_size(web.flow_to_json)


def _with_sent_size(describe: Callable[[Flow], dict[str, Any]]) -> Callable[[Flow], dict[str, Any]]:
    @functools.wraps(describe)
    def flow_to_json(flow: Flow) -> dict[str, Any]:
        shown = describe(flow)
        response, sent = shown.get("response"), flow.metadata.get(SENT)
        if isinstance(response, dict) and response.get("contentLength") is None and isinstance(sent, int):
            response["contentLength"] = sent
        return shown

    return flow_to_json
