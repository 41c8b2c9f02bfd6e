"""Opening the store for a command, beside a running proxy or without one.

A command must not do what only the proxy may: set aside a store that is damaged or of another version, create one where a mistyped
folder names none, or leave files behind that the proxy's user cannot read. So it looks before it opens.
"""

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
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.format import FORMAT, StoreFormatError, is_newer, read_format


@contextlib.contextmanager
def opened(location: StoreLocation, *, make: bool = False) -> Iterator[Entries]:
    """Open the store. Raises UnusableError if it cannot be used, or does not exist and `make` is false."""
    settings = location.settings
    entries = Entries(location.folder, max_size=settings.max_size, min_free=settings.min_free)
    try:
        _check(location.folder, make=make)
        entries.open(make=make)
    except StoreFormatError as error:
        raise UnusableError(str(error)) from None
    except TROUBLE as error:
        raise UnusableError(_message(location.folder, error)) from None
    try:
        yield entries
    except BrokenPipeError:
        raise  # an OSError, and so among TROUBLE, but of standard output and not of the store
    except TROUBLE as error:
        raise click.ClickException(_message(location.folder, error)) from error
    finally:
        entries.close()


def _message(folder: Path, error: BaseException) -> str:
    remedy = "; at its next start the proxy sets a damaged store aside and begins a new one" if is_damage(error) else ""
    return f"the store in {folder} cannot be used: {described(error)}{remedy}"


def _check(folder: Path, *, make: bool) -> None:
    """Refuse a store that opening would create, set aside, or take from its owner.

    Raises UnusableError, and what `database.TROUBLE` names.
    """
    missing = UnusableError(f"{folder}: no store there; the proxy prints its store's folder when it starts, for --dir")
    try:
        owner = folder.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        if make:
            return
        raise missing from None
    mark = read_format(folder)
    if mark is None:
        if make and not (folder / "entries").exists():
            return
        raise missing
    if owner != os.geteuid():
        name = owner_name(owner)
        raise UnusableError(f"{folder} belongs to {name}: run it as that user, such as sudo -u {name} pypi-cache …")
    if is_newer(mark):
        return  # a newer version's: `Entries.open` refuses it, and says what to do
    if mark != str(FORMAT):
        raise UnusableError(
            f"{folder}: its format is {mark[:16]!r}, and this version reads {FORMAT}; the proxy's next start sets it aside"
        )
    if (folder / "entries" / "cache.db").exists():
        Database(folder / "entries").close()  # raises if it is damaged; `Entries.open` would set it aside instead
    elif not make:
        raise missing


def owner_name(owner: int) -> str:
    """The name of a user, or the number if it has none."""
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)
