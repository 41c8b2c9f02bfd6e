"""Exit codes of the command, and the exceptions that carry them."""

from __future__ import annotations

import signal
from typing import Any

import click

WELL = 0

FOUND = 1
"""Something was wrong, or nothing was found, or something failed: the lines say what."""

UNUSABLE = 2
"""Wrong arguments or settings, or a store that cannot be used: nothing was done."""

INTERRUPTED = 128 + signal.SIGINT
"""By Ctrl-C or SIGTERM: what was done is whole, and the same command goes on from there."""

BROKEN_PIPE = 128 + signal.SIGPIPE


class UnusableError(click.ClickException):
    """One line: what cannot be used, and what would be right."""

    exit_code = UNUSABLE


class InterruptedByUser(click.ClickException):
    """One line: how far it came, and how to go on."""

    exit_code = INTERRUPTED

    def show(self, file: Any = None) -> None:
        """On standard error, whatever was to be shown."""
        click.echo(f"interrupted: {self.message}", err=True, file=file)
