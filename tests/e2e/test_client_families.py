"""An index whose pages depend on the client (`Vary: User-Agent`): each family of clients gets its own, and keeps it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.factories import small_wheels
from tests.support.index import JSON_TYPE
from tests.support.names import page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, fetch

AGENTS: Final = {
    "pip": 'pip/26.3 {"ci":true}',
    "another pip": "pip/24.0",
    "uv": "uv/0.9.1 (linux)",
    "poetry": "poetry/2.2.1 CPython",
    "a browser": "Mozilla/5.0 (X11)",
    "curl": "curl/8.5",
    "none": "",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A proxy and its upstream."""

    proxy: Proxy
    upstream: Upstream

    def ask(self, project: str, client: str) -> Fetched:
        """A page, as one of the clients asks for it."""
        headers = {"User-Agent": AGENTS[client], "Accept": JSON_TYPE}
        return fetch(self.proxy.port, page_url(project), ca=self.proxy.ca, headers=headers)

    def asked(self, project: str) -> list[str]:
        """The User-Agents of the requests for a page that came upstream."""
        return [seen.headers["user-agent"] for seen in self.upstream.requests if f"/{project}/" in seen.path]

    def vary(self, project: str, value: str) -> None:
        """Let the upstream say on what its page depends."""
        self.upstream.add(make_wheel(project))
        self.upstream.script(Behaviour(f"/{project}/", headers={"Vary": value}))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Scene]:
    with Upstream(ca) as upstream:
        upstream.add(*small_wheels())
        options = {"pypi_cache_index": f"pypi={upstream.index_url}"}
        with Proxy(tmp_path_factory.mktemp("families"), options=options, upstream_ca=ca.bundle) as proxy:
            yield Scene(proxy, upstream)
            assert not proxy.complaints, proxy.output


@pytest.mark.parametrize(
    ("number", "value", "apart"),
    [
        (0, "User-Agent", True),
        (1, "user-agent", True),
        (2, "Accept-Encoding, User-Agent", True),
        (3, "Accept,USER-AGENT ,Origin", True),
        (4, "Accept", False),
        (5, "Accept, X-User-Agent", False),
        (6, "Cookie", False),
    ],
)
def test_who_is_told_apart(scene: Scene, number: int, value: str, apart: bool) -> None:
    """RFC 9111 §4.1. The first of a family is fetched for; its others, and each again, get what is stored."""
    project = f"apart{number}"
    scene.vary(project, value)
    for _ in range(3):
        for client in AGENTS:
            answer = scene.ask(project, client)
            assert answer.status == 200
            assert ("User-Agent" in answer.headers["Vary"]) is apart
    families = ["pip/26.3 pypi-cache", "uv/0.9.1 pypi-cache", "poetry/2.2.1 pypi-cache", "pypi-cache"]
    assert scene.asked(project) == (families if apart else families[:1])


def test_each_gets_its_own_page(scene: Scene) -> None:
    """What the second family gets is not what the first one got, from memory and from the store too."""
    scene.vary("own", "User-Agent")
    old = scene.ask("own", "pip").body
    scene.upstream.add(make_wheel("own", "2.0"))
    new = scene.ask("own", "uv").body
    assert new != old
    for _ in range(2):
        for _ in range(3):
            assert scene.ask("own", "pip").body == old
            assert scene.ask("own", "uv").body == new
            assert scene.ask("own", "another pip").body == old
        scene.proxy.restart()
    assert len(scene.asked("own")) == 2


def test_a_refresh_is_for_the_family_that_it_is_stored_for(scene: Scene) -> None:
    scene.vary("fresh", "User-Agent")
    for client in ("pip", "uv"):
        scene.ask("fresh", client)
    scene.proxy.lapse(86_400)
    for client in ("uv", "pip"):
        assert scene.ask("fresh", client).status == 200
    assert [agent.partition("/")[0] for agent in scene.asked("fresh")] == ["pip", "uv", "uv", "pip"]


def test_a_page_of_others_is_better_than_none(scene: Scene) -> None:
    """Where the upstream has gone since."""
    scene.vary("gone", "User-Agent")
    known = scene.ask("gone", "pip").body
    scene.upstream.script(Behaviour("/gone/", status=500))
    answer = scene.ask("gone", "uv")
    assert (answer.status, answer.body) == (200, known)
    assert "another-client" in answer.headers["Cache-Status"]


@pytest.mark.parametrize("status", [401, 403])
def test_but_not_where_the_upstream_refuses(scene: Scene, status: int) -> None:
    project = f"refused{status}"
    scene.vary(project, "User-Agent")
    scene.ask(project, "pip")
    scene.upstream.script(Behaviour(f"/{project}/", status=status))
    assert scene.ask(project, "uv").status >= 400
