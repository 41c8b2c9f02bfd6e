"""Which store a command means: the one that the proxy's settings name.

The settings are read as the proxy reads them: mitmproxy's `config.yaml` in its configuration folder, then `--set`, then `--dir`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, cast

import click
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pkgcache.cli.exits import UnusableError
from pkgcache.settings import PREFIX, SettingError, Settings, make_settings
from pkgcache.units import redact

CONFDIR = "~/.mitmproxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLocation:
    """The store's proxy: its settings, and all of its config.yaml. `given` are the settings that differ from the defaults, as texts."""

    confdir: Path
    config: dict[str, Any]
    given: dict[str, Any]
    settings: Settings

    @property
    def folder(self) -> Path:
        """The folder that the store is in."""
        return self.settings.dir


def with_store_options[**P, T](command: Callable[Concatenate[StoreLocation, P], T]) -> Callable[P, T]:
    """Give a command the options that say which store is meant; its first argument is the location that they name."""

    @click.option(
        "--dir", "directory", metavar="FOLDER", help="The store's folder; short for --set pypi_cache_dir=FOLDER."
    )
    @click.option(
        "--set", "sets", metavar="NAME=VALUE", multiple=True, help="An option of the proxy, as given to mitmdump."
    )
    @click.option(
        "--confdir",
        default=CONFDIR,
        show_default=True,
        metavar="FOLDER",
        help="mitmproxy's folder, with its config.yaml and CA.",
    )
    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        confdir, sets, directory = (kwargs.pop(name) for name in ("confdir", "sets", "directory"))
        location = read_location(cast(str, confdir), cast(Sequence[str], sets), cast(str | None, directory))
        return command(location, *args, **kwargs)

    return run


def read_location(confdir: str, sets: Sequence[str], directory: str | None) -> StoreLocation:
    """Read the settings of config.yaml, `--set` and `--dir`. Raises UnusableError."""
    folder = Path(os.path.expanduser(confdir))  # noqa: PTH111  as mitmproxy: a user without a home is no error
    if confdir != CONFDIR and not folder.is_dir():
        raise UnusableError(f"--confdir {confdir}: no such folder; expected the one with mitmproxy's config.yaml")
    config: dict[str, Any] = {}
    for name in ("config.yaml", "config.yml"):  # mitmproxy reads both, and the second wins
        config |= read_config(folder / name)
    given = {name: value for name, value in config.items() if str(name).startswith(PREFIX)} | _parse_sets(sets)
    if directory is not None:
        given[f"{PREFIX}dir"] = directory
    try:
        return StoreLocation(confdir=folder, config=config, given=given, settings=make_settings(given))
    except SettingError as error:
        raise UnusableError(str(error)) from None


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration file of mitmproxy; a missing one counts as empty. Raises UnusableError."""
    try:
        found = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"{path} cannot be read: {error}") from None
    except RecursionError:
        raise UnusableError(f"{path}: nested too deeply; expected lines such as pypi_cache_max_size: 50g") from None
    except YAMLError as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        line = f", line {mark.line + 1}" if mark else ""
        problem = (error.problem if isinstance(error, MarkedYAMLError) else None) or "not YAML"
        raise UnusableError(f"{path}{line}: {problem}; expected lines such as pypi_cache_max_size: 50g") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UnusableError(f"{path}: expected lines such as pypi_cache_max_size: 50g")
    return found


def _parse_sets(sets: Sequence[str]) -> dict[str, Any]:
    """Parse `name=value` texts; a name that is given several times gets a list of values. Raises UnusableError."""
    given: dict[str, list[str]] = {}
    for each in sets:
        name, _, value = each.partition("=")
        if not name.startswith(PREFIX):
            raise UnusableError(f"--set {redact(each)}: expected an option of pypi-cache, such as {PREFIX}max_size=50g")
        given.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in given.items()}
