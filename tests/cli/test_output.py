"""How the commands show sizes, times, numbers and names, and what a full or closed standard output means."""

import errno
import json
from typing import Any

import click
import pytest

from pkgcache.cli.output import counted, print_json, print_line, printable, say, shown_size, shown_time
from pkgcache.units import parse_size


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1024.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (10 << 30, "10.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (5000 << 40, "5000.0 TiB"),
    ],
)
def test_sizes(size: int, shown: str) -> None:
    assert shown_size(size) == shown


@pytest.mark.parametrize("option", ["512m", "10g", "3k", "2t"])
def test_the_units_are_those_of_the_options(option: str) -> None:
    number, unit = float(option[:-1]), option[-1]
    assert shown_size(parse_size(option)) == f"{number:.1f} {unit.upper()}iB"


@pytest.mark.parametrize(
    ("count", "words", "shown"),
    [
        (0, ("file",), "0 files"),
        (1, ("file",), "1 file"),
        (2, ("entry", "entries"), "2 entries"),
        (1234567, ("file",), "1,234,567 files"),
    ],
)
def test_numbers(count: int, words: tuple[str, ...], shown: str) -> None:
    assert counted(count, *words) == shown


def test_times(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (shown_time(None), shown_time(0)) == ("-", "-")
    assert shown_time(1_700_000_000.0)[:8] == "2023-11-"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("six-1.0.whl", "six-1.0.whl"),
        ("größe ☃", "größe ☃"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),  # clears the screen
        ("a\rb\nc", r"a\rb\nc"),
        ("a\u202eb", r"a\u202eb"),  # turns the reading direction
    ],
)
def test_names_from_outside(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_where_lines_go(capsys: pytest.CaptureFixture[str]) -> None:
    """Results on standard output, remarks on standard error, so that `--json | jq` works."""
    print_line("result")
    print_json({"ü": 1}, indent=None)
    say("remark")
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert (first, json.loads(second), err) == ("result", {"ü": 1}, "remark\n")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), click.ClickException),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), BrokenPipeError),
    ],
)
def test_an_output_that_takes_nothing(error: OSError, raised: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(click, "echo", fail)
    with pytest.raises(raised) as caught:
        print_line("x")
    if isinstance(caught.value, click.ClickException):
        assert caught.value.message == "standard output: No space left on device"
