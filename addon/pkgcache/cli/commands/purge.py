"""`pypi-cache purge`: remove what is stored of some projects."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import click

from pkgcache.cli.exits import FOUND, InterruptedByUser
from pkgcache.cli.opening import opened
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line, say, shown_size
from pkgcache.cli.progress_bar import bar
from pkgcache.cli.selection import Globs, kinds_of, read_duration, read_globs, with_project_lists
from pkgcache.cli.shared_tier import on_tier
from pkgcache.cli.shared_tier import removed as removed_there
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.store.entries import Entries, Row
from pkgcache.engine.store.keys import EntryKind, ParsedKey, parse_key

ROWS_AT_ONCE = 64
"""How many to drop in one transaction: few, so that a running proxy never waits long for the database."""

SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The entries to remove. `before`: only those last accessed before that (seconds since the epoch)."""

    globs: Globs
    kinds: frozenset[EntryKind]
    before: float | None

    def matches(self, parsed: ParsedKey) -> bool:
        """Whether an entry is of these projects and kinds, however old it is."""
        return parsed.kind in self.kinds and self.globs.match(parsed)

    def rows(self, entries: Entries, what: str) -> Iterator[Row]:
        """Give these rows, with a progress bar for all rows that are read."""
        with bar(what, entries.figures()["entries"], of_bytes=False) as progress:
            for row in entries.rows():
                parsed = parse_key(row.key)
                is_old = self.before is None or row.accessed_at < self.before
                if is_old and self.matches(parsed):
                    yield row
                progress.advance()


@dataclass(slots=True)
class Removed:
    """What was removed, or would be: a number of entries, and their bytes."""

    entries: int = 0
    size: int = 0

    def __str__(self) -> str:
        return self.shown("entry", "entries")

    def shown(self, one: str, many: str = "") -> str:
        """For people."""
        return f"{counted(self.entries, one, many or f'{one}s')}, {shown_size(self.size)}"


@click.command(short_help="Remove what is stored of some projects.")
@click.argument("globs", metavar="GLOB...", nargs=-1, required=True)
@click.option("--files", is_flag=True, help="Release files only.")
@click.option("--pages", is_flag=True, help="Index pages only, with their variants.")
@click.option(
    "--older-than", callback=read_duration, metavar="TIME", help="Only what was not accessed for this long: 30d, 12h."
)
@click.option("--local", is_flag=True, help="Leave the shared tier alone; what it has comes back from there.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@AS_JSON
@with_store_options
def purge(
    location: StoreLocation,
    globs: tuple[str, ...],
    *,
    files: bool,
    pages: bool,
    older_than: float | None,
    local: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove what is stored of the projects that match a GLOB: six, 'acme-*', '*'.

    The proxy fetches it again when a client asks; a running proxy notices within a second. On a terminal it asks for confirmation;
    elsewhere removing everything requires --yes. '*' includes the indexes' lists of all projects. With pypi_cache_shared it is removed
    from the shared tier too, which knows no access times: --older-than leaves that alone.

    Exit code 1 if nothing that is stored matches.
    """
    selection = Selection(
        globs=read_globs(globs),
        kinds=with_project_lists(_with_derived(kinds_of(files=files, pages=pages))),
        before=time.time() - older_than if older_than is not None else None,
    )
    removed = Removed()
    asks = sys.stdin.isatty() and not as_json
    if selection.globs.every and files == pages and older_than is None and not (asks or yes or dry_run):
        raise click.UsageError(
            "this removes everything that is stored, and nobody can be asked: expected --yes with it"
        )
    with opened(location) as entries:
        if asks and not (yes or dry_run):
            _confirm(entries, selection)
        try:
            _purge(entries, selection, removed, dry_run=dry_run)
        except KeyboardInterrupt:
            raise InterruptedByUser(
                f"{removed} {'found' if dry_run else 'removed'} so far; run it again to continue"
            ) from None
    shared = Removed()
    if location.settings.shared and not local and older_than is None:
        shared = Removed(*on_tier(location, partial(removed_there, matches=selection.matches, dry_run=dry_run)))
    if as_json:
        of_tier = {"shared": {"objects": shared.entries, "bytes": shared.size}} if location.settings.shared else {}
        print_json({"entries": removed.entries, "bytes": removed.size, **of_tier, "dry_run": dry_run})
    if not removed.entries and not shared.entries:
        old = " that was not accessed for so long" if older_than is not None else ""
        raise click.ClickException(f"{' '.join(globs)}: nothing stored{old}")
    if not as_json:
        there = f"; of the shared tier {shared.shown('object')}" if shared.entries else ""
        print_line(f"{removed}{there} {'would be removed' if dry_run else 'removed'}")


def _with_derived(kinds: frozenset[EntryKind]) -> frozenset[EntryKind]:
    """Add the kinds of entries that exist only because of these: variants of pages, cached ranges of files."""
    derived: dict[EntryKind, EntryKind] = {"page": "view", "file": "part"}
    return kinds | {derived[kind] for kind in kinds if kind in derived}


def _confirm(entries: Entries, selection: Selection) -> None:
    """Show what would be removed, and ask. Raises click.exceptions.Exit on a no, click.Abort on Ctrl-C."""
    projects: Counter[str] = Counter()
    removed = Removed()
    for row in selection.rows(entries, "counting"):
        projects[parse_key(row.key).project or "(lists of all projects)"] += row.size
        removed.entries, removed.size = removed.entries + 1, removed.size + row.size
    if not removed.entries:
        return
    for project, size in projects.most_common(SHOWN):
        say(f"  {project}  {shown_size(size)}")
    if len(projects) > SHOWN:
        say(f"  and {len(projects) - SHOWN:,} more")
    what = f"{counted(removed.entries, 'entry', 'entries')} of {counted(len(projects), 'project')}, {shown_size(removed.size)}"
    if not click.confirm(f"remove {what}?", err=True):
        say("nothing was removed")
        raise click.exceptions.Exit(FOUND)


def _purge(entries: Entries, selection: Selection, removed: Removed, *, dry_run: bool) -> None:
    batch: list[Row] = []

    def drop() -> None:
        removed.size += sum(row.size for row in batch) if dry_run else entries.drop_rows(batch)
        removed.entries += len(batch)
        batch.clear()

    for row in selection.rows(entries, "searching" if dry_run else "removing"):
        batch.append(row)
        if len(batch) >= ROWS_AT_ONCE:
            drop()
    drop()
