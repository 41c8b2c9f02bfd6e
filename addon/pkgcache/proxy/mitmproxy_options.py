"""Our options among mitmproxy's: added from the table in `settings`, and checked before mitmproxy converts them.

On `--set pypi_cache_offline=maybe` mitmproxy alone would start without the addon and say nothing, and for an error in `configure` at
start it prints a traceback. So the addon's `load` checks the raw values first, and logs one error line, upon which mitmdump exits with 1.
Values of config.yaml are put into the options' types: mitmproxy would print a traceback for `pypi_cache_max_size: 1000000000`.
"""

from __future__ import annotations

import sys
from typing import Any

from mitmproxy import addonmanager, optmanager

from pkgcache.engine.runtime.seat import shared
from pkgcache.engine.service import check
from pkgcache.settings import OPTIONS, PREFIX, Settings, in_its_type, make_settings
from pkgcache.web.admin import read_token


def raw_values(options: optmanager.OptManager) -> dict[str, Any]:
    """Return what has been given for our options: raw texts that wait for the addon to load, or the values of an earlier load."""
    known = {option.full_name: getattr(options, option.full_name) for option in OPTIONS if option.full_name in options}
    waiting = {name: value for name, value in options.deferred.items() if name.startswith(PREFIX)}
    return known | {name: getattr(value, "val", value) for name, value in waiting.items()}  # --set: _UnconvertedStrings


def forget_waiting(options: optmanager.OptManager) -> None:
    """Take out what waits for our options: mitmproxy would report a wrong value once more, with a traceback."""
    for name in [name for name in options.deferred if name.startswith(PREFIX)]:
        del options.deferred[name]


def add_options(loader: addonmanager.Loader) -> None:
    """Add the options of the table to mitmproxy. What waits for them has been checked."""
    deferred = loader.master.options.deferred
    for option in OPTIONS:
        waiting = deferred.get(option.full_name)
        if waiting is not None and not hasattr(waiting, "val"):
            deferred[option.full_name] = in_its_type(option, waiting)
        loader.add_option(option.full_name, option.type, option.default, option.help)


def check_settings(settings: Settings) -> None:
    """Raise SettingError where no service can be made of these settings, or there is no admin token where they say."""
    check(settings)
    read_token(settings.admin_token)


def current_settings(options: optmanager.OptManager) -> Settings:
    """Return the settings that mitmproxy's present values mean, or a worker's share of them. Raises SettingError."""
    return shared(make_settings({option.full_name: getattr(options, option.full_name) for option in OPTIONS}))


def only_prints() -> bool:
    """Whether mitmproxy is to print something and to end: then no store is opened, and no CA made."""
    return not {"--options", "--commands"}.isdisjoint(sys.argv)
