"""What an upstream's redirect may lead to: on an index's host what a client's request may, by that index's rules and mirrors.

Index `corp` has the names `acme-*` for its own, and answers with redirects to the public index, whose own host is never asked: the
operator gave it a mirror.
"""

import base64
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.names import file_url, page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched, fetch

ACME, SIX, EVIL = make_wheel("acme-tools"), make_wheel("six"), make_wheel("evil")


@dataclass(frozen=True, slots=True)
class Scene:
    """`corp` redirects; `public` is an index whose pages are to be had from `mirror`; `blobs` is nobody's host."""

    proxy: Proxy
    corp: Upstream
    public: Upstream
    mirror: Upstream

    def page(self, project: str, accept: str = "text/html") -> Fetched:
        return fetch(self.proxy.port, self.corp.page_url(project), ca=self.proxy.ca, headers={"Accept": accept})

    def file(self, release: ReleaseFile) -> Fetched:
        return fetch(self.proxy.port, self.corp.file_url(release), ca=self.proxy.ca)


@pytest.fixture(scope="module")
def shared(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        corp, public, mirror = (
            stack.enter_context(Upstream(ca, prefix=prefix)) for prefix in ("/corp", "/pub", "/mir")
        )
        for each in (public, mirror):
            each.add(ACME, SIX, EVIL)
        options = {
            "pypi_cache_index": [f"corp={corp.index_url}", f"public={public.index_url} {mirror.index_url}"],
            "pypi_cache_private": "acme-*=corp",
            "pypi_cache_deny": "evil",
            "pypi_cache_negative_ttl": "0",
        }
        proxy = stack.enter_context(Proxy(tmp_path_factory.mktemp("redirects"), options=options, upstream_ca=ca.bundle))
        yield Scene(proxy, corp, public, mirror)
        assert not proxy.complaints, proxy.output


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    for each in (shared.corp, shared.public, shared.mirror):
        each.clear()
    yield shared
    shared.corp.unscript()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_private_name_is_not_fetched_from_another_index(status: int, scene: Scene) -> None:
    """404 for the page and for the file, and nobody but corp was asked."""
    scene.corp.script(
        Behaviour("/simple/acme-tools", redirect=scene.public.page_url("acme-tools"), status=status),
        Behaviour("/packages/.*acme", redirect=scene.mirror.file_url(ACME), status=status),
    )
    assert scene.page("acme-tools").status == 404
    assert scene.file(ACME).status == 404
    assert (scene.public.count(), scene.mirror.count()) == (0, 0)


@pytest.mark.parametrize("detour", ["/hop/1", "/corp/simple/six/"])
def test_nor_by_a_detour(detour: str, scene: Scene) -> None:
    scene.corp.script(
        Behaviour("/simple/acme-tools", redirect=detour),
        Behaviour(detour, redirect=scene.public.page_url("acme-tools")),
    )
    assert scene.page("acme-tools").status == 404
    assert (scene.public.count(), scene.mirror.count()) == (0, 0)


def test_a_denied_project_under_another_name(scene: Scene) -> None:
    scene.corp.script(Behaviour("/simple/fine", redirect=scene.public.page_url("evil")))
    answer = scene.page("fine")
    assert answer.status == 502
    assert b"pypi_cache_deny=evil" in answer.body
    assert (scene.public.count(), scene.mirror.count()) == (0, 0)


def test_a_path_that_cannot_be_judged(scene: Scene) -> None:
    scene.corp.script(Behaviour("/simple/fine", redirect=f"{scene.public.page_url('acme-tools')}index.html"))
    assert scene.page("fine").status == 502
    assert (scene.public.count(), scene.mirror.count()) == (0, 0)


def test_another_index_by_its_mirror(scene: Scene) -> None:
    """As GitLab does for names that it has not: the operator's mirror of that index is asked, not its own host."""
    scene.corp.script(Behaviour("/simple/six", redirect=scene.public.page_url("six")))
    answer = scene.page("six")
    assert (answer.status, SIX.filename.encode() in answer.body) == (200, True)
    assert (scene.public.count(), scene.mirror.count()) == (0, 1)


def test_a_file_on_nobodys_path(scene: Scene) -> None:
    """A signed URL: the page's digest decides."""
    scene.corp.add(ACME)
    scene.corp.script(
        Behaviour("/packages/.*acme", redirect="/blobs/1?signature=x%2fy"), Behaviour("/blobs/", content=ACME.data)
    )
    scene.corp.serve("/blobs/1", ACME.data, "application/octet-stream")
    assert scene.page("acme-tools").status == 200
    assert scene.file(ACME).sha256 == ACME.sha256


@pytest.fixture(scope="module")
def cooling(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A proxy with a cooldown of a week, and no other rule."""
    with ExitStack() as stack:
        corp, public, mirror = (
            stack.enter_context(Upstream(ca, prefix=prefix)) for prefix in ("/corp", "/pub", "/mir")
        )
        options = {
            "pypi_cache_index": [f"corp={corp.index_url}", f"public={public.index_url} {mirror.index_url}"],
            "pypi_cache_cooldown": "7d",
        }
        proxy = stack.enter_context(Proxy(tmp_path_factory.mktemp("cooling"), options=options, upstream_ca=ca.bundle))
        yield Scene(proxy, corp, public, mirror)
        assert not proxy.complaints, proxy.output


OLD, NEW = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("name", "there", "status"),
    [("ripe", OLD, 200), ("young", NEW, 502), ("ageless", "", 502), ("unlisted", None, 502)],
)
def test_a_file_is_as_old_as_the_index_says_that_has_it(
    name: str, there: str | None, status: int, cooling: Scene
) -> None:
    """`pypi_cache_cooldown`: corp calls its file old, and leads to the file of an index that says when it was uploaded.

    Asked for in whole, by HEAD, by a range and for its metadata; and by a detour over nobody's path.
    """
    releases = [make_wheel(f"{name}-{way}", upload_time=OLD) for way in ("straight", "detour")]
    for release, detour in zip(releases, ("", f"/hop/{name}"), strict=True):
        cooling.corp.add(release)
        if there is not None:
            cooling.mirror.add(replace(release, upload_time=there))
        else:
            cooling.mirror.serve(f"/mir/{release.path}", release.content, "application/octet-stream")
        target = cooling.mirror.file_url(release)
        cooling.corp.script(
            Behaviour(f"/packages/.*{release.filename}$", redirect=detour or target),
            Behaviour(f"/packages/.*{release.filename}.metadata$", redirect=f"{target}.metadata"),
        )
        if detour:
            cooling.corp.script(Behaviour(detour, redirect=target))
        url = cooling.corp.file_url(release)
        for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-9"}), ("GET", {})):
            answer = fetch(cooling.proxy.port, url, ca=cooling.proxy.ca, method=method, headers=headers)
            assert answer.status == (206 if status == 200 and headers else status), (method, headers, answer)
        assert (answer.sha256 == release.sha256) is (status == 200)
        assert status == 200 or b"pypi_cache_cooldown=7d" in answer.body
        metadata = fetch(cooling.proxy.port, f"{url}.metadata", ca=cooling.proxy.ca)
        assert metadata.status == status
    assert status == 200 or not cooling.mirror.count(path_contains=f"/{name}_")
    assert not cooling.public.count()


@dataclass(frozen=True, slots=True)
class Mirrored:
    """`corp` redirects to index `pypi`, which two mirrors have; the second wants a login."""

    proxy: Proxy
    corp: Upstream
    one: Upstream
    two: Upstream

    def ask(self, url: str, **more: Any) -> Fetched:
        return fetch(self.proxy.port, url, ca=self.proxy.ca, **more)


LOGIN = "Basic " + base64.b64encode(b"me:secret").decode()


@pytest.fixture(scope="module")
def mirrored(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrored]:
    with ExitStack() as stack:
        corp, one, two = (stack.enter_context(Upstream(ca, prefix=prefix)) for prefix in ("/corp", "/one", "/two"))
        second = two.index_url.replace("://", "://me:secret@")
        options = {
            "pypi_cache_index": [f"pypi={one.index_url} {second}", f"corp={corp.index_url}"],
            "pypi_cache_negative_ttl": "0",
        }
        proxy = stack.enter_context(Proxy(tmp_path_factory.mktemp("mirrored"), options=options, upstream_ca=ca.bundle))
        yield Mirrored(proxy, corp, one, two)
        assert not proxy.complaints, proxy.output


FAILINGS: Final[dict[str, Behaviour]] = {
    "no such project": Behaviour("/one/", status=404),
    "gone": Behaviour("/one/", status=410),
    "forbidden": Behaviour("/one/", status=403),
    "a login is wanted": Behaviour("/one/", status=401),
    "busy": Behaviour("/one/", status=503, headers={"Retry-After": "1"}),
    "too many requests": Behaviour("/one/", status=429),
    "broken": Behaviour("/one/", status=500),
    "no answer": Behaviour("/one/", drop=True),
    "no HTTP": Behaviour("/one/", raw=b"no HTTP\r\n\r\n"),
    "no answer, again": Behaviour("/one/", drop=True),  # by now its breaker is open
}
"""How the first mirror fails."""


@pytest.mark.parametrize("failing", FAILINGS.values(), ids=FAILINGS)
def test_another_index_by_its_next_mirror(
    failing: Behaviour, mirrored: Mirrored, request: pytest.FixtureRequest
) -> None:
    """A redirect to an index whose first mirror fails: its next one is asked, with its own login, for pages, files and ranges."""
    release = make_wheel(f"next-{zlib.crc32(request.node.name.encode())}")
    for each in (mirrored.corp, mirrored.one, mirrored.two):
        each.add(release)
        each.clear()
        each.unscript()
    mirrored.one.script(failing)
    mirrored.two.script(Behaviour("/two/", authorization=LOGIN))
    mirrored.corp.script(
        Behaviour(f"/simple/{release.project}", redirect=page_url(release.project)),
        Behaviour(f"/packages/.*{release.filename}$", redirect=file_url(release)),
    )
    page = mirrored.ask(mirrored.corp.page_url(release.project))
    assert (page.status, release.filename.encode() in page.body) == (200, True)
    file = mirrored.corp.file_url(release)
    assert mirrored.ask(file, method="HEAD").status == 200
    assert mirrored.ask(file, headers={"Range": "bytes=0-9"}).body == release.content[:10]
    assert mirrored.ask(file).sha256 == release.sha256
    assert {each.headers.get("authorization") for each in mirrored.two.requests} == {LOGIN}
    assert {each.headers.get("authorization") for each in mirrored.one.requests} <= {None}


@pytest.mark.parametrize(
    ("one", "two", "status"), [(404, 404, 404), (404, 500, 404), (500, 404, 404), (404, 0, 404), (500, 500, 502)]
)
def test_another_index_that_no_mirror_answers_for(one: int, two: int, status: int, mirrored: Mirrored) -> None:
    """What one of them says is the answer: a name that is not there stays a 404 while the second mirror is down (0)."""
    project = f"nothing-{one}-{two}"
    for upstream, answer in ((mirrored.one, one), (mirrored.two, two)):
        upstream.unscript()
        upstream.script(Behaviour("/", status=answer) if answer else Behaviour("/", drop=True))
    mirrored.corp.script(Behaviour(f"/simple/{project}", redirect=page_url(project)))
    found = mirrored.ask(mirrored.corp.page_url(project)).status
    assert found == status
