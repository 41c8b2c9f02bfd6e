"""`pypi-cache import`: an archive's entries into the store, each once its digest is right.

What is there with the same content, or was fetched later, stays. The times at which pages were fetched are kept, since they say how fresh
these are; when an entry was last asked for begins anew, or `pypi_cache_inactive` would count the journey.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from pkgcache.cli.archive.archive_format import ArchiveError, ArchiveReader, EntryHeader, Item, ValueWrongError, checked
from pkgcache.cli.archive.checks import hosts_of, is_newer, page_objection, why_refused
from pkgcache.cli.exits import FOUND, InterruptedByUser, UnusableError
from pkgcache.cli.opening import opened
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line, printable, say, shown_size
from pkgcache.cli.progress_bar import bar
from pkgcache.cli.selection import read_globs
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.pages.learned_hosts import MOST_PER_INDEX
from pkgcache.engine.store.database import SMALL_BYTES
from pkgcache.engine.store.entries import Entries, file_stem
from pkgcache.engine.store.keys import parse_key

MOST_IN_MEMORY = 256 << 20
"""Of a page: it is held against two digests."""


@dataclass(slots=True)
class Done:
    """What an import did."""

    entries: int = 0
    size: int = 0
    there: int = 0
    wrong: list[str] = field(default_factory=list)
    hosts: int = 0


class RefusedError(Exception):
    """An entry does not come in: one line."""


@click.command("import", short_help="Take an archive's entries into the store.")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("globs", metavar="[GLOB]...", nargs=-1)
@AS_JSON
@with_store_options
def import_archive(place: StoreLocation, file: Path, globs: tuple[str, ...], *, as_json: bool) -> None:
    """Take the entries of an archive of `pypi-cache export` into the store, or those of the projects that a GLOB means.

    Each is held against its digest, a file also against the digest that is its key, before it is seen by anybody. What is there
    already stays. A proxy without network then serves it with --set pypi_cache_offline=true.

    Exit codes: 0 all of it is in the store · 1 something was refused, and what, or the archive is damaged · 130 interrupted: run it again.
    """
    chosen = read_globs(globs)
    done = Done()
    with opened(place, make=True) as entries, _reading(file) as (reader, size), bar("importing", size) as progress:
        _look_at_limits(entries, place, size)
        at = 0
        try:
            for item in reader.items():
                progress.advance(item.end - at)
                at = item.end
                if chosen.match(parse_key(item.card.key)):
                    _take(entries, place, item, done)
        except ArchiveError as error:
            done.wrong.append(f"{file}: {error}; what came before it is in the store")
        except KeyboardInterrupt:
            told = f"{counted(done.entries + done.there, 'entry', 'entries')} are in the store"
            raise InterruptedByUser(f"{told}; run it again to go on") from None
    _report(file, done, as_json=as_json)


class _reading:  # noqa: N801  a context manager
    """The open archive with its size. Raises UnusableError for what is none."""

    def __init__(self, file: Path) -> None:
        self._path = file

    def __enter__(self) -> tuple[ArchiveReader, int]:
        try:
            self._file = self._path.open("rb", buffering=1 << 20)
            size = os.fstat(self._file.fileno()).st_size
            return ArchiveReader(self._file), size
        except OSError as error:
            raise UnusableError(f"{self._path} cannot be read: {error.strerror}") from None
        except ArchiveError as error:
            self._file.close()
            raise UnusableError(f"{self._path}: {error}") from None

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _look_at_limits(entries: Entries, place: StoreLocation, size: int) -> None:
    """Refuse what the store can never hold; say where something must go for it."""
    limit = place.settings.max_size
    if size > limit:
        raise UnusableError(
            f"the archive has {shown_size(size)}, and the store may have {shown_size(limit)}: expected --set pypi_cache_max_size=… of more"
        )
    if size + entries.figures()["bytes"] > limit:
        say(f"the store may have {shown_size(limit)}: what nobody asked for longest goes for what comes in")


def _take(entries: Entries, place: StoreLocation, item: Item, done: Done) -> None:
    card = item.card
    named = parse_key(card.key)
    try:
        if said := why_refused(card):
            raise RefusedError(said)
        if card.key == "hosts":
            done.hosts += _learn(entries, place, card)
            return
        there = entries.notes(card.key)
        if there is not None and not is_newer(card, there):
            done.there += 1
            return
        if not entries.make_disk_room(card.size):
            raise RefusedError(f"the disk has no room for its {shown_size(card.size)}")
        _store(entries, item, kind=named.kind)
    except (RefusedError, ValueWrongError) as error:
        done.wrong.append(printable(f"{named}: {error}")[:500])
        return
    done.entries += 1
    done.size += card.size


def _store(entries: Entries, item: Item, *, kind: str) -> None:
    """Bytes that are right become an entry. Raises ValueWrongError, RefusedError."""
    card = item.card
    if kind == "page" or card.size < SMALL_BYTES:
        if card.size > MOST_IN_MEMORY:
            raise RefusedError(f"a page of {shown_size(card.size)}")
        value = b"".join(checked(card, item.value))
        if kind == "page" and (said := page_objection(card, value)):
            raise RefusedError(said)
        kept = entries.put(card.key, value, card.notes)
    else:
        kept = _adopt(entries, card, checked(card, item.value))
    if not kept:
        raise RefusedError("it is larger than pypi_cache_max_size")


def _adopt(entries: Entries, card: EntryHeader, value: Iterator[bytes]) -> bool:
    """By way of the `growing` folder, under a lock that says that somebody owns it. Raises ValueWrongError."""
    path = entries.growing / f"{file_stem(card.key)}.{os.getpid()}.part"
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            for chunk in value:
                file.write(chunk)
            file.flush()
            return entries.adopt(card.key, path, card.size, card.notes)
        finally:
            path.unlink(missing_ok=True)


def _learn(entries: Entries, place: StoreLocation, card: EntryHeader) -> int:
    """The file hosts that the other proxy has learned, for indexes that this one has, and no more than it would learn itself: how many."""
    indexes = {"pypi", *(index.name for index in place.settings.index)}
    known = hosts_of(entries.notes("hosts") or {}) or []
    new: list[tuple[str, int, str, float]] = []
    for row in hosts_of(card.notes) or []:
        fellows = [each for each in (*known, *new) if each[2] == row[2]]
        if row[2] in indexes and row[:2] not in {each[:2] for each in (*known, *new)} and len(fellows) < MOST_PER_INDEX:
            new.append(row)
    if new:
        entries.put("hosts", b"-", {"hosts": [list(row) for row in (*known, *new)]})
    return len(new)


def _report(file: Path, done: Done, *, as_json: bool) -> None:
    if as_json:
        counts = {"entries": done.entries, "bytes": done.size, "there_already": done.there, "hosts": done.hosts}
        print_json({"file": str(file), **counts, "refused": done.wrong})
    else:
        for line in done.wrong:
            say(f"refused: {line}")
        if done.hosts:
            say(f"{counted(done.hosts, 'file host')} learned: a proxy that runs knows of them after its next start")
        print_line(
            f"{counted(done.entries, 'entry', 'entries')} came in, {shown_size(done.size)}; {done.there:,} were there"
        )
    if done.wrong:
        raise click.exceptions.Exit(FOUND)
