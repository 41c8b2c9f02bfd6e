"""A reverse proxy in HTTP mode that takes a path away (`pypi_cache_public_url` with a path): links, redirects and settings have it."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.support.authority import Authority
from tests.support.clients import bare_env, installed, pip_download, pip_install, uv_install
from tests.support.front_ends import BELOW, free_port, is_installed, nginx
from tests.support.house import links_of
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, fetch

PATH: Final = "/tools/pypi-cache"
BASED: Final = b"""<!DOCTYPE html><html><head><base href="https://elsewhere.test/x/"></head>
<body><a href="p/q-1.0.tar.gz">q-1.0.tar.gz</a></body></html>"""


@dataclass(frozen=True, slots=True)
class Scene:
    upstream: Upstream
    proxy: Proxy
    port: int
    """The reverse proxy's."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    def own(self, path: str, **headers: str) -> Fetched:
        """What the proxy answers to a path, as the reverse proxy passes it on: without PATH."""
        return fetch(
            self.proxy.port, f"{self.proxy.url}{path}", via="own", headers={"Host": "upstream_of_nginx", **headers}
        )


@pytest.fixture(scope="module")
def scene(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("below")
    listens = free_port()
    with Upstream(ca) as upstream:
        upstream.add(make_wheel("alpha"), make_wheel("beta", requires=("alpha",)))
        upstream.serve("/pypi/simple/based/", BASED, "text/html")
        options = {
            "pypi_cache_index": [f"pypi={upstream.index_url}", f"corp={upstream.index_url}"],
            "pypi_cache_public_url": f"http://127.0.0.1:{listens}{PATH}",
        }
        with Proxy(folder / "proxy", options=options, upstream_ca=ca.bundle) as proxy:
            yield Scene(upstream, proxy, listens)
            assert not proxy.complaints, proxy.output


@pytest.fixture
def behind_nginx(scene: Scene, tmp_path: Path) -> Iterator[Scene]:
    if not is_installed("nginx"):
        pytest.skip("nginx is not installed on this machine, so no real reverse proxy is tried")
    with nginx(BELOW.format(listens=scene.port, port=scene.proxy.port, path=PATH), tmp_path / "nginx", scene.port):
        yield scene


@pytest.mark.parametrize("accept", ["text/html", "application/vnd.pypi.simple.v1+json"])
@pytest.mark.parametrize("index", ["pypi", "corp"])
@pytest.mark.parametrize("asked", ["", PATH], ids=["by the reverse proxy", "directly"])
def test_links_lead_through_the_reverse_proxy(scene: Scene, accept: str, index: str, asked: str) -> None:
    """And a client that came without it gets them too."""
    page = scene.own(f"{asked}/{index}/simple/alpha/", Accept=accept)
    assert page.status == 200
    links = links_of(page, f"{scene.url}/pypi/simple/alpha/")
    assert links
    for link in links:
        path = urlsplit(link).path
        assert path.startswith(f"{PATH}/{index}/{'packages' if index == 'pypi' else 'files'}/")
        for way in (path, path.removeprefix(PATH)):
            assert scene.own(way).status == 200


def test_redirects(scene: Scene) -> None:
    """The list of projects is at a URL that ends in a slash."""
    answer = scene.own("/pypi/simple?x=1")
    assert (answer.status, answer.headers["Location"]) == (301, f"{PATH}/pypi/simple/?x=1")


def test_a_page_with_a_base(scene: Scene) -> None:
    """Links that stay relative resolve against the public URL, whatever `Host` the reverse proxy sends."""
    page = scene.own("/pypi/simple/based/", Accept="text/html")
    assert f'<base href="{scene.url}/pypi/simple/based/">'.encode() in page.body
    assert f'href="{PATH}/pypi/files/https/elsewhere.test/x/p/q-1.0.tar.gz"'.encode() in page.body


@pytest.mark.parametrize(
    "page", ["/", "/env.sh", "/env.fish", "/env.ps1", "/env.json", "/env.docker", "/env.github", "/doctor.py"]
)
@pytest.mark.parametrize("asked", ["", PATH], ids=["by the reverse proxy", "directly"])
def test_settings_name_the_public_url(scene: Scene, page: str, asked: str) -> None:
    answer = scene.own(f"{asked}{page}")
    assert answer.status == 200
    named = PATH if page in {"/env.sh", "/env.fish", "/env.ps1"} else scene.url  # scripts put it together
    assert named.encode() in answer.body
    assert b"upstream_of_nginx" not in answer.body
    assert not answer.body.count(b"HTTPS_PROXY") or page == "/doctor.py"


def test_installs_through_nginx(behind_nginx: Scene, tmp_path: Path) -> None:
    index = f"{behind_nginx.url}/pypi/simple/"
    target = tmp_path / "pip"
    pip_install(tmp_path, ["beta"], target, args=["-i", index]).ok()
    assert set(installed(target)) == {"alpha", "beta"}
    target = tmp_path / "uv"
    uv_install(tmp_path, ["beta"], target, args=["--default-index", index]).ok()
    assert set(installed(target)) == {"alpha", "beta"}


def test_the_script_through_nginx(behind_nginx: Scene, tmp_path: Path) -> None:
    """What it sets is all that pip needs, and undoing leaves what was there before."""
    words = f"""
      eval "$(curl -fsS {behind_nginx.url}/env.sh || echo false)" && env > during
      eval "$(curl -fsS '{behind_nginx.url}/env.sh?undo' || echo false)" && env > after
    """
    env = bare_env(tmp_path) | {"PIP_INDEX_URL": "http://before.test/simple/"}
    subprocess.run(["sh", "-euc", words], env=env, cwd=tmp_path, check=True, timeout=60)
    during, after = (
        dict(line.split("=", 1) for line in (tmp_path / name).read_text().splitlines() if "=" in line)
        for name in ("during", "after")
    )
    given = {name: value for name, value in during.items() if name.startswith(("PIP_INDEX", "PIP_TRUSTED", "UV_"))}
    assert given["PIP_INDEX_URL"] == given["UV_DEFAULT_INDEX"] == f"{behind_nginx.url}/pypi/simple/"
    assert not [name for name in during if "PROXY" in name.upper()]
    pip_download(tmp_path, ["alpha"], tmp_path / "wheels", env=given).ok()
    assert after["PIP_INDEX_URL"] == "http://before.test/simple/"
    assert not {name for name in after if name.startswith(("UV_", "PDM_", "PIPENV_", "PYPI_CACHE", "PIP_TRUSTED"))}


def test_the_path_may_change(scene: Scene) -> None:
    """A stored page is kept in the form that it was served in, whose links have the path of then."""
    before = scene.proxy.options["pypi_cache_public_url"]
    for public, start in (("http://127.0.0.1:1/other", "/other/pypi/"), ("", "/pypi/"), (str(before), f"{PATH}/pypi/")):
        scene.proxy.options["pypi_cache_public_url"] = public
        scene.proxy.restart()
        assert scene.own("/pypi/simple/alpha/", Accept="text/html").status == 200
        links = links_of(scene.own("/pypi/simple/alpha/", Accept="text/html"), scene.url)
        assert {urlsplit(link).path.startswith(start) for link in links} == {True}
        assert json.loads(scene.own("/healthz").body)["status"] == "ok"
