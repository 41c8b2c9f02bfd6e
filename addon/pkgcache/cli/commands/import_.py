"""`pypi-cache import`: take an archive's entries into the store, each after its digest has been checked.

A stored entry stays if it has the same content or was fetched later. Imported pages keep the time at which they were fetched, since their
freshness depends on it. Last-access times start anew: otherwise `pypi_cache_inactive` would count the days the archive was travelling.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from pkgcache.cli.archive.archive_format import ArchiveError, ArchiveReader, EntryHeader, Item, WrongValueError, checked
from pkgcache.cli.archive.checks import Taken, is_newer, read_body, read_notes
from pkgcache.cli.archive.page_hosts import PageHosts
from pkgcache.cli.exits import FOUND, InterruptedByUser, UnusableError
from pkgcache.cli.opening import opened
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line, printable, say, shown_size
from pkgcache.cli.progress_bar import bar
from pkgcache.cli.selection import read_globs
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.store.database import SMALL_BYTES
from pkgcache.engine.store.entries import Entries, Notes
from pkgcache.engine.store.growing import file_stem
from pkgcache.engine.store.keys import HOSTS_KEY, parse_key
from pkgcache.engine.store.safe_files import create


@dataclass(slots=True)
class Imported:
    """What an import did; `present`: entries that the store had already; `refused`: a line each."""

    entries: int = 0
    size: int = 0
    present: int = 0
    refused: list[str] = field(default_factory=list)
    hosts: int = 0


class RefusedError(Exception):
    """An entry is not taken. The message is one line."""


@click.command("import", short_help="Take an archive's entries into the store.")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("globs", metavar="[GLOB]...", nargs=-1)
@AS_JSON
@with_store_options
def import_archive(location: StoreLocation, file: Path, globs: tuple[str, ...], *, as_json: bool) -> None:
    """Take the entries of an archive from `pypi-cache export` into the store, or only the projects that match a GLOB.

    Each entry is checked against its digest, and a file also against the digest in its key, before any client can see it. Index pages
    are only as trustworthy as the archive's source. What the store has already stays. A proxy without network then serves it with
    --set pypi_cache_offline=true.

    Exit codes: 0 everything is in the store · 1 an entry was refused, or the archive is damaged · 130 interrupted: run it again.
    """
    chosen = read_globs(globs)
    imported = Imported()
    with opened(location, make=True) as entries, _reading(file) as (reader, size), bar("importing", size) as progress:
        _check_limits(entries, location, size)
        hosts = PageHosts(location.settings, entries.notes(HOSTS_KEY))
        position = 0
        try:
            for item in reader.items():
                if size and item.end > size:  # before anything is evicted for what it does not have (0: it is a pipe)
                    raise ArchiveError(f"it is cut short: it ends at byte {size:,}, and this value at {item.end:,}")
                progress.advance(item.end - position)
                position = item.end
                if chosen.match(parse_key(item.header.key)):
                    _take(entries, location, item, imported, hosts)
        except ArchiveError as error:
            imported.refused.append(printable(f"{file}: {error}; the entries before that are in the store"))
        except KeyboardInterrupt:
            done = f"{counted(imported.entries + imported.present, 'entry', 'entries')} are in the store"
            raise InterruptedByUser(f"{done}; run it again to continue") from None
        finally:
            imported.hosts = hosts.new
            if hosts.new:
                entries.put(HOSTS_KEY, b"-", hosts.notes())
    _report(file, imported, as_json=as_json)


@contextmanager
def _reading(path: Path) -> Iterator[tuple[ArchiveReader, int]]:
    """Open the archive: a reader, and the size in bytes. Raises UnusableError if it is no archive."""
    try:
        file = path.open("rb", buffering=1 << 20)
    except OSError as error:
        raise UnusableError(f"{path} cannot be read: {error.strerror}") from None
    with file:
        try:
            reader = ArchiveReader(file)
        except OSError as error:
            raise UnusableError(f"{path} cannot be read: {error.strerror}") from None
        except ArchiveError as error:
            raise UnusableError(f"{path}: {error}") from None
        yield reader, os.fstat(file.fileno()).st_size


def _check_limits(entries: Entries, location: StoreLocation, size: int) -> None:
    """Refuse an archive that the store can never hold; warn if other entries will be evicted for it."""
    limit = location.settings.max_size
    if size > limit:
        raise UnusableError(
            f"the archive has {shown_size(size)}, and the store may hold {shown_size(limit)}; "
            "expected a larger --set pypi_cache_max_size=…"
        )
    if size + entries.figures()["bytes"] > limit:
        say(f"the store may hold {shown_size(limit)}: the least recently used entries will be evicted for this archive")


def _take(entries: Entries, location: StoreLocation, item: Item, imported: Imported, hosts: PageHosts) -> None:
    header = item.header
    parsed = parse_key(header.key)
    try:
        notes = _readable(header)
        if header.key == HOSTS_KEY:
            return  # not believed: `PageHosts`
        stored = entries.notes(header.key)
        if stored is not None and not is_newer(header, stored):
            imported.present += 1
            return
        if header.size > location.settings.max_size:  # before anything is evicted for it
            raise RefusedError("it is larger than pypi_cache_max_size")
        if not entries.eviction.make_disk_room(header.size):
            raise RefusedError(f"the disk has no room for its {shown_size(header.size)}")
        _store(entries, item, {**notes.to_json(), "size": header.size}, hosts)
    except (RefusedError, WrongValueError) as error:
        imported.refused.append(printable(f"{parsed}: {error}")[:500])
        return
    imported.entries += 1
    imported.size += header.size


def _readable(header: EntryHeader) -> Taken:
    try:
        return read_notes(header, time.time())
    except ValueError as error:
        raise RefusedError(str(error)) from None


def _store(entries: Entries, item: Item, notes: Notes, hosts: PageHosts) -> None:
    """Check a value and store it. Raises WrongValueError, RefusedError."""
    header, parsed = item.header, parse_key(item.header.key)
    origins: tuple[str, ...] = ()
    if parsed.kind == "page" or header.size < SMALL_BYTES:
        value = b"".join(checked(header, item.value))
        if parsed.kind == "page":
            origins = _origins(header, value, hosts.canonical_files(parsed.index))
        is_stored = entries.put(header.key, value, notes)
    else:
        is_stored = _adopt(entries, header, checked(header, item.value), notes)
    if not is_stored:
        raise RefusedError("it is larger than pypi_cache_max_size")
    hosts.learn(parsed.index, parsed.project, origins)


def _origins(header: EntryHeader, value: bytes, canonical_files: str) -> tuple[str, ...]:
    try:
        return read_body(header, value, canonical_files)
    except ValueError as error:
        raise RefusedError(str(error)) from None


def _adopt(entries: Entries, header: EntryHeader, value: Iterator[bytes], notes: Notes) -> bool:
    """Store a large value by way of the `growing` folder. The lock tells a proxy that starts now that the part file is in use.

    Raises WrongValueError.
    """
    path = entries.growing / f"{file_stem(header.key)}.{os.getpid()}.part"
    with create(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            for chunk in value:
                file.write(chunk)
            file.flush()
            return entries.adopt(header.key, path, header.size, notes)
        finally:
            path.unlink(missing_ok=True)


def _report(file: Path, imported: Imported, *, as_json: bool) -> None:
    if as_json:
        counts = {"entries": imported.entries, "bytes": imported.size, "there_already": imported.present}
        print_json({"file": str(file), **counts, "hosts": imported.hosts, "refused": imported.refused})
    else:
        for line in imported.refused:
            say(f"refused: {line}")
        if imported.hosts:
            say(f"{counted(imported.hosts, 'file host')} learned; a running proxy knows of them after its next start")
        print_line(
            f"{counted(imported.entries, 'entry', 'entries')} imported, {shown_size(imported.size)}; "
            f"{imported.present:,} already present"
        )
    if imported.refused:
        raise click.exceptions.Exit(FOUND)
