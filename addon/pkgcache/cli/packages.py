"""What a lock file says of packages, and how its values are read. Pure; rooms beside it: locks.py (files), lockkinds.py (each kind)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from pkgcache.cli.environments import Environment

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
    """What a lock holds. `of(environment)` gives the packages that are wanted there; `documents`: its tool asks the JSON API."""

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


# How values are read; each raises WrongLock


def tables(data: Table, name: str) -> list[Table]:
    """A list of tables; none where there is none."""
    found = data.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise WrongLock(f"{name!r} is no list of tables", name)
    return found


def text_of(table: Table, name: str, whose: str) -> str:
    """A text that must be there."""
    value = table.get(name)
    if not isinstance(value, str) or not value:
        raise WrongLock(
            f"{whose} has {f'{name} = {value!r}' if name in table else f'no {name}'}; expected a text",
            str(table.get("name", "")),
        )
    return value


def file_of(table: Table, whose: str) -> LockedFile:
    """A file: poetry's and pdm's `file` and `hash`, uv's `url` and `hash`, PEP 751's `name`, `url` and `hashes`."""
    url = str(table.get("url", ""))
    filename = str(
        table.get("file")
        or table.get("filename")
        or table.get("name")
        or unquote(urlsplit(url).path.rpartition("/")[2])
    )
    if not filename:
        raise WrongLock(f"package {whose} has a file without a name and a URL", f'"{whose}"')
    hashes = table.get("hashes", {})
    if not isinstance(hashes, dict):
        raise WrongLock(f"package {whose}: the hashes of {filename} are {hashes!r}; expected a table", filename)
    given = (str(table["hash"]),) if "hash" in table else tuple(f"{name}:{value}" for name, value in hashes.items())
    return LockedFile(filename=filename, url=url, hashes=given)


def checked_marker(marker: Any, whose: str) -> str:
    """A marker that can be read."""
    if not marker:
        return ""
    try:
        return str(Marker(str(marker)))
    except InvalidMarker as error:
        raise WrongLock(
            f"package {whose}: {str(error).splitlines()[0]}; expected a marker (PEP 508)", str(marker)
        ) from None


def either(markers: Sequence[Any] | None) -> str:
    """A marker that holds where one of these does; no marker at all holds everywhere."""
    texts = [str(each) for each in markers or ()]
    return "" if not texts or "" in texts else " or ".join(f"({each})" for each in dict.fromkeys(texts))


def specifiers_of(text: Any) -> str:
    """What Python versions; poetry's `*` is any."""
    return "" if text in {"*", None} else str(text)
