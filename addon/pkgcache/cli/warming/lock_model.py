"""The packages of a lock file, in one form for all tools, and readers of the values that lock files have in common. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from pkgcache.cli.warming.environments import Environment

type Table = Mapping[str, Any]


class WrongLock(ValueError):  # noqa: N818
    """A lock file has a wrong value. `where` is a text of the file near it, from which the line is found; it may be empty."""

    def __init__(self, what: str, where: str = "") -> None:
        self.where = where
        super().__init__(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    """A file of a package. Hashes are `algorithm:value`. Tools leave out the URL, or even the file name if there is a hash (pipenv)."""

    filename: str = ""
    url: str = ""
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package of a lock. `index` is the URL of its simple index, empty for the default one."""

    name: str
    version: str = ""
    index: str = ""
    files: tuple[LockedFile, ...] = ()
    marker: str = ""
    requires_python: str = ""

    def is_for(self, environment: Environment, *, extras: Sequence[str] = (), groups: Sequence[str] = ()) -> bool:
        """Whether an installer in this environment would install it, with these extras and groups."""
        python = f"{environment.python[0]}.{environment.python[1]}"
        if self.requires_python and not _contains(self.requires_python, python):
            return False
        return environment.meets(self.marker, extras=extras, groups=groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock file: its packages, and names of those that come from no index (`skipped`).

    `kind` is the tool. `reachable` gives the packages that the projects need in an environment, if the lock has a graph (uv); else all do.
    """

    kind: str
    packages: tuple[Package, ...]
    skipped: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    reachable: Callable[[Environment], Sequence[Package]] | None = None

    def of(self, environment: Environment) -> list[Package]:
        """The packages that an installer in this environment would install, with all extras and groups."""
        found = self.reachable(environment) if self.reachable else self.packages
        return [each for each in found if each.is_for(environment, extras=self.extras, groups=self.groups)]


def _contains(specifiers: str, version: str) -> bool:
    try:
        # `>=3.12.1` excludes no 3.12 that an agent is likely to have.
        return SpecifierSet(specifiers).contains(f"{version}.999", prereleases=True)
    except InvalidSpecifier:
        return True  # poetry's own `^3.8`; the tags of the files decide


# Readers of values. Each raises WrongLock for a value of another type.


def tables(data: Table, name: str) -> list[Table]:
    """Read a list of tables; a missing one is empty."""
    found = data.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise WrongLock(f"{name!r} is not a list of tables", name)
    return found


def table_of(data: Table, name: str) -> Table:
    """Read a table; a missing one is empty."""
    found = data.get(name, {})
    if not isinstance(found, dict):
        raise WrongLock(f"{name} = {found!r:.60}; expected a table", name)
    return found


def text_of(table: Table, name: str, default: str = "") -> str:
    """Read a text; a missing one is the default."""
    found = table.get(name, default)
    if not isinstance(found, str):
        raise WrongLock(f"{_owner(table)}{name} = {found!r:.60}; expected a text", str(table.get("name", name)))
    return found


def texts_of(table: Table, name: str) -> tuple[str, ...]:
    """Read a list of texts; a missing one is empty."""
    found = table.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise WrongLock(
            f"{_owner(table)}{name} = {found!r:.60}; expected a list of texts", str(table.get("name", name))
        )
    return tuple(found)


def name_of(table: Table) -> str:
    """Read a package's name, normalised (PEP 503)."""
    found = text_of(table, "name")
    if not found:
        raise WrongLock("a package has no name; expected a text", "[[package")
    return canonicalize_name(found)


def version_of(table: Table) -> str:
    """Read a version, which must be there."""
    found = text_of(table, "version")
    if not found:
        raise WrongLock(f"{_owner(table)}no version; expected a text", str(table.get("name", "")))
    return found


def files_of(table: Table, name: str) -> tuple[LockedFile, ...]:
    """Read a package's files. poetry's and pdm's have `file` and `hash`, uv's `url` and `hash`."""
    return tuple(file_of(each, _owner(table)) for each in tables(table, name))


def file_of(table: Table, owner: str) -> LockedFile:
    """Read a file; `owner` begins the message about a wrong one."""
    url = text_of(table, "url")
    filename = text_of(table, "file") or text_of(table, "filename") or _last_part(url)
    if not filename:
        raise WrongLock(f"{owner}a file without a name and a URL", "")
    digest = text_of(table, "hash")
    return LockedFile(filename=filename, url=url, hashes=(digest,) if digest else ())


def _last_part(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        raise WrongLock(f"{url!r:.80} is not a URL", url) from None


def marker_of(table: Table, name: str) -> str:
    """Read a marker (PEP 508); a missing one is empty."""
    return checked_marker(text_of(table, name), _owner(table))


MOST_PARENTHESES = 100
"""In a marker: it is read by recursion, and later again with a few more around it. Locks have three levels or so."""


def checked_marker(marker: str, owner: str) -> str:
    """Check and normalise a marker; `owner` begins the message about a wrong one."""
    if marker.count("(") > MOST_PARENTHESES:
        raise WrongLock(f"{owner}a marker with {marker.count('('):,} parentheses; expected a marker (PEP 508)", marker)
    try:
        return str(Marker(marker)) if marker else ""
    except InvalidMarker as error:
        raise WrongLock(f"{owner}{str(error).splitlines()[0]}; expected a marker (PEP 508)", marker) from None


def either(markers: Sequence[str]) -> str:
    """A marker that holds where one of these does. An empty marker holds everywhere, and so does an empty list.

    >>> either(["os_name == 'nt'", "extra == 'x'"])
    "(os_name == 'nt') or (extra == 'x')"
    """
    return "" if not markers or "" in markers else " or ".join(f"({each})" for each in dict.fromkeys(markers))


def pythons_of(table: Table, name: str) -> str:
    """Read a specifier of Python versions; poetry's `*` becomes an empty one."""
    found = text_of(table, name)
    return "" if found == "*" else found


def _owner(table: Table) -> str:
    return f"package {table['name']}: " if isinstance(table.get("name"), str) else ""
