"""`pypi-cache export`: the store, or some projects of it, in one archive (archive.py).

Left out: what was fetched with credentials (its keys mean nothing to another store, and nobody else is to have it), what is derived
from pages (the other proxy derives it anew, and believes nobody), and remembered 404s.
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
from pkgcache.cli.archive.archive_format import ArchiveError, ArchiveWriter, EntryHeader, ValueWrongError, whole_part
from pkgcache.cli.exits import FOUND, InterruptedByUser, UnusableError
from pkgcache.cli.opening import opened
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line, printable, say, shown_size
from pkgcache.cli.progress_bar import Bar, bar
from pkgcache.cli.selection import Globs, read_globs
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.store.entries import Entries, Entry, Row
from pkgcache.engine.store.keys import ParsedKey, parse_key

CHUNK = 1 << 20
OVERHEAD = 4096
"""Bytes of card, headers and padding for an entry, about."""


@dataclass(slots=True)
class Done:
    """What an export did."""

    private: int = 0
    wrong: list[str] = field(default_factory=list)


@click.command(short_help="Write the store to one archive, for another machine.")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("globs", metavar="[GLOB]...", nargs=-1)
@click.option("--force", is_flag=True, help="Write over a FILE that is there.")
@AS_JSON
@with_store_options
def export(place: StoreLocation, file: Path, globs: tuple[str, ...], *, force: bool, as_json: bool) -> None:
    """Write the store, or the projects that a GLOB means, to the archive FILE, for `pypi-cache import` on another machine.

    Every value is held against its digest on the way. Until it is whole the archive is called FILE.partial; interrupted, the same
    command goes on from there. What was fetched with credentials is left out.

    Exit codes: 0 all of it is in FILE · 1 something was left out because it is damaged, or there was nothing · 130 interrupted.
    """
    chosen = read_globs(globs)
    if file.exists() and not force:
        raise UnusableError(f"{file} is there already: give another name, or --force")
    partial = file.with_name(f"{file.name}.partial")
    done = Done()
    with opened(place) as entries:
        count, size = _measure(entries, chosen, done)
        if not count:
            of = f" of {' '.join(globs)}" if globs else ""
            raise click.ClickException(f"{place.folder} holds nothing{of} that could be exported")
        header = {"globs": list(globs), "store": _mark_of(entries), "made_by": f"pypi-cache {__version__}"}
        with _partial(partial, size + count * OVERHEAD) as output, bar("exporting", size) as progress:
            writer = ArchiveWriter(output)
            try:
                after = _begin(writer, output, partial, header, progress)
                _write(entries, chosen, writer, after, done, progress)
                writer.finish()
                os.fsync(output.fileno())
                partial.replace(file)
            except KeyboardInterrupt:
                told = f"{counted(writer.tally.entries, 'entry', 'entries')} of {count:,} are in {partial}"
                raise InterruptedByUser(f"{told}; run it again to go on") from None
            except OSError as error:
                raise click.ClickException(f"{partial}: {error.strerror}; run it again to go on") from None
    _report(file, writer, done, as_json=as_json)


def exported(
    entries: Entries, chosen: Globs, after: int = 0, progress: Bar | None = None
) -> Iterator[tuple[Row, ParsedKey]]:
    """What belongs into an archive, and (to be counted) what is private; the proxy's list of learned hosts only with everything.

    `progress` hears of each row that is looked at.
    """
    for row in entries.rows(after=after):
        if progress is not None:
            progress.advance()
        named = parse_key(row.key)
        is_page = named.kind == "page" and row.notes.get("status") == 200 and not row.notes.get("passing")
        if (is_page or named.kind in {"file", "root"} or row.key == "hosts") and chosen.match(named):
            yield row, named


def _measure(entries: Entries, chosen: Globs, done: Done) -> tuple[int, int]:
    """Entries and bytes that there are to export."""
    count = size = 0
    with bar("counting", entries.figures()["entries"], of_bytes=False) as progress:
        for row, named in exported(entries, chosen, progress=progress):
            if named.private:
                done.private += 1
            else:
                count, size = count + 1, size + row.size
    return count, size


def _mark_of(entries: Entries) -> str:
    """What tells this store from another, for an export that goes on: row numbers mean nothing elsewhere."""
    inode = (entries.folder / "cache.db").stat().st_ino
    return hashlib.sha256(f"{entries.directory.absolute()}|{inode}".encode()).hexdigest()[:16]


@contextlib.contextmanager
def _partial(path: Path, size: int) -> Iterator[IO[bytes]]:
    """The unfinished archive of some `size`, made if there is none, and nobody else's meanwhile. Raises UnusableError.

    Unbuffered: what a full disk does not take is known where it was written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UnusableError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UnusableError(f"{path}: another export is writing it") from None
        room = shutil.disk_usage(path.absolute().parent).free + os.fstat(descriptor).st_size
        if size > room:
            if not os.fstat(descriptor).st_size:
                path.unlink()
            raise UnusableError(
                f"{path}: about {shown_size(size)} are to be written, and the disk has {shown_size(room)} for it"
            )
        yield file


