"""Options changed from the dashboard: offline or not, and config.yaml read again. The addon's `configure` then does what is to be done.

What was given on the command line stays as it was given there, as at the start.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mitmproxy import ctx, exceptions, optmanager

from pkgcache.engine.runtime.seat import seat
from pkgcache.settings import OPTIONS, PREFIX, SettingError, in_its_type, make_settings
from pkgcache.web.admin import ChangeError


class CurrentOptions:
    """mitmproxy's options, as the dashboard may change them."""

    def set_offline(self, *, on: bool) -> str:
        """Answer from the store alone from now on, or no longer. Raises ChangeError."""
        _update({f"{PREFIX}offline": on})
        return "offline: only what is stored is served" if on else "online: upstreams are asked again"

    def reload(self) -> str:
        """Give each of our options the value that it would have at a start now. Raises ChangeError."""
        try:
            found = _configured(Path(os.path.expanduser(ctx.options.confdir)))  # noqa: PTH111  as mitmproxy does
            make_settings(found)
            values = {
                option.full_name: in_its_type(option, found.get(option.full_name, option.default)) for option in OPTIONS
            }
        except (SettingError, ValueError, OSError, exceptions.OptionsError) as error:
            raise ChangeError(f"config.yaml: {error}") from None
        kept = given_by_command(sys.argv)
        changed = {
            name: value
            for name, value in values.items()
            if name not in kept and _comparable(value) != _comparable(getattr(ctx.options, name))
        }
        _update(changed)
        return f"config.yaml read: {', '.join(sorted(changed)) or 'nothing'} changed"


def given_by_command(words: Sequence[str]) -> frozenset[str]:
    """Return the names of options that a command line sets.

    >>> sorted(given_by_command(["mitmdump", "--set", "pypi_cache_deny=a", "--set=pypi_cache_offline"]))
    ['pypi_cache_deny', 'pypi_cache_offline']
    """
    values = [after for word, after in itertools.pairwise(words) if word == "--set"]
    values += [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    return frozenset(value.partition("=")[0] for value in values)


def _configured(folder: Path) -> dict[str, Any]:
    """Return our options of config.yaml; mitmproxy reads config.yml too, and the second wins."""
    found: dict[str, Any] = {}
    for name in ("config.yaml", "config.yml"):
        if (path := folder / name).is_file():
            found |= optmanager.parse(path.read_text(encoding="utf-8")) or {}
    return {name: value for name, value in found.items() if str(name).startswith(PREFIX)}


def _comparable(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _update(values: Mapping[str, Any]) -> None:
    mine = seat()
    if mine is not None and mine.count > 1:
        raise ChangeError(
            "there are several workers, and only one would change: edit config.yaml, and restart the proxy"
        )
    try:
        if values:
            ctx.options.update(**values)
    except exceptions.OptionsError as error:
        raise ChangeError(str(error)) from None
