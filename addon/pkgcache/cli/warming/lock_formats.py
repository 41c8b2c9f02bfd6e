"""Readers of each tool's lock file: uv.lock, poetry.lock, pdm.lock, pylock.toml (PEP 751), Pipfile.lock. Pure.

Only PEP 751 is a standard; the other formats are known from what their tools write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from packaging.pylock import Pylock, PylockValidationError
from packaging.utils import canonicalize_name

from pkgcache.cli.warming.environments import Environment
from pkgcache.cli.warming.lock_model import (
    Lock,
    LockedFile,
    Package,
    Table,
    WrongLock,
    checked_marker,
    either,
    file_of,
    files_of,
    marker_of,
    name_of,
    pythons_of,
    table_of,
    tables,
    text_of,
    texts_of,
    version_of,
)

# uv


@dataclass(frozen=True, slots=True)
class _Edge:
    """A dependency in uv's graph: on which package (`version` is empty if the lock has only one), with which extras, and where."""

    name: str
    version: str
    extras: tuple[str, ...]
    marker: str


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """A package in uv's graph. `root`: a project that the lock was made for; `on_index`: it comes from an index.

    `needs` holds its dependencies by extra, those without an extra under "".
    """

    package: Package
    root: bool
    on_index: bool
    needs: Mapping[str, tuple[_Edge, ...]]
    groups: tuple[_Edge, ...]


def _read_uv(data: Table) -> Lock:
    nodes: list[_Node] = []
    skipped = []
    for table in tables(data, "package"):
        name = name_of(table)
        source = table_of(table, "source")
        registry = text_of(source, "registry")
        root = bool({"virtual", "editable", "directory"} & source.keys())
        if not registry and not root:
            skipped.append(f"{name} ({', '.join(source) or 'no source'})")
        package = Package(
            name=name,
            version=text_of(table, "version"),
            index=registry if "://" in registry else "",
            files=_wheels_and_sdist(table) if registry else (),
            marker=either(
                [checked_marker(each, f"package {name}: ") for each in texts_of(table, "resolution-markers")]
            ),
        )
        optional, groups = table_of(table, "optional-dependencies"), table_of(table, "dev-dependencies")
        nodes.append(
            _Node(
                package=package,
                root=root,
                on_index=bool(registry),
                needs={"": tuple(_edges(table, "dependencies")), **{e: tuple(_edges(optional, e)) for e in optional}},
                groups=tuple(edge for group in groups for edge in _edges(groups, group)),
            )
        )
    return Lock(
        kind="uv",
        packages=tuple(each.package for each in nodes if each.on_index),
        skipped=tuple(skipped),
        reachable=lambda environment: _walk(nodes, environment),
    )


def _edges(table: Table, name: str) -> Iterator[_Edge]:
    for each in tables(table, name):
        yield _Edge(name_of(each), text_of(each, "version"), texts_of(each, "extra"), marker_of(each, "marker"))


def _walk(nodes: Sequence[_Node], environment: Environment) -> list[Package]:
    """The packages that the lock's projects need, with all their extras and groups. uv has markers on dependencies, not on packages."""
    if not any(each.root for each in nodes):
        return [each.package for each in nodes if each.on_index]  # a script's lock has no project
    by_name: dict[str, list[_Node]] = {}
    for node in nodes:
        by_name.setdefault(node.package.name, []).append(node)
    waiting = [(node, extra) for node in nodes if node.root for extra in node.needs]
    seen: dict[tuple[_Node, str], None] = {}
    while waiting:
        node, extra = waiting.pop()
        if (node, extra) in seen:
            continue
        seen[node, extra] = None
        edges = node.needs.get(extra, ()) + (node.groups if node.root else ())
        for edge in edges:
            if environment.meets(edge.marker):
                fitting = (each for each in by_name.get(edge.name, ()) if edge.version in {"", each.package.version})
                waiting += [(each, name) for each in fitting for name in ("", *edge.extras)]
    return [node.package for node in dict.fromkeys(node for node, _ in seen) if node.on_index]


def _wheels_and_sdist(table: Table) -> tuple[LockedFile, ...]:
    """uv's files, without those that have only a path: they are on the disk of whoever made the lock."""
    sdist = table_of(table, "sdist")
    found = [*tables(table, "wheels"), *([sdist] if sdist else [])]
    owner = f"package {table['name']}: "
    return tuple(file_of(each, owner) for each in found if "url" in each or "path" not in each)


# poetry, pdm


def _read_poetry(data: Table) -> Lock:
    by_name = table_of(table_of(data, "metadata"), "files")  # poetry before 1.5 had them all in one place
    packages, skipped = [], []
    for table in tables(data, "package"):
        name = name_of(table)
        source = table_of(table, "source")
        if text_of(source, "type", "legacy") != "legacy":
            skipped.append(f"{name} ({source['type']})")
            continue
        packages.append(
            Package(
                name=name,
                version=version_of(table),
                index=text_of(source, "url"),
                files=files_of(table, "files") if "files" in table else files_of(by_name, text_of(table, "name")),
                marker=_poetry_marker(table),
                requires_python=pythons_of(table, "python-versions"),
            )
        )
    return Lock(kind="poetry", packages=tuple(packages), skipped=tuple(skipped))


