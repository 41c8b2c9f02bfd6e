"""The object store: the only importer of obstore (S3, Google Cloud Storage, Azure Blob Storage, a local folder).

What differs from obstore's defaults, and why:

- Its `timeout` is of a whole body, so it cut slow readers of large files; here it is an hour, and callers bound what they wait for.
- It would retry ten times within three minutes: there are upstreams to ask instead.
- An upload takes a path and never an open file: Python aborts at its exit while a thread of obstore's lets go of a Python object.

Credentials and endpoint come from the environment, as obstore reads it (`AWS_…`, `GOOGLE_…`, `AZURE_…`). Nothing here shows a store's
`config`, which has them.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pkgcache.settings import SettingError
from pkgcache.units import printable, redact

PIECE = 256 * 1024
"""Bytes of an object that are read at a time."""

PART = 8 * 1024 * 1024
"""Bytes that are sent at a time: S3 takes 10,000 parts of one object, so 80 GB."""

LETTING_GO_SECONDS = 0.1
"""Behind the last transfer, before the process may end: a thread of obstore's may still be in Python, which aborts then (5 of 72 exits
without any pause, none of 72 with 0.02 s)."""

_CLIENT: dict[str, Any] = {"timeout": "1h", "connect_timeout": "5s", "read_timeout": "30s", "allow_http": True}
_RETRIES: dict[str, Any] = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}


type Wanted = tuple[int, int] | dict[str, int] | None
"""A part of an object: (start, stop), or `offset` or `suffix` as obstore has them; None: all of it."""


def is_outside(wanted: tuple[int, int] | dict[str, int], size: int | None) -> bool:
    """Whether an object of this size (None: there is none) has nothing of what is wanted."""
    start = wanted[0] if isinstance(wanted, tuple) else wanted.get("offset", 0)
    return size is None or start >= size or wanted == {"suffix": 0}


_NAMES = re.compile(r"\b(file|page|lease)/(?:-|[0-9a-f]{8,})/[^\s?'\"]*")


class BucketError(Exception):
    """The object store has failed. One line, without what may be secret. `denied`: it has refused these credentials.

    Objects are not named either: their names have those of private projects, and the line is on /healthz, which needs no login.
    """

    def __init__(self, error: Exception) -> None:
        self.denied = type(error).__name__ in {"PermissionDeniedError", "UnauthenticatedError"}
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        super().__init__(_NAMES.sub(r"\1/…", printable(redact(first)))[:300])


@dataclass(frozen=True, slots=True)
class Found:
    """An object, or the part from `start` to `stop` of it, whose bytes have yet to be read."""

    size: int
    start: int
    stop: int
    pieces: AsyncIterator[bytes]


class Bucket:
    """The objects below a URL. Raises SettingError where that leads to no object store, or obstore is not installed."""

    def __init__(self, url: str) -> None:
        if importlib.util.find_spec("obstore") is None:
            raise SettingError(
                f"pypi_cache_shared={url!r}: needs the package obstore, which is not installed: pip install 'pypi-cache[shared]'"
            )
        try:
            self._store = _opened(url)
        except Exception as error:  # noqa: BLE001  obstore's own errors, ValueError, and OSError for a folder
            raise SettingError(f"pypi_cache_shared={url!r}: {BucketError(error)}") from None

    async def get(self, name: str, wanted: Wanted = None) -> Found | None:
        """An object, or the `wanted` part of it; None: there is none. Raises BucketError."""
        try:
            result = await self._store.get_async(name, options={"range": wanted} if wanted else None)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise BucketError(error) from error
        start, stop = result.range
        return Found(result.meta["size"], start, stop, _pieces(result.stream(min_chunk_size=PIECE)))

    async def size(self, name: str) -> int | None:
        """An object's size in bytes; None: there is none. Raises BucketError."""
        try:
            return int((await self._store.head_async(name))["size"])
        except FileNotFoundError:
            return None
        except Exception as error:
            raise BucketError(error) from error

    async def names(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        """The objects below a prefix, which ends where a part of their names does: each with its size. Raises BucketError."""
        try:
            async for some in self._store.list(prefix, chunk_size=1000):
                for each in some:
                    yield each["path"], each["size"]
        except Exception as error:
            raise BucketError(error) from error

    async def put(self, name: str, content: bytes | Path) -> None:
        """Write an object: all of it, or nothing. Raises BucketError."""
        try:
            await self._store.put_async(name, content, chunk_size=PART, max_concurrency=1)
        except Exception as error:
            raise BucketError(error) from error

    async def create(self, name: str) -> bool:
        """Write an empty object unless there is one; whether there was none. Raises BucketError, as where it has no conditional writes."""
        try:
            await self._store.put_async(name, b"", mode="create")
        except Exception as error:
            if type(error).__name__ == "AlreadyExistsError":
                return False
            raise BucketError(error) from error
        return True

    async def remove(self, names: Sequence[str]) -> None:
        """Remove objects, whether they are there or not. Raises BucketError."""
        for name in names:
            try:
                await self._store.delete_async(name)
            except FileNotFoundError:
                continue
            except Exception as error:
                raise BucketError(error) from error


async def _pieces(stream: Any) -> AsyncIterator[bytes]:
    try:
        async for piece in stream:
            yield piece
    except Exception as error:
        raise BucketError(error) from error


def _opened(url: str) -> Any:
    from obstore.store import from_url  # noqa: PLC0415  it is there only for those who want a shared tier

    open_store: Any = from_url  # its types are not there without it
    if url.startswith("file:"):
        return open_store(url, mkdir=True)
    return open_store(url, client_options=_CLIENT, retry_config=_RETRIES)
