"""What a lock file says of packages, and how its values are read. Pure; rooms beside it: locks.py (files), lockkinds.py (each kind)."""

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
    """What is wrong, and a text of the file that stands near it."""

    def __init__(self, what: str, where: str = "") -> None:
        self.where = where
        super().__init__(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    """One file of a package. `filename` or `url` may be empty, not both, unless there is a hash; hashes are `algorithm:value`."""

    filename: str = ""
    url: str = ""
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package of a lock. `index`: the URL of its simple index, empty for the default one."""

    name: str
    version: str = ""
    index: str = ""
    files: tuple[LockedFile, ...] = ()
    marker: str = ""
    requires_python: str = ""

    def is_for(self, environment: Environment, *, extras: Sequence[str] = (), groups: Sequence[str] = ()) -> bool:
        """Whether an installer in this environment would want it, with all extras and groups."""
        python = f"{environment.python[0]}.{environment.python[1]}"
        if self.requires_python and not _contains(self.requires_python, python):
            return False
        return environment.meets(self.marker, extras=extras, groups=groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What a lock of some `kind` holds; `skipped` are packages from no index. `wanted`: which there are at all in an environment."""

    kind: str
    packages: tuple[Package, ...]
    skipped: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    wanted: Callable[[Environment], Sequence[Package]] | None = None

    def of(self, environment: Environment) -> list[Package]:
        """The packages that an installer in this environment would want."""
        found = self.wanted(environment) if self.wanted else self.packages
        return [each for each in found if each.is_for(environment, extras=self.extras, groups=self.groups)]


def _contains(specifiers: str, version: str) -> bool:
    try:
        return SpecifierSet(specifiers).contains(f"{version}.999", prereleases=True)
    except InvalidSpecifier:
        return True  # poetry's own `^3.8`: the files' own tags decide


# How values are read; each raises WrongLock for one of another type


def tables(data: Table, name: str) -> list[Table]:
    """A list of tables; none where there is none."""
    found = data.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise WrongLock(f"{name!r} is no list of tables", name)
    return found


def table_of(data: Table, name: str) -> Table:
    """A table; an empty one where there is none."""
    found = data.get(name, {})
    if not isinstance(found, dict):
        raise WrongLock(f"{name} = {found!r:.60}; expected a table", name)
    return found


def text_of(table: Table, name: str, default: str = "") -> str:
    """A text, or the default where there is none."""
    found = table.get(name, default)
    if not isinstance(found, str):
        raise WrongLock(f"{_whose(table)}{name} = {found!r:.60}; expected a text", str(table.get("name", name)))
    return found


def texts_of(table: Table, name: str) -> tuple[str, ...]:
    """A list of texts; none where there is none."""
    found = table.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise WrongLock(
            f"{_whose(table)}{name} = {found!r:.60}; expected a list of texts", str(table.get("name", name))
        )
    return tuple(found)


def name_of(table: Table) -> str:
    """A package's name, as PEP 503 writes it."""
    found = text_of(table, "name")
    if not found:
        raise WrongLock("a package has no name; expected a text", "[[package")
    return canonicalize_name(found)


def version_of(table: Table) -> str:
    """A version that must be there."""
    found = text_of(table, "version")
    if not found:
        raise WrongLock(f"{_whose(table)}no version; expected a text", str(table.get("name", "")))
    return found


def files_of(table: Table, name: str) -> tuple[LockedFile, ...]:
    """A package's files. poetry's and pdm's have `file` and `hash`, uv's `url` and `hash`."""
    return tuple(file_of(each, _whose(table)) for each in tables(table, name))


def file_of(table: Table, whose: str) -> LockedFile:
    """One file; `whose` begins what is said of a wrong one."""
    url = text_of(table, "url")
    filename = text_of(table, "file") or text_of(table, "filename") or _last_part(url)
    if not filename:
        raise WrongLock(f"{whose}a file without a name and a URL", "")
    digest = text_of(table, "hash")
    return LockedFile(filename=filename, url=url, hashes=(digest,) if digest else ())


def _last_part(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        raise WrongLock(f"{url!r:.80} is no URL", url) from None


def marker_of(table: Table, name: str) -> str:
    """A marker (PEP 508) that can be read; empty where there is none."""
    return checked_marker(text_of(table, name), _whose(table))


def checked_marker(marker: str, whose: str) -> str:
    """As `marker_of`, of a text; `whose` begins what is said of a wrong one."""
    try:
        return str(Marker(marker)) if marker else ""
    except InvalidMarker as error:
        raise WrongLock(f"{whose}{str(error).splitlines()[0]}; expected a marker (PEP 508)", marker) from None


def either(markers: Sequence[str]) -> str:
    """A marker that holds where one of these does; no marker at all holds everywhere."""
    return "" if not markers or "" in markers else " or ".join(f"({each})" for each in dict.fromkeys(markers))


def pythons_of(table: Table, name: str) -> str:
    """Which versions of Python; poetry's `*` is any."""
    found = text_of(table, name)
    return "" if found == "*" else found


def _whose(table: Table) -> str:
    return f"package {table['name']}: " if isinstance(table.get("name"), str) else ""
