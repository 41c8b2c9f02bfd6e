"""Which entries of the store a command is about: project-name globs, kinds, ages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from pkgcache.engine.store.keys import EntryKind, ParsedKey
from pkgcache.rules.policy.admission import Admission, Admitted, parse_globs
from pkgcache.units import parse_duration


@dataclass(frozen=True, slots=True)
class Globs:
    """Project-name globs, as in `pypi_cache_allow`; none: every entry, be it a project's or not."""

    admission: Admission

    @classmethod
    def parse(cls, words: Sequence[str]) -> Globs:
        """Of the words of a command line. Raises ValueError, which says what would be right."""
        if not all(word.strip() for word in words):  # a shell's empty variable must not mean everything
            raise ValueError("a project name, or a glob such as 'acme-*'; all are meant by '*'")
        return cls(Admission(allow=parse_globs(words)))

    def match(self, named: ParsedKey) -> bool:
        """Whether an entry is meant."""
        if not self.admission.allow:
            return True
        return bool(named.project) and isinstance(self.admission.admit_project(named.project, ""), Admitted)


def kinds_of(*, files: bool, pages: bool) -> frozenset[EntryKind]:
    """What `--files` and `--pages` mean: the one, the other, and both without either."""
    if files == pages:
        return frozenset[EntryKind]({"file", "page"})
    return frozenset[EntryKind]({"file"} if files else {"page"})


def digest_of(named: ParsedKey, notes: Mapping[str, Any]) -> str:
    """What tells one content from another, as far as the key or the notes say it; else empty."""
    return str(notes.get("digest") or notes.get("of") or (named.identity if ":" in named.identity else ""))


def read_globs(words: Sequence[str]) -> Globs:
    """Project-name globs. Raises click.BadParameter."""
    try:
        return Globs.parse(words)
    except ValueError as error:
        raise click.BadParameter(f"expected {error}", param_hint="GLOB") from None


def read_duration(_: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """click's callback for `30d`. Raises click.BadParameter."""
    try:
        return parse_duration(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(f"expected {error}, not {value!r}", param=parameter) from None
