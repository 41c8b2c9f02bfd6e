"""Reads records of the OSV schema (1.7): which versions of which Python projects an advisory is about.

A version is affected if `versions` lists it, or if it lies in a range of type ECOSYSTEM, ordered by PEP 440 ("affected fields" and
"Evaluation" in the schema). A record that is `withdrawn` says nothing. Of a project in another ecosystem, and of ranges of commits
(GIT) or of SEMVER, nothing is known here.

What cannot be read counts as affected: an `introduced` that is no version is the beginning, a `fixed` that is none is no end.

Leaves out: severity, what becomes of an affected version (`advisories`), and where records come from.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import Version

from pkgcache.rules.routing.filenames import is_project_name

ECOSYSTEM: Final = "PyPI"
MALICIOUS: Final = "MAL-"
"""The prefix of ids of the database of malicious packages; other databases have its ids among their aliases."""

MAX_EVENTS: Final = 10_000
MAX_COMPARED: Final = 100_000
"""Versions of a record times its ranges. A million took 1.4 s, and one record of 16 MB could ask for 10^11."""

MAX_ID: Final = 100
_MAX_VERSION: Final = 200
_ODD: Final = re.compile(r"[^A-Za-z0-9._:+-]")


@dataclass(frozen=True, slots=True)
class Range:
    """Versions from `start` on ('': from the first one) up to `end` ('': all that follow), with `end` itself where it is the last one."""

    start: str = ""
    end: str = ""
    is_last: bool = False

    def holds(self, version: Version) -> bool:
        """Whether a version is in it."""
        if self.start and version < parse_version(self.start):
            return False
        if not self.end:
            return True
        end = parse_version(self.end)
        # PEP 440, "Version matching": a local version counts as its public one where the other has none. Else 1.0+cpu is above 1.0.
        if not self.is_last:
            return version < end
        return (version if end.local or not version.local else Version(version.public)) <= end


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """What one record says of one project."""

    project: str
    id: str
    malicious: bool
    versions: frozenset[str] = frozenset()  # as `same_version` has them
    ranges: tuple[Range, ...] = ()

    @property
    def is_all(self) -> bool:
        """Whether every version is affected, also those to come."""
        return any(not each.start and not each.end for each in self.ranges)

    def affects(self, version: Version | None, text: str) -> bool:
        """Whether it is about a version. `text` is the version as written; None: it is none by PEP 440, and sorts before all that are.

        Of a file that names no version at all it may be any.
        """
        if version is None:
            return not text or text.lower() in self.versions or any(not each.start for each in self.ranges)
        if self.versions and not {
            canonicalize_version(version),
            canonicalize_version(Version(version.public)),
        }.isdisjoint(self.versions):
            return True
        return any(each.holds(version) for each in self.ranges)


class BrokenRecord(ValueError):  # noqa: N818  named as an answer
    """It is no OSV record. The message says why, in one line."""


def read_records(value: object) -> Iterator[Affected | BrokenRecord]:
    """What a JSON value says: one record, an array of them, or an object with an array `vulns`, as the API answers."""
    records = value if isinstance(value, list) else [value]
    if isinstance(value, dict) and "id" not in value and isinstance(value.get("vulns"), list):
        records = value["vulns"]
    for record in records:
        try:
            found = read_record(record)
            yield from found
            if not found and (odd := _odd_ecosystem(record)):
                yield BrokenRecord(f"its ecosystem is {odd}, which the schema spells {ECOSYSTEM}")
        except BrokenRecord as error:
            yield error
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            yield BrokenRecord(f"it cannot be read ({type(error).__name__})")


def read_record(record: object) -> list[Affected]:
    """What one record says of Python projects. Raises BrokenRecord where it is none."""
    if not isinstance(record, dict) or not isinstance(record.get("id"), str) or not record["id"]:
        raise BrokenRecord("it is no object with an id")
    if isinstance(record.get("withdrawn"), str) and record["withdrawn"]:
        return []
    given = record.get("affected")
    if given is not None and not isinstance(given, list):
        raise BrokenRecord("its 'affected' is no array")
    ids = [record["id"], *_texts(record.get("aliases"))]
    malicious = any(each.startswith(MALICIOUS) for each in ids)
    shown = _ODD.sub("?", record["id"][:MAX_ID])
    found = (_read_affected(each, shown, malicious=malicious) for each in given or ())
    return [each for each in found if each is not None]


def _odd_ecosystem(record: Any) -> str:
    """The ecosystem that a record has, where it is this one in another case: then somebody wrote it by hand."""
    if record.get("withdrawn"):
        return ""
    packages = _objects([each.get("package") for each in _objects(record.get("affected"))])
    names = _texts([each.get("ecosystem") for each in packages])
    return next((each for each in names if each != ECOSYSTEM and each.lower() == ECOSYSTEM.lower()), "")


def _read_affected(value: object, shown: str, *, malicious: bool) -> Affected | None:
    """An element of `affected`; None where it is not about a Python project, or affects nothing."""
    if not isinstance(value, dict) or not isinstance(package := value.get("package"), dict):
        return None
    name = package.get("name")
    if package.get("ecosystem") != ECOSYSTEM or not isinstance(name, str) or not is_project_name(name := name.strip()):
        return None
    ranges = tuple(
        dict.fromkeys(
            each
            for given in _objects(value.get("ranges"))
            if given.get("type") == "ECOSYSTEM"
            for each in read_range(_objects(given.get("events")))
        )
    )
    versions = {same_version(text) for text in _texts(value.get("versions"))}
    # A database lists the versions of its ranges too; what is in a range need not be kept. Nor need it be found out at any price.
    compares = len(versions) * len(ranges) <= MAX_COMPARED
    listed = frozenset(each for each in versions if not (compares and _is_within(each, ranges)))
    if not listed and not ranges:
        return None
    return Affected(project=canonicalize_name(name), id=shown, malicious=malicious, versions=listed, ranges=ranges)


def read_range(events: Iterable[Mapping[str, Any]]) -> list[Range]:
    """The stretches of affected versions that the events of one range describe. Their order in the record does not matter.

    At one version it goes by what was before it: `fixed` and then `introduced` where versions were affected, else the other way round.

    >>> read_range([{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "2.0"}, {"last_affected": "2.5"}])
    [Range(start='', end='1', is_last=False), Range(start='2', end='2.5', is_last=True)]
    """
    opening: set[str] = set()
    closing: dict[str, bool] = {}  # whether the version itself is still affected
    limits: list[str] = []
    for count, event in enumerate(events):
        if count == MAX_EVENTS:
            raise BrokenRecord(f"a range has more than {MAX_EVENTS:,} events")
        if isinstance(text := event.get("introduced"), str):
            opening.add("" if text.strip() == "0" else _bound(text))
        if isinstance(text := event.get("fixed"), str) and (bound := _bound(text)):
            closing[bound] = False
        if isinstance(text := event.get("last_affected"), str) and (bound := _bound(text)):
            closing.setdefault(bound, True)
        if isinstance(text := event.get("limit"), str):
            limits.append("" if "*" in text else _bound(text))
    found = _stretches(opening, closing)
    return found if not limits or "" in limits else _limited(found, max(limits, key=parse_version))


def _stretches(opening: set[str], closing: Mapping[str, bool]) -> list[Range]:
    found: list[Range] = []
    start: str | None = "" if "" in opening else None
    for text in sorted((opening | closing.keys()) - {""}, key=parse_version):
        if start is None and text in opening:
            start = text
            if text in closing:  # `introduced` and `last_affected`: this version alone; and `fixed`: none
                found += [Range(text, text, is_last=True)] if closing[text] else []
                start = None
        elif start is not None and text in closing and text not in opening:
            found.append(Range(start, text, is_last=closing[text]))
            start = None
    return found if start is None else [*found, Range(start)]


def _limited(ranges: Iterable[Range], limit: str) -> list[Range]:
    """What of the ranges is below a limit. Of several limits the highest counts ("BeforeLimits")."""
    end = parse_version(limit)
    below = (each for each in ranges if not each.start or parse_version(each.start) < end)
    return [
        each if each.end and parse_version(each.end) < end else Range(each.start, limit, is_last=False)
        for each in below
    ]


@lru_cache(maxsize=65536)
def same_version(text: str) -> str:
    """A version so that equal ones are spelt alike (PEP 440); in lower case what is none.

    >>> same_version("v1.0.0-RC.1"), same_version("2004d-Custom")
    ('1rc1', '2004d-custom')
    """
    version = _version(text)
    return text.strip().lower() if version is None else canonicalize_version(version)


@lru_cache(maxsize=65536)
def parse_version(text: str) -> Version:
    """A version that was found to be one."""
    return Version(text)


def _bound(text: str) -> str:
    """The version of an event; '' where it is none."""
    return "" if _version(text) is None else same_version(text)


def _version(text: str) -> Version | None:
    """The version; None where it is none, or longer than any that is used."""
    try:
        return parse_version(text.strip()) if len(text) <= _MAX_VERSION else None
    except ValueError:
        return None


def _is_within(version: str, ranges: Iterable[Range]) -> bool:
    parsed = _version(version)
    return parsed is not None and any(each.holds(parsed) for each in ranges)


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
