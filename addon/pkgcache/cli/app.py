"""`pypi-cache`: the group of commands, and how a run ends.

Nothing that a person, a signal or a closed pipe does ends in a traceback; the exit codes are those of `exits`.
"""

from __future__ import annotations

import os
import pkgutil
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final, NoReturn

import click

from pkgcache import __version__
from pkgcache.cli.exits import BROKEN_PIPE, FOUND, INTERRUPTED

PLACES: Final = {
    "audit": "audit:audit",
    "doctor": "doctor:doctor",
    "export": "export:export",
    "import": "import_:import_archive",
    "ls": "ls:ls",
    "purge": "purge:purge",
    "service": "service:service",
    "stats": "stats:stats",
    "verify": "verify:verify",
    "warm": "warm:warm",
}
"""Where each command is, under `pkgcache.cli.commands`."""


class Commands(click.Group):
    """Loads a command when it is asked for: to load what all of them need, an HTTP client too, takes most of the time of `ls`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all, loaded or not."""
        return sorted({*super().list_commands(ctx), *PLACES})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None: then all are loaded, for Click to say which one may be meant."""
        if cmd_name not in self.commands:
            for place in (PLACES[cmd_name],) if cmd_name in PLACES else PLACES.values():
                self.add_command(pkgutil.resolve_name(f"pkgcache.cli.commands.{place}"))
        return super().get_command(ctx, cmd_name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, package_name="pypi-cache", prog_name="pypi-cache")
def cli() -> None:
    """Look after the store of pypi-cache, a caching forward proxy for Python packages.

    `pypi-cache serve [mitmdump's arguments]` starts the proxy; `pypi-cache serve --options` lists all options.

    All other commands work beside a running proxy. They use the store that the proxy's settings name: mitmproxy's config.yaml, then --set,
    then --dir.

    Exit codes: 0 success · 1 something is wrong, failed or was not found · 2 wrong arguments, settings or store; nothing was done ·
    130 interrupted; run the same command again to continue.
    """


def _elsewhere(name: str, short_help: str) -> click.Command:
    """A word that `pkgcache.__main__` takes for itself: here only to be listed, and named where a word is mistyped."""

    @click.command(
        name, short_help=short_help, add_help_option=False, context_settings={"ignore_unknown_options": True}
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: Sequence[str]) -> None:
        raise click.UsageError(f"run it as: {shlex.join(['pypi-cache', name, *arguments])}")

    return command


cli.add_command(_elsewhere("serve", "Start the proxy: mitmdump with the addon, and mitmdump's arguments."))
cli.add_command(_elsewhere("ca", "`ca new`: make the CA that is to replace the present one."))


def main() -> NoReturn:
    """Run the command line, and exit. SIGTERM ends it like Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    status = run(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the result is printed: only the flush is left
    sys.exit(_flushed(status))


def run(words: Sequence[str]) -> int:
    """Run one command, given the words of its command line: its exit code."""
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
    """Flush standard output, which may fail because its reader has left (`pypi-cache ls | head`) or the disk is full: the exit code."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = BROKEN_PIPE
    except OSError as error:
        if not status:  # else an error is printed already
            click.echo(f"Error: standard output: {error.strerror}", err=True)
            status = FOUND
    else:
        if status != BROKEN_PIPE:
            return status
    # Python flushes again at exit, and would print a traceback.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does: while asyncio runs, that cancels the main task, where KeyboardInterrupt could be raised in any other."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # ignored: begun in a shell's background
        raise KeyboardInterrupt
    handler(number, frame)
