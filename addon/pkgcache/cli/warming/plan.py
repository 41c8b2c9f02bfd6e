"""What `warm` fetches: packages that pip resolves and those of locks, with their pages, files, documents and build requirements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pkgcache.cli.progress_bar import Bar, bar
from pkgcache.cli.proxy_client import without_credentials
from pkgcache.cli.warming.environments import Environment
from pkgcache.cli.warming.lock_model import Lock, Package
from pkgcache.cli.warming.requirements import PipRoute, ResolutionError, index_urls, resolve
from pkgcache.cli.warming.warmer import FetchItem, Warmer, chosen_files
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.rules.routing.paths import api_base


@dataclass(frozen=True, slots=True)
class Choice:
    """A package for an environment. `locked`: it comes from a lock, so pip has not fetched its build requirements yet."""

    package: Package
    target: Environment
    locked: bool


@dataclass(slots=True)
class Plan:
    """What to fetch: packages, and pages by (project, index URL), of which the `optional_pages` may be missing."""

    choices: list[Choice] = field(default_factory=list)
    pages: list[tuple[str, str]] = field(default_factory=list)
    documents: list[FetchItem] = field(default_factory=list)
    optional_pages: set[tuple[str, str]] = field(default_factory=set)
    skipped: list[str] = field(default_factory=list)


def plan_requirements(
    plan: Plan,
    arguments: Sequence[str],
    files: Sequence[Path],
    targets: Sequence[Environment],
    route: PipRoute,
    warmer: Warmer,
) -> None:
    """Plan what pip would install, given these arguments of its command line, and the pages on all indexes that it asks.

    `files`: the requirements files among the arguments, which may name indexes.
    """
    if not arguments:
        return
    indexes = list(dict.fromkeys([route.index or _default_index(), *route.more_indexes, *index_urls(files)]))
    with bar("resolving", len(targets), of_bytes=False) as progress:
        for target in targets:
            what = f"pip resolves for {target}"
            progress.tell(what)
            try:
                found = resolve(arguments, target, replace(route, tell=partial(_tell, progress, what)))
            except ResolutionError as error:
                warmer.outcome.failed(f"{target}: {error}")
                found = []
            progress.advance()
            plan.choices += [Choice(package, target, locked=False) for package in found]
            places = [(package.name, index) for package in found for index in indexes]
            plan.pages += places
            plan.optional_pages |= set(places)


def _tell(progress: Bar, what: str, project: str) -> None:
    progress.tell(f"{what}: {project}")


def plan_lock(plan: Plan, lock: Lock, targets: Sequence[Environment], route: PipRoute) -> None:
    """Plan what an installer would take of a lock, for each environment."""
    plan.skipped += [f"{each}: not from an index" for each in lock.skipped]
    for target in targets:
        for package in lock.of(target):
            index = package.index or route.index or _default_index()
            plan.pages.append((package.name, index))
            plan.choices.append(Choice(package, target, locked=True))
            if lock.kind == "poetry" and _is_default(index):
                plan.documents.append(_document(package))


def fetch(plan: Plan, warmer: Warmer, route: PipRoute) -> None:
    """Fetch what is planned: pages first, since they say where files are. Failures are noted in the warmer's outcome."""
    with bar("index pages", None, of_bytes=False) as progress:
        listed = warmer.pages(plan.pages, progress)
    for place in dict.fromkeys(plan.pages):
        if place not in listed and place not in plan.optional_pages:
            warmer.outcome.failed(f"{place[0]}: {without_credentials(place[1])[0]} has no page for it")
    indexes = list(dict.fromkeys(index for _, index in plan.pages))
    items = list(plan.documents)
    sdists: list[Choice] = []
    for choice in plan.choices:
        package = choice.package
        places = [(package.name, index) for index in ([package.index] if package.index else indexes)]
        # Where several indexes have a file of one name, the first counts, as it does for pip.
        known = {name: file for place in reversed(places) for name, file in listed.get(place, {}).items()}
        files = chosen_files(package, choice.target, known)
        if not files:
            warmer.outcome.failed(f"{package.name} {package.version}: no file for {choice.target}")
        elif choice.locked and not files[0].url.endswith(".whl"):
            sdists.append(choice)
        items += files
    with bar("files", None) as progress:
        warmer.files(items, progress)
    if sdists:
        _fetch_build_requirements(plan, sdists, warmer, route)


def _fetch_build_requirements(plan: Plan, sdists: Sequence[Choice], warmer: Warmer, route: PipRoute) -> None:
    """Fetch what sdists need to be built, by letting pip prepare them. For another machine it cannot."""
    with bar("", len(sdists), of_bytes=False) as progress:
        for choice in sdists:
            name = f"{choice.package.name} {choice.package.version}"
            progress.tell(f"build requirements of {name}")
            if choice.target.native:
                arguments = ["--no-deps", "--no-binary", choice.package.name, name.replace(" ", "==")]
                more = (choice.package.index,) if choice.package.index else ()
                try:
                    resolve(arguments, choice.target, replace(route, more_indexes=(*route.more_indexes, *more)))
                except ResolutionError as error:
                    warmer.outcome.failed(f"build requirements of {name}: {error}")
            else:
                plan.skipped.append(f"build requirements of {name}, for other machines than this")
            progress.advance()


def _default_index() -> str:
    return str(pip_defaults().simple)


def _is_default(index: str) -> bool:
    return index.rstrip("/") == _default_index().rstrip("/")


def _document(package: Package) -> FetchItem:
    """The document of the older JSON API that poetry asks for when it installs."""
    simple = pip_defaults().simple
    url = simple.with_path(f"{api_base(simple)}{package.name}/{package.version}/json")
    return FetchItem(url=str(url), accept="application/json", optional=True)
