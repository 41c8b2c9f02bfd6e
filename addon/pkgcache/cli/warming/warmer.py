"""Fetching what agents would, through a proxy: each page in every representation, each file, and its core metadata (PEP 658).

Files are fetched by the URLs that clients use (those of a lock, or of the index page), so that they are stored where clients will look.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin

from pkgcache.cli.progress_bar import Bar
from pkgcache.cli.proxy_client import ProxyClient, ProxyError, first_line, without_credentials
from pkgcache.cli.warming.environments import Environment
from pkgcache.cli.warming.lock_model import LockedFile, Package
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import UpstreamError
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.filenames import is_distribution
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.json_page import read_json
from pkgcache.rules.simple.limits import MAX_ANSWER
from pkgcache.rules.simple.representations import Representation

RETRY_SECONDS = 600.0
"""How long to ask for a file again and again while the proxy answers 503 because it is still downloading it."""

MAX_RETRY_AFTER = 30
MAX_MESSAGE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file as an index page lists it; `size` is 0 if the page does not give it."""

    url: str
    hashes: tuple[str, ...]
    size: int
    has_metadata: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchItem:
    """Something to fetch: a file, or a page or document if `accept` is given. An `optional` one may be missing without being a failure."""

    url: str
    accept: str = ""
    hashes: tuple[str, ...] = ()
    size: int = 0
    optional: bool = False
    authorization: str = ""


@dataclass(slots=True)
class Outcome:
    """What was fetched. `size` counts the bytes of all files, `stored` of those that the store did not have before."""

    pages: int = 0
    files: int = 0
    size: int = 0
    stored: int = 0
    failures: list[str] = field(default_factory=list)

    def failed(self, line: str) -> None:
        """Note a failure, unless it is noted already."""
        if line not in self.failures:
            self.failures.append(line)


class Warmer:
    """Fetches through one proxy, `jobs` things at a time."""

    def __init__(self, proxy: ProxyClient, jobs: int) -> None:
        self._proxy = proxy
        self._jobs = jobs
        self.outcome = Outcome()

    def pages(self, places: Iterable[tuple[str, str]], progress: Bar) -> dict[tuple[str, str], dict[str, Listed]]:
        """Fetch the pages of each (project, index URL): what each lists, by file name. Pages that do not exist are left out."""
        items = {(place, kind): page_wanted(*place, kind) for place in dict.fromkeys(places) for kind in Representation}
        listed: dict[tuple[str, str], dict[str, Listed]] = {}
        progress.expect(len(items))

        async def fetch(client: UpstreamClient, key: tuple[tuple[str, str], Representation]) -> None:
            async with _response(client, items[key]) as response:
                if response.status == 200:
                    body = await response.body(MAX_ANSWER)
                    self.outcome.pages += 1
                    if key[1] is Representation.JSON:
                        listed[key[0]] = _read_page(body, items[key].url)
                elif response.status != 404:
                    raise await _refusal(items[key], response)
            progress.advance()

        asyncio.run(self._each(list(items), fetch))
        return listed

    def files(self, items: Sequence[FetchItem], progress: Bar) -> None:
        """Fetch files, and check them against their hashes as an installer would."""
        unique = list({each.url: each for each in items}.values())
        progress.expect(sum(each.size for each in unique))

        async def fetch(client: UpstreamClient, item: FetchItem) -> None:
            async with _response(client, item) as response:
                if item.optional and response.status in {404, 406, 410}:
                    return
                if response.status != 200:
                    raise await _refusal(item, response)
                size = await _read_file(item, response, progress)
            self.outcome.files += 1
            self.outcome.size += size

        asyncio.run(self._each(unique, fetch))

    async def _each[T](self, items: Sequence[T], fetch: Callable[[UpstreamClient, T], Awaitable[None]]) -> None:
        """Fetch each of these, and note failures. Ctrl-C cancels all that are under way."""
        slots = asyncio.Semaphore(self._jobs)

        async def one(client: UpstreamClient, item: T) -> None:
            async with slots:
                try:
                    await fetch(client, item)
                except (ProxyError, UpstreamError) as error:
                    self.outcome.failed(str(error))

        async with self._proxy.session() as client, asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(one(client, item))


