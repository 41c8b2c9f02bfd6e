"""A wheel's core metadata (METADATA, PEP 658) out of a wheel that the store has, so that it need not be fetched.

Metadata of a wheel that is not stored comes from upstream (`engine/upstream/wheel_metadata`).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from dataclasses import replace
from zipfile import BadZipFile

from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.store import Store
from pkgcache.engine.upstream.wheel_metadata import read_metadata
from pkgcache.rules.routing.routes import ReleaseFile


def wheel_of(metadata: ReleaseFile) -> ReleaseFile | None:
    """The wheel that a `.metadata` file describes; None for any other file. The sources stay the metadata's."""
    if metadata.suffix != ".metadata" or not metadata.filename.endswith(".whl"):
        return None
    url = metadata.identity
    return replace(
        metadata,
        suffix="",
        release=replace(metadata.release, suffix="") if metadata.release else None,
        identity=url.with_path(url.path.removesuffix(".metadata"), url.query),
    )


async def metadata_of_stored_wheel(store: Store, wheel: StoreKey) -> bytes | None:
    """The METADATA of the wheel with this key, or None if it is not stored or has none that can be read.

    It is as right as the wheel is: where a page gives the metadata's own digest, the caller compares.
    """
    entry = await store.get(wheel)
    if entry is None:
        return None
    # A zip directory of ten thousand members takes a while to read: not on the event loop.
    with entry.file or io.BytesIO(entry.value) as stored, contextlib.suppress(ValueError, OSError, BadZipFile):
        return await asyncio.to_thread(read_metadata, stored)
    return None
