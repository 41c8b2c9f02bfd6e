"""One list of all projects while it is downloaded: 40 MB and more, so it grows in a file, and any number of readers follow it.

The last HOLD_BACK bytes are kept from all of them until the whole has proved to be a list, so that no captive portal's log-in form and
no list that broke off is ever complete at a client, or stored.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import override

from multidict import CIMultiDict

from pkgcache.engine.fills.growth import Growth
from pkgcache.engine.fills.progress import Progress
from pkgcache.engine.pages.decoding import ContentDecoder
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.policy.hold_back import HOLD_BACK
from pkgcache.rules.simple.project_list import ProjectListChecker, ProjectListEditor
from pkgcache.rules.simple.representations import Representation, representation_of

MAX_LIST = 512 << 20
"""Bytes of a list, decompressed: ten times today's longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListHead:
    """What the upstream's answer says of the list. `url` is its final one."""

    representation: Representation
    headers: CIMultiDict[str]
    upstream: str
    url: str


class ProjectListFill(Progress[ListHead | None]):
    """A list that grows. Clients are told its head, or None where the upstream said that the stored list is unchanged.

    `reserve` asks for room for it: its length is known only at the end.
    """

    def __init__(self, path: Path, pool: ThreadPoolExecutor, reserve: Callable[[Path, int], Awaitable[bool]]) -> None:
        super().__init__(path, pool)
        self._growth = Growth(path, reserve)
        self.unchanged = False
        self._hasher = hashlib.sha256()

    @property
    def settled(self) -> bool:
        """Whether it is known what becomes of it: complete, unchanged, or failed."""
        return self.verified or self.unchanged or self.error is not None

    @property
    def digest(self) -> str:
        """The SHA-256 of what was written, in hex."""
        return self._hasher.hexdigest()

    async def download(self, response: UpstreamResponse, upstream: str) -> ListHead:
        """Write a response's body to its end, and see that it is a list. Raises UpstreamError and OSError.

        May be called again, with another upstream's response, as long as nothing was announced.
        """
        representation = representation_of(response.headers.get("Content-Type"))
        if representation is None:
            what = response.headers.get("Content-Type", "something without a type")
            raise UpstreamError(Failure.WRONG_TYPE, response.url, f"no list of projects, but {what!r}")
        url = response.url.with_path(response.url.path)  # a query may be secret, and no link needs it
        self.head = head = ListHead(
            representation=representation,
            headers=CIMultiDict(response.headers),
            upstream=upstream,
            url=str(url),
        )
        editor = ProjectListEditor(url) if representation.kind == "html" else ProjectListChecker()
        decoder = ContentDecoder(response.headers.get("Content-Encoding", ""), response.url)
        await self.in_thread(self._begin)
        while chunk := await response.chunk():
            await self.in_thread(partial(self._write, response, map(editor.feed, decoder.feed(chunk))))
            await self._growth.cover(self.written, None)
            if self.written > HOLD_BACK:
                self.announce(head)
            self.wake_readers()
        await self.in_thread(partial(self._write, response, [editor.end()]))
        if not decoder.whole:
            raise UpstreamError(Failure.WRONG_LENGTH, response.url, "its compressed list is cut short")
        if not editor.is_list:
            raise UpstreamError(Failure.WRONG_PAGE, response.url, "no list of projects")
        return head

    def be_unchanged(self) -> None:
        """The stored list is still right: there is nothing to read here."""
        self.unchanged = True
        self.announce(None)

    @override
    def end(self) -> None:
        """As a progress's; a file that was not moved into the store is removed."""
        self.file.remove()
        super().end()

    def _begin(self) -> None:
        if self.file.owned:
            self.file.truncate()
        else:
            self.file.open()
        self.written = 0
        self._hasher = hashlib.sha256()

    def _write(self, response: UpstreamResponse, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            # The event loop gets the interpreter's lock: without it, whatever it does waits up to 5 ms each time that it asks for it.
            time.sleep(0)
            self._hasher.update(piece)
            self.file.write(piece, self.written)
            self.written += len(piece)
            if self.written > MAX_LIST:
                raise UpstreamError(Failure.WRONG_LENGTH, response.url, f"the list is longer than {MAX_LIST:,} bytes")
