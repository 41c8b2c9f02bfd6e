"""Fixtures for all tests, and the guard against dials to the outside."""

import asyncio
import gc
import inspect
import ipaddress
import socket
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from _pytest.pathlib import ImportMode, import_path
from hypothesis import HealthCheck, settings

from tests.support.authority import Authority
from tests.support.factories import MakeProxy, MakeUpstream, small_wheels
from tests.support.proxy import Options, Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel

TIMEOUT: Final = 120

# The same examples in each run, and no clock: what is run at every submission must not fail by chance. By hand, to look for more:
# --hypothesis-profile=thorough
settings.register_profile(
    "suite", max_examples=50, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", settings.get_profile("suite"), max_examples=1000, derandomize=False, print_blob=True
)
settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect without looking for garbage, of which there is none; what is there afterwards stays to the end.

    Where several processes collect the same tests, each compiles a share of them first and leaves the others' to the others: pytest's
    rewriting of 4,600 asserts takes longer than all else of the collection.
    """
    gc.disable()
    if (worker := getattr(session.config, "workerinput", None)) is not None and not sys.dont_write_bytecode:
        _import_a_share(session.config, int(worker["workerid"].removeprefix("gw")), worker["workercount"])
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _import_a_share(config: pytest.Config, number: int, count: int) -> None:
    folders = [path for path in map(Path, config.args) if path.is_dir()]
    for path in sorted(path for folder in folders for path in folder.rglob("test_*.py"))[number::count]:
        with suppress(Exception):  # the collection tells of it
            import_path(path, mode=ImportMode.importlib, root=config.rootpath, consider_namespace_packages=False)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a test by a parameter's name where its value is no text: compressed bytes may hold the time, and differ in each process."""
    return argname if isinstance(val, bytes) and not (val.isascii() and val.decode("ascii").isprintable()) else None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function, in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    fixtures = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**fixtures), TIMEOUT))
    return True


class BlockedDial(RuntimeError):  # noqa: N818 - what happened
    """A test dialled something that is not loopback."""


@pytest.fixture(autouse=True)
def loopback_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to dial anything but loopback from the test's own process, outside tests marked `network`."""
    if request.node.get_closest_marker("network") is not None:
        return
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


def _guarded(dial: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(str(address[0])):
            raise BlockedDial(f"a test may dial loopback only, not {address!r}")
        return dial(self, address)

    return guarded


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of all scripted upstreams; `.bundle` is its root's path."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def make_upstream(ca: Authority) -> Iterator[MakeUpstream]:
    """`make_upstream(*releases, tls=True, names=(), prefix='/pypi')`; without releases it is empty."""
    with ExitStack() as stack:

        def make(
            *releases: ReleaseFile, tls: bool = True, names: Iterable[str] = (), prefix: str = "/pypi"
        ) -> Upstream:
            upstream = stack.enter_context(Upstream(ca if tls else None, names=names, prefix=prefix))
            upstream.add(*releases)
            return upstream

        yield make


@pytest.fixture
def upstream(make_upstream: MakeUpstream) -> Upstream:
    """A mirror over TLS with `small_wheels`."""
    return make_upstream(*small_wheels())


@pytest.fixture
def make_proxy(ca: Authority, tmp_path: Path) -> Iterator[MakeProxy]:
    """`make_proxy(*upstreams, options={…}, complaints_allowed=False, **more)`: a running proxy."""
    proxies: list[Proxy] = []
    strict: list[Proxy] = []

    def make(
        *upstreams: Upstream, options: Options | None = None, complaints_allowed: bool = False, **more: Any
    ) -> Proxy:
        joined: dict[str, Any] = dict(options or {})
        if upstreams:
            urls = " ".join(each.index_url for each in upstreams)
            joined["pypi_cache_index"] = [f"pypi={urls}", *joined.get("pypi_cache_index", ())]
        folder = more.pop("folder", None) or tmp_path / f"proxy-{len(proxies)}"
        start = more.pop("start", True)
        proxy = Proxy(folder, options=joined, upstream_ca=more.pop("upstream_ca", ca.bundle), start=False, **more)
        proxies.append(proxy)
        if not complaints_allowed:
            strict.append(proxy)
        if start:
            proxy.start()
        return proxy

    yield make
    for proxy in proxies:
        proxy.close()
    for proxy in strict:
        assert not proxy.complaints, f"{proxy.complaints}\n{proxy.output}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of an agent that has no cache yet."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def big_wheel(tmp_path_factory: pytest.TempPathFactory) -> ReleaseFile:
    """A wheel of 200 MB on disk, project `huge`."""
    return make_wheel("huge", "1.0", payload_size=200_000_000, seed=7, folder=tmp_path_factory.mktemp("big"))
