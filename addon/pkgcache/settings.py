"""One table of options, and the frozen `Settings` made from it.

The table is the only place where an option's name, type, default and meaning stand: mitmproxy's options, the checks at start,
the README's table (a test compares them) and `Settings` are all made from it.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pkgcache.units import parse_duration, parse_optional_duration, parse_size, redact

PREFIX = "pypi_cache_"

type OptionType = type[str | bool | Sequence[str]]
type Url = str


_INDEX = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)=(\S.*)")


_RESERVED = frozenset({"healthz", "metrics", "stats", "ca.pem", "bundle.pem", "env.sh"})


class SettingError(ValueError):
    """A wrong option: one line that names the option, the value and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSetting:
    """One `pypi_cache_index`: a name, and URLs whose meaning depends on it (see rules/indexes.py)."""

    name: str
    urls: tuple[Url, ...]


def parse_index(values: Sequence[str]) -> tuple[IndexSetting, ...]:
    """`NAME=URL [URL…]`, each name once."""
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
    """`HOST` or `HOST:PORT` each, blanks and commas between."""
    hosts = tuple(host.lower() for value in values for host in re.split(r"[\s,]+", value.strip()) if host)
    for host in hosts:
        if not re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:\d{1,5})?", host):
            raise ValueError("HOST or HOST:PORT, without a scheme or path")
    return hosts


def parse_public_url(text: str) -> str:
    """The proxy's own address as agents know it: `http://proxy.example:8080`, without a path; empty: unknown."""
    text = text.strip().rstrip("/")
    if text and not re.fullmatch(r"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?", text):
        raise ValueError("a URL without a path, such as http://proxy.example:8080")
    return text


def parse_directory(text: str) -> Path:
    """The store's folder; `~` is expanded; empty means the user's cache folder."""
    return Path(text).expanduser() if text.strip() else default_directory()


def one_of(*words: str) -> Callable[[str], str]:
    """A parser for one of a few words."""

    def parse(text: str) -> str:
        if text.strip() not in words:
            raise ValueError("one of " + ", ".join(words))
        return text.strip()

    return parse


def default_directory() -> Path:
    """The user's cache folder (XDG base directories; ~/Library/Caches on macOS)."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pypi-cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pypi-cache"


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table; `parse` turns mitmproxy's value into the one in `Settings`, or raises ValueError saying what fits."""

    name: str
    type: OptionType
    default: str | bool | tuple[str, ...]
    help: str
    parse: Callable[[Any], Any] = _same

    @property
    def full_name(self) -> str:
        """The name as mitmproxy's `--set` takes it."""
        return PREFIX + self.name


