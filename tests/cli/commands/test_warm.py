"""`warm` and the air gap, end to end: real mitmdump, pip and uv; afterwards the upstream is dead, and installs succeed."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pkgcache.cli.warming import temporary_proxy
from tests.cli.conftest import Command
from tests.support import clients, names
from tests.support.behaviour import Behaviour
from tests.support.clients import PIP_ENV, PIP_INDEX, UV_ENV, Way, installed
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.forked import ForkedProcess, parent_of_forks, start_forked
from tests.support.house import ACCEPTS
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_sdist, make_wheel
from tests.support.wire import fetch

LINUX, WINDOWS = "cp312-cp312-manylinux_2_17_x86_64", "cp312-cp312-win_amd64"


def releases() -> tuple[ReleaseFile, ...]:
    """tree needs leaf everywhere, and winter on Windows alone; native has a wheel for each of two platforms."""
    return (
        make_wheel("leaf", "1.0"),
        make_wheel("leaf", "2.0"),
        make_wheel("winter", "1.0"),
        make_wheel("tree", "1.0", requires=("leaf>=1.0", 'winter; sys_platform == "win32"')),
        make_wheel("native", "1.0", tag=LINUX),
        make_wheel("native", "1.0", tag=WINDOWS),
        make_sdist("built", "1.0"),
    )


@pytest.fixture
def shop(make_upstream: MakeUpstream) -> Upstream:
    return make_upstream(*releases())


@pytest.fixture
def where(shop: Upstream, tmp_path: Path) -> list[str]:
    """The options that say which store and index."""
    return ["--dir", str(tmp_path / "store"), "--set", f"pypi_cache_index=pypi={shop.index_url}"]


@pytest.fixture
def dead(shop: Upstream, tmp_path: Path, make_proxy: MakeProxy) -> Proxy:
    """A proxy on the same store whose upstream is down: call `start` on it."""
    return make_proxy(shop, options={"pypi_cache_dir": str(tmp_path / "store")}, start=False)


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs within the test's own process fork their proxy, as tests do; those that are processes start a whole `mitmdump`."""

    def start(command: list[str], *, env: dict[str, str], stdout: Any, **_: object) -> ForkedProcess:
        env = {**env, "PYPI_CACHE_PARENT": str(parent_of_forks())}
        return start_forked(command[3:], env=env, cwd=Path.cwd(), output=Path(stdout.name))

    monkeypatch.setattr(temporary_proxy, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": start}))


def files(upstream: Upstream) -> set[str]:
    """The names of the files that were asked for, metadata too."""
    paths = (each.path.partition("?")[0] for each in upstream.requests if "/packages/" in each.path)
    return {path.rpartition("/")[2] for path in paths}


@pytest.mark.parametrize("way", [PIP_INDEX, UV_ENV], ids=str)
def test_requirements(
    way: Way, command: Command, shop: Upstream, where: list[str], dead: Proxy, home: Path, tmp_path: Path
) -> None:
    """What pip resolves is there for pip at the proxy's own address and for uv, in every representation, and nothing else is."""
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("tree\nbuilt==1.0\n")
    ran = command("warm", *where, "-r", wanted, "--json").ended(0)
    assert ran.json["failures"] == []
    assert ran.json["packages"] == 3
    assert not any(name.startswith(("leaf-1.0", "winter", "native")) for name in files(shop))
    shop.down()
    dead.start()
    target = tmp_path / "target"
    way.install(dead, home, ["tree", "built"], target, args=["--no-cache-dir"] if way.tool == "pip" else []).ok()
    assert installed(target) == {"tree": "1.0", "leaf": "2.0", "built": "1.0"}
    for accept in ACCEPTS.values():
        answer = fetch(dead.port, names.page_url("leaf"), ca=dead.ca, headers={"Accept": accept})
        assert (answer.status, "; hit" in answer.headers["Cache-Status"]) == (200, True)


def test_a_shared_tier_is_warmed(
    command: Command, shop: Upstream, where: list[str], make_proxy: MakeProxy, home: Path, tmp_path: Path
) -> None:
    """Another machine, with an empty store and a dead upstream, then installs."""
    pytest.importorskip("obstore")
    url = f"pypi_cache_shared=file://{tmp_path}/tier"
    command("warm", *where, "--set", url, "tree").ended(0)
    shop.down()
    other = make_proxy(shop, options={"pypi_cache_shared": f"file://{tmp_path}/tier"})
    target = tmp_path / "target"
    PIP_INDEX.install(other, home, ["tree"], target, args=["--no-cache-dir"]).ok()
    assert installed(target) == {"tree": "1.0", "leaf": "2.0"}


def test_for_other_machines(command: Command, shop: Upstream, where: list[str]) -> None:
    """Markers mean the machine that is asked for: a Windows agent gets winter, though pip runs here (pip#11664)."""
    command("warm", *where, "tree", "native", "--python-version", "3.12", "--platform", "win_amd64").ended(0)
    assert {"winter-1.0-py3-none-any.whl", f"native-1.0-{WINDOWS}.whl"} <= files(shop)
    assert f"native-1.0-{LINUX}.whl" not in files(shop)
    shop.clear()
    command("warm", *where, "tree", "native", "--python-version", "3.12", "--platform", "linux_x86_64").ended(0)
    assert f"native-1.0-{LINUX}.whl" in files(shop)
    assert not any("winter" in each.path for each in shop.requests)


def test_uv_lock(
    command: Command, shop: Upstream, where: list[str], dead: Proxy, make_proxy: MakeProxy, home: Path, tmp_path: Path
) -> None:
    """A lock that uv itself has made: for a Linux agent without winter; then `uv sync` from it with the upstream dead."""
    locking = make_proxy(shop)
    clients.uv_lock(home, ["tree", "built"], env=UV_ENV.env(locking))[0].ok()
    lock = home / "project" / "uv.lock"
    shop.clear()
    ran = command("warm", *where, "--lock", lock, "--json").ended(0)
    assert (ran.json["packages"], ran.json["skipped"]) == (3, [])
    assert not any("winter" in each.path for each in shop.requests)
    shop.down()
    locking.stop()
    dead.start()
    clean = tmp_path / "clean"
    clean.mkdir()
    clients.uv(clean, "sync", "--frozen", "--python", sys.executable, env=UV_ENV.env(dead), cwd=home / "project").ok()
    found = (home / "project" / ".venv").rglob("*.dist-info")
    assert sorted(path.name for path in found) == ["built-1.0.dist-info", "leaf-2.0.dist-info", "tree-1.0.dist-info"]


def test_through_a_running_proxy(command: Command, shop: Upstream, make_proxy: MakeProxy, tmp_path: Path) -> None:
    proxy = make_proxy(shop, options={"proxyauth": "user:pass"})
    url = proxy.url.replace("//", "//user:pass@")
    ran = command("warm", "--proxy", url, "tree", "--json").ended(0)
    assert ran.json["failures"] == []
    again = command("warm", "--proxy", url, "tree", "--json").ended(0)
    assert again.json["files"] == ran.json["files"]
    assert (ran.json["stored_bytes"] > 0, again.json["stored_bytes"]) == (True, 0)


def test_a_second_index(
    command: Command,
    shop: Upstream,
    where: list[str],
    make_upstream: MakeUpstream,
    make_proxy: MakeProxy,
    home: Path,
    tmp_path: Path,
) -> None:
    """A requirements file that names one: its pages and files are warmed as well, and installed from with both indexes dead."""
    corp = make_upstream(make_wheel("inner", "1.0", requires=("leaf",)))
    wanted = tmp_path / "requirements.txt"
    wanted.write_text(f"--extra-index-url {corp.index_url}\ninner\n")
    ran = command("warm", *where, "--set", f"pypi_cache_index=corp={corp.index_url}", "-r", wanted, "--json").ended(0)
    assert (ran.json["packages"], ran.json["failures"]) == (2, [])
    shop.down()
    corp.down()
    options = {"pypi_cache_dir": str(tmp_path / "store"), "pypi_cache_index": [f"corp={corp.index_url}"]}
    proxy = make_proxy(shop, options={**options, "pypi_cache_offline": True})
    target = tmp_path / "target"
    PIP_ENV.install(proxy, home, [], target, args=["-r", wanted]).ok()
    assert installed(target) == {"inner": "1.0", "leaf": "2.0"}


def test_more_than_the_store_may_have(command: Command, shop: Upstream, where: list[str]) -> None:
    """Exit code 0 would say that all of it is there."""
    shop.add(make_wheel("large", "1.0", payload_size=2_000_000))
    ran = command("warm", *where, "--set", "pypi_cache_max_size=1m", "large").ended(1)
    assert "and the store may hold 1.0 MiB: some were evicted again; expected a larger pypi_cache_max_size=" in ran.err


def test_in_an_agents_environment(
    command: Command, shop: Upstream, where: list[str], make_proxy: MakeProxy, tmp_path: Path
) -> None:
    """HTTPS_PROXY names the proxy of this very store: as the parent of the run's own, each would wait for the other's download."""
    proxy = make_proxy(shop, options={"pypi_cache_dir": str(tmp_path / "store")})
    ran = command("warm", *where, "tree", "--json", env={"HTTPS_PROXY": proxy.url}).ended(0)
    assert "upstreams are asked directly" in ran.err
    assert ran.json["failures"] == []


@pytest.mark.parametrize("said", [{"core-metadata": {}}, {"core-metadata": None, "dist-info-metadata": True}], ids=str)
def test_metadata_that_a_page_mentions_in_an_odd_way(
    said: dict[str, object], command: Command, shop: Upstream, where: list[str], dead: Proxy, tmp_path: Path
) -> None:
    """No digest, or under the old name beside null (PEP 714): the proxy serves it, so `warm` fetches it."""
    leaf = next(each for each in releases() if each.filename == "leaf-2.0-py3-none-any.whl")
    page = {"meta": {"api-version": "1.0"}, "name": "leaf", "files": [
        {"filename": leaf.filename, "url": f"../../{leaf.quoted_path}", "hashes": {"sha256": leaf.sha256}, **said}
    ]}  # fmt: skip
    shop.mode = "json"
    shop.script(Behaviour(r"/simple/leaf/$", content=json.dumps(page).encode()))
    lock = tmp_path / "Pipfile.lock"
    default = {"leaf": {"version": "==2.0", "hashes": [f"sha256:{leaf.sha256}"]}}
    lock.write_text(json.dumps({"_meta": {}, "default": default}))
    command("warm", *where, "--lock", lock).ended(0)
    assert files(shop) == {leaf.filename, f"{leaf.filename}.metadata"}
    shop.down()
    dead.start()
    answer = fetch(dead.port, names.file_url(leaf, ".metadata"), ca=dead.ca)
    assert (answer.status, answer.body) == (200, leaf.metadata)


def test_what_cannot_be_fetched(command: Command, shop: Upstream, where: list[str], tmp_path: Path) -> None:
    """Each failure is one line, the rest is fetched, and the exit code says it."""
    shop.script(Behaviour("leaf-2.0-py3-none-any.whl", status=500, methods=("GET",)))
    lock = tmp_path / "Pipfile.lock"
    hashes = {each.filename: each.sha256 for each in releases()}
    leaf, tree = hashes["leaf-2.0-py3-none-any.whl"], hashes["tree-1.0-py3-none-any.whl"]
    lock.write_text(
        '{"_meta": {}, "develop": {}, "default": {'
        f'"leaf": {{"version": "==2.0", "hashes": ["sha256:{leaf}"]}}, "tree": {{"version": "==1.0", "hashes": ["sha256:{tree}"]}},'
        f'"nowhere": {{"version": "==1.0", "hashes": ["sha256:{"0" * 64}"]}}}}}}'
    )
    ran = command("warm", *where, "--lock", lock).ended(1)
    failed = [line for line in ran.err.splitlines() if line.startswith("failed: ")]
    assert len([line for line in failed if "leaf-2.0-py3-none-any.whl: 50" in line]) == 1
    assert len([line for line in failed if "nowhere" in line]) == 2
    assert "tree-1.0-py3-none-any.whl" in files(shop)
    ran = command("warm", *where, "nothing-of-that-name").ended(1)
    assert "nothing-of-that-name" in ran.err


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(by: signal.Signals, command: Command, shop: Upstream, where: list[str]) -> None:
    """One line, and the proxy of its own ends with it; the next run goes on."""
    shop.add(make_wheel("slow", "1.0", payload_size=3_000_000))
    shop.script(Behaviour("slow-1.0-py3-none-any.whl", pace=300_000, times=1))
    begun = lambda _: shop.bytes_sent(path_contains="slow-1.0-py3-none-any.whl") > 200_000  # noqa: E731
    ran = command.interrupted(begun, "warm", *where, "slow", "tree", by=by).ended(130)
    assert re.fullmatch(r"interrupted: \d+ files? fetched, .*; run it again to continue\n", ran.err)
    assert command("warm", *where, "slow", "tree", "--json").ended(0).json["failures"] == []


def test_a_killed_run_leaves_no_proxy_behind(
    command: Command, shop: Upstream, where: list[str], tmp_path: Path
) -> None:
    shop.add(make_wheel("slow", "1.0", payload_size=3_000_000))
    shop.script(Behaviour("slow-1.0-py3-none-any.whl", pace=100_000))
    begun = lambda _: shop.bytes_sent(path_contains="slow-1.0-py3-none-any.whl") > 50_000  # noqa: E731
    command.interrupted(begun, "warm", *where, "slow", by=signal.SIGKILL)
    for _ in range(1200):
        running = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(command.home).encode() in _read(path)]
        if not running:
            return
        signal.sigtimedwait([], 0.05)
    raise AssertionError(f"still running: {[_read(path) for path in running]}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to fetch: expected -r FILE"),
        (("-r", "uv.lock"), "expected --lock uv.lock"),
        (("-r", "missing.txt"), "does not exist"),
        (("--lock", "broken/uv.lock"), "broken/uv.lock, line 2: not TOML"),
        (("x", "--python-version", "2.7"), "expected a version of Python 3, such as 3.12"),
        (("x", "--platform", "amiga"), "expected a platform such as"),
        (("x", "--proxy", "http://127.0.0.1:1"), "does not answer"),
        (("x", "--proxy", "socks5://a"), "expected http://HOST:PORT"),
        (("x", "--set", "pypi_cache_offline=true"), "pypi_cache_offline is set"),
        (("x", "--set", "pypi_cache_max_size=lots"), "expected a size such as 512m or 10g"),
        (("x", "--set", "listen_port=1"), "expected an option of pypi-cache"),
        (("x", "--index-url", "index.example"), "index.example is not an index's URL; expected one such as https://"),
        (
            ("x", "--index-url", "https://me:secret@corp.example/simple"),
            "'pypi_cache_index=NAME=https://***@corp.example/simple'",
        ),
        (("-r", "more.txt"), "'pypi_cache_index=NAME=https://***@corp.example/simple'"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, tuple) else "",
)
def test_wrong_arguments(words: tuple[str, ...], said: str, command: Command) -> None:
    (command.home / "uv.lock").write_text("")
    (command.home / "more.txt").write_text("x\n--extra-index-url https://me:secret@corp.example/simple\n")
    (command.home / "broken").mkdir()
    (command.home / "broken" / "uv.lock").write_text("version = 1\n<<<<<<< HEAD\n")
    ran = command("warm", *words).ended(2)
    assert said in ran.err.replace("\n", " ")
    assert "secret" not in ran.err
    assert ran.out == ""
