"""How a run ends: its exit code and its one line, whatever ends it."""

import signal

import click
import pytest

from pkgcache.cli import app
from pkgcache.cli.exits import BROKEN_PIPE, FOUND, INTERRUPTED, UNUSABLE, WELL, InterruptedByUser, UnusableError


def test_the_codes() -> None:
    """Those that a shell gives for a signal, and that click gives for wrong arguments."""
    assert [WELL, FOUND, UNUSABLE, INTERRUPTED, BROKEN_PIPE] == [0, 1, 2, 130, 141]
    assert click.ClickException.exit_code == FOUND
    assert click.UsageError.exit_code == UNUSABLE
    assert signal.SIGINT + 128 == INTERRUPTED


@pytest.mark.parametrize(
    ("ending", "status", "line"),
    [
        (None, WELL, ""),
        (click.exceptions.Exit(FOUND), FOUND, ""),
        (click.ClickException("it failed"), FOUND, "Error: it failed\n"),
        (UnusableError("no such store"), UNUSABLE, "Error: no such store\n"),
        (InterruptedByUser("2 files fetched"), INTERRUPTED, "interrupted: 2 files fetched\n"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted\n"),
        (click.Abort(), INTERRUPTED, "interrupted\n"),
        (BrokenPipeError(), BROKEN_PIPE, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_ending(
    ending: BaseException | None,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @click.command()
    def command() -> None:
        if ending is not None:
            raise ending

    monkeypatch.setitem(app.cli.commands, "end", command)
    assert app.run(["end"]) == status
    assert capsys.readouterr() == ("", line)


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(app.cli.commands, "end", command)
    with pytest.raises(ZeroDivisionError):
        app.run(["end"])
