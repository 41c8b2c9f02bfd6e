"""The configurations of HAProxy and nginx that come with the package, before two proxies of which each goes for a while."""

import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.support.authority import Authority
from tests.support.clients import Result, pip_install, uv_install
from tests.support.factories import small_wheels
from tests.support.front_ends import balancer, can_balance, free_port
from tests.support.proxy import ADDON, Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

DATA: Final = ADDON.parent / "pkgcache" / "data" / "balancer"
CA: Final = "mitmproxy-ca.pem"
OWN_ADDRESS: Final = "127.0.0.2"
"""The balancer's; agents have 127.0.0.1."""

CHANGES: Final = {
    "haproxy": (
        ("bind :8080", "bind 127.0.0.1:{listens}"),
        ("${CACHE_ONE-10.0.0.5:8080}", "127.0.0.1:{one}"),
        ("${CACHE_TWO-10.0.0.6:8080}", "127.0.0.1:{two}"),
        ("balance leastconn", f"balance roundrobin\n  source {OWN_ADDRESS}"),
    ),
    "nginx": (
        ("listen 8080", "listen 127.0.0.1:{listens}"),
        ("server 10.0.0.5:8080", "server 127.0.0.1:{one}"),
        ("server 10.0.0.6:8080", "server 127.0.0.1:{two}"),
        ("proxy_protocol on;", f"proxy_protocol on;\n    proxy_bind {OWN_ADDRESS};"),
    ),
}
"""What is another thing here than where the files are used: addresses, and that both proxies are used by few connections."""

FILES: Final = {"haproxy": "haproxy.cfg", "nginx": "nginx.conf"}


@dataclass
class Agents:
    """New agents that install one after the other, some by pip and some by uv, with the number of retries that both have by default."""

    folder: Path
    env: dict[str, str]
    results: list[Result] = field(default_factory=list)
    begun: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self._install, args=each) for each in (("pip", pip_install), ("uv", uv_install))
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def one_more_each(self) -> None:
        """Wait until each tool has begun an install after now, and ended it."""
        begun = dict(self.begun)
        eventually(lambda: all(self.done.get(tool, 0) > begun.get(tool, 0) for tool in ("pip", "uv")), timeout=120)

    def _install(self, tool: str, install: Callable[..., Result]) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            self.begun[tool] = number
            home = self.folder / f"{tool}-{number}"
            home.mkdir()
            self.results.append(install(home, ["beta", "gamma-ray"], home / "target", env=self.env))
            self.done[tool] = number


@pytest.fixture
def pair(ca: Authority, tmp_path: Path) -> Iterator[tuple[Upstream, Proxy, Proxy]]:
    with Upstream(ca) as upstream:
        upstream.add(*small_wheels())
        options = {"pypi_cache_index": f"pypi={upstream.index_url}", "pypi_cache_proxy_protocol": OWN_ADDRESS}
        with (
            Proxy(tmp_path / "one", options=options, upstream_ca=ca.bundle) as one,
            Proxy(tmp_path / "two", options=options, upstream_ca=ca.bundle, start=False) as two,
        ):
            two.confdir.mkdir()
            shutil.copy(one.confdir / CA, two.confdir / CA)  # as a secret brings it: one CA, and no file beside it
            two.start()
            yield upstream, one, two
            assert not one.complaints + two.complaints


def served(proxy: Proxy) -> int:
    path = proxy.access_log_path
    return len(path.read_text().splitlines()) if path.exists() else 0


@contextmanager
def before(name: str, one: Proxy, two: Proxy, folder: Path) -> Iterator[int]:
    """The balancer with the package's configuration, at addresses of this machine; yields its port."""
    listens = free_port()
    text = (DATA / FILES[name]).read_text()
    for old, new in CHANGES[name]:
        assert text.count(old) == 1, old
        text = text.replace(old, new.format(listens=listens, one=one.port, two=two.port))
    with balancer(name, text, folder, listens):
        yield listens


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_installs_go_on_while_proxies_come_and_go(
    name: str, pair: tuple[Upstream, Proxy, Proxy], tmp_path: Path
) -> None:
    """One is stopped as a service is, and starts again; the other is killed, and comes back. Every install succeeds."""
    if not can_balance(name):
        pytest.skip(
            f"{name} (with its stream module) is not installed on this machine, so its configuration is not tried"
        )
    _, one, two = pair
    with before(name, one, two, tmp_path / name) as port:
        env = {"HTTPS_PROXY": f"http://127.0.0.1:{port}", "PIP_RETRIES": "5"}
        agents = Agents(tmp_path, env | {"PIP_CERT": str(one.bundle), "SSL_CERT_FILE": str(one.bundle)})
        with agents.at_work():
            agents.one_more_each()
            eventually(lambda: served(one) and served(two))
            assert one.stop(signal.SIGTERM) == 0
            agents.one_more_each()
            before_it, _ = served(one), one.start()
            eventually(lambda: served(one) > before_it, timeout=60)
            two.kill()
            agents.one_more_each()
            before_it, _ = served(two), two.start()
            eventually(lambda: served(two) > before_it, timeout=60)
    assert len(agents.results) >= 6
    for result in agents.results:
        result.ok()
    lines = [json.loads(line) for proxy in (one, two) for line in proxy.access_log_path.read_text().splitlines()]
    assert {line["client"] for line in lines} == {"127.0.0.1"}, "the agents', and not the balancer's"