OPTIONS: tuple[Option, ...] = (
    Option("dir", str, "", "The store's folder; empty: the user's cache folder.", parse_directory),
    Option("max_size", str, "10g", "Bytes of files kept (k m g t); least recently used go first.", parse_size),
    Option(
        "memory", str, "64m", "Bytes of recently asked-for pages and small files held in memory (k m g t).", parse_size
    ),
    Option("inactive", str, "0", "Drop what nobody asked for in this long (30d); 0: never.", parse_duration),
    Option("min_free", str, "1g", "Free disk space to leave (k m g t).", parse_size),
    Option(
        "index",
        Sequence[str],
        (),
        "NAME=URL [URL…], one index a --set. For pypi all URLs are upstreams, in order; for another name the first is the URL "
        "that clients use (and the upstream, if alone), the rest its mirrors.",
        parse_index,
    ),
    Option(
        "file_hosts",
        Sequence[str],
        (),
        "Further file hosts to open: HOST or HOST:PORT. Hosts that an index's pages link to are learned by themselves.",
        parse_hosts,
    ),
    Option("public_url", str, "", "The proxy's own address as agents know it: http://HOST:PORT.", parse_public_url),
    Option(
        "index_ttl",
        str,
        "",
        "Overrides the upstream's lifetime of index pages (10m). Without either: 10 minutes.",
        parse_optional_duration,
    ),
    Option(
        "stale_while_revalidate",
        str,
        "1m",
        "A page past its lifetime by no more than this is served at once and renewed behind the client's back.",
        parse_duration,
    ),
    Option(
        "stale_if_error",
        str,
        "30d",
        "How long past its lifetime a page is served if the upstream fails.",
        parse_duration,
    ),
    Option("negative_ttl", str, "1m", "How long a 404 of a page is remembered.", parse_duration),
    Option("offline", bool, False, "Answer from the store alone."),
    Option("allow", Sequence[str], (), "Project-name globs: only these are to be had; none: all are."),
    Option("deny", Sequence[str], (), "Project-name globs that are not to be had."),
    Option(
        "cooldown",
        str,
        "0",
        "Hide files younger than this (7d), on pages and when asked for by themselves; an unknown upload time counts as young.",
        parse_duration,
    ),
    Option(
        "private",
        Sequence[str],
        (),
        "GLOB=INDEX: project names that belong to that index alone and are never asked of another (dependency confusion).",
    ),
    Option(
        "finish_abandoned",
        str,
        "2g",
        "A download whose clients have all left goes on if the file is no larger than this (k m g t); 0: it stops.",
        parse_size,
    ),
    Option(
        "other_hosts",
        str,
        "tunnel",
        "Hosts that are no package hosts: tunnel (never decrypted), intercept (mitmproxy's own way) or deny.",
        one_of("tunnel", "intercept", "deny"),
    ),
    Option(
        "local_hosts",
        Sequence[str],
        (),
        "HOST or HOST:PORT on the proxy's own machine that tunnels may reach all the same.",
        parse_hosts,
    ),
    Option("access_log", str, "-", "One JSON object a request: a path, - for standard output, or empty for none."),
    Option(
        "flows",
        str,
        "auto",
        "Show package traffic as mitmproxy flows: auto (under mitmweb and the console), always or never.",
        one_of("auto", "always", "never"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options' values, checked and in their own types: sizes in bytes, times in seconds."""

    dir: Path
    max_size: int
    memory: int
    inactive: float
    min_free: int
    index: tuple[IndexSetting, ...]
    file_hosts: tuple[str, ...]
    public_url: str
    index_ttl: float | None
    stale_while_revalidate: float
    stale_if_error: float
    negative_ttl: float
    offline: bool
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    cooldown: float
    private: tuple[str, ...]
    finish_abandoned: int
    other_hosts: Literal["tunnel", "intercept", "deny"]
    local_hosts: tuple[str, ...]
    access_log: str
    flows: Literal["auto", "always", "never"]


def make_settings(values: Mapping[str, Any]) -> Settings:
    """`Settings` of option values by full name; what is not given has its default. Raises SettingError."""
    known = {option.full_name: option for option in OPTIONS}
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            raise SettingError(f"{name}: there is no such option" + (f"; did you mean {close[0]}?" if close else ""))
    parsed = {o.name: _parse(o, values.get(o.full_name, o.default)) for o in OPTIONS}
    assert set(parsed) == {f.name for f in fields(Settings)}
    return Settings(**parsed)


def _parse(option: Option, value: Any) -> Any:
    try:
        return option.parse(_typed(option, value))
    except ValueError as error:
        shown = redact(" ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
        raise SettingError(f"{option.full_name}={shown!r}: expected {error}") from None


def _typed(option: Option, value: Any) -> Any:
    """mitmproxy's raw forms: a list of strings from `--set`, or a typed value from config.yaml."""
    if option.type == Sequence[str]:  # a new alias each time: equal, not the same
        if isinstance(value, str):
            return (value,)
        if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ValueError("a list of texts")
    if isinstance(value, list | tuple):
        if len(value) > 1:
            raise ValueError("one value, and several were given")
        value = value[0] if value else ""
    if option.type is bool:
        return _boolean(value)
    if isinstance(value, bool) or value is None:
        raise ValueError("a text")
    return str(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in {"true", None, ""}:  # `--set pypi_cache_offline` alone means true, as mitmproxy has it
        return True
    if value == "false":
        return False
    raise ValueError("true or false")
