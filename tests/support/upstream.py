"""A scripted mirror: HTTP/1.1 over TLS on a port of its own, in a thread, counting requests and lying where told to.

Raw asyncio streams, so that it can lie at byte level. It serves project pages and files of the release files that it
was given, under any prefix: `…/simple/<project>/`, `…/packages/…`, `…/+f/…` (devpi's), and what `serve` puts elsewhere.
"""

import asyncio
import gzip
import hashlib
import posixpath
import re
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import quote, unquote

from tests.support import index
from tests.support.answers import Answer, Resource, answer_for, canned, content_of, edited, scripted
from tests.support.authority import Authority
from tests.support.behaviour import PLAIN, Behaviour, layered
from tests.support.index import PageStyle
from tests.support.pace import Bucket
from tests.support.transmission import Hangup, transmit
from tests.support.waiting import PATIENCE, eventually
from tests.support.wheels import ReleaseFile, normalise

MODIFIED: Final = 1_700_000_000
"""The time of everything's first state, in seconds."""
PAGE_CACHE_CONTROL: Final = "max-age=600, public"
FILE_CACHE_CONTROL: Final = "max-age=365000000, immutable, public"


@dataclass(slots=True, eq=False)
class Seen:
    """One request, logged when its head has been read; the rest is filled in while it is answered."""

    method: str
    path: str
    """The target as sent: path and query, spelling kept."""
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by a comma."""
    body: bytes = b""
    connection: int = 0
    """Which of the accepted connections it came on, counted from 1."""
    time: float = field(default_factory=time.monotonic)
    status: int = 0
    bytes_sent: int = 0
    """Body bytes handed to the connection."""
    finished: bool = False
    """The answer was sent as meant (a scripted cut included)."""
    aborted: bool = False
    """The client left, or `down()` came, before that."""


class Upstream:
    """The server. A context manager; every attribute may be changed while it runs."""

    def __init__(self, authority: Authority | None = None, *, names: Iterable[str] = (), prefix: str = "/pypi") -> None:
        """Without an authority it speaks plain http. `names`: further names for the certificate."""
        self.prefix = prefix
        self.mode: Literal["both", "html", "json"] = "both"
        """Which representations there are; Accept chooses among both."""
        self.style = PageStyle()
        self.serves_metadata = True
        """Whether `.metadata` is there, whatever the pages say."""
        self.page_cache_control: str | None = PAGE_CACHE_CONTROL
        self.file_cache_control: str | None = FILE_CACHE_CONTROL
        self.page_validators: frozenset[str] = frozenset({"etag", "last-modified"})
        self.gzips_pages = False
        """Compress pages for clients that accept it."""
        self.accepted = 0
        """Connections accepted so far."""
        self.peak = 0
        """The most requests that were being answered at one time."""
        self.faults: list[Exception] = []
        """Errors of this server's own code; `close` raises the first."""
        self.tls = authority is not None
        self._context = authority.server_context("localhost", "127.0.0.1", *names) if authority else None
        self._projects: dict[str, list[ReleaseFile]] = {}
        self._changed: dict[str, int] = {}
        self._static: dict[str, Resource] = {}
        self._behaviours: list[Behaviour] = []
        self._hits: dict[int, int] = {}
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self._arrival = threading.Condition(self._lock)
        self._bucket: Bucket | None = None
        self._answering = 0
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        # Bound and never listening: keeps the port ours while the server is down
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind(("127.0.0.1", 0))
        self.port: int = self._reservation.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"upstream-{self.port}", daemon=True)
        self._thread.start()
        self.up()

    # Addresses

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    @property
    def index_url(self) -> str:
        """The simple index, with its final slash."""
        return f"{self.origin}{self.prefix}/simple/"

    def page_url(self, project: str) -> str:
        """A project's page here."""
        return f"{self.index_url}{normalise(project)}/"

    def file_url(self, release: ReleaseFile, suffix: str = "") -> str:
        """A release file here."""
        return f"{self.origin}{self.prefix}/{release.quoted_path}{suffix}"

    # What is there

    def add(self, *releases: ReleaseFile) -> None:
        """Publish release files; their projects' pages change."""
        with self._lock:
            for release in releases:
                self._projects.setdefault(release.project, []).append(release)
                self._changed[release.project] = self._changed.get(release.project, 0) + 1

    def remove(self, release: ReleaseFile) -> None:
        """Take a release file away, from its page too."""
        with self._lock:
            self._projects[release.project].remove(release)
            self._changed[release.project] += 1

    def serve(
        self,
        path: str,
        data: bytes | Path,
        content_type: str = "application/octet-stream",
        **headers: str,
    ) -> None:
        """Put anything at an (unquoted) path; it wins over pages and files. `Cache_Control=…` gives a header."""
        content = content_of(data)
        self._static[path] = Resource(
            content=content,
            content_type=content_type,
            etag=_etag(content.whole()),
            last_modified=formatdate(MODIFIED, usegmt=True),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            ranges=True,
        )

    # The script

    def script(self, *behaviours: Behaviour) -> None:
        """Add behaviours; later ones win over earlier ones."""
        with self._lock:
            self._behaviours.extend(behaviours)

    def unscript(self) -> None:
        """Behave well again."""
        with self._lock:
            self._behaviours.clear()
            self._hits.clear()

    def pace(self, rate: float | None) -> None:
        """Body bytes a second for all connections together; None: no limit, for answers under way neither."""
        if rate is None and self._bucket is not None:
            self._bucket.rate = 1e12
        self._bucket = None if rate is None else Bucket(rate)

    def down(self) -> None:
        """Close the listening socket and abort every connection; later ones are refused."""
        self._call(self._close())

    def up(self) -> None:
        """Listen (again) on the same port."""
        self._call(self._listen())

    # The log

    @property
    def requests(self) -> list[Seen]:
        """All requests so far, oldest first."""
        with self._lock:
            return list(self._seen)

    def seen(self, *, method: str | None = None, path_contains: str = "", status: int | None = None) -> list[Seen]:
        """The requests that fit. A dot in `path_contains` is a dot."""
        return [each for each in self.requests if _fits(each, method, path_contains, status)]

    def count(self, *, method: str | None = None, path_contains: str = "", status: int | None = None) -> int:
        """How many requests fit."""
        return len(self.seen(method=method, path_contains=path_contains, status=status))

    def bytes_sent(self, *, path_contains: str = "") -> int:
        """Body bytes sent in answer to the requests that fit."""
        return sum(each.bytes_sent for each in self.seen(path_contains=path_contains))

    def wait_for(
        self, count: int, *, method: str | None = None, path_contains: str = "", timeout: float = PATIENCE
    ) -> None:
        """Wait until so many fitting requests have arrived; AssertionError if they do not."""

        def arrived() -> bool:
            return sum(_fits(each, method, path_contains, None) for each in self._seen) >= count

        with self._arrival:
            assert self._arrival.wait_for(arrived, timeout), f"fewer than {count} requests: {self._seen}"

    def wait_until(self, holds: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Wait until something holds, e.g. `lambda: upstream.requests[0].aborted`; AssertionError if it does not."""
        eventually(lambda: (holds(), self.requests), lambda seen: seen[0], timeout=timeout)

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._seen.clear()
            self.accepted = 0
            self.peak = 0

    # Life

    def close(self) -> None:
        """End the thread and free the port."""
        if not self._loop.is_closed():
            self.down()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()
            self._reservation.close()
            if self.faults:
                raise self.faults[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call[T](self, job: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(30)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port, ssl=self._context, backlog=512, limit=256 * 1024
            )

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task, writer in list(self._connections.items()):
            writer.transport.abort()
            task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections), timeout=5)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = self._loop.create_task(self._converse(reader, writer, self.accepted))
        self._connections[task] = writer
        task.add_done_callback(lambda done: self._connections.pop(done, None))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        writer.transport.set_write_buffer_limits(high=1 << 20)
        try:
            await self._serve(reader, writer, number)
        except (OSError, EOFError, Hangup):
            pass
        except Exception as fault:  # noqa: BLE001 - kept for `close`, which raises it in the test
            self.faults.append(fault)
        finally:
            writer.close()
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while (seen := await _read_request(reader)) is not None:
            seen.connection = number
            with self._arrival:
                self._seen.append(seen)
                self._answering += 1
                self.peak = max(self.peak, self._answering)
                self._arrival.notify_all()
            try:
                await self._respond(seen, reader, writer)
                seen.finished = True
            except Hangup as hangup:
                seen.finished = hangup.meant
                raise
            finally:
                seen.aborted = not seen.finished
                with self._lock:
                    self._answering -= 1
            if seen.headers.get("connection", "").lower() == "close":
                break

    async def _respond(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self._behaviour_for(seen)
        answer = scripted(behaviour, seen.path, seen.headers) or self._ordinary(seen, behaviour)
        for name, value in behaviour.headers.items():
            answer.headers.pop(name, None)
            if value is not None:
                answer.headers[name] = value
        seen.status = answer.status

        def sent(size: int) -> None:
            seen.bytes_sent += size

        await transmit(answer, seen.method == "HEAD", behaviour, self._bucket, reader, writer, sent)

    def _behaviour_for(self, seen: Seen) -> Behaviour:
        with self._lock:
            chosen = []
            for behaviour in self._behaviours:
                if behaviour.methods and seen.method not in behaviour.methods:
                    continue
                if behaviour.ranged not in {None, "range" in seen.headers}:
                    continue
                if not re.search(behaviour.match, seen.path):
                    continue
                hit = self._hits[id(behaviour)] = self._hits.get(id(behaviour), 0) + 1
                if behaviour.skip < hit and (behaviour.times is None or hit <= behaviour.skip + behaviour.times):
                    chosen.append(behaviour)
            return layered(chosen) if chosen else PLAIN

    def _ordinary(self, seen: Seen, behaviour: Behaviour) -> Answer:
        if seen.method not in ("GET", "HEAD"):
            return canned(405, Allow="GET, HEAD")
        found = self._find(seen)
        if isinstance(found, str):
            return canned(301, Location=found)
        if found is None:
            return canned(404)
        return answer_for(edited(found, behaviour), seen.headers, behaviour)

    def _find(self, seen: Seen) -> Resource | str | None:
        """The resource at a target, or where it redirects to."""
        path = unquote(seen.path.partition("?")[0])
        path = posixpath.normpath(path) + ("/" if path.endswith("/") and path != "/" else "")
        if path in self._static:
            return self._static[path]
        if page := re.fullmatch(r"(?P<prefix>.*/)?\+?simple(/(?P<project>[^/]+))?(?P<slash>/?)", path):
            project = page["project"]
            if project is None or normalise(project) in self._projects:
                if not page["slash"] or (project is not None and project != normalise(project)):
                    return quote(path.rstrip("/").rpartition("/")[0] + f"/{normalise(project or 'simple')}/")
                return self._page(project, seen, path)
        return self._file(path)

    def _page(self, project: str | None, seen: Seen, path: str) -> Resource:
        accept = seen.headers.get("accept", "*/*")
        as_json = self.mode == "json" or (self.mode == "both" and index.JSON_TYPE in accept)
        with self._lock:
            names = list(self._projects)
            releases = list(self._projects.get(project or "", ()))
            changed = self._changed.get(project or "", 0)
        if project is None:
            body = index.root_json(names) if as_json else index.root_html(names)
        else:
            render = index.project_json if as_json else index.project_html
            style = self.style
            body = render(project, releases, f"{self.origin}{path}", style)
        html_type = index.HTML_TYPE if index.HTML_TYPE in accept else index.PLAIN_HTML_TYPE
        headers = {"Vary": "Accept, Accept-Encoding"}
        if self.page_cache_control is not None:
            headers["Cache-Control"] = self.page_cache_control
        if self.gzips_pages and "gzip" in seen.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, mtime=0)
        return Resource(
            content=content_of(body),
            content_type=index.JSON_TYPE if as_json else html_type,
            etag=_etag(body) if "etag" in self.page_validators else None,
            last_modified=formatdate(MODIFIED + changed, usegmt=True)
            if "last-modified" in self.page_validators
            else None,
            headers=headers,
        )

    def _file(self, path: str) -> Resource | None:
        found = re.fullmatch(r".*?/(?P<key>packages/../../.{60}|\+f/.{3}/.{13})/(?P<name>[^/]+)", path)
        if not found:
            return None
        name = found["name"].removesuffix(".metadata")
        with self._lock:
            releases = [each for files in self._projects.values() for each in files if each.filename == name]
        for release in releases:
            keys = (release.path.rpartition("/")[0], f"+f/{release.sha256[:3]}/{release.sha256[3:16]}")
            if found["key"] in keys:
                return self._file_resource(release, is_metadata=name != found["name"])
        return None

    def _file_resource(self, release: ReleaseFile, *, is_metadata: bool) -> Resource | None:
        if is_metadata and not (self.serves_metadata and release.is_wheel):
            return None
        return Resource(
            content=content_of(release.metadata if is_metadata else release.data),
            content_type="binary/octet-stream" if is_metadata else "application/octet-stream",
            etag=_etag(release.metadata) if is_metadata else f'"{release.sha256[:32]}"',
            last_modified=formatdate(MODIFIED, usegmt=True),
            headers={} if self.file_cache_control is None else {"Cache-Control": self.file_cache_control},
            ranges=True,
        )


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    """The next request with its body; None where the client is done."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ", 2)
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Seen(method, target, headers, body)


def _fits(seen: Seen, method: str | None, path_contains: str, status: int | None) -> bool:
    return (method in (None, seen.method)) and path_contains in seen.path and (status in (None, seen.status))


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
