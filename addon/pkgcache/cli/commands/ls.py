"""`pypi-cache ls`: list the store's entries, one a line."""

from __future__ import annotations

import heapq
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import click

from pkgcache.cli.opening import opened
from pkgcache.cli.output import AS_JSON, print_json, print_line, printable, shown_size, shown_time
from pkgcache.cli.progress_bar import bar
from pkgcache.cli.selection import Globs, digest_of, kinds_of, read_globs, with_project_lists
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.store.entries import Entries, Row
from pkgcache.engine.store.keys import EntryKind, ParsedKey, parse_key

NAME = "PROJECT OR FILE"
COLUMNS = f"{'SIZE':>10}  {'STORED':16}  {'LAST ACCESSED':16}  DIGEST"
FIXED = 2 + 10 + 2 + 16 + 2 + 16 + 2
"""Columns of a line that are neither name nor digest, with the blanks before each."""

DIGEST_SHOWN, NAME_SHOWN, LEAST_NAME = 20, 48, 24
"""Characters of a digest and of a name where there is room, and of a name where there is none."""

ALL: frozenset[EntryKind] = frozenset({"file", "part", "page", "view", "root", "other"})

type Line = tuple[Row, ParsedKey]

_ORDERS: dict[str, Callable[[Line], Any]] = {
    "size": lambda line: line[0].size,
    "stored": lambda line: line[0].stored_at,
    "asked": lambda line: line[0].accessed_at,
    "name": lambda line: (line[1].project, line[1].name),
}


@click.command(short_help="List the store's entries, one a line.")
@click.argument("globs", metavar="[GLOB]...", nargs=-1)
@click.option("--files", is_flag=True, help="Release files only.")
@click.option("--pages", is_flag=True, help="Index pages only.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also pages as variants of clients see them, cached ranges, and the proxy's own notes.",
)
@click.option(
    "--sort",
    type=click.Choice([*_ORDERS]),
    help="Sort by this. Without it entries are listed as they were stored, and none is held in memory.",
)
@click.option("--reverse", is_flag=True, help="With --sort: the largest, the latest or the last name first.")
@click.option(
    "--limit", type=click.IntRange(min=1), help="List at most so many; with --sort the first ones of that order."
)
@AS_JSON
@with_store_options
def ls(
    location: StoreLocation,
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
    """List entries of the projects that match a GLOB; without one, of all projects.

    Entries that were fetched with credentials are marked `private:` and a few digits that tell credentials apart. --json prints one
    object a line.

    Exit code 1 if there is nothing to list.
    """
    if reverse and sort is None:
        raise click.UsageError(f"--reverse: expected --sort with it, {', '.join(_ORDERS)}")
    chosen = read_globs(globs)
    chosen_kinds = ALL if everything else kinds_of(files=files, pages=pages)
    kinds = with_project_lists(chosen_kinds)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    listed = 0
    with opened(location) as entries:
        for row, parsed in _ordered(_lines(entries, chosen, kinds, sort), sort, limit, reverse=reverse):
            if not listed and not as_json:
                print_line(_fitted(NAME, COLUMNS, width))
            listed += 1
            if as_json:
                print_json(as_object(row, parsed), indent=None)
            else:
                print_line(shown_line(row, parsed, width))
    if not listed:
        what = " or ".join(sorted(chosen_kinds))
        if not globs:
            raise click.ClickException(f"{location.folder} holds no {what} yet")
        raise click.ClickException(f"{location.folder} holds no {what} of {' '.join(globs)}")


def _lines(entries: Entries, chosen: Globs, kinds: frozenset[EntryKind], sort: str | None) -> Iterator[Line]:
    """The entries to list; with a progress bar if all must be read before the first can be shown."""
    rows = entries.rows() if sort is None else _read_all(entries, sort)
    for row in rows:
        parsed = parse_key(row.key)
        if parsed.kind in kinds and chosen.match(parsed):
            yield row, parsed


def _read_all(entries: Entries, sort: str) -> Iterator[Row]:
    with bar(f"sorting by {sort}", entries.figures()["entries"], of_bytes=False) as progress:
        for row in entries.rows():
            yield row
            progress.advance()


def _ordered(lines: Iterator[Line], sort: str | None, limit: int | None, *, reverse: bool) -> Iterable[Line]:
    """Sort the lines. Without an order none is held in memory, with a limit only so many, else all."""
    if sort is None:
        return islice(lines, limit)
    if limit is None:
        return sorted(lines, key=_ORDERS[sort], reverse=reverse)
    return (heapq.nlargest if reverse else heapq.nsmallest)(limit, lines, key=_ORDERS[sort])


def shown_line(row: Row, parsed: ParsedKey, width: int | None = None) -> str:
    """Show one entry for people: a file's name, or a project and which page of it. `width` is the terminal's; None: all is shown."""
    digest = digest_of(parsed, row.notes).rpartition(":")[2]
    if parsed.kind == "file":
        name = parsed.name
    elif parsed.kind == "root":
        name = f"(all projects)  {parsed.index} {parsed.name}"
    else:
        name = f"{parsed.project or '-'}  {parsed.kind} {parsed.index} {parsed.name}".replace("  page ", "  ")
    space = f"  ({parsed.shown_space})" if parsed.private else ""
    times = f"{shown_time(row.stored_at):16}  {shown_time(row.accessed_at):16}"
    return _fitted(
        printable(name + space), f"{shown_size(row.size):>10}  {times}  {digest[:DIGEST_SHOWN] or '-'}", width
    )


def _fitted(name: str, rest: str, width: int | None) -> str:
    """Put a line together. On a terminal it has one row: the digest is cut first, then the middle of the name, then the times."""
    if width is None:
        return f"{name:{NAME_SHOWN}}  {rest}"
    room = max(LEAST_NAME, min(NAME_SHOWN, width - FIXED))
    if len(name) > room:  # its beginning says what it is, its end for which Python and platform
        name = f"{name[: room - room // 3 - 1]}…{name[len(name) - room // 3 :]}"
    return f"{name:{room}}  {rest}"[:width].rstrip()


def as_object(row: Row, parsed: ParsedKey) -> dict[str, Any]:
    """Describe one entry for machines: sizes in bytes, times in seconds since the epoch."""
    return {
        "kind": parsed.kind,
        "project": parsed.project,
        "name": parsed.name,
        "index": parsed.index,
        "space": parsed.shown_space,
        "size": row.size,
        "digest": digest_of(parsed, row.notes),
        "stored_at": row.stored_at,
        "accessed_at": row.accessed_at,
        "key": row.key if not parsed.private else "",
    }
