"""Fetching through a proxy what an agent would: each page in every representation, each file, and its core metadata (PEP 658).

Files come by the URLs that clients use (a lock's, or those of the index page), so that they are stored where clients will ask.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from urllib.parse import urljoin

from pkgcache.cli.progress_bar import Bar
from pkgcache.cli.proxy_client import ProxyAnswer, ProxyClient, ProxyError, without_credentials
from pkgcache.cli.warming.environments import Environment
from pkgcache.cli.warming.lock_model import LockedFile, Package
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.filenames import is_distribution
from pkgcache.rules.simple.json_page import read_json
from pkgcache.rules.simple.representations import Representation

PATIENCE = 600.0
"""So long a file is asked for again while the proxy says that it is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file as an index page in JSON has it (PEP 691, 700, 714)."""

    url: str
    hashes: tuple[str, ...]
    size: int
    has_metadata: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchItem:
    """One thing to fetch: a file, or with `accept` a page or a document. `optional`: it is no failure where it is not there."""

    url: str
    accept: str = ""
    hashes: tuple[str, ...] = ()
    size: int = 0
    optional: bool = False
    authorization: str = ""


@dataclass(slots=True)
class Outcome:
    """What came of it; `size` is that of all files in bytes, `stored` of those that were not in the store before."""

    pages: int = 0
    files: int = 0
    size: int = 0
    stored: int = 0
    failures: list[str] = field(default_factory=list)

    def failed(self, line: str) -> None:
        """One line, once."""
        if line not in self.failures:
            self.failures.append(line)


class Warmer:
    """Fetches through one proxy, several things at once."""

    def __init__(self, client: ProxyClient, jobs: int) -> None:
        self._client = client
        self._jobs = jobs
        self._stopped = threading.Event()
        self.outcome = Outcome()

    # Pages

    def pages(self, places: Iterable[tuple[str, str]], progress: Bar) -> dict[tuple[str, str], dict[str, Listed]]:
        """Fetch the pages of (project, index URL): by place what each lists, by file name; a page that is not there is left out."""
        wanted = {
            (place, kind): page_wanted(*place, kind) for place in dict.fromkeys(places) for kind in Representation
        }
        bodies: dict[tuple[tuple[str, str], Representation], bytes] = {}
        progress.expect(len(wanted))

        def fetch(key: tuple[tuple[str, str], Representation]) -> None:
            parts: list[bytes] = []
            answer = self._ask(wanted[key], parts.append)
            if answer.status == 200:
                bodies[key] = b"".join(parts)
            elif answer.status != 404:
                raise ProxyError(f"{wanted[key].url}: {answer.status} {answer.text}")
            progress.advance()

        self._each(list(wanted), fetch)
        self.outcome.pages += len(bodies)
        listed = {}
        for (place, kind), body in bodies.items():
            if kind is Representation.JSON:
                try:
                    listed[place] = read_page(body, wanted[place, kind].url)
                except ValueError as error:
                    self.outcome.failed(f"{wanted[place, kind].url}: no index page ({error})")
        return listed

    # Files

    def files(self, wanted: Sequence[FetchItem], progress: Bar) -> None:
        """Fetch files, and hold them against their hashes as an installer would."""
        unique = {each.url: each for each in wanted}
        progress.expect(sum(each.size for each in unique.values()))

        def fetch(url: str) -> None:
            self._file(unique[url], progress)

        self._each(list(unique), fetch)

    def _file(self, wanted: FetchItem, progress: Bar) -> None:
        digests = [digest for each in wanted.hashes if (digest := _digest(each))]
        hashers = [digest.hasher() for digest in digests]
        size = 0

        def take(chunk: bytes) -> None:
            nonlocal size
            if self._stopped.is_set():
                raise ProxyError("interrupted")
            size += len(chunk)
            for hasher in hashers:
                hasher.update(chunk)
            if not wanted.size:
                progress.expect_more(len(chunk))
            progress.advance(len(chunk))

        answer = self._ask(wanted, take)
        if answer.status != 200:
            if wanted.optional and answer.status in {404, 406, 410}:
                return
            raise ProxyError(f"{wanted.url}: {answer.status} {answer.text}")
        for digest, hasher in zip(digests, hashers, strict=True):
            if hasher.hexdigest() != digest.value:
                raise ProxyError(
                    f"{wanted.url}: its {digest.algorithm} is {hasher.hexdigest()}, and the lock says {digest.value}"
                )
        self.outcome.files += 1
        self.outcome.size += size

    # Both

    def _ask(self, wanted: FetchItem, take: Callable[[bytes], object]) -> ProxyAnswer:
        """One GET; asked again while the proxy says so. Raises ProxyError."""
        headers = {"User-Agent": "pypi-cache warm", "Accept-Encoding": "identity", "Accept": wanted.accept or "*/*"}
        if wanted.authorization:
            headers["Authorization"] = wanted.authorization
        until = time.monotonic() + PATIENCE
        while True:
            if self._stopped.is_set():
                raise ProxyError("interrupted")
            answer = self._client.get(wanted.url, headers, take)
            pause = answer.headers.get("retry-after", "")
            if answer.status != 503 or not pause.isdecimal() or time.monotonic() > until:
                return answer
            self._stopped.wait(min(int(pause), 30))

    def _each[K](self, keys: Sequence[K], fetch: Callable[[K], None]) -> None:
        """Each of these, several at once; failures are collected. What runs is broken off where the user does not want it any more."""
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="warm") as pool:
            futures = [pool.submit(fetch, key) for key in keys]
            try:
                for future in as_completed(futures):
                    if (error := future.exception()) is None:
                        continue
                    if not isinstance(error, ProxyError):
                        raise error
                    self.outcome.failed(str(error))
            except BaseException:
                self._stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                self._client.abort()
                raise


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


def chosen_files(package: Package, environment: Environment, listed: Mapping[str, Listed]) -> list[FetchItem]:
    """The file that an installer in this environment takes of a package, with its metadata; empty where there is none for it.

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
