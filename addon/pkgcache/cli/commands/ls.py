"""`pypi-cache ls`: what is in the store, one entry a line."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import click

from pkgcache.cli.opening import opened
from pkgcache.cli.output import AS_JSON, print_json, print_line, printable, shown_size, shown_time
from pkgcache.cli.progress_bar import bar
from pkgcache.cli.selection import Globs, digest_of, kinds_of, read_globs
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.store.entries import Entries, Row
from pkgcache.engine.store.keys import EntryKind, ParsedKey, parse_key

HEADING = f"{'PROJECT':24}  {'KIND':4}  {'SIZE':>10}  {'STORED':16}  {'LAST ASKED FOR':16}  {'DIGEST':20}  NAME"
DIGEST_SHOWN = 20

ALL: frozenset[EntryKind] = frozenset({"file", "part", "page", "view", "root", "other"})

type Line = tuple[Row, ParsedKey]

_ORDERS: dict[str, Callable[[Line], Any]] = {
    "size": lambda line: line[0].size,
    "stored": lambda line: line[0].stored_at,
    "asked": lambda line: line[0].accessed_at,
    "name": lambda line: (line[1].project, line[1].name),
}


@click.command(short_help="List what is stored, one entry a line.")
@click.argument("globs", metavar="[GLOB]...", nargs=-1)
@click.option("--files", is_flag=True, help="Release files only.")
@click.option("--pages", is_flag=True, help="Index pages only.")
@click.option(
    "--all", "everything", is_flag=True, help="Also what is derived from pages (views), and the proxy's own notes."
)
@click.option(
    "--sort", type=click.Choice([*_ORDERS]), help="In this order; without it as they came, and none is held in memory."
)
@click.option("--reverse", is_flag=True, help="With --sort: the largest, latest or last first.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many; with --sort so many of that end.")
@AS_JSON
@with_store_options
def ls(
    place: StoreLocation,
    globs: tuple[str, ...],
    *,
    files: bool,
    pages: bool,
    everything: bool,
    sort: str | None,
    reverse: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """List entries of the projects that a GLOB means (all, without one).

    What was fetched with credentials says so: `private:` and the beginning of its key. --json prints one object a line.

    Exit code 1 if there is nothing to list.
    """
    if reverse and sort is None:
        raise click.UsageError(f"--reverse: expected --sort with it, {', '.join(_ORDERS)}")
    chosen = read_globs(globs)
    kinds = ALL if everything else kinds_of(files=files, pages=pages)
    listed = 0
    with opened(place) as entries:
        for row, named in _ordered(_lines(entries, chosen, kinds, sort), sort, limit, reverse=reverse):
            if not listed and not as_json:
                print_line(HEADING)
            listed += 1
            if as_json:
                print_json(as_object(row, named), indent=None)
            else:
                print_line(shown_line(row, named))
    if not listed:
        what = " or ".join(sorted(kinds))
        if not globs:
            raise click.ClickException(f"{place.folder} holds no {what} yet")
        raise click.ClickException(f"{place.folder} holds no such {what} of {' '.join(globs)}")


def _lines(entries: Entries, chosen: Globs, kinds: frozenset[EntryKind], sort: str | None) -> Iterator[Line]:
    """What is meant; under a bar where all must be read before the first is shown."""
    rows = entries.rows() if sort is None else _read_all(entries, sort)
    for row in rows:
        named = parse_key(row.key)
        if named.kind in kinds and chosen.match(named):
            yield row, named


def _read_all(entries: Entries, sort: str) -> Iterator[Row]:
    with bar(f"sorting by {sort}", entries.figures()["entries"], of_bytes=False) as progress:
        for row in entries.rows():
            yield row
            progress.advance()


def _ordered(lines: Iterator[Line], sort: str | None, limit: int | None, *, reverse: bool) -> Iterable[Line]:
    """In the order that is asked for: holds no line without one, `limit` lines with both, else all."""
    if sort is None:
        return islice(lines, limit)
    if limit is None:
        return sorted(lines, key=_ORDERS[sort], reverse=reverse)
    return (heapq.nlargest if reverse else heapq.nsmallest)(limit, lines, key=_ORDERS[sort])


def shown_line(row: Row, named: ParsedKey) -> str:
    """One entry for people."""
    digest = digest_of(named, row.notes).rpartition(":")[2]
    name = named.name if named.kind == "file" else f"{named.index} {named.name}".strip()
    space = f"  ({named.shown_space})" if named.private else ""
    return printable(
        f"{named.project or '-':24}  {named.kind[:4]:4}  {shown_size(row.size):>10}  {shown_time(row.stored_at):16}  "
        f"{shown_time(row.accessed_at):16}  {digest[:DIGEST_SHOWN] or '-':20}  {name}{space}"
    )


def as_object(row: Row, named: ParsedKey) -> dict[str, Any]:
    """One entry for machines: sizes in bytes, times in seconds since the epoch."""
    return {
        "kind": named.kind,
        "project": named.project,
        "name": named.name,
        "index": named.index,
        "space": named.shown_space,
        "size": row.size,
        "digest": digest_of(named, row.notes),
        "stored_at": row.stored_at,
        "accessed_at": row.accessed_at,
        "key": row.key if not named.private else "",
    }
