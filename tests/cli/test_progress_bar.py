"""Bars: rate and time left of bytes and of things, on a terminal only, away when the work is done."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress

from pkgcache.cli import progress_bar
from pkgcache.cli.progress_bar import Rate
from tests.cli.conftest import Command
from tests.cli.stores import make_store

WORK = """
import time
from pkgcache.cli.progress_bar import bar
with bar("counting", 200, of_bytes={of_bytes}) as progress:
    for number in range(100):
        progress.advance()
        time.sleep(0.01)
    progress.say("a line above")
print("done")
"""


@pytest.mark.parametrize(
    ("advances", "seconds", "shown"),
    [([], 1, ""), ([500, 500], 1, "500/s"), ([12345, 12345], 10, "1,234/s"), ([1, 1], 4, "0.2/s")],
)
def test_rate(advances: list[int], seconds: float, shown: str) -> None:
    """So many in the time between the first advance and the last."""
    now = 0.0
    progress = Progress(Rate(), get_time=lambda: now, console=Console(file=open(os.devnull, "w")), auto_refresh=False)  # noqa: PTH123, SIM115
    task = progress.add_task("x", total=100_000)
    for advance in advances:
        progress.advance(task, advance)
        now += seconds
    assert Rate().render(progress.tasks[0]).plain == shown


def on_terminal(command: Command, *words: str) -> tuple[str, str]:
    """Standard output of a run, and what its standard error showed on a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        words,
        env={**command.environment, "TERM": "xterm", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            shown += chunk
    except OSError:  # Linux's way to say that nobody has the other end any more
        pass
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown.decode()
    return out.decode(), shown.decode()


@pytest.mark.parametrize(
    ("of_bytes", "rate"), [(False, r"\d+/200.* [\d.]+/s .*0:00:0\d"), (True, r"\d+/200 bytes.* \d+ bytes/s.*0:00:0\d")]
)
def test_on_a_terminal(of_bytes: bool, rate: str, command: Command) -> None:
    out, shown = on_terminal(command, sys.executable, "-c", WORK.format(of_bytes=of_bytes))
    assert out == "done\n"
    assert re.search(rate, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)), shown
    assert "a line above" in shown
    assert shown.rstrip().endswith("\x1b[2K"), shown  # the bar's line is empty at the end


def test_a_command_on_a_terminal(command: Command, tmp_path: Path) -> None:
    make_store(tmp_path / "store")
    out, shown = on_terminal(command, *command.words, "verify", "--dir", str(tmp_path / "store"))
    assert out.startswith("6 entries, ")
    assert "hashing" in shown


def test_elsewhere_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`warm` in a CI job was silent for minutes while pip resolved."""
    moments = iter([100.0, 105.0, 110.0, 119.0, 121.0])
    monkeypatch.setattr(progress_bar, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    with progress_bar.bar("resolving", 3, of_bytes=False) as progress:
        for what in ("too early", "pip resolves: six", "too early again", "pip resolves: flask"):
            progress.tell(what)
    assert capsys.readouterr() == ("", "pip resolves: six\npip resolves: flask\n")


def test_elsewhere_there_is_none(command: Command, tmp_path: Path) -> None:
    make_store(tmp_path / "store")
    assert command.process("verify", "--dir", str(tmp_path / "store")).ended(0).err == ""
