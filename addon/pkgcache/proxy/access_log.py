"""The access log: one line with a JSON object for each request, written when the request is over. docs/pages/operating.md has its fields.

The lines of requests that end within FLUSH_SECONDS are appended in one write. Polls that find all well are left out.
"""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Final

from pkgcache.engine.responses.messages import Response
from pkgcache.engine.runtime.health import Health
from pkgcache.engine.runtime.request_figures import CLIENT_LEFT
from pkgcache.proxy.exchange import Exchange
from pkgcache.proxy.log_file import STANDARD_OUTPUT, LogFile
from pkgcache.settings import SettingError
from pkgcache.units import redact, timestamp

POLLED: Final = frozenset({"/healthz", "/readyz", "/metrics", "/dashboard.json"})
"""Those of the proxy's own pages that a monitor, or an open dashboard, asks for every few seconds."""

FLUSH_SECONDS: Final = 0.02
"""A write costs as much as half a line."""

SHORT_TEXT: Final = 512
MOST_TEXTS: Final = 1024
"""Longest text that is kept as it is written, and how many of them: agents ask for the same few things again and again."""

LONGEST_REASON: Final = 1000


class AccessLog:
    """Writes to a file, to standard output (`-`) or nowhere (an empty text). Raises OSError if the file cannot be opened."""

    def __init__(self, target: str, health: Health) -> None:
        self._file = LogFile(target) if target else None
        self._target = target
        self._health = health
        self._lines: list[str] = []
        self._known = lru_cache(MOST_TEXTS)(_quoted)

    def write(self, exchange: Exchange) -> None:
        """Write the line of an exchange that is over, as soon as those are known that are over with it."""
        if self._file is None or _is_poll(exchange):
            return
        self._lines.append(self._line(exchange))
        if len(self._lines) > 1:
            return
        try:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        except RuntimeError:  # no loop that could write it later
            self.flush()

    def _line(self, exchange: Exchange) -> str:
        response, request = exchange.response, exchange.request
        # At the proxy's own address the host is whatever the client wrote into Host.
        url = request.url.target if request.at_proxy_address else str(request.url)
        cache = (response.headers.get("Cache-Status") or str(response.cache)) if response else ""
        # A hit may have been revalidated once; nobody was asked for this request.
        upstream = response.upstream if response and not response.cache.hit else ""
        agent = request.headers.get("User-Agent", "").partition(" ")[0]
        more = f', "user": {encode_basestring_ascii(exchange.user)}' if exchange.user else ""
        if reason := _reason(response):
            more += f', "reason": {self._text(reason)}'
        if exchange.cut:
            more += f', "cut": {self._text(exchange.cut)}'
        return (
            f'{{"time": "{timestamp(exchange.started)}", "client": {self._text(request.client)}, '
            f'"method": {self._text(request.method)}, "url": {self._text(url)}, '
            f'"status": {response.status if response else CLIENT_LEFT}, "bytes": {exchange.sent}, '
            f'"seconds": {round(time.time() - exchange.started, 4)}, "cache": {self._text(cache)}, '
            f'"upstream": {self._text(upstream)}, "agent": {self._text(agent)}{more}}}\n'
        )

    def _text(self, text: str) -> str:
        return self._known(text) if len(text) <= SHORT_TEXT else _quoted(text)

    def flush(self) -> None:
        """Write the lines that have come. What cannot be written is lost: requests go on."""
        lines, self._lines = self._lines, []
        if self._file is None or not lines:
            return
        try:
            self._file.append("".join(lines).encode())
        except OSError as error:
            self._health.report("access log", f"access log {self._target}: {error.strerror}; its lines are lost")
        else:
            self._health.clear("access log")

    def close(self) -> None:
        """Write what is left, and close the file; standard output stays open."""
        self.flush()
        if self._file is not None:
            self._file.close()


def _is_poll(exchange: Exchange) -> bool:
    request, response = exchange.request, exchange.response
    return request.at_proxy_address and request.url.path in POLLED and response is not None and response.status == 200


def _reason(response: Response | None) -> str:
    """Return what a client was told that got an error from this proxy itself, in one line; empty for any other answer."""
    if response is None or response.status < 400 or response.upstream or not isinstance(response.body, bytes):
        return ""
    return "; ".join(line.strip() for line in response.body.decode(errors="replace").splitlines())[:LONGEST_REASON]


def _quoted(text: str) -> str:
    """Return a text as JSON, without what may be secret in it."""
    return encode_basestring_ascii(redact(text))


def open_access_log(target: str, health: Health, *, has_screen: bool = False) -> AccessLog:
    """Open the log that `pypi_cache_access_log` names. Raises SettingError.

    `has_screen`: standard output is the console's screen, and lines would be written over what it shows. Then they go nowhere.
    """
    try:
        return AccessLog("" if has_screen and target == STANDARD_OUTPUT else target, health)
    except OSError as error:
        reason = f"expected a file that can be written ({error.strerror})"
        raise SettingError(f"pypi_cache_access_log={target!r}: {reason}") from error
