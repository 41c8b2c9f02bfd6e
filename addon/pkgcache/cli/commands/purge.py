"""`pypi-cache purge`: forget what is stored of some projects."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import click

from pkgcache.cli.exits import FOUND, InterruptedByUser
from pkgcache.cli.opening import opened
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line, say, shown_size
from pkgcache.cli.progress_bar import bar
from pkgcache.cli.selection import Globs, kinds_of, read_duration, read_globs
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.store.entries import Entries, Row
from pkgcache.engine.store.keys import EntryKind, parse_key

ROWS_AT_ONCE = 64
"""Dropped in one transaction, so that a running proxy never waits long."""

SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """What is to go. `before`: only what nobody asked for since (seconds since the epoch)."""

    globs: Globs
    kinds: frozenset[EntryKind]
    before: float | None

    def rows(self, entries: Entries, what: str) -> Iterator[Row]:
        """These rows, under a bar for all that are looked at."""
        with bar(what, entries.figures()["entries"], of_bytes=False) as progress:
            for row in entries.rows():
                named = parse_key(row.key)
                old = self.before is None or row.accessed_at < self.before
                if old and named.kind in self.kinds and self.globs.match(named):
                    yield row
                progress.advance()


@dataclass(slots=True)
class Gone:
    """What went."""

    entries: int = 0
    size: int = 0

    def __str__(self) -> str:
        return f"{counted(self.entries, 'entry', 'entries')}, {shown_size(self.size)}"


@click.command(short_help="Drop what is stored of some projects.")
@click.argument("globs", metavar="GLOB...", nargs=-1, required=True)
@click.option("--files", is_flag=True, help="Release files only.")
@click.option("--pages", is_flag=True, help="Index pages only, with what is derived from them.")
@click.option(
    "--older-than", callback=read_duration, metavar="TIME", help="Only what nobody asked for in so long: 30d, 12h."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@AS_JSON
@with_store_options
def purge(
    place: StoreLocation,
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

    It is fetched again when it is asked for; a running proxy knows within a second. On a terminal it asks first.
    Exit code 1 if a glob means nothing that is stored.
    """
    kinds = kinds_of(files=files, pages=pages)
    meant = Meant(
        globs=read_globs(globs),
        kinds=kinds
        | frozenset[EntryKind]({"view"} if "page" in kinds else ())
        | frozenset[EntryKind]({"part"} if "file" in kinds else ()),
        before=time.time() - older_than if older_than is not None else None,
    )
    gone = Gone()
    with opened(place) as entries:
        if not (as_json or yes or dry_run) and sys.stdin.isatty():
            _ask(entries, meant)
        try:
            _purge(entries, meant, gone, dry_run=dry_run)
        except KeyboardInterrupt:
            raise InterruptedByUser(
                f"{gone} {'would go so far' if dry_run else 'went'}; run it again to go on"
            ) from None
    if as_json:
        print_json({"entries": gone.entries, "bytes": gone.size, "dry_run": dry_run})
    if not gone.entries:
        old = " that nobody asked for in so long" if older_than is not None else ""
        raise click.ClickException(f"{' '.join(globs)}: nothing of it is stored{old}")
    if not as_json:
        print_line(f"{gone} {'would go' if dry_run else 'went'}")


def _ask(entries: Entries, meant: Meant) -> None:
    """Say what would go, and ask. Raises click.exceptions.Exit for a no, click.Abort for Ctrl-C."""
    projects: Counter[str] = Counter()
    gone = Gone()
    for row in meant.rows(entries, "counting"):
        projects[parse_key(row.key).project] += row.size
        gone.entries, gone.size = gone.entries + 1, gone.size + row.size
    if not gone.entries:
        return
    for project, size in projects.most_common(SHOWN):
        say(f"  {project}  {shown_size(size)}")
    if len(projects) > SHOWN:
        say(f"  and {len(projects) - SHOWN:,} more")
    what = (
        f"{counted(gone.entries, 'entry', 'entries')} of {counted(len(projects), 'project')}, {shown_size(gone.size)}"
    )
    if not click.confirm(f"drop {what}?", err=True):
        say("nothing was dropped")
        raise click.exceptions.Exit(FOUND)


def _purge(entries: Entries, meant: Meant, gone: Gone, *, dry_run: bool) -> None:
    some: list[Row] = []

    def drop() -> None:
        gone.size += sum(row.size for row in some) if dry_run else entries.drop_rows(some)
        gone.entries += len(some)
        some.clear()

    for row in meant.rows(entries, "looking" if dry_run else "dropping"):
        some.append(row)
        if len(some) >= ROWS_AT_ONCE:
            drop()
    drop()
