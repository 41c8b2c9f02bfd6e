"""The access log: one line with a JSON object for each request, written when the request is over."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pkgcache.proxy.exchange import Exchange
from pkgcache.settings import SettingError
from pkgcache.units import redact

CLIENT_LEFT = 499
"""Status of a client that disconnected before its answer began, as nginx logs it."""


class AccessLog:
    """Writes to a file, to standard output (`-`) or nowhere (an empty text). Raises OSError if the file cannot be opened.

    The file is opened for appending, so that logrotate's `copytruncate` works, and is written line by line.
    """

    def __init__(self, target: str) -> None:
        self._stream: IO[str] | None = None
        self._owned = target not in {"", "-"}
        if target == "-":
            self._stream = sys.stdout
        elif target:
            self._stream = Path(target).expanduser().open("a", buffering=1, encoding="utf-8")

    def write(self, exchange: Exchange) -> None:
        """Write the line of an exchange that is over."""
        if self._stream is None:
            return
        response, request = exchange.response, exchange.request
        entry = {
            "time": datetime.fromtimestamp(exchange.started, UTC).isoformat(timespec="milliseconds"),
            "client": request.client,
            "method": request.method,
            # At the proxy's own address the host is whatever the client wrote into Host.
            "url": redact(request.url.target if request.at_proxy_address else str(request.url)),
            "status": response.status if response else CLIENT_LEFT,
            "bytes": exchange.sent,
            "seconds": round(time.time() - exchange.started, 4),
            "cache": redact(response.headers.get("Cache-Status") or str(response.cache)) if response else "",
            # A hit may have been revalidated once; nobody was asked for this request.
            "upstream": redact(response.upstream) if response and not response.cache.hit else "",
            "agent": redact(request.headers.get("User-Agent", "").partition(" ")[0]),
        }
        if exchange.cut:
            entry["cut"] = redact(exchange.cut)
        print(json.dumps(entry), file=self._stream, flush=not self._owned)

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._stream is not None and self._owned:
            self._stream.close()
            self._stream = None


def open_access_log(target: str) -> AccessLog:
    """Open the log that `pypi_cache_access_log` names. Raises SettingError."""
    try:
        return AccessLog(target)
    except OSError as error:
        reason = f"expected a file that can be written ({error.strerror})"
        raise SettingError(f"pypi_cache_access_log={target!r}: {reason}") from error
