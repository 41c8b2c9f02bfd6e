"""What a store's key tells: which kind of entry it is, whose, of which project. Pure.

The keys are made by engine/views.py (`page|…`, `view|…`, `file|…`), engine/parts.py (`part|…`), engine/root.py (`root|…`) and
engine/hosts.py (`hosts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from pkgcache.engine.views import project_of
from pkgcache.rules.admission import Admission, Admitted, parse_globs
from pkgcache.rules.digests import split_filename
from pkgcache.rules.routes import PUBLIC

type Kind = Literal["file", "part", "page", "view", "root", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A key taken apart. What a kind does not have is empty.

    `identity` is a file's digest or URL; `name` a file's name, or a page's representation; `page` the key of the page that a view is of.
    A part is some of a file's bytes.
    """

    kind: Kind
    space: str = PUBLIC
    index: str = ""
    project: str = ""
    name: str = ""
    identity: str = ""
    page: str = ""

    @property
    def private(self) -> bool:
        """Whether it was fetched with credentials, and is kept for these alone."""
        return self.space != PUBLIC

    def __str__(self) -> str:
        """For people: `six six-1.0.tar.gz`, `six page json`."""
        words = (self.project, "" if self.kind in {"file", "other"} else self.kind, self.name)
        return " ".join(filter(None, words))

    @property
    def shown_space(self) -> str:
        """`public`, or `private:` and the first digits of the credentials' keyed digest."""
        return f"private:{self.space[:8]}" if self.private else "public"


def read_key(key: str) -> Named:
    """A key taken apart; what no key looks like is of kind `other`.

    >>> read_key("page|-|pypi|six|json").project
    'six'
    """
    kind, *parts = key.split("|")
    if kind in {"file", "part"} and len(parts) >= 3:
        name = unquote(parts[-1])
        return Named(
            kind="file" if kind == "file" else "part",
            space=parts[0],
            identity="|".join(parts[1:-1]),
            name=name,
            project=project_of(split_filename(name)[0]),
        )
    if kind == "page" and len(parts) >= 4:
        # A document of the JSON API (`<project>/<version>/json`) is its project's, too.
        project, _, document = parts[-2].partition("/")
        name = document or parts[-1]
        return Named(kind="page", space=parts[0], index="|".join(parts[1:-2]), project=project, name=name)
    if kind == "view" and len(parts) >= 7 and parts[2] == "page":
        page = read_key(key.split("|", 3)[3])
        return Named(
            kind="view",
            space=page.space,
            index=page.index,
            project=page.project,
            name=f"{parts[0]} {parts[1]}",
            page="|".join(parts[2:]),
        )
    if kind == "root" and len(parts) >= 3:
        return Named(kind="root", space=parts[0], index="|".join(parts[1:-1]), name=parts[-1])
    return Named(kind="other", name=key)


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

    def match(self, named: Named) -> bool:
        """Whether an entry is meant."""
        if not self.admission.allow:
            return True
        return bool(named.project) and isinstance(self.admission.admit_project(named.project, ""), Admitted)


def kinds_of(*, files: bool, pages: bool) -> frozenset[Kind]:
    """What `--files` and `--pages` mean: the one, the other, and both without either."""
    if files == pages:
        return frozenset[Kind]({"file", "page"})
    return frozenset[Kind]({"file"} if files else {"page"})


def digest_of(named: Named, notes: Mapping[str, Any]) -> str:
    """What tells one content from another, as far as the key or the notes say it; else empty."""
    return str(notes.get("digest") or notes.get("of") or (named.identity if ":" in named.identity else ""))
