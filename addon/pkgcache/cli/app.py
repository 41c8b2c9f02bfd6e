"""`pypi-cache`: the group of commands, and how a run ends.

Exit codes: 0 all is well; 1 something was found wrong, was not found, or failed; 2 wrong arguments, settings or store, and nothing was
done; 130 interrupted, what was done is whole, and the same command goes on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from pkgcache import __version__
from pkgcache.cli.commands.doctor import doctor
from pkgcache.cli.commands.export import export
from pkgcache.cli.commands.import_ import import_archive
from pkgcache.cli.commands.ls import ls
from pkgcache.cli.commands.purge import purge
from pkgcache.cli.commands.stats import stats
from pkgcache.cli.commands.verify import verify
from pkgcache.cli.commands.warm import warm
from pkgcache.cli.exits import BROKEN_PIPE, FOUND, INTERRUPTED


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, package_name="pypi-cache", prog_name="pypi-cache")
def cli() -> None:
    """Look after the store of pypi-cache: a caching forward proxy for Python packages.

    All commands work beside a running proxy. The store is the one that the proxy's settings name: those of mitmproxy's config.yaml,
    then --set, then --dir.

    Exit codes: 0 all is well · 1 something is wrong, was not found, or failed · 2 wrong arguments, settings or store: nothing was done ·
    130 interrupted: the same command goes on.
    """


for _command in (stats, ls, purge, verify, warm, export, import_archive, doctor):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run the command line, and exit."""
    signal.signal(signal.SIGTERM, _interrupt)
    status = run(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # all is done and said: it is too late to be interrupted
    sys.exit(_flushed(status))


def run(words: Sequence[str]) -> int:
    """Run one command: its exit code. No traceback for what a person, a signal or a closed pipe does."""
    try:
        with cli.make_context("pypi-cache", list(words)) as context:
            cli.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    return 0


def _flushed(status: int) -> int:
    """What is still to be written may find that nobody reads any more (`pypi-cache ls | head`), or no room."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = BROKEN_PIPE
    except OSError as error:
        if not status:  # else it was said
            click.echo(f"Error: standard output: {error.strerror}", err=True)
            status = FOUND
    else:
        if status != BROKEN_PIPE:
            return status
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again as it ends
    return status


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
