"""What all commands share: where the settings come from, how the store is opened, how things are shown, and the exit codes.

Settings come as the proxy's do: mitmproxy's `config.yaml` in its configuration folder, then `--set`, then `--dir`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pwd
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, cast

import click
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pkgcache.cli.keys import Globs
from pkgcache.cli.start import INTERRUPTED
from pkgcache.engine.database import TROUBLE, Database, described, is_damage
from pkgcache.engine.entries import FORMAT, Entries, StoreFormatError
from pkgcache.settings import PREFIX, SettingError, Settings, make_settings, parse_duration, redact

CONFDIR = "~/.mitmproxy"

WELL = 0
FOUND = 1
"""Something was wrong, or nothing was found, or something failed: the lines say what."""
UNUSABLE = 2
"""Wrong arguments or settings, or a store that cannot be used: nothing was done."""


class UnusableError(click.ClickException):
    """One line: what cannot be used, and what would be right."""

    exit_code = UNUSABLE


class InterruptedByUser(click.ClickException):
    """One line: how far it came, and how to go on."""

    exit_code = INTERRUPTED

    def show(self, file: Any = None) -> None:
        """On standard error, whatever was to be shown."""
        click.echo(f"interrupted: {self.message}", err=True, file=file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which proxy's store it is: its settings (`given`: as texts, those that differ), and all of config.yaml."""

    confdir: Path
    config: dict[str, Any]
    given: dict[str, Any]
    settings: Settings

    @property
    def folder(self) -> Path:
        """The store's folder."""
        return self.settings.dir


def located[**P, T](command: Callable[Concatenate[Place, P], T]) -> Callable[P, T]:
    """Give a command the options that say which store is meant, and its first argument made of them."""

    @click.option(
        "--dir", "directory", metavar="FOLDER", help="The store's folder: short for --set pypi_cache_dir=FOLDER."
    )
    @click.option(
        "--set", "sets", metavar="NAME=VALUE", multiple=True, help="An option of the proxy, as it is given to mitmdump."
    )
    @click.option(
        "--confdir",
        default=CONFDIR,
        show_default=True,
        metavar="FOLDER",
        help="mitmproxy's folder: its config.yaml and CA.",
    )
    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        confdir, sets, directory = (kwargs.pop(name) for name in ("confdir", "sets", "directory"))
        place = read_place(cast(str, confdir), cast(Sequence[str], sets), cast(str | None, directory))
        return command(place, *args, **kwargs)

    return run


def read_place(confdir: str, sets: Sequence[str], directory: str | None) -> Place:
    """The settings of config.yaml, `--set` and `--dir`. Raises UnusableError."""
    folder = Path(confdir).expanduser()
    if confdir != CONFDIR and not folder.is_dir():
        raise UnusableError(
            f"--confdir {confdir}: there is no such folder; expected mitmproxy's, where its config.yaml is"
        )
    config: dict[str, Any] = {}
    for name in ("config.yaml", "config.yml"):  # mitmproxy reads both, and the second wins
        config |= read_config(folder / name)
    given = {name: value for name, value in config.items() if str(name).startswith(PREFIX)} | _of_words(sets)
    if directory is not None:
        given[f"{PREFIX}dir"] = directory
    try:
        return Place(confdir=folder, config=config, given=given, settings=make_settings(given))
    except SettingError as error:
        raise UnusableError(str(error)) from None


def read_config(path: Path) -> dict[str, Any]:
    """A configuration file of mitmproxy's; one that is not there is empty. Raises UnusableError."""
    try:
        found = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"{path} cannot be read: {error}") from None
    except YAMLError as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        line = f", line {mark.line + 1}" if mark else ""
        problem = (error.problem if isinstance(error, MarkedYAMLError) else None) or "no YAML"
        raise UnusableError(f"{path}{line}: {problem}; expected lines such as pypi_cache_max_size: 50g") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UnusableError(f"{path}: expected lines such as pypi_cache_max_size: 50g")
    return found


def _of_words(words: Sequence[str]) -> dict[str, Any]:
    """`name=value` each; a name that is given several times has a list of values."""
    given: dict[str, list[str]] = {}
    for word in words:
        name, _, value = word.partition("=")
        if not name.startswith(PREFIX):
            raise UnusableError(
                f"--set {redact(word)}: expected an option of the store's, such as {PREFIX}max_size=50g"
            )
        given.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in given.items()}


@contextlib.contextmanager
def opened(place: Place, *, make: bool = False) -> Iterator[Entries]:
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


def read_globs(words: Sequence[str]) -> Globs:
    """Project-name globs. Raises click.BadParameter."""
    try:
        return Globs.parse(words)
    except ValueError as error:
        raise click.BadParameter(f"expected {error}", param_hint="GLOB") from None


def read_duration(_: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """click's callback for `30d`. Raises click.BadParameter."""
    try:
        return parse_duration(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(f"expected {error}, not {value!r}", param=parameter) from None


# How things are shown


def shown_size(size: float) -> str:
    """Bytes for people, in the units of `pypi_cache_max_size`.

    >>> shown_size(10 << 30)
    '10.0 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def shown_time(at: float | None) -> str:
    """A time in this machine's zone; a hyphen for none."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else "-"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 entry`, `2 entries`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def print_line(line: str) -> None:
    """On standard output. Raises click.ClickException where it is full."""
    try:
        click.echo(line)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"standard output: {error.strerror}") from None


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """For machines, on standard output."""
    print_line(json.dumps(value, indent=indent, ensure_ascii=False))


def say(line: str) -> None:
    """For people, on standard error."""
    click.echo(line, err=True)


def plain(text: str) -> str:
    r"""A name that comes from outside, without what would move a terminal's cursor.

    >>> plain("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


AS_JSON = click.option("--json", "as_json", is_flag=True, help="For machines: JSON on standard output.")