@asynccontextmanager
async def _response(client: UpstreamClient, item: FetchItem) -> AsyncIterator[UpstreamResponse]:
    """Ask for an item, and again while the proxy is still downloading it. Raises UpstreamError, ProxyError."""
    try:
        url = parse_url(item.url)
    except ValueError as error:
        raise ProxyError(f"{item.url}: {error}") from None
    # Documents are poetry's: where no upstream has them, they are made for nobody else (`rules/simple/json_api_build`).
    agent = "pypi-cache-warm poetry/2" if item.accept == "application/json" else "pypi-cache warm"
    headers = {"User-Agent": agent, "Accept-Encoding": "identity", "Accept": item.accept or "*/*"}
    until = time.monotonic() + RETRY_SECONDS
    while True:
        async with client.request("GET", url, headers, item.authorization) as response:
            retry_after = response.headers.get("Retry-After", "")
            if response.status != 503 or not retry_after.isdecimal() or time.monotonic() > until:
                if response.status == 200 and "pypi-cache" not in response.headers.get("Cache-Status", ""):
                    # A tunnel gives the file as well, but none of it would be in the store.
                    raise ProxyError(
                        f"{item.url}: the proxy does not cache this host; pypi_cache_index must name its index"
                    )
                yield response
                return
        await asyncio.sleep(min(int(retry_after), MAX_RETRY_AFTER))


async def _refusal(item: FetchItem, response: UpstreamResponse) -> ProxyError:
    """The failure that a status means; the first line of the body says why."""
    text = (await response.body(MAX_MESSAGE)).decode(errors="replace")
    return ProxyError(f"{item.url}: {response.status} {first_line(text)}")


async def _read_file(item: FetchItem, response: UpstreamResponse, progress: Bar) -> int:
    """Read a file to its end: its size in bytes. Raises UpstreamError, and ProxyError if a hash differs."""
    hashers = [(digest, digest.hasher()) for each in item.hashes if (digest := _digest(each))]
    size = 0
    while chunk := await response.chunk():
        size += len(chunk)
        for _, hasher in hashers:
            hasher.update(chunk)
        if not item.size:
            progress.expect_more(len(chunk))
        progress.advance(len(chunk))
    for digest, hasher in hashers:
        if fault := digest.mismatch(hasher.hexdigest()):
            raise ProxyError(f"{item.url}: {fault} by the lock")
    return size


def page_wanted(project: str, index: str, kind: Representation) -> FetchItem:
    """A project's page on an index, in one representation."""
    url, authorization = without_credentials(index)
    return FetchItem(
        url=f"{url.rstrip('/')}/{project}/", accept=kind.content_type.partition(";")[0], authorization=authorization
    )


def read_page(body: bytes, url: str) -> dict[str, Listed]:
    """Read an index page in JSON (PEP 691): what it lists, by file name. `url` is the page's own. Raises ValueError.

    The proxy's own reader decides what a page says of a file's metadata, so `warm` fetches exactly what the proxy will serve.
    """
    return {
        link.filename: Listed(
            url=urljoin(url, link.href).partition("#")[0],
            hashes=tuple(f"{name}:{value}" for name, value in link.hashes.items()),
            size=link.size or 0,
            has_metadata=link.core_metadata is not False,
        )
        for link in read_json(body).links
        if link.filename
    }


def _read_page(body: bytes, url: str) -> dict[str, Listed]:
    try:
        return read_page(body, url)
    except ValueError as error:
        raise ProxyError(f"{url}: not an index page ({error})") from None


def chosen_files(package: Package, environment: Environment, listed: Mapping[str, Listed]) -> list[FetchItem]:
    """The files (distribution and metadata) that an installer in this environment would take for a package; empty if none fits.

    That is the best wheel, else the sdist. What the lock does not say (where a file is), the index page does.
    """
    by_hash = {each: name for name, file in listed.items() for each in file.hashes}
    candidates: list[tuple[int, str, LockedFile]] = []
    for file in package.files:
        name = file.filename or next((by_hash[each] for each in file.hashes if each in by_hash), "")
        rank = environment.rank(name)
        if rank is not None:
            candidates.append((rank, name, file))
        elif is_distribution(name) and not name.endswith(".whl"):
            candidates.append((1 << 30, name, file))
    if not candidates:
        return []
    _, name, file = min(candidates, key=lambda each: each[0])
    known = listed.get(name)
    url, login = without_credentials(file.url or (known.url if known else ""))
    if not url:
        return []
    size = known.size if known and known.url.rpartition("/")[2] == url.rpartition("/")[2] else 0
    wanted = [FetchItem(url=url, hashes=file.hashes, size=size, authorization=login)]
    if name.endswith(".whl") and (known is None or known.has_metadata):
        wanted.append(FetchItem(url=f"{url}.metadata", optional=known is None, authorization=login))
    return wanted


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except ValueError:
        return None
