"""`pypi-cache warm`: fetch beforehand what agents will ask for."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from pkgcache.cli.client import ProxyClient, ProxyError, shown_url, without_credentials
from pkgcache.cli.common import (
    AS_JSON,
    FOUND,
    InterruptedByUser,
    Place,
    UnusableError,
    counted,
    located,
    print_json,
    print_line,
    say,
    shown_size,
)
from pkgcache.cli.environments import PLATFORMS, Environment, environments
from pkgcache.cli.locks import LockError, read_lock
from pkgcache.cli.ownproxy import own_proxy
from pkgcache.cli.packages import Lock, Package
from pkgcache.cli.progress import bar
from pkgcache.cli.requirements import ResolutionError, Way, index_urls, resolve
from pkgcache.cli.warming import Wanted, Warmer, chosen_files
from pkgcache.engine.defaults import pip_defaults
from pkgcache.rules.routes import api_base

type Choice = tuple[Package, Environment]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(slots=True)
class Plan:
    """What is to be fetched: packages with whom they are for, and the pages of (project, index URL)."""

    choices: list[Choice] = field(default_factory=list)
    pages: list[tuple[str, str]] = field(default_factory=list)
    documents: list[Wanted] = field(default_factory=list)
    optional_pages: set[tuple[str, str]] = field(default_factory=set)
    builds: list[Choice] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@click.command(short_help="Fetch beforehand what agents will ask for.")
@click.argument("names", metavar="[REQUIREMENT]...", nargs=-1)
@click.option("-r", "--requirement", "requirements", multiple=True, type=_FILE, help="A requirements file.")
@click.option(
    "-l",
    "--lock",
    "locks",
    multiple=True,
    type=_FILE,
    help="uv.lock, poetry.lock, pdm.lock, pylock.toml (PEP 751) or Pipfile.lock.",
)
@click.option(
    "--python-version",
    "pythons",
    multiple=True,
    metavar="3.12",
    help="For this Python; several may be given.  [default: this one]",
)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="TAG",
    help=f"For this platform: {PLATFORMS}.  [default: this machine]",
)
@click.option(
    "--proxy", metavar="URL", help="Through this running proxy.  [default: one of its own, on the same store]"
)
@click.option("--index-url", metavar="URL", help="The index that agents ask.  [default: pip's]")
@click.option("--extra-index-url", "more_indexes", multiple=True, metavar="URL", help="A further one.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="Fetches at once.")
@AS_JSON
@located
def warm(
    place: Place,
    names: tuple[str, ...],
    *,
    requirements: tuple[Path, ...],
    locks: tuple[Path, ...],
    pythons: tuple[str, ...],
    platforms: tuple[str, ...],
    proxy: str | None,
    index_url: str | None,
    more_indexes: tuple[str, ...],
    jobs: int,
    as_json: bool,
) -> None:
    r"""Fetch what agents would, so that their installs need no upstream: pages, files, metadata.

    Requirements are resolved by pip itself, for each Python version and platform that is given; of a lock comes what its installer
    would take there, with all its extras and groups. pip's and uv's settings of this machine do not count; what a requirements file says
    of indexes does. For another Python or platform there are wheels only.

    \b
    pypi-cache warm -r requirements.txt --python-version 3.12 --python-version 3.13
    pypi-cache warm --lock uv.lock --platform manylinux_2_28_x86_64 --platform win_amd64

    Exit codes: 0 all is in the store · 1 something could not be fetched, and what · 130 interrupted: run it again, what is
    there is not fetched anew.
    """
    if not (names or requirements or locks):
        raise click.UsageError("nothing to fetch: expected -r FILE, --lock FILE or requirements such as 'flask>=3'")
    try:
        targets = environments(pythons, platforms)
    except ValueError as error:
        raise click.BadParameter(f"expected {error}", param_hint="--python-version / --platform") from None
    read = [_read(path) for path in locks]
    _check_requirements(requirements)
    with _proxy(place, proxy) as client, tempfile.TemporaryDirectory(prefix="pypi-cache-") as folder:
        way = _way(client, Path(folder), index_url, more_indexes)
        warmer = Warmer(client, jobs)
        plan = Plan()
        try:
            _plan_requirements(
                plan, [*(f"--requirement={path}" for path in requirements), *names], requirements, targets, way, warmer
            )
            for lock in read:
                _plan_lock(plan, lock, targets, way)
            _fetch(plan, warmer, way)
        except KeyboardInterrupt:
            done = f"{counted(warmer.outcome.files, 'file')} fetched, {shown_size(warmer.outcome.size)}"
            raise InterruptedByUser(f"{done}; run it again to go on") from None
    _report(warmer, plan, targets, as_json=as_json)


def _read(path: Path) -> Lock:
    try:
        return read_lock(str(path), path.read_text(encoding="utf-8"))
    except LockError as error:
        raise UnusableError(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"{path} cannot be read: {error}") from None


def _check_requirements(paths: Sequence[Path]) -> None:
    """A lock among the requirements is a slip that pip's own words do not explain."""
    for path in paths:
        if path.name.endswith(".lock") or path.suffix == ".toml":
            raise UnusableError(f"--requirement {path}: that is no requirements file; expected --lock {path}")


@contextlib.contextmanager
def _proxy(place: Place, url: str | None) -> Iterator[ProxyClient]:
    """The proxy to fetch through, with its certificates trusted. Raises UnusableError."""
    if url is None:
        if place.settings.offline:
            raise UnusableError(
                "pypi_cache_offline is set: nothing would be fetched; expected --set pypi_cache_offline=false"
            )
        with own_proxy(place) as client:
            yield client
        return
    try:
        client = ProxyClient(url)
        client.health()
    except ProxyError as error:
        raise UnusableError(f"--proxy {shown_url(url)}: {error}") from None
    yield client


