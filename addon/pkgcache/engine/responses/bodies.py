"""Bodies that are read from files: stored ones and growing ones, whole or a byte range of them.

A `FileSource` says how far its file may be read now (`available`), and lets readers wait for more (`wait_available`). A `Reader` is one
client's body over such a source.
"""

from __future__ import annotations

import asyncio
import os
from typing import IO, Protocol, override

from pkgcache.engine.responses.messages import CHUNK, Body, Chunk, CutShortError, DiskFailedError
from pkgcache.engine.store.rehash import Rehash
from pkgcache.rules.policy.hold_back import readable

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
"""Lets preadv(2) fail instead of waiting for the disk. Linux has it; elsewhere every read is a thread's."""


class FileSource(Protocol):
    """A file that can be read as far as it is there."""

    def body(self, start: int, stop: int | None) -> Body:
        """A reader of the bytes `start` to `stop` (half-open; None: to the end, once that is known)."""

    def release(self) -> None:
        """Unregister a reader. A source that nobody reads may close its file."""

    def fileno(self) -> int:
        """The file's descriptor, open as long as a reader is registered."""

    @property
    def generation(self) -> int:
        """A number that changes when the bytes so far turn out wrong and are thrown away."""

    @property
    def available(self) -> int:
        """The end of the bytes that may be read now."""

    async def wait_available(self, offset: int, generation: int) -> int:
        """Wait until bytes past `offset` may be read; returns `available`, or `offset` itself if the file ends there.

        Raises CutShortError if there will be none, or if the bytes are not those of `generation` any more.
        """


class StoredBytes:
    """A stored file that is small enough to be in memory."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def body(self, start: int, stop: int | None) -> bytes:
        """The bytes from `start` to `stop` (half-open; None: to the end)."""
        return self._value if start == 0 and stop in {None, len(self._value)} else self._value[start:stop]

    def release(self) -> None:
        """Nothing to close."""


type Source = FileSource | StoredBytes
"""Where the body of a file's answer comes from."""


class StoredFile(FileSource):
    """A stored file with one reader, which closes it. While it is re-hashed (`rehash`) its last bytes are held back."""

    def __init__(self, file: IO[bytes], size: int, rehash: Rehash | None = None) -> None:
        self._file = file
        self._size = size
        self._rehash = rehash

    @override
    def body(self, start: int, stop: int | None) -> Reader:
        return Reader(self, start, stop)

    @property
    @override
    def generation(self) -> int:
        return 1 if self._rehash is not None and self._rehash.fault else 0

    @property
    @override
    def available(self) -> int:
        if self._rehash is None or self._rehash.done:
            return self._size
        return readable(self._size, self._size, verified=False)

    @override
    def fileno(self) -> int:
        return self._file.fileno()

    @override
    async def wait_available(self, offset: int, generation: int) -> int:
        if self._rehash is not None and self.available <= offset:
            await self._rehash.wait()
        if generation != self.generation:
            raise CutShortError("the stored file is damaged")
        if offset >= self._size:
            raise CutShortError("read past the end of a stored file")
        return self.available

    @override
    def release(self) -> None:
        self._file.close()


class Reader(Body):
    """The bytes `start` to `stop` of a source (half-open; None: to the end, once that is known).

    When the disk fails under a growing file, `rest` of the DiskFailedError takes the source's place.
    """

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
        count = self._up_to(source.available)
        chunk = _pread_now(source.fileno(), count, self._at) if count > 0 else b""
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
            self._source.release()  # so that the growing file, which has no name any more, leaves the disk
            return await self._rest.read()
        if self._source is None:
            raise CutShortError("closed while it waited")
        if end == self._at:
            return b""  # the end of a file whose length was not known before
        chunk = await _pread(self._source.fileno(), self._up_to(end), self._at)
        if not chunk:
            raise CutShortError("the stored file is shorter than it was")
        self._at += len(chunk)
        return chunk

    def _up_to(self, end: int) -> int:
        """How many bytes to read next, where `end` is as far as the source may be read."""
        return min(CHUNK, (end if self._stop is None else min(end, self._stop)) - self._at)

    @override
    def close(self) -> None:
        source, self._source = self._source, None
        if source is not None and self._rest is None:
            source.release()
        if self._rest is not None:
            self._rest.close()


class SharedSource(FileSource):
    """A source shared by several readers of one answer, which count as one: it is released with the last of them."""

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
    """Several bodies, one after the other: a multipart answer (RFC 9110 §14.6)."""

    def __init__(self, parts: list[bytes | Body]) -> None:
        self._parts = parts

    @property
    @override
    def exhausted(self) -> bool:
        return not self._parts

    @override
    def read_now(self) -> Chunk:
        return b""  # not worth it for a few small parts

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


class BytesBody(Body):
    """Bytes in memory, sent as the client takes them: what is written to a client that takes nothing stays in memory once more."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    @override
    def exhausted(self) -> bool:
        return self._at >= len(self._data)

    @override
    def read_now(self) -> Chunk:
        chunk = self._data[self._at : self._at + CHUNK]
        self._at += len(chunk)
        return chunk

    @override
    async def read(self) -> Chunk:
        return self.read_now()

    @override
    def close(self) -> None:
        self._data = b""


def _pread_now(descriptor: int, count: int, offset: int) -> Chunk:
    """Up to `count` bytes at `offset`, if they are in the page cache; else nothing. It never waits for the disk."""
    if not _NOWAIT:
        return b""
    buffer = bytearray(count)
    try:
        got = os.preadv(descriptor, [buffer], offset, _NOWAIT)
    except OSError:
        return b""  # not in the page cache, not supported by this file system, or an error that `_pread` will raise
    if got < count:
        del buffer[got:]
    return buffer


async def _pread(descriptor: int, count: int, offset: int) -> Chunk:
    """Up to `count` bytes at `offset`: at once from the page cache, else by a thread. Raises CutShortError."""
    if chunk := _pread_now(descriptor, count, offset):
        return chunk
    duplicate = os.dup(descriptor)  # a reader closed meanwhile frees the number, and the thread would read another file
    try:
        return await asyncio.get_running_loop().run_in_executor(None, os.pread, duplicate, count, offset)
    except OSError as error:
        raise CutShortError(str(error)) from error
    finally:
        os.close(duplicate)
