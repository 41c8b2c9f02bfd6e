"""What the doctor's checks find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

type State = Literal["well", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw, and what to do about it; `todo` is empty where all is well."""

    check: str
    state: State
    said: str
    todo: str = ""


def well(check: str, said: str) -> Finding:
    """All is as it should be."""
    return Finding(check, "well", said)


def note(check: str, said: str, todo: str = "") -> Finding:
    """Something to be known, that may be meant so."""
    return Finding(check, "note", said, todo)


def problem(check: str, said: str, todo: str) -> Finding:
    """Something does not work, or is dangerous."""
    return Finding(check, "problem", said, todo)
