"""A store of a dictionary and upstreams that answer as told: what release files work with, without disk or network."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.caching import Collaborators
from pkgcache.engine.files.identity import FileIdentity, identified
from pkgcache.engine.responses.messages import Body, Request
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.tasks import Tasks
from pkgcache.engine.upstream.errors import Failure, UpstreamError, refused
from pkgcache.engine.upstream.places import Places
from pkgcache.rules.http.freshness import Policy
from pkgcache.rules.routing.digests import Digest, parse_release_path
from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.routes import PUBLIC, ReleaseFile
from pkgcache.rules.routing.urls import Url, parse_url
from pkgcache.settings import make_settings

CONTENT = bytes(range(256)) * 8
"""A file's bytes: 2048 of them."""

NAMED, MIRROR, OTHER = "https://files.example", "https://mirror.test", "https://other.test"


@dataclass
class Scripted:
    """One upstream's response; `status` 0 is no answer at all."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class UpstreamResponse:
    """A scripted response under way, in place of the upstream client's."""

    url: Url
    status: int
    headers: CIMultiDictProxy[str]
    rest: bytes

    async def chunk(self) -> bytes:
        chunk, self.rest = self.rest[:1000], self.rest[1000:]
        return chunk

    def refused(self) -> UpstreamError:
        return refused(self.url, self.status, self.headers, self.url.origin)


class Upstreams:
    """As UpstreamClient: each origin answers the same to every request; what was sent is kept."""

    def __init__(self, **_: object) -> None:
        self.answers: dict[str, Scripted] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    places = Places()

    def healthy_first[T: tuple[Url, str]](self, sources: Sequence[T]) -> list[T]:
        return list(sources)

    @asynccontextmanager
    async def request(
        self, method: str, url: Url, headers: Mapping[str, str], authorization: str = "", *, sole_source: bool = False
    ) -> AsyncIterator[UpstreamResponse]:
        self.asked.append((method, url.origin, dict(headers)))
        scripted = self.answers[url.origin]
        if not scripted.status:
            raise UpstreamError(Failure.UNREACHABLE, url, "scripted", origin=url.origin)
        body = b"" if method == "HEAD" else scripted.body
        yield UpstreamResponse(url, scripted.status, CIMultiDictProxy(CIMultiDict(scripted.headers)), body)


class DictStore:
    """A store in memory whose entries are read whole."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[dict[str, Any], bytes]] = {}
        self.dropped: dict[str, str] = {}

    async def read(self, key: str) -> tuple[dict[str, Any], bytes] | None:
        return self.entries.get(key)

    async def put(self, key: str, value: bytes, notes: dict[str, Any]) -> bool:
        self.entries[key] = (notes, value)
        return True

    async def drop_damaged(self, key: str, mark: object, why: str) -> None:
        del self.entries[key]
        self.dropped[key] = why


@dataclass
class Bench:
    """All of it, and the way to make collaborators of it."""

    upstreams: Any = field(default_factory=Upstreams)
    store: Any = field(default_factory=DictStore)
    tasks: Tasks = field(default_factory=Tasks)
    metrics: Metrics = field(default_factory=Metrics)

    def shared(self, policy: Policy | None = None) -> Collaborators:
        return Collaborators(
            store=self.store,
            client=self.upstreams,
            metrics=self.metrics,
            tasks=self.tasks,
            policy=policy or Policy(),
            settings=make_settings({"pypi_cache_dir": "/nowhere"}),
        )


def wheel(
    *,
    digest: bool = True,
    content: bytes = CONTENT,
    origins: Sequence[str] = (NAMED,),
    name: str = "six-1.0-py3-none-any.whl",
) -> FileIdentity:
    """The identity of a wheel with these sources."""
    hasher = Digest("blake2b", "0" * 64).hasher()
    hasher.update(content)
    found = hasher.hexdigest()
    path = f"/packages/{found[:2]}/{found[2:4]}/{found[4:]}/{name}"
    route = ReleaseFile(
        index=Index(name="pypi", simple=parse_url("https://index.example/simple/"), upstreams=()),
        filename=name,
        suffix="",
        identity=parse_url(NAMED + path),
        release=parse_release_path(path),
        sources=tuple((parse_url(origin + path), "") for origin in origins),
        space=PUBLIC,
    )
    return identified(route, Digest("blake2b", found) if digest else None, None)


def asked(method: str = "GET", url: str = f"{NAMED}/x.whl", **headers: str) -> Request:
    """A request with these headers (an underscore is a hyphen)."""
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Request(method=method, url=parse_url(url), headers=CIMultiDictProxy(named))


async def all_of(body: bytes | Body) -> bytes:
    """A body read to its end."""
    if isinstance(body, bytes):
        return body
    parts = []
    while chunk := await body.read():
        parts.append(bytes(chunk))
    body.close()
    return b"".join(parts)
