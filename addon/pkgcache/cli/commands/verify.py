"""`pypi-cache verify`: hash everything that is stored, and clean up.

An entry is wrong if its bytes are not those that were stored: it is moved to quarantine, the proxy fetches it again when a client asks,
and the exit code is 1. What a kill may leave behind is not wrong, since no client ever sees it: files without an entry, entries without
their file (both only if eviction was cut short), unfinished downloads. They are counted and removed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from threading import Event
from typing import Any

import click

from pkgcache.cli.exits import FOUND, InterruptedByUser
from pkgcache.cli.opening import opened
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line, printable, say, shown_size
from pkgcache.cli.progress_bar import Bar, bar
from pkgcache.cli.shared_tier import Checked, check_all
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.store.database import is_out_of_handles
from pkgcache.engine.store.entries import Entries, Row
from pkgcache.engine.store.integrity import fault_of, orphans, quarantine
from pkgcache.engine.store.keys import parse_key
from pkgcache.engine.store.recovery import clean_up

ORPHAN_SECONDS = 600.0
"""A file without an entry may be a commit under way. Unchanged for this long, it is not."""

GONE = "its file is gone"
"""What `fault_of` says of an entry without its file."""


@dataclass(slots=True)
class Findings:
    """What was found. `size` and `orphan_bytes` are in bytes; `without_file` are keys, `orphans` paths below the store's folder."""

    entries: int = 0
    size: int = 0
    wrong: list[dict[str, str]] = field(default_factory=list)
    without_file: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    orphan_bytes: int = 0


class StopError(Exception):
    """Ends a thread that is hashing, because the user has interrupted the run."""


@click.command(short_help="Check every stored file against its digest; wrong ones go to quarantine.")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Number of threads that hash."
)
@click.option("--shared", is_flag=True, help="Check the shared tier instead; wrong objects are removed there.")
@click.option(
    "--sample", type=click.IntRange(1), metavar="N", help="With --shared: check so many objects, chosen at random."
)
@click.option("--dry-run", is_flag=True, help="Only show what is wrong; change nothing.")
@AS_JSON
@with_store_options
def verify(
    location: StoreLocation, *, jobs: int, shared: bool, sample: int | None, dry_run: bool, as_json: bool
) -> None:
    """Hash everything that is stored, remove what is wrong, and clean up what a kill left behind.

    Wrong entries go to the folder `quarantine` in the store's folder; the proxy fetches them again when a client asks. Entries that a
    running proxy removes meanwhile are not counted as wrong.

    Exit codes: 0 nothing is wrong · 1 wrong entries, which are listed · 130 interrupted.
    """
    if shared:
        _verify_shared(location, sample, dry_run=dry_run, as_json=as_json)
        return
    if sample is not None:
        raise click.UsageError("--sample is for the shared tier: expected --shared with it")
    findings = Findings()
    with opened(location) as entries:
        if not dry_run:
            clean_up(entries)
        try:
            with bar("hashing", entries.figures()["bytes"]) as progress:
                _hash_all(entries, jobs, findings, progress, dry_run=dry_run)
                progress.tell("searching for files without an entry")
                _sweep(entries, findings, dry_run=dry_run)
        except KeyboardInterrupt:
            done = f"{counted(findings.entries, 'entry', 'entries')} checked, {len(findings.wrong)} wrong"
            raise InterruptedByUser(f"{done}; run it again to check all") from None
    if as_json:
        print_json(_as_object(findings, dry_run=dry_run))
    else:
        _show(findings, dry_run=dry_run)
    if findings.wrong:
        raise click.exceptions.Exit(FOUND)


