"""The proxy's own pages: what an agent needs to begin, what an operator looks at, and the line in the log for each request."""

import json
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.clients import CURL, clean_env, pip_download
from tests.support.factories import MakeProxy, MakeUpstream, small_wheels
from tests.support.names import INDEX_HOST, file_url, page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, Wire, fetch

PAGES: Final = {
    "/": "text/plain",
    "/start.txt": "text/plain",
    "/dashboard.json": "application/json",
    "/entries.json": "application/json",
    "/dashboard.css": "text/css",
    "/dashboard.js": "text/javascript",
    "/healthz": "application/json",
    "/readyz": "application/json",
    "/metrics": "text/plain",
    "/stats": "application/json",
    "/ca.pem": "application/x-pem-file",
    "/bundle.pem": "application/x-pem-file",
    "/env.sh": "text/x-shellscript",
    "/env.fish": "text/x-shellscript",
    "/env.ps1": "text/plain",
    "/env.json": "application/json",
    "/doctor.py": "text/x-python",
    "/env.github": "text/plain",
    "/env.docker": "text/plain",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A proxy and its upstream, shared by the tests of this module."""

    proxy: Proxy
    upstream: Upstream

    def json(self, path: str) -> Any:
        """A page of JSON, read."""
        return json.loads(self.proxy.get(path).body)

    def own(self, path: str, method: str = "GET", **headers: str) -> Fetched:
        """A request to the proxy's own address; an underscore in a keyword is a hyphen in its header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return fetch(self.proxy.port, f"{self.proxy.url}{path}", via="own", method=method, headers=named)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Scene]:
    with (
        Upstream(ca) as upstream,
        Proxy(
            tmp_path_factory.mktemp("pages"),
            options={"pypi_cache_index": [f"pypi={upstream.index_url}"]},
            upstream_ca=ca.bundle,
        ) as proxy,
    ):
        upstream.add(*small_wheels())
        yield Scene(proxy, upstream)
        assert not proxy.complaints, proxy.output


# Every page


@pytest.mark.parametrize(("path", "content_type"), PAGES.items())
def test_a_page(scene: Scene, path: str, content_type: str) -> None:
    """200, its type, and never kept by anybody: what it says is of now."""
    answer = scene.own(path)
    assert (answer.status, answer.complete) == (200, True)
    assert (answer.headers["Content-Type"] or "").startswith(content_type)
    assert answer.headers["Cache-Control"] == "no-store"
    assert (answer.headers["Cache-Status"] or "").startswith("pypi-cache")
    assert answer.headers["Content-Length"] == str(answer.size)
    assert answer.size > 0


@pytest.mark.parametrize("path", PAGES)
def test_head_has_the_gets_headers(scene: Scene, path: str) -> None:
    head, get = scene.own(path, "HEAD"), scene.own(path)
    assert (head.status, head.size) == (200, 0)
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert head.headers["Content-Length"] is not None


@pytest.mark.parametrize("path", [*PAGES, "/nothing", "/pypi/simple/alpha/"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_a_405(scene: Scene, path: str, method: str) -> None:
    """RFC 9110 §15.5.6: with Allow, and told in a text."""
    answer = scene.own(path, method)
    assert answer.status == 405
    assert {word.strip() for word in (answer.headers["Allow"] or "").split(",")} == {"GET", "HEAD"}
    assert (answer.headers["Content-Type"] or "").startswith("text/plain")


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/favicon.ico", "/simple/alpha/", "/nosuchindex/simple/alpha/", "/pypi", "/pypi/nothing", "/healthz/x",
     "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/pypi/simple/no/such/page/", "/pypi/files/https/evil.example/x.whl",
     "/pypi/files/file/localhost/etc/passwd.whl", "/pypi/files/https/127.0.0.1:22/x.whl"],
)  # fmt: skip
def test_an_unknown_path_is_a_404_in_words(scene: Scene, path: str) -> None:
    """A person reads what there is instead; nothing is asked of anybody."""
    before = scene.upstream.count()
    answer = scene.own(path)
    assert answer.status == 404
    assert (answer.headers["Content-Type"] or "").startswith("text/plain")
    assert b"root:" not in answer.body
    assert len(answer.body) > 10
    assert b"<html" not in answer.body
    assert scene.upstream.count() == before


def test_an_unknown_index_names_the_known(scene: Scene) -> None:
    answer = scene.own("/typo/simple/alpha/")
    assert b"typo" in answer.body
    assert b"pypi" in answer.body


def test_a_query_changes_no_page(scene: Scene) -> None:
    """A monitor that adds `?t=1` still gets its page."""
    assert scene.own("/healthz?t=1").status == 200


# What a monitor reads


def test_healthz(scene: Scene) -> None:
    health = scene.json("/healthz")
    assert health["status"] == "ok"
    assert health["trouble"] == {}
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", health["version"])
    assert health["uptime_seconds"] >= 0
    assert health["store"]["max_bytes"] == 10 << 30


def test_healthz_tells_of_trouble(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """A store that cannot be used fails no install, and so somebody has to be told."""
    proxy = make_proxy(upstream, start=False)
    proxy.store.write_text("a file in the folder's place")
    proxy.start()
    health = json.loads(proxy.get("/healthz").body)
    assert health["status"] == "trouble"
    assert str(proxy.store) in str(health["trouble"])
    alpha = small_wheels()[0]
    assert fetch(proxy.port, page_url("alpha"), ca=proxy.ca).status == 200
    assert fetch(proxy.port, file_url(alpha), ca=proxy.ca).sha256 == alpha.sha256


def test_healthz_is_well_while_another_mirror_answers(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """A dead mirror is also an index under its own URL; that one was told of as an index without any upstream."""
    first, second = make_upstream(prefix="/one"), make_upstream(prefix="/two")
    proxy = make_proxy(first, second)
    second.add(*small_wheels())
    first.down()
    for project in ("alpha", "beta", "gamma", "delta", "alpha"):
        found = fetch(proxy.port, page_url(project), ca=proxy.ca)
    assert found.status == 200
    assert json.loads(proxy.get("/healthz").body)["trouble"] == {}


def test_metrics_count(scene: Scene) -> None:
    """Prometheus' text format; a miss, a hit and the bytes are counted."""

    def value(pattern: str) -> float:
        found = re.findall(rf"^{pattern} (\S+)$", scene.proxy.get("/metrics").body.decode(), re.MULTILINE)
        return sum(map(float, found))

    hits, misses = (
        r'pypi_cache_answers_total\{cache="hit",kind="file"\}',
        r'pypi_cache_answers_total\{cache="miss",kind="file"\}',
    )
    sent, stored = "pypi_cache_sent_bytes_total", "pypi_cache_stored_bytes_total"
    release = make_wheel("counted", payload_size=100_000)
    scene.upstream.add(release)
    before = {name: value(name) for name in (hits, misses, sent, stored)}
    for _ in range(2):
        assert fetch(scene.proxy.port, file_url(release), ca=scene.proxy.ca).sha256 == release.sha256
        scene.proxy.at_rest()
    eventually(lambda: value(sent) >= before[sent] + 2 * release.size)
    assert value(misses) == before[misses] + 1
    assert value(hits) == before[hits] + 1
    assert value(stored) == before[stored] + release.size
    assert value(r'pypi_cache_response_bytes_total\{source="store"\}') >= release.size
    assert value(r'pypi_cache_downloads_total\{result="stored"\}') >= 1
    for line in scene.proxy.get("/metrics").body.decode().splitlines():
        assert re.fullmatch(r'#.*|[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? [-+0-9.eE]+', line), line


def test_stats(scene: Scene) -> None:
    """The same as numbers, for who has no Prometheus."""
    stats = scene.json("/stats")
    assert stats["store"]["entries"] >= 0
    assert stats["fills"] >= 0
    assert all(isinstance(value, int | float | dict) for value in stats.values())
    assert stats["requests"]["by_status"]["200"] > 0
    assert set(stats["requests"]["by_source"]) == {"store", "shared", "upstream", "proxy"}
    assert scene.json("/readyz") == {"status": "ready", "reasons": []}


def test_the_start_page_says_what_to_paste(scene: Scene) -> None:
    text = scene.own("/").body.decode()
    assert f"HTTPS_PROXY={scene.proxy.url}" in text
    assert f"{scene.proxy.url}/bundle.pem" in text
    assert f"{scene.proxy.url}/pypi/simple" in text


# Certificates


def test_ca_pem_is_the_ca(scene: Scene) -> None:
    text = scene.own("/ca.pem").body.decode()
    assert text == scene.proxy.ca.read_text()
    assert text.count("BEGIN CERTIFICATE") == 1
    assert "PRIVATE" not in text


def test_bundle_pem_verifies_both_worlds(scene: Scene, ca: Authority) -> None:
    """Loaded by Python's ssl: a package host's certificate, made by our CA, and any root that the proxy's machine trusts."""
    text = scene.own("/bundle.pem").body.decode()
    assert "PRIVATE" not in text
    context = ssl.create_default_context(cadata=text)
    assert context.cert_store_stats()["x509_ca"] == text.count("BEGIN CERTIFICATE") >= 2
    with Wire(scene.proxy.port, f"http://{INDEX_HOST}:443/") as wire:
        assert wire.refusal is None
        with context.wrap_socket(wire.sock, server_hostname=INDEX_HOST) as secured:
            names = secured.getpeercert()
            assert names
            assert ("DNS", INDEX_HOST) in names["subjectAltName"]
    with Wire(0, scene.upstream.origin + "/", ca=scene.proxy.bundle, via="direct") as wire:
        assert isinstance(wire.sock, ssl.SSLSocket)


# env.sh


@pytest.mark.skipif(CURL is None, reason="env.sh fetches the bundle by curl")
def test_env_sh_is_evaluated_and_used(scene: Scene, home: Path, tmp_path: Path) -> None:
    """`eval "$(curl -fsS …/env.sh)"` in a plain `sh`, and pip installs from there on."""
    line = f'set -eu; eval "$(curl -fsS {scene.proxy.url}/env.sh)"; env'
    done = subprocess.run(
        ["sh", "-c", line], env=clean_env(home), capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert seen["HTTPS_PROXY"] == seen["https_proxy"] == scene.proxy.url
    names = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    for name in names:
        assert Path(seen[name]).read_bytes() == scene.own("/bundle.pem").body
    extra = {name: seen[name] for name in ("HTTPS_PROXY", *names)}
    pip_download(home, ["beta"], tmp_path / "dest", env=extra).ok()
    assert {path.name.partition("-")[0] for path in (tmp_path / "dest").iterdir()} == {"alpha", "beta"}


EVIL: Final = [
    "evil.example;rm -rf /",
    "$(touch /tmp/evil)",
    "`touch /tmp/evil`",
    "a'b",
    'a"b',
    "a b",
    "a\\b",
    "evil.example/path",
    "user@evil.example",
    "evil.example:port",
    "evil.example:80 ; id",
    "-oProxyCommand=id",
    "[::1];id",
    "a|b",
    "a&b",
    "<script>",
    "\xff\xfe",
    "x" * 3000,
]


@pytest.mark.parametrize("host", EVIL, ids=range(len(EVIL)))
def test_a_host_header_is_not_written_into_a_shell(scene: Scene, host: str) -> None:
    """Host is the client's word: what is no host name never stands in a text that somebody evaluates."""
    for path in ("/", "/env.sh", "/env.fish", "/env.ps1", "/env.json", "/env.github", "/env.docker", "/doctor.py"):
        holds_no_foreign_host(scene, path, host)


def holds_no_foreign_host(scene: Scene, path: str, host: str) -> None:
    answer = scene.own(path, Host=host)
    assert answer.status in {200, 400, 421}
    if answer.status == 200:
        assert host.encode("latin-1") not in answer.body
        assert b"evil" not in answer.body
        assert b"touch" not in answer.body
        assert f"127.0.0.1:{scene.proxy.port}".encode() in answer.body


def test_a_host_header_that_is_a_name_is_used(scene: Scene) -> None:
    """The name by which the agent reached the proxy is the one that it can reach it by."""
    text = scene.own("/env.sh", Host="build-proxy.example:8080").body.decode()
    assert "HTTPS_PROXY=http://build-proxy.example:8080" in text
    assert f"127.0.0.1:{scene.proxy.port}" not in text


def test_the_public_url_wins(make_proxy: MakeProxy, upstream: Upstream) -> None:
    proxy = make_proxy(upstream, options={"pypi_cache_public_url": "http://cache.example:3128"})
    for path in ("/env.sh", "/"):
        text = fetch(proxy.port, f"{proxy.url}{path}", via="own", headers={"Host": "evil.example"}).body.decode()
        assert "http://cache.example:3128" in text
        assert "evil" not in text


def test_without_a_host_header(scene: Scene) -> None:
    """HTTP/1.0: then it is the socket's own address."""
    with Wire(scene.proxy.port, f"{scene.proxy.url}/", via="own") as wire:
        wire.sock.sendall(b"GET /env.sh HTTP/1.0\r\n\r\n")
        received = b""
        while piece := wire.sock.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 200")
    assert f"http://127.0.0.1:{scene.proxy.port}".encode() in received


def test_the_own_address_in_absolute_form(scene: Scene) -> None:
    """An agent that has set `http_proxy` asks for the proxy's own pages through the proxy."""
    for host in ("127.0.0.1", "localhost"):
        answer = fetch(scene.proxy.port, f"http://{host}:{scene.proxy.port}/healthz", via="absolute")
        assert (answer.status, json.loads(answer.body)["status"]) == (200, "ok")


# Every answer


def test_cache_status_is_on_every_answer(scene: Scene) -> None:
    """RFC 9211: a page and a file, cold and warm, whole, in part, unchanged, not there, refused."""
    proxy, gamma = scene.proxy, small_wheels()[4]
    asked: list[tuple[str, dict[str, str], str]] = [
        (page_url("gamma-ray"), {}, "pypi-cache; fwd=miss"),
        (page_url("gamma-ray"), {}, "pypi-cache; hit; ttl="),
        (file_url(gamma), {}, "pypi-cache; fwd=miss"),
        (file_url(gamma), {"Range": "bytes=0-99"}, "pypi-cache; "),
        (file_url(gamma), {"Range": "bytes=999999999-"}, "pypi-cache; "),
        (page_url("no-such-project"), {}, "pypi-cache; fwd=miss"),
        (page_url("no-such-project"), {}, "pypi-cache; hit"),
        (f"{proxy.url}/nothing", {}, "pypi-cache"),
    ]
    for url, headers, begins in asked:
        via = "own" if url.startswith(proxy.url) else "connect"
        answer = fetch(proxy.port, url, headers=headers, ca=proxy.ca, via=via)
        assert (answer.headers["Cache-Status"] or "").startswith(begins), (url, str(answer.headers))
        assert len(answer.headers.get_all("Cache-Status")) == 1
        assert answer.headers["Via"]


# The access log

FIELDS: Final = {"time", "client", "method", "url", "status", "bytes", "seconds", "cache", "upstream", "agent"}


def logged(proxy: Proxy, wanted: str, count: int = 1) -> list[dict[str, Any]]:
    """The lines about a URL, once there are so many."""
    return eventually(
        lambda: [line for line in proxy.access_log() if wanted in line["url"]], lambda lines: len(lines) >= count
    )


def test_a_line_a_request(scene: Scene) -> None:
    """One JSON object each, when it is over: nothing twice, nothing left out."""
    release = make_wheel("logged", payload_size=100_000)
    scene.upstream.add(release)
    for _ in range(2):
        fetch(scene.proxy.port, file_url(release), ca=scene.proxy.ca, headers={"User-Agent": "pip/99.0 {json: 1}"})
    fetch(scene.proxy.port, file_url(release), ca=scene.proxy.ca, method="HEAD")
    fetch(scene.proxy.port, file_url(release), ca=scene.proxy.ca, headers={"Range": "bytes=0-9"})
    lines = logged(scene.proxy, release.filename, 4)
    assert [(line["method"], line["status"], line["bytes"]) for line in lines] == [
        ("GET", 200, release.size),
        ("GET", 200, release.size),
        ("HEAD", 200, 0),
        ("GET", 206, 10),
    ]
    for line in lines:
        assert set(line) == FIELDS
        assert line["client"] == "127.0.0.1"
        assert line["url"] == file_url(release)
        assert abs((datetime.now(UTC) - datetime.fromisoformat(line["time"])).total_seconds()) < 30
        assert 0 <= line["seconds"] < 10
        assert line["cache"].startswith("pypi-cache")
    first, second, *_ = lines
    assert (first["upstream"], first["agent"]) == (scene.upstream.origin, "pip/99.0")
    assert "fwd=miss" in first["cache"]
    assert "fwd=miss; stored" not in second["cache"]


@pytest.mark.parametrize("path", ["/stats", "/nothing", "/pypi/simple/alpha/"])
def test_the_own_pages_are_logged_too(scene: Scene, path: str) -> None:
    """By their path: the Host that somebody sent is not in the log."""
    before = len(logged(scene.proxy, path, 0))
    scene.own(path, Host="strange.example")
    line = logged(scene.proxy, path, before + 1)[-1]
    assert line["url"] == path
    assert "strange" not in json.dumps(line)


def test_a_client_that_left_is_logged(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """In mid body with what it got and that it was cut; before the answer as 499, as nginx does. One line each."""
    release, gate = make_wheel("leaver", payload_size=3_000_000), threading.Event()
    upstream = make_upstream(release, *small_wheels())
    upstream.script(Behaviour(r"leaver.*whl", pace=1_000_000), Behaviour("simple/beta", gate=gate))
    proxy = make_proxy(upstream)
    with Wire(proxy.port, file_url(release), ca=proxy.ca) as wire:
        wire.send(file_url(release))
        assert wire.sock.recv(12) == b"HTTP/1.1 200"
    (line,) = logged(proxy, release.filename)
    assert line["status"] == 200
    assert line["bytes"] < release.size
    assert "left" in line["cut"]
    with Wire(proxy.port, page_url("beta"), ca=proxy.ca) as wire:
        wire.send(page_url("beta"))
        upstream.wait_for(1, path_contains="simple/beta")
    (line,) = logged(proxy, "simple/beta")
    assert (line["status"], line["bytes"]) == (499, 0)
    gate.set()
    upstream.wait_until(lambda: all(each.finished for each in upstream.requests))
    time.sleep(0.5)
    assert len(logged(proxy, "simple/beta")) == len(logged(proxy, release.filename)) == 1


def test_a_download_that_was_cut_is_logged(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """An answer that began with 200 and could not be completed says why."""
    release = make_wheel("cutoff", payload_size=300_000)
    upstream = make_upstream(release)
    upstream.script(Behaviour("cutoff", wrong_byte_at=0))
    proxy = make_proxy(upstream)
    assert not fetch(proxy.port, file_url(release), ca=proxy.ca).complete
    (line,) = logged(proxy, release.filename)
    assert line["status"] == 200
    assert line["bytes"] < release.size
    assert line["cut"]
    assert sum("should be" in line for line in proxy.output.splitlines()) == 1, "what is wrong is told once"


def test_the_log_on_standard_output(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """`-`, the default: among mitmproxy's own lines, each of ours is one JSON object."""
    proxy = make_proxy(upstream, options={"pypi_cache_access_log": "-"})
    fetch(proxy.port, page_url("alpha"), ca=proxy.ca)
    eventually(lambda: "simple/alpha" in proxy.output)
    (line,) = [line for line in proxy.output.splitlines() if line.startswith("{") and "simple/alpha" in line]
    assert set(json.loads(line)) == FIELDS
    assert not proxy.access_log_path.exists()


def test_lines_come_at_once(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """Into a file or a pipe, which Python writes to in pieces of 8 kB: journald showed nothing for minutes. Health polls add nothing."""
    proxy = make_proxy(upstream, env={"PYTHONUNBUFFERED": ""})
    eventually(lambda: "pip install …" in proxy.output)
    begun = proxy.output
    for _ in range(5):
        proxy.get("/healthz")
    assert fetch(proxy.port, page_url("alpha"), ca=proxy.ca, method="POST").status == 503
    eventually(lambda: "POST" in proxy.output)
    lines = proxy.output.removeprefix(begun).splitlines()
    assert all(re.match(r"\[\d{4}-\d\d-\d\dT[\d:.]+\+00:00\]\[", line) for line in lines), lines
    assert not any("client" in line for line in lines), lines
    assert sum("POST" in line for line in lines) == 1
    assert [line["method"] for line in proxy.access_log()] == []


def test_no_log_at_all(make_proxy: MakeProxy, upstream: Upstream) -> None:
    proxy = make_proxy(upstream, options={"pypi_cache_access_log": ""})
    fetch(proxy.port, page_url("alpha"), ca=proxy.ca)
    assert "simple/alpha" not in proxy.output
    assert not proxy.access_log_path.exists()


def test_a_password_in_a_url_is_not_logged(scene: Scene) -> None:
    """Credentials in a URL's authority never reach the log; a client may write them there in absolute form."""
    url = f"http://me:sesame@127.0.0.1:{scene.proxy.port}/healthz"
    with Wire(scene.proxy.port, f"{scene.proxy.url}/", via="own") as wire:
        wire.sock.sendall(f"GET {url} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        wire.sock.recv(100)
    scene.own("/healthz")
    assert "sesame" not in scene.proxy.access_log_path.read_text()
