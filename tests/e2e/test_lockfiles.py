"""No lock-file pollution (uv#6349, uv#9053): a lock made through the proxy is the lock that would be made without it.

The scripted part has no direct way, since a client cannot be told that the default index is on this machine. So a reference stands
for it: a proxy whose one upstream gives the very page of the default index, canonical absolute links in JSON. What it passes on
is shown to be that page byte for byte; every other mirror must then lead to the same lock. The marked part compares with the real index.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import clients, names
from tests.support.authority import Authority
from tests.support.clients import PIP_ENV, UV_ENV
from tests.support.factories import MakeProxy, MakeUpstream, small_wheels
from tests.support.house import House, open_house
from tests.support.index import LinkForm, PageStyle
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_sdist, make_wheel

WANTED = ("beta", "Gamma.Ray", "local")
CANONICAL = PageStyle(form=LinkForm.CANONICAL, files_origin=names.FILES_ORIGIN)
REAL = ("flask", "httpx")
UP_TO = ("--exclude-newer", "2025-06-01T00:00:00Z")
"""A release between two runs would make them differ; and this needs the pages' upload-time, which must survive."""


def releases() -> tuple[ReleaseFile, ...]:
    """Wheels and sdists, a yanked one, bounds on Python, and a local version, whose link holds `%2B`."""
    return (
        *small_wheels(),
        make_wheel("alpha", "3.0", yanked="broken"),
        make_wheel("alpha", "2.0", requires_python=">=3.8", tag="cp312-cp312-manylinux_2_28_x86_64"),
        make_wheel("local", "1.0+cpu", requires=("alpha<3",)),
        make_sdist("local", "0.9"),
    )


@dataclass(frozen=True, slots=True)
class Locks:
    """What each locking client makes of the same requirements."""

    uv_lock: str
    uv_compile: str
    pip_report: str

    @property
    def texts(self) -> tuple[str, str, str]:
        return (self.uv_lock, self.uv_compile, self.pip_report)

    def without_what_html_cannot_tell(self) -> "Locks":
        lock = re.sub(r', (size = \d+|upload-time = "[^"]*")', "", self.uv_lock)
        return Locks(lock, self.uv_compile, self.pip_report)


def lock_through(proxy: Proxy, folder: Path) -> Locks:
    """The locks of a new agent. pip's report is what `pip lock` and pip-tools are made of: URLs and hashes."""
    home = folder / "agent"
    home.mkdir(parents=True)
    env = UV_ENV.env(proxy)
    result, lock = clients.uv_lock(home, WANTED, env=env)
    result.ok()
    compiled = clients.uv_compile(home, WANTED, env=env).ok().stdout
    words = ("install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-", "--no-cache-dir")
    report = clients.pip(home, *words, *WANTED, env=PIP_ENV.env(proxy)).ok().stdout
    found = re.findall(r'"(?:url|hash|sha256|version|is_yanked)": .*', report)
    return Locks(lock, compiled, "\n".join(found))


@pytest.fixture(scope="module")
def reference_house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(ca, tmp_path_factory.mktemp("reference")) as house:
        house.upstream.mode = "json"
        house.upstream.style = CANONICAL
        house.upstream.add(*releases())
        yield house


@pytest.fixture(scope="module")
def reference(reference_house: House, tmp_path_factory: pytest.TempPathFactory) -> Locks:
    return lock_through(reference_house.proxy, tmp_path_factory.mktemp("locks"))


def assert_no_mirror(locks: Locks, upstream: Upstream, proxy: Proxy) -> None:
    for text in locks.texts:
        for trace in (str(upstream.port), "localhost", str(proxy.port), "127.0.0.1", ".."):
            assert trace not in text, f"{trace!r} in\n{text}"


def test_the_reference_is_the_canonical_index(reference: Locks, reference_house: House) -> None:
    """Else all that follows would compare the proxy with itself."""
    for project in ("alpha", "local"):
        page = reference_house.page(project)
        direct = reference_house.direct(reference_house.upstream.page_url(project))
        assert page.status == direct.status == 200
        assert page.body == direct.body
    upstream = reference_house.upstream
    assert_no_mirror(reference, upstream, reference_house.proxy)
    local = next(each for each in releases() if each.version == "1.0+cpu")
    assert f'registry = "{names.INDEX_URL.rstrip("/")}"' in reference.uv_lock
    assert f'url = "{names.file_url(local)}", hash = "sha256:{local.sha256}", size = {local.size}' in reference.uv_lock
    assert f"--hash=sha256:{local.sha256}" in reference.uv_compile
    assert names.file_url(local) in reference.pip_report
    assert 'upload-time = "2024-01-02T03:04:05.678' in reference.uv_lock


