"""Whom the proxy is compared with, each as a process of its own that is started for a row and ended after it."""

import base64
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

import certifi

from tests.bench.compare.figures import OURS
from tests.bench.peers import NGINX, flow_proxy, lay_out, nginx_cache, nginx_files, wait_for_port
from tests.bench.squid import AVAILABLE as SQUID_AVAILABLE
from tests.bench.squid import Squid
from tests.bench.tools import Stage, note
from tests.support.clients import bare_env
from tests.support.forked import REPOSITORY
from tests.support.names import INDEX_URL, file_url
from tests.support.proxy import Options
from tests.support.wheels import ReleaseFile

NGINX_NAME, SQUID_NAME, FLOWS, PROXPI, DEVPI, DIRECT = (
    "nginx, TLS reverse cache",
    "Squid, ssl-bump",
    "mitmdump, `flow.response`",
    "proxpi, gunicorn",
    "devpi",
    "direct",
)
AS_INDEX: Final = f"{OURS}, as index by plain HTTP"
APT: Final = "apt-get install -y nginx squid-openssl wrk nghttp2-client curl socat"
FROM_INDEX: Final = ("proxpi", "gunicorn", "devpi-server")
BEGIN: Final = "-----BEGIN CERTIFICATE-----"
PEERS_VENV: Final = REPOSITORY / ".tools" / "peers"


class Unavailable(Exception):  # noqa: N818 - it is no error: the report says so
    """A peer that cannot be had here, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A running peer, or the upstream itself."""

    name: str
    pid: int
    """Its processor time and memory count, with all its descendants'."""
    ca: Path
    """What its clients have to trust."""
    proxy: int = 0
    """The port where it takes CONNECT; 0: it is asked by its own address."""
    index: str = INDEX_URL
    """The simple index as its clients name it."""

    @property
    def proxy_url(self) -> str | None:
        """What HTTPS_PROXY says."""
        return f"http://127.0.0.1:{self.proxy}" if self.proxy else None

    def file_url(self, release: ReleaseFile) -> str:
        """A release file as its clients name it."""
        if self.proxy:
            return file_url(release)
        if self.index.endswith("/index/"):
            return f"{self.index}{release.project}/{release.filename}"
        return f"{self.index.removesuffix('simple/')}{release.quoted_path}"

    @property
    def env(self) -> dict[str, str]:
        """What points pip and uv at it."""
        ca = str(beside_public_roots(self.ca))
        trust = {"PIP_CERT": ca, "SSL_CERT_FILE": ca}
        if self.proxy_url:
            return trust | {"HTTPS_PROXY": self.proxy_url}
        return trust | {"PIP_INDEX_URL": self.index, "UV_DEFAULT_INDEX": self.index}


@cache
def beside_public_roots(ca: Path) -> Path:
    """Return what an agent trusts: the public roots too, which takes pip and uv some hundredths of a second to read."""
    text = ca.read_text()
    if text.count(BEGIN) > 1:  # this proxy's, which has them
        return ca
    both = ca.with_name(f"public-and-{ca.name}")
    both.write_text(f"{certifi.contents()}\n{text}")
    return both


@contextmanager
def ours(here: Stage, *, options: Options | None = None, origin: Peer | None = None) -> Iterator[Peer]:
    """This project's proxy, started as users start it; `origin`: another upstream than the stage's."""
    index, ca = (origin.index, origin.ca) if origin else (None, None)
    with here.proxy(options=options, index=index, ca=ca, env={"PYTHONUNBUFFERED": "1"}) as proxy:  # and so not a fork
        yield Peer(name=OURS, pid=proxy.pid, ca=proxy.bundle, proxy=proxy.port)


def as_index(proxy: Peer) -> Peer:
    """The same process, named by agents as their index over plain HTTP, as proxpi and devpi are."""
    return replace(proxy, name=AS_INDEX, proxy=0, index=f"http://127.0.0.1:{proxy.proxy}/pypi/simple/")


@contextmanager
def direct(here: Stage) -> Iterator[Peer]:
    """The stage's upstream, which is in this process."""
    yield Peer(name=DIRECT, pid=os.getpid(), ca=here.authority.bundle, index=here.upstream.index_url)


@contextmanager
def mirror(here: Stage, *releases: ReleaseFile) -> Iterator[Peer]:
    """nginx with these files and their pages: a fast upstream, to be asked directly or to be another peer's."""
    if not NGINX:
        raise Unavailable(f"not installed: {APT}")
    root = here.new_folder()
    lay_out(root, here.small, *releases)
    with nginx_files(here.new_folder(), root) as server:
        yield Peer(name=DIRECT, pid=server.process.pid, ca=server.ca, index=f"{server.origin}/pypi/simple/")


