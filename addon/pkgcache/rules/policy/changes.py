"""What an operator may ask for on the dashboard, as JSON; and whether a request can come from a page of another site.

A browser sends what any page tells it to. It says who that was by `Origin` (RFC 6454) and `Sec-Fetch-Site` (Fetch Metadata), it asks
first (CORS) before it sends JSON or a header of ours to another site, and nobody else's page knows the token. `Host` is checked too: a
name that somebody points at the proxy's address (DNS rebinding) makes that page's requests look like our own, and lets it read answers.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection
from dataclasses import dataclass

from packaging.utils import InvalidName, NormalizedName, canonicalize_name

from pkgcache.rules.routing.urls import DEFAULT_PORTS, Url, parse_authority


@dataclass(frozen=True, slots=True)
class Check:
    """Only see whether the token is right."""


@dataclass(frozen=True, slots=True)
class Purge:
    """Drop all that is stored of one project."""

    project: NormalizedName


@dataclass(frozen=True, slots=True)
class Offline:
    """Answer from the store alone, or no longer."""

    on: bool


@dataclass(frozen=True, slots=True)
class Reload:
    """Read config.yaml again."""


type Change = Check | Purge | Offline | Reload

MOST_NAME = 200
"""Characters of a project's name. The longest on the public index has 80."""


def parse_change(body: bytes) -> Change:
    """Read a change: an object with `action`, and what that needs. Raises ValueError, whose message says what would be right.

    >>> parse_change(b'{"action": "purge", "project": "Zope.Interface"}')
    Purge(project='zope-interface')
    """
    try:
        given = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise ValueError("the body is to be a JSON object") from None
    match given:
        case {"action": "check", **rest} if not rest:
            return Check()
        case {"action": "reload", **rest} if not rest:
            return Reload()
        case {"action": "offline", "on": bool(on), **rest} if not rest:
            return Offline(on)
        case {"action": "purge", "project": str(project), **rest} if not rest and len(project) <= MOST_NAME:
            try:
                return Purge(canonicalize_name(project, validate=True))
            except InvalidName:
                raise ValueError('"project" is to be the name of one project') from None
    raise ValueError(
        'expected {"action": "check"}, {"action": "purge", "project": NAME}, {"action": "offline", "on": true} or '
        '{"action": "reload"}'
    )


def why_foreign_name(host: str, public: Url | None, machine: Collection[str]) -> str:
    """Return why a request may be another site's, by its `Host`; empty where it cannot be, whatever page has sent it.

    `public` is the proxy's own URL as agents know it, `machine` the names of the machine that it runs on.

    >>> why_foreign_name("10.0.0.5:8080", None, ()), why_foreign_name("Build7:8080", None, ["build7"])
    ('', '')
    """
    if _is_own(host, public, machine):
        return ""
    return "open the dashboard by the proxy's address, or set pypi_cache_public_url to the URL that you use"


def why_foreign(
    host: str, origin: str | None, site: str | None, public: Url | None, machine: Collection[str] = ()
) -> str:
    """Return why a request may be another site's, by its `Host`, `Origin` and `Sec-Fetch-Site`; empty where it cannot be.

    `public` and `machine` are those of `why_foreign_name`.

    >>> why_foreign("10.0.0.5:8080", "http://10.0.0.5:8080", "same-origin", None)
    ''
    """
    if why := why_foreign_name(host, public, machine):
        return why
    if site is not None and site not in {"same-origin", "none"}:
        return "this comes from a page of another site"
    allowed = {f"{scheme}://{host.lower()}" for scheme in ("http", "https")} | ({public.origin} if public else set())
    if origin is not None and origin.lower() not in allowed:
        return "this comes from a page of another site"
    return ""


def _is_own(host: str, public: Url | None, machine: Collection[str]) -> bool:
    """Whether a Host is the proxy's URL as agents know it, however that is written; or an IP address, localhost or the machine itself.

    No other site can have one of these for a name.
    """
    try:
        if public is not None and parse_authority(host, DEFAULT_PORTS[public.scheme]) == (public.host, public.port):
            return True
        name, _ = parse_authority(host, 80)
        return name == "localhost" or name in machine or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
