"""Whom the proxy is compared with: the same mitmdump answering by `flow.response`, and nginx as a TLS reverse cache."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import trustme

from tests.support.index import HTML_TYPE, JSON_TYPE, project_html, project_json
from tests.support.names import FILES_HOST, INDEX_HOST
from tests.support.proxy import Proxy
from tests.support.wheels import ReleaseFile

NGINX: Final = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
FLOW_ADDON: Final = Path(__file__).with_name("flow_addon.py")


def flow_proxy(folder: Path, answers: Mapping[str, tuple[Path, str]]) -> Proxy:
    """mitmdump with `flow_addon`, quiet, HTTP/1.1, and with no connection to any origin."""
    texts = {path: (str(file), content_type) for path, (file, content_type) in answers.items()}
    return Proxy(
        folder,
        script=None,
        args=["-s", str(FLOW_ADDON)],
        options={"connection_strategy": "lazy", "http2": False, "flow_detail": 0},
        env={"BENCH_ANSWERS": json.dumps(texts)},
        timeout=60,
    )


class Nginx:
    """nginx with one worker on a port of its own, over TLS, for `localhost` and the default index's hosts."""

    def __init__(self, folder: Path, location: str, *, shared: str = "") -> None:
        """`location` is the body of `location /`, `shared` stands in `http`."""
        assert NGINX is not None, "no nginx"
        folder.mkdir(parents=True)
        self.folder = folder
        self.ca = folder / "ca.pem"
        authority = trustme.CA(organization_name="pypi-cache benchmark")
        authority.cert_pem.write_to_path(self.ca)
        authority.issue_cert("localhost", INDEX_HOST, FILES_HOST).private_key_and_cert_chain_pem.write_to_path(
            folder / "server.pem"
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        config = folder / "nginx.conf"
        config.write_text(
            _CONFIG % {"folder": folder, "port": self.port, "location": location, "shared": shared, "user": _user()}
        )
        self.process = subprocess.Popen([NGINX, "-e", str(folder / "error.log"), "-c", str(config), "-p", str(folder)])
        wait_for_port(self.port, self.process)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"https://localhost:{self.port}"

    @property
    def worker(self) -> int:
        """The process that serves: the first child of the master."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def close(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a peer listens. Raises OSError if it ends or takes too long."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.02)
        else:
            return


def nginx_cache(folder: Path, origin: str) -> Nginx:
    """nginx as a reverse cache of `origin`."""
    return Nginx(
        folder,
        f"proxy_pass {origin}; proxy_http_version 1.1; proxy_ssl_verify off; proxy_set_header Connection ''; "
        "proxy_cache kept; proxy_cache_valid 200 1d; proxy_cache_lock on; proxy_cache_lock_timeout 10m; "
        "proxy_cache_lock_age 10m; "
        "add_header X-Cache $upstream_cache_status always;",
        shared=f"proxy_cache_path {folder}/kept levels=1:2 keys_zone=kept:10m max_size=10g inactive=1d use_temp_path=off;",
    )


def nginx_files(folder: Path, root: Path) -> Nginx:
    """nginx serving a folder that `lay_out` has filled: an upstream that costs little processor time."""
    location = (
        f"root {root}; location ~ ^/pypi/simple/[^/]+/$ {{ types {{ {JSON_TYPE} json; {HTML_TYPE} html; }} "
        "try_files ${uri}page.$representation =404; add_header Vary Accept; add_header Cache-Control max-age=600; }"
    )
    return Nginx(folder, location, shared="map $http_accept $representation { default html; ~simple.v1.json json; }")


def lay_out(root: Path, *releases: ReleaseFile) -> None:
    """Put release files, their core metadata and their projects' pages where a mirror has them."""
    projects: dict[str, list[ReleaseFile]] = {}
    for release in releases:
        projects.setdefault(release.project, []).append(release)
        target = root / "pypi" / release.path
        target.parent.mkdir(parents=True)
        if isinstance(release.data, Path):
            target.hardlink_to(release.data)
        else:
            target.write_bytes(release.data)
        Path(f"{target}.metadata").write_bytes(release.metadata)
    for project, files in projects.items():
        page = root / "pypi" / "simple" / project
        page.mkdir(parents=True)
        (page / "page.json").write_bytes(project_json(project, files, ""))
        (page / "page.html").write_bytes(project_html(project, files, ""))


def _user() -> str:
    """Workers run as who started it, so that they may read temporary folders; only root may say so."""
    return f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""


_CONFIG: Final = """
daemon off;
%(user)s
worker_processes 1;
pid %(folder)s/nginx.pid;
error_log %(folder)s/error.log;
events { worker_connections 1024; }
http {
    access_log %(folder)s/access.log;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 10000000;
    client_body_temp_path %(folder)s/body;
    proxy_temp_path %(folder)s/proxy;
    fastcgi_temp_path %(folder)s/fastcgi;
    uwsgi_temp_path %(folder)s/uwsgi;
    scgi_temp_path %(folder)s/scgi;
    %(shared)s
    server {
        listen 127.0.0.1:%(port)d ssl;
        ssl_certificate %(folder)s/server.pem;
        ssl_certificate_key %(folder)s/server.pem;
        location / { %(location)s }
    }
}
"""
