"""Progress of long work, on standard error: on a terminal a bar with rate and time left, elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

LINE_SECONDS: Final = 10.0
"""Off a terminal, such as in a CI job: how long nothing is printed, so that quick work says nothing and slow work is seen to go on."""


@dataclass(slots=True)
class Bar:
    """One bar. Its methods may be called from any thread, since rich locks its own state."""

    progress: Progress
    task: TaskID
    last_line: float

    def advance(self, amount: float = 1) -> None:
        """Add to what is done: bytes or things."""
        self.progress.advance(self.task, amount)

    def expect(self, total: float) -> None:
        """Set the total amount of work."""
        self.progress.update(self.task, total=total)

    def expect_more(self, amount: float) -> None:
        """Add to how much there is to do, for work whose size shows only as it goes. From one thread only."""
        self.progress.update(self.task, total=(self.progress.tasks[self.task].total or 0) + amount)

    def tell(self, what: str) -> None:
        """Say what is being done now."""
        self.progress.update(self.task, description=what)
        now = time.monotonic()
        if not self.progress.console.is_terminal and now - self.last_line >= LINE_SECONDS:
            self.last_line = now
            self.say(what)

    def say(self, line: str) -> None:
        """Print a line for people, above the bar."""
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


class Rate(ProgressColumn):
    """A column that shows how many things are done a second."""

    def render(self, task: Task) -> Text:
        """Show `1,234/s`; with a decimal below ten."""
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        return Text(f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s", style="progress.data.speed")


@contextlib.contextmanager
def bar(what: str, total: float | None, *, of_bytes: bool = True) -> Iterator[Bar]:
    """Show a bar while the block runs, and remove it at the end. `total` is in bytes, or in things if not `of_bytes`."""
    console = Console(stderr=True)
    measures: tuple[ProgressColumn, ...] = (DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        *(measures if of_bytes else (MofNCompleteColumn(), Rate())),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        expand=True,
    ) as progress:
        yield Bar(progress, progress.add_task(what, total=total), time.monotonic())
