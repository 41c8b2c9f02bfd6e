"""`pypi-cache stats`: how much the store holds, of what and how old, and the counters of a running proxy."""

from __future__ import annotations

import heapq
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from pkgcache.cli.opening import opened
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line, shown_size, shown_time
from pkgcache.cli.progress_bar import bar
from pkgcache.cli.proxy_client import ProxyClient, ProxyError, shown_url
from pkgcache.cli.shared_tier import counts, on_tier
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.store.entries import Row
from pkgcache.engine.store.keys import ParsedKey, parse_key

PROJECTS_SHOWN = 10
WIDTH = 120
"""Columns of the tables where standard output is no terminal."""


@dataclass(slots=True)
class Tally:
    """Counts of the store's rows; sizes are those of the values, in bytes, and times are in seconds since the epoch."""

    entries: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    projects: Counter[str] = field(default_factory=Counter)
    private: int = 0
    oldest: float | None = None
    first_accessed: float | None = None
    last_accessed: float | None = None

    def count(self, row: Row, parsed: ParsedKey) -> None:
        """Count one row."""
        self.entries[parsed.kind] += 1
        self.sizes[parsed.kind] += row.size
        if parsed.project:
            self.projects[parsed.project] += row.size
        self.private += parsed.private
        self.oldest = min(self.oldest or row.stored_at, row.stored_at)
        self.first_accessed = min(self.first_accessed or row.accessed_at, row.accessed_at)
        self.last_accessed = max(self.last_accessed or row.accessed_at, row.accessed_at)

    @property
    def largest(self) -> list[tuple[str, int]]:
        """The projects that take most space, with their bytes."""
        return heapq.nlargest(PROJECTS_SHOWN, self.projects.items(), key=lambda item: item[1])


@click.command(short_help="Show how much the store holds, of what, and its limit.")
@click.option("--proxy", metavar="URL", help="Also show the counters of this running proxy: http://127.0.0.1:8080.")
@click.option("--shared", is_flag=True, help="Also count what the shared tier has, which lists all of it.")
@AS_JSON
@with_store_options
def stats(location: StoreLocation, *, proxy: str | None, shared: bool, as_json: bool) -> None:
    """Show how much the store holds, of what, and its limit.

    Exit code 1 if --proxy is given and does not answer.
    """
    counters = _counters(proxy) if proxy is not None else None
    tally = Tally()
    with opened(location) as entries:
        figures = entries.figures()
        with bar("counting", figures["entries"], of_bytes=False) as progress:
            for row in entries.rows():
                tally.count(row, parse_key(row.key))
                progress.advance()
        disk = shutil.disk_usage(location.folder)
        min_free = entries.eviction.min_free
    found: dict[str, Any] = {
        "folder": str(location.folder),
        **figures,
        "disk_free": disk.free,
        "disk_total": disk.total,
        "min_free": min_free,
        "kinds": {kind: {"entries": tally.entries[kind], "bytes": tally.sizes[kind]} for kind in sorted(tally.entries)},
        "private_entries": tally.private,
        "oldest_stored_at": tally.oldest,
        "first_accessed_at": tally.first_accessed,
        "last_accessed_at": tally.last_accessed,
        "projects": len(tally.projects),
        "largest_projects": [{"project": name, "bytes": size} for name, size in tally.largest],
    }
    if counters is not None:
        found["proxy"] = counters
    if shared:
        found["shared"] = {"url": location.settings.shared, **on_tier(location, counts)}
    if as_json:
        print_json(found)
    else:
        _show(found)


def _counters(proxy: str) -> dict[str, Any]:
    try:
        return dict(ProxyClient(proxy).stats())
    except ProxyError as error:
        raise click.ClickException(f"--proxy {shown_url(proxy)}: {error}") from None


def _show(found: dict[str, Any]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    with console.capture() as shown:
        _print(console, found)
    for line in shown.get().splitlines():
        print_line(line.rstrip())


def _print(console: Console, found: dict[str, Any]) -> None:
    share = found["bytes"] / found["max_bytes"] if found["max_bytes"] else 0
    plain = Table(box=None, show_header=False, pad_edge=False)
    plain.add_row("store", found["folder"])
    plain.add_row(
        "holds",
        f"{counted(found['entries'], 'entry', 'entries')}, {shown_size(found['bytes'])} of {shown_size(found['max_bytes'])} ({share:.0%})",
    )
    plain.add_row(
        "disk",
        f"{shown_size(found['disk_free'])} of {shown_size(found['disk_total'])} free, {shown_size(found['min_free'])} kept free",
    )
    plain.add_row("oldest", shown_time(found["oldest_stored_at"]))
    plain.add_row("accessed", f"{shown_time(found['first_accessed_at'])} … {shown_time(found['last_accessed_at'])}")
    if found["private_entries"]:
        plain.add_row(
            "private",
            f"{counted(found['private_entries'], 'entry', 'entries')} fetched with credentials, served only to requests with the same ones",
        )
    if "shared" in found:
        of_tier = found["shared"]
        kinds_of_tier = (
            ", ".join(f"{each['objects']:,} {kind}s" for kind, each in of_tier["kinds"].items()) or "nothing"
        )
        plain.add_row("shared", f"{of_tier['url']}: {kinds_of_tier}, {shown_size(of_tier['bytes'])}")
    console.print(plain)
    kinds = Table(title="by kind", title_justify="left", box=None, pad_edge=False)
    _columns(kinds, "kind", "entries", "bytes")
    for kind, of_kind in found["kinds"].items():
        kinds.add_row(kind, f"{of_kind['entries']:,}", shown_size(of_kind["bytes"]))
    projects = Table(title=f"largest of {found['projects']:,} projects", title_justify="left", box=None, pad_edge=False)
    _columns(projects, "project", "bytes")
    for each in found["largest_projects"]:
        projects.add_row(each["project"], shown_size(each["bytes"]))
    for table in (kinds, projects):
        if table.row_count:
            console.print()
            console.print(table)
    if "proxy" in found:
        counters = Table(title="counted by the proxy since its start", title_justify="left", box=None, pad_edge=False)
        _columns(counters, "counter", "value")
        for name, value in _flat(found["proxy"]):
            counters.add_row(name, f"{value:.1%}" if name.endswith("ratio") else f"{value:,.0f}")
        console.print()
        console.print(counters)


def _flat(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of nested figures, with names such as `requests by status 200`."""
    for name, value in figures.items():
        words = f"{before} {name.replace('_', ' ')}".strip()
        if isinstance(value, Mapping):
            yield from _flat(value, words)
        elif isinstance(value, int | float):
            yield words, value


def _columns(table: Table, first: str, *rest: str) -> None:
    table.add_column(first)
    for name in rest:
        table.add_column(name, justify="right")