@pytest.mark.parametrize(
    "form", [LinkForm.RELATIVE, LinkForm.DOTTED, LinkForm.PERCENT_DOTTED, LinkForm.ROOT_RELATIVE], ids=lambda f: f.name
)
def test_a_json_mirror_leads_to_the_same_locks(
    form: LinkForm, reference: Locks, make_proxy: MakeProxy, make_upstream: MakeUpstream, tmp_path: Path
) -> None:
    upstream = make_upstream(*releases())
    upstream.mode = "json"
    upstream.style = PageStyle(form=form)
    proxy = make_proxy(upstream)
    locks = lock_through(proxy, tmp_path)
    assert locks.uv_lock == reference.uv_lock
    assert locks.uv_compile == reference.uv_compile
    assert locks.pip_report == reference.pip_report
    assert_no_mirror(locks, upstream, proxy)


@pytest.mark.parametrize("form", [LinkForm.RELATIVE, LinkForm.BASE_HREF], ids=lambda f: f.name)
def test_an_html_mirror_leads_to_the_same_locks(
    form: LinkForm, reference: Locks, make_proxy: MakeProxy, make_upstream: MakeUpstream, tmp_path: Path
) -> None:
    """But for `size` and `upload-time`, which HTML cannot tell."""
    upstream = make_upstream(*releases())
    upstream.mode = "html"
    upstream.style = PageStyle(form=form, files_origin=f"{upstream.origin}{upstream.prefix}")
    proxy = make_proxy(upstream)
    locks = lock_through(proxy, tmp_path)
    expected = reference.without_what_html_cannot_tell()
    assert expected.uv_lock != reference.uv_lock
    assert locks.uv_lock == expected.uv_lock
    assert locks.uv_compile == expected.uv_compile
    assert locks.pip_report == expected.pip_report
    assert_no_mirror(locks, upstream, proxy)


def test_a_lock_is_used_at_another_mirror(
    reference_house: House, reference: Locks, make_proxy: MakeProxy, make_upstream: MakeUpstream, tmp_path: Path
) -> None:
    """A lock's URLs are asked for with no page seen before: the files come from the mirror's `packages/` beside its `simple/`."""
    upstream = make_upstream(*releases())
    proxy = make_proxy(upstream)
    home = tmp_path / "home"
    project = home / "project"
    project.mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        '[project]\nname = "locked"\nversion = "0"\nrequires-python = ">=3.12"\ndependencies = [\n'
        + "\n".join(f'    "{each}",' for each in WANTED)
        + "\n]\n"
    )
    (project / "uv.lock").write_text(reference.uv_lock)
    env = UV_ENV.env(proxy)
    clients.uv(home, "sync", "--frozen", "--python", sys.executable, env=env, cwd=project).ok()
    library = next((project / ".venv" / "lib").glob("python3*/site-packages"))
    assert clients.installed(library).items() >= {"beta": "1.0", "gamma-ray": "1.0", "local": "1.0+cpu"}.items()
    assert upstream.count(path_contains="/simple/") == 0
    assert upstream.count(method="GET", path_contains="/beta-1.0-py3-none-any.whl") == 1


# The real index


DIRECT = {"UV_SYSTEM_CERTS": "1"}
"""The settings of an agent without a proxy: this machine's roots."""


@pytest.fixture(scope="module")
def real_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(tmp_path_factory.mktemp("real")) as proxy:
        yield proxy
        assert not proxy.complaints, proxy.output


def real_locks(folder: Path, env: dict[str, str]) -> tuple[str, str]:
    home = folder
    home.mkdir()
    result, lock = clients.uv_lock(home, REAL, args=UP_TO, env=env)
    if result.returncode != 0 and "HTTPS_PROXY" not in env and "error sending request" in result.stderr:
        pytest.skip(f"the default index cannot be reached from here without the proxy: {result.stderr[-300:]}")
    result.ok()
    return lock, clients.uv_compile(home, REAL, args=UP_TO, env=env).ok().stdout


@pytest.mark.network
def test_the_real_index_leads_to_the_same_locks(real_proxy: Proxy, tmp_path: Path) -> None:
    """Byte for byte: cold, and from the store."""
    without = real_locks(tmp_path / "direct", DIRECT)
    assert without[0].count("[[package]]") > 10
    assert "upload-time" in without[0]
    for name in ("cold", "stored"):
        through = real_locks(tmp_path / name, UV_ENV.env(real_proxy))
        assert through[0] == without[0], name
        assert through[1] == without[1], name
    lines = real_proxy.access_log()
    again = [line for line in lines[len(lines) // 2 :] if "/simple/" in line["url"]]
    assert again
    assert all("; hit" in line["cache"] for line in again)
