"""Each kind of lock file, as its tool writes it: uv.lock, poetry.lock, pdm.lock, pylock.toml (PEP 751), Pipfile.lock. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from packaging.utils import canonicalize_name

from pkgcache.cli.environments import Environment
from pkgcache.cli.packages import (
    Lock,
    LockedFile,
    Package,
    Table,
    WrongLock,
    checked_marker,
    either,
    file_of,
    specifiers_of,
    tables,
    text_of,
)


def _read_uv(data: Table) -> Lock:
    packages: list[_Uv] = []
    skipped = []
    for table in tables(data, "package"):
        name = text_of(table, "name", "a package")
        source = table.get("source", {})
        if not isinstance(source, dict):
            raise WrongLock(
                f"package {name}: its source is {source!r}; expected a table such as {{ registry = … }}",
                f'name = "{name}"',
            )
        root = bool({"virtual", "editable", "directory"} & source.keys())
        registry = source.get("registry", "")
        if not registry and not root:
            skipped.append(f"{name} ({', '.join(source)})")
        files = [*tables(table, "wheels"), *([table["sdist"]] if isinstance(table.get("sdist"), dict) else [])]
        package = Package(
            name=canonicalize_name(name),
            version=str(table.get("version", "")),
            index=registry if "://" in registry else "",
            files=tuple(file_of(each, name) for each in files) if registry else (),
            marker=either(table.get("resolution-markers")),
        )
        packages.append(_Uv(package, root, bool(registry), table))
    return Lock(
        kind="uv",
        packages=tuple(each.package for each in packages if each.listed),
        skipped=tuple(skipped),
        wanted=lambda environment: _walk(packages, environment),
    )


@dataclass(frozen=True, slots=True)
class _Uv:
    package: Package
    root: bool
    listed: bool
    table: Table


def _walk(packages: Sequence[_Uv], environment: Environment) -> list[Package]:
    """What the lock's own projects need there, with all their extras and groups: markers stand on the way to a package."""
    by_name: dict[str, list[_Uv]] = {}
    for each in packages:
        by_name.setdefault(each.package.name, []).append(each)
    waiting: list[tuple[_Uv, str]] = [(each, "*") for each in packages if each.root]
    if not waiting:
        return [each.package for each in packages if each.listed]
    seen: set[tuple[int, str]] = set()
    found: dict[int, Package] = {}
    while waiting:
        each, extra = waiting.pop()
        if (id(each), extra) in seen:
            continue
        seen.add((id(each), extra))
        if each.listed:
            found[id(each)] = each.package
        for edge in _edges(each.table, extra):
            marker = edge.get("marker", "")
            if not environment.meets(checked_marker(marker, each.package.name)):
                continue
            for target in by_name.get(canonicalize_name(str(edge.get("name", ""))), ()):
                if edge.get("version", target.package.version) == target.package.version:
                    waiting += [(target, wanted) for wanted in ("", *edge.get("extra", ()))]
    return list(found.values())


def _edges(table: Table, extra: str) -> Iterator[Table]:
    """A package's dependencies: for `*` all there are, for an extra those that it adds."""
    optional = table.get("optional-dependencies", {})
    if extra in {"", "*"}:
        yield from tables(table, "dependencies")
    for name in optional if extra == "*" else (extra,):
        yield from tables(optional, name)
    for name in table.get("dev-dependencies", {}) if extra == "*" else ():
        yield from tables(table["dev-dependencies"], name)


def _read_poetry(data: Table) -> Lock:
    by_name = data.get("metadata", {}).get("files", {})  # before poetry 1.5
    packages, skipped = [], []
    for table in tables(data, "package"):
        name = text_of(table, "name", "a package")
        source = table.get("source", {})
        if source.get("type", "legacy") != "legacy":
            skipped.append(f"{name} ({source['type']})")
            continue
        markers = table.get("markers", "")
        files = tables(table, "files") if "files" in table else by_name.get(name, ())
        packages.append(
            Package(
                name=canonicalize_name(name),
                version=text_of(table, "version", f"package {name}"),
                index=source.get("url", ""),
                files=tuple(file_of(each, name) for each in files),
                marker=checked_marker(either(list(markers.values())) if isinstance(markers, dict) else markers, name),
                requires_python=specifiers_of(table.get("python-versions", "")),
            )
        )
    return Lock(kind="poetry", packages=tuple(packages), skipped=tuple(skipped))


def _read_pdm(data: Table) -> Lock:
    packages: dict[tuple[str, str], Package] = {}
    skipped = []
    for table in tables(data, "package"):
        name = text_of(table, "name", "a package")
        if other := [key for key in ("git", "url", "path") if key in table]:
            skipped.append(f"{name} ({other[0]})")
            continue
        package = Package(
            name=canonicalize_name(name),
            version=text_of(table, "version", f"package {name}"),
            files=tuple(file_of(each, name) for each in tables(table, "files")),
            marker=checked_marker(table.get("marker", ""), name),
            requires_python=specifiers_of(table.get("requires_python", "")),
        )
        key = (package.name, package.version)  # a package with extras is there once more
        other_marker = packages[key].marker if key in packages else package.marker
        packages[key] = replace(package, marker=either([package.marker, other_marker]))
    return Lock(kind="pdm", packages=tuple(packages.values()), skipped=tuple(skipped))


def _read_pylock(data: Table) -> Lock:
    version = str(data.get("lock-version", ""))
    if version.partition(".")[0] != "1":
        raise WrongLock(f"its lock-version is {version!r}; expected 1.0 (PEP 751)", "lock-version")
    packages, skipped = [], []
    for table in tables(data, "packages"):
        name = text_of(table, "name", "a package")
        if other := [key for key in ("vcs", "directory", "archive") if key in table]:
            skipped.append(f"{name} ({other[0]})")
            continue
        files = [*tables(table, "wheels"), *([table["sdist"]] if isinstance(table.get("sdist"), dict) else [])]
        packages.append(
            Package(
                name=canonicalize_name(name),
                version=str(table.get("version", "")),
                index=str(table.get("index", "")),
                files=tuple(file_of(each, name) for each in files if each.get("url") or not each.get("path")),
                marker=checked_marker(table.get("marker", ""), name),
                requires_python=specifiers_of(table.get("requires-python", "")),
            )
        )
    extras, groups = data.get("extras", ()), data.get("dependency-groups", ())
    return Lock(
        kind="pylock", packages=tuple(packages), skipped=tuple(skipped), extras=tuple(extras), groups=tuple(groups)
    )


def _read_pipfile(data: Table) -> Lock:
    sources = {each.get("name", ""): str(each.get("url", "")) for each in tables(data.get("_meta", {}), "sources")}
    first = next(iter(sources.values()), "")
    packages, skipped = [], []
    for section, group in data.items():
        if section == "_meta":
            continue
        if not isinstance(group, dict):
            raise WrongLock(f"{section!r} is no table of packages", f'"{section}"')
        for name, table in group.items():
            if not isinstance(table, dict) or not str(table.get("version", "")).startswith("=="):
                skipped.append(f"{name} ({', '.join({'git', 'path', 'file'} & set(table)) or 'no version'})")
                continue
            packages.append(
                Package(
                    name=canonicalize_name(name),
                    version=table["version"].removeprefix("=="),
                    index=sources.get(table.get("index", ""), first),
                    files=tuple(LockedFile(hashes=(str(each),)) for each in table.get("hashes", ())),
                    marker=checked_marker(table.get("markers", ""), name),
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
