"""What `warm` fetches: the packages that pip resolves and those of locks, their pages, files, documents, and what sdists are built with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pkgcache.cli.progress_bar import bar
from pkgcache.cli.proxy_client import without_credentials
from pkgcache.cli.warming.environments import Environment
from pkgcache.cli.warming.fetcher import FetchItem, Warmer, chosen_files
from pkgcache.cli.warming.lock_model import Lock, Package
from pkgcache.cli.warming.requirements import PipRoute, ResolutionError, index_urls, resolve
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.rules.routing.paths import api_base


@dataclass(frozen=True, slots=True)
class Choice:
    """A package, and for whom it is. `locked`: pip has not resolved it, and so has not seen to what it is built with."""

    package: Package
    target: Environment
    locked: bool


@dataclass(slots=True)
class Plan:
    """What is to be fetched: packages, and the pages of (project, index URL), of which some may be lacking."""

    choices: list[Choice] = field(default_factory=list)
    pages: list[tuple[str, str]] = field(default_factory=list)
    documents: list[FetchItem] = field(default_factory=list)
    optional_pages: set[tuple[str, str]] = field(default_factory=set)
    skipped: list[str] = field(default_factory=list)


def plan_requirements(
    plan: Plan,
    words: Sequence[str],
    files: Sequence[Path],
    targets: Sequence[Environment],
    way: PipRoute,
    warmer: Warmer,
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
                found = []
            progress.advance()
            plan.choices += [Choice(package, target, locked=False) for package in found]
            places = [(package.name, index) for package in found for index in indexes]
            plan.pages += places
            plan.optional_pages |= set(places)


def plan_lock(plan: Plan, lock: Lock, targets: Sequence[Environment], way: PipRoute) -> None:
    """What an installer takes of a lock, for each kind of agent."""
    plan.skipped += [f"{each}: from no index" for each in lock.skipped]
    for target in targets:
        for package in lock.of(target):
            index = package.index or way.index or _default_index()
            plan.pages.append((package.name, index))
            plan.choices.append(Choice(package, target, locked=True))
            if lock.kind == "poetry" and _is_default(index):
                plan.documents.append(_document(package))


def fetch(plan: Plan, warmer: Warmer, way: PipRoute) -> None:
    """Pages first, since they tell where files are. What fails is in the warmer's outcome."""
    with bar("index pages", None, of_bytes=False) as progress:
        listed = warmer.pages(plan.pages, progress)
    for place in dict.fromkeys(plan.pages):
        if place not in listed and place not in plan.optional_pages:
            warmer.outcome.failed(f"{place[0]}: {without_credentials(place[1])[0]} has no page of it")
    indexes = list(dict.fromkeys(index for _, index in plan.pages))
    wanted = list(plan.documents)
    sdists: list[Choice] = []
    for choice in plan.choices:
        package = choice.package
        places = [(package.name, index) for index in ([package.index] if package.index else indexes)]
        known = {name: file for place in reversed(places) for name, file in listed.get(place, {}).items()}
        files = chosen_files(package, choice.target, known)
        if not files:
            warmer.outcome.failed(f"{package.name} {package.version}: no file for {choice.target}")
        elif choice.locked and not files[0].url.endswith(".whl"):
            sdists.append(choice)
        wanted += files
    with bar("files", None) as progress:
        warmer.files(wanted, progress)
    if sdists:
        _build(plan, sdists, warmer, way)


def _build(plan: Plan, sdists: Sequence[Choice], warmer: Warmer, way: PipRoute) -> None:
    """What sdists need to be built: pip prepares them, as an agent's would; for another machine it cannot."""
    with bar("", len(sdists), of_bytes=False) as progress:
        for choice in sdists:
            named = f"{choice.package.name} {choice.package.version}"
            progress.tell(f"what {named} is built with")
            if choice.target.native:
                words = ["--no-deps", "--no-binary", choice.package.name, named.replace(" ", "==")]
                others = (choice.package.index,) if choice.package.index else ()
                try:
                    resolve(words, choice.target, replace(way, more_indexes=(*way.more_indexes, *others)))
                except ResolutionError as error:
                    warmer.outcome.failed(f"{named}: what it is built with: {error}")
            else:
                plan.skipped.append(f"what {named} is built with on other machines than this")
            progress.advance()


def _default_index() -> str:
    return str(pip_defaults().simple)


def _is_default(index: str) -> bool:
    return index.rstrip("/") == _default_index().rstrip("/")


def _document(package: Package) -> FetchItem:
    """The document of the older JSON API that poetry asks for as it installs."""
    simple = pip_defaults().simple
    url = simple.with_path(f"{api_base(simple)}{package.name}/{package.version}/json")
    return FetchItem(url=str(url), accept="application/json", optional=True)
