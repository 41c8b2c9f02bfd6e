"""cli/output.py."""

from __future__ import annotations

import json
import time
from typing import Any

import click


def shown_size(size: float) -> str:
    """Bytes for people, in the units of `pypi_cache_max_size`.

    >>> shown_size(10 << 30)
    '10.0 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def shown_time(at: float | None) -> str:
    """A time in this machine's zone; a hyphen for none."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else "-"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 entry`, `2 entries`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def print_line(line: str) -> None:
    """On standard output. Raises click.ClickException where it is full."""
    try:
        click.echo(line)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"standard output: {error.strerror}") from None


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """For machines, on standard output."""
    print_line(json.dumps(value, indent=indent, ensure_ascii=False))


def say(line: str) -> None:
    """For people, on standard error."""
    click.echo(line, err=True)


def printable(text: str) -> str:
    r"""A name that comes from outside, without what would move a terminal's cursor.

    >>> plain("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


AS_JSON = click.option("--json", "as_json", is_flag=True, help="For machines: JSON on standard output.")
