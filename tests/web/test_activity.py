"""What is noted of single requests: bounded, and of the right ones."""

from dataclasses import replace
from pathlib import Path

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.service import Service
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.routing.routes import Route
from pkgcache.rules.routing.urls import parse_url
from pkgcache.settings import make_settings
from pkgcache.web.activity import MOST_NAMES, MOST_PROJECTS, RECENT, Activity, Finished

PAGE = "https://near.test/simple/{}/"
FILE = "https://near.test/files/{}"
HIT = CacheStatus(hit=True, ttl=9)


class Scene:
    """An `Activity`, and requests that end."""

    def __init__(self, folder: Path) -> None:
        index = ["near=https://near.test/simple"]
        self.service = Service(
            make_settings(
                {"pypi_cache_dir": str(folder), "pypi_cache_index": index, "pypi_cache_file_hosts": ["near.test"]}
            )
        )
        self.activity = Activity()

    def route(self, url: str, *, login: bool = False) -> tuple[Request, Route]:
        """The request for a URL, and what it means."""
        headers = CIMultiDict({"Authorization": "Basic YTpi"} if login else {})
        request = Request(method="GET", url=parse_url(url), headers=CIMultiDictProxy(headers), client="192.0.2.1")
        return request, self.service.route(request)

    def ends(
        self,
        url: str,
        *,
        status: int = 200,
        cache: CacheStatus = HIT,
        size: int = 10,
        login: bool = False,
        own: bool = False,
        text: str = "",
    ) -> None:
        """A request is over. `own`: it asked for one of the proxy's own pages."""
        request, route = self.route(url, login=login)
        response = Response.text(status, text, cache=cache)
        self.activity.note(Finished(request, None if own else route, status, cache, size, 1.0, 0.5, "me"), response)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_projects_are_counted_by_their_files_and_pages(scene: Scene) -> None:
    scene.ends(PAGE.format("six"))
    scene.ends(FILE.format("six-1.0-py3-none-any.whl"), cache=CacheStatus(fwd="miss"), size=100)
    scene.ends(FILE.format("six-1.0-py3-none-any.whl.metadata"))
    scene.ends(FILE.format("Zope.Interface-5.0.tar.gz"), size=7)
    scene.ends(PAGE.format("nosuch"), status=404)
    first, second = scene.activity.top(10)
    assert (first.name, first.requests, first.hits, first.size) == ("six", 3, 2, 120)
    assert (second.name, second.requests, second.size) == ("zope-interface", 1, 7)
    assert [each.name for each in scene.activity.top(1)] == ["six"]


def test_what_came_with_credentials_is_a_project_of_its_own(scene: Scene) -> None:
    """Else a private project's name would be shown as soon as anybody asks for it in public."""
    scene.ends(PAGE.format("six"), login=True)
    scene.ends(PAGE.format("six"))
    scene.ends(PAGE.format("six"))
    assert [(each.name, each.is_private, each.requests) for each in scene.activity.top(9)] == [
        ("six", False, 2),
        ("six", True, 1),
    ]
    assert [each.is_private for each in scene.activity.recent] == [True, False, False]


@pytest.mark.parametrize(
    ("status", "cache", "own", "recent", "refused"),
    [
        (200, HIT, False, True, False),
        (404, CacheStatus(), False, True, False),
        (403, CacheStatus(detail="denied"), False, True, True),
        (403, CacheStatus(detail="too-young"), False, True, True),
        (404, CacheStatus(detail="private-name"), False, True, True),
        (403, CacheStatus(), True, False, True),  # no package host, and pypi_cache_other_hosts=deny
        (403, CacheStatus(fwd="miss", fwd_status=403), False, True, False),  # the upstream's own
        (200, CacheStatus(), True, False, False),  # the dashboard itself
        (401, CacheStatus(), True, False, False),  # curl's and requests' first try
        (407, CacheStatus(), True, False, False),
        (502, CacheStatus(), False, True, False),
    ],
)
def test_which_requests_are_noted(
    scene: Scene, status: int, cache: CacheStatus, own: bool, recent: bool, refused: bool
) -> None:
    scene.ends(PAGE.format("six"), status=status, cache=cache, own=own, text="why")
    assert bool(scene.activity.recent) == recent
    assert bool(scene.activity.refused) == refused
    if refused:
        assert scene.activity.refused[0].text == "why"


def test_a_wrong_admin_token_is_no_rule(scene: Scene) -> None:
    """It stood among what rules refuse as `(something else)`."""
    request, _ = scene.route(PAGE.format("six"))
    finished = Finished(replace(request, at_proxy_address=True), None, 403, CacheStatus(), 10, 1.0, 0.5, "")
    scene.activity.note(finished, Response.text(403, "the header Pypi-Cache-Token does not have the admin token"))
    assert not scene.activity.refused


def test_a_client_that_left_before_its_answer(scene: Scene) -> None:
    request, route = scene.route(PAGE.format("six"))
    scene.activity.note(Finished(request, route, 499, CacheStatus(), 0, 1.0, 0.5, ""), None)
    assert (len(scene.activity.recent), scene.activity.top(9)) == (1, [])


def test_it_stays_small(scene: Scene) -> None:
    """Names are the clients' to choose; those asked for most are kept."""
    for _ in range(50):
        scene.ends(PAGE.format("wanted"))
    for number in range(3 * MOST_PROJECTS):
        scene.ends(PAGE.format(f"flood-{number}"))
    for number in range(MOST_NAMES + 10):
        scene.ends(FILE.format(f"one-{number}-py3-none-any.whl"))
    activity = scene.activity
    assert len(activity.recent) == RECENT
    assert len(activity._projects) <= MOST_PROJECTS
    assert len(activity._by_name) <= MOST_NAMES
    assert [each.name for each in activity.top(2)] == ["one", "wanted"]
    assert activity.top(2)[0].requests == MOST_NAMES + 10
