"""What an agent's shell, container or pipeline needs to use the proxy, in each of the forms that these read.

`/env.sh`, `/env.fish` and `/env.ps1` are scripts of `data/agent`: they fetch the bundle, set the variables, and with `?undo` restore what
was set before. `/env.json`, `/env.github` and `/env.docker` are the variables alone, for a bundle that is fetched or mounted at the path
`?bundle=…`. Where the proxy requires a login, scripts ask for it, and the others have `USER:PASSWORD` in its place.

A `base` with a path is a reverse proxy's, to which no CONNECT can be sent: agents then get the proxy as their index, and need no bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from pkgcache.rules.routing.urls import Url

SCRIPTS: Final[Mapping[str, str]] = {
    "/env.sh": "text/x-shellscript; charset=utf-8",
    "/env.fish": "text/x-shellscript; charset=utf-8",
    "/env.ps1": "text/plain; charset=utf-8",
}
VARIABLES: Final[Mapping[str, str]] = {
    "/env.json": "application/json",
    "/env.github": "text/plain; charset=utf-8",
    "/env.docker": "text/plain; charset=utf-8",
}
DIRECT: Final = "localhost,127.0.0.1,::1"
"""What goes past the proxy: its tunnels refuse its own machine, and would reach that instead of the agent's."""

PROXY_NAMES: Final = (
    *("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"),
    *("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
INDEX_NAMES: Final = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "PDM_PYPI_URL", "PIPENV_PYPI_MIRROR", "PIP_TRUSTED_HOST")
"""What the scripts set, by the way in which agents use the proxy, and restore."""

DEFAULT_BUNDLE: Final = "/tmp/pypi-cache.pem"  # noqa: S108  on the agent, where its user fetches or mounts it
DOCTOR: Final = "/doctor.py"
DATA: Final = Path(__file__).parents[1] / "data"


def is_index_only(base: str) -> bool:
    """Whether the proxy's URL has a path."""
    return "/" in base.partition("://")[2]


def script(path: str, base: str, *, undo: bool, login: bool) -> str:
    """Return the script at `path`. `base` is the proxy's URL, of host characters alone, so that no shell finds anything in it."""
    folder, suffix, as_index = DATA / "agent", Path(path).suffix, is_index_only(base)
    text = (folder / f"{'undo' if undo else 'index' if as_index else 'env'}{suffix}").read_text()
    scheme, _, authority = base.partition("://")
    places = {
        "@ASK@": (folder / f"ask{suffix}").read_text(),
        "@PROXY@": base,
        "@SCHEME@": scheme,
        "@AUTHORITY@": authority,
        "@HOST@": authority.partition("/")[0],
        "@LOGIN@": "yes" if login else "no",
        "@NAMES@": " ".join(INDEX_NAMES if as_index else PROXY_NAMES),
        "@MARK@": "PYPI_CACHE_INDEX" if as_index else "PYPI_CACHE_BUNDLE",
    }
    for place, value in places.items():
        text = text.replace(place, value)
    return text


def variables(path: str, base: str, bundle: str, *, login: bool) -> str:
    """Return the variables at `path` for a bundle at the path `bundle` of the agent."""
    scheme, _, authority = base.partition("://")
    proxy = f"{scheme}://USER:PASSWORD@{authority}" if login else base
    if is_index_only(base):
        values = dict.fromkeys(INDEX_NAMES, f"{proxy}/pypi/simple/") | {"PIP_TRUSTED_HOST": authority.partition("/")[0]}
        if scheme == "https":
            del values["PIP_TRUSTED_HOST"]
    else:
        values = dict(zip(PROXY_NAMES, (proxy, proxy, DIRECT, DIRECT, bundle, bundle, bundle, bundle), strict=True))
    if path == "/env.json":
        return json.dumps(values, indent=2) + "\n"
    return "".join(f"{name}={value}\n" for name, value in values.items())


def doctor(base: str, indexes: Sequence[str]) -> str:
    """Return the script that finds out on an agent what is wrong there: the file that `pypi-cache doctor --client` uses."""
    text = (DATA.parent / "cli" / "checks" / "agent.py").read_text()
    empty, filled = "SERVED: Mapping[str, Any] = {}\n", {"proxy": base, "indexes": list(indexes)}
    before, _, after = text.partition(empty)
    return f"{before}SERVED: Mapping[str, Any] = {json.dumps(filled)}\n{after}"


def wants_undo(url: Url) -> bool:
    """Whether a script is to undo: `?undo`."""
    return "undo" in parse_qs(url.query, keep_blank_values=True)


def bundle_path(url: Url) -> str:
    """Return the path in `?bundle=…`. Raises ValueError where it could begin another variable."""
    path = parse_qs(url.query).get("bundle", [DEFAULT_BUNDLE])[-1]
    if not path.isprintable():
        raise ValueError("?bundle= must be the path of a file, in printable characters")
    return path
