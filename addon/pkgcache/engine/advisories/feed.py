"""Keeps advisories current: reads them when the proxy starts, looks for newer ones in the background, and keeps the last good ones.

The index of the last good reading is kept in the store's folder, so that a proxy that starts while the source is away has it too. What
is wrong with the source is on /healthz; the advisories of before stay in force meanwhile.

A source that is a URL is asked with the validators of its last answer (RFC 9110 §13). Addresses are checked as for every fetch: a
redirect leads to a private address only if the operator's own URL is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import IO, Any, Final

from multidict import CIMultiDict

from pkgcache.engine.advisories.kept import FILE_NAME, read_kept
from pkgcache.engine.advisories.process import read_advisories
from pkgcache.engine.advisories.reading import UNCHANGED, UnreadableError
from pkgcache.engine.advisories.source import Source
from pkgcache.engine.runtime.health import Health
from pkgcache.engine.store.safe_files import create
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.http.validation import validators
from pkgcache.rules.policy.admission import Admission
from pkgcache.rules.policy.advisories import Advisories
from pkgcache.settings import Settings
from pkgcache.units import printable, redact

logger = logging.getLogger(__name__)

COMPONENT: Final = "advisories"
UNREADABLE: Final = "advisory files"
"""The component of files without a record that can be read: what they say of is let through."""

MAX_DOWNLOAD: Final = 256 << 20
"""Bytes of an answer. A zip of 35,000 records had 16 MB."""

DOWNLOAD_SECONDS: Final = 600.0

FIRST_SECONDS: Final = 60.0
"""How long requests wait at start for the first reading, where no earlier one is kept."""

RETRY_SECONDS: Final = 60.0
"""A source that failed is tried again after this long, or when it would be looked at anyway."""

LEAST_PAUSE: Final = 1.0

COUNTS: Final = ("records", "malicious", "projects", "unreadable")
"""What a reading tells of itself, in the first line of its index."""


class AdvisoryFeed:
    """The advisories in force, `current`; None where the option is not set, or nothing could be read yet. `changed` is called after it."""

    def __init__(
        self,
        settings: Settings,
        source: Source | None,
        admission: Admission,
        client: UpstreamClient,
        health: Health,
    ) -> None:
        self.current: Advisories | None = None
        self.changed: Callable[[], None] = lambda: None
        self._settings = settings
        self._source = source
        self._admission = admission
        self._client = client
        self._health = health
        self._file = settings.dir / FILE_NAME
        self._checked = 0.0  # when the source was last seen to say what is in force

    @property
    def is_on(self) -> bool:
        """Whether advisories are asked for."""
        return self._source is not None

    def about(self, project: str, index_name: str) -> Advisories | None:
        """The advisories in force, if any of them is about a project of an index.

        A private name (`pypi_cache_private`) of another index is another project than the one that the public index has.
        """
        if self.current is None or not self.current.names(project) or self._admission.is_private(project, index_name):
            return None
        return self.current

    async def begin(self) -> None:
        """Take the advisories of an earlier run; without any wait for the first reading, but not longer than FIRST_SECONDS."""
        if self._source is None:
            return
        if kept := await asyncio.to_thread(self._read_kept):
            self._take(kept, min(kept.about["checked"], time.time()))
        if self.current is None or not self._source.url:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SECONDS):
                    await self.refresh()

    async def run(self) -> None:
        """Look for newer advisories, for ever."""
        while self._source is not None:
            pause = self._checked + self._settings.advisories_refresh - time.time()
            if COMPONENT in self._health.problems:
                pause = min(self._settings.advisories_refresh, RETRY_SECONDS)
            await asyncio.sleep(max(LEAST_PAUSE, pause))
            await self.refresh()

    async def refresh(self) -> None:
        """Read the source, unless it is what it was; trouble is told, and changes nothing else."""
        assert self._source is not None
        try:
            text = await (self._fetched() if self._source.url else read_advisories(self._source.path, self._known))
            if text != UNCHANGED:
                found = await asyncio.to_thread(self._made, text)
                self._take(found, time.time())
                await asyncio.to_thread(self._keep, text)
        except (UnreadableError, UpstreamError, OSError, ValueError) as error:
            told = (error.detail if isinstance(error, UpstreamError) else str(error)) or "it takes too long"
            so_far = "those that were read before stay in force" if self.current else "none are in force"
            self._health.report(COMPONENT, redact(f"advisories of {self._source.shown}: {told}; {so_far}"))
        else:
            self._checked = time.time()
            self._health.clear(COMPONENT)

    def figures(self) -> dict[str, Any]:
        """What /healthz and /stats tell: how many, and how old in seconds; -1 where none are in force."""
        about = self.current.about if self.current else {}
        return {
            **{name: about.get(name, 0) for name in COUNTS},
            "age_seconds": round(time.time() - self._checked) if self.current else -1,
        }

    def _take(self, found: Advisories, checked: float) -> None:
        self._checked = checked
        self.current = found
        self.changed()
        records = found.about.get("records", 0)
        logger.info(
            "%s in force, %d on malicious packages",
            "1 advisory is" if records == 1 else f"{records} advisories are",
            found.about.get("malicious", 0),
        )
        if unreadable := found.about.get("unreadable"):
            first = found.about.get("first_unreadable", "")
            self._health.report(
                UNREADABLE,
                f"files of advisories that cannot be read: {unreadable}, the first is {printable(str(first))}",
            )
        else:
            self._health.clear(UNREADABLE)

    def _made(self, text: bytes) -> Advisories:
        return Advisories(text, self._settings.advisories_block, yank=self._settings.advisories_yank)

    # The source

    @property
    def _known(self) -> str:
        return str(self.current.about.get("signature", "")) if self.current else ""

    async def _fetched(self) -> bytes:
        """The index of what the URL has. Raises UpstreamError and UnreadableError."""
        assert self._source is not None
        assert self._source.url is not None
        url = self._source.url
        if self._settings.offline:
            return UNCHANGED if self.current else self._offline()
        known = validators(CIMultiDict(self.current.about.get("validators", {}) if self.current else {}))
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", **known}
        with tempfile.TemporaryFile() as file:
            async with (
                asyncio.timeout(DOWNLOAD_SECONDS),
                self._client.request("GET", url, headers, self._source.authorization, sole_source=True) as response,
            ):
                if response.status == 304 and known:
                    return UNCHANGED
                if response.status != 200:
                    raise response.refused()
                while chunk := await response.chunk():
                    if file.tell() + len(chunk) > MAX_DOWNLOAD:
                        raise UpstreamError(
                            Failure.WRONG_LENGTH, url, f"the answer is longer than {MAX_DOWNLOAD} bytes"
                        )
                    await asyncio.to_thread(file.write, chunk)
                fields = {
                    name: response.headers[name] for name in ("ETag", "Last-Modified") if name in response.headers
                }
            return await self._read(file, fields)

    @staticmethod
    async def _read(file: IO[bytes], fields: dict[str, str]) -> bytes:
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        text = await read_advisories(file)
        return text if text == UNCHANGED else with_more(text, {"validators": fields})

    @staticmethod
    def _offline() -> bytes:
        raise UnreadableError("offline, and none are kept")

    # What is kept

    def _read_kept(self) -> Advisories | None:
        """Those of the last run; None where they are of another source, or somebody else has written to the file."""
        assert self._source is not None
        if (found := read_kept(self._settings.dir)) is None:
            return None
        try:
            advisories = self._made(found)
        except (ValueError, RecursionError):
            return None
        is_ours = advisories.about.get("source") == self._source.shown and _is_whole(advisories.about)
        return advisories if is_ours else None

    def _keep(self, text: bytes) -> None:
        """Keep an index for the next run; where that is not possible, the store's trouble is told elsewhere."""
        assert self._source is not None
        mine = self._file.with_name(f"{FILE_NAME}.{os.getpid()}")
        with contextlib.suppress(OSError):
            mine.unlink(missing_ok=True)
            try:
                with create(mine) as file:
                    file.write(with_more(text, {"source": self._source.shown, "checked": round(time.time(), 3)}))
                mine.replace(self._file)
            finally:
                mine.unlink(missing_ok=True)


def _is_whole(about: Mapping[str, Any]) -> bool:
    """Whether the first line of a kept index has all that is needed, and of the right types."""
    fields = about.get("validators", {})
    return (
        all(type(about.get(name)) is int for name in COUNTS)
        and isinstance(about.get("checked"), float | int)
        and isinstance(about.get("signature"), str)
        and isinstance(fields, dict)
        and all(isinstance(value, str) for value in fields.values())
    )


def with_more(text: bytes, more: dict[str, Any]) -> bytes:
    """An index with more in its first line."""
    first, _, rest = text.partition(b"\n")
    return json.dumps({**json.loads(first), **more}).encode("ascii") + b"\n" + rest