@contextmanager
def squid(here: Stage) -> Iterator[Peer]:
    """Squid as a forward proxy that opens TLS."""
    if not SQUID_AVAILABLE:
        raise Unavailable(f"not installed: {APT}")
    with Squid(here.new_folder(), here.upstream.port, here.authority.bundle) as server:
        yield Peer(name=SQUID_NAME, pid=server.process.pid, ca=server.ca, proxy=server.port)


@contextmanager
def nginx(here: Stage, origin: Peer | None = None) -> Iterator[Peer]:
    """nginx as a reverse cache."""
    if not NGINX:
        raise Unavailable(f"not installed: {APT}")
    of = origin.index.removesuffix("/pypi/simple/") if origin else here.upstream.origin
    with nginx_cache(here.new_folder(), of) as server:
        index = f"{server.origin}/pypi/simple/"
        yield Peer(name=NGINX_NAME, pid=server.process.pid, ca=server.ca, index=index)


@contextmanager
def flows(here: Stage, answers: Mapping[str, tuple[Path, str]]) -> Iterator[Peer]:
    """A stock mitmdump whose addon answers by `flow.response`."""
    with flow_proxy(here.new_folder(), answers) as proxy:
        yield Peer(name=FLOWS, pid=proxy.pid, ca=proxy.ca, proxy=proxy.port)


@contextmanager
def proxpi(here: Stage) -> Iterator[Peer]:
    """Proxpi in one worker of gunicorn."""
    folder, port = here.new_folder(), free_port()
    env = {"PROXPI_INDEX_URL": here.upstream.index_url, "PROXPI_CACHE_DIR": str(folder / "cache")}
    env |= {"PROXPI_INDEX_TTL": "86400", "PROXPI_LOGGING_LEVEL": "WARNING"}
    words = [
        _from_index("gunicorn"),
        "--bind",
        f"127.0.0.1:{port}",
        "--workers",
        "1",
        "--threads",
        "32",
        "--graceful-timeout",
        "1",
    ]
    words += ["--access-logfile", str(folder / "access.log"), "proxpi.server:app"]
    with _python_peer(here, folder, words, port, env) as pid:
        yield Peer(name=PROXPI, pid=pid, ca=here.authority.bundle, index=f"http://127.0.0.1:{port}/index/")


@contextmanager
def devpi(here: Stage) -> Iterator[Peer]:
    """devpi-server with one mirror index."""
    folder, port = here.new_folder(), free_port()
    server = f"http://127.0.0.1:{port}"
    words = [_from_index("devpi-server"), "--serverdir", str(folder / "server"), "--host", "127.0.0.1"]
    words += ["--port", str(port), "--enable-core-metadata", "--mirror-cache-expiry", "86400"]
    made = [_from_index("devpi-init"), "--serverdir", str(folder / "server"), "--no-root-pypi", "--root-passwd", "x"]
    folder.mkdir(parents=True)
    subprocess.run(made, env=bare_env(folder), check=True, capture_output=True)
    with _python_peer(here, folder, words, port, {}) as pid:
        login = _json(f"{server}/+login", "POST", {"user": "root", "password": "x"})
        mirror = {"type": "mirror", "mirror_url": here.upstream.index_url, "mirror_no_project_list": True}
        _json(f"{server}/root/mirror", "PUT", mirror, login["result"]["password"])
        yield Peer(name=DEVPI, pid=pid, ca=here.authority.bundle, index=f"{server}/root/mirror/+simple/")


@contextmanager
def _python_peer(here: Stage, folder: Path, words: Sequence[str], port: int, env: Mapping[str, str]) -> Iterator[int]:
    folder.mkdir(parents=True, exist_ok=True)
    trust = dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), str(here.authority.bundle))
    with (folder / "out.log").open("wb") as output:
        environment = bare_env(folder) | trust | env
        process = subprocess.Popen(words, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for_port(port, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def _json(url: str, method: str, body: Mapping[str, object], password: str = "") -> dict[str, dict[str, str]]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if password:
        headers["X-Devpi-Auth"] = base64.b64encode(f"root:{password}".encode()).decode()
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        found: dict[str, dict[str, str]] = json.load(answer)
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _from_index(program: str) -> str:
    """A program of the peers' own virtual environment. Raises Unavailable."""
    if trouble := install_peers():
        raise Unavailable(trouble)
    return str(PEERS_VENV / "bin" / program)


@cache
def install_peers() -> str:
    """Install those from the index, once for this clone; why that failed, if it did."""
    if (PEERS_VENV / "installed").exists():
        return ""
    note(f"installing {', '.join(FROM_INDEX)} into {PEERS_VENV} …")
    pip = [str(PEERS_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", *FROM_INDEX]
    for words in ([sys.executable, "-m", "venv", "--clear", str(PEERS_VENV)], pip):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"not installed: {(done.stderr or done.stdout).strip().splitlines()[-1]}"
    (PEERS_VENV / "installed").touch()
    return ""
