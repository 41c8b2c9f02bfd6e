"""The four ways to a proxy, tried on plain mitmproxy with a script that leads the default index to the upstream."""

from pathlib import Path

import pytest

from tests.support import names
from tests.support.authority import Authority
from tests.support.clients import WAYS, Way, installed
from tests.support.factories import MakeProxy
from tests.support.index import LinkForm, PageStyle
from tests.support.upstream import Upstream

SCRIPT = """
from mitmproxy import http

def load(loader):
    loader.add_option("pypi_cache_dir", str, "", "")
    loader.add_option("pypi_cache_access_log", str, "", "")

def request(flow):
    if flow.request.path == "/healthz":
        flow.response = http.Response.make(200)
    elif flow.request.path == "/bundle.pem":
        flow.response = http.Response.make(200, open("conf/mitmproxy-ca-cert.pem", "rb").read())
    else:
        if flow.request.host in (INDEX_HOST, FILES_HOST):
            flow.request.path = "/pypi" + flow.request.path
        flow.request.scheme, flow.request.host, flow.request.port = "https", "localhost", UPSTREAM_PORT
"""


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_way(way: Way, upstream: Upstream, make_proxy: MakeProxy, ca: Authority, home: Path, tmp_path: Path) -> None:
    script = tmp_path / "stub.py"
    known = f"INDEX_HOST, FILES_HOST, UPSTREAM_PORT = {(names.INDEX_HOST, names.FILES_HOST, upstream.port)!r}\n"
    script.write_text(known + SCRIPT)
    if way.keeps_urls:
        upstream.style = PageStyle(form=LinkForm.CANONICAL, files_origin=names.FILES_ORIGIN)
    options = {"connection_strategy": "lazy", "ssl_verify_upstream_trusted_ca": str(ca.bundle)}
    proxy = make_proxy(script=script, options=options)
    way.install(proxy, home, ["beta", "Gamma.Ray"], tmp_path / "target").ok()
    assert installed(tmp_path / "target") == {"alpha": "2.0", "beta": "1.0", "gamma-ray": "1.0"}
    assert upstream.count(method="GET", path_contains="/beta-1.0-py3-none-any.whl") == 2
