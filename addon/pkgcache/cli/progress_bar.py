"""Progress of long work, on standard error: a bar with rate and time left on a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

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


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; its methods may be called from any thread."""

    progress: Progress
    task: TaskID
    lock: Lock = field(default_factory=Lock)

    def advance(self, amount: float = 1) -> None:
        """So much more is done."""
        self.progress.advance(self.task, amount)

    def expect(self, total: float) -> None:
        """So much there is to do in all."""
        self.progress.update(self.task, total=total)

    def expect_more(self, amount: float) -> None:
        """There is so much more to do than was known."""
        with self.lock:
            self.progress.update(self.task, total=(self.progress.tasks[self.task].total or 0) + amount)

    def tell(self, what: str) -> None:
        """What is being done now."""
        self.progress.update(self.task, description=what)

    def say(self, line: str) -> None:
        """A line for people, above the bar."""
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


class Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """`1,234/s`; below ten with a decimal."""
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        return Text(f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s", style="progress.data.speed")


@contextlib.contextmanager
def bar(what: str, total: float | None, *, of_bytes: bool = True) -> Iterator[Bar]:
    """A bar while the block runs; it goes away at its end. Of bytes, or of things that are counted."""
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
        yield Bar(progress, progress.add_task(what, total=total))
