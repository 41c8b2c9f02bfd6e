"""What is the origin's own business on a package host, by real clients: uploads of twine's kind, `uv publish`, git, a devpi login."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from threading import Thread
from typing import Final

import pytest

from tests.support import clients
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.factories import MakeProxy
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel
from tests.support.wire import Wire

RELEASE = make_wheel("published", payload_size=300_000)
LOGIN: Final = {"Authorization": "Basic bWU6c2VjcmV0"}


@dataclass(frozen=True, slots=True)
class Scene:
    proxy: Proxy
    upstream: Upstream


@pytest.fixture(scope="module")
def shared(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(ca, prefix="/corp"))
        options = {"pypi_cache_index": [f"corp={upstream.index_url}"], "pypi_cache_private": "other-*=corp"}
        proxy = stack.enter_context(Proxy(tmp_path_factory.mktemp("passed"), options=options, upstream_ca=ca.bundle))
        yield Scene(proxy, upstream)
        assert not proxy.complaints, proxy.output


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    shared.upstream.clear()
    yield shared
    shared.upstream.unscript()


def form(fields: dict[str, str], content: bytes) -> tuple[str, bytes]:
    """What twine sends: the content type and body of a form with the release file in it."""
    parts = [
        f'--b0undary\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()
    ]
    name = f'--b0undary\r\nContent-Disposition: form-data; name="content"; filename="{RELEASE.filename}"\r\n'
    parts.append(f"{name}Content-Type: application/octet-stream\r\n\r\n".encode() + content + b"\r\n--b0undary--\r\n")
    return "multipart/form-data; boundary=b0undary", b"".join(parts)


@pytest.mark.parametrize("path", ["/corp/legacy/", "/corp/", "/corp/simple/", "/legacy/?:action=file_upload"])
def test_twine(path: str, scene: Scene) -> None:
    """A form with fields and a file, with the user's login, byte for byte; then a second one on the same connection."""
    kind, body = form({":action": "file_upload", "protocol_version": "1", "name": RELEASE.project}, RELEASE.data)
    scene.upstream.script(Behaviour(".", methods=("POST",), status=200, body=b"taken"))
    with Wire(scene.proxy.port, scene.upstream.origin, ca=scene.proxy.ca) as wire:
        for _ in range(2):
            answer = wire.request(path, method="POST", headers=LOGIN | {"Content-Type": kind}, body=body)
            assert (answer.status, answer.body) == (200, b"taken")
    assert [(each.path, each.body) for each in scene.upstream.requests] == [(path, body)] * 2
    assert {each.headers["authorization"] for each in scene.upstream.requests} == set(LOGIN.values())


def test_uv_publish(scene: Scene, tmp_path: Path) -> None:
    home, dist = tmp_path / "home", tmp_path / "dist"
    home.mkdir()
    dist.mkdir()
    (dist / RELEASE.filename).write_bytes(RELEASE.data)
    scene.upstream.script(Behaviour(".", methods=("POST",), status=200, body=b""))
    env = {"HTTPS_PROXY": scene.proxy.url, "SSL_CERT_FILE": str(scene.proxy.bundle)}
    words = [
        "publish",
        "--publish-url",
        f"{scene.upstream.origin}/corp/legacy/",
        "--username",
        "me",
        "--password",
        "secret",
    ]
    clients.uv(home, *words, dist / RELEASE.filename, env=env).ok()
    (seen,) = [each for each in scene.upstream.requests if each.method == "POST" and each.body]
    assert RELEASE.data in seen.body


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/+login", b'{"user": "me", "password": "secret"}'),
        ("GET", "/+api", b""),
        ("GET", "/me/dev/+api", b""),
        ("PUT", "/me/dev", b'{"bases": ["root/pypi"]}'),
        ("PATCH", "/me", b'{"email": "me@corp.test"}'),
        ("DELETE", "/me/dev/thing/1.0", b""),
        ("POST", "/me/dev/", b"--x--"),
    ],
)
def test_devpi(method: str, path: str, body: bytes, scene: Scene) -> None:
    scene.upstream.script(Behaviour(".", status=201, body=b'{"status": 201}', headers={"Set-Cookie": "session=1"}))
    with Wire(scene.proxy.port, scene.upstream.origin, ca=scene.proxy.ca) as wire:
        answer = wire.request(path, method=method, headers={"X-Devpi-Auth": "token", "Cookie": "a=b"}, body=body)
    assert (answer.status, answer.headers["Set-Cookie"]) == (201, "session=1")
    (seen,) = scene.upstream.requests
    assert (seen.method, seen.path, seen.body, seen.headers["x-devpi-auth"]) == (method, path, body, "token")


# git, whose server is git's own


class GitServer(BaseHTTPRequestHandler):
    """`git http-backend` as a CGI program, for the repositories in the server's `root`."""

    protocol_version = "HTTP/1.1"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = b""
        while size := int(self.rfile.readline(), 16):
            pieces += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return pieces

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        env = os.environ | {
            "GIT_PROJECT_ROOT": self.server.root,  # type: ignore[attr-defined]
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "me",
        }
        done = subprocess.run(["git", "http-backend"], env=env, input=self._body(), capture_output=True, check=True)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(lines.pop("Status", "200").split()[0]))
        for name, value in (lines | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815  the names that it looks for

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def repositories(ca: Authority, tmp_path: Path) -> Iterator[str]:
    """The origin of a server with the bare repository `/group/thing.git`, which may be pushed to."""
    bare = tmp_path / "group" / "thing.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", bare], check=True)
    subprocess.run(["git", "-C", bare, "config", "http.receivepack", "true"], check=True)
    with ExitStack() as stack:
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), GitServer))
        server.root = str(tmp_path)  # type: ignore[attr-defined]
        server.socket = ca.server_context("localhost").wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        yield f"https://localhost:{server.server_port}"


@pytest.mark.skipif(which("git") is None, reason="no git here")
def test_git(repositories: str, tmp_path: Path, make_proxy: MakeProxy) -> None:
    """A push of 3 MB and a clone, on the host of an index, whose TLS is opened: GitLab has both."""
    proxy = make_proxy(options={"pypi_cache_index": [f"corp={repositories}/api/packages/simple"]})
    home = tmp_path / "home"
    work, again = home / "work", home / "again"
    work.mkdir(parents=True)

    def git(*words: str, cwd: Path = home) -> None:
        trust = ["-c", f"http.sslCAInfo={proxy.ca}", "-c", f"http.proxy={proxy.url}"]
        person = ["-c", "user.name=me", "-c", "user.email=me@corp.test"]
        clients.run(home, ["git", *trust, *person, *words], cwd=cwd, env={"GIT_TERMINAL_PROMPT": "0"}).ok()

    git("init", "-q", "-b", "main", cwd=work)
    (work / "blob").write_bytes(os.urandom(3_000_000))
    git("add", ".", cwd=work)
    git("commit", "-q", "-m", "one", cwd=work)
    git("push", "-q", f"{repositories}/group/thing.git", "main", cwd=work)
    git("clone", "-q", f"{repositories}/group/thing.git", str(again))
    assert (again / "blob").read_bytes() == (work / "blob").read_bytes()
