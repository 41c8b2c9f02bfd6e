"""What a client reads from: a stored file, a growing one, or a byte range of either.

A `FileSource` says how far it may be read now (`available`), and a growing one makes its readers wait (`wait_available`).
"""

from __future__ import annotations

import asyncio
import os
from typing import IO, Protocol, override

from pkgcache.engine.responses.messages import CHUNK, Body, Chunk, CutShortError, DiskFailedError
from pkgcache.engine.store.rehash import Rehash
from pkgcache.rules.policy.fills import readable

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class FileSource(Protocol):
    """A file that readers follow."""

    def body(self, start: int, stop: int | None) -> Body:
        """A reader of the bytes `start` to `stop` (half-open; None: to the end, once that is known)."""

    def release(self) -> None:
        """One reader less."""

    def fileno(self) -> int:
        """The file's descriptor; the source keeps it open as long as it has readers."""

    @property
    def generation(self) -> int:
        """Which bytes these are: another number once they turned out wrong and were thrown away."""

    @property
    def available(self) -> int:
        """The end of what may be read now."""

    async def wait_available(self, offset: int, generation: int) -> int:
        """Wait until there is something to read past `offset`: the end of what may be read now.

        Raises CutShortError if there will be nothing, or if these are not the bytes of `generation` any more.
        """


class StoredBytes:
    """A small file of the store that is in memory."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def body(self, start: int, stop: int | None) -> bytes:
        """As FileSource's, but the bytes themselves."""
        return self._value if start == 0 and stop in {None, len(self._value)} else self._value[start:stop]

    def release(self) -> None:
        """There is nothing to let go of."""


type Source = FileSource | StoredBytes
"""What a file's reply is made of."""


class StoredFile(FileSource):
    """A whole file of the store; one reader, which owns it. While it is re-hashed (`check`) its last bytes are held back."""

    def __init__(self, file: IO[bytes], size: int, check: Rehash | None = None) -> None:
        self._file = file
        self._size = size
        self._check = check

    @override
    def body(self, start: int, stop: int | None) -> Reader:
        return Reader(self, start, stop)

    @property
    @override
    def generation(self) -> int:
        return 1 if self._check is not None and self._check.fault else 0

    @property
    @override
    def available(self) -> int:
        return readable(self._size, self._size, verified=self._check is None or self._check.done)

    @override
    def fileno(self) -> int:
        return self._file.fileno()

    @override
    async def wait_available(self, offset: int, generation: int) -> int:
        if self._check is not None and self.available <= offset:
            await self._check.wait()
        if generation != self.generation:
            raise CutShortError("the stored file is damaged")
        if offset >= self._size:
            raise CutShortError("read past the end of a stored file")
        return self.available

    @override
    def release(self) -> None:
        self._file.close()


class Reader(Body):
    """The bytes `start` to `stop` (half-open; None: to the end, once that is known) of a source, chunk by chunk."""

    def __init__(self, source: FileSource, start: int, stop: int | None) -> None:
        self._source: FileSource | None = source
        self._at = start
        self._stop = stop
        self._generation = source.generation
        self._rest: Body | None = None

    @property
    @override
    def exhausted(self) -> bool:
        return self._at == self._stop if self._rest is None else self._rest.exhausted

    @override
    def read_now(self) -> Chunk:
        source = self._source
        if source is None or source.generation != self._generation or self._rest is not None:
            return b""
        want = min(CHUNK, (source.available if self._stop is None else min(source.available, self._stop)) - self._at)
        chunk = _pread_now(source.fileno(), want, self._at) if want > 0 else b""
        self._at += len(chunk)
        return chunk

    @override
    async def read(self) -> Chunk:
        if self._source is None:
            raise CutShortError("closed")
        if self._rest is not None:
            return await self._rest.read()
        if self._at == self._stop:
            return b""
        try:
            end = await self._source.wait_available(self._at, self._generation)
        except DiskFailedError as error:
            self._rest = error.rest(self._at, self._stop)
            return await self._rest.read()
        if self._source is None:
            raise CutShortError("closed while it waited")
        if end == self._at:
            return b""  # the end of a file whose length was not known before
        want = min(CHUNK, (end if self._stop is None else min(end, self._stop)) - self._at)
        chunk = await _pread(self._source.fileno(), want, self._at)
        if not chunk:
            raise CutShortError("the stored file is shorter than it was")
        self._at += len(chunk)
        return chunk

    @override
    def close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.release()
        if self._rest is not None:
            self._rest.close()


class SharedSource(FileSource):
    """One source under several readers: let go of when the last of them has."""

    def __init__(self, source: FileSource, readers: int) -> None:
        self._source = source
        self._readers = readers

    @override
    def body(self, start: int, stop: int | None) -> Reader:
        return Reader(self, start, stop)

    @property
    @override
    def generation(self) -> int:
        return self._source.generation

    @property
    @override
    def available(self) -> int:
        return self._source.available

    @override
    def fileno(self) -> int:
        return self._source.fileno()

    @override
    async def wait_available(self, offset: int, generation: int) -> int:
        return await self._source.wait_available(offset, generation)

    @override
    def release(self) -> None:
        self._readers -= 1
        if self._readers == 0:
            self._source.release()


class ConcatenatedBody(Body):
    """Several bodies, one after the other: the parts of a multipart answer."""

    def __init__(self, parts: list[bytes | Body]) -> None:
        self._parts = parts

    @property
    @override
    def exhausted(self) -> bool:
        return not self._parts

    @override
    def read_now(self) -> Chunk:
        return b""  # several small parts need no haste

    @override
    async def read(self) -> Chunk:
        while self._parts:
            part = self._parts[0]
            if isinstance(part, bytes):
                self._parts.pop(0)
                return part
            if chunk := await part.read():
                return chunk
            part.close()
            self._parts.pop(0)
        return b""

    @override
    def close(self) -> None:
        for part in self._parts:
            if not isinstance(part, bytes):
                part.close()


def _pread_now(descriptor: int, count: int, offset: int) -> Chunk:
    """Up to `count` bytes at `offset` where they are in memory (RWF_NOWAIT, Linux); else nothing."""
    if not _NOWAIT:
        return b""
    buffer = bytearray(count)
    try:
        got = os.preadv(descriptor, [buffer], offset, _NOWAIT)
    except OSError:
        return b""  # not in memory, not on this file system, or an error that the thread's read will tell
    if got < count:
        del buffer[got:]
    return buffer


async def _pread(descriptor: int, count: int, offset: int) -> Chunk:
    """`count` bytes at `offset`: at once where they are in memory, else by a thread. Raises CutShortError."""
    if chunk := _pread_now(descriptor, count, offset):
        return chunk
    duplicate = os.dup(descriptor)  # the reader may be closed while the thread reads
    try:
        return await asyncio.get_running_loop().run_in_executor(None, os.pread, duplicate, count, offset)
    except OSError as error:
        raise CutShortError(str(error)) from error
    finally:
        os.close(duplicate)