def _begin(writer: ArchiveWriter, output: IO[bytes], partial: Path, header: dict[str, Any], progress: Bar) -> int:
    """Go on behind what is whole of an earlier run, or begin: the row to go on after. Raises UnusableError."""
    if os.fstat(output.fileno()).st_size:
        try:
            found, tally, row = whole_part(output, progress.advance)
        except KeyboardInterrupt:
            raise InterruptedByUser(
                f"{partial} was being read again, and is as it was; run it again to go on"
            ) from None
        except ArchiveError:  # not even its header was whole
            output.seek(0)
            output.truncate()
        else:
            if any(found.get(name) != header[name] for name in ("globs", "store")):
                raise UnusableError(
                    f"{partial} is of another store, or of other projects: remove it, or give another name"
                )
            say(f"{partial}: {counted(tally.entries, 'entry', 'entries')} are there and whole; going on")
            writer.tally = tally
            return row
    writer.begin(**header, made_at=time.time())
    return 0


def _write(entries: Entries, chosen: Globs, writer: ArchiveWriter, after: int, done: Done, progress: Bar) -> None:
    for row, named in exported(entries, chosen, after):
        entry = None if named.private else entries.get(row.key)
        if entry is None:
            continue  # or evicted meanwhile
        shown = named.name if named.kind == "file" else f"{named.project or named.kind}-{named.name}"
        with entry.file or contextlib.nullcontext():
            try:
                card = EntryHeader(
                    key=row.key,
                    notes=entry.notes,
                    size=entry.size,
                    digest=_digest(entry),
                    stored_at=row.stored_at,
                    row=row.rowid,
                )
                writer.add(card, shown, _chunks(entry, progress))
            except (ValueWrongError, ValueError) as error:
                done.wrong.append(printable(f"{named}: {error}"))


def _digest(entry: Entry) -> str:
    """A file's own, as its notes have it; another value's is made here."""
    if "digest" in entry.notes:
        return str(entry.notes["digest"])
    if entry.file is None:
        return f"sha256:{hashlib.sha256(entry.value).hexdigest()}"
    found = b"".join(_chunks(entry))
    entry.file.seek(0)
    return f"sha256:{hashlib.sha256(found).hexdigest()}"


def _chunks(entry: Entry, progress: Bar | None = None) -> Iterator[bytes]:
    """A value's bytes. Raises ValueWrongError where the disk does not give them back."""
    file = entry.file or io.BytesIO(entry.value)
    try:
        while chunk := file.read(CHUNK):
            yield chunk
            if progress is not None:
                progress.advance(len(chunk))
    except OSError as error:
        raise ValueWrongError(f"it cannot be read ({error.strerror})") from None


def _report(file: Path, writer: ArchiveWriter, done: Done, *, as_json: bool) -> None:
    tally = writer.tally
    if as_json:
        counts = {"entries": tally.entries, "bytes": tally.bytes, "private_left_out": done.private}
        print_json({"file": str(file), **counts, "wrong_left_out": done.wrong})
    else:
        for line in done.wrong:
            say(f"left out, damaged (`pypi-cache verify` takes it out of the store): {line}")
        if done.private:
            say(f"left out: {counted(done.private, 'entry', 'entries')} that credentials fetched")
        print_line(f"{file}: {counted(tally.entries, 'entry', 'entries')}, {shown_size(tally.bytes)}")
    if done.wrong:
        raise click.exceptions.Exit(FOUND)
