"""Which entries of the store a command is about: project-name globs, kinds, ages. Also click's callbacks that read these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from pkgcache.engine.store.keys import EntryKind, ParsedKey
from pkgcache.rules.policy.admission import Admission, Admitted
from pkgcache.rules.policy.globs import parse_globs
from pkgcache.units import parse_duration


@dataclass(frozen=True, slots=True)
class Globs:
    """Project-name globs, as in `pypi_cache_allow`. Without any, every entry matches, whether it belongs to a project or not."""

    admission: Admission
    every: bool = False
    """Whether one of them matches every name."""

    @classmethod
    def parse(cls, words: Sequence[str]) -> Globs:
        """Read the words of a command line. Raises ValueError, whose message says what would be right."""
        if not all(word.strip() for word in words):  # `purge "$NAME"` with an empty variable must not purge everything
            raise ValueError("a project name, or a glob such as 'acme-*'; '*' matches all")
        every = any(_is_every_name(glob) for word in words for glob in word.split())
        return cls(Admission(allow=parse_globs(words)), every=every)

    def match(self, parsed: ParsedKey) -> bool:
        """Whether an entry belongs to a project that a glob matches (by its name as PEP 503 writes it).

        The lists of all projects belong to all of them: only `*` matches these.
        """
        if not self.admission.allow:
            return True
        if parsed.kind == "root":
            return self.every
        return bool(parsed.project) and self.match_project(parsed.project)

    def match_project(self, project: str) -> bool:
        """Whether a glob matches a project's name."""
        return isinstance(self.admission.admit_project(project, ""), Admitted)


def _is_every_name(glob: str) -> bool:
    """Whether a glob matches every name.

    >>> [_is_every_name(glob) for glob in ("*", "**", "?*", "??*", "a*")]
    [True, True, True, False, False]
    """
    return "*" in glob and glob.replace("*", "") in {"", "?"}


def with_project_lists(kinds: frozenset[EntryKind]) -> frozenset[EntryKind]:
    """Add the lists of all projects to the pages, which they are."""
    return kinds | {"root"} if "page" in kinds else kinds


def kinds_of(*, files: bool, pages: bool) -> frozenset[EntryKind]:
    """The kinds that `--files` and `--pages` select; neither of them selects both kinds."""
    if files == pages:
        return frozenset[EntryKind]({"file", "page"})
    return frozenset[EntryKind]({"file"} if files else {"page"})


def digest_of(parsed: ParsedKey, notes: Mapping[str, Any]) -> str:
    """The digest of an entry's content, from its notes or its key; empty if neither has one."""
    return str(notes.get("digest") or notes.get("of") or (parsed.identity if ":" in parsed.identity else ""))


def read_globs(words: Sequence[str]) -> Globs:
    """Read project-name globs. Raises click.BadParameter."""
    try:
        return Globs.parse(words)
    except ValueError as error:
        raise click.BadParameter(f"expected {error}", param_hint="GLOB") from None


def read_duration(_: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Read a duration such as `30d`, in seconds: a callback for click. Raises click.BadParameter.

    A unit is required: who writes `5` means days more often than the seconds that it would be.
    """
    if value is None:
        return None
    try:
        if value.strip()[-1:].isdigit():
            raise ValueError("a time with its unit, such as 30s, 10m, 12h or 30d")
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"expected {error}, not {value!r}", param=parameter) from None
