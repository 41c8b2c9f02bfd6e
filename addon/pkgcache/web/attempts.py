"""How often a client may give a wrong admin token: a few times a minute, by its address, whoever else asks from there."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from typing import Final

MOST_WRONG: Final = 5
WINDOW_SECONDS: Final = 60.0
"""So many wrong tokens within so long. Then none of that client's is looked at until the first of them is that old."""

MOST_CLIENTS: Final = 1024


class Attempts:
    """The wrong tokens of the last minute. Times are in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, client: str, now: float) -> int:
        """How many whole seconds this client has to wait before its next attempt; 0: none."""
        recent = [moment for moment in self._wrong.get(_network(client), ()) if now - moment < WINDOW_SECONDS]
        return math.ceil(recent[-MOST_WRONG] + WINDOW_SECONDS - now) if len(recent) >= MOST_WRONG else 0

    def failed(self, client: str, now: float) -> None:
        """Note a wrong token."""
        name = _network(client)
        self._wrong[name] = [*self._wrong.pop(name, [])[1 - MOST_WRONG :], now]
        while len(self._wrong) > MOST_CLIENTS:
            self._wrong.popitem(last=False)


def _network(client: str) -> str:
    """Return what one machine can have many addresses of: a /64 of IPv6, a single address of IPv4."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)
