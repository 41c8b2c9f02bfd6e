"""A mixed load, each byte of it held against what was published: whole files, ranges, pages, clients that leave in the middle.

What a client got is right, or it is `Wrong`; a connection that broke is `Broken`, and whether that is allowed is for the benchmark to say.
"""

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from threading import Lock
from typing import Final

from tests.support.index import JSON_TYPE
from tests.support.names import file_url, page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched, fetch

SHARES: Final = {"whole file": 0.5, "range": 0.15, "last bytes": 0.05, "page": 0.2, "left in the middle": 0.1}


class WrongError(Exception):
    """Other bytes than were published, or another answer than there should be."""


class BrokenError(Exception):
    """The connection ended before the answer did, or there was none to be had."""


@dataclass(slots=True)
class Tally:
    """What was asked for and what came, by all clients together."""

    requests: Counter[str] = field(default_factory=Counter)
    hits: int = 0
    bytes: int = 0
    asked_for: set[str] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)

    def add(self, kind: str, answer: Fetched, filename: str) -> None:
        """One answer."""
        with self.lock:
            self.requests[kind] += 1
            self.bytes += answer.size
            self.hits += "; hit" in (answer.headers["Cache-Status"] or "")
            if kind == "whole file":
                self.asked_for.add(filename)


def publish(
    upstream: Upstream, folder: Path, total: int, smallest: int, largest: int, seed: int = 1
) -> list[ReleaseFile]:
    """Wheels of `total` bytes together; their sizes are spread evenly over the orders of magnitude, the first two at the ends."""
    source = random.Random(seed)
    sizes = [smallest, largest]
    while sum(sizes) < total:
        sizes.append(int(math.exp(source.uniform(math.log(smallest), math.log(largest)))))
    releases = [
        make_wheel(f"mixed-{seed}-{number}", payload_size=size, seed=number + 1, folder=folder)
        for number, size in enumerate(sizes)
    ]
    upstream.add(*releases)
    return releases


class Client:
    """One client of one proxy, with a will of its own: `ask` is one request."""

    def __init__(self, proxy: Proxy, releases: Sequence[ReleaseFile], seed: int, tally: Tally) -> None:
        self._proxy = proxy
        self._releases = releases
        self._source = random.Random(seed)
        self._tally = tally

    def ask(self, release: ReleaseFile | None = None) -> None:
        """Something at random; or all of one file. Raises WrongError, BrokenError."""
        kind = "whole file" if release else self._source.choices(list(SHARES), list(SHARES.values()))[0]
        release = release or self._one()
        try:
            answer = self._ask(kind, release)
        except (OSError, HTTPException) as error:
            raise BrokenError(f"{kind} {release.filename}: {error!r}") from error
        self._tally.add(kind, answer, release.filename)

    def _one(self) -> ReleaseFile:
        """Some are asked for much more often than others."""
        return self._releases[int(len(self._releases) * self._source.random() ** 2)]

    def _ask(self, kind: str, release: ReleaseFile) -> Fetched:
        match kind:
            case "page":
                answer = self._fetch(page_url(release.project), {"Accept": JSON_TYPE}, keep=True)
                _check_whole(kind, release, answer)
                names = [file["filename"] for file in json.loads(answer.body)["files"]]
                if names != [release.filename]:
                    raise WrongError(f"the page of {release.project} lists {names}")
            case "range" | "last bytes":
                answer = self._range(kind, release)
            case "left in the middle":
                limit = self._source.randrange(1, release.size)
                answer = self._fetch(file_url(release), read_limit=limit)
                if answer.status != 200:
                    raise BrokenError(f"{kind} {release.filename}: {answer.status}")
                _check_bytes(kind, release, answer, 0, answer.size)
            case _:
                answer = self._fetch(file_url(release))
                _check_whole(kind, release, answer)
                _check_bytes(kind, release, answer, 0, release.size)
        return answer

    def _range(self, kind: str, release: ReleaseFile) -> Fetched:
        length = self._source.randrange(1, min(release.size, 1 << 20))
        start = release.size - length if kind == "last bytes" else self._source.randrange(release.size - length + 1)
        span = f"bytes=-{length}" if kind == "last bytes" else f"bytes={start}-{start + length - 1}"
        answer = self._fetch(file_url(release), {"Range": span})
        if answer.status != 206 or not answer.complete:
            raise BrokenError(f"{span} of {release.filename}: {answer.status} {answer.error}")
        _check_bytes(span, release, answer, start, start + length)
        return answer

    def _fetch(
        self, url: str, headers: dict[str, str] | None = None, *, read_limit: int | None = None, keep: bool = False
    ) -> Fetched:
        proxy = self._proxy
        return fetch(proxy.port, url, ca=proxy.ca, headers=headers, read_limit=read_limit, keep=keep, timeout=60)


def _check_whole(kind: str, release: ReleaseFile, answer: Fetched) -> None:
    if answer.status != 200 or not answer.complete:
        raise BrokenError(f"{kind} {release.filename}: {answer.status} {answer.error} {answer.body[:200]!r}")


def _check_bytes(kind: str, release: ReleaseFile, answer: Fetched, start: int, stop: int) -> None:
    """Raises WrongError unless these are the bytes `start` to `stop` of the file."""
    if answer.size != stop - start or answer.sha256 != _digest(release, start, stop):
        raise WrongError(f"{kind} {release.filename}: {answer.size} bytes that are not its bytes {start} to {stop}")


def _digest(release: ReleaseFile, start: int, stop: int) -> str:
    if (start, stop) == (0, release.size):
        return release.sha256
    hasher = hashlib.sha256()
    with Path(str(release.data)).open("rb") as file:
        file.seek(start)
        while start < stop and (chunk := file.read(min(1 << 20, stop - start))):
            hasher.update(chunk)
            start += len(chunk)
    return hasher.hexdigest()
