"""A finding of a check, and its three states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

type State = Literal["well", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and what to do about it; `advice` is empty if there is nothing to do."""

    check: str
    state: State
    message: str
    advice: str = ""


def well(check: str, message: str) -> Finding:
    """Report that all is as it should be."""
    return Finding(check, "well", message)


def note(check: str, message: str, advice: str = "") -> Finding:
    """Report something that may be intended."""
    return Finding(check, "note", message, advice)


def problem(check: str, message: str, advice: str) -> Finding:
    """Report something that does not work, or is dangerous."""
    return Finding(check, "problem", message, advice)
