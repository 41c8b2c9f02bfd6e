"""The access log: one JSON object a request, when it is over."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pkgcache.proxy.exchange import Exchange

CLIENT_LEFT = 499
"""What nginx logs for a client that left before its answer began."""


class AccessLog:
    """Writes to a file, to standard output (`-`), or nowhere (empty). Raises OSError for a file that cannot be opened."""

    def __init__(self, target: str) -> None:
        self._stream: IO[str] | None = None
        self._owned = target not in {"", "-"}
        if target == "-":
            self._stream = sys.stdout
        elif target:
            self._stream = Path(target).expanduser().open("a", buffering=1, encoding="utf-8")

    def write(self, exchange: Exchange) -> None:
        """One line for an exchange that is over."""
        if self._stream is None:
            return
        reply, request = exchange.response, exchange.request
        entry = {
            "time": datetime.fromtimestamp(exchange.started, UTC).isoformat(timespec="milliseconds"),
            "client": request.client,
            "method": request.method,
            "url": request.url.target if request.at_proxy_address else str(request.url),
            "status": reply.status if reply else CLIENT_LEFT,
            "bytes": exchange.sent,
            "seconds": round(time.time() - exchange.started, 4),
            "cache": str(reply.cache) if reply else "",
            "upstream": reply.upstream if reply else "",
            "agent": request.headers.get("User-Agent", "").partition(" ")[0],
        }
        if exchange.cut:
            entry["cut"] = exchange.cut
        print(json.dumps(entry), file=self._stream, flush=not self._owned)

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None and self._owned:
            self._stream.close()
            self._stream = None
