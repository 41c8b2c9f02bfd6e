"""`pypi-cache ls`: what is in the store, one entry a line."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any

import click

from pkgcache.cli.common import AS_JSON, Place, located, opened, print_json, read_globs, shown_size, shown_time
from pkgcache.cli.keys import Named, digest_of, read_key
from pkgcache.engine.entries import Row

HEADING = f"{'PROJECT':24}  {'KIND':4}  {'SIZE':>10}  {'STORED':16}  {'LAST ASKED FOR':16}  {'DIGEST':20}  NAME"
DIGEST_SHOWN = 20

type Line = tuple[Row, Named]

_ORDERS: dict[str, Callable[[Line], Any]] = {
    "size": lambda line: line[0].size,
    "stored": lambda line: line[0].stored_at,
    "asked": lambda line: line[0].accessed_at,
    "name": lambda line: (line[1].project, line[1].name),
}


@click.command()
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
@located
def ls(
    place: Place,
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
    chosen = read_globs(globs)
    kinds = _kinds(files=files, pages=pages, everything=everything)
    with opened(place) as entries:
        lines = (
            (row, named) for row in entries.rows() if (named := read_key(row.key)).kind in kinds and chosen.match(named)
        )
        listed = 0
        for row, named in _ordered(lines, sort, limit, reverse=reverse):
            if not listed and not as_json:
                click.echo(HEADING)
            listed += 1
            if as_json:
                print_json(as_object(row, named), indent=None)
            else:
                click.echo(shown_line(row, named))
    if not listed:
        raise click.ClickException(
            f"nothing in {place.folder} is of {' '.join(globs)}" if globs else f"{place.folder} is empty"
        )


def _kinds(*, files: bool, pages: bool, everything: bool) -> frozenset[str]:
    if everything:
        return frozenset({"file", "page", "view", "root", "other"})
    chosen = {kind for kind, wanted in (("file", files), ("page", pages)) if wanted}
    return frozenset(chosen or {"file", "page"})


def _ordered(lines: Iterator[Line], sort: str | None, limit: int | None, *, reverse: bool) -> Iterator[Line]:
    """In the order that is asked for: holds no line without one, `limit` lines with both, else all."""
    if sort is None:
        for number, line in enumerate(lines):
            if limit is not None and number >= limit:
                return
            yield line
        return
    key = _ORDERS[sort]
    if limit is not None:
        yield from (heapq.nlargest if reverse else heapq.nsmallest)(limit, lines, key=key)
    else:
        yield from sorted(lines, key=key, reverse=reverse)


def shown_line(row: Row, named: Named) -> str:
    """One entry for people."""
    digest = digest_of(named, row.notes).rpartition(":")[2]
    name = named.name if named.kind == "file" else f"{named.index} {named.name}".strip()
    space = f"  ({named.shown_space})" if named.private else ""
    return (
        f"{named.project or '-':24}  {named.kind[:4]:4}  {shown_size(row.size):>10}  {shown_time(row.stored_at):16}  "
        f"{shown_time(row.accessed_at):16}  {digest[:DIGEST_SHOWN] or '-':20}  {name}{space}"
    )


def as_object(row: Row, named: Named) -> dict[str, Any]:
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
