"""A wheel's core metadata (PEP 658), taken out of the wheel itself by ranges: for a mirror that lacks what its page advertises.

A wheel is a zip file: its directory is at its end, and METADATA is one of its members (PEP 427). zipfile reads from a file of
which only some spans are there; what it misses is fetched, until it has all that it asks for. Nothing here is trusted: the caller
holds the result against the page's digest.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import IO, cast

from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.http.ranges import parse_content_range
from pkgcache.rules.routing.urls import Url

STEP = 64 * 1024
MAX_STEPS = 16
MAX_METADATA = 16 * 1024 * 1024


async def metadata_of_wheel(client: UpstreamClient, wheels: Sequence[tuple[Url, str]]) -> bytes:
    """The METADATA member of a wheel, from the first of the URLs that gives it. Raises UpstreamError."""
    failed: UpstreamError | None = None
    for url, authorization in client.healthy_first(wheels):
        try:
            return await _from_wheel(client, url, authorization)
        except UpstreamError as error:
            failed = error
    raise failed or UpstreamError(Failure.NOT_FOUND, "", "there is no upstream to ask for the wheel")


async def _from_wheel(client: UpstreamClient, url: Url, authorization: str) -> bytes:
    start, data, total = await _fetch(client, url, authorization, f"bytes=-{STEP}")
    wheel = _SparseFile(total)
    wheel.add(start, data)
    for _ in range(MAX_STEPS):
        try:
            return read_metadata(cast(IO[bytes], wheel))
        except _MissingError as missing:
            last = min(max(missing.stop, missing.start + STEP), total) - 1
            start, data, _ = await _fetch(client, url, authorization, f"bytes={missing.start}-{last}")
            wheel.add(start, data)
        except (zipfile.BadZipFile, ValueError, OSError) as error:
            raise UpstreamError(Failure.BROKEN, url, f"no wheel: {error}") from error
    raise UpstreamError(Failure.BROKEN, url, "its metadata cannot be found in few steps")


async def _fetch(client: UpstreamClient, url: Url, authorization: str, span: str) -> tuple[int, bytes, int]:
    """One span: where it starts, its bytes, and the length of the whole; an upstream without ranges gives the whole."""
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "Range": span}
    async with client.request("GET", url, headers, authorization) as answer:
        if answer.status not in {200, 206}:
            raise answer.refused()
        if answer.status == 200:
            whole = await answer.body(MAX_METADATA)
            return 0, whole, len(whole)
        found = parse_content_range(answer.headers.get("Content-Range"))
        if found is None or found.total is None:
            raise UpstreamError(Failure.WRONG_SPAN, url, "it does not answer ranges")
        data = await answer.body(MAX_METADATA)
        if len(data) != found.stop - found.start:
            raise UpstreamError(
                Failure.WRONG_LENGTH, url, f"{len(data)} bytes came for {answer.headers['Content-Range']!r}"
            )
        return found.start, data, found.total


def read_metadata(wheel: IO[bytes]) -> bytes:
    """The METADATA member of a wheel's file. Raises zipfile.BadZipFile, ValueError, OSError."""
    wheel.seek(0)
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")]
        if len(names) != 1:
            raise ValueError(f"{len(names)} METADATA members")
        if archive.getinfo(names[0]).file_size > MAX_METADATA:
            raise ValueError("its METADATA is too large")
        return archive.read(names[0])


class _MissingError(Exception):
    """A span that has yet to be fetched."""

    def __init__(self, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        super().__init__(f"{start}-{stop}")


class _SparseFile(io.RawIOBase):
    """A file of known size of which some spans are there; reading what is not raises _MissingError."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self._spans: list[tuple[int, bytes]] = []
        self._at = 0

    def add(self, start: int, data: bytes) -> None:
        self._spans.append((start, data))

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError("a negative position")
        self._at = base + offset
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        stop = self.size if size < 0 else min(self._at + size, self.size)
        parts: list[bytes] = []
        at = self._at
        while at < stop:
            found = next(((start, data) for start, data in self._spans if start <= at < start + len(data)), None)
            if found is None:
                raise _MissingError(at, stop)
            start, data = found
            parts.append(data[at - start : stop - start])
            at += len(parts[-1])
        self._at = max(self._at, stop)
        return b"".join(parts)
