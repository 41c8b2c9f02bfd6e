"""Login to the proxy itself, by mitmproxy's `proxyauth` option.

The fast path answers before mitmproxy's ProxyAuth addon is asked, so its validator is called here. A client that uses the proxy as a
proxy is asked for `Proxy-Authorization` (407); one that opens the proxy's own address for `Authorization` (401, RFC 9110 §11.6).
"""

from __future__ import annotations

import contextlib
import weakref

from mitmproxy.addons.proxyauth import ProxyAuth, parse_http_basic_auth
from mitmproxy.connection import Client
from multidict import CIMultiDict

from pkgcache.engine.responses.messages import Response
from pkgcache.web.agent_settings import DOCTOR, SCRIPTS, VARIABLES

OPEN_PAGES = frozenset({"/healthz", "/readyz", "/ca.pem", "/bundle.pem", *SCRIPTS, *VARIABLES, DOCTOR})
"""The proxy's own pages that require no login: an agent fetches them before it is configured, a monitor without credentials."""

_REALM = 'Basic realm="pypi-cache"'


class Authenticator:
    """Checks credentials with mitmproxy's ProxyAuth addon; `proxyauth` is None where mitmproxy runs without that addon."""

    def __init__(self, proxyauth: ProxyAuth | None) -> None:
        self._proxyauth = proxyauth
        self._users: weakref.WeakKeyDictionary[Client, str] = weakref.WeakKeyDictionary()

    @property
    def is_active(self) -> bool:
        """Whether clients have to log in."""
        return self._proxyauth is not None and self._proxyauth.validator is not None

    def user_of(self, client: Client) -> str:
        """Return who this client's present request comes from; empty where nobody has logged in. Requests of a connection come in turn."""
        if not self.is_active:
            return ""
        assert self._proxyauth is not None
        user, _ = self._proxyauth.authenticated.get(client, ("", ""))
        return user or self._users.get(client, "")

    def refusal(self, client: Client, path: str, headers: CIMultiDict[str], *, at_proxy: bool) -> Response | None:
        """Return a 407 or 401, or None if the request may pass.

        Accepted credentials are removed from `headers`, because they are for this proxy and no upstream may see them.
        """
        auth = self._proxyauth
        self._users.pop(client, None)
        if auth is None or auth.validator is None or client in auth.authenticated or (at_proxy and path in OPEN_PAGES):
            return None
        name = "Authorization" if at_proxy else "Proxy-Authorization"
        with contextlib.suppress(ValueError):
            _, user, password = parse_http_basic_auth(headers.get(name, ""))
            if auth.validator(user, password):
                headers.pop(name, None)
                self._users[client] = user
                return None
        refusal = Response.text(401 if at_proxy else 407, "this proxy requires a user name and a password")
        refusal.headers["WWW-Authenticate" if at_proxy else "Proxy-Authenticate"] = _REALM
        return refusal
