"""`pypi-cache purge`: forget what is stored of some projects."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator

import click

from pkgcache.cli.common import (
    AS_JSON,
    InterruptedByUser,
    Place,
    counted,
    located,
    opened,
    print_json,
    read_duration,
    read_globs,
    say,
    shown_size,
)
from pkgcache.cli.keys import Globs, read_key
from pkgcache.cli.progress import bar
from pkgcache.engine.entries import Entries, Row

ROWS_AT_ONCE = 64
"""Dropped in one transaction, so that a running proxy never waits long."""

SHOWN = 20


@click.command()
@click.argument("globs", metavar="GLOB...", nargs=-1, required=True)
@click.option("--files", is_flag=True, help="Release files only.")
@click.option("--pages", is_flag=True, help="Index pages only, with what is derived from them.")
@click.option(
    "--older-than", callback=read_duration, metavar="TIME", help="Only what nobody asked for in so long: 30d, 12h."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@AS_JSON
@located
def purge(
    place: Place,
    globs: tuple[str, ...],
    *,
    files: bool,
    pages: bool,
    older_than: float | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Drop what is stored of the projects that a GLOB means: six, 'acme-*', '*'.

    It is fetched again when it is asked for. On a terminal it asks first. Exit code 1 if a glob means nothing that is stored.
    """
    chosen = read_globs(globs)
    kinds = frozenset(
        {kind for kind, wanted in (("file", files), ("page", pages), ("view", pages)) if wanted}
        or {"file", "page", "view"}
    )
    before = time.time() - older_than if older_than is not None else None
    with opened(place) as entries:
        if not as_json and not yes and not dry_run and sys.stdin.isatty():
            _confirm(entries, chosen, kinds, before)
        gone = _purge(entries, _meant(entries, chosen, kinds, before), dry_run=dry_run)
    if as_json:
        print_json({"entries": gone["entries"], "bytes": gone["bytes"], "dry_run": dry_run})
    if not gone["entries"]:
        raise click.ClickException(
            f"{' '.join(globs)}: nothing of it is stored{' that is so old' if older_than else ''}"
        )
    if not as_json:
        verb = "would go" if dry_run else "went"
        click.echo(f"{counted(gone['entries'], 'entry', 'entries')} {verb}, {shown_size(gone['bytes'])}")


def _meant(entries: Entries, chosen: Globs, kinds: frozenset[str], before: float | None) -> Iterator[Row]:
    for row in entries.rows():
        named = read_key(row.key)
        if named.kind in kinds and chosen.match(named) and (before is None or row.accessed_at < before):
            yield row


def _confirm(entries: Entries, chosen: Globs, kinds: frozenset[str], before: float | None) -> None:
    """Say what would go, and ask. Raises click.Abort."""
    projects: Counter[str] = Counter()
    count = size = 0
    for row in _meant(entries, chosen, kinds, before):
        projects[read_key(row.key).project] += row.size
        count, size = count + 1, size + row.size
    if not count:
        return
    for project, bytes_of in projects.most_common(SHOWN):
        say(f"  {project}  {shown_size(bytes_of)}")
    if len(projects) > SHOWN:
        say(f"  and {len(projects) - SHOWN:,} more")
    asked = f"drop {counted(count, 'entry', 'entries')} of {counted(len(projects), 'project')}, {shown_size(size)}?"
    if not click.confirm(asked, err=True):
        raise click.exceptions.Exit(1)


def _purge(entries: Entries, rows: Iterator[Row], *, dry_run: bool) -> dict[str, int]:
    gone = {"entries": 0, "bytes": 0}
    some: list[Row] = []

    def drop() -> None:
        gone["bytes"] += sum(row.size for row in some) if dry_run else entries.drop_rows(some)
        gone["entries"] += len(some)
        some.clear()

    try:
        with bar("dropping", None, of_bytes=False) as progress:
            for row in rows:
                some.append(row)
                progress.advance()
                if len(some) >= ROWS_AT_ONCE:
                    drop()
            drop()
    except KeyboardInterrupt:
        raise InterruptedByUser(
            f"{counted(gone['entries'], 'entry', 'entries')} went, {shown_size(gone['bytes'])}; run it again to go on"
        ) from None
    return gone
