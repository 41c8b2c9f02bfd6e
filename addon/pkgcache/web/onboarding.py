"""What an operator and an agent's user read first: the greeting in the log, and the start page with the commands to paste."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from typing import Final

from pkgcache import __version__
from pkgcache.engine.service import Service
from pkgcache.rules.routing.indexes import Index
from pkgcache.settings import Settings
from pkgcache.units import redact, shown_bytes, shown_duration
from pkgcache.web.agent_settings import DEFAULT_BUNDLE, is_index_only

_ANY = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  where it listens, not where to bind


def greeting(service: Service, listens: Sequence[tuple[str, int]]) -> list[str]:
    """Return the lines for the log at start: what runs where, and what to paste on an agent.

    `listens` are the addresses (host, port) that the proxy listens on.
    """
    settings = service.settings
    base = settings.public_url or reachable_url(listens)
    store = f"{settings.dir}, up to {shown_bytes(settings.max_size)}"
    public = "" if settings.public_url else " (or set pypi_cache_public_url, if agents reach the proxy by another name)"
    return [
        f"pypi-cache {__version__} listens on {', '.join(dict.fromkeys(map(_shown_address, listens))) or 'nothing'}",
        f"  store   {store if service.store.usable else 'UNUSABLE: nothing is kept'}",
        *([f"  shared  {settings.shared}"] if settings.shared else []),
        f"  CA      {base}/ca.pem",
        # "name@mirror" is a mirror under its own URL; the line of its index names it.
        *(f"  index   {_index_line(index)}" for index in service.indexes if "@" not in index.name),
        *([f"  parent  {service.client.parent}"] if service.client.parent else []),
        *_rule_lines(settings),
        f"Paste on an agent{public}:",
        *(f"  {line}" for line in agent_lines(base)),
    ]


def start_page(base: str) -> str:
    """Return the text of `/`. `base` is the proxy's URL as the reader knows it."""
    commands = "\n".join(f"  {line}" for line in agent_lines(base))
    host = base.partition("://")[2].partition("/")[0]
    host = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    trusted = "" if base.startswith("https:") else f" --trusted-host {host}"
    return f"""\
pypi-cache {__version__}

Paste on an agent:
{commands}

The same for other shells, and undone:
  eval "$(wget -qO- {base}/env.sh || echo false)"
  eval "$(python3 -c 'import urllib.request as r; print(r.urlopen("{base}/env.sh").read().decode())' || echo false)"
  curl -fsS {base}/env.fish | source
  irm {base}/env.ps1 | iex
  eval "$(curl -fsS '{base}/env.sh?undo' || echo false)"   # and so with env.fish?undo, env.ps1?undo

If an install fails there, this says why, and what is hidden of the project (or file) NAME by which rule, until when:
  curl -fsS {base}/doctor.py | python3 - NAME
  curl {base}/why/NAME

{INDEX_VARIABLES.format(base=base) if is_index_only(base) else PROXY_VARIABLES.format(base=base, bundle=DEFAULT_BUNDLE)}
Or for a single command, without any setup: pip install -i {base}/pypi/simple{trusted} …
"""


PROXY_VARIABLES: Final = """\
In a container or a pipeline (variables alone, so fetch or mount the bundle too):
  curl -fsS {base}/env.docker -o pypi-cache.env
  docker run --env-file pypi-cache.env -v $PWD/pypi-cache.pem:{bundle}:ro …
  curl -fsS {base}/bundle.pem -o {bundle}
  curl -fsS {base}/env.github >> "$GITHUB_ENV"
  {base}/env.json   # the same for programs; each of the three takes ?bundle=/where/the/bundle/is.pem
"""
INDEX_VARIABLES: Final = """\
In a container or a pipeline:
  curl -fsS {base}/env.docker -o pypi-cache.env
  docker run --env-file pypi-cache.env …
  curl -fsS {base}/env.github >> "$GITHUB_ENV"
  {base}/env.json   # the same for programs
"""


def agent_lines(base: str) -> list[str]:
    """Return the shell commands that make an agent use the proxy at `base`."""
    if is_index_only(base):
        return [
            f'eval "$(curl -fsS {base}/env.sh || echo false)"   # does it all; or by hand:',
            f"export PIP_INDEX_URL={base}/pypi/simple/ UV_DEFAULT_INDEX={base}/pypi/simple/",
            "pip install …   # or uv, pdm, pipenv",
        ]
    return [
        f'eval "$(curl -fsS {base}/env.sh || echo false)"   # does it all; or step by step:',
        f"curl -fsS {base}/bundle.pem -o pypi-cache.pem",
        f"export HTTPS_PROXY={base} PIP_CERT=$PWD/pypi-cache.pem SSL_CERT_FILE=$PWD/pypi-cache.pem REQUESTS_CA_BUNDLE=$PWD/pypi-cache.pem",
        "pip install …   # or uv, poetry, pdm, pipenv",
    ]


def reachable_url(listens: Sequence[tuple[str, int]]) -> str:
    """Return a URL at which an agent can reach the proxy: the first listening address.

    Where that is all interfaces, it is the address of the one that leads outside.
    """
    host, port = listens[0] if listens else ("", 8080)
    if host in _ANY:
        host = "127.0.0.1"
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # RFC 5737: an address that nobody has. `connect` of a datagram socket chooses the interface and sends nothing.
            probe.connect(("192.0.2.1", 9))
            host = probe.getsockname()[0]
    return f"http://{_bracketed(host)}:{port}"


def _rule_lines(settings: Settings) -> list[str]:
    """Return a line for each rule of the operator that is in force."""
    rules = {
        "offline": "yes: only what is stored is served" if settings.offline else "",
        "cooldown": _cooldown(settings) if settings.cooldown else "",
        "allow": " ".join(settings.allow),
        "deny": " ".join(settings.deny),
        "private": " ".join(settings.private),
        "status": " ".join(f"not {status}" for status in settings.deny_status),
        "advised": redact(settings.advisories),
    }
    return [f"  {name:7} {value}" for name, value in rules.items() if value]


def _cooldown(settings: Settings) -> str:
    exceptions = " ".join(settings.cooldown_except)
    return shown_duration(settings.cooldown) + (f", but not for {exceptions}" if exceptions else "")


def _index_line(index: Index) -> str:
    """Return the URL that clients know an index by, and its upstreams if these are elsewhere."""
    upstreams = [upstream.name for upstream in index.upstreams]
    known = str(index.simple)
    return f"{index.name}: {known}" + ("" if upstreams == [known] else f", fetched from {', '.join(upstreams)}")


def _shown_address(address: tuple[str, int]) -> str:
    host, port = address
    return f"{'*' if host in _ANY else _bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
