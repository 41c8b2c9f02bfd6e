"""The table of options, and the frozen `Settings` made from their values.

The table is the only place that gives an option's name, type, default and help text: mitmproxy's options and the checks at start are
made from it, and tests compare the table in docs/pages/options.md and the fields of `Settings` with it.

Leaves out: what a value may be (`option_values`), and what it means for a request.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pkgcache.option_values import (
    IndexSetting,
    Network,
    one_of,
    parse_advisories,
    parse_directory,
    parse_hosts,
    parse_index,
    parse_interval,
    parse_networks,
    parse_public_url,
    parse_shared,
    parse_statuses,
    parse_token_source,
)
from pkgcache.units import parse_duration, parse_optional_duration, parse_size, redact

PREFIX = "pypi_cache_"

type OptionType = type[str | bool | Sequence[str]]


class SettingError(ValueError):
    """An option has a wrong value. The message is one line with the option, the value and what is expected."""


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Option:
    """A row of the table. `parse` makes the value in `Settings` from mitmproxy's, or raises ValueError that says what is expected."""

    name: str
    type: OptionType
    default: str | bool | tuple[str, ...]
    help: str
    parse: Callable[[Any], Any] = _unchanged
    secret: bool = False
    """Whether its value is not to be shown."""

    @property
    def full_name(self) -> str:
        """The name as mitmproxy's `--set` takes it."""
        return PREFIX + self.name