def _way(client: ProxyClient, folder: Path, index_url: str | None, more: Sequence[str]) -> Way:
    bundle = folder / "bundle.pem"
    try:
        bundle.write_bytes(client.own("/bundle.pem"))
        client.trust(bundle.read_text())
    except ProxyError as error:
        raise UnusableError(str(error)) from None
    return Way(proxy=client.url, bundle=bundle, index=index_url or "", more_indexes=tuple(more))


def _plan_requirements(
    plan: Plan, words: Sequence[str], files: Sequence[Path], targets: Sequence[Environment], way: Way, warmer: Warmer
) -> None:
    """What pip says that it would install; its pages on all indexes that it asks, of which one has to have each."""
    if not words:
        return
    indexes = list(dict.fromkeys([way.index or _default_index(), *way.more_indexes, *index_urls(files)]))
    with bar("resolving", len(targets), of_bytes=False) as progress:
        for target in targets:
            progress.tell(f"pip resolves for {target}")
            try:
                found = resolve(words, target, way)
            except ResolutionError as error:
                warmer.outcome.failed(f"{target}: {error}")
                continue
            plan.choices += [(package, target) for package in found]
            places = [(package.name, index) for package in found for index in indexes]
            plan.pages += places
            plan.optional_pages |= set(places)
            progress.advance()


def _plan_lock(plan: Plan, lock: Lock, targets: Sequence[Environment], way: Way) -> None:
    """What an installer takes of a lock, for each kind of agent."""
    plan.skipped += [f"{each}: from no index" for each in lock.skipped]
    for target in targets:
        for package in lock.of(target):
            index = package.index or way.index or _default_index()
            plan.pages.append((package.name, index))
            plan.choices.append((package, target))
            if target.native:
                plan.builds.append((package, target))
            if lock.kind == "poetry" and _is_default(index):
                plan.documents.append(_document(package))


def _fetch(plan: Plan, warmer: Warmer, way: Way) -> None:
    with bar("index pages", None, of_bytes=False) as progress:
        listed = warmer.pages(plan.pages, progress)
    for place in dict.fromkeys(plan.pages):
        if place not in listed and place not in plan.optional_pages:
            warmer.outcome.failed(f"{place[0]}: {without_credentials(place[1])[0]} has no page of it")
    indexes = list(dict.fromkeys(index for _, index in plan.pages))
    wanted = list(plan.documents)
    for package, target in plan.choices:
        places = [(package.name, index) for index in ([package.index] if package.index else indexes)]
        known = {name: file for place in reversed(places) for name, file in listed.get(place, {}).items()}
        files = chosen_files(package, target, known)
        if not files:
            warmer.outcome.failed(f"{package.name} {package.version}: no file for {target}")
        wanted += files
    with bar("files", None) as progress:
        warmer.files(wanted, progress)
    _build(plan, wanted, warmer, way)


def _build(plan: Plan, wanted: Sequence[Wanted], warmer: Warmer, way: Way) -> None:
    """What a lock's sdists need to be built: pip prepares them, as an agent's would."""
    fetched = {each.url.rpartition("/")[2] for each in wanted}
    builds = [(package, target) for package, target in plan.builds if _sdists(package) & fetched]
    with bar("", len(builds), of_bytes=False) as progress:
        for package, target in builds:
            progress.tell(f"what {package.name} is built with")
            try:
                resolve(["--no-deps", "--no-binary", package.name, f"{package.name}=={package.version}"], target, way)
            except ResolutionError as error:
                warmer.outcome.failed(f"{package.name} {package.version}: what it is built with: {error}")
            progress.advance()


def _sdists(package: Package) -> set[str]:
    names = {file.filename or file.url.rpartition("/")[2] for file in package.files}
    return {name for name in names if not name.endswith(".whl")}


def _report(warmer: Warmer, plan: Plan, targets: Sequence[Environment], *, as_json: bool) -> None:
    outcome = warmer.outcome
    packages = len({(package.name, package.version) for package, _ in plan.choices})
    if as_json:
        print_json(
            {
                "environments": [str(target) for target in targets],
                "packages": packages,
                "pages": outcome.pages,
                "files": outcome.files,
                "bytes": outcome.size,
                "hits": outcome.hits,
                "skipped": sorted(set(plan.skipped)),
                "failures": outcome.failures,
            }
        )
    else:
        for line in sorted(set(plan.skipped)):
            say(f"skipped: {line}")
        for line in outcome.failures:
            say(f"failed: {line}")
        print_line(
            f"{counted(packages, 'package')} for {', '.join(map(str, targets))}: {counted(outcome.pages, 'page')}, "
            f"{counted(outcome.files, 'file')}, {shown_size(outcome.size)} ({outcome.hits:,} of the files were there)"
        )
    if outcome.failures:
        raise click.exceptions.Exit(FOUND)


def _default_index() -> str:
    return str(pip_defaults().simple)


def _is_default(index: str) -> bool:
    return index.rstrip("/") == _default_index().rstrip("/")


def _document(package: Package) -> Wanted:
    """The document of the older JSON API that poetry asks for as it installs."""
    simple = pip_defaults().simple
    url = simple.with_path(f"{api_base(simple)}{package.name}/{package.version}/json")
    return Wanted(url=str(url), accept="application/json", optional=True)
