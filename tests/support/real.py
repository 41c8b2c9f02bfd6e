"""Pip's default index over loopback: as a mirror with relative links, or as the index itself with all that it can tell.

A lock made through the proxy is to be compared with one made without it, on real packages. For that the proxy gets a mirror of the
real files as its only upstream (`RealServer`, forms `json` and `html`). Where the default index that is reachable from here is a
company's copy that lacks JSON pages or releases' documents, a `RealServer` of the form `canonical` stands in for it behind a tunnel
(`Tunnel`), since poetry takes nothing else: what the copy lacks is made of its `/pypi/<project>/json` and of the wheels themselves.
"""

import email.message
import email.parser
import io
import json
import re
import shutil
import socket
import ssl
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Literal, Self

from packaging.specifiers import SpecifierSet

from tests.support.authority import Authority
from tests.support.names import FILES_ORIGIN, INDEX_HOST, INDEX_URL, page_url
from tests.support.peers import ParentProxy

JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "text/html"
PASSED_ON: Final = ("Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "ETag", "Last-Modified")
TIMEOUT: Final = 60.0
type Form = Literal["canonical", "json", "html"]


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of the index, or one made of its answers."""

    status: int
    content_type: str
    body: bytes


class RealIndex:
    """What the default index tells, each thing asked for once: so that all who are compared are told the same."""

    def __init__(self, *, metadata: bool = True) -> None:
        """`metadata=False`: JSON that is made says nothing of core metadata (a copy may not have what the index tells of)."""
        self._metadata = metadata
        self._context = ssl.create_default_context()
        self._pages: dict[tuple[str, str], Page] = {}
        self._lock = threading.Lock()

    @cached_property
    def speaks_json(self) -> bool:
        """Whether it answers with PEP 691 JSON where that is asked for."""
        return self._page(page_url("six"), JSON).content_type.startswith(JSON)

    @cached_property
    def tells_releases(self) -> bool:
        """Whether it has the documents of single releases, `/pypi/<project>/<version>/json`."""
        return self._page(f"{_ROOT}pypi/six/1.17.0/json", "application/json").status == 200

    def json_page(self, project: str) -> Page:
        """The project's page as JSON: the index's own, else made of the project's JSON."""
        page = self._page(page_url(project), JSON)
        if page.status != 200 or page.content_type.startswith(JSON):
            return page
        about = self._about(project)
        if about is None:
            return _NOT_FOUND
        files = [_simple_file(each) for files in about["releases"].values() for each in files]
        versions = list(about["releases"])
        made = {"meta": {"api-version": "1.1"}, "name": project, "versions": versions, "files": files}
        return Page(200, JSON, json.dumps(made, separators=(",", ":")).encode())

    def html_page(self, project: str) -> Page:
        """The project's page as HTML."""
        return self._page(page_url(project), HTML)

    def release(self, project: str, version: str) -> Page:
        """`/pypi/<project>/<version>/json`: the index's own, else made of the project's JSON and a whole wheel's metadata."""
        page = self._page(f"{_ROOT}pypi/{project}/{version}/json", "application/json")
        if page.status == 200:
            return page
        about = self._about(project)
        urls = about and about["releases"].get(version)
        if not about or urls is None:
            return _NOT_FOUND
        info = about["info"] | {"version": version}
        wheels = [each["url"] for each in urls if each["packagetype"] == "bdist_wheel"]
        if wheels:
            # Not the project's own: copies have been seen whose `info` was of an older release than its `version`
            metadata = self._metadata_in(min(wheels, key=lambda url: not url.endswith("-none-any.whl")))
            info |= {
                "summary": metadata["Summary"] or "",
                "requires_dist": metadata.get_all("Requires-Dist") or [],
                "requires_python": str(SpecifierSet(metadata["Requires-Python"] or "")) or None,
            }
        made = {"info": info, "last_serial": about["last_serial"], "urls": urls, "vulnerabilities": []}
        return Page(200, "application/json", json.dumps(made).encode())

    def open(self, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Any:
        """The index's answer to this very request, whatever its status; to be read and closed."""
        request = urllib.request.Request(url, method=method, headers=dict(headers or {}))
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT, context=self._context)
        except urllib.error.HTTPError as error:
            return error

    def _about(self, project: str) -> Any:
        """The project's own JSON with canonical URLs (a copy may have made them relative), None where there is none."""
        page = self._page(f"{_ROOT}pypi/{project}/json", "application/json")
        if page.status != 200:
            return None
        about = json.loads(page.body)
        for file in (each for files in about["releases"].values() for each in files):
            file["core-metadata"] = self._metadata and file.get("core-metadata", False)
            file["url"] = f"{FILES_ORIGIN}/packages/{file['url'].rpartition('/packages/')[2]}"
        return about

    def _metadata_in(self, wheel: str) -> email.message.Message:
        """The METADATA of a wheel, out of the wheel itself."""
        with zipfile.ZipFile(io.BytesIO(self._page(wheel, "*/*").body)) as archive:
            (name,) = (each for each in archive.namelist() if re.fullmatch(r"[^/]*\.dist-info/METADATA", each))
            return email.parser.BytesParser().parsebytes(archive.read(name))

    def _page(self, url: str, accept: str) -> Page:
        with self._lock:
            if (url, accept) not in self._pages:
                with self.open(url, headers={"Accept": accept}) as answer:
                    self._pages[url, accept] = Page(
                        answer.status, answer.headers.get("Content-Type", ""), answer.read()
                    )
            return self._pages[url, accept]


class RealServer:
    """Serves a RealIndex on a port of its own: `/pypi/simple/<project>/` and `/pypi/packages/…`. A context manager.

    `json` and `html`: a mirror of one representation, its links relative; with `api` also `/pypi/<project>/<version>/json`.
    `canonical`: the index itself, over TLS, with its paths, its own links and the JSON API; files are at their usual host.
    """

    def __init__(self, index: RealIndex, form: Form, authority: Authority | None = None, *, api: bool = False) -> None:
        self.index = index
        self.form = form
        self.api = api or form == "canonical"
        self.asked: Counter[str] = Counter()
        """Requests so far, by kind: `page`, `release`, `file`, `other`."""
        server = self

        class Handler(_Handler):
            owner = server

        self._server = _Server(("127.0.0.1", 0), Handler)
        if authority is not None:
            # The handshake is the handler's thread's, not the accepting one's
            self._server.socket = authority.server_context(INDEX_HOST).wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name=f"real-{self.port}", daemon=True)
        self._thread.start()

    @property
    def index_url(self) -> str:
        """The mirror's simple index."""
        return f"http://127.0.0.1:{self.port}/pypi/simple/"

    def page(self, project: str) -> Page:
        """A project's page in this server's form."""
        page = self.index.html_page(project) if self.form == "html" else self.index.json_page(project)
        return self._linked(page)

    def release(self, project: str, version: str) -> Page:
        """A release's JSON in this server's form."""
        return self._linked(self.index.release(project, version))

    def close(self) -> None:
        """Stop it: nothing more is answered, on no connection that is still open either."""
        self._server.shutdown()
        self._server.server_close()
        self._server.cut()

    def _linked(self, page: Page) -> Page:
        """With this server's links: a page's and a release's JSON are equally deep."""
        if self.form == "canonical":
            return page
        relative = page.body.replace(f"{FILES_ORIGIN}/packages/".encode(), b"../../packages/")
        return Page(page.status, page.content_type, relative)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Tunnel(ParentProxy):
    """A parent proxy through which the default index is a `canonical` RealServer; any other host is what it is."""

    def __init__(self, server: RealServer) -> None:
        super().__init__(names={INDEX_HOST: server.port}, outside=True)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """As it does, and remember the connection."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """As it does, and forget the connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """End what clients have kept open."""
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has left is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    owner: RealServer
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT

    def do_GET(self) -> None:
        """GET and HEAD."""
        root = "" if self.owner.form == "canonical" else "/pypi"
        if found := re.fullmatch(rf"{root}/simple/([^/]+)/", self.path):
            self._send("page", self.owner.page(found[1]))
        elif self.owner.api and (found := re.fullmatch(r"/pypi/([^/]+)/([^/]+)/json", self.path)):
            self._send("release", self.owner.release(found[1], found[2]))
        elif root and self.path.startswith(f"{root}/packages/"):
            self._pass_on(f"{FILES_ORIGIN}{self.path.removeprefix(root)}")
        else:
            self._send("other", Page(404, "text/plain", b"no such thing here\n"))

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Not on standard error."""

    def _send(self, kind: str, page: Page) -> None:
        self.owner.asked[kind] += 1
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "max-age=600")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def _pass_on(self, url: str) -> None:
        """A file, from its usual host, ranges included."""
        self.owner.asked["file"] += 1
        asked = {name: value for name in ("Range", "If-Range") if (value := self.headers.get(name))}
        with self.owner.index.open(url, method=self.command, headers=asked) as answer:
            self.send_response(answer.status)
            for name in PASSED_ON:
                if value := answer.headers.get(name):
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                with suppress(ConnectionError):
                    shutil.copyfileobj(answer, self.wfile)


_NOT_FOUND: Final = Page(404, "application/json", b'{"message": "Not Found"}')
_ROOT: Final = INDEX_URL.removesuffix("simple/")


def _simple_file(about: Mapping[str, Any]) -> dict[str, Any]:
    """A file of the project's JSON as PEP 691 and PEP 700 have it."""
    file: dict[str, Any] = {
        "filename": about["filename"],
        "hashes": {"sha256": about["digests"]["sha256"]},
        "size": about["size"],
        "upload-time": about["upload_time_iso_8601"],
        "url": about["url"],
        "core-metadata": about["core-metadata"],
        "yanked": (about["yanked_reason"] or True) if about["yanked"] else False,
    }
    if about["requires_python"] is not None:
        file["requires-python"] = about["requires_python"]
    return file
