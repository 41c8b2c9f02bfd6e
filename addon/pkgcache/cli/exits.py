"""Exit codes of the command, and the exceptions that carry them."""

from __future__ import annotations

import signal
from typing import Any

import click

WELL = 0

FOUND = 1
"""Something is wrong, failed or was not found; the output says what."""

UNUSABLE = 2
"""Wrong arguments or settings, or an unusable store; nothing was done. click uses the same code."""

INTERRUPTED = 128 + signal.SIGINT
"""Interrupted by Ctrl-C or SIGTERM. What was done is complete, and the same command continues from there."""

BROKEN_PIPE = 128 + signal.SIGPIPE


class UnusableError(click.ClickException):
    """Wrong arguments or settings, or an unusable store. The message is one line that says what would be right."""

    exit_code = UNUSABLE


class InterruptedByUser(click.ClickException):
    """The user ended the run. The message is one line that says how far it came and how to continue."""

    exit_code = INTERRUPTED

    def show(self, file: Any = None) -> None:
        """Print the message to standard error, without click's "Error:"."""
        click.echo(f"interrupted: {self.message}", err=True, file=file)
