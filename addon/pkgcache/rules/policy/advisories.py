"""Decides by advisories what may be installed: what is reported as malicious is refused, and the rest is marked as yanked (PEP 592).

All advisories are one text, with a line for each project, in which a project is found by bisection: 35,000 records take 2 MB so, and
nothing is parsed before its project is asked for. `write_index` makes that text, in a process of its own.

Leaves out: which versions a record is about (`osv`), where records come from, and how a page is marked (`rules/simple/yanking`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from packaging.version import Version

from pkgcache.rules.policy.admission import Admitted, RefusalReason, Refused
from pkgcache.rules.policy.affected_versions import AffectedVersions
from pkgcache.rules.policy.osv import Affected, Range
from pkgcache.rules.routing.filenames import (
    is_distribution,
    judged_projects,
    projects_of,
    split_filename,
    version_in,
    version_text,
)

BLOCK: Final = "pypi_cache_advisories_block"
FORMAT: Final = 1

MAX_LINE: Final = 128 * 1024
"""Bytes of a project's line, which is parsed in the proxy's process; 800 records take 50 kB. Records that have no room are left out, but
where a malicious one has none, all versions count as malicious."""

SHOWN_IDS: Final = 4
"""How many ids the reason of a yanked file has; after them comes how many more there are."""

type Blocking = Literal["malicious", "all", "none"]

_PROJECTS: Final = 4096


@dataclass(frozen=True, slots=True)
class Advice:
    """What advisories say of one file: the id of the one that blocks it, and why it is to be marked as yanked; '' for neither."""

    blocked: str = ""
    yanked: str = ""


class Advisories:
    """All advisories of one reading. `text` is what `write_index` made. Raises ValueError for another text."""

    def __init__(self, text: bytes, block: Blocking, *, yank: bool) -> None:
        end = text.find(b"\n") + 1
        self.about: Mapping[str, Any] = json.loads(text[:end])
        if not isinstance(self.about, dict) or self.about.get("format") != FORMAT:
            raise ValueError("no index of advisories that this version has written")
        self._text = text
        self._start = end
        self._block = block
        self._yank = yank
        self._of = lru_cache(maxsize=_PROJECTS)(self._find)

    def names(self, project: str) -> bool:
        """Whether any advisory is about a project, by its normalised name."""
        return bool(self._of(project))

    def of_page(self, project: str, filenames: Iterable[str]) -> dict[str, Advice]:
        """What is said of the files on a project's page, by file name; those of which nothing is said are not in it."""
        found = self._of(project)
        if not found:
            return {}
        known: dict[str, Version] = {}
        by_version: dict[tuple[Version | None, str], Advice] = {}
        advised = {}
        for filename in filenames:
            version = version_in(filename, project, known)
            text = "" if version else version_text(filename, project)
            advice = by_version.get((version, text))
            if advice is None:
                advice = by_version[version, text] = self._advice(found, version, text)
            if advice.blocked or advice.yanked:
                advised[filename] = advice
        return advised

    def admit_project(self, project: str) -> Admitted | Refused:
        """Refuse a project of which every version is malicious, also those to come."""
        blocked = next((each.id for each in self._of(project).affected if each.is_all and self._blocks(each)), "")
        return self._refused(blocked) if blocked else Admitted()

    def admit_version(self, project: str, version: Version | None, text: str) -> Admitted | Refused:
        """Decide about a version of a project; `text` is the version as written, None where that is none by PEP 440."""
        blocked = self._advice(self._of(project), version, text).blocked
        return self._refused(blocked) if blocked else Admitted()

    def affecting(self, project: str, version: Version | None, text: str) -> list[Affected]:
        """All advisories that are about a version of a project, malicious ones first."""
        return self._of(project).about(version, text)

    def _advice(self, found: AffectedVersions, version: Version | None, text: str) -> Advice:
        affecting = found.about(version, text)
        blocked = next((each.id for each in affecting if self._blocks(each)), "")
        ids = list(dict.fromkeys(each.id for each in affecting)) if self._yank and not blocked else []
        more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
        return Advice(blocked, ", ".join(ids[:SHOWN_IDS]) + more)

    def _blocks(self, each: Affected) -> bool:
        return self._block == "all" or (self._block == "malicious" and each.malicious)

    def _refused(self, shown: str) -> Refused:
        return Refused(reason=RefusalReason.ADVISORY, rule=f"advisory {shown} ({BLOCK}={self._block})", advisory=shown)

    def _find(self, project: str) -> AffectedVersions:
        """The advisories of a project, malicious ones first."""
        name = project.encode()
        low, high = self._start, len(self._text)
        while low < high:
            start = max(low, self._text.rfind(b"\n", 0, (low + high) // 2) + 1)  # of the line that the middle is in
            end = self._text.find(b"\n", start)
            found, _, line = self._text[start:end].partition(b"\t")
            if found == name:
                return AffectedVersions(_read_line(project, line))
            low, high = (end + 1, high) if found < name else (low, start)
        return _NONE


_NONE: Final = AffectedVersions(())


def _read_line(project: str, line: bytes) -> list[Affected]:
    """The advisories of a line. None where somebody else has written to the file that it came from."""
    try:
        return [
            Affected(
                project=project,
                id=shown,
                malicious=bool(malicious),
                versions=frozenset(versions),
                ranges=tuple(Range(start, end, bool(is_last)) for start, end, is_last in ranges),
            )
            for shown, malicious, versions, ranges in json.loads(line)
        ]
    except (ValueError, TypeError, RecursionError):
        return []


def readings(filename: str) -> Iterator[tuple[str, Version | None, str]]:
    """The projects that a file, its metadata or its signature may be of, by its name alone; its version then, and that as written.

    An sdist's name does not tell for certain where its project's ends. Beside the likeliest reading there are those that leave a version.

    >>> [(project, text) for project, _, text in readings("foo-1-2.tar.gz.asc")]
    [('foo-1', '2'), ('foo', '1-2')]
    """
    filename, _ = split_filename(filename)
    judged = judged_projects(filename)
    for project in dict.fromkeys([*judged, *projects_of(filename)]):
        version = version_in(filename, project, {})
        if version is not None or project in judged:
            # What is no release file's name says something else than a version; that of a release file may say nothing of it.
            yield project, version, version_text(filename, project) or ("" if is_distribution(filename) else filename)


def parse_pep440(text: str) -> Version | None:
    """The version; None where it is none."""
    try:
        return Version(text)
    except ValueError:
        return None


def write_index(found: Iterable[Affected], about: Mapping[str, Any]) -> Iterator[bytes]:
    """The lines of the text for `Advisories`. `about` is what is told of the reading as a whole, in the first one."""
    projects: dict[str, list[Affected]] = {}
    for each in found:
        projects.setdefault(each.project, []).append(each)
    yield _line({"format": FORMAT, **about})
    for project in sorted(projects, key=str.encode):
        yield project.encode() + b"\t" + _line_of(projects[project])


def _line_of(found: Sequence[Affected]) -> bytes:
    """A project's line, of at most MAX_LINE."""
    rows: list[list[Any]] = []
    room = MAX_LINE
    for each in sorted(found, key=lambda each: (not each.malicious, each.id)):
        size = len(_line(row := _row(each)))
        if size <= room:
            room -= size
            rows.append(row)
        elif each.malicious:
            rows = [[each.id, 1, [], [["", "", 0]]]]
            break
    return _line(rows)


def _row(each: Affected) -> list[Any]:
    ranges = [[one.start, one.end, int(one.is_last)] for one in each.ranges]
    return [each.id, int(each.malicious), sorted(each.versions), ranges]


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
