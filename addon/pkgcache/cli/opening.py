"""cli/opening.py."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import click

from pkgcache.cli.exits import UnusableError
from pkgcache.cli.store_location import StoreLocation
from pkgcache.engine.store.database import TROUBLE, Database, described, is_damage
from pkgcache.engine.store.entries import FORMAT, Entries
from pkgcache.engine.store.format import StoreFormatError


@contextlib.contextmanager
def opened(place: StoreLocation, *, make: bool = False) -> Iterator[Entries]:
    """The store, beside a running proxy or without one. Raises UnusableError where it cannot be used, or is not there (`make`)."""
    entries = Entries(place.folder, max_size=place.settings.max_size, min_free=place.settings.min_free)
    try:
        _look_before(place.folder, make=make)
        entries.open(make=make)
    except StoreFormatError as error:
        raise UnusableError(str(error)) from None
    except TROUBLE as error:
        raise UnusableError(_told(place.folder, error)) from None
    try:
        yield entries
    except BrokenPipeError:
        raise  # of whoever reads what is printed: no fault of the store's
    except TROUBLE as error:
        raise click.ClickException(_told(place.folder, error)) from error
    finally:
        entries.close()


def _told(folder: Path, error: BaseException) -> str:
    remedy = "; the proxy sets a damaged store aside by itself, and begins a new one" if is_damage(error) else ""
    return f"the store in {folder} cannot be used: {described(error)}{remedy}"


def _look_before(folder: Path, *, make: bool) -> None:
    """Opening would make, or set aside, what is no store of this version, or is damaged; and a store must stay its owner's.

    Raises UnusableError, and what `database.TROUBLE` names.
    """
    none = UnusableError(
        f"{folder}: there is no store; the proxy says at its start where its store is, and --dir names it"
    )
    try:
        owner = folder.stat().st_uid
        mark = (folder / "format").read_text(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        if make and not (folder / "entries").exists():
            return
        raise none from None
    if owner != os.geteuid():
        name = owner_name(owner)
        raise UnusableError(f"{folder} belongs to {name}: run it as that user, such as sudo -u {name} pypi-cache …")
    if mark.isdecimal() and int(mark) > FORMAT:
        return  # opening says what to do
    if mark != str(FORMAT):
        raise UnusableError(
            f"{folder}: its format is {mark[:16]!r}, and this version reads {FORMAT}; a start of the proxy sets it aside"
        )
    if (folder / "entries" / "cache.db").exists():
        Database(folder / "entries").close()
    elif not make:
        raise none


def owner_name(owner: int) -> str:
    """A user's name, or number where there is none."""
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)
