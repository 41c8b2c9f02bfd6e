"""Real nginx and HAProxy, started on loopback before a proxy's own address, with connections to it that they keep and share."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

NGINX: Final = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {http}
}}
"""

_BEFORE: Final = """
  upstream proxy {{ server 127.0.0.1:{port}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{listens};
    location / {{
      proxy_pass http://proxy;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_next_upstream off;
    }}
  }}
"""

_HAPROXY: Final = """
global
  maxconn 256
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
  retries 0
frontend clients
  bind 127.0.0.1:{listens}
  default_backend proxy
backend proxy
  http-reuse always
  server one 127.0.0.1:{port} pool-max-conn 1
"""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def nginx_before(port: int, folder: Path) -> Iterator[int]:
    """An nginx that passes everything on to `port`; yields its own."""
    listens = free_port()
    with nginx(_BEFORE.format(port=port, listens=listens), folder, listens):
        yield listens


BELOW: Final = """
  server {{
    listen 127.0.0.1:{listens};
    location {path}/ {{ proxy_pass http://127.0.0.1:{port}/; }}
    location / {{ return 200 "another tool of the company"; }}
  }}
"""
"""nginx's lines for a proxy at a path of its own, which it takes away; `Host` is then the proxy's address, as nginx has it by default."""


@contextmanager
def nginx(http: str, folder: Path, listens: int) -> Iterator[None]:
    """An nginx with these lines in its `http` block, which listens on a port."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, http=http))
    with _running([_program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")], folder, listens):
        yield


@contextmanager
def haproxy_before(port: int, folder: Path) -> Iterator[int]:
    """A HAProxy that passes everything on to `port`; yields its own."""
    listens = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "haproxy.cfg").write_text(_HAPROXY.format(port=port, listens=listens))
    with _running([_program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], folder, listens):
        yield listens


_STREAM_MODULE: Final = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
_STREAM: Final = """
load_module {module};
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
"""


@contextmanager
def balancer(name: str, text: str, folder: Path, listens: int) -> Iterator[None]:
    """HAProxy, or nginx with its stream module, with this configuration, which listens on a port."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.conf"
    if name == "haproxy":
        path.write_text(text)
        command = [_program("haproxy"), "-db", "-f", str(path)]
    else:
        path.write_text(_STREAM.format(module=_STREAM_MODULE, folder=folder) + text)
        command = [_program("nginx"), "-p", str(folder), "-c", str(path)]
    with _running(command, folder, listens):
        yield


FRONT_ENDS: Final[dict[str, Callable[[int, Path], AbstractContextManager[int]]]] = {
    "nginx": nginx_before,
    "haproxy": haproxy_before,
}


def is_installed(name: str) -> bool:
    """Whether the program is on this machine; packages put it where only root's PATH leads."""
    return shutil.which(name, path=_PATH) is not None


def can_balance(name: str) -> bool:
    """Whether `balancer` can be had: nginx's stream module is a package of its own."""
    return is_installed(name) and (name != "nginx" or _STREAM_MODULE.is_file())


_PATH: Final = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    assert found is not None, f"{name} is not installed"
    return found


@contextmanager
def _running(command: list[str], folder: Path, listens: int) -> Iterator[None]:
    with (folder / "output.log").open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 10
        while True:
            assert process.poll() is None, (folder / "output.log").read_text()
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", listens), 1).close()
                break
            assert time.monotonic() < deadline, "not up in 10 s"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
