"""What `pypi-cache serve` takes for itself, `--workers`, and what mitmproxy's own options say of where it listens.

The supervisor needs that before any worker runs. It is read by mitmproxy's own parser; where that refuses, mitmdump is run, to say so.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from mitmproxy import exceptions, optmanager
from mitmproxy.addons import default_addons, dumper, keepserving, readfile
from mitmproxy.addons.termlog import TermLog
from mitmproxy.options import Options
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.tools import cmdline, main

NAME: Final = "--workers"
MOST_WORKERS: Final = 256

HELP: Final = f"""\
  {NAME} N           so many processes share the port, the store and the CA; 0: one for each core (Linux only)

Everything else is mitmdump's:
"""

_ONLY_PRINT: Final = ("version", "options", "commands")


def take_workers(arguments: Sequence[str]) -> tuple[int | None, list[str]]:
    """Return the number of workers that is asked for, None if none is, and all other arguments. Raises ValueError, in one line.

    >>> take_workers(["--listen-port", "3128", "--workers", "2"])
    (2, ['--listen-port', '3128'])
    """
    count: int | None = None
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        name, has_value, value = word.partition("=")
        if name != NAME:
            rest.append(word)
            continue
        text = value if has_value else next(words, "")
        if not (text.isascii() and text.isdigit() and int(text) <= MOST_WORKERS):
            raise ValueError(f"{NAME} {text!r}: expected a number up to {MOST_WORKERS}; 0: one for each core")
        count = int(text)
    return count, rest


def cores() -> int:
    """How many processors this process may use: a container's share of them, if it has one (cgroup v2), rounded up."""
    found = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        found = min(found, -(-int(quota) // int(period)))  # "max 100000" where there is no limit
    return max(found, 1)


def read_options(words: Sequence[str]) -> Options | None:
    """Return mitmproxy's options as these words and its config.yaml give them; None where mitmdump would only print something."""
    options = all_options()
    parser = cmdline.mitmdump(options)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            given = parser.parse_args(words)
            if any(getattr(given, name) for name in _ONLY_PRINT):
                return None
            options.set(*given.setoptions, defer=True)
            folder = Path(options.confdir)
            optmanager.load_paths(options, folder / "config.yaml", folder / "config.yml")
            main.process_options(parser, options, given)
            for mode in options.mode:
                ProxyMode.parse(mode)
    except (SystemExit, exceptions.OptionsError, ValueError):
        return None
    return options


def all_options() -> Options:
    """Return the options that mitmdump has, without a mitmdump: each of its addons adds its own."""
    options = Options()
    loader = _OptionLoader(options)
    terminal = TermLog()
    terminal.uninstall()  # it logs from when it is made
    for addon in [*default_addons(), dumper.Dumper(), keepserving.KeepServing(), readfile.ReadFileStdin(), terminal]:
        if hasattr(addon, "load"):
            addon.load(loader)
    return options


class _OptionLoader:
    """Stands in for mitmproxy's `Loader`, for addons that nothing but options is wanted of."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def add_option(
        self,
        name: str,
        typespec: Any,
        default: Any,
        help: str,  # noqa: A002  as there
        choices: Sequence[str] | None = None,
    ) -> None:
        self._options.add_option(name, typespec, default, help, choices)

    def add_command(self, path: str, func: Callable[..., Any]) -> None:
        """Do nothing."""
