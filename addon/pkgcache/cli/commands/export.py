"""`pypi-cache export`: write the store, or some projects of it, to one archive.

Left out are entries that were fetched with credentials (their keys mean nothing to another store, and nobody else should have them),
variants of pages (the other proxy makes its own, and need not trust these), and remembered 404s.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import click

from pkgcache import __version__
from pkgcache.cli.archive.archive_format import ArchiveError, ArchiveWriter, EntryHeader, WrongValueError, whole_part
from pkgcache.cli.archive.checks import why_refused
from pkgcache.cli.exits import FOUND, InterruptedByUser, UnusableError
from pkgcache.cli.opening import opened
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line, printable, say, shown_size
from pkgcache.cli.progress_bar import Bar, bar
from pkgcache.cli.selection import Globs, read_globs
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.store.entries import Entries, Entry, Row
from pkgcache.engine.store.keys import HOSTS_KEY, ParsedKey, parse_key
from pkgcache.engine.store.safe_files import ForeignFileError, open_to_continue

CHUNK = 1 << 20
OVERHEAD = 4096
"""Bytes of an entry beside its value, about: header, tar headers and padding."""


@dataclass(slots=True)
class LeftOut:
    """Entries that an export leaves out: the number of private ones, and a line for each damaged one."""

    private: int = 0
    damaged: list[str] = field(default_factory=list)


@click.command(short_help="Write the store to one archive, for another machine.")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("globs", metavar="[GLOB]...", nargs=-1)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@AS_JSON
@with_store_options
def export(location: StoreLocation, file: Path, globs: tuple[str, ...], *, force: bool, as_json: bool) -> None:
    """Write the store, or the projects that match a GLOB, to the archive FILE, for `pypi-cache import` on another machine.

    Every value is checked against its digest on the way. The archive is called FILE.partial until it is complete; after an interruption
    the same command continues it. Entries that were fetched with credentials are left out.

    Exit codes: 0 FILE is complete · 1 damaged entries were left out, or there was nothing to export · 130 interrupted.
    """
    chosen = read_globs(globs)
    if os.path.lexists(file) and not force:
        raise UnusableError(f"{file} exists: choose another name, or use --force")
    partial = file.with_name(f"{file.name}.partial")
    left_out = LeftOut()
    with opened(location) as entries:
        count, size = _measure(entries, chosen, left_out)
        if not count:
            of = f" of {' '.join(globs)}" if globs else ""
            raise click.ClickException(f"{location.folder} holds nothing{of} that could be exported")
        description = {"globs": list(globs), "store": _store_id(entries), "made_by": f"pypi-cache {__version__}"}
        with _partial(partial, size + count * OVERHEAD) as output, bar("exporting", size) as progress:
            writer = ArchiveWriter(output)
            try:
                after = _begin(writer, output, partial, description, progress)
                _write(entries, chosen, writer, after, left_out, progress)
                writer.finish()
                os.fsync(output.fileno())
                partial.replace(file)
            except KeyboardInterrupt:
                done = f"{counted(writer.tally.entries, 'entry', 'entries')} of {count:,} are in {partial}"
                raise InterruptedByUser(f"{done}; run it again to continue") from None
            except OSError as error:
                raise click.ClickException(f"{partial}: {error.strerror}; run it again to continue") from None
    _report(file, writer, left_out, as_json=as_json)


def exported(
    entries: Entries, chosen: Globs, after: int = 0, progress: Bar | None = None
) -> Iterator[tuple[Row, ParsedKey]]:
    """The entries for an archive, from behind row number `after`, and the private ones too, so that they can be counted.

    The proxy's list of learned hosts belongs to no project: it is exported only with everything. `progress` advances with each row.
    """
    for row in entries.rows(after=after):
        if progress is not None:
            progress.advance()
        parsed = parse_key(row.key)
        is_page = parsed.kind == "page" and row.notes.get("status") == 200 and not row.notes.get("passing")
        if (is_page or parsed.kind in {"file", "root"} or row.key == HOSTS_KEY) and chosen.match(parsed):
            yield row, parsed


def _measure(entries: Entries, chosen: Globs, left_out: LeftOut) -> tuple[int, int]:
    """Count the entries to export, and their bytes."""
    count = size = 0
    with bar("counting", entries.figures()["entries"], of_bytes=False) as progress:
        for row, parsed in exported(entries, chosen, progress=progress):
            if parsed.private:
                left_out.private += 1
            else:
                count, size = count + 1, size + row.size
    return count, size


def _store_id(entries: Entries) -> str:
    """Tells this store from others, because an export continues after a row number, which means nothing in another store."""
    inode = (entries.folder / "cache.db").stat().st_ino
    return hashlib.sha256(f"{entries.directory.absolute()}|{inode}".encode()).hexdigest()[:16]


@contextlib.contextmanager
def _partial(path: Path, size: int) -> Iterator[IO[bytes]]:
    """Open the unfinished archive, or create it, and lock it. `size`: bytes that it will have, about. Raises UnusableError.

    It is unbuffered, so that a full disk is reported by the write that it refuses, while the archive can still be cut back.
    """
    try:
        file = open_to_continue(path)
    except ForeignFileError as error:
        raise UnusableError(f"{path} is no archive of yours: {error}; remove it, or choose another name") from None
    except OSError as error:
        raise UnusableError(f"{path} cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UnusableError(f"{path}: another export is writing it") from None
        written = os.fstat(file.fileno()).st_size
        room = shutil.disk_usage(path.absolute().parent).free + written
        if size > room:
            if not written:
                path.unlink()
            raise UnusableError(f"{path} needs about {shown_size(size)}, and the disk has {shown_size(room)} for it")
        yield file


def _begin(writer: ArchiveWriter, output: IO[bytes], partial: Path, description: dict[str, Any], progress: Bar) -> int:
    """Continue an earlier run's archive, or begin one: the row number to go on behind. Raises UnusableError."""
    if os.fstat(output.fileno()).st_size:
        try:
            found, tally, row = whole_part(output, progress.advance)
        except KeyboardInterrupt:
            raise InterruptedByUser(f"{partial} is unchanged; run it again to continue") from None
        except ArchiveError:  # killed before the description was whole
            output.seek(0)
            output.truncate()
        else:
            if any(found.get(name) != description[name] for name in ("globs", "store")):
                raise UnusableError(
                    f"{partial} is of another store, or of other projects: remove it, or choose another name"
                )
            say(f"{partial} holds {counted(tally.entries, 'entry', 'entries')} already; continuing")
            writer.tally = tally
            return row
    writer.begin(**description, made_at=time.time())
    return 0