OPTIONS: tuple[Option, ...] = (
    Option("dir", str, "", "The store's folder; empty: pypi-cache in the user's cache folder.", parse_directory),
    Option(
        "max_size",
        str,
        "10g",
        "How large the store may grow (k m g t). The least recently used entries are evicted first.",
        parse_size,
    ),
    Option("memory", str, "64m", "Memory for recently served pages and small files (k m g t).", parse_size),
    Option(
        "known_heads",
        str,
        "32m",
        "Memory for remembering request headers already parsed (k m g t); 0: none.",
        parse_size,
    ),
    Option("inactive", str, "0", "Evict entries not requested for this long (30d); 0: never.", parse_duration),
    Option("min_free", str, "1g", "Free disk space to leave (k m g t).", parse_size),
    Option(
        "index",
        Sequence[str],
        (),
        "NAME=URL [URL…], once for each index. For pypi all URLs are upstreams, in order of preference. For "
        "another name the first is the URL that clients use, and the others are its mirrors; if you give "
        "none, that URL is also the upstream.",
        parse_index,
    ),
    Option(
        "file_hosts",
        Sequence[str],
        (),
        "Further file hosts to cache: HOST or HOST:PORT. Hosts that an index's pages link to are added automatically.",
        parse_hosts,
    ),
    Option(
        "public_url",
        str,
        "",
        "The proxy's own address as agents know it: http://HOST:PORT. With a path, such as https://HOST/PATH, it is that of a reverse "
        "proxy in HTTP mode that takes the path away; agents name it as their index.",
        parse_public_url,
    ),
    Option(
        "index_ttl",
        str,
        "",
        "How long index pages stay fresh (10m), whatever the upstream says (default: as it says, or 10 minutes).",
        parse_optional_duration,
    ),
    Option(
        "stale_while_revalidate",
        str,
        "1m",
        "For this long after it went stale, a page is served at once and refreshed in the background.",
        parse_duration,
    ),
    Option(
        "stale_if_error",
        str,
        "30d",
        "For this long after it went stale, a page is served if the upstream fails.",
        parse_duration,
    ),
    Option("negative_ttl", str, "1m", "How long to remember that a page does not exist (404).", parse_duration),
    Option(
        "shared",
        str,
        "",
        "A store of files and pages that several machines share: s3://BUCKET/PREFIX, gs://…, az://CONTAINER/PREFIX "
        "or file:///FOLDER. It is asked before the upstreams. Needs the extra pypi-cache[shared].",
        parse_shared,
    ),
    Option(
        "shared_wait",
        str,
        "2s",
        "How long a request waits for the shared tier before an upstream is asked.",
        parse_duration,
    ),
    Option(
        "shared_follow",
        str,
        "8s",
        "How long a download waits for another machine that downloads the same file into the shared tier; 0: not at all.",
        parse_duration,
    ),
    Option(
        "shared_private",
        bool,
        False,
        "Let the shared tier also have what was fetched with credentials, kept apart for each of them.",
    ),
    Option("offline", bool, False, "Answer from the store only; never connect to an upstream."),
    Option("allow", Sequence[str], (), "Allow only these projects (default: all). Separate several globs with spaces."),
    Option("deny", Sequence[str], (), "Refuse these projects. Separate several globs with spaces."),
    Option(
        "cooldown",
        str,
        "0",
        "Hide files uploaded less than this long ago (7d), on pages and when requested directly. A file without "
        "an upload time is hidden too.",
        parse_duration,
    ),
    Option(
        "cooldown_except",
        Sequence[str],
        (),
        "GLOB or GLOB=INDEX: projects without a cooldown, everywhere or on that index (*=corp: all of corp's). "
        "Separate several with spaces.",
    ),
    Option(
        "advisories",
        str,
        "",
        "OSV records of Python projects: a folder, a JSON file, an ecosystem's zip, or the URL of one.",
        parse_advisories,
    ),
    Option(
        "advisories_block",
        str,
        "malicious",
        "Which versions to refuse that an advisory names: malicious (MAL-…), all or none.",
        one_of("malicious", "all", "none"),
    ),
    Option(
        "advisories_yank",
        bool,
        True,
        "Mark the other versions that an advisory names as yanked: resolvers avoid them, and locks still install them.",
    ),
    Option(
        "advisories_refresh",
        str,
        "1h",
        "How often to look for newer advisories; at least 1s.",
        parse_interval,
    ),
    Option(
        "deny_status",
        Sequence[str],
        (),
        "Refuse projects that their index marks so: quarantined, archived, deprecated. Separate several with spaces.",
        parse_statuses,
    ),
    Option(
        "private",
        Sequence[str],
        (),
        "GLOB=INDEX: these projects come from that index only and are never requested from another (dependency "
        "confusion).",
    ),
    Option(
        "finish_abandoned",
        str,
        "2g",
        "Finish a download after its last client has left if the file is no larger than this (k m g t); 0: never.",
        parse_size,
    ),
    Option(
        "other_hosts",
        str,
        "tunnel",
        "What to do with hosts that serve no packages: tunnel (never decrypted), intercept (as mitmproxy would) "
        "or deny.",
        one_of("tunnel", "intercept", "deny"),
    ),
    Option(
        "local_hosts",
        Sequence[str],
        (),
        "HOST or HOST:PORT on the proxy's own machine that tunnels may reach; all others there are refused.",
        parse_hosts,
    ),
    Option(
        "proxy_protocol",
        Sequence[str],
        (),
        "Networks of balancers that send a PROXY header (version 1 or 2) before each connection, which names the client: "
        "it is required from them and refused from all others.",
        parse_networks,
    ),
    Option(
        "access_log",
        str,
        "-",
        "Where to write one JSON object for each package request: a path, - for standard output, or empty for nowhere.",
    ),
    Option(
        "admin_token",
        str,
        "",
        "What an operator has to give on the dashboard to change anything: @FILE with the token in it, env:NAME of an "
        "environment variable, or the token itself (16 characters or more); empty: nothing can be changed by HTTP.",
        parse_token_source,
        secret=True,
    ),
    Option(
        "ready_needs_store",
        bool,
        False,
        "Answer 503 on /readyz also while the store is unusable; otherwise the proxy continues without storing.",
    ),
    Option(
        "stop_wait",
        str,
        "10s",
        "How long what is under way may take to end after SIGTERM; the port is closed at once.",
        parse_duration,
    ),
    Option(
        "flows",
        str,
        "auto",
        "Show package traffic as mitmproxy flows: auto (in mitmweb and the console), always or never.",
        one_of("auto", "always", "never"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of all options, checked and in their own types: sizes in bytes, times in seconds."""

    dir: Path
    max_size: int
    memory: int
    known_heads: int
    inactive: float
    min_free: int
    index: tuple[IndexSetting, ...]
    file_hosts: tuple[str, ...]
    public_url: str
    index_ttl: float | None
    stale_while_revalidate: float
    stale_if_error: float
    negative_ttl: float
    shared: str
    shared_wait: float
    shared_follow: float
    shared_private: bool
    offline: bool
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    cooldown: float
    cooldown_except: tuple[str, ...]
    deny_status: tuple[str, ...]
    advisories: str
    advisories_block: Literal["malicious", "all", "none"]
    advisories_yank: bool
    advisories_refresh: float
    private: tuple[str, ...]
    finish_abandoned: int
    other_hosts: Literal["tunnel", "intercept", "deny"]
    local_hosts: tuple[str, ...]
    proxy_protocol: tuple[Network, ...]
    access_log: str
    admin_token: str = field(repr=False)
    ready_needs_store: bool
    stop_wait: float
    flows: Literal["auto", "always", "never"]


def make_settings(values: Mapping[str, Any]) -> Settings:
    """Make `Settings` from option values by full name; missing ones have their defaults. Raises SettingError."""
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
        return option.parse(in_its_type(option, value))
    except ValueError as error:
        shown = redact(" ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
        shown = "***" if option.secret else shown
        raise SettingError(f"{option.full_name}={shown!r}: expected {error}") from None


def in_its_type(option: Option, value: Any) -> Any:
    """Return a value in the option's own type, or raise ValueError.

    mitmproxy gives a list of strings for `--set`; config.yaml may have one text where a list is meant, or a number for a size.
    """
    if option.type == Sequence[str]:  # `is` would be wrong: each `Sequence[str]` is a new object
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
    if value in ("true", None, ""):  # `--set pypi_cache_offline` alone means true, as mitmproxy has it
        return True
    if value == "false":
        return False
    raise ValueError("true or false")
