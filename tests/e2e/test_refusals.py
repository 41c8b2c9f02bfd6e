"""401 and 403 of upstreams: a client hears of them only from the origin that it named, whether it asks for a page or for a file.

A page's 401 of two mirrors used to reach the client, and a file's was a 502: pip then asks a person for the password of a host that
the person has never heard of.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support import names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.house import ACCEPTS, House
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel

CHALLENGE: Final = 'Basic realm="mirror"'

REQUESTS: Final = {
    "page": ("page", "GET", {"Accept": ACCEPTS["json"]}),
    "HEAD of a page": ("page", "HEAD", {"Accept": ACCEPTS["json"]}),
    "file": ("file", "GET", {}),
    "HEAD of a file": ("file", "HEAD", {}),
    "range": ("file", "GET", {"Range": "bytes=0-9"}),
    "metadata": ("metadata", "GET", {}),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """Index `pypi` behind one or two mirrors."""

    mirrors: list[Upstream]
    house: House

    def url(self, release: ReleaseFile, what: str, how: str) -> str:
        """The page's or the file's URL: at the index's own hosts, at the first mirror, or at the proxy's own address."""
        suffix = ".metadata" if what == "metadata" else ""
        if how == "the index":
            return names.page_url(release.project) if what == "page" else names.file_url(release, suffix)
        if how == "the proxy":
            return f"/pypi/simple/{release.project}/" if what == "page" else f"/pypi/{release.quoted_path}{suffix}"
        root = self.mirrors[0].index_url.removesuffix("simple/")
        return f"{root}simple/{release.project}/" if what == "page" else f"{root}{release.quoted_path}{suffix}"


@pytest.fixture(scope="module", params=[1, 2])
def scene(request: pytest.FixtureRequest, ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        mirrors = [stack.enter_context(Upstream(ca, prefix=f"/m{number}")) for number in range(request.param)]
        options = {"pypi_cache_index": ["pypi=" + " ".join(each.index_url for each in mirrors)]}
        proxy = stack.enter_context(Proxy(tmp_path_factory.mktemp("refusals"), options=options, upstream_ca=ca.bundle))
        yield Scene(mirrors, House(mirrors[0], proxy))
        assert not proxy.complaints, proxy.output


@pytest.mark.parametrize("how", ["the index", "the mirror", "the proxy"])
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("asked", REQUESTS)
def test_whose_refusal_a_client_hears_of(asked: str, status: int, how: str, scene: Scene) -> None:
    what, method, headers = REQUESTS[asked]
    release = make_wheel(f"refused-{asked.replace(' ', '-').lower()}-{status}-{how.replace(' ', '-')}")
    for mirror in scene.mirrors:
        mirror.add(release)
        mirror.script(Behaviour(".", status=status, headers={"WWW-Authenticate": CHALLENGE if status == 401 else None}))
    try:
        answer = scene.house.fetch(scene.url(release, what, how), method=method, headers=headers)
    finally:
        for mirror in scene.mirrors:
            mirror.unscript()
    assert answer.complete
    passes = how == "the mirror"
    assert answer.status == (status if passes else 502), answer.body
    assert answer.headers["WWW-Authenticate"] == (CHALLENGE if passes and status == 401 else None)
    if method == "GET":
        asked_mirrors = scene.mirrors[:1] if what == "page" and passes else scene.mirrors
        assert all(str(each.port).encode() in answer.body for each in asked_mirrors), "each upstream is named"
