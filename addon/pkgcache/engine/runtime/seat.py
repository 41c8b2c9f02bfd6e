"""What a worker knows of itself: its number, how many there are, and what they have in common.

A worker that takes a dead one's place has the same number. It comes by an environment variable, because mitmproxy makes the addon.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pkgcache.rules.policy.shares import share_of
from pkgcache.settings import Settings

VARIABLE: Final = "PYPI_CACHE_WORKER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """The place of one worker of `count`, from 1 on. `family` is the name that they share in `Via`; `folder` is for their sockets."""

    number: int
    count: int
    family: str
    folder: str
    is_first: bool
    """Whether it speaks for all at the start."""

    @property
    def member(self) -> str:
        """What is added to the family's name in `Via`. A successor has another process id, so an answer names its process."""
        return f"-worker{self.number}-{os.getpid()}"

    @property
    def folder_path(self) -> Path:
        """The folder of the workers' sockets."""
        return Path(self.folder)

    def to_text(self) -> str:
        """Return the variable's value."""
        return json.dumps(asdict(self))


def seat() -> Seat | None:
    """Return this process's seat; None where it is no worker."""
    text = os.environ.get(VARIABLE)
    return Seat(**json.loads(text)) if text else None


def shared(settings: Settings) -> Settings:
    """Return this process's share of what the options grant to all workers together."""
    mine = seat()
    return share_of(settings, mine.count) if mine else settings


def said_by_one(lines: list[str]) -> list[str]:
    """Return the lines of a start where this process is the one that says them: the first of several workers, or no worker."""
    mine = seat()
    return lines if mine is None or mine.is_first else []
