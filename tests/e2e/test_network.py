"""The real index: a few small packages from pip's default index through the proxy, cold and again from the store.

The only test here that leaves the machine. Where the default index cannot be reached without the proxy, from this very process,
it is skipped, with the reason; where it can, nothing is.
"""

import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import clients, names
from tests.support.clients import PIP_ENV, PIP_INDEX, PIP_PROXY, UV_ENV, WAYS, Way, installed
from tests.support.proxy import Proxy

pytestmark = pytest.mark.network
WANTED = ("six", "idna", "certifi")


@pytest.fixture(scope="module")
def reachable() -> None:
    """Skip where there is no way to the index at all: then nothing can be said about the proxy."""
    url = f"{names.INDEX_URL}six/"
    try:
        with urllib.request.urlopen(url, timeout=20, context=ssl.create_default_context()) as answer:
            assert answer.status == 200, f"{url} answered {answer.status}"
    except OSError as error:
        pytest.skip(f"pip's default index cannot be reached from this process: {error}")


@pytest.fixture(scope="module")
def real(reachable: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy as a newcomer has it: no option but where its store is."""
    with Proxy(tmp_path_factory.mktemp("real")) as proxy:
        yield proxy
        assert not proxy.complaints, f"{proxy.complaints}\n{proxy.output}"


def package_lines(proxy: Proxy, after: int) -> list[str]:
    """What the access log says of pages and files from its line `after` on; not of pip's look for its own new version."""
    lines = proxy.access_log()[after:]
    return [
        line["cache"]
        for line in lines
        if ("/simple/" in line["url"] or "/packages/" in line["url"]) and not line["url"].endswith("/simple/pip/")
    ]


def test_downloads_with_pip(real: Proxy, tmp_path: Path) -> None:
    """Byte for byte what pip gets without the proxy; the second time from the store alone."""
    folders = {}
    for name, way in (("direct", None), ("cold", PIP_ENV), ("proxied", PIP_PROXY), ("own", PIP_INDEX)):
        home = tmp_path / name
        home.mkdir()
        before = len(real.access_log())
        args, env = (way.args(real), way.env(real)) if way else ([], {})
        args = [*args, "--no-deps", "--no-cache-dir"]
        clients.pip_download(home, WANTED, tmp_path / f"{name}-files", args=args, env=env).ok()
        folders[name] = {path.name: path.read_bytes() for path in (tmp_path / f"{name}-files").iterdir()}
        if name in ("proxied", "own"):
            statuses = package_lines(real, before)
            assert len(statuses) >= 2 * len(WANTED)
            assert all("; hit" in status for status in statuses), statuses
    assert len(folders["direct"]) == len(WANTED)
    assert folders["direct"] == folders["cold"] == folders["proxied"] == folders["own"]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_installs_and_again_without_any_upstream(way: Way, reachable: None, tmp_path: Path) -> None:
    """The second time the proxy runs offline: whatever it does not have it would have to refuse."""
    with Proxy(tmp_path / "proxy") as proxy:
        for name in ("cold", "warm"):
            home = tmp_path / name
            home.mkdir()
            if name == "warm":
                proxy.options["pypi_cache_offline"] = True
                proxy.restart()
            way.install(proxy, home, WANTED, tmp_path / f"{name}-target", args=["--no-deps"]).ok()
        assert not proxy.complaints, proxy.output
    cold, warm = (installed(tmp_path / f"{name}-target") for name in ("cold", "warm"))
    assert set(cold) == set(WANTED)
    assert warm == cold


def test_dependencies_with_uv(real: Proxy, tmp_path: Path) -> None:
    """A resolver with real requirements: PEP 658 metadata, many projects at once."""
    for name in ("cold", "warm"):
        home = tmp_path / name
        home.mkdir()
        before = len(real.access_log())
        UV_ENV.install(real, home, ["flask"], tmp_path / f"{name}-target").ok()
        if name == "warm":
            statuses = package_lines(real, before)
            assert statuses
            assert all("; hit" in status for status in statuses), statuses
    assert installed(tmp_path / "cold-target") == installed(tmp_path / "warm-target")
    assert "jinja2" in installed(tmp_path / "cold-target")


def test_the_index_is_opened_with_our_certificate(real: Proxy) -> None:
    """A client that trusts the proxy's CA alone: whatever is not answered by the cache would show another certificate."""
    context = ssl.create_default_context(cafile=str(real.ca))
    handlers = (urllib.request.ProxyHandler({"https": real.url}), urllib.request.HTTPSHandler(context=context))
    for project in ("six", "idna"):
        with urllib.request.build_opener(*handlers).open(f"{names.INDEX_URL}{project}/", timeout=20) as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Status"].startswith("pypi-cache; ")
