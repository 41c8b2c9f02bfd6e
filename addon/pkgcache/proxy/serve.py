"""`pypi-cache serve`: mitmdump with the addon, from wherever the package is installed; with `--workers` several of them on one port.

mitmproxy loads an addon by its script's path, and leaves that script's folder on `sys.path` for good. So the script is never inside the
package, whose modules could then shadow others (`settings`, `cli`): it stands beside it, in the wheel as in the repository.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from mitmproxy.options import Options
from mitmproxy.tools.main import mitmdump

import pkgcache
from pkgcache.engine.service import check
from pkgcache.proxy.mitmproxy_options import raw_values
from pkgcache.proxy.new_ca import make_ca
from pkgcache.proxy.workers.arguments import HELP, cores, read_options, take_workers
from pkgcache.proxy.workers.listening import addresses, why_impossible
from pkgcache.proxy.workers.state_folder import state_folder
from pkgcache.rules.policy.shares import share_of, shown_share
from pkgcache.settings import make_settings

SCRIPT: Final = Path(pkgcache.__file__).parents[1] / "pypi_cache.py"
WRONG_USE: Final = 2


def serve(arguments: Sequence[str]) -> NoReturn:
    """Run mitmdump with the addon and these further arguments, until it is stopped."""
    try:
        workers, rest = take_workers(arguments)
    except ValueError as error:
        _refuse(str(error), WRONG_USE)
    words = ["-s", str(SCRIPT), *rest]
    # argparse shows the first word in its help and errors; mitmproxy and the addon look for `--options` in the others.
    sys.argv = ["pypi-cache serve", *words]
    options = read_options(words)
    if options is not None:
        try:
            make_ca(options)
            if workers is not None:
                sys.exit(_serve_by_many(words, options, workers or cores()))
        except (OSError, ValueError) as error:
            _refuse(str(error), 1)
    if {"-h", "--help"} & set(rest):
        sys.stdout.write(HELP)
    sys.exit(mitmdump(words))


def _serve_by_many(words: Sequence[str], options: Options, count: int) -> int:
    """Run so many workers. Raises OSError where they cannot listen, and ValueError for a mode that they cannot serve."""
    if (reason := why_impossible()) is not None:
        raise ValueError(f"--workers: {reason}; start it without that option")
    import pkgcache.proxy.addon  # noqa: F401, PLC0415  what the forks share
    from pkgcache.proxy.workers.supervisor import Supervisor  # noqa: PLC0415

    settings = make_settings(raw_values(options))
    check(settings)
    greeting = shown_share(share_of(settings, count), count)
    listens = addresses(options)
    with state_folder(settings.dir) as folder:
        return Supervisor(words=words, addresses=listens, count=count, folder=str(folder), greeting=greeting).run()


def _refuse(line: str, status: int) -> NoReturn:
    sys.stderr.write(f"pypi-cache serve: {line}\n")
    sys.exit(status)
