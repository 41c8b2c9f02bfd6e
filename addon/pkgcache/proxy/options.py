"""mitmproxy's options and ours: the table is added, and raw values are checked before mitmproxy takes them.

mitmproxy alone starts without the addon, silently, on `--set pypi_cache_offline=maybe`, and prints a traceback for an error in
`configure` at start. So `load` checks the raw values first, and reports by one error line, on which mitmdump exits with 1.
"""

from __future__ import annotations

from typing import Any

from mitmproxy import addonmanager, optmanager

from pkgcache.settings import OPTIONS, PREFIX, Settings, make_settings


def raw_values(options: optmanager.OptManager) -> dict[str, Any]:
    """What was given for our options so far: raw texts that wait for the addon, or values of an earlier load."""
    known = {option.full_name: getattr(options, option.full_name) for option in OPTIONS if option.full_name in options}
    waiting = {name: value for name, value in options.deferred.items() if name.startswith(PREFIX)}
    return known | {name: getattr(value, "val", value) for name, value in waiting.items()}  # --set: _UnconvertedStrings


def add_options(loader: addonmanager.Loader) -> None:
    """Add the table to mitmproxy."""
    for option in OPTIONS:
        loader.add_option(option.full_name, option.type, option.default, option.help)


def current_settings(options: optmanager.OptManager) -> Settings:
    """The settings by mitmproxy's present values. Raises SettingError."""
    return make_settings({option.full_name: getattr(options, option.full_name) for option in OPTIONS})