def _write(
    entries: Entries, chosen: Globs, writer: ArchiveWriter, after: int, left_out: LeftOut, progress: Bar
) -> None:
    for row, parsed in exported(entries, chosen, after):
        entry = None if parsed.private else entries.get(row.key)
        if entry is None:
            continue  # private, or evicted since the row was read
        name = parsed.name if parsed.kind == "file" else f"{parsed.project or parsed.kind}-{parsed.name}"
        with entry.file or contextlib.nullcontext():
            try:
                header = EntryHeader(
                    key=row.key,
                    notes=entry.notes,
                    size=entry.size,
                    digest=_digest(entry),
                    stored_at=row.stored_at,
                    row=row.rowid,
                )
                if reason := why_refused(header, time.time()):  # somebody has written to its row
                    raise WrongValueError(reason)
                writer.add(header, name, _chunks(entry, progress))
            except (WrongValueError, ValueError) as error:
                left_out.damaged.append(printable(f"{parsed}: {error}"))


def _digest(entry: Entry) -> str:
    """The digest for an entry's header. A file's is noted, and so proves that the disk still holds what came; others are made here."""
    if "digest" in entry.notes:
        return str(entry.notes["digest"])
    if entry.file is None:
        return f"sha256:{hashlib.sha256(entry.value).hexdigest()}"
    found = b"".join(_chunks(entry))
    entry.file.seek(0)
    return f"sha256:{hashlib.sha256(found).hexdigest()}"


def _chunks(entry: Entry, progress: Bar | None = None) -> Iterator[bytes]:
    """Read a value. Raises WrongValueError where the disk fails, so that one bad sector costs one entry and not the whole export."""
    file = entry.file or io.BytesIO(entry.value)
    try:
        while chunk := file.read(CHUNK):
            yield chunk
            if progress is not None:
                progress.advance(len(chunk))
    except OSError as error:
        raise WrongValueError(f"it cannot be read ({error.strerror})") from None


def _report(file: Path, writer: ArchiveWriter, left_out: LeftOut, *, as_json: bool) -> None:
    tally = writer.tally
    if as_json:
        counts = {"entries": tally.entries, "bytes": tally.bytes, "private_left_out": left_out.private}
        print_json({"file": str(file), **counts, "wrong_left_out": left_out.damaged})
    else:
        for line in left_out.damaged:
            say(f"left out, damaged (`pypi-cache verify` removes it from the store): {line}")
        if left_out.private:
            say(f"left out: {counted(left_out.private, 'entry', 'entries')} fetched with credentials")
        print_line(f"{file}: {counted(tally.entries, 'entry', 'entries')}, {shown_size(tally.bytes)}")
    if left_out.damaged:
        raise click.exceptions.Exit(FOUND)
