"""The main job: real pip and uv install through the proxy, and again without the upstream, in each of the four ways.

Every second install is a new agent's: a new home and no client cache, so what it gets can only come from the store.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import clients, names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.clients import PIP_ENV, PIP_INDEX, PIP_PROXY, UV_ENV, WAYS, Result, Way, installed
from tests.support.factories import MakeProxy, small_wheels
from tests.support.house import House, open_house, slug, tidied
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_sdist, make_wheel

WANTED = ("beta", "Gamma.Ray")
GOT = {"alpha": "2.0", "beta": "1.0", "gamma-ray": "1.0"}
PIP_WAYS = tuple(way for way in WAYS if way.tool == "pip")


@pytest.fixture(scope="module")
def open_for_all(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(ca, tmp_path_factory.mktemp("install")) as house:
        yield house


@pytest.fixture
def house(open_for_all: House) -> Iterator[House]:
    with tidied(open_for_all) as house:
        yield house


def agent(tmp_path: Path, name: str) -> Path:
    """The home of a new agent, without any cache."""
    home = tmp_path / name
    home.mkdir()
    return home


def tree(target: Path) -> dict[str, bytes]:
    """What an install put on disk, but for what tells when and from where it came."""
    own = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", ".lock")
    files = (path for path in target.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(target)): path.read_bytes() for path in files if path.name not in own}


def all_hits(proxy: Proxy, *, after: int) -> bool:
    """Whether the access log tells of nothing but hits (and 304) from its line `after` on."""
    lines = [line for line in proxy.access_log()[after:] if "/simple/" in line["url"] or "/packages/" in line["url"]]
    assert lines, "nothing was asked of the proxy"
    # pip looks for its own page after each run, and the upstream has none
    return all("; hit" in line["cache"] for line in lines if not line["url"].endswith("/simple/pip/"))


def test_cold_then_from_the_store(
    way: Way, house: House, make_proxy: MakeProxy, upstream: Upstream, tmp_path: Path
) -> None:
    proxy = make_proxy(upstream)
    way.install(proxy, agent(tmp_path, "first"), WANTED, tmp_path / "cold").ok()
    assert installed(tmp_path / "cold") == GOT
    # one download a file, one request a page
    for path in ("/beta-1.0-py3-none-any.whl", "/gamma_ray-1.0-py3-none-any.whl", "/alpha-2.0-py3-none-any.whl"):
        wheel = [seen for seen in upstream.seen(method="GET", path_contains=path) if seen.path.endswith(".whl")]
        assert len(wheel) == 1, path
    for project in ("alpha", "beta", "gamma-ray"):
        assert upstream.count(path_contains=f"/simple/{project}/") == 1, project
    before = len(proxy.access_log())
    upstream.down()
    upstream.clear()
    way.install(proxy, agent(tmp_path, "second"), WANTED, tmp_path / "warm").ok()
    assert installed(tmp_path / "warm") == GOT
    assert tree(tmp_path / "warm") == tree(tmp_path / "cold")
    assert upstream.requests == []
    assert all_hits(proxy, after=before)


@pytest.mark.parametrize("way", PIP_WAYS, ids=str)
def test_downloads_are_the_same_byte_for_byte(
    way: Way, make_proxy: MakeProxy, upstream: Upstream, tmp_path: Path
) -> None:
    """The upstream stays up and counts here: a refused connection could not be counted."""
    proxy = make_proxy(upstream)
    args, env = way.args(proxy), way.env(proxy)
    clients.pip_download(agent(tmp_path, "first"), WANTED, tmp_path / "cold", args=args, env=env).ok()
    upstream.clear()
    upstream.script(Behaviour("", drop=True))
    clients.pip_download(agent(tmp_path, "second"), WANTED, tmp_path / "warm", args=args, env=env).ok()
    assert upstream.count() == upstream.count(path_contains="/simple/pip/")
    published = {release.filename: release.content for release in small_wheels()}
    for folder in (tmp_path / "cold", tmp_path / "warm"):
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert len(files) == 3
        assert files == {name: published[name] for name in files}


@pytest.mark.parametrize("mode", ["html", "json"])
@pytest.mark.parametrize("way", [PIP_ENV, UV_ENV, PIP_INDEX], ids=str)
def test_an_upstream_with_one_representation_alone(way: Way, mode: str, house: House, tmp_path: Path) -> None:
    name = f"only-{mode}-{slug(way)}"
    house.upstream.mode = "html" if mode == "html" else "json"
    wheel = make_wheel(name)
    house.upstream.add(wheel)
    way.install(house.proxy, agent(tmp_path, "first"), [name], tmp_path / "cold").ok()
    assert installed(tmp_path / "cold") == {name: "1.0"}
    house.upstream.down()
    way.install(house.proxy, agent(tmp_path, "second"), [name], tmp_path / "warm").ok()
    assert tree(tmp_path / "warm") == tree(tmp_path / "cold")
    assert house.file_requests(wheel) == 1


@pytest.mark.parametrize("way", [PIP_ENV, UV_ENV, PIP_INDEX], ids=str)
def test_core_metadata_is_used_and_stored(way: Way, house: House, tmp_path: Path) -> None:
    """PEP 658: a resolver that asks for `.metadata` must not be made to fetch the wheel, and it is asked for once."""
    leaf = make_wheel(f"leaf-{slug(way)}", payload_size=1_000_000)
    stem = make_wheel(f"stem-{slug(way)}", requires=[leaf.project])
    house.upstream.add(leaf, stem)

    def resolve(home: Path) -> Result:
        env = way.env(house.proxy)
        if way.tool == "uv":
            return clients.uv_compile(home, [stem.project], env=env).ok()
        words = ("install", "--dry-run", "--ignore-installed", *way.args(house.proxy), stem.project)
        return clients.pip(home, *words, env=env).ok()

    resolve(agent(tmp_path, "first"))
    assert [house.upstream.count(path_contains=f"{each.filename}.metadata") for each in (stem, leaf)] == [1, 1]
    before = len(house.upstream.requests)
    resolve(agent(tmp_path, "second"))
    asked = [seen.path for seen in house.upstream.requests[before:] if "/simple/pip/" not in seen.path]
    assert asked == []
    fetched = (house.file_requests(stem), house.file_requests(leaf))
    assert fetched == (0, 0) or (
        way.tool == "pip" and fetched == (1, 1)
    )  # the dry run of a pip before 26 downloads them all the same


@pytest.mark.parametrize("way", [PIP_PROXY, UV_ENV, PIP_INDEX], ids=str)
def test_sdists(way: Way, house: House, tmp_path: Path) -> None:
    name = f"sourced-{slug(way)}"
    sdist = make_sdist(name, "3.0")
    house.upstream.add(sdist)
    way.install(house.proxy, agent(tmp_path, "first"), [name], tmp_path / "cold").ok()
    house.upstream.down()
    way.install(house.proxy, agent(tmp_path, "second"), [name], tmp_path / "warm").ok()
    assert installed(tmp_path / "cold") == installed(tmp_path / "warm") == {name: "3.0"}
    assert house.file_requests(sdist) == 1


@pytest.mark.parametrize("spelling", ["Delta.Ray", "delta_ray", "DELTA-RAY", "delta--ray"])
def test_project_names_are_normalised(spelling: str, house: House) -> None:
    """PEP 503. pip and uv normalise before they ask; browsers, scripts and old clients do not, and share one page."""
    if not house.upstream.seen(path_contains="delta"):
        house.upstream.add(make_wheel("Delta.Ray"))
    for url in (f"{names.INDEX_URL}{spelling}/", f"/pypi/simple/{spelling}/"):
        assert house.fetch(url, headers={"Accept": "text/html"}).status == 200, url
    assert {seen.path for seen in house.upstream.requests} <= {f"{house.upstream.prefix}/simple/delta-ray/"}


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_restart_in_between(
    kill: bool,
    make_proxy: MakeProxy,
    upstream: Upstream,
    tmp_path: Path,
) -> None:
    """What was stored outlives the process, also one that had no time to say goodbye (proxpi#87)."""
    proxy = make_proxy(upstream)
    UV_ENV.install(proxy, agent(tmp_path, "first"), WANTED, tmp_path / "cold").ok()
    proxy.restart(kill=kill)
    upstream.down()
    before = len(proxy.access_log())
    UV_ENV.install(proxy, agent(tmp_path, "second"), WANTED, tmp_path / "warm").ok()
    PIP_ENV.install(proxy, agent(tmp_path, "third"), WANTED, tmp_path / "by-pip").ok()
    assert installed(tmp_path / "warm") == installed(tmp_path / "by-pip") == GOT
    assert all_hits(proxy, after=before)


@pytest.mark.parametrize("slash", ["", "/"], ids=["bare", "with a slash"])
def test_pip_with_its_index_url_on_the_proxy(slash: str, house: House, tmp_path: Path) -> None:
    """As with the nginx set-up: PIP_INDEX_URL and nothing else, neither a proxy nor a CA."""
    name = f"own-pip{'-slash' if slash else ''}"
    house.upstream.add(make_wheel(name))
    env = {"PIP_INDEX_URL": f"{house.proxy.url}/pypi/simple{slash}", "PIP_TRUSTED_HOST": "127.0.0.1"}
    clients.pip_install(agent(tmp_path, "first"), [name], tmp_path / "cold", env=env).ok()
    house.upstream.down()
    clients.pip_install(agent(tmp_path, "second"), [name], tmp_path / "warm", env=env).ok()
    assert installed(tmp_path / "cold") == installed(tmp_path / "warm") == {name: "1.0"}


@pytest.mark.parametrize("how", ["UV_INDEX_URL", "UV_DEFAULT_INDEX", "--index-url"])
def test_uv_with_its_index_url_on_the_proxy(how: str, house: House, tmp_path: Path) -> None:
    name = f"own-uv-{slug(how)}"
    house.upstream.add(make_wheel(name))
    url = f"{house.proxy.url}/pypi/simple"
    args, env = ([how, url], {}) if how.startswith("-") else ([], {how: url})
    clients.uv_install(agent(tmp_path, "first"), [name], tmp_path / "cold", args=args, env=env).ok()
    house.upstream.down()
    clients.uv_install(agent(tmp_path, "second"), [name], tmp_path / "warm", args=args, env=env).ok()
    assert installed(tmp_path / "cold") == installed(tmp_path / "warm") == {name: "1.0"}


def test_a_requirements_file_with_hashes(house: House, tmp_path: Path) -> None:
    """`--require-hashes` holds the proxy's bytes to the lock file's digests."""
    wheel = make_wheel("hashed", payload_size=100_000)
    house.upstream.add(wheel)
    listed = tmp_path / "requirements.txt"
    for digest, fine in ((wheel.sha256, True), (wheel.sha256[::-1], False)):
        listed.write_text(f"hashed==1.0 --hash=sha256:{digest}\n")
        words: list[str | Path] = [
            "install",
            "--require-hashes",
            "--no-deps",
            "--target",
            tmp_path / digest,
            "-r",
            listed,
        ]
        home = agent(tmp_path, f"home-{fine}")
        result = clients.pip(home, *words, env=PIP_ENV.env(house.proxy))
        assert (result.returncode == 0) is fine, result
    assert house.file_requests(wheel) == 1


def test_a_project_that_is_not_there(house: House, tmp_path: Path) -> None:
    """A true 404, so that pip says so and uv may go on to its next index; not a 5xx, which pip would retry."""
    result = UV_ENV.install(house.proxy, agent(tmp_path, "one"), ["no-such-thing"], tmp_path / "target").failed()
    assert "not found" in result.stderr, result
    result = PIP_ENV.install(house.proxy, agent(tmp_path, "two"), ["no-such-thing"], tmp_path / "target").failed()
    assert "No matching distribution" in result.stderr, result
    assert house.page_requests("no-such-thing") <= 2  # JSON and HTML at most


def test_a_virtual_environment_of_its_own(house: House, tmp_path: Path) -> None:
    """The way that most agents go: a venv, activated settings, no `--target`."""
    house.upstream.add(make_wheel("venved"))
    home = agent(tmp_path, "home")
    clients.uv(home, "venv", "--python", sys.executable, tmp_path / "venv").ok()
    python = tmp_path / "venv" / "bin" / "python"
    env = UV_ENV.env(house.proxy)
    clients.uv(home, "pip", "install", "--python", python, "venved", env=env).ok()
    done = clients.run(home, [python, "-c", "import venved; print(venved.VERSION)"]).ok()
    assert done.stdout == "1.0\n"