def _verify_shared(location: StoreLocation, sample: int | None, *, dry_run: bool, as_json: bool) -> None:
    checked = Checked()
    try:
        check_all(location, sample, checked, dry_run=dry_run)
    except KeyboardInterrupt:
        done = f"{counted(checked.objects, 'object')} checked, {len(checked.wrong)} wrong"
        raise InterruptedByUser(f"{done}; run it again to check all") from None
    if as_json:
        wrong = [{"name": name, "fault": fault} for name, fault in checked.wrong.items()]
        print_json(
            {"objects": checked.objects, "of": checked.of, "bytes": checked.size, "wrong": wrong, "dry_run": dry_run}
        )
    else:
        verdict = f"{len(checked.wrong):,} wrong" if checked.wrong else "nothing is wrong"
        of = f" of {checked.of:,}" if checked.of != checked.objects else ""
        print_line(f"{counted(checked.objects, 'object')}{of}, {shown_size(checked.size)}: {verdict}")
    if checked.wrong:
        raise click.exceptions.Exit(FOUND)


def _hash_all(entries: Entries, jobs: int, findings: Findings, progress: Bar, *, dry_run: bool) -> None:
    """Hash all entries, `jobs` at a time. Only a few are queued, so that memory does not grow with the store."""
    rows = entries.rows()
    stop = Event()

    def advance(amount: int) -> None:
        if stop.is_set():
            raise StopError
        progress.advance(amount)

    with ThreadPoolExecutor(jobs, thread_name_prefix="verify") as pool:
        under_way: dict[Future[str], Row] = {}
        try:
            while True:
                for row in islice(rows, 4 * jobs - len(under_way)):
                    under_way[pool.submit(fault_or_error, entries, row, advance)] = row
                if not under_way:
                    return
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    _record(entries, under_way.pop(future), future.result(), findings, progress, dry_run=dry_run)
        finally:
            stop.set()
            for future in under_way:
                future.cancel()


def fault_or_error(entries: Entries, row: Row, progress: Callable[[int], object]) -> str:
    """What is wrong with an entry, as `fault_of` says. A disk error is a fault of this entry, and does not end the run."""
    try:
        return fault_of(entries, row, progress)
    except OSError as error:
        if is_out_of_handles(error):
            raise  # no fault of the entry's: this process has too many open files
        return f"it cannot be read ({error.strerror})"


def _record(entries: Entries, row: Row, fault: str, findings: Findings, progress: Bar, *, dry_run: bool) -> None:
    findings.entries += 1
    findings.size += row.size
    if not fault:
        return
    if fault == GONE:
        findings.without_file.append(row.key)
        if not dry_run:
            entries.drop_rows([row])
        return
    shown = printable(str(parse_key(row.key)))
    quarantined = None if dry_run else quarantine(entries, row)
    findings.wrong.append({"key": row.key, "name": shown, "fault": fault, "quarantined": str(quarantined or "")})
    progress.say(f"wrong: {shown}: {fault}" + (f" (moved to {quarantined})" if quarantined else ""))


def _sweep(entries: Entries, findings: Findings, *, dry_run: bool) -> None:
    for name, size in orphans(entries, ORPHAN_SECONDS):
        findings.orphan_bytes += size
        findings.orphans.append(f"{entries.folder.name}/{name}")
        if not dry_run:
            entries.database.files.remove(name)


def _as_object(findings: Findings, *, dry_run: bool) -> dict[str, Any]:
    return {
        "entries": findings.entries,
        "bytes": findings.size,
        "wrong": findings.wrong,
        "entries_without_file": findings.without_file,
        "files_without_entry": findings.orphans,
        "files_without_entry_bytes": findings.orphan_bytes,
        "dry_run": dry_run,
    }


def _show(findings: Findings, *, dry_run: bool) -> None:
    verb = "found" if dry_run else "removed"
    if findings.without_file:
        say(f"{verb}: {counted(len(findings.without_file), 'entry', 'entries')} without their file")
    if findings.orphans:
        say(f"{verb}: {counted(len(findings.orphans), 'file')} without an entry, {shown_size(findings.orphan_bytes)}")
    verdict = f"{len(findings.wrong):,} wrong" if findings.wrong else "nothing is wrong"
    print_line(f"{counted(findings.entries, 'entry', 'entries')}, {shown_size(findings.size)}: {verdict}")
