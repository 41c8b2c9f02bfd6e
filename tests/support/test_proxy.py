"""The process that runs mitmdump, tried without the addon: a script of ten lines stands for it."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.forked import OWN_CODE, REPOSITORY
from tests.support.proxy import ProxyDied
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel
from tests.support.wire import Wire, fetch, fetch_many

SCRIPT = """
import json
from mitmproxy import ctx, http

def load(loader):
    loader.add_option("pypi_cache_dir", str, "", "")
    loader.add_option("pypi_cache_access_log", str, "", "")
    loader.add_option("pypi_cache_offline", bool, False, "")

def request(flow):
    if flow.request.path in ("/healthz", "/bundle.pem"):
        with open(ctx.options.pypi_cache_access_log, "a") as log:
            print(json.dumps({"path": flow.request.path, "offline": ctx.options.pypi_cache_offline}), file=log)
        flow.response = http.Response.make(200, b"PEM")
    elif flow.request.path == "/crash":
        raise ValueError("on purpose")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "stub.py"
    path.write_text(SCRIPT)
    return path


def trusting(ca: Authority) -> dict[str, str]:
    """What makes mitmproxy alone trust the upstream."""
    return {"ssl_verify_upstream_trusted_ca": str(ca.bundle)}


def test_whose_code_it_runs() -> None:
    """That of the tests, also in a second working copy, whose environment has the first one's package installed."""
    program = f"{OWN_CODE}; import pkgcache, tests; print(pkgcache.__file__, tests.__path__[0], sep='\\n')"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    package, tests = map(Path, said.stdout.split())
    assert package == REPOSITORY / "addon" / "pkgcache" / "__init__.py"
    assert tests == REPOSITORY / "tests"


def test_life(make_proxy: MakeProxy, script: Path) -> None:
    proxy = make_proxy(script=script)
    assert proxy.get("/healthz").status == 200
    assert proxy.bundle.read_bytes() == b"PEM"
    assert proxy.access_log(at_least=2)[-1] == {"path": "/bundle.pem", "offline": False}
    assert 20_000_000 < proxy.rss() <= proxy.peak_rss() < 500_000_000
    assert proxy.cpu_seconds() > 0
    assert "BEGIN CERTIFICATE" in proxy.ca.read_text()
    port, first = proxy.port, proxy.pid
    proxy.options["pypi_cache_offline"] = True
    proxy.restart()
    assert proxy.port == port
    assert proxy.pid != first
    assert proxy.access_log(at_least=3)[-1]["offline"] is True
    proxy.restart(kill=True)
    assert proxy.stop(signal.SIGTERM) == 0
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    with pytest.raises(ProxyDied):
        proxy.stop()


def test_that_does_not_start(make_proxy: MakeProxy, script: Path) -> None:
    with pytest.raises(ProxyDied, match="no-such-switch"):
        make_proxy(script=script, args=["--no-such-switch"])


def test_complaints_are_seen(make_proxy: MakeProxy, script: Path) -> None:
    proxy = make_proxy(script=script, complaints_allowed=True)
    assert not proxy.complaints
    proxy.get("/crash")
    assert "on purpose" in proxy.output
    assert proxy.complaints


def test_wire_through_mitmproxy(make_proxy: MakeProxy, upstream: Upstream, script: Path, ca: Authority) -> None:
    proxy = make_proxy(script=script, options=trusting(ca))
    url = upstream.page_url("alpha")
    with Wire(proxy.port, url, ca=proxy.ca) as wire:
        assert [wire.request(url).status for _ in range(2)] == [200, 200]
    assert fetch(proxy.port, url, ca=proxy.ca, method="HEAD").complete
    herd = fetch_many(8, proxy.port, url, ca=proxy.ca)
    assert [each.status for each in herd] == [200] * 8
    assert upstream.count(method="GET") == 10


def test_wire_absolute_and_a_refused_connect(
    make_proxy: MakeProxy, make_upstream: MakeUpstream, script: Path, ca: Authority
) -> None:
    wheel = make_wheel("alpha")
    plain = make_upstream(wheel, tls=False)
    proxy = make_proxy(script=script, options=trusting(ca))
    assert fetch(proxy.port, plain.file_url(wheel), via="absolute").sha256 == wheel.sha256
    assert fetch(proxy.port, plain.file_url(wheel), via="connect").sha256 == wheel.sha256
    plain.down()
    refused = fetch(proxy.port, plain.file_url(wheel).replace("http:", "https:"), ca=proxy.ca)
    assert (refused.status, refused.refused_connect) == (502, True)
