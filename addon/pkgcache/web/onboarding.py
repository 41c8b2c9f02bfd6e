"""web/onboarding.py."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from pkgcache.rules.routing.indexes import Index

_ANY = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  where it listens, not where to bind


def _index_line(index: Index) -> str:
    """Where clients know an index, and where it comes from if that is elsewhere."""
    upstreams = [upstream.name for upstream in index.upstreams]
    known = str(index.simple)
    return f"{index.name}: {known}" + ("" if upstreams == [known] else f", from {', '.join(upstreams)}")


def _agent_lines(base: str) -> list[str]:
    return [
        f'settings=$(curl -fsS {base}/env.sh) && eval "$settings"   # all of it; or by hand:',
        f"curl -fsS {base}/bundle.pem -o pypi-cache.pem",
        f"export HTTPS_PROXY={base} PIP_CERT=$PWD/pypi-cache.pem SSL_CERT_FILE=$PWD/pypi-cache.pem REQUESTS_CA_BUNDLE=$PWD/pypi-cache.pem",
        "pip install …   # or uv, poetry, pdm, pipenv",
    ]


def _listening(address: tuple[str, int]) -> str:
    host, port = address
    return f"{'*' if host in _ANY else f'[{host}]' if ':' in host else host}:{port}"


def _outward(listens: Sequence[tuple[str, int]]) -> str:
    """The proxy's URL as an agent may reach it: a listening address, or where it listens on all of them the one that leads outward."""
    host, port = listens[0] if listens else ("", 8080)
    if host in _ANY:
        host = "127.0.0.1"
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: nobody's; a datagram socket's connect sends nothing
            host = probe.getsockname()[0]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _hostname(base: str) -> str:
    return base.partition("://")[2].rpartition(":")[0] or base.partition("://")[2]
