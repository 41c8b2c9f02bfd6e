"""How the commands show sizes, times and lines: results on standard output, remarks on standard error."""

from __future__ import annotations

import json
import time
from typing import Any

import click


def shown_size(size: float) -> str:
    """Show bytes for people, in the units of `pypi_cache_max_size`.

    >>> shown_size(10 << 30)
    '10.0 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def shown_time(at: float | None) -> str:
    """Show a time (seconds since the epoch) in this machine's zone; a hyphen for none."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else "-"


def counted(count: int, one: str, many: str = "") -> str:
    """Show a number of things; `many` where the plural is not made with an s.

    >>> counted(1, "entry", "entries"), counted(2000, "file")
    ('1 entry', '2,000 files')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def print_line(line: str) -> None:
    """Print a result on standard output. Raises click.ClickException if it cannot be written, for example to a full disk."""
    try:
        click.echo(line)
    except BrokenPipeError:
        raise  # `pypi-cache ls | head`: the end of the run, and no error
    except OSError as error:
        raise click.ClickException(f"standard output: {error.strerror}") from None


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a result for machines, on standard output."""
    print_line(json.dumps(value, indent=indent, ensure_ascii=False))


def say(line: str) -> None:
    """Print a remark for people, on standard error."""
    click.echo(line, err=True)


def printable(text: str) -> str:
    r"""Escape unprintable characters in a name from outside, so that it cannot move a terminal's cursor or clear its screen.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output, for machines.")
