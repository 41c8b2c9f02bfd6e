"""Agents that do not trust the CA: the log says once for each of them what to run there, and `mitm.it` leads to the start page.

Such an agent's connections are not refused with a reason. Tried with pip 26, uv 0.13 and poetry 2.5: pip prints the reason of a refused
CONNECT, but uv prints "tunnel error: unsuccessful" in place of "invalid peer certificate: UnknownIssuer", poetry prints neither, and
agents that share an address would be refused for each other's sake.
"""

from __future__ import annotations

import logging
from typing import Final

from mitmproxy import ctx, http, tls
from mitmproxy.connection import Client

from pkgcache.engine.store.lru import ByteLru
from pkgcache.proxy.host_tls import lacks_ca

logger = logging.getLogger(__name__)

MOST_REMEMBERED: Final = 4096
"""Addresses of agents that the log has told of."""


class AgentsWithoutCa:
    """An addon within the addon."""

    def __init__(self) -> None:
        self._told: ByteLru[str, bool] = ByteLru(MOST_REMEMBERED)

    def tls_failed_client(self, data: tls.TlsData) -> None:
        """Tell of a client that has refused our certificate, once."""
        client = data.context.client
        address = str(client.peername[0])
        if not lacks_ca(data.conn.error or "") or self._told.get(address):
            return
        self._told.put(address, True, 1)
        base = _own_url(client)
        logger.warning(
            "%s does not trust this proxy's CA, so its installs fail. Run there: %s   (or see %s/)",
            address,
            f'eval "$(curl -fsS {base}/env.sh || echo false)"',
            base,
        )

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Lead from mitmproxy's onboarding host to the start page: mitmproxy's own is about browsers, and does not help pip."""
        if ctx.options.onboarding and flow.request.host == ctx.options.onboarding_host and flow.response is None:
            flow.response = http.Response.make(302, b"", {"Location": f"{_own_url(flow.client_conn)}/"})


def _own_url(client: Client) -> str:
    """Return the proxy's URL as this client knows it."""
    host, port = client.sockname[0], client.sockname[1]
    public: str = ctx.options.pypi_cache_public_url.rstrip("/")
    return public or f"http://{f'[{host}]' if ':' in host else host}:{port}"
