"""What the value of each option may be: parsers that make it what `Settings` has, or raise ValueError that says what is expected.

Leaves out: sizes and times (`units`), and what a value means for a request. Globs and index URLs are parsed where their rules are.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from pkgcache.units import parse_duration

type Network = IPv4Network | IPv6Network

_INDEX = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)=(\S.*)")
# Paths of the proxy's own pages, where an index of that name would be hidden.
_RESERVED = frozenset({"healthz", "readyz", "metrics", "stats", "ca.pem", "bundle.pem", "env.sh"})


STATUSES = ("quarantined", "archived", "deprecated")
"""What an index may say of a project (PEP 792), but for `active`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSetting:
    """One value of `pypi_cache_index`: a name and URLs. For `pypi` all are upstreams; for another name the first is the clients' URL."""

    name: str
    urls: tuple[str, ...]


def parse_index(values: Sequence[str]) -> tuple[IndexSetting, ...]:
    """Read `NAME=URL [URL…]` values; each name may be there once. The name is returned in lower case."""
    found: dict[str, IndexSetting] = {}
    for value in values:
        match = _INDEX.fullmatch(value.strip())
        if not match or not all(re.match(r"https?://[^/\s]+", url) for url in match[2].split()):
            raise ValueError("NAME=URL [URL…] with http(s) URLs, such as torch=https://wheels.example/whl/cpu")
        name = match[1].lower()
        if name in _RESERVED:
            raise ValueError(f"another name: {name!r} is one of the proxy's own pages")
        if name in found:
            raise ValueError(f"each name once: {name!r} is there twice; put its URLs into one value")
        found[name] = IndexSetting(name=name, urls=tuple(match[2].split()))
    return tuple(found.values())


def parse_hosts(values: Sequence[str]) -> tuple[str, ...]:
    """Read `HOST` or `HOST:PORT` values, separated by spaces or commas; in lower case.

    >>> parse_hosts(["Files.Example, [::1]:8080"])
    ('files.example', '[::1]:8080')
    """
    hosts = tuple(host.lower() for value in values for host in re.split(r"[\s,]+", value.strip()) if host)
    for host in hosts:
        if not re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:\d{1,5})?", host):
            raise ValueError("HOST or HOST:PORT, without a scheme or path")
    return hosts


def parse_networks(values: Sequence[str]) -> tuple[Network, ...]:
    """Read networks and single addresses, separated by spaces or commas.

    >>> parse_networks(["10.0.0.0/8, 2001:db8::1"])
    (IPv4Network('10.0.0.0/8'), IPv6Network('2001:db8::1/128'))
    """
    try:
        return tuple(ip_network(text) for value in values for text in re.split(r"[\s,]+", value.strip()) if text)
    except ValueError as error:
        raise ValueError(f"networks such as 10.0.0.0/8 or 2001:db8::1 ({error})") from None


def parse_public_url(text: str) -> str:
    """Read the proxy's own address as agents know it; an empty text means that it is not known.

    It has a path behind a reverse proxy that takes it away. Shells read it, so it has no character that means anything to them.
    """
    text = text.strip().rstrip("/")
    if text and not re.fullmatch(
        r"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?(/(?!\.{1,2}(/|\Z))[A-Za-z0-9_.~-]+)*", text
    ):
        raise ValueError(
            "a URL such as http://proxy.example:8080, or https://tools.example/pypi-cache behind a reverse proxy"
        )
    return text


def parse_token_source(text: str) -> str:
    """Read where the admin token is: `@FILE`, `env:NAME`, or the token itself. An empty text means that there is none."""
    text = text.strip()
    if text and not re.fullmatch(r"@.+|env:[A-Za-z_][A-Za-z0-9_]*|(?!@|env:)[!-~]{16,256}", text):
        raise ValueError("@FILE, env:NAME, or a token of 16 to 256 characters without spaces")
    return text


def parse_directory(text: str) -> Path:
    """Read the store's folder. `~` is expanded; an empty text means the user's cache folder."""
    try:
        return Path(text).expanduser() if text.strip() else default_directory()
    except RuntimeError:  # a service's user
        raise ValueError("a folder's whole path, since this user has no home") from None


def parse_statuses(values: Sequence[str]) -> tuple[str, ...]:
    """Read status markers of projects (PEP 792), separated by spaces or commas; `active` is what all others are.

    >>> parse_statuses(["quarantined, archived"])
    ('quarantined', 'archived')
    """
    words = tuple(dict.fromkeys(word for value in values for word in re.split(r"[\s,]+", value) if word))
    for word in words:
        if word not in STATUSES:
            raise ValueError(f"words of {', '.join(STATUSES)}")
    return words


def parse_advisories(text: str) -> str:
    """Read a path or an http(s) URL. `~` is expanded; an empty text means that there are none."""
    text = text.strip()
    if re.match(r"https?://[^/\s?#]+\S*\Z", text, re.IGNORECASE):
        return text
    if "://" in text:
        raise ValueError("a folder, a JSON file or a zip, or an http(s) URL")
    return str(Path(text).expanduser()) if text else ""


def parse_interval(text: str) -> float:
    """Read how often something is done: a duration of a second or more."""
    if (seconds := parse_duration(text)) < 1:
        raise ValueError("a time of 1s or more, such as 1h")
    return seconds


def parse_shared(text: str) -> str:
    """Read the URL of the shared tier; an empty text means that there is none. Credentials have no place in it."""
    text = text.strip().rstrip("/")
    if text and not re.fullmatch(r"(s3|gs|az)://[^\s@?#/][^\s@?#]*|file:///[^\s@?#][^\s?#]*", text):
        raise ValueError(
            "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///FOLDER, without credentials "
            "(they come from the environment)"
        )
    return text


def one_of(*words: str) -> Callable[[str], str]:
    """Make a parser that takes one of a few words."""

    def parse(text: str) -> str:
        if text.strip() not in words:
            raise ValueError("one of " + ", ".join(words))
        return text.strip()

    return parse


def default_directory() -> Path:
    """The store's folder in the user's cache folder (by the XDG Base Directory Specification; `~/Library/Caches` on macOS)."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pypi-cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pypi-cache"