def _poetry_marker(table: Table) -> str:
    """poetry has one marker for all groups, or a table with one for each."""
    if not isinstance(table.get("markers"), dict):
        return marker_of(table, "markers")
    markers = table_of(table, "markers")
    return either([marker_of(markers, group) for group in markers])


def _read_pdm(data: Table) -> Lock:
    packages: dict[tuple[str, str], Package] = {}
    skipped = []
    for table in tables(data, "package"):
        name = name_of(table)
        if other := [key for key in ("git", "url", "path") if key in table]:
            skipped.append(f"{name} ({other[0]})")
            continue
        package = Package(
            name=name,
            version=version_of(table),
            files=files_of(table, "files"),
            marker=marker_of(table, "marker"),
            requires_python=pythons_of(table, "requires_python"),
        )
        key = (package.name, package.version)  # a package with extras has an entry of its own, and the same files
        other_marker = packages[key].marker if key in packages else package.marker
        packages[key] = replace(package, marker=either([package.marker, other_marker]))
    return Lock(kind="pdm", packages=tuple(packages.values()), skipped=tuple(skipped))


# PEP 751


def _read_pylock(data: Table) -> Lock:
    """Read and validate with `packaging.pylock`; select with `Lock.of`, since `Pylock.select` is made for one installation.

    It refuses a lock in which two entries of one package apply, which is what all extras and groups at once may lead to, and a whole
    lock whose `requires-python` does not fit, where `warm` skips the package.
    """
    try:
        pylock = Pylock.from_dict(data)
    except PylockValidationError as error:
        what = f"{str(error.message).partition('\n')[0]} in {error.context!r}" if error.context else error.message
        where = _place(data, error.context or "lock-version")
        raise WrongLock(f"{what}; expected a lock of version 1.0 (PEP 751)", where) from None
    packages, skipped = [], []
    for each in pylock.packages:
        if each.is_direct:
            skipped.append(f"{each.name} ({'vcs' if each.vcs else 'directory' if each.directory else 'archive'})")
            continue
        packages.append(
            Package(
                name=each.name,
                version=str(each.version or ""),
                index=each.index or "",
                files=tuple(
                    LockedFile(filename=file.filename, url=file.url, hashes=tuple(map(":".join, file.hashes.items())))
                    for file in (*(each.wheels or ()), *([each.sdist] if each.sdist else ()))
                    if file.url  # else it lies on somebody's disk, under `path`
                ),
                marker=str(each.marker or ""),
                requires_python=str(each.requires_python or ""),
            )
        )
    return Lock(
        kind="pylock",
        packages=tuple(packages),
        skipped=tuple(skipped),
        extras=tuple(pylock.extras or ()),
        # PEP 751: a synthetic default group "MUST NOT be listed in dependency-groups", and markers name it all the same.
        groups=(*(pylock.dependency_groups or ()), *(pylock.default_groups or ())),
    )


def _place(data: Table, context: str) -> str:
    """A text of the lock near a fault, whose `context` is such as `packages[3].wheels[0]`: the package's name, or the key."""
    if match := re.match(r"packages\[(\d+)\]", context):
        package = data["packages"][int(match[1])]
        return str(package.get("name", "")) if isinstance(package, dict) else ""
    return re.split(r"[.\[]", context)[0]


# pipenv


def _read_pipfile(data: Table) -> Lock:
    sources = {text_of(each, "name"): text_of(each, "url") for each in tables(table_of(data, "_meta"), "sources")}
    first = next(iter(sources.values()), "")
    packages, skipped = [], []
    for section in data:
        if section == "_meta":
            continue
        for name, found in table_of(data, section).items():
            table = {**found, "name": name} if isinstance(found, dict) else {"name": name}
            if not text_of(table, "version").startswith("=="):
                skipped.append(f"{name} ({', '.join({'git', 'path', 'file'} & set(table)) or 'no version'})")
                continue
            packages.append(
                Package(
                    name=canonicalize_name(name),
                    version=text_of(table, "version").removeprefix("=="),
                    index=sources.get(text_of(table, "index"), first),
                    files=tuple(LockedFile(hashes=(each,)) for each in texts_of(table, "hashes")),
                    marker=marker_of(table, "markers"),
                )
            )
    return Lock(kind="pipfile", packages=tuple(packages), skipped=tuple(skipped))


READERS: Mapping[str, Callable[[Table], Lock]] = {
    "uv": _read_uv,
    "poetry": _read_poetry,
    "pdm": _read_pdm,
    "pylock": _read_pylock,
    "pipfile": _read_pipfile,
}
