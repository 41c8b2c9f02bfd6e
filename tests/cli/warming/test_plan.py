"""What `warm` fetches, and in which order: pages first, files by what they say, and what sdists are built with."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pkgcache.cli.proxy_client import ProxyClient
from pkgcache.cli.warming import plan as planning
from pkgcache.cli.warming.environments import Environment, environments
from pkgcache.cli.warming.lock_model import Lock, LockedFile, Package
from pkgcache.cli.warming.plan import Plan, fetch, plan_lock, plan_requirements
from pkgcache.cli.warming.requirements import PipRoute, ResolutionError
from pkgcache.cli.warming.warmer import FetchItem, Listed, Warmer
from pkgcache.engine.pip_defaults import pip_defaults

DEFAULT = str(pip_defaults().simple)
CORP = "https://corp.example/simple"
LINUX, WINDOWS = environments(["3.12"], ["linux_x86_64", "win_amd64"])
HERE = environments([], [])[0]
WHEEL, SDIST = "one-1.0-py3-none-any.whl", "one-1.0.tar.gz"


class Recorder(Warmer):
    """Fetches nothing: has the pages that it is given, and keeps what it was asked for."""

    def __init__(self, pages: dict[tuple[str, str], dict[str, Listed]] | None = None) -> None:
        super().__init__(ProxyClient("http://127.0.0.1:1"), jobs=1)
        self.known = pages or {}
        self.items: list[FetchItem] = []

    def pages(self, places: Iterable[tuple[str, str]], progress: Any) -> dict[tuple[str, str], dict[str, Listed]]:
        return {place: self.known[place] for place in places if place in self.known}

    def files(self, items: Sequence[FetchItem], progress: Any) -> None:
        self.items += items


@pytest.fixture
def route(tmp_path: Path) -> PipRoute:
    return PipRoute(proxy="http://127.0.0.1:1", bundle=tmp_path / "bundle.pem")


class Pip:
    """Stands for pip: what it resolves by environment, and what it was asked."""

    def __init__(self) -> None:
        self.found: dict[str, list[Package] | str] = {}
        self.asked: list[tuple[list[str], tuple[str, ...]]] = []

    def resolve(self, arguments: Sequence[str], environment: Environment, route: PipRoute) -> list[Package]:
        self.asked.append((list(arguments), route.more_indexes))
        found = self.found.get(environment.platform, [])
        if isinstance(found, str):
            raise ResolutionError(found)
        return found


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    stand_in = Pip()
    monkeypatch.setattr(planning, "resolve", stand_in.resolve)
    return stand_in


def package(*names: str, index: str = "", **more: str) -> Package:
    files = tuple(LockedFile(filename=name, url=f"https://files.example/{name}") for name in names)
    return Package(name="one", version="1.0", index=index, files=files, **more)


def listed(name: str, at: str) -> Listed:
    return Listed(url=f"{at}/{name}", hashes=(), size=0, has_metadata=False)


# Requirements


def test_requirements(pip: Pip, route: PipRoute, tmp_path: Path) -> None:
    """For each environment; pages on every index that pip asks, none of which has to have them all. A failure does not end it."""
    wanted = tmp_path / "r.txt"
    wanted.write_text(f"--extra-index-url {CORP}\none\n")
    pip.found = {"linux_x86_64": [package(WHEEL)], "win_amd64": "no matching distribution"}
    plan, warmer = Plan(), Recorder()
    plan_requirements(plan, [f"-r{wanted}"], [wanted], [LINUX, WINDOWS], route, warmer)
    assert plan.pages == [("one", DEFAULT), ("one", CORP)]
    assert plan.optional_pages == set(plan.pages)
    assert [(each.target, each.locked) for each in plan.choices] == [(LINUX, False)]
    assert warmer.outcome.failures == ["Python 3.12 on win_amd64: no matching distribution"]


def test_no_requirements_ask_no_pip(pip: Pip, route: PipRoute) -> None:
    plan_requirements(Plan(), [], [], [LINUX], route, Recorder())
    assert pip.asked == []


# Locks


@pytest.mark.parametrize(
    ("kind", "index", "pages", "documents"),
    [
        ("uv", "", [("one", DEFAULT)], 0),
        ("uv", CORP, [("one", CORP)], 0),
        ("poetry", "", [("one", DEFAULT)], 1),  # poetry asks the older JSON API of the default index
        ("poetry", DEFAULT.rstrip("/"), [("one", DEFAULT.rstrip("/"))], 1),
        ("poetry", CORP, [("one", CORP)], 0),
    ],
)
def test_a_lock(kind: str, index: str, pages: list[tuple[str, str]], documents: int, route: PipRoute) -> None:
    plan = Plan()
    lock = Lock(kind=kind, packages=(package(WHEEL, index=index),), skipped=("local (git)",))
    plan_lock(plan, lock, [LINUX], route)
    assert (plan.pages, len(plan.documents)) == (pages, documents)
    assert all(each.optional and each.url.endswith("/one/1.0/json") for each in plan.documents)
    assert plan.skipped == ["local (git): not from an index"]
    assert [(each.target, each.locked) for each in plan.choices] == [(LINUX, True)]


def test_a_lock_is_asked_for_each_environment(route: PipRoute) -> None:
    plan = Plan()
    plan_lock(plan, Lock(kind="uv", packages=(package(WHEEL, marker="os_name == 'nt'"),)), [LINUX, WINDOWS], route)
    assert [each.target for each in plan.choices] == [WINDOWS]


# Fetching


def planned(route: PipRoute, *packages: Package, target: Environment = LINUX) -> Plan:
    plan = Plan()
    plan_lock(plan, Lock(kind="uv", packages=packages), [target], route)
    return plan


def test_the_first_index_with_a_file_counts(route: PipRoute) -> None:
    """As pip does, `warm` takes a file from the first index that has it, where the lock has only its name."""
    plan = planned(route, Package(name="one", files=(LockedFile(filename=WHEEL),)))
    plan.pages.append(("one", CORP))
    warmer = Recorder({("one", CORP): {WHEEL: listed(WHEEL, CORP)}, ("one", DEFAULT): {WHEEL: listed(WHEEL, DEFAULT)}})
    fetch(plan, warmer, route)
    assert [each.url for each in warmer.items] == [f"{DEFAULT}/{WHEEL}"]


def test_what_is_missing_is_said(route: PipRoute) -> None:
    """No page where there has to be one (without its credentials), and no file for an environment."""
    plan = planned(route, package("one-1.0-cp312-cp312-win_amd64.whl", index="https://u:secret@corp.example/simple"))
    warmer = Recorder()
    fetch(plan, warmer, route)
    assert warmer.outcome.failures == [
        "one: https://corp.example/simple has no page for it",
        "one 1.0: no file for Python 3.12 on linux_x86_64",
    ]


def test_a_page_that_may_be_missing(route: PipRoute) -> None:
    plan = planned(route, package(WHEEL))
    plan.optional_pages = set(plan.pages)
    warmer = Recorder()
    fetch(plan, warmer, route)
    assert warmer.outcome.failures == []


def test_a_locked_sdist_needs_what_it_is_built_with(pip: Pip, route: PipRoute) -> None:
    """pip prepares it, asking its index too; a wheel beside it needs nothing."""
    plan = planned(route, package(SDIST, index=CORP), package(SDIST, WHEEL), target=HERE)
    warmer = Recorder({("one", CORP): {}, ("one", DEFAULT): {}})
    fetch(plan, warmer, route)
    assert pip.asked == [(["--no-deps", "--no-binary", "one", "one==1.0"], (CORP,))]
    assert (warmer.outcome.failures, plan.skipped) == ([], [])


def test_a_build_that_fails(pip: Pip, route: PipRoute) -> None:
    pip.found = {HERE.platform: "no compiler"}
    plan = planned(route, package(SDIST), target=HERE)
    warmer = Recorder({("one", DEFAULT): {}})
    fetch(plan, warmer, route)
    assert warmer.outcome.failures == ["build requirements of one 1.0: no compiler"]


def test_another_machines_sdist(pip: Pip, route: PipRoute) -> None:
    """pip can build for its own Python only, so that is skipped, and said."""
    plan = planned(route, package(SDIST), target=WINDOWS)
    fetch(plan, Recorder({("one", DEFAULT): {}}), route)
    assert pip.asked == []
    assert plan.skipped == ["build requirements of one 1.0, for other machines than this"]
