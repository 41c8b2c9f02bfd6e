"""A download for one client that does not touch the disk, verified on its way.

Installs continue with it while the disk is full, cannot be written, or is too small for the file. As with a fill, the last HOLD_BACK
bytes are held back until length and digest are right, and if an upstream breaks off the next one continues, where a digest can tell
whether that went well. Nothing is shared: each client has a download of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import override

from multidict import CIMultiDict

from pkgcache.engine.fills.fill_request import IDENTITY, FillRequest, check_response
from pkgcache.engine.responses.messages import CHUNK, Body, Chunk, CutShortError
from pkgcache.engine.responses.relay import RelayBody, Send
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.engine.upstream.places import Kind, asking
from pkgcache.rules.policy.hold_back import readable
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.urls import Url


class UncachedDownload(Body):
    """The bytes of a file from offset `at` to its end.

    After a fill's disk has failed, the client has the bytes before `at` already. They are read again from `descriptor`, the fill's
    file, because the digest covers them too; it is duplicated, so the fill may close its own.
    """

    def __init__(
        self,
        client: UpstreamClient,
        request: FillRequest,
        *,
        report: Callable[[UpstreamError], None],
        total: int | None = None,
        at: int = 0,
        descriptor: int = -1,
    ) -> None:
        self._client = client
        self._request = request
        self._report = report
        self.total = total if total is not None else request.size
        self._before = at
        self._descriptor = os.dup(descriptor) if at else -1
        self._received = at
        self._held = bytearray()
        self._hasher = (request.digest or Digest("sha256", "0" * 64)).hasher()
        self._left = [*request.shared[:1], *client.healthy_first(request.sources)]
        self._relay: RelayBody | None = None
        self._verified = False
        self._closed = False

    async def open(self) -> tuple[Url, CIMultiDict[str]]:
        """Find an upstream that has the file; returns its URL and response headers. Raises AllFailedError."""
        errors: list[UpstreamError] = []
        while self._left:
            url, authorization = self._left.pop(0)
            with asking(Kind.FILES):  # a reader whose disk has failed comes here while it reads
                relay = RelayBody(self._requests(url, authorization), immutable=self._request.digest is not None)
            try:
                response = await relay.open()
                first, total = check_response(response, self._received, self.total)
                if first != self._received:
                    raise UpstreamError(Failure.WRONG_SPAN, response.url, "it does not answer ranges")
            except UpstreamError as error:
                await relay.aclose()
                self._report(error)
                errors.append(error.to_keep())
                continue
            self.total = total if self.total is None else self.total
            self._relay = relay
            return response.url, CIMultiDict(response.headers)
        raise AllFailedError(errors)

    def _requests(self, url: Url, authorization: str) -> Send:
        headers = dict(IDENTITY)
        if self._received:
            headers["Range"] = f"bytes={self._received}-"
        sole = not self._left
        return lambda rest: self._client.request("GET", url, headers | rest, authorization, sole_source=sole)

    @property
    @override
    def exhausted(self) -> bool:
        return self._verified and not self._held

    @override
    def read_now(self) -> Chunk:
        return b""  # it comes from the network

    @override
    async def read(self) -> Chunk:
        await self._hash_earlier_bytes()
        while True:
            held_from = self._received - len(self._held)
            ready = readable(self._received, self.total, verified=self._verified) - held_from
            if ready > 0:
                chunk = bytes(self._held[: min(ready, CHUNK)])
                del self._held[: len(chunk)]
                return chunk
            if self._verified:
                return b""
            await self._receive()

    async def _hash_earlier_bytes(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            for offset in range(0, self._before, 4 * CHUNK):
                count = min(4 * CHUNK, self._before - offset)
                self._hasher.update(await asyncio.to_thread(os.pread, descriptor, count, offset))
        except OSError as error:
            raise CutShortError(str(error)) from error
        finally:
            os.close(descriptor)

    async def _receive(self) -> None:
        """Receive some more bytes, from the next upstream if one has broken off; verify at the end. Raises CutShortError."""
        if self._closed:
            raise CutShortError("closed")
        if self._relay is None:
            if self._request.digest is None and self._received:
                raise CutShortError("the file has no digest, so its download cannot be resumed")
            try:
                await self.open()
            except AllFailedError as error:
                raise CutShortError(str(error)) from error
        assert self._relay is not None
        try:
            chunk = await self._relay.read()
        except CutShortError:
            if self._closed:
                raise
            chunk = b""  # the upstream broke off; `UpstreamClient` has counted that
        if chunk:
            self._hasher.update(chunk)
            self._held += chunk
            self._received += len(chunk)
        elif self.total is not None and self._received < self.total:
            self._close_relay()
        else:
            self._close_relay()
            self._verify()

    def _verify(self) -> None:
        digest = self._request.digest
        if self.total is not None and self._received != self.total:
            raise CutShortError(f"{self._received} bytes came, and the file has {self.total}")
        if digest is not None and (fault := digest.mismatch(self._hasher.hexdigest())):
            self._report(UpstreamError(Failure.WRONG_DIGEST, self._request.sources[0][0], fault))
            raise CutShortError(fault)
        self._verified = True

    def _close_relay(self) -> None:
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.close()

    @override
    def close(self) -> None:
        self._closed = True
        self._close_relay()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
